//! What a deactivation ends, all of it in the change that deactivates (I-31, C-08), and the one
//! thing no provider may take away: the tenant's last administrator.

use partywall::Timestamp;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{caller::ScimCaller, error::ScimError};
use crate::{
    control::{ApiKeyHolder, ControlPlane, User, UserStatus, administers},
    storage::{
        Change, StorageError, api_keys,
        security_events::{self, SecurityEvent},
        users,
    },
};

/// What was ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    sessions: usize,
    grants: u64,
    api_keys: u64,
    at: Timestamp,
}

impl Receipt {
    /// As the answer says it: a dictionary of RFC 9651.
    pub(super) fn as_field(&self) -> String {
        let Self { sessions, grants, api_keys, at } = self;
        format!("sessions={sessions}, grants={grants}, api-keys={api_keys}, at=@{}", at.0)
    }

    /// As the audit trail says it.
    pub(super) fn described(&self) -> serde_json::Value {
        let Self { sessions, grants, api_keys, at } = self;
        json!({
            "sessions": sessions, "grants": grants, "api_keys": api_keys, "at": at,
        })
    }
}

/// Ends what `user` has: sessions, grants, API keys, access tokens. In the caller's change.
pub(super) async fn end_everything(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    user: &User,
    at: Timestamp,
) -> Result<Receipt, StorageError> {
    // Access tokens of API keys are refused with all others: they name the same subject.
    let ended = control.shut_out(db, &user.tenant, &user.id, at).await?;
    let holder = ApiKeyHolder::User(user.id.clone());
    let api_keys = api_keys::revoke_all_of(db, &user.tenant, &holder).await?;
    Ok(Receipt { sessions: ended.sessions.len(), grants: ended.grants, api_keys, at })
}

/// Whether `user` can administer its tenant now.
pub(super) fn is_administrator(user: &User) -> bool {
    user.status == UserStatus::Active && administers(&user.roles)
}

/// Gives back a change that may be committed. One that `took_away` an administrator may not when
/// nobody is left who is one, and is undone. Asked after everything is written.
pub(super) async fn keep_an_administrator<'d>(
    control: &ControlPlane,
    caller: &ScimCaller,
    change: Change<'d>,
    took_away: bool,
) -> Result<Change<'d>, ScimError> {
    if !took_away || users::any_administrator(change.rows(), caller.tenant()).await? {
        return Ok(change);
    }
    drop(change);
    alarm(control, caller).await;
    Err(ScimError::LastAdministrator)
}

/// Tells everybody who listens that a provider tried to take the last administrator away.
async fn alarm(control: &ControlPlane, caller: &ScimCaller) {
    let (tenant, event) = (caller.tenant(), "scim.last_administrator");
    tracing::warn!(
        event,
        tenant.id = %tenant,
        connection.id = %caller.connection(),
        "a connection would have taken away the tenant's last administrator"
    );
    metrics::counter!("partywall_last_administrator_kept_total").increment(1);
    let row = SecurityEvent {
        tenant: Some(tenant),
        event,
        outcome: "refused",
        subject: None,
        client: None,
        detail: json!({ "connection": caller.connection() }),
    };
    let write = control.inner.db.single().await;
    if let Err(error) = security_events::record(write.db(), &row, control.now()).await {
        tracing::error!(error = &error as &dyn std::error::Error, event, "an event was not kept");
    }
}
