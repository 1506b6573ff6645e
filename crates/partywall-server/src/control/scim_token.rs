//! SCIM tokens: what a tenant's identity provider shows to say who the tenant's users are. Bound to
//! one tenant and one connection of it (I-29), hashed, expiring, shown once.

use std::{fmt, str::FromStr, time::Duration};

use aws_lc_rs::{constant_time, digest};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Actor, ConnectionId, ControlError, ControlPlane};
use crate::{
    random,
    secret::Secret,
    storage::{AuditEvent, connections, scim_tokens},
};

impl ControlPlane {
    /// Makes a token for a connection of `tenant`. Its text is returned here and never again. A
    /// connection has two at most, so that one can replace the other without a pause.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownConnection`], and [`ControlError::ScimToken`] when there are two
    /// already, or it would be good for too long.
    pub async fn create_scim_token(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        connection: &ConnectionId,
        new: NewScimToken,
    ) -> Result<ScimTokenCredentials, ControlError> {
        if !(3600..=400 * 24 * 3600).contains(&new.lasts_seconds) {
            return Err(InvalidScimToken::Lifetime.into());
        }
        let now = self.now();
        let id = ScimTokenId(random::opaque_id(&self.inner.random)?);
        let secret = Zeroizing::new(random::fill::<32>(&self.inner.random)?);
        let secret = Zeroizing::new(Base64UrlUnpadded::encode_string(&*secret));
        let change = self.inner.db.change(now).await?;
        let found = connections::find(change.rows(), tenant, connection).await?;
        let Some(found) = found else {
            return Err(ControlError::UnknownConnection { connection: connection.clone() });
        };
        scim_tokens::delete_run_out(change.rows(), tenant, connection, now).await?;
        if scim_tokens::list(change.rows(), tenant, connection).await?.len() >= AT_ONCE {
            return Err(InvalidScimToken::TooMany.into());
        }
        let token = ScimToken {
            id,
            tenant: found.tenant,
            connection: found.id,
            created_at: now,
            expires_at: now + Duration::from_secs(new.lasts_seconds.into()),
            used_at: None,
        };
        let presented = PresentedScimToken {
            id: token.id.clone(),
            tenant: token.tenant.clone(),
            connection: token.connection.clone(),
            secret: &secret,
        };
        scim_tokens::insert(change.rows(), &token, presented.hash().as_ref()).await?;
        let text = Secret::new(format!("{PREFIX}{}.{tenant}.{connection}.{}", token.id, *secret));
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "scim_token.create",
            detail: json!({
                "scim_token": token.id, "connection": connection, "expires_at": token.expires_at,
            }),
        };
        self.commit(change, event).await?;
        Ok(ScimTokenCredentials { token, text })
    }

    /// Ends a token for good.
    ///
    /// # Errors
    ///
    /// [`ControlError::ScimToken`] when the connection has no such token.
    pub async fn revoke_scim_token(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        connection: &ConnectionId,
        id: &ScimTokenId,
    ) -> Result<(), ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        if !scim_tokens::delete(change.rows(), tenant, connection, id).await? {
            return Err(InvalidScimToken::Unknown.into());
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "scim_token.revoke",
            detail: json!({ "scim_token": id, "connection": connection }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// The tokens of a connection, those that have run out included until another is made.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownConnection`].
    pub async fn list_scim_tokens(
        &self,
        tenant: &TenantId,
        connection: &ConnectionId,
    ) -> Result<Vec<ScimToken>, ControlError> {
        let db = self.inner.db.reader();
        if connections::find(db, tenant, connection).await?.is_none() {
            return Err(ControlError::UnknownConnection { connection: connection.clone() });
        }
        Ok(scim_tokens::list(db, tenant, connection).await?)
    }
}

/// A SCIM token, as the control plane knows it. Its text is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScimToken {
    /// Names it. In no request is it enough.
    pub id: ScimTokenId,
    /// The one tenant it is good in.
    pub tenant: TenantId,
    /// The one connection whose users and groups it reaches.
    pub connection: ConnectionId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was last used, to the hour.
    pub used_at: Option<Timestamp>,
}

/// What to say of a SCIM token to be made.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewScimToken {
    /// For how long it is good, in seconds: an hour to 400 days.
    pub lasts_seconds: u32,
}

/// A SCIM token that was made, and its text, which is not kept anywhere else.
pub struct ScimTokenCredentials {
    /// What is known of it.
    pub token: ScimToken,
    /// What the provider shows: begins with `pwp_`.
    pub text: Secret<String>,
}

/// A SCIM token's id: 26 random characters.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScimTokenId(String);

impl ScimTokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScimTokenId {
    type Err = InvalidScimToken;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        random::is_opaque_id(id).then(|| Self(id.to_owned())).ok_or(InvalidScimToken::Id)
    }
}

impl TryFrom<String> for ScimTokenId {
    type Error = InvalidScimToken;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<ScimTokenId> for String {
    fn from(id: ScimTokenId) -> Self {
        id.0
    }
}

impl fmt::Display for ScimTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token's text, as somebody presents it. Nothing of it is believed yet.
pub(crate) struct PresentedScimToken<'t> {
    pub(crate) id: ScimTokenId,
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    secret: &'t str,
}

impl<'t> PresentedScimToken<'t> {
    /// `None` for any text that cannot be a token's.
    pub(crate) fn read(text: &'t str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('.');
        let (id, tenant) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (connection, secret) = (parts.next()?.parse().ok()?, parts.next()?);
        parts.next().is_none().then_some(Self { id, tenant, connection, secret })
    }

    /// Whether `stored` is the hash of this very token. The same work is done where there is none.
    pub(crate) fn is(&self, stored: Option<&[u8]>) -> bool {
        let stored = stored.unwrap_or(&[0; 32]);
        constant_time::verify_slices_are_equal(self.hash().as_ref(), stored).is_ok()
    }

    /// What is stored: one round of SHA-256 is right for 256 random bits. It covers whose token it
    /// is, so that a hash in another row opens nothing.
    fn hash(&self) -> digest::Digest {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"partywall scim token v1");
        for part in [self.tenant.as_str(), self.connection.as_str(), self.id.as_str(), self.secret]
        {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finish()
    }
}

/// What secret scanners can know SCIM tokens by.
const PREFIX: &str = "pwp_";
/// One, and the one that replaces it.
const AT_ONCE: usize = 2;

/// Why a SCIM token, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidScimToken {
    /// Not a SCIM token's id.
    #[error("not a SCIM token's id: expected 26 characters of a-z and 2-7")]
    Id,
    /// No such token.
    #[error("the connection has no such SCIM token")]
    Unknown,
    /// There are two.
    #[error("the connection has two SCIM tokens already: revoke one first")]
    TooMany,
    /// Too short or too long.
    #[error("lasts_seconds: expected 3600 to 34560000 (an hour to 400 days)")]
    Lifetime,
}
