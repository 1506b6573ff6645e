//! Authorization codes (RFC 6749 4.1.2): good for one use within a minute, by the client, at the
//! address, for the challenge, the tenant and the session they were made for (O-04).

use std::{collections::BTreeSet, time::Duration};

use partywall::{TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

use super::authorize::{AuthorizationRequest, RequestedClaims};
use crate::{
    control::{ApplicationId, ControlPlane, Scope, User, UserId},
    login::Proof,
    random::{self, RandomError},
    secret::Secret,
    storage::{
        StorageError,
        single_use::{self, Drawer, Kind, Redeemed},
    },
};

/// RFC 9700 and OIDC conformance ask for a short life; a minute is the longest of it (O-03).
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// All that a code stands for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Code {
    /// Which issuer made it.
    pub(crate) issuer: String,
    pub(crate) client: ApplicationId,
    pub(crate) redirect_uri: String,
    pub(crate) code_challenge: String,
    pub(crate) dpop_jkt: Option<String>,
    pub(crate) user: UserId,
    /// What the user showed.
    pub(crate) proof: Proof,
    /// The tenant's session it was made in.
    pub(crate) sid: String,
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) resource: String,
    pub(crate) nonce: Option<String>,
    pub(crate) claims: RequestedClaims,
    /// Names everything issued for it, so that all of it can be ended (RFC 6749 4.1.2).
    pub(crate) grant: String,
}

impl Code {
    /// What `request` leads to, for a user who came in.
    pub(crate) fn of(
        control: &ControlPlane,
        issuer: &str,
        request: &AuthorizationRequest,
        (user, proof): (&User, &Proof),
        sid: &str,
    ) -> Result<Self, RandomError> {
        Ok(Self {
            issuer: issuer.to_owned(),
            client: request.client.clone(),
            redirect_uri: request.reply.redirect_uri.clone(),
            code_challenge: request.code_challenge.clone(),
            dpop_jkt: request.dpop_jkt.clone(),
            user: user.id.clone(),
            proof: proof.clone(),
            sid: sid.to_owned(),
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
            nonce: request.nonce.clone(),
            claims: request.claims.clone(),
            grant: random::opaque_id(&control.inner.random)?,
        })
    }

    /// Puts it by, in its tenant's drawer, and says its text. The text names the tenant, because
    /// whoever brings it back says nothing else that would.
    pub(crate) async fn put(
        &self,
        control: &ControlPlane,
        tenant: &TenantId,
    ) -> Result<Secret<String>, CodeError> {
        let value = single_use::draw(&control.inner.random)?;
        let text = Secret::new(format!("{PREFIX}{}.{tenant}", value.expose()));
        let drawer = Drawer::of(Kind::Code, tenant);
        let write = control.inner.db.single().await;
        single_use::put(write.db(), drawer, value.expose(), self, control.now(), LIFETIME).await?;
        Ok(text)
    }
}

/// A code as a client brings it. Nothing of it is believed.
pub(crate) struct PresentedCode<'t> {
    value: &'t str,
    pub(crate) tenant: TenantId,
}

impl<'t> PresentedCode<'t> {
    /// `None` for a text that cannot be a code of ours.
    pub(crate) fn read(text: &'t str) -> Option<Self> {
        let (value, tenant) = text.strip_prefix(PREFIX)?.split_once('.')?;
        Some(Self { value, tenant: tenant.parse().ok()? })
    }

    /// Uses it up, in the caller's transaction: whoever comes second waits for it to end.
    pub(crate) async fn redeem(
        &self,
        db: &impl ConnectionTrait,
        now: Timestamp,
    ) -> Result<Redeemed<Code>, StorageError> {
        single_use::redeem(db, Drawer::of(Kind::Code, &self.tenant), self.value, now).await
    }
}

/// So that whoever finds one knows what it is.
pub(crate) const PREFIX: &str = "pwc_";

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}
