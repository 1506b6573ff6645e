//! The addresses of a connection: its own, all of them, so that what comes to one can be about no
//! other (F-06, I-18).

use partywall::TenantId;

use crate::control::{Connection, ConnectionId, ControlPlane};

/// Below the issuer all tenants share, whichever issuer a sign-in was begun at: a provider is told
/// one address and keeps it.
pub(crate) struct Addresses {
    base: String,
}

impl Addresses {
    pub(crate) fn of(control: &ControlPlane, connection: &Connection) -> Self {
        Self::at(control, &connection.tenant, &connection.id)
    }

    pub(crate) fn at(control: &ControlPlane, tenant: &TenantId, id: &ConnectionId) -> Self {
        let issuer = control.inner.config.issuer.as_str();
        Self { base: format!("{issuer}/federation/{tenant}/{id}") }
    }

    /// OIDC: the one redirect URI.
    pub(crate) fn callback(&self) -> String {
        format!("{}/callback", self.base)
    }

    /// SAML: our entity ID for this connection, and where our metadata is.
    pub(crate) fn metadata(&self) -> String {
        format!("{}/metadata", self.base)
    }

    /// SAML: the assertion consumer service.
    pub(crate) fn acs(&self) -> String {
        format!("{}/acs", self.base)
    }

    /// SAML: single logout.
    pub(crate) fn slo(&self) -> String {
        format!("{}/slo", self.base)
    }
}
