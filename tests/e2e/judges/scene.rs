//! A server on a free port of this machine, and who is registered there.

use std::sync::Arc;

use partywall::{SystemClock, TenantId};
use partywall_server::{
    Actor, ControlPlane, DatabaseConfig, MachineCredentials, NewApplication, NewMachine, NewTenant,
    NewUser, Resources, SealingKey, SecretFile, Server, ServerConfig,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub(super) const TESTER: Actor = Actor::System("test");
const API: &str = "https://api.test";
const OTHER_API: &str = "https://other-api.test";

pub(super) struct Scene {
    pub(super) control: ControlPlane,
    pub(super) tenant: TenantId,
    pub(super) issuer: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl Scene {
    /// The whole server, by the real clock, with a tenant.
    pub(super) async fn start() -> Self {
        Self::start_as("127.0.0.1", |_| {}).await
    }

    /// As [`start`](Self::start), under one of this machine's names, configured otherwise.
    pub(super) async fn start_as(host: &str, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // With a path, where clients that guess addresses go wrong.
        let port = listener.local_addr().unwrap().port();
        let issuer = format!("http://{host}:{port}/idp");
        let mut config = ServerConfig::new(
            DatabaseConfig::Sqlite { path: dir.path().join("control.db") },
            SealingKey::read_or_create(&SecretFile::at(dir.path().join("sealing.key"))).unwrap(),
            issuer.parse().unwrap(),
            Resources::new(API.parse().unwrap(), [OTHER_API.parse().unwrap()]),
        );
        configure(&mut config);
        let clock = Arc::new(SystemClock::default());
        let control = ControlPlane::open(config, clock).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = Server::new(control.clone()).serve(listener, async {
            let _ = stopped.await;
        });
        let served = tokio::spawn(serving);
        let tenant = new_tenant(&control, "acme").await;
        Self { control, tenant, issuer, stop, served, _dir: dir }
    }

    /// What a judge is told, with `more` about its clients.
    pub(super) fn judged(&self, more: Value) -> Value {
        let mut judged = json!({
            "issuer": self.issuer, "tenant": self.tenant, "api": API, "otherApi": OTHER_API,
        });
        for (name, value) in more.as_object().unwrap() {
            judged[name] = value.clone();
        }
        judged
    }

    pub(super) async fn another_tenant(&self, slug: &str) -> TenantId {
        new_tenant(&self.control, slug).await
    }

    /// A machine of the tenant.
    pub(super) async fn robot(&self) -> Value {
        machine(&self.control, &self.tenant).await
    }

    /// A machine of another tenant.
    pub(super) async fn stranger(&self) -> Value {
        machine(&self.control, &self.another_tenant("stranger").await).await
    }

    /// A member of the tenant who is invited, and the password they will choose.
    pub(super) async fn ada(&self) -> Value {
        self.member(&self.tenant, "ada@acme.test").await
    }

    /// The same, of any tenant.
    pub(super) async fn member(&self, tenant: &TenantId, email: &str) -> Value {
        let new = NewUser {
            email: email.parse().unwrap(),
            name: "Ada Lovelace".to_owned(),
            roles: ["clerk".into()].into(),
            metadata: Default::default(),
        };
        let user = self.control.create_user(&TESTER, tenant, new).await.unwrap();
        let invitation = self.control.invite(&TESTER, tenant, &user.id).await.unwrap();
        json!({
            "id": user.id, "email": user.email, "name": user.name,
            "invitation": invitation.link.expose(), "password": "correct horse battery",
        })
    }

    /// An application of the vendor's. `how` is as in the admin API.
    pub(super) async fn application(&self, how: Value) -> Value {
        let redirect_uri = how["registration"]["redirect_uris"][0].clone();
        let new: NewApplication = serde_json::from_value(how).unwrap();
        let made = self.control.create_application(&TESTER, None, new).await.unwrap();
        let secret = made.secret.as_ref().map(|secret| secret.expose());
        json!({ "id": made.client_id, "secret": secret, "redirectUri": redirect_uri })
    }

    /// The server, told to stop, does.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

async fn new_tenant(control: &ControlPlane, slug: &str) -> TenantId {
    let new = NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
    control.create_tenant(&TESTER, new).await.unwrap().id().clone()
}

async fn machine(control: &ControlPlane, tenant: &TenantId) -> Value {
    let new = NewMachine {
        name: "robot".to_owned(),
        roles: ["clerk".into()].into(),
        scopes: ["invoices:read", "invoices:pay"].map(|scope| scope.parse().unwrap()).into(),
    };
    let MachineCredentials { client_id, secret } =
        control.create_machine(&TESTER, tenant, new).await.unwrap();
    json!({ "id": client_id, "secret": secret.expose() })
}
