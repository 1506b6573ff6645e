//! The admin API on both databases: each kind of change once, by an administrator over HTTP.

use axum::{body::Body, http::Request};
use partywall::TenantId;
use partywall_server::{ClientId, DatabaseConfig, NewMachine, NewOperatorKey};
use serde_json::{Value, json};

use crate::support::{ISSUER, Plane, START, TESTER, config, sqlite};

/// An administrator of a tenant, at the admin API.
pub(crate) struct Desk<'p> {
    plane: &'p Plane,
    /// Who asks.
    client: ClientId,
    token: String,
    tenant: String,
}

impl<'p> Desk<'p> {
    pub(crate) async fn of(plane: &'p Plane, tenant: &TenantId) -> Self {
        let admin = NewMachine {
            name: "admin".to_owned(),
            roles: ["tenant-admin".into()].into(),
            scopes: ["admin".parse().unwrap()].into(),
        };
        let admin = plane.control.create_machine(&TESTER, tenant, admin).await.unwrap();
        let asked = plane.ask(&admin, &format!("&resource={ISSUER}/admin")).await.json();
        let token = asked["access_token"].as_str().unwrap().to_owned();
        Desk { plane, client: admin.client_id, token, tenant: tenant.to_string() }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/idp/admin/v1/tenants/{}{path}", self.tenant))
            .header("authorization", format!("Bearer {}", self.token))
            .header("if-match", "*");
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let reply = self.plane.send(request.body(body).unwrap()).await;
        let json = serde_json::from_slice(&reply.body).unwrap_or_default();
        (reply.status.as_u16(), json)
    }

    pub(crate) async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, json) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {json}");
        json
    }
}

#[tokio::test]
async fn m03_an_administrator_runs_a_tenant_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    suite(sqlite(dir.path())).await;
}

pub(crate) async fn suite(database: DatabaseConfig) {
    let plane = Plane::open(config(database), START).await;
    let tenant = plane.tenant("acme").await;
    let desk = Desk::of(&plane, tenant.id()).await;

    let new = json!({ "email": "ada@acme.test", "name": "Ada", "roles": ["clerk"] });
    let user = desk.done("POST", "/users", new.clone()).await;
    assert_eq!(desk.ask("POST", "/users", new).await.0, 409, "the address is taken");
    let at = format!("/users/{}", user["id"].as_str().unwrap());
    let patch = json!({ "name": "Augusta", "roles": ["accountant"], "metadata": { "a": 1 } });
    let changed = desk.done("PATCH", &at, patch).await;
    assert_eq!(changed["roles"], json!(["accountant"]));
    assert_eq!(desk.done("GET", &at, Value::Null).await, changed);
    desk.done("DELETE", &format!("{at}/sessions"), Value::Null).await;

    let machine = desk.done("POST", "/machines", json!({ "name": "robot" })).await;
    let at_machine = format!("/machines/{}", machine["client_id"].as_str().unwrap());
    desk.done("PATCH", &at_machine, json!({ "scopes": ["read"] })).await;
    let overlap = json!({ "overlap_seconds": 60 });
    desk.done("POST", &format!("{at_machine}/secret"), overlap.clone()).await;
    let holder = &machine["client_id"];
    let key = json!({ "holder": holder, "name": "script", "lasts_seconds": 60 });
    let key = desk.done("POST", "/api-keys", key).await;
    let key = format!("/api-keys/{}", key["id"].as_str().unwrap());
    desk.done("DELETE", &key, Value::Null).await;
    desk.done("DELETE", &at_machine, Value::Null).await;
    assert_eq!(desk.done("GET", &at_machine, Value::Null).await["status"], "revoked");

    let registration = json!({ "redirect_uris": ["https://app.test/cb"] });
    let app = json!({
        "name": "web", "authentication": "client_secret", "registration": registration,
    });
    let app = desk.done("POST", "/applications", app).await;
    let at_app = format!("/applications/{}", app["client_id"].as_str().unwrap());
    desk.done("PATCH", &at_app, json!({ "name": "other" })).await;
    desk.done("POST", &format!("{at_app}/secret"), overlap).await;
    desk.done("DELETE", &at_app, Value::Null).await;
    let app = desk.done("GET", &at_app, Value::Null).await;
    assert_eq!((&app["status"], &app["name"]), (&json!("revoked"), &json!("other")));

    let policy = json!({ "methods": ["passkey"], "mfa_required": true });
    desk.done("PUT", "/sign-in-policy", policy.clone()).await;
    let preview = desk.done("POST", "/sign-in-policy/dry-run", policy).await;
    assert_eq!((&preview["users"], &preview["locked_out"]), (&json!(1), &json!(0)));
    let branding = desk.done("PUT", "/branding", json!({ "accent": "#123456" })).await;
    assert_eq!(desk.done("GET", "/branding", Value::Null).await, branding);
    assert_eq!(desk.done("GET", "/sign-in-policy", Value::Null).await["mfa_required"], true);
    let profile = json!({ "administrators": ["ada@acme.test"] });
    desk.done("PATCH", "/profile", profile.clone()).await;
    assert_eq!(desk.ask("PATCH", "", json!({ "tier": "free" })).await.0, 403);

    desk.done("DELETE", &at, Value::Null).await;
    assert_eq!(desk.ask("GET", &at, Value::Null).await.0, 404);
    let events = desk.done("GET", "/audit-events?limit=1000", Value::Null).await;
    let actions: Vec<&str> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["actor"] == desk.client.as_str())
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    // L-01: each change above, newest first, and nothing else.
    let expected = [
        "user.delete",
        "tenant.update",
        "branding.set",
        "sign_in_policy.set",
        "application.revoke",
        "application.rotate_secret",
        "application.update",
        "application.create",
        "machine.revoke",
        "api_key.revoke",
        "api_key.create",
        "machine.rotate_secret",
        "machine.update",
        "machine.create",
        "session.revoke_all",
        "user.update",
        "user.create",
    ];
    assert_eq!(actions, expected);
    assert_eq!(
        desk.done("GET", "/security-events", Value::Null).await["items"][0]["event"],
        "admin.forbidden"
    );

    let operator =
        NewOperatorKey { name: "olga".to_owned(), lasts: std::time::Duration::from_secs(60) };
    let operator = plane.control.create_operator_key(&TESTER, operator).await.unwrap();
    let operators = Desk { token: operator.expose().to_owned(), ..desk };
    operators.done("PATCH", "", json!({ "status": "pending_erase", "region": null })).await;
    operators.done("DELETE", "", Value::Null).await;
    assert_eq!(operators.ask("GET", "", Value::Null).await.0, 404);
}
