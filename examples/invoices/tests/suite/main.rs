//! The sample, as requests: the same suite on the embedded store and on PostgreSQL.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::FromRef,
    http::{Method, Request, StatusCode},
};
use http_body_util::BodyExt;
use invoices::{App, Ledger, Reminders, router};
use partywall::{
    Clock, FixedClock, Partywall, Placements, TenantStatus,
    testing::{ControlPlane, TENANTS, tenant},
    token::{Algorithm, SigningKey},
};
use serde_json::{Value, json};
use tower::ServiceExt;

mod stores;

/// The sample on one kind of store, with tenants whose ids begin alike.
struct Sample {
    control: ControlPlane,
    wall: Partywall,
    app: Router,
}

impl Sample {
    fn new<S>(store: S, placements: &Placements) -> Self
    where
        S: Ledger + FromRef<App<S>>,
    {
        let tenants = TENANTS.map(|id| tenant(id, placements.clone()));
        let control = ControlPlane::new(tenants.into());
        let wall = control.wall();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(ControlPlane::START));
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let (reminders, worker) = Reminders::open(key, clock).unwrap();
        tokio::spawn(worker.run(wall.clone(), store.clone()));
        let app = router(&wall, App::new(store, reminders));
        Self { control, wall, app }
    }

    fn token(&self, tenant: &str, roles: &[&str]) -> String {
        let mut claims = self.control.claims(tenant, "u:ada");
        claims["roles"] = json!(roles);
        self.control.sign_token(&claims)
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {token}"));
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.send(Method::GET, path, token, Value::Null).await
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, token, body).await
    }
}

/// What holds on every kind of store.
async fn suite<S>(store: S, placements: &Placements)
where
    S: Ledger + FromRef<App<S>>,
{
    let mut sample = Sample::new(store, placements);
    let [acme, acme_2, _] = TENANTS.map(|tenant| sample.token(tenant, &["accountant"]));
    let invoice = json!({ "customer": "Initrode", "amount_cents": 4200 });
    let (status, created) = sample.post("/invoices", &acme, invoice.clone()).await;
    assert_eq!((status, &created["paid"]), (201, &json!(false)), "{created}");
    let path = format!("/invoices/{}", created["id"].as_str().unwrap());
    let payment = format!("{path}/payment");

    // Another tenant's invoice is not found, in the very words of one that never was.
    let absent = "/invoices/6f9619ff-8b86-4d01-b42d-00c04fc964ff";
    assert_eq!(sample.get(&path, &acme).await, (200, created.clone()));
    assert_eq!(sample.get(&path, &acme_2).await, sample.get(absent, &acme_2).await);
    assert_eq!(sample.get(&path, &acme_2).await.0, 404);
    assert_eq!(sample.get("/invoices", &acme_2).await, (200, json!([])));
    assert_eq!(sample.get("/invoices", &acme).await, (200, json!([created])));

    // Who may do what: not found before forbidden.
    let member = sample.token("acme", &["member"]);
    let mut matrix = String::new();
    for (who, token) in
        [("stranger", &acme_2), ("member", &member), ("accountant", &acme), ("again", &acme)]
    {
        let (status, _) = sample.post(&payment, token, Value::Null).await;
        matrix += &format!("{who:<10} {status}\n");
    }
    assert_eq!(matrix, "stranger   404\nmember     403\naccountant 204\nagain      409\n");

    mass_assignment(&sample, &acme).await;
    reminders(&mut sample, &acme, invoice).await;
}

/// M-03: a caller cannot put in what is not its to say, a tenant least of all.
async fn mass_assignment(sample: &Sample, token: &str) {
    for (field, value) in
        [("tenant_id", json!("acme-2")), ("paid", json!(true)), ("id", json!("1"))]
    {
        let mut body = json!({ "customer": "Initrode", "amount_cents": 1 });
        body[field] = value;
        let (status, _) = sample.post("/invoices", token, body).await;
        assert_eq!(status, 422, "{field} was taken");
    }
    // Characters are counted, not bytes.
    let long = "é".repeat(200);
    let invoice = json!({ "customer": long, "amount_cents": 1 });
    assert_eq!(sample.post("/invoices", token, invoice).await.0, 201);
    for bad in [
        json!({ "customer": " ", "amount_cents": 1 }),
        json!({ "customer": long + "é", "amount_cents": 1 }),
        json!({ "customer": "x", "amount_cents": 0 }),
    ] {
        assert_eq!(sample.post("/invoices", token, bad).await.0, 422);
    }
}

/// Of twenty payments at once, one is taken: in between reading and writing lies everything.
async fn paid_once<S>(store: S, placements: &Placements)
where
    S: Ledger + FromRef<App<S>>,
{
    let sample = Sample::new(store, placements);
    let token = sample.token("acme", &["accountant"]);
    let invoice = json!({ "customer": "Initrode", "amount_cents": 4200 });
    let (_, created) = sample.post("/invoices", &token, invoice).await;
    let payment = format!("/invoices/{}/payment", created["id"].as_str().unwrap());
    let mut payments = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let request = Request::post(&payment).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        payments.spawn(sample.app.clone().oneshot(request));
    }
    let answers = payments.join_all().await;
    let mut statuses: Vec<_> = answers.iter().map(|a| a.as_ref().unwrap().status()).collect();
    statuses.sort();
    assert_eq!(statuses[0], StatusCode::NO_CONTENT);
    assert_eq!(statuses[1..], [StatusCode::CONFLICT; 19]);
}

/// M-11: the job runs as the tenant that put it in, and not at all for a suspended one.
async fn reminders(sample: &mut Sample, acme: &str, invoice: Value) {
    let (_, created) = sample.post("/invoices", acme, invoice).await;
    let path = format!("/invoices/{}", created["id"].as_str().unwrap());
    let stranger = sample.token("acme-2", &["accountant"]);
    assert_eq!(sample.post(&format!("{path}/reminder"), &stranger, Value::Null).await.0, 404);
    assert_eq!(sample.post(&format!("{path}/reminder"), acme, Value::Null).await.0, 202);
    for _ in 0..100 {
        if sample.get(&path, acme).await.1["reminders"] == 1 {
            return suspended(sample, acme, &path).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the reminder never went out");
}

async fn suspended(sample: &mut Sample, acme: &str, path: &str) {
    sample.control.contents.tenants[0].status = TenantStatus::Suspended;
    sample.wall.accept(sample.control.publish()).unwrap();
    assert_eq!(sample.get(path, acme).await.0, StatusCode::UNAUTHORIZED.as_u16());
}
