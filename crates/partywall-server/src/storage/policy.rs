//! What enforcement points are told of tokens and bundles beside the tenants: configuration, kept
//! in the database, so that every server on it says the same of one generation.
//!
//! A server that starts with another configuration replaces it; one that merely runs does not.

use std::time::Duration;

use partywall::{Timestamp, carry::MAX_ENVELOPE_LIFE, token::IssuerConfig};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{StorageError, settings};
use crate::config::{CLOCKS_DISAGREE, ServerConfig};

/// The policy in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// Our own name, as in `iss`.
    pub(crate) issuer: String,
    /// Whose tokens are accepted beside ours.
    pub(crate) external: Vec<IssuerConfig>,
    /// How long tokens live that are issued now, in seconds.
    token_lifetime: u64,
    /// How long bundles live, in seconds.
    bundle_lifetime: u64,
    /// Longer lives that tokens were given before, and until when there may be some of those.
    outstanding: Vec<Outstanding>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Outstanding {
    lifetime: u64,
    until: Timestamp,
}

impl Policy {
    /// What `config` asks for at `now`, after `before`.
    pub(crate) fn following(before: Option<&Self>, config: &ServerConfig, now: Timestamp) -> Self {
        let token_lifetime = config.token_lifetime.as_secs();
        let mut outstanding = before.map(|before| before.outstanding.clone()).unwrap_or_default();
        if let Some(before) = before {
            // Other servers hear of the change within a second, and clocks disagree.
            let until = now + before.token_lifetime() + CLOCKS_DISAGREE;
            outstanding.push(Outstanding { lifetime: before.token_lifetime, until });
        }
        outstanding.retain(|old| old.lifetime > token_lifetime && old.until > now);
        Self {
            issuer: config.issuer.as_str().to_owned(),
            external: config.external_issuers.clone(),
            token_lifetime,
            bundle_lifetime: config.bundle.lifetime.as_secs(),
            outstanding,
        }
    }

    /// Whether it differs from `other` in anything that is configured.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let configured = |policy: &Self| Self { outstanding: Vec::new(), ..policy.clone() };
        configured(self) == configured(other)
    }

    /// For the audit trail: the names of the issuers, and how long things live.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let external: Vec<&str> = self.external.iter().map(IssuerConfig::issuer).collect();
        json!({
            "issuer": self.issuer, "external": external,
            "token_lifetime": self.token_lifetime, "bundle_lifetime": self.bundle_lifetime,
        })
    }

    /// How long tokens live that are issued now.
    pub(crate) fn token_lifetime(&self) -> Duration {
        Duration::from_secs(self.token_lifetime)
    }

    /// How long bundles live.
    pub(crate) fn bundle_lifetime(&self) -> Duration {
        Duration::from_secs(self.bundle_lifetime)
    }

    /// How long after its retirement a signing key can still be needed: the life of the last token
    /// it signed, a key set cached for `jwks_max_age`, and clocks that disagree.
    pub(crate) fn key_outlives(&self, jwks_max_age: Duration, now: Timestamp) -> Duration {
        self.longest_token(now) + jwks_max_age + CLOCKS_DISAGREE
    }

    /// How long a revocation can still refuse something: a token may put a job into an envelope
    /// in the last second of its life, and the job is asked for the token when it is taken out.
    pub(crate) fn revocation_lasts(&self, now: Timestamp) -> Duration {
        self.longest_token(now) + MAX_ENVELOPE_LIFE + CLOCKS_DISAGREE
    }

    /// The longest life of a token of ours that may not have expired at `now`.
    pub(crate) fn longest_token(&self, now: Timestamp) -> Duration {
        let old = self.outstanding.iter().filter(|old| old.until > now).map(|old| old.lifetime);
        Duration::from_secs(old.fold(self.token_lifetime, u64::max))
    }
}

/// The policy in force; `None` before the first start.
pub(crate) async fn current(db: &impl ConnectionTrait) -> Result<Option<Policy>, StorageError> {
    let Some(text) = settings::get(db, NAME).await? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|_| corrupt())
}

/// Puts `policy` in force, in the caller's transaction.
pub(crate) async fn replace(
    db: &impl ConnectionTrait,
    policy: &Policy,
) -> Result<(), StorageError> {
    settings::set(db, NAME, serde_json::to_vec(policy).map_err(|_| corrupt())?).await
}

/// The policy that every start leaves behind.
pub(crate) async fn in_force(db: &impl ConnectionTrait) -> Result<Policy, StorageError> {
    current(db).await?.ok_or_else(corrupt)
}

fn corrupt() -> StorageError {
    StorageError::Corrupt { table: "settings", row: NAME.to_owned(), column: "value" }
}

const NAME: &str = "policy";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseConfig, Resources, SealingKey, Secret};

    fn config(minutes: u64) -> ServerConfig {
        let mut config = ServerConfig::new(
            DatabaseConfig::Sqlite { path: "control.db".into() },
            SealingKey::from_bytes(&Secret::new([7; 32])).unwrap(),
            "https://id.test".parse().unwrap(),
            Resources::new("https://api.test".parse().unwrap(), []),
        );
        config.token_lifetime = Duration::from_secs(minutes * 60);
        config
    }

    #[test]
    fn j12_a_shorter_life_waits_for_the_longer_ones_to_end() {
        let hour = Policy::following(None, &config(60), Timestamp(0));
        let ten = Policy::following(Some(&hour), &config(10), Timestamp(1_000));
        let five = Policy::following(Some(&ten), &config(5), Timestamp(1_100));
        let longest = |now| five.longest_token(Timestamp(now)).as_secs() / 60;
        // The hour's last token was issued at 1,000; the ten minutes' at 1,100 is gone before it.
        assert_eq!((longest(1_100), longest(4_659), longest(4_660)), (60, 60, 5));
        assert_eq!(five.token_lifetime().as_secs(), 300);
        let again = Policy::following(Some(&five), &config(60), Timestamp(1_200));
        assert_eq!(again.outstanding, []);
    }
}
