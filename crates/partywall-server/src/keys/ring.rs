//! The ring of token keys: which one signs, which ones are published, and what is due next.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use partywall::{
    Timestamp,
    token::{Algorithm, SigningKey},
};
use sea_orm::ConnectionTrait;
use serde::Serialize;
use serde_json::json;

use super::{KeyError, KeyPolicy, KeyPurpose, KeyState, SealingKey, StoredKey};
use crate::storage::{StorageError, signing_keys};

/// The keys in force, replaced as a whole when they change.
#[derive(Default)]
pub(crate) struct KeyRing(ArcSwapOption<TokenKeys>);

impl KeyRing {
    pub(crate) fn current(&self) -> Result<Arc<TokenKeys>, KeyError> {
        self.0.load_full().ok_or(KeyError::NoActiveKey)
    }

    pub(crate) fn replace(&self, keys: TokenKeys) {
        self.0.store(Some(Arc::new(keys)));
    }
}

/// The token keys at one time.
pub(crate) struct TokenKeys {
    active: SigningKey,
    jwks: Bytes,
    etag: String,
}

impl TokenKeys {
    /// Signs an access token's claims (RFC 9068 2.1: `typ` is `at+jwt`).
    pub(crate) fn sign_access_token(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        Ok(self.active.sign_jws("at+jwt", claims)?)
    }

    /// Signs the claims of an artefact of another kind than an access token.
    pub(crate) fn sign_jws(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        Ok(self.active.sign_jws(typ, claims)?)
    }

    /// What the active key signs with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.active.algorithm()
    }

    /// Signs claims that are to be refused, or refused for this `typ`.
    pub(crate) fn sign_decoy(
        &self,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<String, KeyError> {
        Ok(self.active.sign_jws(typ, claims)?)
    }

    /// The published key set as `/jwks` serves it (RFC 7517 5).
    pub(crate) fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// An entity tag of the key set's text.
    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }
}

/// Reads the keys of a purpose as they are stored. `None` when none signs yet.
pub(crate) async fn load(
    db: &impl ConnectionTrait,
    purpose: &KeyPurpose,
    sealing: &SealingKey,
) -> Result<Option<TokenKeys>, RingError> {
    let keys = signing_keys::all(db, purpose).await?;
    let Some(active) = keys.iter().find(|key| key.state == KeyState::Active) else {
        return Ok(None);
    };
    let active = active.open(sealing)?;
    let jwks = key_set(&keys).to_string();
    let hash = digest(&SHA256, jwks.as_bytes());
    let tag: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(TokenKeys { active, jwks: jwks.into(), etag: format!("\"{tag}\"") }))
}

/// The public halves of `keys` as a key set (RFC 7517 5).
pub(crate) fn key_set(keys: &[StoredKey]) -> serde_json::Value {
    json!({ "keys": keys.iter().map(|key| &key.public_jwk).collect::<Vec<_>>() })
}

/// The next step in the life of the ring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Make a key and publish it.
    Publish,
    /// Let a published key sign, and retire the one that did.
    Activate {
        /// The key that will sign.
        kid: String,
    },
    /// Withdraw a retired key.
    Remove {
        /// The key to withdraw.
        kid: String,
    },
}

/// What is due at `now`, if anything. Pure, so that two servers come to the same answer.
///
/// `outlives` is how long after its retirement a key may still be needed: the longest life of a
/// token, and the time for which a key set may be cached.
pub(crate) fn next_step(
    keys: &[StoredKey],
    policy: &KeyPolicy,
    outlives: Duration,
    now: Timestamp,
) -> Option<Step> {
    let in_state = |state| keys.iter().filter(move |key| key.state == state);
    let active = in_state(KeyState::Active).next();
    let next = in_state(KeyState::Published).next();
    match (active, next) {
        (None, None) => return Some(Step::Publish),
        // Nobody holds a token of ours yet, so nobody has a key set to refresh.
        (None, Some(first)) => return Some(Step::Activate { kid: first.kid.clone() }),
        (Some(_), Some(next)) if next.published_at + policy.publish_ahead <= now => {
            return Some(Step::Activate { kid: next.kid.clone() });
        }
        (Some(active), None) => {
            let since = active.activated_at.unwrap_or_default();
            let soon_old = since + policy.rotate_every <= now + policy.publish_ahead;
            if soon_old || active.algorithm != policy.algorithm {
                return Some(Step::Publish);
            }
        }
        (Some(_), Some(_)) => {}
    }
    let unneeded =
        |key: &&StoredKey| key.retired_at.is_some_and(|retired| retired + outlives < now);
    in_state(KeyState::Retired).find(unneeded).map(|key| Step::Remove { kid: key.kid.clone() })
}

/// Takes a step that is due, in the caller's transaction, and says which key it was.
pub(crate) async fn take(
    db: &impl ConnectionTrait,
    purpose: &KeyPurpose,
    step: &Step,
    policy: &KeyPolicy,
    sealing: &SealingKey,
    now: Timestamp,
) -> Result<String, RingError> {
    let keys = signing_keys::all(db, purpose).await?;
    match step {
        Step::Publish => publish(db, purpose, policy, sealing, now).await.map(|key| key.kid),
        Step::Activate { kid } => {
            // The old one first: the table admits one active key at a time.
            for key in keys.iter().filter(|key| key.state == KeyState::Active) {
                let mut old = key.clone();
                old.retire(now);
                signing_keys::update(db, &old).await?;
            }
            let mut next = named(&keys, kid)?;
            next.activate(now);
            signing_keys::update(db, &next).await?;
            Ok(next.kid)
        }
        Step::Remove { kid } => {
            let mut key = named(&keys, kid)?;
            key.remove(now);
            signing_keys::update(db, &key).await?;
            Ok(key.kid)
        }
    }
}

/// Removes a key whatever its state, in the caller's transaction. When it was the one that signs,
/// another signs from now on.
pub(crate) async fn withdraw(
    db: &impl ConnectionTrait,
    purpose: &KeyPurpose,
    kid: &str,
    policy: &KeyPolicy,
    sealing: &SealingKey,
    now: Timestamp,
) -> Result<(), RingError> {
    let keys = signing_keys::all(db, purpose).await?;
    let mut withdrawn = named(&keys, kid)?;
    let was_active = withdrawn.state == KeyState::Active;
    withdrawn.remove(now);
    signing_keys::update(db, &withdrawn).await?;
    if was_active {
        let published = keys.into_iter().find(|key| key.state == KeyState::Published);
        let mut next = match published {
            Some(next) => next,
            None => publish(db, purpose, policy, sealing, now).await?,
        };
        next.activate(now);
        signing_keys::update(db, &next).await?;
    }
    Ok(())
}

async fn publish(
    db: &impl ConnectionTrait,
    purpose: &KeyPurpose,
    policy: &KeyPolicy,
    sealing: &SealingKey,
    now: Timestamp,
) -> Result<StoredKey, RingError> {
    let key = StoredKey::generate(purpose.clone(), policy.algorithm, sealing, now)?;
    signing_keys::insert(db, &key).await?;
    Ok(key)
}

fn named(keys: &[StoredKey], kid: &str) -> Result<StoredKey, KeyError> {
    let key = keys.iter().find(|key| key.kid == kid).cloned();
    key.ok_or_else(|| KeyError::UnknownKey { kid: kid.to_owned() })
}

/// Why the ring could not be read or turned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningAlgorithm;

    const LIFE: Duration = Duration::from_secs(1_000);

    fn policy() -> KeyPolicy {
        KeyPolicy {
            algorithm: SigningAlgorithm::Es256,
            rotate_every: Duration::from_secs(10_000),
            publish_ahead: Duration::from_secs(600),
            jwks_max_age: Duration::from_secs(300),
        }
    }

    fn key(kid: &str, state: KeyState, at: u64) -> StoredKey {
        StoredKey {
            kid: kid.to_owned(),
            purpose: KeyPurpose::Token,
            algorithm: SigningAlgorithm::Es256,
            state,
            public_jwk: serde_json::Value::Null,
            sealed: None,
            published_at: Timestamp(at),
            activated_at: Some(Timestamp(at)),
            retired_at: Some(Timestamp(at)),
            removed_at: None,
        }
    }

    fn due(keys: &[StoredKey], now: u64) -> Option<Step> {
        next_step(keys, &policy(), LIFE, Timestamp(now))
    }

    #[test]
    fn i11_an_empty_ring_publishes_and_signs_at_once() {
        assert_eq!(due(&[], 0), Some(Step::Publish));
        let first = [key("a", KeyState::Published, 0)];
        assert_eq!(due(&first, 0), Some(Step::Activate { kid: "a".to_owned() }));
    }

    #[test]
    fn i11_a_key_is_published_ahead_of_signing_and_not_before_it_is_needed() {
        let active = [key("a", KeyState::Active, 0)];
        assert_eq!(due(&active, 9_399), None);
        assert_eq!(due(&active, 9_400), Some(Step::Publish));
        let both = [key("a", KeyState::Active, 0), key("b", KeyState::Published, 9_400)];
        assert_eq!(due(&both, 9_999), None, "published for less than publish_ahead");
        assert_eq!(due(&both, 10_000), Some(Step::Activate { kid: "b".to_owned() }));
    }

    #[test]
    fn i11_a_retired_key_stays_until_its_last_token_has_expired() {
        let keys = [key("a", KeyState::Retired, 10_000), key("b", KeyState::Active, 10_000)];
        assert_eq!(due(&keys, 11_000), None);
        assert_eq!(due(&keys, 11_001), Some(Step::Remove { kid: "a".to_owned() }));
    }

    #[test]
    fn i11_another_algorithm_begins_a_rotation() {
        let active = [key("a", KeyState::Active, 0)];
        let other = KeyPolicy { algorithm: SigningAlgorithm::EdDsa, ..policy() };
        assert_eq!(due(&active, 1), None);
        assert_eq!(next_step(&active, &other, LIFE, Timestamp(1)), Some(Step::Publish));
    }
}
