//! Domains over HTTP: two tenants' administrators, a name server, and a domain both want.

use std::time::Duration;

use partywall_server::Server;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    administration::Desk,
    name_server::{Answer, NameServer},
    support::Plane,
};

async fn plane(dns: &NameServer) -> Plane {
    let servers = vec![dns.address()];
    Plane::with(|config| config.dns_servers = servers).await
}

fn publish(dns: &NameServer, claims: &[&Value]) {
    let name = claims[0]["record"]["name"].as_str().unwrap();
    let values: Vec<&str> =
        claims.iter().map(|claim| claim["record"]["value"].as_str().unwrap()).collect();
    dns.publish(name, &values);
}

#[tokio::test]
async fn f03_a_tenant_proves_a_domain_over_http() {
    let dns = NameServer::start().await;
    let plane = plane(&dns).await;
    let (acme, bond) = (plane.tenant("acme").await, plane.tenant("bond").await);
    let (ours, theirs) = (Desk::of(&plane, acme.id()).await, Desk::of(&plane, bond.id()).await);
    let new = json!({ "domain": "Bücher.Example" });
    let claim = ours.done("POST", "/domains", new.clone()).await;
    assert_eq!(claim["domain"], "xn--bcher-kva.example");
    let record = &claim["record"];
    assert_eq!(record["name"], "_partywall-challenge.xn--bcher-kva.example");
    assert_eq!(record["type"], "TXT");
    assert!(record["value"].as_str().unwrap().starts_with("partywall-domain-verification="));
    assert_eq!(ours.ask("POST", "/domains", new.clone()).await.0, 409, "claimed already");

    let at = "/domains/xn--bcher-kva.example";
    let checked = ours.done("POST", &format!("{at}/check"), Value::Null).await;
    assert_eq!((&checked["status"], &checked["seen"]), (&json!("claimed"), &json!("nothing")));
    let other = theirs.done("POST", "/domains", new).await;
    publish(&dns, &[&claim, &other]);
    let checked = ours.done("POST", &format!("{at}/check"), Value::Null).await;
    assert_eq!((&checked["status"], &checked["seen"]), (&json!("proved"), &json!("value")));
    let (status, taken) = theirs.ask("POST", &format!("{at}/check"), Value::Null).await;
    assert_eq!(status, 409);
    let detail = "xn--bcher-kva.example is already proved by another organisation: contact support";
    assert_eq!(taken["detail"], detail);
    assert_eq!(theirs.done("GET", at, Value::Null).await["status"], "claimed");

    for (refused, status) in [
        (json!({ "domain": "gmail.com" }), 422),
        (json!({ "domain": "co.uk" }), 422),
        (json!({ "domain": "localhost" }), 422),
        (json!({ "domain": "*.example.com" }), 422),
        (json!({ "domain": "example.com", "token": "mine" }), 400),
        (json!({ "domain": "example.com", "verified_at": 1 }), 400),
        (json!({}), 400),
    ] {
        assert_eq!(ours.ask("POST", "/domains", refused.clone()).await.0, status, "{refused}");
    }
    for unnamed in [json!({}), json!({ "connection": "c-x" }), json!({ "status": "proved" })] {
        assert_eq!(ours.ask("PATCH", at, unnamed.clone()).await.0, 400, "{unnamed}");
    }
    assert_eq!(ours.ask("GET", "/domains/gmail.com", Value::Null).await.0, 404);
    assert_eq!(ours.ask("GET", "/domains/x%00y", Value::Null).await.0, 404);
    let all = ours.done("GET", "/domains", Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    ours.done("DELETE", at, Value::Null).await;
    assert_eq!(ours.ask("GET", at, Value::Null).await.0, 404);
    assert_eq!(theirs.done("POST", &format!("{at}/check"), Value::Null).await["status"], "proved");
}

/// The chores of a running server look at proofs again, and nobody has to ask.
#[tokio::test]
async fn i17_a_running_server_looks_at_proofs_again() {
    let dns = NameServer::start().await;
    let plane = plane(&dns).await;
    let acme = plane.tenant("acme").await;
    let desk = Desk::of(&plane, acme.id()).await;
    let claim = desk.done("POST", "/domains", json!({ "domain": "example.com" })).await;
    publish(&dns, &[&claim]);
    desk.done("POST", "/domains/example.com/check", Value::Null).await;
    dns.say("_partywall-challenge.example.com", Answer::Code(3));
    plane.advance(Duration::from_secs(25 * 3600));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving =
        tokio::spawn(Server::new(plane.control.clone()).serve(listener, std::future::pending()));
    let name = "example.com".parse().unwrap();
    let mut tries = 0;
    loop {
        let domain = plane.control.domain(acme.id(), &name).await.unwrap().unwrap();
        if domain.failing_since.is_some() {
            break;
        }
        tries += 1;
        assert!(tries < 200, "nobody looked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    serving.abort();
}
