//! The verifier on any bytes, and on any bytes with a right signature.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64ct::{Base64UrlUnpadded, Encoding};
use libfuzzer_sys::fuzz_target;
use partywall::{
    Timestamp,
    token::{IssuerConfig, KeySource, Profile, TrustedIssuers},
};

const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "a";

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed"));

/// One issuer per profile that needs no further settings, all with the same key.
static ISSUERS: LazyLock<TrustedIssuers> = LazyLock::new(|| {
    let jwk = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k",
        "x": Base64UrlUnpadded::encode_string(KEY.public_key().as_ref()),
    });
    let profiles = [
        ("p", Profile::Partywall),
        ("c", Profile::Cognito),
        ("a", Profile::Auth0),
        ("e", Profile::Entra),
        ("k", Profile::Keycloak),
    ];
    let configs = profiles.map(|(name, profile)| {
        let jwks = KeySource::Inline(serde_json::json!({ "keys": [jwk] }));
        let mut config = IssuerConfig::new(name, profile, jwks);
        config.algorithms = vec![serde_json::from_str(r#""EdDSA""#).expect("an algorithm")];
        config
    });
    TrustedIssuers::compile(&configs, &[AUDIENCE.to_owned()]).expect("a configuration")
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    if mode % 2 == 0 {
        let Ok(token) = std::str::from_utf8(data) else { return };
        let outcome = ISSUERS.examine(token, Timestamp(NOW));
        assert!(outcome.is_err(), "accepted without a signature");
        return;
    }
    // A header and a payload, with a zero byte between them, or a good header.
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (header, payload) = match (parts.next(), parts.next()) {
        (Some(header), Some(payload)) => (header, payload),
        _ => (&br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#[..], data),
    };
    let text = Base64UrlUnpadded::encode_string;
    let input = format!("{}.{}", text(header), text(payload));
    let token = format!("{input}.{}", text(KEY.sign(input.as_bytes()).as_ref()));
    if let Ok(facts) = ISSUERS.examine(&token, Timestamp(NOW)) {
        assert!(facts.audience.iter().any(|audience| audience == AUDIENCE));
        assert!(facts.expires_at.0 + 30 > NOW);
    }
});
