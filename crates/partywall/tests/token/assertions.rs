//! Assertions by which clients authenticate (RFC 7523).

use std::time::Duration;

use partywall::{
    Timestamp,
    token::{AssertionRules, KeySet, TokenError, verify_assertion},
};
use serde_json::{Value, json};

use crate::support::{KEY, KID, Key, NOW, with};

const CLIENT: &str = "app-1";
const AS: &str = "https://id.example";
const TOKEN: &str = "https://id.example/token";

fn keys(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn check(assertion: &str, keys: &KeySet) -> Result<String, TokenError> {
    let rules = AssertionRules {
        client: CLIENT,
        audiences: &[AS, TOKEN],
        max_lifetime: Duration::from_secs(300),
    };
    verify_assertion(assertion, keys, &rules, Timestamp(NOW)).map(|asserted| asserted.id)
}

fn claims() -> Value {
    json!({ "iss": CLIENT, "sub": CLIENT, "aud": AS, "jti": "1", "iat": NOW, "exp": NOW + 300 })
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": KID })
}

#[test]
fn o15_an_assertion_is_one_clients_for_us_and_for_five_minutes() {
    let set = keys(&[KEY.jwk()]);
    let code = |name: &str, value: Value| {
        let assertion = KEY.sign(&header(), &with(claims(), name, value));
        check(&assertion, &set).map_or_else(|error| error.code(), |_| "accepted")
    };
    for (name, value) in [
        ("aud", TOKEN.into()),
        ("iat", Value::Null),
        ("exp", (NOW + 330).into()),
        ("exp", (NOW - 29).into()),
        ("nbf", NOW.into()),
        ("jti", "x".repeat(255).into()),
    ] {
        assert_eq!(code(name, value.clone()), "accepted", "{name} {value}");
    }
    for (name, value, refused) in [
        ("iss", Value::Null, "issuer_missing"),
        ("iss", "app-2".into(), "issuer_invalid"),
        ("sub", Value::Null, "subject_missing"),
        ("sub", "app-2".into(), "subject_invalid"),
        ("aud", Value::Null, "audience_missing"),
        ("aud", json!([AS]), "audience_wrong_type"),
        ("aud", json!([AS, "https://other.example"]), "audience_wrong_type"),
        ("aud", "https://id.example/".into(), "audience_mismatch"),
        ("aud", "https://id.example/par".into(), "audience_mismatch"),
        ("aud", "https://ID.example".into(), "audience_mismatch"),
        ("exp", Value::Null, "expiry_missing"),
        ("exp", (NOW - 30).into(), "token_expired"),
        ("exp", (NOW + 331).into(), "lifetime_too_long"),
        ("nbf", (NOW + 31).into(), "token_not_yet_valid"),
        ("iat", (NOW + 31).into(), "issued_in_future"),
        ("jti", Value::Null, "token_id_missing"),
        ("jti", "".into(), "token_id_invalid"),
        ("jti", "x".repeat(256).into(), "token_id_invalid"),
        ("jti", 1.into(), "token_id_wrong_type"),
    ] {
        assert_eq!(code(name, value.clone()), refused, "{name} {value}");
    }
}

#[test]
fn b33_the_key_says_which_algorithm_an_assertion_has() {
    let (other, unnamed) = (Key::generate("k2"), with(KEY.jwk(), "kid", Value::Null));
    let set = keys(&[KEY.jwk()]);
    let code = |header: &Value| {
        let assertion = KEY.sign(header, &claims());
        check(&assertion, &set).map_or_else(|error| error.code(), |_| "accepted")
    };
    assert_eq!(code(&header()), "accepted");
    for typ in ["JWT", "client-authentication+jwt", "jwt"] {
        assert_eq!(code(&with(header(), "typ", typ.into())), "accepted", "{typ}");
    }
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "partywall-job+jwt", ""] {
        assert_eq!(code(&with(header(), "typ", typ.into())), "type_not_accepted", "{typ}");
    }
    for alg in ["none", "HS256", "ES384", "es256"] {
        assert_eq!(code(&with(header(), "alg", alg.into())), "algorithm_not_allowed", "{alg}");
    }
    for alg in ["RS256", "EdDSA", "PS256"] {
        assert_eq!(code(&with(header(), "alg", alg.into())), "algorithm_not_allowed", "{alg}");
    }
    assert_eq!(code(&with(header(), "kid", "k9".into())), "key_unknown");
    assert_eq!(code(&with(header(), "jwk", KEY.jwk())), "key_in_header");
    let forged = other.sign(&header(), &claims());
    assert_eq!(check(&forged, &set).unwrap_err(), TokenError::SignatureInvalid);

    // Without a `kid` the one key that fits is meant; of two, none.
    let nameless = KEY.sign(&with(header(), "kid", Value::Null), &claims());
    assert!(check(&nameless, &set).is_ok());
    assert!(check(&nameless, &keys(&[unnamed])).is_ok());
    let two = check(&nameless, &keys(&[KEY.jwk(), other.jwk()])).unwrap_err();
    assert_eq!(two.code(), "key_id_missing");
}
