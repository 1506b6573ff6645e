//! Reading what happened: changes by administrators, and what happened at the door.

use partywall::{TenantId, Timestamp, bundle::Generation};

use super::{ControlError, ControlPlane, tenant::MAX_PAGE};
use crate::storage::{audit, security_events, unsigned};

impl ControlPlane {
    /// The latest audit events of `tenant`, newest first, at most `limit` of them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn audit_trail(
        &self,
        tenant: &TenantId,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, ControlError> {
        let rows = audit::latest_of(self.inner.db.reader(), tenant, limit.into()).await?;
        Ok(rows.into_iter().map(AuditRecord::from).collect())
    }

    /// Up to `limit` (at most 1,000) audit events of `tenant` by descending id, from the one before
    /// `before`. Those of no tenant, where none is named.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_audit_events(
        &self,
        tenant: Option<&TenantId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        let rows = audit::page(self.inner.db.reader(), tenant, before, limit).await?;
        Ok(rows.into_iter().map(AuditRecord::from).collect())
    }

    /// Up to `limit` (at most 1,000) security events of `tenant` by descending id, from the one
    /// before `before`: sign-ins, refusals, families of tokens ended.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_security_events(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<SecurityRecord>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        let rows = security_events::page(self.inner.db.reader(), tenant, before, limit).await?;
        Ok(rows.into_iter().map(SecurityRecord::from).collect())
    }
}

/// One line of the audit trail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditRecord {
    /// Its place in the trail.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// The kind of actor, as [`Actor::kind`] says it.
    pub actor_kind: String,
    /// Who.
    pub actor: String,
    /// What was done, as `resource.verb`.
    pub action: String,
    /// What it was done to, as JSON.
    pub detail: String,
    /// The generation it led to.
    pub generation: Generation,
}

impl From<audit::Model> for AuditRecord {
    fn from(row: audit::Model) -> Self {
        Self {
            id: row.id,
            at: Timestamp(unsigned(row.at)),
            actor_kind: row.actor_kind,
            actor: row.actor,
            action: row.action,
            detail: row.detail,
            generation: Generation(unsigned(row.generation)),
        }
    }
}

/// Something that happened at a tenant's door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecurityRecord {
    /// Its place among them.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What, as `thing.what_happened`.
    pub event: String,
    /// `success`, or a word for why not.
    pub outcome: String,
    /// The user or machine it is about.
    pub subject: Option<String>,
    /// The OAuth client it came through.
    pub client: Option<String>,
    /// More about it, as JSON.
    pub detail: String,
    /// The request it came in.
    pub request_id: Option<String>,
}

impl From<security_events::Model> for SecurityRecord {
    fn from(row: security_events::Model) -> Self {
        Self {
            id: row.id,
            at: Timestamp(unsigned(row.at)),
            event: row.event,
            outcome: row.outcome,
            subject: row.subject,
            client: row.client_id,
            detail: row.detail,
            request_id: row.request_id,
        }
    }
}
