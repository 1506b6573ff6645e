//! API keys: what scripts exchange for short access tokens. Hashed, scoped, expiring, shown once.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use aws_lc_rs::{constant_time, digest};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{Role, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Actor, ClientId, ControlError, ControlPlane, Scope, UserId, machine::roles_are_sound,
    tenant::MAX_PAGE, user::check_name,
};
use crate::{
    random,
    secret::Secret,
    storage::{
        AuditEvent, api_keys, machines,
        revocations::{self, Revocation},
        users,
    },
};

impl ControlPlane {
    /// Makes a key for a user or machine of `tenant`. Its text is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`ControlError::ApiKey`] when there is no such principal in the tenant, or the key would be
    /// good for too much or too long.
    pub async fn create_api_key(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewApiKey,
    ) -> Result<ApiKeyCredentials, ControlError> {
        let now = self.now();
        new.check()?;
        let id = ApiKeyId(random::opaque_id(&self.inner.random)?);
        let secret = Zeroizing::new(random::fill::<32>(&self.inner.random)?);
        let secret = Zeroizing::new(Base64UrlUnpadded::encode_string(&*secret));
        let change = self.inner.db.change(now).await?;
        let is_there = match &new.holder {
            ApiKeyHolder::User(user) => users::find(change.rows(), tenant, user).await?.is_some(),
            ApiKeyHolder::Machine(client) => machines::find(change.rows(), client)
                .await?
                .is_some_and(|machine| machine.tenant == *tenant),
        };
        if !is_there {
            return Err(InvalidApiKey::Holder.into());
        }
        let key = ApiKey {
            id: id.clone(),
            tenant: tenant.clone(),
            holder: new.holder,
            name: new.name,
            status: ApiKeyStatus::Active,
            roles: new.roles,
            scopes: new.scopes,
            created_at: now,
            expires_at: now + Duration::from_secs(new.lasts_seconds.into()),
            used_at: None,
            version: 1,
        };
        api_keys::insert(change.rows(), &key, &ApiKeyHash::of(tenant, &id, &secret)).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "api_key.create",
            detail: json!({
                "api_key": id, "holder": key.holder, "name": key.name, "roles": key.roles,
                "scopes": key.scopes, "expires_at": key.expires_at,
            }),
        };
        self.commit(change, event).await?;
        let text = Secret::new(format!("{PREFIX}{id}.{tenant}.{}", *secret));
        Ok(ApiKeyCredentials { key, text })
    }

    /// Ends a key for good, and every access token it was exchanged for.
    ///
    /// # Errors
    ///
    /// [`ControlError::ApiKey`] when the tenant has no such key that is still good.
    pub async fn revoke_api_key(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &ApiKeyId,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let keep_until = now + self.policy().revocation_lasts(now);
        let change = self.inner.db.change(now).await?;
        if !api_keys::revoke(change.rows(), tenant, id).await? {
            return Err(InvalidApiKey::Unknown.into());
        }
        // The ids of its tokens begin with its own.
        let jti = id.as_str();
        for issuer in &self.issuers_of(change.rows(), tenant).await? {
            let family = Revocation::Token { issuer, jti, expires: keep_until, keep_until };
            revocations::add(change.rows(), family, now).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "api_key.revoke",
            detail: json!({ "api_key": id }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// The tenant's key of that id, whatever its status.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn api_key(
        &self,
        tenant: &TenantId,
        id: &ApiKeyId,
    ) -> Result<Option<ApiKey>, ControlError> {
        Ok(api_keys::find(self.inner.db.reader(), tenant, id).await?)
    }

    /// Up to `limit` (at most 1,000) keys of a tenant, or of one of its principals, by ascending
    /// id, from the one behind `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_api_keys(
        &self,
        tenant: &TenantId,
        holder: Option<&ApiKeyHolder>,
        after: Option<&ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(api_keys::page(self.inner.db.reader(), tenant, holder, after, limit).await?)
    }
}

/// An API key, as the control plane knows it. Its text is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// Names it. In no request is it enough.
    pub id: ApiKeyId,
    /// The one tenant it is good in.
    pub tenant: TenantId,
    /// As whom it acts.
    pub holder: ApiKeyHolder,
    /// What people call it.
    pub name: String,
    /// Whether it can be exchanged.
    pub status: ApiKeyStatus,
    /// The only roles of its holder that its tokens have; all of them where it says nothing.
    pub roles: Option<BTreeSet<Role>>,
    /// What its tokens may be asked to carry.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be exchanged.
    pub expires_at: Timestamp,
    /// When it was last used, to the hour.
    pub used_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}

/// Whether an API key can be exchanged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyStatus {
    /// It can, until it expires.
    Active,
    /// Never again.
    Revoked,
}

impl ApiKeyStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

/// As whom an API key acts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum ApiKeyHolder {
    /// A person, as far as the gate lets them in.
    User(UserId),
    /// A machine.
    Machine(ClientId),
}

impl ApiKeyHolder {
    /// The `sub` of its tokens.
    pub fn as_str(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Machine(client) => client.as_str(),
        }
    }
}

impl FromStr for ApiKeyHolder {
    type Err = InvalidApiKey;

    fn from_str(subject: &str) -> Result<Self, Self::Err> {
        // The two kinds begin differently (J-18).
        let user = subject.parse().map(Self::User);
        user.or_else(|_| subject.parse().map(Self::Machine)).map_err(|_| InvalidApiKey::Holder)
    }
}

impl TryFrom<String> for ApiKeyHolder {
    type Error = InvalidApiKey;

    fn try_from(subject: String) -> Result<Self, Self::Error> {
        subject.parse()
    }
}

impl From<ApiKeyHolder> for String {
    fn from(holder: ApiKeyHolder) -> Self {
        holder.as_str().to_owned()
    }
}

/// What to say of an API key to be made.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// As whom it acts.
    #[schema(value_type = String)]
    pub holder: ApiKeyHolder,
    /// What people call it: up to 128 characters.
    pub name: String,
    /// The only roles of its holder that its tokens have; all of them where it says nothing.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub roles: Option<BTreeSet<Role>>,
    /// What its tokens may be asked to carry: up to 64 scopes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub scopes: BTreeSet<Scope>,
    /// For how long it can be exchanged, in seconds: up to 400 days.
    pub lasts_seconds: u32,
}

impl NewApiKey {
    fn check(&self) -> Result<(), InvalidApiKey> {
        check_name(&self.name).map_err(|_| InvalidApiKey::Name)?;
        if !self.roles.iter().all(roles_are_sound) {
            return Err(InvalidApiKey::Roles);
        }
        if self.scopes.len() > 64 {
            return Err(InvalidApiKey::Scopes);
        }
        if (60..=400 * 24 * 3600).contains(&self.lasts_seconds) {
            Ok(())
        } else {
            Err(InvalidApiKey::Lifetime)
        }
    }
}

/// An API key that was made, and its text, which is not kept anywhere else.
pub struct ApiKeyCredentials {
    /// What is known of it.
    pub key: ApiKey,
    /// What it is shown by: begins with `pwk_`.
    pub text: Secret<String>,
}

/// An API key's id: 26 random characters.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiKeyId(String);

impl ApiKeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiKeyId {
    type Err = InvalidApiKey;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        random::is_opaque_id(id).then(|| Self(id.to_owned())).ok_or(InvalidApiKey::Id)
    }
}

impl TryFrom<String> for ApiKeyId {
    type Error = InvalidApiKey;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<ApiKeyId> for String {
    fn from(id: ApiKeyId) -> Self {
        id.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key's text, as somebody presents it. Nothing of it is believed yet.
pub(crate) struct PresentedApiKey<'t> {
    pub(crate) id: ApiKeyId,
    pub(crate) tenant: TenantId,
    secret: &'t str,
}

impl<'t> PresentedApiKey<'t> {
    /// `None` for any text that cannot be a key's.
    pub(crate) fn read(text: &'t str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('.');
        let (id, tenant, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let (id, tenant) = (id.parse().ok()?, tenant.parse().ok()?);
        parts.next().is_none().then_some(Self { id, tenant, secret })
    }

    /// Whether `stored` is the hash of this very key. The same work is done where there is none.
    pub(crate) fn is(&self, stored: Option<&[u8]>) -> bool {
        let hash = ApiKeyHash::of(&self.tenant, &self.id, self.secret);
        constant_time::verify_slices_are_equal(hash.as_bytes(), stored.unwrap_or(&[0; 32])).is_ok()
    }
}

/// What is stored of a key: one round of SHA-256 is right for 256 random bits. It covers whose key
/// it is, so that a hash in another row opens nothing.
pub(crate) struct ApiKeyHash(digest::Digest);

impl ApiKeyHash {
    fn of(tenant: &TenantId, id: &ApiKeyId, secret: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"partywall api key v1");
        for part in [tenant.as_str(), id.as_str(), secret] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finish())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// What secret scanners can know API keys by.
const PREFIX: &str = "pwk_";

/// Why an API key, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidApiKey {
    /// Not an API key's id.
    #[error("not an API key's id: expected 26 characters of a-z and 2-7")]
    Id,
    /// No such key that is still good.
    #[error("the tenant has no such API key that is still good")]
    Unknown,
    /// No such principal.
    #[error("holder: expected the id of a user (u:) or machine (m:) of the tenant")]
    Holder,
    /// Not a name.
    #[error("not a name: expected 1 to 128 characters without control characters")]
    Name,
    /// Too many roles, or one too long.
    #[error("too many or unusable roles: at most 32, each of 1 to 64 visible ASCII characters")]
    Roles,
    /// Too many scopes.
    #[error("too many scopes: at most 64")]
    Scopes,
    /// Too short or too long.
    #[error("lasts_seconds: expected 60 to 34560000 (a minute to 400 days)")]
    Lifetime,
}
