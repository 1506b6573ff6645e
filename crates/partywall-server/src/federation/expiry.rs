//! Certificates of tenants' providers that run out. A signature is believed by the key that is
//! registered, whatever its certificate says of its time; but where a certificate runs out its
//! provider is about to use another, and nobody signs in before that one is registered.

use std::time::Duration;

use partywall::Timestamp;
use partywall_saml::Certificate;
use serde_json::json;

use super::saml::time;
use crate::{
    control::{Connection, ControlError, ControlPlane, IdentityProvider},
    storage::{
        connections,
        security_events::{self, SecurityEvent},
        single_use::{self, Drawer, Kind},
    },
};

/// The certificates a connection trusts; none, for another protocol than SAML.
pub(crate) fn trusted(connection: &Connection) -> Vec<Certificate> {
    match &connection.provider {
        IdentityProvider::Saml(saml) => {
            saml.certificates.iter().filter_map(|text| Certificate::from_text(text).ok()).collect()
        }
        IdentityProvider::Oidc(_) => Vec::new(),
    }
}

/// What somebody should look at, in a sentence each: when the last certificate that is good runs
/// out within a month, or has.
pub(crate) fn warnings(connection: &Connection, now: Timestamp) -> Vec<String> {
    let trusted = trusted(connection);
    let Some(last) = trusted.iter().max_by_key(|certificate| certificate.not_after()) else {
        return Vec::new();
    };
    let Ok(left) = last.not_after().duration_since(time(now)) else {
        return vec![format!(
            "the provider's signing certificate {} has run out: import its metadata again",
            last.fingerprint_text()
        )];
    };
    if left > SOON {
        return Vec::new();
    }
    vec![format!(
        "the provider's signing certificate {} runs out in {} days: import its metadata again \
         before it signs with another",
        last.fingerprint_text(),
        left.as_secs() / (24 * 3600)
    )]
}

impl ControlPlane {
    /// Tells tenants, once a day, of active connections whose certificates run out.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn warn_of_expiry(&self) -> Result<(), ControlError> {
        let now = self.now();
        let mut after = None;
        loop {
            let some = connections::all_active(self.inner.db.reader(), after.as_ref(), 200).await?;
            let Some(last) = some.last() else { return Ok(()) };
            after = Some(last.id.clone());
            for connection in &some {
                for warning in warnings(connection, now) {
                    self.warn(connection, &warning, now).await?;
                }
            }
        }
    }

    async fn warn(
        &self,
        connection: &Connection,
        warning: &str,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        // Of several servers one says so, and once a day.
        let today = format!("{} {}", connection.id, now.0 / (24 * 3600));
        let drawer = Drawer::of(Kind::Warning, &connection.tenant);
        let write = self.inner.db.single().await;
        let day = Duration::from_secs(24 * 3600);
        if !single_use::put(write.db(), drawer, &today, &(), now, day).await? {
            return Ok(());
        }
        tracing::warn!(
            tenant.id = %connection.tenant, connection.id = %connection.id, warning,
            "a connection will stop working"
        );
        let detail = json!({ "connection": connection.id, "name": connection.name,
            "warning": warning });
        let event = SecurityEvent {
            tenant: Some(&connection.tenant),
            event: "connection.expiry",
            outcome: "warning",
            subject: None,
            client: None,
            detail,
        };
        security_events::record(write.db(), &event, now).await?;
        Ok(())
    }
}

/// How long before is soon enough to import metadata.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::*;
    use crate::{
        ConnectionPatch, ConnectionStatus,
        federation::secrets::Secrets,
        provider::testing::{Scene, TESTER},
    };

    #[tokio::test]
    async fn s08_a_tenant_is_told_once_a_day_that_a_certificate_runs_out() {
        let scene = Scene::new().await;
        let provider = |certificates: Vec<String>| {
            serde_json::from_value::<IdentityProvider>(json!({
                "protocol": "saml", "entity_id": "https://idp.test",
                "sso_redirect": "https://idp.test/sso", "certificates": certificates,
            }))
            .unwrap()
        };
        // Ours last ten years; so does this one.
        let made_at = Timestamp(partywall::Clock::now(&*scene.clock).0);
        let key = Secrets::for_new(&provider(vec![]), None, made_at).unwrap();
        let certificate = Base64::encode_string(key.certificates("idp").unwrap()[0].der());
        let new = serde_json::from_value(json!({
            "name": "Acme's own", "provider": provider(vec![certificate]),
        }))
        .unwrap();
        let (control, tenant) = (&scene.control, &scene.tenant);
        let made = control.create_connection(&TESTER, tenant, new).await.unwrap();
        let patch =
            ConnectionPatch { status: Some(ConnectionStatus::Active), ..Default::default() };
        control.update_connection(&TESTER, tenant, &made.id, patch, |_| true).await.unwrap();
        let told = async || {
            control.warn_of_expiry().await.unwrap();
            let events = scene.security_events().await;
            events.iter().filter(|event| *event == "connection.expiry warning").count()
        };
        assert_eq!(told().await, 0, "ten years");
        scene.advance(Duration::from_secs((10 * 365 - 29) * 24 * 3600));
        assert_eq!((told().await, told().await), (1, 1), "once");
        scene.advance(Duration::from_secs(24 * 3600));
        assert_eq!(told().await, 2, "once a day");
        scene.advance(Duration::from_secs(60 * 24 * 3600));
        let found = control.connection(tenant, &made.id).await.unwrap().unwrap();
        let [warning] = warnings(&found, control.now()).try_into().unwrap();
        assert!(warning.contains("has run out"), "{warning}");
    }
}
