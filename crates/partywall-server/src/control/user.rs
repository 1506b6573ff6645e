//! Users: members of exactly one tenant each, and what a token's `sub` names (M-02, M-04).

use std::{collections::BTreeSet, fmt, str::FromStr};

use partywall::{Role, SubjectId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Account, AccountId, AccountStatus, Actor, ControlError, ControlPlane, Email, Metadata,
    machine::roles_are_sound, tenant::MAX_PAGE,
};
use crate::{
    random::{self, RandomError},
    storage::{AuditEvent, StorageError, accounts, tenants, users},
};

impl ControlPlane {
    /// Makes a user of `tenant`, invited: it becomes active when its owner accepts. Behind it is
    /// the account that signs in by this address, made when there is none. Which of the two it
    /// was is not told (I-35).
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], [`ControlError::EmailTaken`], and [`ControlError::User`].
    pub async fn create_user(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewUser,
    ) -> Result<User, ControlError> {
        new.check()?;
        let now = self.now();
        let id = UserId::draw(&self.inner.random)?;
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        let account = match accounts::find_by_email(change.rows(), &new.email).await? {
            Some(account) => account.id,
            None => {
                let account = Account {
                    id: AccountId::draw(&self.inner.random)?,
                    email: new.email.clone(),
                    email_verified_at: None,
                    status: AccountStatus::Active,
                    created_at: now,
                    changed_at: now,
                };
                accounts::insert(change.rows(), &account).await?;
                account.id
            }
        };
        let user = User {
            id,
            tenant: tenant.clone(),
            account: Some(account),
            email: new.email,
            name: new.name,
            status: UserStatus::Invited,
            roles: new.roles,
            metadata: new.metadata,
            break_glass: false,
            created_at: now,
            changed_at: now,
            version: 1,
        };
        match users::insert(change.rows(), &user).await {
            Err(StorageError::Duplicate) => {
                return Err(ControlError::EmailTaken { email: user.email });
            }
            inserted => inserted?,
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "user.create",
            detail: json!({ "user": user.id, "roles": user.roles }),
        };
        self.commit(change, event).await?;
        Ok(user)
    }

    /// The tenant's user of that id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>, ControlError> {
        Ok(users::find(self.inner.db.reader(), tenant, id).await?)
    }

    /// Up to `limit` (at most 1,000) users of a tenant by ascending id, from the one behind
    /// `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_users(
        &self,
        tenant: &TenantId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<User>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(users::page(self.inner.db.reader(), tenant, after, limit).await?)
    }
}

/// A user's id, and its `sub`: `u:` and 26 random characters. No machine's begins like that
/// (J-18). The same person has another one in every tenant.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(SubjectId);

impl UserId {
    /// The id as it appears in tokens.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The user as a principal.
    pub fn subject(&self) -> &SubjectId {
        &self.0
    }

    pub(crate) fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        format!("u:{}", random::opaque_id(random)?).parse().map_err(|_| RandomError)
    }
}

impl FromStr for UserId {
    type Err = InvalidUser;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        id.strip_prefix("u:")
            .filter(|rest| random::is_opaque_id(rest))
            .and_then(|_| id.parse().ok())
            .map(Self)
            .ok_or(InvalidUser::Id)
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidUser;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A user, as the control plane knows it. Everything but the id and the tenant is an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The one tenant it is a member of.
    pub tenant: TenantId,
    /// Who signs in with factors kept here; nobody, for one whose tenant's own provider vouches.
    pub account: Option<AccountId>,
    /// Where it is written to, as its tenant knows it.
    pub email: Email,
    /// What people call it.
    pub name: String,
    /// Whether it can come in.
    pub status: UserStatus,
    /// What it may be inside its tenant.
    pub roles: BTreeSet<Role>,
    /// What the tenant's administrators remember of it. Never its own to write.
    pub metadata: Metadata,
    /// Whether it may come in past a tenant's lock to its own provider (I-13). Alarmed when it does.
    pub break_glass: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}

/// Whether a user can come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// Was asked in and has not come yet.
    Invited,
    /// May.
    Active,
    /// May not, until an administrator says so.
    Suspended,
}

impl UserStatus {
    /// The word it is stored and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// What to say of a user to be made. Its id, tenant and status are not for the caller to choose.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Where it is written to, and what it signs in by.
    #[schema(value_type = String, format = Email)]
    pub email: Email,
    /// What people call it: up to 128 characters.
    pub name: String,
    /// What it may be inside its tenant: up to 32 roles of up to 64 visible ASCII characters.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub roles: BTreeSet<Role>,
    /// Up to 4 KiB of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Metadata,
}

impl NewUser {
    pub(crate) fn check(&self) -> Result<(), InvalidUser> {
        check_name(&self.name)?;
        if roles_are_sound(&self.roles) { Ok(()) } else { Err(InvalidUser::Roles) }
    }
}

/// Refuses what is no name for people to read.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidUser> {
    let length = name.trim().chars().count();
    if (1..=128).contains(&length) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(InvalidUser::Name)
    }
}

/// Why a user, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUser {
    /// Not a user's id.
    #[error("not a user id: expected u: and 26 characters of a-z and 2-7")]
    Id,
    /// Not a name.
    #[error("not a name: expected 1 to 128 characters without control characters")]
    Name,
    /// Too many roles, or one too long.
    #[error("too many or unusable roles: at most 32, each of 1 to 64 visible ASCII characters")]
    Roles,
}
