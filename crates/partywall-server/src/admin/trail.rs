//! `/tenants/{tenant}/audit-events` and `/tenants/{tenant}/security-events`; `/audit-events` for
//! what is no tenant's, which is the operator's. Newest first.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Answer,
    body::shown,
    caller::{Operator, Within},
    paging::{Listed, Page},
};
use crate::control::{AuditRecord, ControlPlane, SecurityRecord};

/// A change, and who made it.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(super) struct AuditView {
    id: i64,
    /// Seconds since 1970-01-01 UTC.
    at: u64,
    /// `operator`, `tenant_administrator`, `machine`, `system`.
    actor_kind: String,
    actor: String,
    /// What was done, as `resource.verb`.
    action: String,
    #[schema(value_type = Object)]
    detail: Value,
    /// The directory's generation it led to.
    generation: u64,
}

impl From<&AuditRecord> for AuditView {
    fn from(event: &AuditRecord) -> Self {
        Self {
            id: event.id,
            at: event.at.0,
            actor_kind: event.actor_kind.clone(),
            actor: event.actor.clone(),
            action: event.action.clone(),
            detail: serde_json::from_str(&event.detail).unwrap_or_default(),
            generation: event.generation.0,
        }
    }
}

/// Something that happened at the door.
#[derive(Serialize, ToSchema)]
#[schema(as = SecurityEvent)]
pub(super) struct SecurityView {
    id: i64,
    /// Seconds since 1970-01-01 UTC.
    at: u64,
    event: String,
    outcome: String,
    subject: Option<String>,
    client_id: Option<String>,
    #[schema(value_type = Object)]
    detail: Value,
    request_id: Option<String>,
}

impl From<&SecurityRecord> for SecurityView {
    fn from(event: &SecurityRecord) -> Self {
        Self {
            id: event.id,
            at: event.at.0,
            event: event.event.clone(),
            outcome: event.outcome.clone(),
            subject: event.subject.clone(),
            client_id: event.client.clone(),
            detail: serde_json::from_str(&event.detail).unwrap_or_default(),
            request_id: event.request_id.clone(),
        }
    }
}

pub(super) async fn audit(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<i64>,
) -> Answer {
    let events = control.list_audit_events(Some(within.tenant()), page.after, page.limit).await?;
    Ok(shown(&listed(events, page.limit)))
}

pub(super) async fn operators_audit(
    State(control): State<ControlPlane>,
    _: Operator,
    page: Page<i64>,
) -> Answer {
    let events = control.list_audit_events(None, page.after, page.limit).await?;
    Ok(shown(&listed(events, page.limit)))
}

fn listed(events: Vec<AuditRecord>, limit: u32) -> Listed<AuditView> {
    let key = |event: &AuditRecord| event.id.to_string();
    Listed::of(events, limit, key, |event| AuditView::from(event))
}

pub(super) async fn security(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<i64>,
) -> Answer {
    let events = control.list_security_events(within.tenant(), page.after, page.limit).await?;
    let key = |event: &SecurityRecord| event.id.to_string();
    Ok(shown(&Listed::of(events, page.limit, key, |event| SecurityView::from(event))))
}
