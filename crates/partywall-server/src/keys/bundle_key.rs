//! The key that signs bundles. Its private half lives here and nowhere else.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use partywall::bundle::{BundleKey, UnsignedBundle};
use serde_json::Value;

use super::{KeyError, KeyPurpose, SealingKey, StoredKey, associated_data};

/// Signs bundles, and nothing else.
pub(crate) struct BundleSigner {
    pair: Ed25519KeyPair,
    public: BundleKey,
    jwk: Value,
}

impl BundleSigner {
    pub(crate) fn open(key: &StoredKey, sealing: &SealingKey) -> Result<Self, KeyError> {
        let kid = || key.kid.clone();
        let aad = associated_data(&KeyPurpose::Bundle, key.algorithm, &key.kid);
        let sealed = key.sealed.as_deref().ok_or_else(|| KeyError::NoPrivateHalf { kid: kid() })?;
        let private = sealing.open(&aad, sealed)?;
        let refused = || KeyError::NotABundleKey { kid: kid() };
        let pair = Ed25519KeyPair::from_pkcs8(private.expose()).map_err(|_| refused())?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| refused())?;
        let public = BundleKey::from_ed25519(public).map_err(|_| refused())?;
        let mut jwk = key.public_jwk.clone();
        if let Value::Object(members) = &mut jwk {
            // What an enforcement point's configuration pins.
            members.insert("hex".to_owned(), public.to_string().into());
        }
        Ok(Self { pair, public, jwk })
    }

    /// What enforcement points pin.
    pub(crate) fn public(&self) -> &BundleKey {
        &self.public
    }

    pub(crate) fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(crate) fn sign(&self, bundle: UnsignedBundle) -> Vec<u8> {
        bundle.sign(|message| {
            // An Ed25519 signature has 64 bytes (RFC 8032 5.1.6). Were it otherwise, the zeros
            // would be refused by every enforcement point, which keep what they have.
            self.pair.sign(message).as_ref().first_chunk().copied().unwrap_or([0; 64])
        })
    }
}
