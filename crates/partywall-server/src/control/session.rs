//! Sessions as administrators see them: who is signed in, and an end to it.

use partywall::{TenantId, Timestamp};
use serde_json::json;

use super::{Actor, ControlError, ControlPlane, GrantEnd, UserId, tenant::MAX_PAGE};
use crate::storage::{
    AuditEvent, grants,
    revocations::{self, Revocation},
    sessions::{self, TenantSession},
    users,
};

/// A sign-in of a user to its tenant, in one browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionRecord {
    /// Its name, as in tokens (OIDC Back-Channel Logout 2.1). It lets nobody in.
    pub sid: String,
    /// Who signed in.
    pub user: UserId,
    /// How (RFC 8176).
    pub amr: Vec<String>,
    /// When the latest factor was shown.
    pub auth_time: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// What the browser called itself.
    pub user_agent: String,
}

impl ControlPlane {
    /// Up to `limit` (at most 1,000) sessions of a user by ascending name, from the one behind
    /// `after`. Those that ended are not among them.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`].
    pub async fn list_sessions(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, ControlError> {
        let (db, now) = (self.inner.db.reader(), self.now());
        if users::find(db, tenant, user).await?.is_none() {
            return Err(ControlError::UnknownUser { user: user.clone() });
        }
        let limit = u64::from(limit.min(MAX_PAGE));
        let sessions = sessions::live_of_user(db, tenant, user, after, limit, now).await?;
        Ok(sessions.into_iter().map(SessionRecord::from).collect())
    }

    /// Ends one session of a user: its browser is a stranger to the tenant, the grants that began
    /// in it are over, and their access tokens are refused from the next bundle on.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownSession`] when the user has no such session.
    pub async fn revoke_session(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        user: &UserId,
        sid: &str,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let session = sessions::find_sid(change.rows(), tenant, sid).await?;
        let ended = session.is_some_and(|session| session.user == *user)
            && sessions::end_proof(change.rows(), tenant, sid, now).await?;
        if !ended {
            return Err(ControlError::UnknownSession);
        }
        let why = GrantEnd::SessionEnded.as_str();
        let keep_until = now + self.policy().revocation_lasts(now);
        for grant in grants::of_session(change.rows(), tenant, sid, now).await? {
            grants::revoke(change.rows(), tenant, &grant.id, why, now).await?;
            for issuer in &self.issuers_of(change.rows(), tenant).await? {
                let family =
                    Revocation::Token { issuer, jti: &grant.id, expires: keep_until, keep_until };
                revocations::add(change.rows(), family, now).await?;
            }
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "session.revoke",
            detail: json!({ "user": user, "sid": sid }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// Ends every session a user has in its tenant, with every grant and every access token.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`].
    pub async fn revoke_all_sessions(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        if users::find(change.rows(), tenant, user).await?.is_none() {
            return Err(ControlError::UnknownUser { user: user.clone() });
        }
        let ended = self.shut_out(change.rows(), tenant, user, now).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "session.revoke_all",
            detail: json!({ "user": user, "sessions": ended.len() }),
        };
        self.commit(change, event).await?;
        Ok(())
    }
}

impl From<TenantSession> for SessionRecord {
    fn from(session: TenantSession) -> Self {
        let name = |amr| match serde_json::to_value(amr) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        };
        Self {
            amr: session.proof.amr().into_iter().map(name).collect(),
            auth_time: session.proof.auth_time,
            sid: session.sid,
            user: session.user,
            created_at: session.created_at,
            expires_at: session.expires_at,
            user_agent: session.user_agent,
        }
    }
}
