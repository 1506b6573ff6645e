//! Whose key, and for what: confusion of algorithms, of keys and of issuers.

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use partywall::{
    Timestamp,
    token::{
        Algorithm, IssuerConfig, IssuerFault, KeySet, KeySetError, KeySource, Profile, SigningKey,
        SkipReason, TokenError, TrustedIssuers,
    },
};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn b31_a_public_key_is_no_hmac_secret_in_any_spelling() {
    let rsa = SigningKey::generate(Algorithm::Rs256).unwrap();
    let mut secrets = Vec::new();
    for jwk in [KEY.jwk(), rsa.public_jwk()] {
        secrets.extend(spellings(&jwk));
    }
    secrets.push(KEY.point().to_vec());
    secrets.push(KEY.point()[1..].to_vec());
    secrets.push(Vec::new());
    assert!(secrets.len() >= 28, "{}", secrets.len());

    let config = IssuerConfig::new(
        ISSUER,
        Profile::Partywall,
        KeySource::Inline(json!({ "keys": [KEY.jwk(), rsa.public_jwk()] })),
    );
    let issuers = compile(&[config]);
    let mut refused = 0;
    for secret in &secrets {
        for (alg, mac) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            for kid in [KID, rsa.kid()] {
                let head = json!({ "alg": alg, "typ": "at+jwt", "kid": kid });
                let head = base64url(head.to_string().as_bytes());
                let input = format!("{head}.{}", base64url(claims().to_string().as_bytes()));
                let tag = hmac::sign(&hmac::Key::new(mac, secret), input.as_bytes());
                let forged = format!("{input}.{}", base64url(tag.as_ref()));
                let outcome = issuers.examine(&forged, Timestamp(NOW));
                assert_eq!(outcome.unwrap_err().code(), "algorithm_not_allowed");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, secrets.len() * 6);
    // The control: a secret of our own choosing would verify what it signed.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secrets[0]);
    assert!(hmac::verify(&key, b"x", hmac::sign(&key, b"x").as_ref()).is_ok());
    assert!(issuers.examine(&token(), Timestamp(NOW)).is_ok());
}

/// The texts and bytes a public key has been taken for a secret as.
fn spellings(jwk: &Value) -> Vec<Vec<u8>> {
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let der = spki(jwk);
    let pem = |label: &str, line_end: &str| {
        let body = Base64::encode_string(&der);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let lines = lines.join(line_end);
        format!("-----BEGIN {label}-----{line_end}{lines}{line_end}-----END {label}-----")
    };
    let texts = [
        pem("PUBLIC KEY", "\n"),
        format!("{}\n", pem("PUBLIC KEY", "\n")),
        pem("PUBLIC KEY", "\r\n"),
        pem("RSA PUBLIC KEY", "\n"),
        pem("CERTIFICATE", "\n"),
        Base64::encode_string(&der),
        base64url(&der),
        jwk.to_string(),
        serde_json::to_string_pretty(jwk).unwrap(),
        json!({ "keys": [jwk] }).to_string(),
        keys.to_json().to_string(),
        jwk.get("n").or(jwk.get("x")).unwrap().as_str().unwrap().to_owned(),
        jwk["kid"].as_str().unwrap().to_owned(),
    ];
    let mut all: Vec<Vec<u8>> = texts.map(String::into_bytes).into();
    all.push(der);
    all
}

/// A SubjectPublicKeyInfo, as found in PEM files.
fn spki(jwk: &Value) -> Vec<u8> {
    use aws_lc_rs::{encoding::AsDer, signature::RsaPublicKeyComponents};
    let bytes =
        |name: &str| base64ct::Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap()).unwrap();
    if jwk["kty"] == "RSA" {
        let key = RsaPublicKeyComponents { n: bytes("n"), e: bytes("e") };
        return key.as_der().unwrap().as_ref().to_vec();
    }
    let p256 = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    [&p256[..], &bytes("x"), &bytes("y")].concat()
}

#[test]
fn j01_each_algorithm_verifies_under_its_own_key_only() {
    let algorithms = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256];
    let keys: Vec<_> = algorithms.iter().map(|alg| SigningKey::generate(*alg).unwrap()).collect();
    let jwks: Vec<_> = keys.iter().map(SigningKey::public_jwk).collect();
    let mut config =
        IssuerConfig::new(ISSUER, Profile::Partywall, KeySource::Inline(json!({ "keys": jwks })));
    config.algorithms = algorithms.to_vec();
    let issuers = compile(&[config]);
    for key in &keys {
        let honest = key.sign_jws("at+jwt", &claims()).unwrap();
        assert!(issuers.examine(&honest, Timestamp(NOW)).is_ok(), "{}", key.algorithm());
        let [_, payload, signature] = split(&honest);
        // The same signature, said to be another algorithm's or another key's.
        for other in &keys {
            for alg in algorithms {
                if (other.kid(), alg) == (key.kid(), key.algorithm()) {
                    continue;
                }
                let head = json!({ "alg": alg, "typ": "at+jwt", "kid": other.kid() });
                let head = base64url(head.to_string().as_bytes());
                let forged = format!("{head}.{payload}.{signature}");
                assert!(issuers.examine(&forged, Timestamp(NOW)).is_err());
            }
        }
    }
}

#[test]
fn b32_an_rsa_key_that_does_not_say_its_padding_is_pinned_by_the_configuration() {
    let pss = SigningKey::generate(Algorithm::Ps256).unwrap();
    let unpinned = with(pss.public_jwk(), "alg", Value::Null);
    let source = KeySource::Inline(json!({ "keys": [unpinned] }));
    let mut config = IssuerConfig::new(ISSUER, Profile::Partywall, source);
    let honest = pss.sign_jws("at+jwt", &claims()).unwrap();

    config.algorithms = vec![Algorithm::Ps256, Algorithm::Es256];
    assert!(compile(&[config.clone()]).examine(&honest, Timestamp(NOW)).is_ok(), "the control");

    config.algorithms = vec![Algorithm::Rs256];
    let refused = compile(&[config.clone()]).examine(&honest, Timestamp(NOW)).unwrap_err();
    assert_eq!(refused.code(), "algorithm_mismatch");

    // The header's word is never what decides between the two.
    config.algorithms = vec![Algorithm::Ps256, Algorithm::Rs256];
    let ambiguous = TrustedIssuers::compile(&[config], &[AUDIENCE.into()]).unwrap_err();
    assert!(matches!(ambiguous.why, IssuerFault::NoKeyAllowed), "{ambiguous}");
}

#[test]
fn j01_a_key_off_the_allow_list_is_no_key() {
    let eddsa = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let source = KeySource::Inline(json!({ "keys": [eddsa.public_jwk(), KEY.jwk()] }));
    let mut config = IssuerConfig::new(ISSUER, Profile::Partywall, source);
    let honest = eddsa.sign_jws("at+jwt", &claims()).unwrap();
    assert!(compile(&[config.clone()]).examine(&honest, Timestamp(NOW)).is_ok(), "the control");
    config.algorithms = vec![Algorithm::Es256];
    let refused = compile(&[config]).examine(&honest, Timestamp(NOW)).unwrap_err();
    assert_eq!(refused.code(), "key_unknown");
}

#[test]
fn b35_psychic_signatures_are_refused() {
    let [head, payload, _] = split(&token());
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let one = {
        let mut one = [0; 32];
        one[31] = 1;
        one
    };
    let numbers = [[0; 32], order, one, [0xff; 32]];
    for r in numbers {
        for s in numbers {
            let forged = format!("{head}.{payload}.{}", base64url(&[r, s].concat()));
            assert_eq!(code(&forged), "signature_invalid");
        }
    }
    // Not 64 bytes: DER, one short, one long, doubled.
    for len in [1, 63, 65, 70, 128, 1024] {
        let forged = format!("{head}.{payload}.{}", base64url(&vec![1; len]));
        assert_eq!(code(&forged), "signature_invalid");
    }
}

#[test]
fn j07_a_kid_is_looked_up_and_nothing_else() {
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "file:///etc/hostname",
        "http://127.0.0.1:1/jwks",
        "k1'--",
        "' UNION SELECT 'key'--",
        "k1\0",
        "k1 ",
        "K1",
        "${jndi:ldap://127.0.0.1/a}",
        "k1;ls",
        "k\u{200b}1",
    ] {
        assert_eq!(code(&with_header("kid", json!(kid))), "key_unknown", "{kid:?}");
    }
    for (kid, expected) in [
        (Value::Null, "key_id_missing"),
        (json!(""), "header_invalid"),
        (json!(1), "header_invalid"),
        (json!(["k1"]), "header_invalid"),
        (json!("k".repeat(256)), "header_invalid"),
    ] {
        assert_eq!(code(&with_header("kid", kid)), expected);
    }
    assert!(examine(&with_header("kid", json!("k1"))).is_ok(), "the control");
    assert!(!TokenError::SignatureInvalid.is_unavailable());
}

#[test]
fn j07_without_a_kid_exactly_one_key_must_fit() {
    let config = |keys: &[&Key]| {
        let mut config = IssuerConfig::new(ISSUER, Profile::Generic, inline(keys));
        config.tenant = Some(serde_json::from_value(json!({ "claim": "tid" })).unwrap());
        compile(&[config])
    };
    let other = Key::generate("k2");
    let anonymous = with_header("kid", Value::Null);
    assert!(config(&[&KEY]).examine(&anonymous, Timestamp(NOW)).is_ok());
    let refused = config(&[&KEY, &other]).examine(&anonymous, Timestamp(NOW)).unwrap_err();
    assert_eq!(refused.code(), "key_id_missing");
}

#[test]
fn j08_another_issuers_key_under_a_known_kid_is_refused() {
    // Both issuers are trusted, and both call their key k1: Storm-0558 in small.
    const OTHER: &str = "https://id.other";
    let (theirs, only_theirs) = (Key::generate(KID), Key::generate("k-other"));
    let keys = inline(&[&theirs, &only_theirs]);
    let mut other = IssuerConfig::new(OTHER, Profile::Partywall, keys);
    other.tenants = Some(["other-1".parse().unwrap()].into());
    let issuers = compile(&[config(), other]);
    let code = |token: &str| issuers.examine(token, Timestamp(NOW)).map_err(|error| error.code());

    let honest = with(with(claims(), "iss", json!(OTHER)), "tid", json!("other-1"));
    assert!(code(&theirs.sign(&header(), &honest)).is_ok(), "the control");
    assert_eq!(code(&theirs.sign(&header(), &claims())).unwrap_err(), "signature_invalid");
    // Nor under a name that only the other issuer's keys have.
    let header_of = with(header(), "kid", json!("k-other"));
    assert!(code(&only_theirs.sign(&header_of, &honest)).is_ok(), "the control");
    assert_eq!(code(&only_theirs.sign(&header_of, &claims())).unwrap_err(), "key_unknown");
    // I-07: an issuer bound to its tenants cannot name another, with its own key and name.
    let foreign = with(honest, "tid", json!("acme-7f3k"));
    assert_eq!(code(&theirs.sign(&header(), &foreign)).unwrap_err(), "tenant_not_of_issuer");

    // The control: a verifier that keeps the keys of all issuers in one map accepts it.
    assert!(naive_by_kid(&theirs, &theirs.sign(&header(), &claims())));
}

/// Finds the key by `kid` alone, among the keys of everybody, the last one winning.
fn naive_by_kid(last: &Key, token: &str) -> bool {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    let keys: std::collections::HashMap<String, DecodingKey> = [&*KEY, last]
        .iter()
        .map(|key| {
            let (x, y) = key.point()[1..].split_at(32);
            let key_of = DecodingKey::from_ec_components(&base64url(x), &base64url(y)).unwrap();
            (key.kid.to_owned(), key_of)
        })
        .collect();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_issuer(&[ISSUER, "https://id.other"]);
    rules.set_audience(&[AUDIENCE]);
    rules.validate_exp = false;
    decode::<Value>(token, &keys[&kid], &rules).is_ok()
}

#[test]
fn j06_a_key_set_takes_public_signature_keys_only() {
    let rsa = SigningKey::generate(Algorithm::Rs256).unwrap().public_jwk();
    let good = KEY.jwk();
    for (jwk, reason) in [
        (json!("key"), SkipReason::NotAnObject),
        (with(good.clone(), "d", json!("AA")), SkipReason::Secret),
        (json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "h" }), SkipReason::Secret),
        (with(good.clone(), "use", json!("enc")), SkipReason::NotForSignatures),
        (with(good.clone(), "key_ops", json!(["encrypt"])), SkipReason::NotForSignatures),
        (with(good.clone(), "key_ops", json!("verify")), SkipReason::NotForSignatures),
        (with(good.clone(), "kty", json!("ec")), SkipReason::UnknownKind),
        (with(good.clone(), "crv", json!("P-384")), SkipReason::UnknownKind),
        (with(good.clone(), "kty", Value::Null), SkipReason::UnknownKind),
        (with(good.clone(), "alg", json!("RS256")), SkipReason::UnknownAlgorithm),
        (with(good.clone(), "alg", json!("none")), SkipReason::UnknownAlgorithm),
        (with(good.clone(), "alg", json!(["ES256"])), SkipReason::UnknownAlgorithm),
        (with(good.clone(), "x", json!(base64url(&[1; 31]))), SkipReason::Malformed),
        (with(good.clone(), "x", json!(base64url(&[1; 32]))), SkipReason::Malformed),
        (with(good.clone(), "x", json!(base64url(&[0; 33]))), SkipReason::Malformed),
        (with(good.clone(), "y", Value::Null), SkipReason::Malformed),
        (with(good.clone(), "kid", json!(7)), SkipReason::Malformed),
        (with(rsa.clone(), "e", json!("AQ")), SkipReason::WeakRsa),
        (with(rsa.clone(), "e", json!("AQAA")), SkipReason::WeakRsa),
        (with(rsa.clone(), "n", json!(base64url(&[0xc1; 128]))), SkipReason::WeakRsa),
        (with(rsa.clone(), "n", json!(base64url(&[0xc0; 256]))), SkipReason::WeakRsa),
        (with(rsa.clone(), "n", json!(base64url(&[0xc1; 1025]))), SkipReason::WeakRsa),
    ] {
        let parse = |keys: Value| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes());
        match parse(json!([jwk])) {
            Err(KeySetError::NoUsableKey { skipped }) => {
                assert_eq!(skipped[0].reason, reason, "{jwk}")
            }
            other => panic!("{jwk}: {other:?}"),
        }
        // Beside a good key it is left out, and the good one stays.
        let set = parse(json!([jwk, with(good.clone(), "kid", json!("good"))])).unwrap();
        assert_eq!(set.skipped().len(), 1);
        assert!(set.has_kid("good"));
    }
}

#[test]
fn r09_an_ambiguous_or_oversized_key_set_is_refused_whole() {
    let parse = |set: Value| KeySet::parse(set.to_string().as_bytes());
    let key = |kid: &str| with(KEY.jwk(), "kid", json!(kid));
    let twice = parse(json!({ "keys": [key("a"), key("a")] })).unwrap_err();
    assert!(matches!(twice, KeySetError::DuplicateKid { .. }));

    let rsa = SigningKey::generate(Algorithm::Rs256).unwrap().public_jwk();
    let pss = with(with(rsa.clone(), "alg", json!("PS256")), "kid", json!("pss"));
    let both = parse(json!({ "keys": [rsa, pss] })).unwrap_err();
    assert!(matches!(both, KeySetError::TwoAlgorithms { .. }));

    let many = |count: usize| json!({ "keys": (0..count).map(|n| key(&n.to_string())).collect::<Vec<_>>() });
    assert!(parse(many(100)).is_ok());
    assert!(matches!(parse(many(101)).unwrap_err(), KeySetError::TooManyKeys { keys: 101 }));
    let long = json!({ "keys": [key("a")], "x": "x".repeat(KeySet::MAX_LEN) });
    assert!(matches!(parse(long).unwrap_err(), KeySetError::TooLarge { .. }));
    assert!(matches!(parse(json!({})).unwrap_err(), KeySetError::NoKeys));
    assert!(matches!(parse(json!({ "keys": {} })).unwrap_err(), KeySetError::NoKeys));
    assert!(matches!(parse(json!({ "keys": [] })).unwrap_err(), KeySetError::NoUsableKey { .. }));
    assert!(matches!(KeySet::parse(b"<html>").unwrap_err(), KeySetError::BadJson(_)));
}

#[test]
fn r10_keys_come_and_go_without_anybody_elses() {
    let config = IssuerConfig::new(
        ISSUER,
        Profile::Partywall,
        KeySource::Url("https://id.example/jwks".into()),
    );
    let none = compile(&[config]);
    let refused = none.examine(&token(), Timestamp(NOW)).unwrap_err();
    assert_eq!(refused.code(), "keys_not_yet_fetched");
    assert!(refused.is_unavailable());

    let set = |keys: &[&Key]| match inline(keys) {
        KeySource::Inline(jwks) => KeySet::parse(jwks.to_string().as_bytes()).unwrap(),
        _ => unreachable!(),
    };
    let fetched = none.with_keys(ISSUER, set(&[&KEY]));
    assert!(fetched.examine(&token(), Timestamp(NOW)).is_ok());
    assert!(none.keys_of(ISSUER).is_none(), "compiled issuers do not change under anybody");

    // Withdrawn is refused; a set without a usable key is not taken.
    let next = Key::generate("k2");
    let rotated = fetched.with_keys(ISSUER, set(&[&next]));
    let refused = rotated.examine(&token(), Timestamp(NOW)).unwrap_err();
    assert_eq!(refused.unknown_key(), Some((ISSUER, KID)));
    let pss = SigningKey::generate(Algorithm::Ps256).unwrap().public_jwk();
    let off_list = KeySet::parse(json!({ "keys": [pss] }).to_string().as_bytes()).unwrap();
    let kept = rotated.with_keys(ISSUER, off_list);
    assert!(kept.keys_of(ISSUER).unwrap().has_kid("k2"));
    assert!(rotated.with_keys("https://nobody", set(&[&KEY])).keys_of("https://nobody").is_none());
}

#[test]
fn j06_a_published_set_round_trips() {
    let keys: Vec<_> = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256]
        .map(|alg| SigningKey::generate(alg).unwrap())
        .into();
    let jwks = json!({ "keys": keys.iter().map(SigningKey::public_jwk).collect::<Vec<_>>() });
    let set = KeySet::parse(jwks.to_string().as_bytes()).unwrap();
    assert_eq!(set.to_json(), jwks);
    let thumbprints: Vec<_> = set.fingerprints().iter().map(|print| base64url(print)).collect();
    assert_eq!(thumbprints, keys.iter().map(SigningKey::kid).collect::<Vec<_>>());
    for key in &keys {
        let restored = SigningKey::from_pkcs8(key.algorithm(), &key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(restored.public_jwk(), key.public_jwk());
        assert!(!format!("{restored:?}").contains("d\""));
    }
    let wrong = SigningKey::from_pkcs8(Algorithm::EdDsa, &keys[0].to_pkcs8().unwrap());
    assert!(wrong.is_err());
}

fn split(token: &str) -> [String; 3] {
    token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}
