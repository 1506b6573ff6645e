//! An issuer's public keys (RFC 7517), each for one algorithm.

use std::{collections::HashMap, fmt, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
        RsaPublicKeyComponents,
    },
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Serialize;

use super::{
    Algorithm, TokenError,
    error::excerpt,
    json::{Json, JsonFault, Object},
    jws::Header,
};

/// The public keys an issuer signs with, parsed once.
///
/// A set holds the keys that can be used here. What cannot (for encryption, private, too short, of
/// an unknown kind) is left out and listed by [`skipped`](Self::skipped), because issuers publish
/// such keys beside the others.
#[derive(Clone)]
pub struct KeySet {
    keys: Arc<[PublicKey]>,
    skipped: Arc<[SkippedKey]>,
}

impl KeySet {
    /// The most keys a set may have.
    pub const MAX_KEYS: usize = 100;
    /// The longest document a set is read from, in bytes.
    pub const MAX_LEN: usize = 256 * 1024;

    /// Reads a JWK set (RFC 7517 5).
    ///
    /// # Errors
    ///
    /// When it is no JWK set, is too large, is ambiguous (two keys of one `kid`, one key for two
    /// algorithms), or has no key that can be used.
    pub fn parse(jwks_json: &[u8]) -> Result<Self, KeySetError> {
        if jwks_json.len() > Self::MAX_LEN {
            return Err(KeySetError::TooLarge { bytes: jwks_json.len() });
        }
        let set = Object::parse(jwks_json)?;
        let Some(Json::Array(entries)) = set.get("keys") else { return Err(KeySetError::NoKeys) };
        if entries.len() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys { keys: entries.len() });
        }
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match PublicKey::read(entry) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { index, kid: kid_of(entry), reason }),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey { skipped });
        }
        check_unambiguous(&keys)?;
        Ok(Self { keys: keys.into(), skipped: skipped.into() })
    }

    /// The set as a JWK set: the keys that can be used, and of each only what is public and needed.
    pub fn to_json(&self) -> serde_json::Value {
        let keys: Vec<_> = self.keys.iter().map(PublicKey::to_jwk).collect();
        serde_json::json!({ "keys": keys })
    }

    /// The keys' thumbprints (RFC 7638, SHA-256), in the order of the set.
    pub fn fingerprints(&self) -> Vec<[u8; 32]> {
        self.keys.iter().map(|key| key.thumbprint).collect()
    }

    /// The keys' ids, in the order of the set.
    pub fn kids(&self) -> impl Iterator<Item = Option<&str>> {
        self.keys.iter().map(|key| key.kid.as_deref())
    }

    /// Whether a key goes by that id.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.kids().any(|known| known == Some(kid))
    }

    /// The keys of the document that cannot be used, and why.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    pub(super) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The key a header means, among those of `owner`: the one of its `kid`, or without one the
    /// only one for its algorithm (OIDC Core 10.1). RFC 8725 3.1: the key says what it is for, and
    /// the header can only agree.
    pub(super) fn choose(
        &self,
        header: &Header<'_>,
        owner: &str,
    ) -> Result<(&PublicKey, &ParsedPublicKey), TokenError> {
        let mut fitting = self.keys.iter().filter(|key| match header.kid.as_deref() {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => key.verifiers.iter().any(|(algorithm, _)| *algorithm == header.alg),
        });
        let key = match (fitting.next(), fitting.next(), header.kid.as_deref()) {
            (Some(key), None, _) => key,
            (_, _, Some(kid)) => {
                return Err(TokenError::KeyUnknown { issuer: owner.into(), kid: kid.to_owned() });
            }
            _ => return Err(TokenError::KeyIdMissing { issuer: owner.into() }),
        };
        let verifier = key.verifiers.iter().find(|(algorithm, _)| *algorithm == header.alg);
        match verifier {
            Some((_, verifier)) => Ok((key, verifier)),
            None => Err(TokenError::AlgorithmNotAllowed { alg: header.alg.name().to_owned() }),
        }
    }
}

impl PartialEq for KeySet {
    /// Whether both hold the same keys under the same ids for the same algorithms.
    fn eq(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self.keys.iter().zip(other.keys.iter()).all(|(ours, theirs)| {
                (&ours.kid, ours.pinned, ours.thumbprint)
                    == (&theirs.kid, theirs.pinned, theirs.thumbprint)
            })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kids()).finish()
    }
}

/// A key of a document that is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SkippedKey {
    /// Its place in the document, from 0.
    pub index: usize,
    /// Its id, shortened.
    pub kid: Option<String>,
    /// Why it is not used.
    pub reason: SkipReason,
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is not an object.
    #[error("it is not an object")]
    NotAnObject,
    /// It has a private or symmetric part, which a published set must never have.
    #[error("it contains secret key material: withdraw it, everybody may sign with it")]
    Secret,
    /// Its `use` or `key_ops` is not verifying signatures.
    #[error("it is not for signatures")]
    NotForSignatures,
    /// Its `kty` or `crv` is none of RSA, EC P-256, OKP Ed25519.
    #[error("its kind of key is not supported: use RSA, EC P-256 or OKP Ed25519")]
    UnknownKind,
    /// Its `alg` is not supported, or not one of its kind of key.
    #[error("its algorithm is not supported, or not one for this kind of key")]
    UnknownAlgorithm,
    /// Its RSA modulus is not of 2048 to 8192 bits, or its exponent is out of range.
    #[error("its RSA key is not of 2048 to 8192 bits with an odd exponent from 3 to 2^33")]
    WeakRsa,
    /// Its RSA modulus has the structure of CVE-2017-15361, from which anybody can factor it.
    #[error("its RSA key was made by a faulty generator (ROCA, CVE-2017-15361): replace it")]
    Roca,
    /// A member is missing, misspelled or not a point on its curve.
    #[error("it is malformed")]
    Malformed,
}

/// Why a JWK set was not taken. What was in force before stays in force.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is longer than any set we would read.
    #[error("the key set has {bytes} bytes, more than {limit}", limit = KeySet::MAX_LEN)]
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// It is not a JSON object we are willing to read.
    #[error("the key set is not acceptable JSON: {0}")]
    BadJson(#[from] JsonFault),
    /// It has no array `keys` (RFC 7517 5.1).
    #[error("the key set has no array `keys`: is this the address of a JWK set?")]
    NoKeys,
    /// It has more keys than any issuer needs.
    #[error("the key set has {keys} keys, more than {limit}", limit = KeySet::MAX_KEYS)]
    TooManyKeys {
        /// How many.
        keys: usize,
    },
    /// Two keys go by one id, so that the id names neither.
    #[error("two keys of the set go by the `kid` {kid:?}")]
    DuplicateKid {
        /// The id, shortened.
        kid: String,
    },
    /// One key is published for two algorithms (RFC 8725 3.1).
    #[error("the key {kid:?} is in the set for two algorithms: one key, one algorithm")]
    TwoAlgorithms {
        /// The id of the second one, shortened.
        kid: Option<String>,
    },
    /// None of its keys can be used.
    #[error("the key set has no usable key{}", first_reason(skipped))]
    NoUsableKey {
        /// The keys and why they are not used.
        skipped: Vec<SkippedKey>,
    },
}

fn first_reason(skipped: &[SkippedKey]) -> String {
    skipped.first().map_or_else(String::new, |key| {
        format!(": key {} ({:?}): {}", key.index, key.kid, key.reason)
    })
}

/// One public key.
pub(super) struct PublicKey {
    pub(super) kid: Option<Arc<str>>,
    /// RFC 7638, SHA-256.
    pub(super) thumbprint: [u8; 32],
    /// What the key itself says it is for.
    pinned: Option<Algorithm>,
    material: Material,
    /// Ready to verify with, one for each algorithm the key could be for: one for most keys, two
    /// for an RSA key that does not say which padding it is for.
    pub(super) verifiers: Vec<(Algorithm, Arc<ParsedPublicKey>)>,
}

/// The numbers of a public key, big-endian.
pub(super) enum Material {
    /// `n` and `e`, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// `x` and `y` on P-256, 32 bytes each.
    P256(Vec<u8>, Vec<u8>),
    /// The 32 bytes of RFC 8032.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    pub(super) fn read(entry: &Json<'_>) -> Result<Self, SkipReason> {
        let jwk = entry.as_object().ok_or(SkipReason::NotAnObject)?;
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|part| jwk.get(part).is_some())
        {
            return Err(SkipReason::Secret);
        }
        let verifies = match (jwk.get("use"), jwk.get("key_ops")) {
            (Some(usage), _) if usage.as_str() != Some("sig") => false,
            (_, None) => true,
            (_, Some(Json::Array(ops))) => ops.iter().any(|op| op.as_str() == Some("verify")),
            (_, Some(_)) => false,
        };
        if !verifies {
            return Err(SkipReason::NotForSignatures);
        }
        let material = Material::read(jwk)?;
        let pinned = match jwk.get("alg") {
            None => None,
            Some(alg) => {
                let known = alg.as_str().and_then(Algorithm::from_name);
                Some(known.ok_or(SkipReason::UnknownAlgorithm)?)
            }
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(SkipReason::Malformed)?.into()),
        };
        Self::new(kid, material, pinned)
    }

    /// Parses the key for each algorithm it may be for.
    fn new(
        kid: Option<Arc<str>>,
        material: Material,
        pinned: Option<Algorithm>,
    ) -> Result<Self, SkipReason> {
        let verifiers = material
            .algorithms()
            .iter()
            .filter(|algorithm| pinned.is_none_or(|pinned| pinned == **algorithm))
            .map(|algorithm| Ok((*algorithm, Arc::new(material.parse(*algorithm)?))))
            .collect::<Result<Vec<_>, SkipReason>>()?;
        if verifiers.is_empty() {
            return Err(SkipReason::UnknownAlgorithm);
        }
        Ok(Self { kid, thumbprint: material.thumbprint(), pinned, material, verifiers })
    }

    fn to_jwk(&self) -> serde_json::Value {
        self.material.to_jwk(self.kid.as_deref(), self.pinned)
    }
}

impl Material {
    fn read(jwk: &Object<'_>) -> Result<Self, SkipReason> {
        let text = |name| jwk.get(name).and_then(Json::as_str);
        let bytes = |name| {
            let decoded = text(name).and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
            decoded.ok_or(SkipReason::Malformed)
        };
        // RFC 7518 6.2.1.2, RFC 8037 2: exactly the length of the field.
        let field_element = |name| match bytes(name) {
            Ok(element) if element.len() == 32 => Ok(element),
            _ => Err(SkipReason::Malformed),
        };
        match (text("kty"), text("crv")) {
            (Some("RSA"), _) => rsa(&bytes("n")?, &bytes("e")?),
            (Some("EC"), Some("P-256")) => Ok(Self::P256(field_element("x")?, field_element("y")?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(field_element("x")?)),
            _ => Err(SkipReason::UnknownKind),
        }
    }

    /// The algorithms this kind of key can be for.
    fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa(..) => &[Algorithm::Rs256, Algorithm::Ps256],
            Self::P256(..) => &[Algorithm::Es256],
            Self::Ed25519(_) => &[Algorithm::EdDsa],
        }
    }

    fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, SkipReason> {
        let parsed = match self {
            Self::Rsa(n, e) => {
                let padding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(padding)
            }
            Self::P256(x, y) => {
                ParsedPublicKey::new(algorithm.verification(), [&[4], &x[..], &y[..]].concat())
            }
            Self::Ed25519(x) => ParsedPublicKey::new(algorithm.verification(), x),
        };
        parsed.map_err(|_| SkipReason::Malformed)
    }

    /// RFC 7638 3: SHA-256 over the required members, sorted, without white space.
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        let text = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
        let canonical = match self {
            Self::Rsa(n, e) => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
            Self::P256(x, y) => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
        };
        let hash = digest(&SHA256, canonical.as_bytes());
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The key as a public JWK for signatures.
    pub(super) fn to_jwk(&self, kid: Option<&str>, alg: Option<Algorithm>) -> serde_json::Value {
        let text = |bytes: &Vec<u8>| Some(Base64UrlUnpadded::encode_string(bytes));
        let mut jwk = Jwk { usage: "sig", kid, alg, ..Jwk::default() };
        match self {
            Self::Rsa(n, e) => (jwk.kty, jwk.n, jwk.e) = ("RSA", text(n), text(e)),
            Self::P256(x, y) => {
                (jwk.kty, jwk.crv, jwk.x, jwk.y) = ("EC", Some("P-256"), text(x), text(y));
            }
            Self::Ed25519(x) => (jwk.kty, jwk.crv, jwk.x) = ("OKP", Some("Ed25519"), text(x)),
        }
        serde_json::to_value(jwk).unwrap_or_default()
    }
}

#[derive(Default, Serialize)]
struct Jwk<'a> {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<Algorithm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

/// An RSA key that is long enough and whose numbers could be an RSA key's.
fn rsa(n: &[u8], e: &[u8]) -> Result<Material, SkipReason> {
    let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
    let bits = n.first().map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize);
    let odd = |number: &[u8]| number.last().is_some_and(|low| low % 2 == 1);
    let exponent = e.iter().fold(0_u128, |value, byte| (value << 8) | u128::from(*byte));
    let sound = (2048..=8192).contains(&bits)
        && odd(n)
        && e.len() <= 5
        && odd(e)
        && (3..1 << 33).contains(&exponent);
    if !sound {
        return Err(SkipReason::WeakRsa);
    }
    if is_roca(n) {
        return Err(SkipReason::Roca);
    }
    Ok(Material::Rsa(n.to_vec(), e.to_vec()))
}

/// Whether a modulus has the fingerprint of CVE-2017-15361: modulo each of these primes it is a
/// power of 65537. A sound modulus is, for all of them at once, about once in 2^27.
fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.into_iter().all(|prime| {
        let residue = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * (65537 % prime) % prime));
        powers.take(prime as usize).any(|power| power == residue)
    })
}

pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn check_unambiguous(keys: &[PublicKey]) -> Result<(), KeySetError> {
    let mut by_thumbprint = HashMap::new();
    let mut kids = std::collections::HashSet::new();
    for key in keys {
        if let Some(kid) = key.kid.as_deref()
            && !kids.insert(kid)
        {
            return Err(KeySetError::DuplicateKid { kid: excerpt(kid) });
        }
        let first = by_thumbprint.entry(key.thumbprint).or_insert(key.pinned);
        if *first != key.pinned {
            return Err(KeySetError::TwoAlgorithms { kid: key.kid.as_deref().map(excerpt) });
        }
    }
    Ok(())
}

fn kid_of(entry: &Json<'_>) -> Option<String> {
    entry.as_object()?.get("kid")?.as_str().map(excerpt)
}
