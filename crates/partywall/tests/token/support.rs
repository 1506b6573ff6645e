//! An issuer that signs whatever it is asked to, and a verifier used the ordinary way.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{
    Timestamp,
    token::{IssuerConfig, KeySource, Profile, TokenError, TokenFacts, TrustedIssuers},
};
use serde_json::{Value, json};

/// The time of all tests.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "https://api.example";
pub(crate) const KID: &str = "k1";

/// An ES256 key under some `kid`.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate(kid: &'static str) -> Self {
        Self { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.point()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": base64url(x), "y": base64url(y),
        })
    }

    /// Signs any bytes as a header and any bytes as a payload.
    pub(crate) fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", base64url(signature.as_ref()))
    }

    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }
}

/// The key of the issuer everybody here trusts.
pub(crate) static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KID));

/// The issuer everybody here trusts, with nothing configured but its key.
pub(crate) static TRUSTED: LazyLock<TrustedIssuers> = LazyLock::new(|| compile(&[config()]));

pub(crate) fn config() -> IssuerConfig {
    IssuerConfig::new(ISSUER, Profile::Partywall, inline(&[&KEY]))
}

pub(crate) fn inline(keys: &[&Key]) -> KeySource {
    KeySource::Inline(json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }))
}

pub(crate) fn compile(issuers: &[IssuerConfig]) -> TrustedIssuers {
    TrustedIssuers::compile(issuers, &[AUDIENCE.to_owned()]).unwrap()
}

pub(crate) fn header() -> Value {
    json!({ "alg": "ES256", "typ": "at+jwt", "kid": KID })
}

/// The claims of an honest token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u:ada", "client_id": "web",
        "iat": NOW - 60, "exp": NOW + 540, "jti": "t-1", "tid": "acme-7f3k",
        "roles": ["member"], "scope": "invoices:read invoices:pay",
    })
}

/// An honest token.
pub(crate) fn token() -> String {
    KEY.sign(&header(), &claims())
}

pub(crate) fn examine(token: &str) -> Result<TokenFacts, TokenError> {
    TRUSTED.examine(token, Timestamp(NOW))
}

/// The code of the check that refuses a token.
pub(crate) fn code(token: &str) -> &'static str {
    match examine(token) {
        Ok(facts) => panic!("accepted: {facts:?}"),
        Err(error) => error.code(),
    }
}

/// The honest header with one parameter changed; `null` removes it.
pub(crate) fn with_header(name: &str, value: Value) -> String {
    KEY.sign(&with(header(), name, value), &claims())
}

/// The honest claims with one changed; `null` removes it.
pub(crate) fn with_claim(name: &str, value: Value) -> String {
    KEY.sign(&header(), &with(claims(), name, value))
}

pub(crate) fn with(mut object: Value, name: &str, value: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    object
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Whether a good library used the ordinary way lets a token in: signature, algorithm, issuer and
/// audience are checked, as its documentation shows, with the key found by `kid`.
pub(crate) fn naive(token: &str) -> bool {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    let (x, y) = KEY.point()[1..].split_at(32);
    let key = DecodingKey::from_ec_components(&base64url(x), &base64url(y)).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    // Its clock is the machine's; the tests' is not.
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
}
