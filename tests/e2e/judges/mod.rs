//! Software that is not ours, unmodified, against a whole server: it decides whether we speak the
//! protocols that we say we speak (I-42). What each script tries is in `tests/judges`.

// A script finds its modules through a symbolic link.
#![cfg(unix)]

use serde_json::{Value, json};

use scene::Scene;

mod apache;
mod api;
mod browser;
mod parts;
mod portal;
mod postbox;
mod providers;
mod scene;
mod scim;
mod service_provider;
mod simplesamlphp;
mod stage;

#[expect(dead_code, reason = "the server's own tests ask it more")]
#[path = "../../../crates/partywall-server/tests/server/name_server.rs"]
mod name_server;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// npm `openid-client`, which is certified: discovery, client credentials, DPoP, resource
/// indicators, introspection, revocation.
#[tokio::test(flavor = "multi_thread")]
async fn i42_openid_client_gets_tokens_for_a_machine() {
    let scene = Scene::start().await;
    let clients = json!({ "robot": scene.robot().await, "stranger": scene.stranger().await });
    parts::node("machine.mjs", &scene.judged(clients)).await;
    scene.stop().await;
}

/// PyPI `authlib`: client credentials, introspection, revocation.
#[tokio::test(flavor = "multi_thread")]
async fn i42_authlib_gets_tokens_for_a_machine() {
    let scene = Scene::start().await;
    let clients = json!({ "robot": scene.robot().await, "stranger": scene.stranger().await });
    parts::python("machine.py", &scene.judged(clients)).await;
    scene.stop().await;
}

/// `openid-client`: authorization code, PKCE, ID token, userinfo, refresh, token exchange.
#[tokio::test(flavor = "multi_thread")]
async fn i42_openid_client_signs_people_in_to_a_web_application() {
    let scene = Scene::start().await;
    let web = json!({
        "name": "Invoices", "authentication": "client_secret",
        "registration": {
            "redirect_uris": ["https://app.test/cb"],
            "post_logout_redirect_uris": ["https://app.test/left"],
            "grants": ["authorization_code", "refresh_token", TOKEN_EXCHANGE],
            "scopes": SCOPES,
        },
    });
    let people = json!({ "ada": scene.ada().await, "web": scene.application(web).await });
    parts::node("web.mjs", &scene.judged(people)).await;
    scene.stop().await;
}

/// `authlib`: authorization code, PKCE, ID token, userinfo, refresh; by secret and by key.
#[tokio::test(flavor = "multi_thread")]
async fn i42_authlib_signs_people_in_to_a_web_application() {
    let Some(keys) = parts::keys("ES256").await else { return };
    let scene = Scene::start().await;
    let registration = json!({
        "redirect_uris": ["https://app.test/cb"], "scopes": SCOPES,
        "grants": ["authorization_code", "refresh_token"],
    });
    let web = json!({
        "name": "Invoices", "authentication": "client_secret", "registration": registration,
    });
    let strict = json!({
        "name": "Ledger", "authentication": "private_key_jwt", "registration": registration,
        "jwks": { "keys": [keys["public"]] },
    });
    let people = json!({
        "ada": scene.ada().await, "key": keys["private"],
        "web": scene.application(web).await, "strict": scene.application(strict).await,
    });
    parts::python("person.py", &scene.judged(people)).await;
    scene.stop().await;
}

/// `openid-client`: pushed requests, `private_key_jwt`, DPoP, loopback redirects (O-24).
#[tokio::test(flavor = "multi_thread")]
async fn o24_openid_client_binds_everything_to_a_key() {
    let Some(keys) = parts::keys("ES256").await else { return };
    let scene = Scene::start().await;
    let strict = json!({
        "name": "Ledger", "authentication": "private_key_jwt",
        "jwks": { "keys": [keys["public"]] },
        "registration": {
            "redirect_uris": ["https://ledger.test/cb"], "scopes": SCOPES,
            "requires_pushed_requests": true, "requires_dpop": true,
        },
    });
    let people = json!({
        "ada": scene.ada().await, "key": keys["private"],
        "strict": scene.application(strict).await, "native": scene.application(native()).await,
    });
    parts::node("bound.mjs", &scene.judged(people)).await;
    scene.stop().await;
}

/// `openid-client`: device authorization.
#[tokio::test(flavor = "multi_thread")]
async fn i42_openid_client_signs_people_in_on_a_device() {
    let scene = Scene::start().await;
    let people = json!({ "ada": scene.ada().await, "native": scene.application(native()).await });
    parts::node("device.mjs", &scene.judged(people)).await;
    scene.stop().await;
}

const SCOPES: [&str; 2] = ["invoices:read", "invoices:pay"];

/// A program on somebody's machine.
fn native() -> Value {
    json!({
        "name": "Desk", "authentication": "none",
        "registration": {
            "redirect_uris": ["http://127.0.0.1/cb"], "native": true, "scopes": SCOPES,
            "grants": ["authorization_code", "refresh_token", DEVICE_CODE],
        },
    })
}
