//! What happened at the door, as it is logged and kept (L-01). Never what somebody typed (L-02).

use partywall::TenantId;
use serde_json::{Value, json};

use crate::{
    control::ControlPlane,
    storage::security_events::{self, SecurityEvent},
};

/// Something at the door.
pub(super) struct Happened<'h> {
    pub(super) event: &'static str,
    /// `success`, or a word for why not.
    pub(super) outcome: &'h str,
    pub(super) tenant: Option<&'h TenantId>,
    pub(super) subject: Option<&'h str>,
    pub(super) client: Option<&'h str>,
}

/// Logs and keeps it. That it could not be kept stops nobody: it is in the log.
pub(super) async fn note(control: &ControlPlane, happened: Happened<'_>) {
    note_with(control, happened, json!({})).await;
}

/// As [`note`], with what the tenant's administrators need to understand it.
pub(super) async fn note_with(control: &ControlPlane, happened: Happened<'_>, detail: Value) {
    let Happened { event, outcome, tenant, subject, client } = happened;
    let tenant_id = tenant.map(tracing::field::display);
    if outcome == "success" {
        tracing::info!(
            event,
            outcome,
            tenant.id = tenant_id,
            principal.id = subject,
            client.id = client,
            "at the door"
        );
    } else {
        tracing::warn!(
            event,
            outcome,
            tenant.id = tenant_id,
            principal.id = subject,
            client.id = client,
            "at the door"
        );
    }
    let row = SecurityEvent { tenant, event, outcome, subject, client, detail };
    let write = control.inner.db.single().await;
    if let Err(error) = security_events::record(write.db(), &row, control.now()).await {
        tracing::error!(error = &error as &dyn std::error::Error, event, "an event was not kept");
    }
}
