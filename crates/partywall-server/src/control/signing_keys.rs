//! Signing keys through their lives: turned on schedule, turned by an operator, withdrawn when one
//! may have been seen.

use partywall::Timestamp;
use serde_json::json;

use super::{Actor, ControlError, ControlPlane, Inner, THE_SERVER};
use crate::{
    keys::{
        KeyError, KeyPurpose, KeyState, RingError, SigningAlgorithm, Step, StoredKey, next_step,
        take, withdraw,
    },
    storage::{AuditEvent, Change, signing_keys},
};

impl ControlPlane {
    /// Takes every step in the life of the signing keys that is due now: publishes the next key,
    /// lets it sign, removes the one before. [`Server::serve`](crate::Server::serve) does so by
    /// itself.
    ///
    /// # Errors
    ///
    /// When the database or a key fails. The keys in force stay so.
    pub async fn rotate_keys(&self) -> Result<(), RingError> {
        self.rotate_keys_of(&KeyPurpose::Token).await?;
        // Of all tenants' own issuers, those where something is due; the rest next time.
        let (now, policy) = (self.now(), &self.inner.config.keys);
        let outlives = self.policy().key_outlives(policy.jwks_max_age, now);
        let ago = |by: std::time::Duration| Timestamp(now.0.saturating_sub(by.as_secs()));
        let signing = policy.rotate_every.saturating_sub(policy.publish_ahead);
        let db = self.inner.db.reader();
        let (waiting, resting) = (ago(policy.publish_ahead), ago(outlives));
        let due = signing_keys::tenants_due(db, ago(signing), waiting, resting, AT_ONCE).await?;
        for tenant in due {
            self.rotate_keys_of(&KeyPurpose::Tenant(tenant)).await?;
        }
        Ok(())
    }

    async fn rotate_keys_of(&self, purpose: &KeyPurpose) -> Result<(), RingError> {
        let Inner { db, config, .. } = &*self.inner;
        let due = |keys: &[StoredKey]| {
            let now = self.now();
            let outlives = self.policy().key_outlives(config.keys.jwks_max_age, now);
            next_step(keys, &config.keys, outlives, now)
        };
        while let Some(step) = due(&signing_keys::all(db.reader(), purpose).await?) {
            let change = db.change(self.now()).await?;
            // Another server may have been quicker: what is due is asked again, under the lock.
            let keys = signing_keys::all(change.rows(), purpose).await?;
            if due(&keys).as_ref() == Some(&step) {
                self.take_step(change, purpose, &step, &THE_SERVER).await?;
            }
        }
        Ok(())
    }

    /// Publishes the next signing key now, whatever the schedule says. It signs once it has been
    /// published for long enough. Changes nothing when a rotation is under way.
    ///
    /// # Errors
    ///
    /// When the database or a key fails.
    pub async fn begin_key_rotation(&self, actor: &Actor) -> Result<(), ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        let purpose = KeyPurpose::Token;
        let keys = signing_keys::all(change.rows(), &purpose).await?;
        if keys.iter().any(|key| key.state == KeyState::Published) {
            return Ok(());
        }
        Ok(self.take_step(change, &purpose, &Step::Publish, actor).await?)
    }

    /// Takes a signing key out of use at once, because somebody else may have it: nothing it
    /// signed is accepted from the next bundle on. If it was the one that signs, the next takes
    /// over without having been published ahead; whoever caches key sets fails until they expire.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownSigningKey`] when no key in use has that id.
    pub async fn withdraw_signing_key(&self, actor: &Actor, kid: &str) -> Result<(), ControlError> {
        let now = self.now();
        let Inner { db, config, .. } = &*self.inner;
        let change = db.change(now).await?;
        let purpose = signing_keys::purpose_of(change.rows(), kid).await?;
        let purpose = purpose.filter(|purpose| *purpose != KeyPurpose::Bundle);
        let purpose =
            purpose.ok_or_else(|| ControlError::UnknownSigningKey { kid: kid.to_owned() })?;
        let rows = change.rows();
        match withdraw(rows, &purpose, kid, &config.keys, &config.sealing_key, now).await {
            Err(RingError::Key(KeyError::UnknownKey { kid })) => {
                return Err(ControlError::UnknownSigningKey { kid });
            }
            withdrawn => withdrawn?,
        }
        let detail = json!({ "kid": kid });
        let event = AuditEvent { actor, tenant: None, action: "signing_key.withdraw", detail };
        let generation = self.commit(change, event).await?;
        Ok(self.reread_keys(generation).await?)
    }

    /// Every token key that is published or signs, oldest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_signing_keys(&self) -> Result<Vec<SigningKeyRecord>, ControlError> {
        let keys = signing_keys::all(self.inner.db.reader(), &KeyPurpose::Token).await?;
        Ok(keys.into_iter().map(SigningKeyRecord::from).collect())
    }

    async fn take_step(
        &self,
        change: Change<'_>,
        purpose: &KeyPurpose,
        step: &Step,
        actor: &Actor,
    ) -> Result<(), RingError> {
        let config = &self.inner.config;
        let (rows, now) = (change.rows(), self.now());
        let kid = take(rows, purpose, step, &config.keys, &config.sealing_key, now).await?;
        let action = match step {
            Step::Publish => "signing_key.publish",
            Step::Activate { .. } => "signing_key.activate",
            Step::Remove { .. } => "signing_key.remove",
        };
        let event = AuditEvent { actor, tenant: None, action, detail: json!({ "kid": kid }) };
        let generation = self.commit(change, event).await?;
        match self.reread_keys(generation).await {
            // The first key of all has just been published and does not sign yet.
            Err(RingError::Key(KeyError::NoActiveKey)) => Ok(()),
            reread => reread,
        }
    }
}

/// Tenants whose own keys are looked after in one go.
const AT_ONCE: u64 = 100;

/// A token key, as operators see it: nothing of its private half.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningKeyRecord {
    /// Its id, as in tokens' headers.
    pub kid: String,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// `published`, `active`, or `retired`.
    pub state: &'static str,
    /// When it was published.
    pub published_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When it ceased to.
    pub retired_at: Option<Timestamp>,
}

impl From<StoredKey> for SigningKeyRecord {
    fn from(key: StoredKey) -> Self {
        Self {
            state: signing_keys::state_text(key.state),
            kid: key.kid,
            algorithm: key.algorithm,
            published_at: key.published_at,
            activated_at: key.activated_at,
            retired_at: key.retired_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64ct::{Base64UrlUnpadded, Encoding};
    use partywall::FixedClock;

    use super::*;
    use crate::{
        config::{Resources, ServerConfig},
        keys::{KeyPolicy, SealingKey},
        secret::Secret,
        storage::DatabaseConfig,
    };

    fn found(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    #[tokio::test]
    async fn p06_no_private_key_is_in_the_database_files_in_clear() {
        for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa, SigningAlgorithm::Rs256]
        {
            let dir = tempfile::tempdir().unwrap();
            let sealing = || SealingKey::from_bytes(&Secret::new([7; 32])).unwrap();
            let config = ServerConfig {
                keys: KeyPolicy { algorithm, ..KeyPolicy::default() },
                ..ServerConfig::new(
                    DatabaseConfig::Sqlite { path: dir.path().join("control.db") },
                    sealing(),
                    "https://id.test".parse().unwrap(),
                    Resources::new("https://api.test".parse().unwrap(), []),
                )
            };
            let clock = Arc::new(FixedClock::at(Timestamp(1_800_000_000)));
            let control = ControlPlane::open(config, clock).await.unwrap();
            control.begin_key_rotation(&THE_SERVER).await.unwrap();

            let db = control.inner.db.reader();
            let mut keys = signing_keys::all(db, &KeyPurpose::Token).await.unwrap();
            keys.extend(signing_keys::all(db, &KeyPurpose::Bundle).await.unwrap());
            assert_eq!(keys.len(), 3);
            let files: Vec<Vec<u8>> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
                .collect();
            let anywhere = |needle: &[u8]| files.iter().any(|file| found(file, needle));
            for key in keys {
                // The controls: what is stored is found by this very scan, and what is looked for
                // is found in what it is looked for in.
                assert!(anywhere(key.kid.as_bytes()), "the scan finds nothing");
                assert!(anywhere(key.sealed.as_ref().unwrap()), "the scan finds nothing");
                let private = key.open(&sealing()).unwrap().to_pkcs8().unwrap();
                // Where PKCS#8 keeps the scalar, the seed, and the last of RSA's numbers.
                let secret = match (key.algorithm, private.len()) {
                    (SigningAlgorithm::Es256, _) => &private[36..68],
                    (SigningAlgorithm::EdDsa, _) => &private[16..48],
                    (SigningAlgorithm::Rs256, len) => &private[len - 64..],
                };
                let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
                assert!(!anywhere(&secret[..16]), "{algorithm}: clear");
                assert!(!anywhere(&hex.as_bytes()[..32]), "{algorithm}: hex");
                for offset in 0..3 {
                    let text = Base64UrlUnpadded::encode_string(&secret[offset..offset + 18]);
                    assert!(!anywhere(text.as_bytes()), "{algorithm}: base64url");
                }
            }
        }
    }
}
