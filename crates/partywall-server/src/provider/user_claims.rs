//! What we say about a user to applications (OIDC Core 5.1): its name and its address. Never its
//! metadata, and nothing of the account behind it but whether the address was shown to be its own.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

use super::scope;
use crate::{
    control::{Scope, User},
    storage::{StorageError, accounts},
};

/// A claim about a user that can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Claim {
    Name,
    UpdatedAt,
    Email,
    EmailVerified,
}

impl Claim {
    const ALL: [Self; 4] = [Self::Name, Self::UpdatedAt, Self::Email, Self::EmailVerified];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::UpdatedAt => "updated_at",
            Self::Email => "email",
            Self::EmailVerified => "email_verified",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.as_str() == name)
    }

    /// The scope it comes with (OIDC Core 5.4).
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::Name | Self::UpdatedAt => scope::PROFILE,
            Self::Email | Self::EmailVerified => scope::EMAIL,
        }
    }

    /// Those that come with `scopes`.
    pub(super) fn of(scopes: &BTreeSet<Scope>) -> BTreeSet<Self> {
        Self::ALL.into_iter().filter(|claim| scope::has(scopes, claim.scope())).collect()
    }
}

/// Everything an ID token or UserInfo may say (OIDC Discovery 3, `claims_supported`).
pub(super) fn supported() -> Vec<&'static str> {
    let always =
        ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "tid"];
    always.into_iter().chain(Claim::ALL.map(Claim::as_str)).collect()
}

/// The claims, as they stand in an ID token or in what UserInfo answers.
#[derive(Debug, Default, Serialize)]
pub(super) struct UserClaims<'u> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'u str>,
    /// When the user last changed, in seconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'u str>,
    /// Whether the account behind the user signs in by that address and has shown to read mail
    /// sent there. An address a tenant's administrator wrote down is nobody's proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

/// What is `wanted` of it. The account is looked at only where the answer depends on it.
pub(super) async fn about<'u>(
    db: &impl ConnectionTrait,
    user: &'u User,
    wanted: &BTreeSet<Claim>,
) -> Result<UserClaims<'u>, StorageError> {
    // Nobody is told an address that is none.
    let has = |claim| match claim {
        Claim::Email | Claim::EmailVerified => wanted.contains(&claim) && user.email.is_somewhere(),
        Claim::Name | Claim::UpdatedAt => wanted.contains(&claim),
    };
    let account = match &user.account {
        Some(account) if has(Claim::EmailVerified) => accounts::find(db, account).await?,
        _ => None,
    };
    let verified = account
        .is_some_and(|account| account.email == user.email && account.email_verified_at.is_some());
    Ok(UserClaims {
        name: has(Claim::Name).then_some(user.name.as_str()),
        updated_at: has(Claim::UpdatedAt).then_some(user.changed_at.0),
        email: has(Claim::Email).then_some(user.email.as_str()),
        email_verified: has(Claim::EmailVerified).then_some(verified),
    })
}
