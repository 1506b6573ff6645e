//! Sessions as administrators see them: who is signed in, and an end to it.

use partywall::{TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{Actor, ControlError, ControlPlane, GrantEnd, THE_SERVER, UserId, tenant::MAX_PAGE};
use crate::storage::{
    AuditEvent, StorageError, grants,
    revocations::{self, Revocation},
    security_events::{self, SecurityEvent},
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
            && self.end_session(change.rows(), tenant, sid, now).await?;
        if !ended {
            return Err(ControlError::UnknownSession);
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
            detail: json!({ "user": user, "sessions": ended.sessions.len() }),
        };
        self.commit(change, event).await?;
        Ok(())
    }
}

impl ControlPlane {
    /// Ends a tenant's session and the grants that began in it, refuses their access tokens, and
    /// writes down which applications are to be told: in the caller's change. `false` when it had
    /// ended before.
    pub(crate) async fn end_session(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        sid: &str,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        if !sessions::end_proof(db, tenant, sid, now).await? {
            return Ok(false);
        }
        let why = GrantEnd::SessionEnded.as_str();
        let keep_until = now + self.policy().revocation_lasts(now);
        let issuers = self.issuers_of(db, tenant).await?;
        let since = Timestamp(now.0.saturating_sub(self.policy().token_lifetime().as_secs()));
        for grant in grants::of_session(db, tenant, sid, since).await? {
            grants::revoke(db, tenant, &grant.id, why, now).await?;
            for issuer in &issuers {
                let (jti, expires) = (&grant.id, keep_until);
                let family = Revocation::Token { issuer, jti, expires, keep_until };
                revocations::add(db, family, now).await?;
            }
        }
        Ok(true)
    }

    /// Signs a browser's user out of one tenant, as they asked.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn sign_out(&self, session: &TenantSession) -> Result<bool, StorageError> {
        let now = self.now();
        let (tenant, user) = (&session.tenant, session.user.as_str());
        let change = self.inner.db.change(now).await?;
        if !self.end_session(change.rows(), tenant, &session.sid, now).await? {
            return Ok(false);
        }
        let detail = json!({ "user": user, "sid": session.sid });
        let happened = SecurityEvent {
            tenant: Some(tenant),
            event: "session.sign_out",
            outcome: "success",
            subject: Some(user),
            client: None,
            detail: detail.clone(),
        };
        security_events::record(change.rows(), &happened, now).await?;
        let (actor, tenant, action) = (&THE_SERVER, Some(tenant), "session.sign_out");
        self.commit(change, AuditEvent { actor, tenant, action, detail }).await?;
        Ok(true)
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
