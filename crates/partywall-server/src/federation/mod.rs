//! Tenants' own identity providers. A provider proves who somebody is to it; what that means here
//! is decided here.
//!
//! ```text
//! Connection ─► begin ─► the tenant's provider ─► callback / ACS ─► Upstream ─► ExternalIdentity
//!                                                                                 │ join
//!                                                            login::admit ◄─ User ┘
//! ```
//!
//! A connection is one tenant's. Its addresses name tenant and connection, and nothing is ever
//! looked up by what a provider calls itself: two tenants may register the same one (I-18).

use axum::Router;
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::control::{Connection, ConnectionId, ControlPlane, Email};

pub(crate) use error::{Complaint, FederationError};

pub(crate) mod address;
pub(crate) mod arrival;
pub(crate) mod away;
pub(crate) mod domains;
mod endpoint;
mod error;
pub(crate) mod expiry;
pub(crate) mod join;
pub(crate) mod oidc;
mod saml;
pub(crate) mod secrets;
pub(crate) mod slo;

/// What tenants' providers call, and send browsers to.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    endpoint::routes(control)
}

/// What a tenant's provider says of somebody, once its signature, its audience and its time were
/// found good. Everything here is the provider's word and is believed within its tenant only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Upstream {
    /// `iss`, or the provider's entity ID: the one that is registered.
    pub(crate) issuer: String,
    /// `sub`, or the name identifier with its qualifiers; byte for byte.
    pub(crate) subject: String,
    /// The subject as people read it, which may be less than all of it.
    pub(crate) login: String,
    /// The names, none of them the person's own to change, by which the same provider's SCIM client
    /// may have announced them.
    pub(crate) provisioned_as: Vec<String>,
    pub(crate) email: Option<UnverifiedEmail>,
    pub(crate) name: Option<String>,
    /// As the provider names them. They give the roles that the tenant allows them to.
    pub(crate) groups: Vec<String>,
    /// Whether the provider says that more than one factor was shown.
    pub(crate) multi_factor: bool,
    /// When somebody showed something to the provider.
    pub(crate) auth_time: Option<Timestamp>,
    /// When the provider wants the session to end.
    pub(crate) ends_at: Option<Timestamp>,
    /// What is needed to end the provider's session, or to recognise that it was ended.
    pub(crate) session: Option<UpstreamSession>,
}

/// An address as a provider asserts it. It links nobody to anything (I-01).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct UnverifiedEmail {
    pub(crate) address: Email,
    /// Whether the provider says, in the one way that counts for it, that it has checked (I-02).
    pub(crate) said_to_be_verified: bool,
}

/// The provider's name for its session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpstreamSession {
    /// SAML: whom a logout request names (saml-core 3.7.1).
    Saml {
        name_id: String,
        format: Option<String>,
        name_qualifier: Option<String>,
        sp_name_qualifier: Option<String>,
        session_index: Option<String>,
    },
    /// OIDC: `sid`.
    Oidc { sid: String },
}

impl Upstream {
    /// Whom a connection of this tenant's vouches for.
    pub(crate) fn identity(&self, connection: &Connection) -> ExternalIdentity {
        ExternalIdentity {
            tenant: connection.tenant.clone(),
            connection: connection.id.clone(),
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
        }
    }
}

/// Somebody, as a tenant's provider knows them: the whole key (F-01, I-01).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ExternalIdentity {
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    pub(crate) issuer: String,
    pub(crate) subject: String,
}
