//! Published vectors at the level of keys and signatures: Wycheproof, and the RFC 7520 cookbook.
//!
//! They are read from `shared/vectors` beside the workspace, and skipped, saying so, without it.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    Algorithm, IssuerConfig, KeySet, KeySource, Profile, TokenError,
    issuer::{Issuer, TrustedIssuers},
    jws::CompactJws,
};

/// How a file's cases went: accepted, refused.
type Tally = (usize, usize);

fn vectors(path: &str) -> Option<Value> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    match std::fs::read(root.join(path)) {
        Ok(json) => Some(serde_json::from_slice(&json).expect("a vector file is JSON")),
        Err(_) => {
            eprintln!("SKIPPED: no shared/vectors/{path} beside the workspace");
            None
        }
    }
}

/// What is public of a JWK, or of a JWK set.
fn public(mut jwk: Value) -> Value {
    if let Some(keys) = jwk.get_mut("keys").and_then(Value::as_array_mut) {
        *keys = std::mem::take(keys).into_iter().map(public).collect();
    } else if jwk["kty"] != "oct" {
        let secret = ["d", "p", "q", "dp", "dq", "qi"];
        jwk.as_object_mut().unwrap().retain(|name, _| !secret.contains(&name.as_str()));
    }
    jwk
}

/// Whether a token holds under a key set, by the verifier's own steps up to the signature.
fn holds(jws: &str, jwks: &Value) -> Result<(), TokenError> {
    let issuers = trusted(jwks).ok_or(TokenError::SignatureInvalid)?;
    holds_with(jws, issuers.get("vectors").unwrap())
}

fn trusted(jwks: &Value) -> Option<TrustedIssuers> {
    let jwks = match jwks.get("keys") {
        Some(_) => jwks.clone(),
        None => serde_json::json!({ "keys": [jwks] }),
    };
    let mut config = IssuerConfig::new("vectors", Profile::Generic, KeySource::Inline(jwks));
    config.tenant =
        Some(super::ClaimRule { claim: super::ClaimPath::Name("tid".into()), prefix: None });
    config.algorithms =
        vec![Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ps256, Algorithm::Rs256];
    TrustedIssuers::compile(&[config], &["vectors".into()]).ok()
}

fn holds_with(jws: &str, issuer: &Issuer) -> Result<(), TokenError> {
    let jws = CompactJws::parse(jws)?;
    let header = jws.header()?;
    let key = issuer.key(&header)?;
    key.verifier
        .verify_sig(jws.signing_input(), jws.signature())
        .map_err(|_| TokenError::SignatureInvalid)
}

fn segment(text: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    Base64UrlUnpadded::encode_string(text.as_bytes())
}

fn base64url(hex: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    Base64UrlUnpadded::encode_string(&bytes)
}

/// Tokens of Wycheproof. What is invalid must be refused; what is valid, of our algorithms and not
/// empty, must be accepted.
fn wycheproof_tokens(file: &str) -> Option<Tally> {
    let file = vectors(&format!("wycheproof/testvectors_v1/{file}"))?;
    let mut tally = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = group.get("public").or(group.get("private")).unwrap();
        let jwk = public(jwk.clone());
        for test in group["tests"].as_array().unwrap() {
            let Some(jws) = test["jws"].as_str() else { continue };
            let outcome = holds(jws, &jwk);
            let case = format!("{} {} {outcome:?}", test["tcId"], test["comment"]);
            match &outcome {
                Ok(()) => tally.0 += 1,
                Err(_) => tally.1 += 1,
            }
            if test["result"] == "invalid" {
                assert!(outcome.is_err(), "{case}");
            } else if let Some(expected) = refused_though_valid(jws, &jwk) {
                assert!(outcome.is_err(), "{case}: {expected}");
            } else {
                assert!(outcome.is_ok(), "{case}");
            }
        }
    }
    Some(tally)
}

/// Why a case that is valid by RFC 7515 is refused here.
fn refused_though_valid(jws: &str, jwk: &Value) -> Option<&'static str> {
    let ours = |alg: &Value| alg.as_str().is_some_and(|alg| Algorithm::from_name(alg).is_some());
    let header = CompactJws::parse(jws).and_then(|jws| jws.header().map(|_| ()));
    match header {
        Err(TokenError::BadEncoding { part: "payload" }) => Some("an empty payload is no token's"),
        Err(TokenError::AlgorithmNotAllowed { .. }) => Some("not one of our algorithms"),
        Err(TokenError::NotCompact | TokenError::BadEncoding { .. }) => Some("not canonical"),
        _ if jwk.get("alg").is_some_and(|alg| !ours(alg)) => Some("not one of our algorithms"),
        // "Figure20" pairs a PS256 key with a PS384 token, and is caught by the header above.
        _ => None,
    }
}

#[test]
fn j15_wycheproof_json_web_signatures() {
    let Some((accepted, refused)) = wycheproof_tokens("json_web_signature_test.json") else {
        return;
    };
    assert_eq!(accepted + refused, 401, "a case was not looked at");
    assert_eq!(accepted, 14, "every valid, non-empty token of our algorithms");
}

#[test]
fn j01_wycheproof_json_web_keys_and_crypto() {
    let Some((accepted, refused)) = wycheproof_tokens("json_web_key_test.json") else { return };
    assert_eq!(accepted + refused, 26);
    let Some((_, refused)) = wycheproof_tokens("json_web_crypto_test.json") else { return };
    assert!(refused > 0);
}

/// Bare signatures of Wycheproof, each verified as the signature of its message by the parsed key
/// a key set would hold.
fn wycheproof_signatures(file: &str, algorithm: Algorithm) -> Option<Tally> {
    let file = vectors(&format!("wycheproof/testvectors_v1/{file}"))?;
    let mut tally = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = ["publicKeyJwk", "keyJwk"].iter().find_map(|name| group.get(name));
        let mut jwk = match jwk {
            Some(jwk) => jwk.clone(),
            None => jwk_of(&group["publicKey"]),
        };
        jwk["alg"] = algorithm.name().into();
        let keys = serde_json::json!({ "keys": [jwk] }).to_string();
        let keys = KeySet::parse(keys.as_bytes()).expect("Wycheproof's keys are keys");
        let (_, verifier) = &keys.keys()[0].verifiers[0];
        for test in group["tests"].as_array().unwrap() {
            let bytes = |name: &str| {
                use base64ct::{Base64UrlUnpadded, Encoding};
                let text = base64url(test[name].as_str().unwrap());
                Base64UrlUnpadded::decode_vec(&text).unwrap()
            };
            let holds = verifier.verify_sig(&bytes("msg"), &bytes("sig")).is_ok();
            let case = format!("{} {}", test["tcId"], test["comment"]);
            match test["result"].as_str().unwrap() {
                "valid" => assert!(holds, "{case}"),
                "invalid" => assert!(!holds, "{case}"),
                _ => {}
            }
            if holds { tally.0 += 1 } else { tally.1 += 1 }
        }
    }
    Some(tally)
}

/// A JWK of a key given by its numbers only.
fn jwk_of(key: &Value) -> Value {
    let hex = |name: &str| key[name].as_str().unwrap();
    if key.get("modulus").is_some() {
        let number = |name| base64url(hex(name).trim_start_matches("00"));
        return serde_json::json!({
            "kty": "RSA", "n": number("modulus"), "e": number("publicExponent"),
        });
    }
    let (x, y) = hex("uncompressed").trim_start_matches("04").split_at(64);
    serde_json::json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) })
}

#[test]
fn j15_wycheproof_signatures_of_each_algorithm() {
    let mut seen = 0;
    for (file, algorithm, cases) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", Algorithm::Es256, 262),
        ("ed25519_test.json", Algorithm::EdDsa, 151),
        ("rsa_signature_2048_sha256_test.json", Algorithm::Rs256, 259),
        ("rsa_signature_3072_sha256_test.json", Algorithm::Rs256, 0),
        ("rsa_signature_4096_sha256_test.json", Algorithm::Rs256, 0),
        ("rsa_pss_2048_sha256_mgf1_32_test.json", Algorithm::Ps256, 108),
        ("rsa_pss_3072_sha256_mgf1_32_test.json", Algorithm::Ps256, 0),
        ("rsa_pss_4096_sha256_mgf1_32_test.json", Algorithm::Ps256, 0),
    ] {
        let Some((accepted, refused)) = wycheproof_signatures(file, algorithm) else { return };
        assert!(accepted > 0 && refused > 0, "{file}: {accepted} accepted, {refused} refused");
        assert!(cases == 0 || accepted + refused == cases, "{file} changed");
        seen += accepted + refused;
    }
    println!("{seen} Wycheproof signatures");
}

#[test]
fn j15_rfc7520_cookbook() {
    let mut accepted = 0;
    for (file, ours) in [
        ("jws/4_1.rsa_v15_signature.json", true),
        ("jws/4_2.rsa-pss_signature.json", false),
        ("jws/4_3.ecdsa_signature.json", false),
        ("jws/4_4.hmac-sha2_integrity_protection.json", false),
        ("curve25519/jws.json", true),
    ] {
        let Some(example) = vectors(&format!("jose-cookbook/{file}")) else { return };
        let token = example["output"]["compact"].as_str().unwrap();
        let mut jwk = public(example["input"]["key"].clone());
        jwk["alg"] = example["input"]["alg"].clone();
        // RFC 8037 A.4 has no kid in its header, and one key fits.
        let outcome = holds(token, &jwk);
        assert_eq!(outcome.is_ok(), ours, "{file}: {outcome:?}");
        accepted += usize::from(outcome.is_ok());
        if ours {
            // The control: the same token under the same id and another key is refused.
            flip(&mut jwk);
            assert!(holds(token, &jwk).is_err(), "{file} holds under another key");
        }
    }
    assert_eq!(accepted, 2);
}

/// Turns a public key into another: the last byte of its modulus, or of its point.
fn flip(jwk: &mut Value) {
    let name = if jwk["kty"] == "RSA" { "n" } else { "x" };
    let text = jwk[name].as_str().unwrap();
    let (head, tail) = text.split_at(text.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    jwk[name] = format!("{head}{other}{}", &tail[1..]).into();
}

#[test]
fn j16_rfc7797_unencoded_payloads_are_refused() {
    let Some(example) = vectors("jose-cookbook/rfc7797/4.2.hmac-sha2_b64_false.json") else {
        return;
    };
    assert!(example.to_string().contains("b64"));
    let header = segment(r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#);
    let parsed = CompactJws::parse(&format!("{header}.e30.AA")).map(|jws| jws.header().map(|_| ()));
    assert!(matches!(parsed, Ok(Err(TokenError::CriticalHeader { .. }))));
}
