//! What opening a control plane settles: whose sealing key it is, that there is a bundle key, and
//! that enforcement points can use the issuers they are about to hear of.

use aws_lc_rs::rand::SystemRandom;
use partywall::{
    Timestamp,
    token::{IssuerError, IssuerFault, KeySource, TrustedIssuers},
};
use serde_json::json;

use super::{OpenError, by_itself};
use crate::{
    config::ServerConfig,
    keys::{BundleSigner, KeyPurpose, RefreshKey, SealError, SigningAlgorithm, StoredKey},
    storage::{
        Database,
        policy::{self, Policy},
        settings, signing_keys,
    },
};

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
    let stored = signing_keys::all(db.reader(), &KeyPurpose::Bundle).await?;
    if let Some(key) = stored.first() {
        return Ok(BundleSigner::open(key, &config.sealing_key)?);
    }
    let change = db.change(now).await?;
    let key = match signing_keys::all(change.rows(), &KeyPurpose::Bundle).await?.pop() {
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

/// What refresh tokens are authenticated with, drawn on first use.
pub(super) async fn refresh_key(
    db: &Database,
    config: &ServerConfig,
    now: Timestamp,
) -> Result<RefreshKey, OpenError> {
    const NAME: &str = "refresh_key";
    if let Some(sealed) = settings::get(db.reader(), NAME).await? {
        return Ok(RefreshKey::open(&sealed, &config.sealing_key)?);
    }
    let change = db.change(now).await?;
    // Another server may have been quicker: there is one key, and all servers have it.
    let sealed = match settings::get(change.rows(), NAME).await? {
        Some(sealed) => sealed,
        None => {
            let sealed = RefreshKey::draw(&SystemRandom::new(), &config.sealing_key)?;
            settings::set(change.rows(), NAME, sealed.clone()).await?;
            change.commit(by_itself("refresh_key.create", json!({}))).await?;
            sealed
        }
    };
    Ok(RefreshKey::open(&sealed, &config.sealing_key)?)
}

/// Which issuers are trusted and how long things live is configuration, and part of the bundle:
/// when it differs from what the database has, this start replaces it, and the audit trail says so.
/// Servers that run already follow.
pub(super) async fn note_policy(
    db: &Database,
    config: &ServerConfig,
    now: Timestamp,
) -> Result<Policy, OpenError> {
    let asked = |before: Option<&Policy>| Policy::following(before, config, now);
    let unchanged = |before: &Policy| before.says_the_same_as(&asked(None));
    if let Some(before) = policy::current(db.reader()).await?.filter(unchanged) {
        return Ok(before);
    }
    let change = db.change(now).await?;
    // Another server may have been quicker: what differs is asked again, under the lock.
    let before = policy::current(change.rows()).await?;
    if let Some(before) = before.as_ref().filter(|before| unchanged(before)) {
        return Ok(before.clone());
    }
    let policy = asked(before.as_ref());
    policy::replace(change.rows(), &policy).await?;
    let detail = json!({ "from": before.as_ref().map(Policy::summary), "to": policy.summary() });
    if before.is_some() {
        tracing::warn!(%detail, "this server's configuration replaces the one its database had");
    }
    change.commit(by_itself("policy.configure", detail)).await?;
    Ok(policy)
}

/// What the sealed, empty check value is bound to.
const SEALING_CHECK: &[u8] = b"partywall sealing check v1";
