//! Tenants that have identity providers of their own, and domains that are theirs.

use partywall::TenantId;
use partywall_server::{
    Connection, ConnectionPatch, ConnectionStatus, DomainStatus, IdentityProvider, NewConnection,
    NewOperatorKey, SamlProvider,
};
use serde_json::{Value, json};

use super::{
    name_server::NameServer,
    parts,
    scene::{Scene, TESTER},
};

pub(super) struct Stage {
    pub(super) scene: Scene,
    dns: NameServer,
}

impl Stage {
    pub(super) async fn start() -> Self {
        let dns = NameServer::start().await;
        let address = dns.address();
        // Providers are on this machine, and without TLS.
        let scene = Scene::start_as("localhost", |config| {
            config.call_private_addresses = true;
            config.dns_servers = vec![address];
        });
        Self { scene: scene.await, dns }
    }

    /// Registers a tenant's provider; nobody comes in before it is opened.
    pub(super) async fn register(
        &self,
        tenant: &TenantId,
        provider: IdentityProvider,
        rules: Value,
        secret: Option<&str>,
    ) -> Connection {
        let new: NewConnection = serde_json::from_value(json!({
            "name": "Head Office", "provider": provider, "rules": rules, "client_secret": secret,
        }))
        .unwrap();
        self.scene.control.create_connection(&TESTER, tenant, new).await.unwrap()
    }

    /// Lets people in by it.
    pub(super) async fn open(&self, connection: &Connection) {
        let status = Some(ConnectionStatus::Active);
        self.change(connection, ConnectionPatch { status, ..ConnectionPatch::default() }).await;
    }

    pub(super) async fn change(&self, connection: &Connection, patch: ConnectionPatch) {
        let (control, tenant) = (&self.scene.control, &connection.tenant);
        control.update_connection(&TESTER, tenant, &connection.id, patch, |_| true).await.unwrap();
    }

    /// The tenant publishes what proves that the domain is its own; who has an address there signs
    /// in by the connection.
    pub(super) async fn proves(&self, domain: &str, connection: &Connection) {
        let (control, tenant) = (&self.scene.control, &connection.tenant);
        let (name, leads_to) = (domain.parse().unwrap(), Some(connection.id.clone()));
        let domain = control.claim_domain(&TESTER, tenant, name, leads_to).await.unwrap();
        self.dns.publish(&domain.record_name(), &[&domain.record_value()]);
        let domain = control.check_domain(&TESTER, tenant, &domain.name).await.unwrap();
        assert_eq!(domain.status(), DomainStatus::Proved);
    }

    /// Where a connection's provider sends people, and asks who we are.
    pub(super) fn address(&self, connection: &Connection, what: &str) -> String {
        let Connection { tenant, id, .. } = connection;
        format!("{}/federation/{tenant}/{id}/{what}", self.scene.issuer)
    }

    /// Our metadata for a connection, as its provider reads it.
    pub(super) async fn metadata(&self, connection: &Connection) -> String {
        read(&self.address(connection, "metadata")).await
    }

    pub(super) async fn operator_key(&self) -> String {
        let lasts = std::time::Duration::from_secs(3600);
        let key = NewOperatorKey { name: "olga".to_owned(), lasts };
        let key = self.scene.control.create_operator_key(&TESTER, key).await.unwrap();
        key.expose().to_owned()
    }

    /// A script of `tests/judges/node`. Where it fails, what was refused meanwhile is said first.
    pub(super) async fn node(&self, script: &'static str, judged: Value) -> Option<String> {
        let ran = tokio::spawn(async move { parts::node(script, &judged).await }).await;
        match ran {
            Ok(said) => said,
            Err(failed) => {
                println!("refused: {:#?}", self.refusals(&self.scene.tenant).await);
                std::panic::resume_unwind(failed.into_panic())
            }
        }
    }

    /// Why somebody who came from a tenant's provider was not let in, as its administrator reads
    /// it, the last one first.
    pub(super) async fn refusals(&self, tenant: &TenantId) -> Vec<(String, String)> {
        let events = self.scene.control.list_security_events(tenant, None, 1000).await.unwrap();
        let refused = events.into_iter().filter(|event| {
            event.event == "federation.refused"
                || event.event == "sign_in.federated" && event.outcome != "success"
        });
        refused.map(|event| (event.outcome, event.detail)).collect()
    }

    /// A connection as a script is told of it.
    pub(super) fn told(&self, connection: &Connection) -> Value {
        json!({
            "tenant": connection.tenant, "id": connection.id, "name": connection.name,
            "acs": self.address(connection, "acs"), "slo": self.address(connection, "slo"),
            "callback": self.address(connection, "callback"),
            "metadata": self.address(connection, "metadata"),
        })
    }
}

/// What is at an address.
pub(super) async fn read(url: &str) -> String {
    let answer = reqwest::get(url).await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.text().await.unwrap()
}

/// What an administrator would copy out of a provider's metadata.
pub(super) fn described(metadata: &str) -> SamlProvider {
    let after = |mark: &str, end: char| -> Vec<String> {
        let rests = metadata.split(mark).skip(1);
        rests.map(|rest| rest.split(end).next().unwrap().trim().to_owned()).collect()
    };
    let endpoint = |element: &str, binding: &str| -> Option<String> {
        let elements = metadata.split('<').filter(|part| part.contains(element));
        let mut with = elements.filter(|part| part.contains(&format!("bindings:{binding}\"")));
        let location = with.next()?.split("Location=\"").nth(1)?.split('"').next()?;
        Some(location.replace("&amp;", "&"))
    };
    let mut certificates = after("X509Certificate>", '<');
    certificates.retain(|certificate| !certificate.is_empty());
    certificates.dedup();
    SamlProvider {
        entity_id: after("entityID=\"", '"').remove(0),
        sso_redirect: endpoint("SingleSignOnService", "HTTP-Redirect"),
        sso_post: endpoint("SingleSignOnService", "HTTP-POST"),
        slo_redirect: endpoint("SingleLogoutService", "HTTP-Redirect"),
        slo_post: endpoint("SingleLogoutService", "HTTP-POST"),
        certificates,
        ..SamlProvider::default()
    }
}
