//! PyPI `scim2-tester` holds a connection's SCIM address to RFC 7643 and RFC 7644, and `scim2-models`
//! evaluates filters beside ours.

use partywall_server::{ConnectionPatch, ConnectionStatus, NewConnection, NewScimToken, Rate};
use serde_json::{Value, json};

use super::{
    parts,
    scene::{Scene, TESTER},
};

/// A connection that provisions, and its token.
async fn provider(scene: &Scene) -> Value {
    let new: NewConnection = serde_json::from_value(json!({
        "name": "Own", "client_secret": "s3cret",
        "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
    }))
    .unwrap();
    let (control, tenant) = (&scene.control, &scene.tenant);
    let connection = control.create_connection(&TESTER, tenant, new).await.unwrap().id;
    let active =
        ConnectionPatch { status: Some(ConnectionStatus::Active), ..ConnectionPatch::default() };
    control.update_connection(&TESTER, tenant, &connection, active, |_| true).await.unwrap();
    let token = NewScimToken { lasts_seconds: 3600 };
    let token = control.create_scim_token(&TESTER, tenant, &connection, token).await.unwrap();
    let base = format!("{}/scim/{tenant}/{connection}/v2", scene.issuer);
    scene.judged(json!({ "base": base, "token": token.text.expose() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_scim2_tester_finds_nothing() {
    let scene = Scene::start().await;
    parts::python("scim.py", &provider(&scene).await).await;
    scene.stop().await;
}

/// The evaluator of `scim2-models` beside ours, on filters made by the grammar: 5,000 of them, or as
/// many as `PARTYWALL_SCIM_FILTERS` says.
#[tokio::test(flavor = "multi_thread")]
async fn c03_scim2_models_finds_the_same_users() {
    let fast = Rate { per_minute: 60_000_000, at_once: 1_000_000 };
    let scene = Scene::start_as("127.0.0.1", |config| config.rates.of_scim = fast).await;
    let mut judged = provider(&scene).await;
    let filters = std::env::var("PARTYWALL_SCIM_FILTERS").ok();
    judged["filters"] = filters.map_or(5_000, |filters| filters.parse::<u64>().unwrap()).into();
    parts::python("scim_filters.py", &judged).await;
    scene.stop().await;
}
