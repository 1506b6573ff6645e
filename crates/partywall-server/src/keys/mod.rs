//! Signing keys, and nobody else's business: they are made here, sealed before they are stored,
//! and never leave. What others get are public halves and signatures.
//!
//! A token key is *published* before it signs, so that whoever caches a key set knows it by then;
//! *active* while it signs, one at a time; *retired* when the next one does, its private half
//! destroyed and its public half still published until the last token it signed has expired; and
//! *removed* (I-11, P-06).

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use partywall::{
    TenantId, Timestamp,
    token::{Algorithm, SignError, SigningKey},
};
use serde::{Deserialize, Serialize};

pub(crate) use bundle_key::BundleSigner;
pub(crate) use refresh_key::RefreshKey;
pub use ring::RingError;
pub(crate) use ring::{KeyRing, Step, TokenKeys, key_set, load, next_step, take, withdraw};
pub use seal::{SealError, SealingKey};

mod bundle_key;
mod refresh_key;
mod ring;
mod seal;

/// How tokens are signed (RFC 7518 3.1, RFC 8037 3.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256: small keys, small signatures, known everywhere.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519: quickest to sign.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA with 2,048 bits: for verifiers that know nothing else. Thirty times slower to sign.
    #[serde(rename = "RS256")]
    Rs256,
}

impl SigningAlgorithm {
    /// The name in a token's header and a key's `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Es256 => Self::Es256,
            SigningAlgorithm::EdDsa => Self::EdDsa,
            SigningAlgorithm::Rs256 => Self::Rs256,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SigningAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Es256, Self::EdDsa, Self::Rs256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(UnknownAlgorithm)
    }
}

/// A text names no algorithm tokens are signed with here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a signing algorithm: expected ES256, EdDSA or RS256")]
pub struct UnknownAlgorithm;

/// When token keys change.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// How new keys sign. Changing it begins a rotation.
    pub algorithm: SigningAlgorithm,
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: at least twice the longest time a key set
    /// may be cached.
    pub publish_ahead: Duration,
    /// How long a key set may be cached: the `max-age` of `/jwks`.
    pub jwks_max_age: Duration,
}

impl Default for KeyPolicy {
    /// ES256, 30 days, published an hour ahead, cached for five minutes.
    fn default() -> Self {
        Self {
            algorithm: SigningAlgorithm::default(),
            rotate_every: Duration::from_secs(30 * 24 * 60 * 60),
            publish_ahead: Duration::from_secs(60 * 60),
            jwks_max_age: Duration::from_secs(5 * 60),
        }
    }
}

/// What a key signs. A key has one purpose for life, and none of them reads as another's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeyPurpose {
    /// Tokens of the issuer all tenants share.
    Token,
    /// Tokens of one tenant's own issuer (P-06).
    Tenant(TenantId),
    /// Bundles.
    Bundle,
}

impl KeyPurpose {
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Token => Cow::Borrowed("token"),
            Self::Tenant(tenant) => Cow::Owned(format!("{TENANT_PREFIX}{tenant}")),
            Self::Bundle => Cow::Borrowed("bundle"),
        }
    }

    /// The tenant whose own keys a purpose of this name has.
    pub(crate) fn tenant_of(name: &str) -> Option<TenantId> {
        name.strip_prefix(TENANT_PREFIX)?.parse().ok()
    }
}

/// What the names of tenants' purposes begin with.
pub(crate) const TENANT_PREFIX: &str = "tenant:";

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyState {
    /// Known to verifiers, not signing yet.
    Published,
    /// The one that signs.
    Active,
    /// No longer able to sign; its tokens are still good.
    Retired,
    /// Unknown to verifiers.
    Removed,
}

/// A key as it is stored.
#[derive(Clone)]
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    pub(crate) purpose: KeyPurpose,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) state: KeyState,
    pub(crate) public_jwk: serde_json::Value,
    /// The private half, until it is retired.
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) published_at: Timestamp,
    pub(crate) activated_at: Option<Timestamp>,
    pub(crate) retired_at: Option<Timestamp>,
    pub(crate) removed_at: Option<Timestamp>,
}

impl StoredKey {
    /// Draws a new key and seals its private half.
    pub(crate) fn generate(
        purpose: KeyPurpose,
        algorithm: SigningAlgorithm,
        sealing: &SealingKey,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let pair = SigningKey::generate(algorithm.into())?;
        let kid = pair.kid().to_owned();
        let private = pair.to_pkcs8()?;
        let sealed = sealing.seal(&associated_data(&purpose, algorithm, &kid), &private)?;
        Ok(Self {
            kid,
            purpose,
            algorithm,
            state: KeyState::Published,
            public_jwk: pair.public_jwk(),
            sealed: Some(sealed),
            published_at: now,
            activated_at: None,
            retired_at: None,
            removed_at: None,
        })
    }

    /// The key with both halves.
    pub(crate) fn open(&self, sealing: &SealingKey) -> Result<SigningKey, KeyError> {
        let sealed = self
            .sealed
            .as_deref()
            .ok_or_else(|| KeyError::NoPrivateHalf { kid: self.kid.clone() })?;
        let aad = associated_data(&self.purpose, self.algorithm, &self.kid);
        let private = sealing.open(&aad, sealed)?;
        let pair = SigningKey::from_pkcs8(self.algorithm.into(), private.expose())?;
        if pair.kid() == self.kid {
            Ok(pair)
        } else {
            Err(KeyError::NoPrivateHalf { kid: self.kid.clone() })
        }
    }

    pub(crate) fn activate(&mut self, now: Timestamp) {
        self.state = KeyState::Active;
        self.activated_at = Some(now);
    }

    /// From here on nobody can sign with the key, whoever holds the database and its sealing key.
    fn retire(&mut self, now: Timestamp) {
        self.state = KeyState::Retired;
        self.retired_at = Some(now);
        self.sealed = None;
    }

    fn remove(&mut self, now: Timestamp) {
        self.state = KeyState::Removed;
        self.removed_at = Some(now);
        self.sealed = None;
    }
}

/// Names the row, so that a sealed key opens nowhere else.
fn associated_data(purpose: &KeyPurpose, algorithm: SigningAlgorithm, kid: &str) -> Vec<u8> {
    format!("partywall signing key v1\0{}\0{algorithm}\0{kid}", purpose.name()).into_bytes()
}

/// Why a key could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The sealing key does not fit, or the row was tampered with.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No key could be drawn, or one would not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The bundle key is not an Ed25519 key.
    #[error("signing key {kid} is not the Ed25519 key that signs bundles")]
    NotABundleKey {
        /// The key.
        kid: String,
    },
    /// Something asked a key to sign that no longer can.
    #[error("signing key {kid} has no private half of its own")]
    NoPrivateHalf {
        /// The key.
        kid: String,
    },
    /// No key in use has that id.
    #[error("there is no signing key {kid} in use")]
    UnknownKey {
        /// The key.
        kid: String,
    },
    /// There is no key to sign with.
    #[error("there is no active signing key: was the database emptied by hand?")]
    NoActiveKey,
}
