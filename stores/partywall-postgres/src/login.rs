//! Who logs in: roles, passwords and where a tenant's own come from.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use partywall::TenantId;
use zeroize::Zeroizing;

use crate::pack::{Roles, tenant_name};

/// A role and its password. The password is wiped when dropped, and never printed.
#[derive(Clone)]
pub struct Login {
    role: String,
    password: Zeroizing<String>,
}

impl Login {
    /// A role and its password.
    pub fn new(role: impl Into<String>, password: impl Into<String>) -> Self {
        Self { role: role.into(), password: Zeroizing::new(password.into()) }
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Where a bridge tenant's own login comes from: a closure over a secrets manager's cache, or
/// [`DerivedLogins`].
///
/// Called when a connection is opened, for the tenant of the request and no other.
pub trait CredentialSource: Send + Sync + 'static {
    /// The login of this tenant.
    ///
    /// # Errors
    ///
    /// When there is none: the tenant is then refused, never given another's.
    fn login(&self, tenant: &TenantId) -> Result<Login, NoCredentials>;
}

impl<F> CredentialSource for F
where
    F: Fn(&TenantId) -> Result<Login, NoCredentials> + Send + Sync + 'static,
{
    fn login(&self, tenant: &TenantId) -> Result<Login, NoCredentials> {
        self(tenant)
    }
}

/// A tenant has no login at this target.
#[derive(Debug, thiserror::Error)]
#[error("no database login for tenant {tenant}: {reason}")]
pub struct NoCredentials {
    /// The tenant.
    pub tenant: TenantId,
    /// What the source said.
    pub reason: String,
}

/// Logins whose passwords are derived from one secret: role `{prefix}_{tenant}`, password
/// HMAC-SHA256(secret, role). Nothing to store per tenant; whoever holds the secret can log in as
/// each.
#[derive(Clone)]
pub struct DerivedLogins {
    prefix: String,
    secret: Arc<hmac::Key>,
}

impl DerivedLogins {
    /// Derives logins with this prefix from this secret of at least 32 random bytes.
    pub fn new(prefix: impl Into<String>, secret: &[u8]) -> Self {
        let secret = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Self { prefix: prefix.into(), secret }
    }

    /// The login for any role name, such as a slot's.
    pub fn for_role(&self, role: &str) -> Login {
        let mac = hmac::sign(&self.secret, role.as_bytes());
        let password = mac.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>();
        Login::new(role, password)
    }

    /// The logins of slots 1 to `slots` of the pack.
    pub fn for_slots(&self, roles: &Roles, slots: u16) -> Vec<Login> {
        (1..=slots).map(|n| self.for_role(&roles.slot(n))).collect()
    }

    /// The login of a tenant.
    pub fn for_tenant(&self, tenant: &TenantId) -> Login {
        self.for_role(&tenant_name(&self.prefix, tenant))
    }
}

impl CredentialSource for DerivedLogins {
    fn login(&self, tenant: &TenantId) -> Result<Login, NoCredentials> {
        Ok(self.for_tenant(tenant))
    }
}
