//! Taking back single tokens.

use partywall::TenantId;
use serde_json::json;

use super::{Actor, ControlError, ControlPlane};
use crate::storage::{
    AuditEvent,
    revocations::{self, Revocation},
};

impl ControlPlane {
    /// Refuses one token of ours by its `jti`, from the next bundle on. `tenant` is for the audit
    /// trail. Revoking a token twice, or one that never was, changes nothing else.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn revoke_token(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        jti: &str,
    ) -> Result<(), ControlError> {
        let now = self.now();
        // We do not keep tokens, so this one might have been issued just now, and may have put a
        // job into an envelope.
        let keep_until = now + self.policy().revocation_lasts(now);
        let change = self.inner.db.change(now).await?;
        for issuer in &self.issuers_of(change.rows(), tenant).await? {
            let revocation = Revocation::Token { issuer, jti, expires: keep_until, keep_until };
            revocations::add(change.rows(), revocation, now).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "token.revoke",
            detail: json!({ "jti": jti }),
        };
        self.commit(change, event).await?;
        Ok(())
    }
}
