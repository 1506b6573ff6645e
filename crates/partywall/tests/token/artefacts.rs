//! Every kind of artefact is accepted by its own consumer and by no other (J-10, I-08).

use std::time::Duration;

use partywall::{
    Timestamp,
    token::{
        Algorithm, ArtefactRules, IssuerConfig, KeySet, KeySource, Profile, SigningKey, TokenError,
        verify_artefact,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::*;

/// Every kind of thing we sign or will sign.
const KINDS: [&str; 8] = [
    "at+jwt",
    "partywall-job+jwt",
    "partywall-invitation+jwt",
    "partywall-reset+jwt",
    "partywall-setup+jwt",
    "partywall-state+jwt",
    "logout+jwt",
    "JWT",
];

#[derive(Debug, Deserialize)]
struct Job {
    job: String,
}

fn rules(typ: &str) -> ArtefactRules<'_> {
    ArtefactRules {
        typ,
        issuer: ISSUER,
        audience: AUDIENCE,
        max_lifetime: Duration::from_secs(3600),
    }
}

fn artefact() -> Value {
    with(claims(), "job", json!("remind"))
}

fn keys_of(key: &SigningKey) -> KeySet {
    KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes()).unwrap()
}

fn open(key: &SigningKey, token: &str, typ: &str) -> Result<Job, TokenError> {
    verify_artefact(token, &keys_of(key), &rules(typ), Timestamp(NOW))
}

#[test]
fn j10_only_the_diagonal_passes() {
    // The worst case: one key, one issuer, one audience, and claims that please everybody.
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let source = KeySource::Inline(json!({ "keys": [key.public_jwk()] }));
    let issuers = compile(&[IssuerConfig::new(ISSUER, Profile::Partywall, source)]);
    let mut accepted = 0;
    for kind in KINDS {
        let token = key.sign_jws(kind, &artefact()).unwrap();
        for consumer in KINDS {
            let ok = match consumer {
                "at+jwt" => issuers.examine(&token, Timestamp(NOW)).is_ok(),
                consumer => open(&key, &token, consumer).is_ok(),
            };
            assert_eq!(ok, kind == consumer, "{kind} presented as {consumer}");
            accepted += usize::from(ok);
        }
    }
    assert_eq!(accepted, KINDS.len());
    // Nobody can set up a consumer of artefacts that takes access tokens.
    let access = key.sign_jws("at+jwt", &artefact()).unwrap();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(open(&key, &access, typ).unwrap_err().code(), "type_not_accepted");
    }
}

#[test]
fn i08_an_artefact_is_checked_like_a_token() {
    const JOB: &str = "partywall-job+jwt";
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let code = |claims: &Value| {
        let token = key.sign_jws(JOB, claims).unwrap();
        open(&key, &token, JOB).map(|job| job.job).map_err(|error| error.code())
    };
    assert_eq!(code(&artefact()).as_deref(), Ok("remind"));
    for (claim, value, expected) in [
        ("iss", Value::Null, "issuer_missing"),
        ("iss", json!("https://other"), "issuer_untrusted"),
        ("aud", Value::Null, "audience_missing"),
        ("aud", json!("https://other"), "audience_mismatch"),
        ("exp", Value::Null, "expiry_missing"),
        ("exp", json!(NOW - 60), "token_expired"),
        ("exp", json!(NOW + 7200), "lifetime_too_long"),
        ("iat", Value::Null, "issued_at_missing"),
        ("iat", json!(NOW + 60), "issued_in_future"),
        ("nbf", json!(NOW + 60), "token_not_yet_valid"),
        ("tid", Value::Null, "tenant_missing"),
        ("tid", json!("Acme"), "tenant_invalid"),
        ("tid", json!(["acme"]), "tenant_wrong_type"),
        ("job", Value::Null, "claim_invalid"),
    ] {
        let refused = code(&with(artefact(), claim, value.clone())).unwrap_err();
        assert_eq!(refused, expected, "{claim}: {value}");
    }

    let honest = key.sign_jws(JOB, &artefact()).unwrap();
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap();
    assert_eq!(open(&other, &honest, JOB).unwrap_err().code(), "key_unknown");
    let mut last = honest.clone().into_bytes();
    let at = honest.len() - 10;
    last[at] = if last[at] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(last).unwrap();
    assert_eq!(open(&key, &tampered, JOB).unwrap_err().code(), "signature_invalid");
    let twice = KEY.sign_bytes(
        format!(r#"{{"alg":"ES256","typ":"{JOB}","kid":"{KID}"}}"#).as_bytes(),
        br#"{"tid":"a1","tid":"b1"}"#,
    );
    let keys = KeySet::parse(json!({ "keys": [KEY.jwk()] }).to_string().as_bytes()).unwrap();
    let refused = verify_artefact::<Job>(&twice, &keys, &rules(JOB), Timestamp(NOW));
    assert_eq!(refused.unwrap_err().code(), "json_duplicate_name");
}

#[test]
fn i08_nothing_is_signed_without_a_kind() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    for typ in ["", "a b", "x\",\"alg\":\"none", "é"] {
        assert!(key.sign_jws(typ, &artefact()).is_err(), "{typ:?}");
    }
    assert!(key.sign_jws("at+jwt", &["a list"]).is_err());
    assert!(key.sign_jws("at+jwt", &json!({ "x": "y".repeat(20_000) })).is_err());
    assert!(key.sign_jws("at+jwt", &artefact()).is_ok(), "the control");
}
