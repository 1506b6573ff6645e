//! A provider for unit tests: one tenant with a user, a public application, and requests.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use http_body_util::BodyExt;
use partywall::{AccessToken, Clock, FixedClock, Partywall, TenantId, TenantStatus};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    Actor, ApplicationCredentials, ControlPlane, MachineCredentials, NewApplication, NewMachine,
    NewTenant, NewUser, Server, User, UserStatus,
    control::{NewGrant, tests_support},
    login::{
        Admitted, Amr, Entry, Path, Proof, admit,
        session::{self, Browser},
    },
    provider::token::refresh_token,
    random,
    storage::{
        grants::{self, Grant},
        security_events,
        users::{self, Who},
    },
};

pub(crate) const TESTER: Actor = Actor::System("test");
pub(crate) const ISSUER: &str = "https://id.test";

pub(crate) struct Scene {
    pub(crate) control: ControlPlane,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) tenant: TenantId,
    pub(crate) user: User,
    pub(crate) app: ApplicationCredentials,
    router: Router,
    dir: Option<tempfile::TempDir>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = tests_support::control_with_clock(dir.path()).await;
        let tenant = tenant(&control, "acme").await;
        let user = user(&control, &tenant, "ada@acme.test").await;
        let router = Server::new(control.clone()).router();
        let app = application(&control, None, json!({ "authentication": "none" })).await;
        Self { control, clock, tenant, user, app, router, dir: Some(dir) }
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.as_ref().unwrap().path()
    }

    /// What another process finds this scene by, with [`again`](Self::again).
    pub(crate) fn named(&self) -> String {
        format!("{} {} {}", self.tenant, self.user.id, self.app.client_id)
    }

    /// The scene that another process made in `dir`.
    pub(crate) async fn again(dir: &std::path::Path, named: &str) -> Self {
        let mut names = named.split(' ');
        let mut name = || names.next().unwrap();
        let (tenant, user, client): (TenantId, _, _) =
            (name().parse().unwrap(), name().parse().unwrap(), name().parse().unwrap());
        let (control, clock) = tests_support::control_with_clock(dir).await;
        let user = control.user(&tenant, &user).await.unwrap().unwrap();
        let router = Server::new(control.clone()).router();
        let app = ApplicationCredentials { client_id: client, secret: None };
        Self { control, clock, tenant, user, app, router, dir: None }
    }

    /// Some more servers on the same database.
    pub(crate) async fn servers(&self, number: usize) -> Vec<Router> {
        let mut servers = Vec::new();
        for _ in 0..number {
            let control = tests_support::control(self.dir()).await;
            servers.push(Server::new(control).router());
        }
        servers
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.set(self.clock.now() + by);
    }

    /// A second server on the same database, at the same time.
    pub(crate) async fn another_server(&self) -> ControlPlane {
        let (control, clock) = tests_support::control_with_clock(self.dir()).await;
        clock.set(self.clock.now());
        control
    }

    pub(crate) async fn set_status(&self, status: TenantStatus) {
        self.control.set_status(&TESTER, &self.tenant, status).await.unwrap();
    }

    /// A second public application of the vendor.
    pub(crate) async fn another_app(&self) -> ApplicationCredentials {
        application(&self.control, None, json!({ "authentication": "none" })).await
    }

    pub(crate) async fn machine(&self) -> MachineCredentials {
        machine(&self.control, &self.tenant).await
    }

    /// The user, let in with a password shown just now.
    pub(crate) async fn admitted(&self) -> Admitted {
        let proof = Proof::of([Amr::Password], self.clock.now());
        let (tenant, who) = (&self.tenant, Who::User(&self.user.id));
        let entry = Entry { tenant, who, path: Path::Session, proof: &proof };
        admit(self.control.inner.db.reader(), entry, self.clock.now()).await.unwrap().unwrap()
    }

    pub(crate) async fn refresh_token(&self, scopes: &str) -> String {
        self.new_refresh_token(scopes, None).await
    }

    pub(crate) async fn bound_refresh_token(&self, scopes: &str, jkt: &str) -> String {
        self.new_refresh_token(scopes, Some(jkt)).await
    }

    async fn new_refresh_token(&self, scopes: &str, dpop_jkt: Option<&str>) -> String {
        let new = NewGrant {
            id: random::opaque_id(&SystemRandom::new()).unwrap(),
            client: &self.app.client_id,
            scopes: scopes.split(' ').map(|scope| scope.parse().unwrap()).collect(),
            resource: "https://api.test",
            sid: None,
            nonce: None,
            dpop_jkt,
            refreshed: true,
        };
        let (db, admitted) = (self.control.inner.db.reader(), self.admitted().await);
        let token = refresh_token::first(&self.control, db, &admitted, new).await.unwrap();
        token.unwrap().expose().clone()
    }

    pub(crate) async fn grants(&self) -> Vec<Grant> {
        let (db, now) = (self.control.inner.db.reader(), self.clock.now());
        grants::page(db, &self.tenant, &self.user.id, None, 10, now).await.unwrap()
    }

    pub(crate) async fn security_events(&self) -> Vec<String> {
        use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter};

        // Some are of no tenant: of a device code that was not decided, for one.
        let own = security_events::Column::TenantId.eq(self.tenant.as_str());
        let own = own.or(security_events::Column::TenantId.is_null());
        let events = security_events::Entity::find().filter(own);
        let events = events.all(self.control.inner.db.reader()).await;
        let line = |event: &security_events::Model| format!("{} {}", event.event, event.outcome);
        events.unwrap().iter().map(line).collect()
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> (StatusCode, Value) {
        self.post_with(path, form, &[]).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        form: &str,
        headers: &[(&str, String)],
    ) -> (StatusCode, Value) {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(form.to_owned())).unwrap();
        let response = self.send(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// The cookie of a browser in which `account`'s owner showed `amr` just now.
    pub(crate) async fn signed_in(&self, user: &User, amr: &[Amr]) -> String {
        let proof = Proof::of(amr.iter().copied(), self.clock.now());
        let nobody = Browser::of(&axum::http::HeaderMap::new(), crate::rate::Network::default());
        let account = user.account.as_ref().unwrap();
        let begun = session::begin(&self.control, &nobody, account, &proof).await.unwrap();
        let cookie = begun.set_cookie.unwrap();
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    /// What a token says; whether it holds is [`refusal`](Self::refusal)'s.
    pub(crate) fn claims(&self, token: &str) -> Value {
        let payload = Base64UrlUnpadded::decode_vec(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    /// Why an enforcement point with the latest bundle refuses a token; `None` when it does not.
    pub(crate) async fn refusal(&self, token: &str) -> Option<&'static str> {
        let wall = Partywall::builder()
            .audience("https://api.test")
            .trust(self.control.bundle_key().clone())
            .clock(Arc::<FixedClock>::clone(&self.clock))
            .build()
            .unwrap();
        wall.accept(self.control.bundle().await.unwrap().bytes).unwrap();
        wall.verify(AccessToken::new(token)).err().map(|refusal| refusal.code())
    }

    /// A proof of possession for a POST to one of our endpoints.
    pub(crate) fn dpop_proof(&self, key: &Signer, path: &str, id: &str) -> String {
        let claims = json!({
            "jti": id, "htm": "POST", "htu": format!("{ISSUER}{path}"), "iat": self.clock.now().0,
        });
        key.sign(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk() }), &claims)
    }
}

pub(crate) async fn tenant(control: &ControlPlane, slug: &str) -> TenantId {
    let new = NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
    control.create_tenant(&TESTER, new).await.unwrap().id().clone()
}

/// Posts a form, without any header of its own.
pub(crate) async fn post(server: Router, path: &str, form: &str) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let response = server.oneshot(request.body(Body::from(form.to_owned())).unwrap()).await;
    let response = response.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A user that has accepted its invitation.
pub(crate) async fn user(control: &ControlPlane, tenant: &TenantId, email: &str) -> User {
    let new = NewUser {
        email: email.parse().unwrap(),
        name: "Ada".to_owned(),
        roles: ["clerk".into()].into(),
        metadata: Default::default(),
    };
    let mut user = control.create_user(&TESTER, tenant, new).await.unwrap();
    user.status = UserStatus::Active;
    user.version += 1;
    assert!(users::update(control.inner.db.reader(), &user).await.unwrap());
    user
}

pub(crate) async fn machine(control: &ControlPlane, tenant: &TenantId) -> MachineCredentials {
    let new = NewMachine {
        name: "robot".to_owned(),
        roles: ["clerk".into(), "robot".into()].into(),
        scopes: ["invoices:read", "invoices:pay"].map(|scope| scope.parse().unwrap()).into(),
    };
    control.create_machine(&TESTER, tenant, new).await.unwrap()
}

/// An application with every grant that `how` (its authentication, and more) allows.
pub(crate) async fn application(
    control: &ControlPlane,
    tenant: Option<&TenantId>,
    how: Value,
) -> ApplicationCredentials {
    let mut grants =
        vec!["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];
    if how["authentication"] != "none" {
        grants.push("urn:ietf:params:oauth:grant-type:token-exchange");
    }
    let mut new = json!({
        "name": "web",
        "registration": {
            "redirect_uris": ["https://app.test/cb"], "grants": grants,
            "scopes": ["openid", "invoices:read", "invoices:pay"],
        },
    });
    for (name, value) in how.as_object().unwrap() {
        new[name] = value.clone();
    }
    let new: NewApplication = serde_json::from_value(new).unwrap();
    control.create_application(&TESTER, tenant, new).await.unwrap()
}

/// A client's own ES256 key.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let text = Base64UrlUnpadded::encode_string;
        json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
    }

    pub(crate) fn thumbprint(&self) -> String {
        let hash = digest(&SHA256, self.jwk().to_string().as_bytes());
        Base64UrlUnpadded::encode_string(hash.as_ref())
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", Base64UrlUnpadded::encode_string(signature.as_ref()))
    }
}

/// A machine's credentials, as parameters of a form.
pub(crate) fn as_machine(machine: &MachineCredentials) -> String {
    format!("client_id={}&client_secret={}", machine.client_id, machine.secret.expose())
}

/// An application's credentials, as parameters of a form.
pub(crate) fn as_application(app: &ApplicationCredentials) -> String {
    let secret = app.secret.as_ref().map(|secret| format!("&client_secret={}", secret.expose()));
    format!("client_id={}{}", app.client_id, secret.unwrap_or_default())
}
