//! Making signatures: for issuers and for the envelopes of jobs.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Algorithm, MAX_TOKEN_LEN,
    jwk::{Material, without_leading_zeros},
};

/// A private key that signs for one algorithm. It cannot be printed, compared or serialised.
pub struct SigningKey {
    kid: Arc<str>,
    algorithm: Algorithm,
    pair: Pair,
    public: Material,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Generates a key: P-256, Ed25519 or RSA of 2048 bits.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignError> {
        let failed = |_| SignError::Generate;
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ecdsa(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
            ),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?)
            }
        };
        Self::new(algorithm, pair)
    }

    /// Reads a private key in PKCS#8 (RFC 5958), to be used for `algorithm` only.
    ///
    /// # Errors
    ///
    /// When it is no key for that algorithm.
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, SignError> {
        let failed = |_| SignError::NotAKey { algorithm };
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ecdsa(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                    .map_err(failed)?,
            ),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(failed)?),
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(failed)?)
            }
        };
        Self::new(algorithm, pair)
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Result<Self, SignError> {
        let public = pair.public().ok_or(SignError::NotAKey { algorithm })?;
        let kid = Base64UrlUnpadded::encode_string(&public.thumbprint()).into();
        Ok(Self { kid, algorithm, pair, public })
    }

    /// The private key in PKCS#8, to be sealed and stored.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let failed = |_| SignError::Encode;
        let der: Vec<u8> = match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(der))
    }

    /// The key's id: its thumbprint (RFC 7638, SHA-256, base64url), so that two keys never share
    /// one.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What the key signs for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, as a JWK with `kid`, `alg` and `use`.
    pub fn public_jwk(&self) -> serde_json::Value {
        self.public.to_jwk(Some(&self.kid), Some(self.algorithm))
    }

    /// Signs `claims` as a compact JWS of the kind `typ` (RFC 8725 3.11: there is always one).
    ///
    /// # Errors
    ///
    /// When `typ` is not a media type's name, or the claims do not make a token our own verifier
    /// would read.
    pub fn sign_jws(&self, typ: &str, claims: &impl Serialize) -> Result<String, SignError> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-+./_".contains(&b);
        if typ.is_empty() || !typ.bytes().all(is_name) {
            return Err(SignError::Type);
        }
        let (alg, kid) = (self.algorithm.name(), &self.kid);
        let header = format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
        let payload = serde_json::to_vec(claims).map_err(SignError::Claims)?;
        if payload.first() != Some(&b'{') {
            return Err(SignError::NotAnObject);
        }
        let mut token = Base64UrlUnpadded::encode_string(header.as_bytes());
        token.push('.');
        token.push_str(&Base64UrlUnpadded::encode_string(&payload));
        let signature = self.pair.sign(self.algorithm, token.as_bytes())?;
        token.push('.');
        token.push_str(&Base64UrlUnpadded::encode_string(&signature));
        if token.len() > MAX_TOKEN_LEN {
            return Err(SignError::TooLarge { bytes: token.len() });
        }
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Pair {
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_| SignError::Sign;
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    fn public(&self) -> Option<Material> {
        match self {
            // SEC 1 2.3.3: 0x04, x, y.
            Self::Ecdsa(pair) => match pair.public_key().as_ref().split_first() {
                Some((4, point)) if point.len() == 64 => {
                    let (x, y) = point.split_at(32);
                    Some(Material::P256(x.to_vec(), y.to_vec()))
                }
                _ => None,
            },
            Self::Ed25519(pair) => Some(Material::Ed25519(pair.public_key().as_ref().to_vec())),
            Self::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref())?;
                Some(Material::Rsa(n.to_vec(), e.to_vec()))
            }
        }
    }
}

/// `n` and `e` of an `RSAPublicKey ::= SEQUENCE { n INTEGER, e INTEGER }` (RFC 8017 A.1.1).
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (inside, []) = der_value(der, SEQUENCE)? else { return None };
    let (n, rest) = der_value(inside, INTEGER)?;
    let (e, []) = der_value(rest, INTEGER)? else { return None };
    // DER puts a zero before a number whose top bit is set.
    Some((without_leading_zeros(n), without_leading_zeros(e)))
}

/// The contents of the first DER value, which must have this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            let append =
                |len: usize, digit: &u8| len.checked_mul(256).map(|len| len + usize::from(*digit));
            (digits.iter().try_fold(0, append)?, rest)
        }
    };
    if *found == tag { rest.split_at_checked(len) } else { None }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No key could be generated.
    #[error("no key could be generated: does the system give randomness?")]
    Generate,
    /// The bytes are no private key for the algorithm.
    #[error("not a PKCS#8 private key for {algorithm}")]
    NotAKey {
        /// The algorithm asked for.
        algorithm: Algorithm,
    },
    /// The key cannot be encoded.
    #[error("the key cannot be encoded as PKCS#8")]
    Encode,
    /// The `typ` is not a media type's name.
    #[error("`typ` must name the kind of token, like `at+jwt`")]
    Type,
    /// The claims do not serialise.
    #[error("the claims do not serialise")]
    Claims(#[source] serde_json::Error),
    /// The claims are not an object.
    #[error("the claims must be an object")]
    NotAnObject,
    /// The token would be longer than any verifier of ours reads.
    #[error("the token would have {bytes} bytes, more than {MAX_TOKEN_LEN}: put less into it")]
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The library refused to sign.
    #[error("signing failed")]
    Sign,
}
