//! `/tenants/{tenant}/connections`: a tenant's own identity providers. Whoever registers or changes
//! one has shown who they are in the last five minutes (I-33, P-03): it decides who is who.

use std::time::SystemTime;

use axum::extract::State;
use partywall_saml::Certificate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer, ApiError,
    body::{Body, created, done, shown, tagged},
    caller::Within,
    paging::{Listed, Page},
    path::Ids,
    precondition::IfMatch,
};
use crate::{
    control::{
        Connection, ConnectionId, ConnectionPatch, ConnectionRules, ConnectionStatus, ControlPlane,
        IdentityProvider, KeyStep, NewConnection,
    },
    federation::{address::Addresses, expiry, secrets::Secrets},
};

/// A connection. Its secrets are not part of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
pub(super) struct ConnectionView {
    /// Its id, and the `cid` of tokens.
    #[schema(value_type = String)]
    id: ConnectionId,
    name: String,
    status: ConnectionStatus,
    provider: IdentityProvider,
    rules: ConnectionRules,
    ours: OurSide,
    /// For SAML: the certificates by which its signatures are verified, with what they say.
    trusted: Vec<CertificateView>,
    /// What somebody should look at.
    warnings: Vec<String>,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    changed_at: u64,
}

/// What the provider has to be told of us.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OurSide {
    /// For SAML: our entity ID, which is where our metadata is, too; and where we are answered.
    Saml { entity_id: String, acs_url: String, slo_url: String, keys: Vec<CertificateView> },
    /// For OIDC: our one redirect URI.
    Oidc { redirect_uri: String },
}

/// A certificate: the key is what counts.
#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
struct CertificateView {
    /// SHA-256, in hexadecimal.
    fingerprint: String,
    subject: String,
    /// Seconds since 1970-01-01 UTC.
    not_after: u64,
}

impl From<&Certificate> for CertificateView {
    fn from(certificate: &Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint_text(),
            subject: certificate.subject().to_owned(),
            not_after: seconds(certificate.not_after()),
        }
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyTurn {
    step: KeyStep,
}

impl ConnectionView {
    fn of(control: &ControlPlane, connection: &Connection) -> Self {
        let addresses = Addresses::of(control, connection);
        let ours = Secrets::open(&control.inner.config.sealing_key, connection).ok();
        let ours = ours.and_then(|ours| ours.certificates(&addresses.metadata()).ok());
        let ours = ours.unwrap_or_default();
        let trusted = expiry::trusted(connection);
        Self {
            id: connection.id.clone(),
            name: connection.name.clone(),
            status: connection.status,
            ours: match &connection.provider {
                IdentityProvider::Saml(_) => OurSide::Saml {
                    entity_id: addresses.metadata(),
                    acs_url: addresses.acs(),
                    slo_url: addresses.slo(),
                    keys: ours.iter().map(CertificateView::from).collect(),
                },
                IdentityProvider::Oidc(_) => OurSide::Oidc { redirect_uri: addresses.callback() },
            },
            trusted: trusted.iter().map(CertificateView::from).collect(),
            warnings: expiry::warnings(connection, control.now()),
            provider: connection.provider.clone(),
            rules: connection.rules.clone(),
            created_at: connection.created_at.0,
            changed_at: connection.changed_at.0,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ConnectionPath {
    pub(super) connection: ConnectionId,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<ConnectionId>,
) -> Answer {
    let after = page.after.as_ref();
    let connections = control.list_connections(within.tenant(), after, page.limit).await?;
    let key = |connection: &Connection| connection.id.to_string();
    let view = |connection: &Connection| ConnectionView::of(&control, connection);
    Ok(shown(&Listed::of(connections, page.limit, key, view)))
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Body(new): Body<NewConnection>,
) -> Answer {
    within.has_stepped_up(&control)?;
    within.may_grant(&new.rules.roles())?;
    let made = control.create_connection(&within.actor(), within.tenant(), new).await?;
    Ok(created(made.id.as_str(), &ConnectionView::of(&control, &made)))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
) -> Answer {
    let connection = control.connection(within.tenant(), &connection).await?;
    Ok(tagged(&ConnectionView::of(&control, &connection.ok_or(ApiError::NotFound)?)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
    read: IfMatch,
    Body(patch): Body<ConnectionPatch>,
) -> Answer {
    within.has_stepped_up(&control)?;
    if let Some(rules) = &patch.rules {
        within.may_grant(&rules.roles())?;
    }
    let expected = |connection: &Connection| read.is(&ConnectionView::of(&control, connection));
    let (actor, tenant) = (within.actor(), within.tenant());
    let changed = control.update_connection(&actor, tenant, &connection, patch, expected).await?;
    Ok(tagged(&ConnectionView::of(&control, &changed)))
}

pub(super) async fn turn_key(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
    Body(KeyTurn { step }): Body<KeyTurn>,
) -> Answer {
    within.has_stepped_up(&control)?;
    let (actor, tenant) = (within.actor(), within.tenant());
    let turned = control.turn_connection_key(&actor, tenant, &connection, step).await?;
    Ok(tagged(&ConnectionView::of(&control, &turned)))
}

pub(super) async fn delete(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
    read: IfMatch,
) -> Answer {
    within.has_stepped_up(&control)?;
    let expected = |connection: &Connection| read.is(&ConnectionView::of(&control, connection));
    control.delete_connection(&within.actor(), within.tenant(), &connection, expected).await?;
    Ok(done())
}
