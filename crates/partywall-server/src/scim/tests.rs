//! What a deactivation ends, of somebody who has everything there is.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    ConnectionPatch, ConnectionStatus, NewScimToken, UserStatus,
    login::{Amr, Proof},
    provider::testing::{Scene, TESTER},
    storage::{
        scim_users::{self, ScimUser},
        sessions::{self, Session, TenantSession},
    },
};

struct Provisioned {
    scene: Scene,
    path: String,
    token: String,
}

impl Provisioned {
    /// The scene's user, who has an account, described by a connection.
    async fn new() -> Self {
        let scene = Scene::new().await;
        let Scene { control, tenant, user, .. } = &scene;
        let new = json!({
            "name": "Own", "client_secret": "s3cret",
            "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
        });
        let new = serde_json::from_value(new).unwrap();
        let connection = control.create_connection(&TESTER, tenant, new).await.unwrap().id;
        let active =
            ConnectionPatch { status: Some(ConnectionStatus::Active), ..Default::default() };
        control.update_connection(&TESTER, tenant, &connection, active, |_| true).await.unwrap();
        let token = NewScimToken { lasts_seconds: 24 * 3600 };
        let token = control.create_scim_token(&TESTER, tenant, &connection, token).await.unwrap();
        let attributes = json!({ "userName": user.email, "active": true });
        let described = ScimUser {
            user: user.clone(),
            connection: connection.clone(),
            attributes: attributes.as_object().unwrap().clone(),
            created_at: control.now(),
            changed_at: control.now(),
            version: 1,
        };
        scim_users::insert(control.inner.db.reader(), &described).await.unwrap();
        let id = super::users::scim_id(&user.id);
        let path = format!("/scim/{tenant}/{connection}/v2/Users/{id}");
        Self { path, token: token.text.expose().clone(), scene }
    }

    async fn patch(&self, operation: Value) -> (StatusCode, String, Value) {
        let request = Request::patch(&self.path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/scim+json")
            .body(Body::from(json!({ "Operations": [operation] }).to_string()))
            .unwrap();
        let response = self.scene.send(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let receipt = parts.headers.get("partywall-receipt");
        let receipt = receipt.map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        (parts.status, receipt, serde_json::from_slice(&body).unwrap())
    }

    async fn session(&self, name: &str) {
        let Scene { control, tenant, user, .. } = &self.scene;
        let now = control.now();
        let proof = Proof::of([Amr::Password], now);
        let expires_at = now + Duration::from_secs(3600);
        let account = user.account.clone().map(|account| (account, proof.clone()));
        let id_hash = name.as_bytes().to_vec();
        let browser = Session { id_hash, account, created_at: now, seen_at: now, expires_at };
        let session = TenantSession {
            sid: format!("{name:a<26}"),
            tenant: tenant.clone(),
            user: user.id.clone(),
            proof,
            created_at: now,
            expires_at,
            ended_at: None,
            user_agent: String::new(),
        };
        let db = control.inner.db.reader();
        sessions::insert(db, &browser).await.unwrap();
        sessions::insert_proof(db, &browser.id_hash, &session).await.unwrap();
    }

    async fn refresh(&self, token: &str) -> (StatusCode, Value) {
        let client = &self.scene.app.client_id;
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        self.scene.post("/token", &form).await
    }

    async fn exchange(&self, key: &str) -> (StatusCode, Value) {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={key}\
             &subject_token_type=urn:partywall:params:oauth:token-type:api_key"
        );
        self.scene.post("/token", &form).await
    }
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn c08_i31_deactivating_ends_sessions_grants_keys_and_tokens_in_one_change() {
    let it = Provisioned::new().await;
    let Scene { control, tenant, user, .. } = &it.scene;
    it.session("one").await;
    it.session("two").await;
    let first = it.scene.refresh_token("openid").await;
    let (status, body) = it.refresh(&first).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (access, again) = (text(&body, "access_token"), text(&body, "refresh_token"));
    let key = json!({ "name": "ci", "holder": user.id, "scopes": [], "lasts_seconds": 3600 });
    let key = serde_json::from_value(key).unwrap();
    let key = control.create_api_key(&TESTER, tenant, key).await.unwrap();
    let by_key = text(&it.exchange(key.text.expose()).await.1, "access_token");
    assert_eq!(it.scene.refusal(&access).await, None, "the control");
    assert_eq!(it.scene.refusal(&by_key).await, None, "the control");

    let before = control.generation();
    let (status, receipt, body) =
        it.patch(json!({ "op": "Replace", "path": "active", "value": "False" })).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(receipt, format!("sessions=2, grants=1, api-keys=1, at=@{}", control.now().0));
    assert_eq!(control.generation().0, before.0 + 1, "in one change");
    assert_eq!(it.scene.refusal(&access).await, Some("revoked"));
    assert_eq!(it.scene.refusal(&by_key).await, Some("revoked"));
    assert_eq!(it.refresh(&again).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(it.exchange(key.text.expose()).await.0, StatusCode::BAD_REQUEST);
    assert!(control.list_sessions(tenant, &user.id, None, 10).await.unwrap().is_empty());
    let trail = control.list_audit_events(Some(tenant), None, 1).await.unwrap();
    assert!(trail[0].detail.contains("\"sessions\":2"), "{}", trail[0].detail);

    // Active again, it may come again; what was ended stays so.
    it.patch(json!({ "op": "replace", "value": { "active": true } })).await;
    let now = control.user(tenant, &user.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.roles), (UserStatus::Active, user.roles.clone()));
    assert_eq!(it.refresh(&again).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(it.exchange(key.text.expose()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(it.scene.refusal(&access).await, Some("revoked"));
}

#[tokio::test]
async fn c06_b07_an_address_said_by_scim_leads_to_nobodys_account() {
    let it = Provisioned::new().await;
    let Scene { control, tenant, user, .. } = &it.scene;
    let victim = crate::provider::testing::user(control, tenant, "victim@acme.test").await;
    for operation in [
        json!({ "op": "replace", "path": "userName", "value": "victim@acme.test" }),
        json!({ "op": "replace", "path": "emails", "value": [{ "value": "victim@acme.test", "primary": true }] }),
    ] {
        let (status, _, body) = it.patch(operation).await;
        assert_eq!(status, StatusCode::OK, "{body}: it is said, and means nothing");
        let now = control.user(tenant, &user.id).await.unwrap().unwrap();
        assert_eq!((&now.email, &now.account), (&user.email, &user.account));
        let account = control.account(now.account.as_ref().unwrap()).await.unwrap().unwrap();
        assert_eq!(account.email, user.email, "what it signs in by");
    }
    let same = control.user(tenant, &victim.id).await.unwrap().unwrap();
    assert_eq!(same, victim);
}
