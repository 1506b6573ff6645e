//! What the control plane does by itself: keys made on first use, keys turned, bundles kept fresh.

use aws_lc_rs::digest::{SHA256, digest};
use partywall::{
    Timestamp,
    token::{IssuerError, IssuerFault, KeySource, TrustedIssuers},
};
use serde_json::json;

use super::{Actor, ControlPlane, Inner, OpenError};
use crate::{
    config::ServerConfig,
    keys::{
        BundleSigner, KeyError, KeyPurpose, KeyState, RingError, SealError, SigningAlgorithm, Step,
        StoredKey, next_step, take,
    },
    storage::{AuditEvent, Change, Database, directory, settings, signing_keys},
};

impl ControlPlane {
    /// Takes every step in the life of the signing keys that is due now: publishes the next key,
    /// lets it sign, withdraws the one before.
    ///
    /// # Errors
    ///
    /// When the database or a key fails. The keys in force stay so.
    pub async fn rotate_keys(&self) -> Result<(), RingError> {
        while let Some(step) = self.due_step().await? {
            let now = self.now();
            let Inner { db, config, .. } = &*self.inner;
            let change = db.change(now).await?;
            // Another server may have been quicker: what is due is asked again, under the lock.
            let keys = signing_keys::all(change.rows(), KeyPurpose::Token).await?;
            if next_step(&keys, &config.keys, config.key_outlives(), now).as_ref() != Some(&step) {
                continue;
            }
            take(change.rows(), &step, &config.keys, &config.sealing_key, now).await?;
            self.commit_keys(change, &step).await?;
        }
        Ok(())
    }

    /// Publishes the next signing key now, whatever the schedule says. It signs once it has been
    /// published for long enough.
    ///
    /// # Errors
    ///
    /// When the database or a key fails. Does nothing when a rotation is under way.
    pub async fn begin_key_rotation(&self) -> Result<(), RingError> {
        let now = self.now();
        let Inner { db, config, .. } = &*self.inner;
        let change = db.change(now).await?;
        let keys = signing_keys::all(change.rows(), KeyPurpose::Token).await?;
        if keys.iter().any(|key| key.state == KeyState::Published) {
            return Ok(());
        }
        let step = Step::Publish;
        take(change.rows(), &step, &config.keys, &config.sealing_key, now).await?;
        self.commit_keys(change, &step).await
    }

    /// Raises the generation when the last one is so old that its bundles would run out.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn keep_bundle_fresh(&self) -> Result<(), RingError> {
        let now = self.now();
        let (_, changed_at) = directory::current(self.inner.db.reader()).await?;
        if now.since(changed_at) < self.inner.config.bundle.refresh_after {
            return Ok(());
        }
        let change = self.inner.db.change(now).await?;
        self.commit(change, by_itself("bundle.refresh", json!({}))).await?;
        Ok(())
    }

    async fn commit_keys(&self, change: Change<'_>, step: &Step) -> Result<(), RingError> {
        let (action, detail) = match step {
            Step::Publish => ("signing_key.publish", json!({})),
            Step::Activate { kid } => ("signing_key.activate", json!({ "kid": kid })),
            Step::Remove { kid } => ("signing_key.remove", json!({ "kid": kid })),
        };
        let generation = self.commit(change, by_itself(action, detail)).await?;
        match self.reread_keys(generation).await {
            // The first key of all has just been published and does not sign yet.
            Err(RingError::Key(KeyError::NoActiveKey)) => Ok(()),
            reread => reread,
        }
    }

    async fn due_step(&self) -> Result<Option<Step>, RingError> {
        let Inner { db, config, .. } = &*self.inner;
        let keys = signing_keys::all(db.reader(), KeyPurpose::Token).await?;
        Ok(next_step(&keys, &config.keys, config.key_outlives(), self.now()))
    }
}

/// Checks the external issuers as an enforcement point would, before any of them sees them (P-05),
/// and takes key sets out of files, which only this machine has.
pub(super) fn with_issuers_inlined(mut config: ServerConfig) -> Result<ServerConfig, OpenError> {
    for issuer in &mut config.external_issuers {
        if let KeySource::File(path) = &issuer.jwks {
            let read = std::fs::read(path)
                .and_then(|bytes| serde_json::from_slice(&bytes).map_err(std::io::Error::from));
            let failed = |source| OpenError::KeySetFile { path: path.clone(), source };
            issuer.jwks = KeySource::Inline(read.map_err(failed)?);
        }
    }
    let own = config.issuer.as_str();
    if config.external_issuers.iter().any(|issuer| issuer.issuer() == own) {
        return Err(IssuerError { issuer: own.to_owned(), why: IssuerFault::Twice }.into());
    }
    let audience = config.resources.default_resource().as_str().to_owned();
    TrustedIssuers::compile(&config.external_issuers, &[audience])?;
    Ok(config)
}

/// Proves that the sealing key is this database's, or makes it so on first use.
pub(super) async fn prepare_keys(
    db: &Database,
    config: &ServerConfig,
    now: Timestamp,
) -> Result<(), OpenError> {
    let sealing = &config.sealing_key;
    let check = |sealed: &[u8]| match sealing.open(SEALING_CHECK, sealed) {
        Err(SealError::DoesNotOpen) => Err(OpenError::WrongSealingKey),
        opened => opened.map(drop).map_err(|error| OpenError::Key(error.into())),
    };
    if let Some(sealed) = settings::get(db.reader(), "sealing_check").await? {
        return check(&sealed);
    }
    let change = db.change(now).await?;
    match settings::get(change.rows(), "sealing_check").await? {
        // Another server was quicker.
        Some(sealed) => check(&sealed),
        None => {
            let sealed =
                sealing.seal(SEALING_CHECK, b"").map_err(|error| OpenError::Key(error.into()))?;
            settings::set(change.rows(), "sealing_check", sealed).await?;
            change.commit(by_itself("database.begin", json!({}))).await?;
            Ok(())
        }
    }
}

/// The bundle key, drawn on first use.
pub(super) async fn bundle_signer(
    db: &Database,
    config: &ServerConfig,
    now: Timestamp,
) -> Result<BundleSigner, OpenError> {
    let stored = signing_keys::all(db.reader(), KeyPurpose::Bundle).await?;
    if let Some(key) = stored.first() {
        return Ok(BundleSigner::open(key, &config.sealing_key)?);
    }
    let change = db.change(now).await?;
    let key = match signing_keys::all(change.rows(), KeyPurpose::Bundle).await?.pop() {
        Some(key) => key,
        None => {
            let algorithm = SigningAlgorithm::EdDsa;
            let mut key =
                StoredKey::generate(KeyPurpose::Bundle, algorithm, &config.sealing_key, now)?;
            key.activate(now);
            signing_keys::insert(change.rows(), &key).await?;
            let detail = json!({ "kid": key.kid });
            change.commit(by_itself("bundle_key.create", detail)).await?;
            key
        }
    };
    Ok(BundleSigner::open(&key, &config.sealing_key)?)
}

/// Which issuers are trusted is configuration, and part of the bundle: when it changed since the
/// last start, so does the generation.
pub(super) async fn note_issuers(
    db: &Database,
    config: &ServerConfig,
    now: Timestamp,
) -> Result<(), OpenError> {
    let said = json!({ "issuer": config.issuer.as_str(), "lifetime": config.token_lifetime, "external": config.external_issuers });
    let hash = digest(&SHA256, said.to_string().as_bytes()).as_ref().to_vec();
    if settings::get(db.reader(), "issuers").await?.as_ref() == Some(&hash) {
        return Ok(());
    }
    let change = db.change(now).await?;
    settings::set(change.rows(), "issuers", hash).await?;
    let external: Vec<&str> = config.external_issuers.iter().map(|other| other.issuer()).collect();
    change.commit(by_itself("issuers.configure", json!({ "external": external }))).await?;
    Ok(())
}

fn by_itself(action: &'static str, detail: serde_json::Value) -> AuditEvent<'static> {
    AuditEvent { actor: &THE_SERVER, tenant: None, action, detail }
}

static THE_SERVER: Actor = Actor::System("server");

/// What the sealed, empty check value is bound to.
const SEALING_CHECK: &[u8] = b"partywall sealing check v1";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64ct::{Base64UrlUnpadded, Encoding};
    use partywall::FixedClock;

    use super::*;
    use crate::{
        config::Resources, keys::KeyPolicy, keys::SealingKey, secret::Secret,
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
            control.begin_key_rotation().await.unwrap();

            let db = control.inner.db.reader();
            let mut keys = signing_keys::all(db, KeyPurpose::Token).await.unwrap();
            keys.extend(signing_keys::all(db, KeyPurpose::Bundle).await.unwrap());
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
