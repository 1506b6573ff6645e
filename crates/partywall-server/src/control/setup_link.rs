//! Setup links: whoever holds one sets up how a tenant signs in, without being its user. A link is
//! of one tenant and for one purpose, is redeemed once, and its secret is told once (I-34).

use std::time::Duration;

use aws_lc_rs::digest;
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Actor, ConnectionId, ControlError, ControlPlane};
use crate::{
    random,
    secret::Secret,
    storage::{AuditEvent, connections, setup_links, single_use, tenants},
};

/// What a link is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Setting up single sign-on: a connection, and the domains that lead to it.
    Sso,
    /// Proving domains, and nothing else.
    Domain,
}

impl Intent {
    pub(crate) const ALL: [Self; 2] = [Self::Sso, Self::Domain];

    /// The word it is stored and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sso => "sso",
            Self::Domain => "domain",
        }
    }
}

/// A link to the setup portal. What it is redeemed with is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetupLink {
    /// Whose sign-in it sets up.
    pub tenant: TenantId,
    /// What it is revoked by; no secret.
    pub id: String,
    /// What it is for.
    pub intent: Intent,
    /// The connection it sets up: one that there is, or the id of one that is still to be made.
    pub connection: ConnectionId,
    /// When it was opened.
    pub redeemed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it, or the session it was redeemed for, runs out.
    pub expires_at: Timestamp,
}

/// A link to make.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSetupLink {
    /// `sso` or `domain`.
    pub intent: Intent,
    /// The connection to set up; without it the link makes a new one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub connection: Option<ConnectionId>,
    /// For how long it can be opened, in seconds: up to 72 hours, which is the default.
    #[serde(default = "longest")]
    pub lasts_seconds: u32,
}

const LONGEST: u32 = 72 * 3600;

const fn longest() -> u32 {
    LONGEST
}

/// A link just made, and its address, which is shown now and never again.
pub struct SetupLinkAddress {
    /// The link.
    pub link: SetupLink,
    /// Where its holder begins.
    pub url: Secret<String>,
}

impl ControlPlane {
    /// Makes a link for somebody who is to set up how a tenant signs in.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], [`ControlError::UnknownConnection`], and
    /// [`ControlError::SetupLinkLife`].
    pub async fn create_setup_link(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewSetupLink,
    ) -> Result<SetupLinkAddress, ControlError> {
        if !(1..=LONGEST).contains(&new.lasts_seconds) {
            return Err(ControlError::SetupLinkLife);
        }
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        let connection = match new.connection {
            Some(connection) => {
                let found = connections::find(change.rows(), tenant, &connection).await?;
                found.ok_or(ControlError::UnknownConnection { connection })?.id
            }
            None => ConnectionId::draw(&self.inner.random)?,
        };
        let link = SetupLink {
            tenant: tenant.clone(),
            id: random::opaque_id(&self.inner.random)?,
            intent: new.intent,
            connection,
            redeemed_at: None,
            created_at: now,
            expires_at: now + Duration::from_secs(new.lasts_seconds.into()),
        };
        let secret = single_use::draw(&self.inner.random)?;
        setup_links::insert(change.rows(), &link, hash(LINK, &link, secret.expose())).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "setup_link.create",
            detail: json!({
                "link": link.id, "intent": link.intent, "connection": link.connection,
                "expires_at": link.expires_at.0,
            }),
        };
        self.commit(change, event).await?;
        let issuer = self.inner.config.issuer.as_str();
        let url = format!("{issuer}/setup/link/{tenant}.{}.{}", link.id, secret.expose());
        Ok(SetupLinkAddress { link, url: Secret::new(url) })
    }

    /// Ends a link, opened or not: whoever works by it stops at the next click.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownSetupLink`].
    pub async fn revoke_setup_link(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &str,
    ) -> Result<(), ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        if !setup_links::delete(change.rows(), tenant, id).await? {
            return Err(ControlError::UnknownSetupLink);
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "setup_link.revoke",
            detail: json!({ "link": id }),
        };
        self.commit(change, event).await?;
        Ok(())
    }
}

/// What of a secret is kept. It covers what the secret is for, so that no hash is good elsewhere.
pub(crate) fn hash(what: &'static str, link: &SetupLink, secret: &str) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"partywall setup v1");
    for part in [what, link.tenant.as_str(), &link.id, secret] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().to_vec()
}

/// The secret in a link.
pub(crate) const LINK: &str = "link";
/// The secret in the cookie of the browser that opened it.
pub(crate) const SESSION: &str = "session";
