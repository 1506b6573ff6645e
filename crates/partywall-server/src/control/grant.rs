//! Grants: begun when a user lets a client in, ended when the user, the client, an administrator
//! or a copied token ends them.

use std::collections::BTreeSet;

use partywall::TenantId;
use serde_json::json;

use super::{ApplicationId, ControlError, ControlPlane, Scope, THE_SERVER};
use crate::{
    login::{Admitted, AdmittedPrincipal},
    random::{self, RandomError},
    storage::{
        AuditEvent,
        grants::{self, Grant},
        revocations::{self, Revocation},
        security_events::{self, SecurityEvent},
    },
};

/// What a user lets a client do.
pub(crate) struct NewGrant<'g> {
    /// Drawn beforehand, so that what was issued for a code can be refused by its name.
    pub(crate) id: String,
    pub(crate) client: &'g ApplicationId,
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) resource: &'g str,
    pub(crate) sid: Option<&'g str>,
    pub(crate) nonce: Option<&'g str>,
    pub(crate) dpop_jkt: Option<&'g str>,
    /// Whether there are refresh tokens. Otherwise it lasts as long as its access token, and is
    /// kept so that both end with the session.
    pub(crate) refreshed: bool,
}

/// Why a grant ends before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GrantEnd {
    /// A refresh token of it came a second time.
    TokenReused,
    /// The code it was begun with came a second time (RFC 6749 4.1.2).
    CodeReused,
    /// The client gave it back (RFC 7009).
    ByClient,
    /// The session it began in was ended.
    SessionEnded,
    /// The user, or an administrator, ended it.
    Withdrawn,
}

impl GrantEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TokenReused => "token_reused",
            Self::CodeReused => "code_reused",
            Self::ByClient => "by_client",
            Self::SessionEnded => "session_ended",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether somebody should look at this one.
    fn is_alarming(self) -> bool {
        match self {
            Self::TokenReused | Self::CodeReused => true,
            Self::ByClient | Self::SessionEnded | Self::Withdrawn => false,
        }
    }
}

impl ControlPlane {
    /// The grant of a user who was admitted; `None` for a machine, which has its secret and needs
    /// no refresh (RFC 6749 4.4.3). The caller stores it.
    pub(crate) fn new_grant(&self, admitted: &Admitted, new: NewGrant<'_>) -> Option<Grant> {
        let AdmittedPrincipal::User(user, proof) = admitted.principal() else { return None };
        let now = self.now();
        let lasts = if new.refreshed {
            self.inner.config.refresh_lifetime
        } else {
            self.policy().token_lifetime()
        };
        Some(Grant {
            id: new.id,
            tenant: admitted.tenant().clone(),
            user: user.id.clone(),
            client: new.client.clone(),
            sid: new.sid.map(str::to_owned),
            scopes: new.scopes,
            resource: new.resource.to_owned(),
            proof: proof.clone(),
            nonce: new.nonce.map(str::to_owned),
            dpop_jkt: new.dpop_jkt.map(str::to_owned),
            turn: 0,
            turned_at: now,
            created_at: now,
            expires_at: now + lasts,
            revoked_at: None,
        })
    }

    /// The id of an access token of grant `grant`: refused alone by the whole of it, and with all
    /// others of the grant by what stands before the dot.
    pub(crate) fn draw_token_id(&self, grant: &str) -> Result<String, RandomError> {
        Ok(format!("{grant}.{}", random::opaque_id(&self.inner.random)?))
    }

    /// Ends a grant and every access token issued under it, whether or not it is stored still.
    /// Ending it twice changes nothing.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn end_grant(
        &self,
        tenant: &TenantId,
        grant: &str,
        client: &str,
        why: GrantEnd,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let keep_until = now + self.policy().revocation_lasts(now);
        let change = self.inner.db.change(now).await?;
        let stored = grants::find(change.rows(), tenant, grant).await?;
        let ended = grants::revoke(change.rows(), tenant, grant, why.as_str(), now).await?;
        let issuers = self.issuers_of(change.rows(), tenant).await?;
        let is_over = match (&stored, issuers.first()) {
            (Some(_), _) => !ended,
            (None, Some(issuer)) => revocations::names(change.rows(), issuer, grant).await?,
            (None, None) => false,
        };
        if is_over {
            return Ok(());
        }
        for issuer in &issuers {
            let family = Revocation::Token { issuer, jti: grant, expires: keep_until, keep_until };
            revocations::add(change.rows(), family, now).await?;
        }
        let detail = json!({ "grant": grant, "client_id": client, "why": why.as_str() });
        let user = stored.as_ref().map(|grant| grant.user.as_str());
        let happened = SecurityEvent {
            tenant: Some(tenant),
            event: "grant.end",
            outcome: why.as_str(),
            subject: user,
            client: Some(client),
            detail: detail.clone(),
        };
        security_events::record(change.rows(), &happened, now).await?;
        let event =
            AuditEvent { actor: &THE_SERVER, tenant: Some(tenant), action: "grant.end", detail };
        self.commit(change, event).await?;
        metrics::counter!("partywall_grants_ended_total", "why" => why.as_str()).increment(1);
        if why.is_alarming() {
            tracing::error!(
                tenant.id = %tenant, client.id = client, user.id = user, grant.id = grant,
                why = why.as_str(), "a grant was ended: somebody may have copied its tokens"
            );
        }
        Ok(())
    }
}
