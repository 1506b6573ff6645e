//! A passkey's public key: as the authenticator wrote it (COSE, RFC 9053), as it is kept (JWK), and
//! what it verifies. Three algorithms, which between them every authenticator has.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::cbor::Cbor;

/// The algorithms asked for, by their COSE numbers, the preferred one first.
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// A public key, as JWK (RFC 7517) without what nobody needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kty")]
pub(crate) enum PasskeyKey {
    /// ES256: a point on P-256.
    #[serde(rename = "EC")]
    P256 { crv: P256, x: Base64Url, y: Base64Url },
    /// EdDSA: Ed25519.
    #[serde(rename = "OKP")]
    Ed25519 { crv: Ed25519, x: Base64Url },
    /// RS256.
    #[serde(rename = "RSA")]
    Rsa { n: Base64Url, e: Base64Url },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum P256 {
    #[serde(rename = "P-256")]
    Curve,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Ed25519 {
    #[serde(rename = "Ed25519")]
    Curve,
}

/// Bytes that read and write as base64url.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Base64Url(Vec<u8>);

impl TryFrom<String> for Base64Url {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Base64UrlUnpadded::decode_vec(&text).map(Self).map_err(|_| "not base64url")
    }
}

impl From<Base64Url> for String {
    fn from(bytes: Base64Url) -> Self {
        Base64UrlUnpadded::encode_string(&bytes.0)
    }
}

impl PasskeyKey {
    /// Reads a COSE key (RFC 9053 7, RFC 8230 4): the algorithm must be one we asked for, and fit.
    pub(super) fn from_cose(cose: &Cbor<'_>) -> Option<Self> {
        let number = |key| cose.at(key).and_then(Cbor::integer);
        let bytes = |key, length: usize| {
            let bytes = cose.at(key)?.bytes()?;
            (bytes.len() == length).then(|| Base64Url(bytes.to_vec()))
        };
        let key = match (number(1)?, number(3)?) {
            (2, ES256) if number(-1) == Some(1) => {
                Self::P256 { crv: P256::Curve, x: bytes(-2, 32)?, y: bytes(-3, 32)? }
            }
            (1, EDDSA) if number(-1) == Some(6) => {
                Self::Ed25519 { crv: Ed25519::Curve, x: bytes(-2, 32)? }
            }
            (3, RS256) => {
                let (n, e) = (cose.at(-1)?.bytes()?, cose.at(-2)?.bytes()?);
                if !(256..=1024).contains(&n.len()) || e.len() > 8 {
                    return None;
                }
                Self::Rsa { n: Base64Url(n.to_vec()), e: Base64Url(e.to_vec()) }
            }
            _ => return None,
        };
        Some(key)
    }

    /// Whether `signature` is this key's over `message` (WebAuthn 6.5.5: ECDSA in ASN.1).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::P256 { x, y, .. } => {
                let point = [&[4][..], &x.0, &y.0].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::Ed25519 { x, .. } => {
                UnparsedPublicKey::new(&ED25519, &x.0).verify(message, signature)
            }
            Self::Rsa { n, e } => RsaPublicKeyComponents { n: &n.0, e: &e.0 }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.is_ok()
    }
}
