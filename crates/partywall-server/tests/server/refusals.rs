//! Every endpoint says in the log whom it refused, when, where and as which request (L-01), on one
//! line whatever was sent (L-03).

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    alone::{Log, alone},
    support::Plane,
};

/// What the provider serves, at the issuer that all tenants share.
const ENDPOINTS: [(&str, &str); 24] = [
    ("GET", "/authorize"),
    ("POST", "/authorize"),
    ("POST", "/par"),
    ("POST", "/token"),
    ("POST", "/device_authorization"),
    ("POST", "/introspect"),
    ("POST", "/revoke"),
    ("GET", "/userinfo"),
    ("POST", "/userinfo"),
    ("POST", "/logout"),
    ("GET", "/sign-in/nothing"),
    ("POST", "/sign-in/nothing"),
    ("POST", "/sign-in/nothing/passkey"),
    ("POST", "/account/nothing"),
    ("POST", "/account/nothing/passkey"),
    ("POST", "/device"),
    ("POST", "/device/nothing"),
    ("POST", "/forgot"),
    ("GET", "/reset/nothing"),
    ("POST", "/reset/nothing"),
    ("GET", "/invitation/nothing"),
    ("POST", "/invitation/nothing"),
    ("GET", "/t/nobody/.well-known/openid-configuration"),
    ("GET", "/nowhere"),
];

/// Tries to end the line, to begin another, and to colour it.
const FORGED: &str = "x%0D%0A%7B%22level%22%3A%22INFO%22%7D%1B%5B31m";

async fn admin_endpoints(plane: &Plane) -> Vec<(String, String)> {
    let document = plane.get("/idp/admin/v1/openapi.json").await.json();
    let mut endpoints = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let path = path.split('/').map(|segment| match segment.starts_with('{') {
                true => "nothing",
                false => segment,
            });
            let path = path.collect::<Vec<_>>().join("/");
            endpoints.push((method.to_uppercase(), format!("/idp/admin/v1{path}")));
        }
    }
    endpoints
}

#[test]
fn l01_every_endpoints_refusal_is_logged_and_l03_on_one_line() {
    alone("refusals::of_every_endpoint");
}

#[tokio::test]
#[ignore = "in a process of its own"]
async fn of_every_endpoint() {
    let plane = Plane::new().await;
    let (log, _listening) = Log::listen(LevelFilter::INFO);

    let own = ENDPOINTS.iter().map(|(method, path)| ((*method).to_owned(), format!("/idp{path}")));
    let of_admins = admin_endpoints(&plane).await;
    assert!(of_admins.len() > 30, "{of_admins:?}");
    let of_points = ["/bundle", "/bundle/key/x"].map(|path| ("GET".to_owned(), path.to_owned()));
    let mut routes = BTreeSet::new();
    for (method, path) in own.chain(of_admins).chain(of_points) {
        log.take();
        let form =
            format!("client_id={FORGED}&client_secret={FORGED}&email={FORGED}&token={FORGED}");
        let request = Request::builder()
            .method(method.as_str())
            .uri(format!("{path}?{form}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", "Bearer made-up");
        let reply = plane.send(request.body(Body::from(form)).unwrap()).await;
        assert!(reply.status.is_client_error(), "{method} {path}: {}", reply.status);
        let id = reply.headers["x-request-id"].to_str().unwrap();
        let text = log.take();
        let said = text.lines().find(|line| line.contains("event=\"request.refused\""));
        let said = said.unwrap_or_else(|| panic!("{method} {path}: {text}"));
        let (at, _) = said.split_once(' ').unwrap();
        assert!(at.starts_with("20") && at.ends_with('Z'), "UTC: {said}");
        let status = format!("status={}", reply.status.as_u16());
        for part in [&format!("request.id=\"{id}\""), &status, &format!("method={method}")] {
            assert!(said.contains(part), "{part}: {said}");
        }
        for line in text.lines() {
            assert!(line.starts_with("20") && line.contains(id), "{method} {path}: {text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("made-up"), "{text}");
        let (_, route) = said.split_once("route=\"").unwrap();
        routes.insert(route.split('"').next().unwrap().to_owned());
    }
    // By its route, and never by what somebody wrote there.
    assert!(routes.contains("/idp/reset/{link}") && routes.contains("none"), "{routes:?}");
    assert!(routes.iter().all(|route| !route.contains("nothing")), "{routes:?}");
}
