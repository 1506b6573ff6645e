//! `/tenants/{tenant}/domains`: which domains are a tenant's, as DNS says it (F-03).

use axum::extract::State;
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
    control::{ConnectionId, ControlPlane, Domain, DomainSeen, DomainStatus},
    federation::domains::DomainName,
};

/// A domain that a tenant claims.
#[derive(Serialize, ToSchema)]
#[schema(as = Domain)]
pub(super) struct DomainView {
    /// In A-labels and lower case.
    #[schema(value_type = String)]
    domain: DomainName,
    /// `claimed`, `proved`, or `failing`: proved, and its record is not there any more. After a
    /// week of that it is `claimed` again.
    status: DomainStatus,
    /// What proves it.
    record: RecordView,
    /// Where people with an address there are sent, once it is proved.
    #[schema(value_type = Option<String>)]
    connection: Option<ConnectionId>,
    /// What was in DNS when it was last asked.
    seen: Option<DomainSeen>,
    /// Seconds since 1970-01-01 UTC.
    checked_at: Option<u64>,
    verified_at: Option<u64>,
    failing_since: Option<u64>,
    created_at: u64,
}

/// A record to publish in DNS, and to leave there.
#[derive(Serialize, ToSchema)]
#[schema(as = DomainRecord)]
struct RecordView {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The whole value.
    value: String,
}

impl From<&Domain> for DomainView {
    fn from(domain: &Domain) -> Self {
        Self {
            domain: domain.name.clone(),
            status: domain.status(),
            record: RecordView {
                name: domain.record_name(),
                kind: "TXT",
                value: domain.record_value(),
            },
            connection: domain.connection.clone(),
            seen: domain.seen,
            checked_at: domain.checked_at.map(|at| at.0),
            verified_at: domain.verified_at.map(|at| at.0),
            failing_since: domain.failing_since.map(|at| at.0),
            created_at: domain.created_at.0,
        }
    }
}

/// A domain to claim.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewDomain)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// Such as `example.com`.
    domain: String,
    /// Where people with an address there are to be sent: a connection of the tenant.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    connection: Option<ConnectionId>,
}

/// Where people with an address at a domain are sent.
#[derive(Deserialize, ToSchema)]
#[schema(as = DomainPatch)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// A connection of the tenant, or `null` for none.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<String>)]
    connection: Option<ConnectionId>,
}

#[derive(Deserialize)]
pub(super) struct DomainPath {
    domain: DomainName,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<DomainName>,
) -> Answer {
    let domains = control.list_domains(within.tenant(), page.after.as_ref(), page.limit).await?;
    let key = |domain: &Domain| domain.name.to_string();
    Ok(shown(&Listed::of(domains, page.limit, key, |domain| DomainView::from(domain))))
}

pub(super) async fn claim(
    State(control): State<ControlPlane>,
    within: Within,
    Body(Claim { domain, connection }): Body<Claim>,
) -> Answer {
    let name = domain.parse::<DomainName>().map_err(crate::control::ControlError::from)?;
    let made = control.claim_domain(&within.actor(), within.tenant(), name, connection).await?;
    Ok(created(made.name.as_str(), &DomainView::from(&made)))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(DomainPath { domain }): Ids<DomainPath>,
) -> Answer {
    let found = control.domain(within.tenant(), &domain).await?;
    Ok(tagged(&DomainView::from(&found.ok_or(ApiError::NotFound)?)))
}

/// Asks DNS, whatever is known; what it said is in the answer.
pub(super) async fn check(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(DomainPath { domain }): Ids<DomainPath>,
) -> Answer {
    let checked = control.check_domain(&within.actor(), within.tenant(), &domain).await?;
    Ok(tagged(&DomainView::from(&checked)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(DomainPath { domain }): Ids<DomainPath>,
    read: IfMatch,
    Body(Route { connection }): Body<Route>,
) -> Answer {
    let expected = |domain: &Domain| read.is(&DomainView::from(domain));
    let (actor, tenant) = (within.actor(), within.tenant());
    let domain = control.route_domain(&actor, tenant, &domain, connection, expected).await?;
    Ok(tagged(&DomainView::from(&domain)))
}

pub(super) async fn remove(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(DomainPath { domain }): Ids<DomainPath>,
    read: IfMatch,
) -> Answer {
    let expected = |domain: &Domain| read.is(&DomainView::from(domain));
    control.remove_domain(&within.actor(), within.tenant(), &domain, expected).await?;
    Ok(done())
}
