//! A control plane in a directory of its own, under a clock that stands where it is put.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use partywall::{
    AccessToken, Clock, DeploymentModel, FixedClock, Partywall, Placement, Placements, TenantId,
    Timestamp,
};
use partywall_server::{
    Actor, ControlPlane, DatabaseConfig, MachineCredentials, NewMachine, NewTenant, Resources,
    SealingKey, Secret, Server, ServerConfig, Tenant,
};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::databases;

pub(crate) const ISSUER: &str = "https://id.test/idp";
pub(crate) const API: &str = "https://api.test";
pub(crate) const OTHER_API: &str = "https://other-api.test";
pub(crate) const START: Timestamp = Timestamp(1_800_000_000);
pub(crate) const TESTER: Actor = Actor::System("test");

/// A running control plane, and what it stands on.
pub(crate) struct Plane {
    pub(crate) control: ControlPlane,
    pub(crate) clock: Arc<FixedClock>,
    router: Router,
    _dir: Option<TempDir>,
}

impl Plane {
    /// In a fresh directory, on the database this run of the tests is on.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(database(dir.path()).await);
        configure(&mut config);
        let mut plane = Self::open(config, START).await;
        plane._dir = Some(dir);
        plane
    }

    pub(crate) async fn open(config: ServerConfig, now: Timestamp) -> Self {
        let clock = Arc::new(FixedClock::at(now));
        let control = ControlPlane::open(config, Arc::<FixedClock>::clone(&clock)).await.unwrap();
        let router = Server::new(control.clone()).router();
        Self { control, clock, router, _dir: None }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.set(self.clock.now() + by);
    }

    pub(crate) async fn tenant(&self, slug: &str) -> Tenant {
        self.control.create_tenant(&TESTER, new_tenant(slug)).await.unwrap()
    }

    pub(crate) async fn machine(&self, tenant: &TenantId) -> MachineCredentials {
        self.control.create_machine(&TESTER, tenant, new_machine("robot")).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_if_none_match(&self, path: &str, etag: &str) -> Reply {
        let request = Request::get(path).header("if-none-match", etag);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A token request as a form, with the credentials in the body.
    pub(crate) async fn ask(&self, client: &MachineCredentials, more: &str) -> Reply {
        let (id, secret) = (client.client_id.as_str(), client.secret.expose());
        self.post_form(&format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}{more}"
        ))
        .await
    }

    pub(crate) async fn post_form(&self, form: &str) -> Reply {
        self.send(form_request(form).body(Body::from(form.to_owned())).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// An access token, by the shortest way.
    pub(crate) async fn token(&self, client: &MachineCredentials) -> String {
        let reply = self.ask(client, "").await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// An enforcement point that has taken the latest bundle.
    pub(crate) async fn wall(&self) -> Partywall {
        let wall = Partywall::builder()
            .audience(API)
            .trust(self.control.bundle_key().clone())
            .clock(Arc::<FixedClock>::clone(&self.clock))
            .build()
            .unwrap();
        wall.accept(self.control.bundle().await.unwrap().bytes).unwrap();
        wall
    }
}

/// Why `wall` does not let `token` in; `None` when it does.
pub(crate) fn refusal(wall: &Partywall, token: &str) -> Option<&'static str> {
    wall.verify(AccessToken::new(token)).err().map(|refusal| refusal.code())
}

pub(crate) fn form_request(_form: &str) -> axum::http::request::Builder {
    Request::post("/idp/token").header("content-type", "application/x-www-form-urlencoded")
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `error` of an RFC 6749 5.2 answer.
    pub(crate) fn error(&self) -> String {
        let error = self.json()["error"].as_str().map(str::to_owned);
        error.unwrap_or_else(|| panic!("answered {}, which is no error", self.status))
    }
}

/// The database that belongs to `dir`, of the kind this run of the tests is on.
pub(crate) async fn database(dir: &Path) -> DatabaseConfig {
    match databases::postgres(dir).await {
        Some(url) => DatabaseConfig::Postgres { url: Secret::new(url) },
        None => sqlite(dir),
    }
}

pub(crate) fn sqlite(dir: &Path) -> DatabaseConfig {
    DatabaseConfig::Sqlite { path: dir.join("control.db") }
}

pub(crate) fn sealing_key(byte: u8) -> SealingKey {
    SealingKey::from_bytes(&Secret::new([byte; 32])).unwrap()
}

pub(crate) fn config(database: DatabaseConfig) -> ServerConfig {
    let resources = Resources::new(API.parse().unwrap(), [OTHER_API.parse().unwrap()]);
    ServerConfig::new(database, sealing_key(7), ISSUER.parse().unwrap(), resources)
}

pub(crate) fn new_tenant(slug: &str) -> NewTenant {
    let pool = Placement { model: DeploymentModel::Pool, target: "eu-1".parse().unwrap() };
    let placements = Placements::from_iter([("main".parse().unwrap(), pool)]);
    NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), placements)
}

pub(crate) fn new_machine(name: &str) -> NewMachine {
    NewMachine {
        name: name.to_owned(),
        roles: BTreeSet::from(["clerk".into()]),
        scopes: ["invoices:read", "invoices:pay"].map(|s| s.parse().unwrap()).into(),
    }
}

/// A second, independent opinion about a token: `jsonwebtoken` with a JWKS as text.
pub(crate) fn oracle(
    jwks: &[u8],
    token: &str,
) -> Result<serde_json::Value, jsonwebtoken::errors::Error> {
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};

    let jwks: JwkSet = serde_json::from_slice(jwks).unwrap();
    let header = decode_header(token)?;
    let missing = jsonwebtoken::errors::ErrorKind::InvalidKeyFormat;
    let jwk = jwks.find(header.kid.as_deref().unwrap_or_default()).ok_or(missing)?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[API, OTHER_API]);
    validation.set_issuer(&[ISSUER]);
    // The tests' clock is not the machine's.
    validation.validate_exp = false;
    let token = decode::<serde_json::Value>(token, &DecodingKey::from_jwk(jwk)?, &validation)?;
    assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
    Ok(token.claims)
}
