//! What anybody may have us do before they have shown who they are, and how much of it (I-38).

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use partywall_server::{NewApplication, Proxies, Rate};
use serde_json::json;

use crate::support::{Plane, Reply, TESTER};

const HERE: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.7";
const SLOW: Rate = Rate { per_minute: 1, at_once: 3 };

/// Everything a stranger may ask for that is written down or hashed.
const ASKED: [(&str, &str, &str); 4] = [
    ("GET", "/idp/authorize", REQUEST),
    ("POST", "/idp/par", REQUEST),
    ("POST", "/idp/device_authorization", "scope=openid"),
    ("POST", "/idp/forgot", "email=ada@acme.test"),
];
const REQUEST: &str = "response_type=code&redirect_uri=https://app.test/cb&scope=openid\
                       &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
                       &code_challenge_method=S256";

async fn public_application(plane: &Plane) -> String {
    let new: NewApplication = serde_json::from_value(json!({
        "name": "web", "authentication": "none",
        "registration": {
            "redirect_uris": ["https://app.test/cb"], "scopes": ["openid"],
            "grants": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        },
    }))
    .unwrap();
    let made = plane.control.create_application(&TESTER, None, new).await.unwrap();
    made.client_id.to_string()
}

async fn ask(plane: &Plane, from: &str, what: (&str, &str, &str), more: &str) -> Reply {
    let (method, path, form) = what;
    let form = format!("{form}{more}");
    let request = Request::builder().method(method).header("origin", "https://id.test");
    let mut request = match method {
        "GET" => request.uri(format!("{path}?{form}")).body(Body::empty()).unwrap(),
        _ => request
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap(),
    };
    let (peer, forwarded) = from.split_once(" for ").unwrap_or((from, ""));
    let peer: IpAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer, 4711)));
    if !forwarded.is_empty() {
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
    }
    plane.send(request).await
}

#[tokio::test]
async fn i38_one_networks_storm_is_no_other_networks_wait() {
    for what in ASKED {
        let plane = Plane::with(|config| config.rates.of_a_network = SLOW).await;
        let client = format!("&client_id={}", public_application(&plane).await);
        for _ in 0..3 {
            let reply = ask(&plane, HERE, what, &client).await;
            assert!(reply.status.as_u16() < 400, "{what:?}: {}", reply.text());
        }
        let refused = ask(&plane, HERE, what, &client).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{what:?}");
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{what:?}: {wait}");
        let other = ask(&plane, ELSEWHERE, what, &client).await;
        assert!(other.status.as_u16() < 400, "{what:?}: {}", other.text());
        // Whoever shows who they are is no stranger.
        let acme = plane.tenant("acme").await;
        let machine = plane.machine(acme.id()).await;
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            machine.client_id,
            machine.secret.expose()
        );
        let token = ask(&plane, HERE, ("POST", "/idp/token", &body), "").await;
        assert_eq!(token.status, StatusCode::OK, "{what:?}: {}", token.text());
    }
}

#[tokio::test]
async fn i38_one_tenants_storm_is_no_other_tenants_wait() {
    let plane = Plane::with(|config| config.rates.of_a_tenant = SLOW).await;
    let client = public_application(&plane).await;
    let mut asked = Vec::new();
    for slug in ["acme", "globex"] {
        let tenant = plane.tenant(slug).await;
        asked.push(format!("&client_id={client}&tenant={}", tenant.id()));
    }
    let authorize = ASKED[0];
    // From a new network each time.
    for network in 1..=3 {
        let reply = ask(&plane, &format!("192.0.2.{network}"), authorize, &asked[0]).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    }
    let refused = ask(&plane, "192.0.2.4", authorize, &asked[0]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let other = ask(&plane, "192.0.2.4", authorize, &asked[1]).await;
    assert_eq!(other.status, StatusCode::SEE_OTHER, "{}", other.text());
}

#[tokio::test]
async fn i38_behind_a_proxy_clients_are_told_apart_by_what_it_says() {
    let plane = Plane::with(|config| {
        config.rates.of_a_network = SLOW;
        config.proxies = Proxies::of(["10.0.0.0/8"]).unwrap();
    })
    .await;
    let client = format!("&client_id={}", public_application(&plane).await);
    let ask = async |from: &str| ask(&plane, from, ASKED[0], &client).await.status;
    for made_up in 1..=3 {
        // What the client itself wrote stands before what the proxy added.
        let from = format!("10.0.0.1 for 203.0.113.{made_up}, {HERE}");
        assert_eq!(ask(&from).await, StatusCode::SEE_OTHER);
    }
    let from = format!("10.0.0.1 for 203.0.113.4, {HERE}");
    assert_eq!(ask(&from).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&format!("10.0.0.1 for {ELSEWHERE}")).await, StatusCode::SEE_OTHER);
    // Who is no proxy says nothing for themselves.
    for made_up in 1..=3 {
        let from = format!("{ELSEWHERE} for 203.0.113.{made_up}");
        let expected =
            if made_up < 3 { StatusCode::SEE_OTHER } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(ask(&from).await, expected, "{from}");
    }
}

#[tokio::test]
async fn i38_guesses_count_as_well() {
    let plane = Plane::with(|config| config.rates.of_a_network = SLOW).await;
    let client = format!("&client_id={}", public_application(&plane).await);
    let begun = ask(&plane, HERE, ASKED[0], &client).await;
    let at = begun.headers["location"].to_str().unwrap().strip_prefix("https://id.test").unwrap();
    let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let guess = async |from: &str, form: &str| {
        let mut request = Request::post(at)
            .header("origin", "https://id.test")
            .header("cookie", cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let peer: IpAddr = from.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer, 4711)));
        plane.send(request).await.status
    };
    let email = "step=identify&email=ada@acme.test";
    assert_eq!(guess(HERE, email).await, StatusCode::SEE_OTHER);
    let password = "step=password&password=wrong";
    // The sign-in that began was the first.
    assert_eq!(guess(HERE, password).await, StatusCode::SEE_OTHER);
    assert_eq!(guess(HERE, password).await, StatusCode::SEE_OTHER);
    assert_eq!(guess(HERE, password).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(ELSEWHERE, password).await, StatusCode::SEE_OTHER);
}
