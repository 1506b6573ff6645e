//! Who changes something, as the audit trail names them.

use partywall::{Role, TenantId};

use super::{ClientId, ConnectionId, UserId};

/// Who changes something, as the audit trail names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Actor {
    /// A person of the vendor's staff, by the name they signed in with.
    Operator(String),
    /// A tenant's own administrator, who reaches that tenant and no other.
    TenantAdministrator {
        /// The tenant.
        tenant: TenantId,
        /// Who, in that tenant.
        user: UserId,
    },
    /// A machine that a tenant made its administrator.
    Machine {
        /// The tenant.
        tenant: TenantId,
        /// Which one.
        client: ClientId,
    },
    /// A tenant's own identity provider, by SCIM.
    Connection {
        /// The tenant.
        tenant: TenantId,
        /// Which one.
        connection: ConnectionId,
    },
    /// Whoever holds a link to the setup portal.
    SetupLink {
        /// The tenant.
        tenant: TenantId,
        /// The link's id, which is no secret.
        link: String,
    },
    /// The system itself: a scheduled task, a command.
    System(&'static str),
}

impl Actor {
    /// The word for the kind of actor.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::TenantAdministrator { .. } => "tenant_administrator",
            Self::Machine { .. } => "machine",
            Self::Connection { .. } => "connection",
            Self::SetupLink { .. } => "setup_link",
            Self::System(_) => "system",
        }
    }

    /// Which one of its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Operator(name) => name,
            Self::TenantAdministrator { user, .. } => user.as_str(),
            Self::Machine { client, .. } => client.as_str(),
            Self::Connection { connection, .. } => connection.as_str(),
            Self::SetupLink { link, .. } => link,
            Self::System(task) => task,
        }
    }
}

/// The role that lets a user or a machine administer its own tenant.
pub const TENANT_ADMIN: &str = "tenant-admin";
/// The scope a token must carry to be heard by the admin API.
pub const ADMIN_SCOPE: &str = "admin";

/// Whether these roles make somebody an administrator of their tenant.
pub(crate) fn administers<'r>(roles: impl IntoIterator<Item = &'r Role>) -> bool {
    roles.into_iter().any(|role| role.as_str() == TENANT_ADMIN)
}
