//! ID tokens of providers whose client we are (OIDC Core 3.1.3.7).

use partywall::{
    Timestamp,
    token::{Algorithm, IdToken, IdTokenRules, KeySet, TokenError, verify_id_token},
};
use serde_json::{Value, json};

use crate::support::{ISSUER, KEY, KID, Key, NOW, with};

const CLIENT: &str = "client-1";
const NONCE: &str = "n-0S6_WzA2Mj";

const RULES: IdTokenRules<'_> = IdTokenRules {
    issuer: ISSUER,
    client: CLIENT,
    algorithms: &[Algorithm::Es256],
    nonce: NONCE,
    fixed: &[],
    shown_since: None,
    access_token: None,
};

fn keys(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn verify(token: &str, rules: &IdTokenRules<'_>) -> Result<IdToken, TokenError> {
    verify_id_token(token, &keys(&[KEY.jwk()]), rules, Timestamp(NOW))
}

fn code(token: &str, rules: &IdTokenRules<'_>) -> &'static str {
    verify(token, rules).map_or_else(|error| error.code(), |_| "accepted")
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "Ada", "aud": CLIENT, "nonce": NONCE,
        "iat": NOW, "exp": NOW + 300,
    })
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": KID })
}

fn signed(claims: &Value) -> String {
    KEY.sign(&header(), claims)
}

#[test]
fn f08_an_id_token_is_one_issuers_for_us_for_this_sign_in_and_new() {
    let verified = verify(&signed(&claims()), &RULES).unwrap();
    assert_eq!((verified.subject.as_str(), verified.expires_at.0), ("Ada", NOW + 300));
    assert_eq!(verified.claims["sub"], "Ada");
    for (name, value) in [
        ("aud", json!([CLIENT])),
        ("azp", CLIENT.into()),
        ("exp", (NOW - 59).into()),
        ("exp", (NOW + 30 * 24 * 3600).into()),
        ("iat", (NOW + 60).into()),
        ("iat", (NOW - 900).into()),
        ("sub", "x".repeat(255).into()),
        ("sub", "ada@example.test".into()),
    ] {
        assert_eq!(
            code(&signed(&with(claims(), name, value.clone())), &RULES),
            "accepted",
            "{name} {value}"
        );
    }
    for (name, value, refused) in [
        ("iss", Value::Null, "issuer_missing"),
        ("iss", json!([ISSUER]), "issuer_wrong_type"),
        ("iss", format!("{ISSUER}/").into(), "issuer_untrusted"),
        ("iss", ISSUER.to_uppercase().into(), "issuer_untrusted"),
        ("aud", Value::Null, "audience_missing"),
        ("aud", "client-2".into(), "audience_mismatch"),
        ("aud", "CLIENT-1".into(), "audience_mismatch"),
        ("aud", json!(["client-2"]), "audience_mismatch"),
        ("aud", json!([CLIENT, 1]), "audience_wrong_type"),
        ("aud", json!([CLIENT, "client-2"]), "claim_missing"),
        ("azp", "client-2".into(), "claim_invalid"),
        ("azp", 1.into(), "claim_wrong_type"),
        ("exp", Value::Null, "expiry_missing"),
        ("exp", (NOW - 60).into(), "token_expired"),
        ("exp", "never".into(), "expiry_wrong_type"),
        ("nbf", (NOW + 61).into(), "token_not_yet_valid"),
        ("iat", Value::Null, "issued_at_missing"),
        ("iat", (NOW + 61).into(), "issued_in_future"),
        ("iat", (NOW - 961).into(), "issued_at_invalid"),
        ("nonce", Value::Null, "claim_missing"),
        ("nonce", "n-0S6_WzA2Mk".into(), "claim_invalid"),
        ("nonce", json!([NONCE]), "claim_wrong_type"),
        ("sub", Value::Null, "subject_missing"),
        ("sub", "".into(), "subject_invalid"),
        ("sub", 1.into(), "subject_wrong_type"),
        ("sub", "a\u{0}b".into(), "subject_invalid"),
        ("sub", "x".repeat(256).into(), "subject_invalid"),
        ("events", json!({}), "claim_invalid"),
    ] {
        assert_eq!(
            code(&signed(&with(claims(), name, value.clone())), &RULES),
            refused,
            "{name} {value}"
        );
    }
}

#[test]
fn f08_several_audiences_only_where_it_was_made_for_us() {
    let several = with(claims(), "aud", json!(["client-2", CLIENT]));
    assert_eq!(code(&signed(&several), &RULES), "claim_missing");
    let ours = with(several.clone(), "azp", CLIENT.into());
    assert_eq!(code(&signed(&ours), &RULES), "accepted");
    let others = with(several, "azp", "client-2".into());
    assert_eq!(code(&signed(&others), &RULES), "claim_invalid");
}

#[test]
fn f08_an_algorithm_is_one_the_connection_allows() {
    let claims = claims();
    assert_eq!(code(&signed(&claims), &RULES), "accepted");
    let rs256_only = IdTokenRules { algorithms: &[Algorithm::Rs256], ..RULES };
    assert_eq!(code(&signed(&claims), &rs256_only), "algorithm_not_allowed");
    for alg in ["none", "None", "HS256", "ES384", "RS512", ""] {
        let token = KEY.sign(&with(header(), "alg", alg.into()), &claims);
        assert_eq!(code(&token, &RULES), "algorithm_not_allowed", "{alg}");
    }
    // It is on the list, and the key is for another.
    let both = IdTokenRules { algorithms: &[Algorithm::Rs256, Algorithm::Es256], ..RULES };
    let token = KEY.sign(&with(header(), "alg", "RS256".into()), &claims);
    assert_eq!(code(&token, &both), "algorithm_not_allowed");
    assert_eq!(code(&signed(&claims), &both), "accepted");
    // A signature that is not there.
    let unsigned = signed(&claims);
    let (input, _) = unsigned.rsplit_once('.').unwrap();
    assert_eq!(code(&format!("{input}."), &RULES), "encoding_invalid");
}

#[test]
fn f08_a_key_is_named_or_the_only_one() {
    let other = Key::generate("k2");
    let (one, two) = (keys(&[KEY.jwk()]), keys(&[KEY.jwk(), other.jwk()]));
    let nameless = KEY.sign(&json!({ "alg": "ES256" }), &claims());
    let check = |token: &str, keys: &KeySet| {
        verify_id_token(token, keys, &RULES, Timestamp(NOW))
            .map_or_else(|error| error.code(), |_| "accepted")
    };
    assert_eq!(check(&nameless, &one), "accepted");
    assert_eq!(check(&nameless, &two), "key_id_missing");
    assert_eq!(check(&signed(&claims()), &two), "accepted");
    // Another's key, under its own name and under ours.
    assert_eq!(
        check(&other.sign(&with(header(), "kid", "k2".into()), &claims()), &one),
        "key_unknown"
    );
    assert_eq!(check(&other.sign(&header(), &claims()), &one), "signature_invalid");
    let unknown = other.sign(&with(header(), "kid", "k2".into()), &claims());
    let error = verify_id_token(&unknown, &one, &RULES, Timestamp(NOW)).unwrap_err();
    assert_eq!(error.unknown_key(), Some((ISSUER, "k2")));
}

#[test]
fn f08_other_kinds_of_tokens_are_no_id_tokens() {
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert_eq!(
            code(&KEY.sign(&with(header(), "typ", typ.into()), &claims()), &RULES),
            "accepted"
        );
    }
    for typ in ["at+jwt", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        let token = KEY.sign(&with(header(), "typ", typ.into()), &claims());
        assert_eq!(code(&token, &RULES), "type_not_accepted", "{typ}");
    }
}

#[test]
fn f08_a_claim_that_is_there_twice_is_refused() {
    let honest = claims().to_string();
    let twice = honest.replacen('{', r#"{"sub":"Eve","#, 1);
    let token = |payload: &str| KEY.sign_bytes(header().to_string().as_bytes(), payload.as_bytes());
    assert_eq!(code(&token(&honest), &RULES), "accepted");
    assert_eq!(code(&token(&twice), &RULES), "json_duplicate_name");
    let deep = honest.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1);
    assert_eq!(code(&token(&deep), &RULES), "json_duplicate_name");
}

#[test]
fn f07_b14_a_claim_of_the_connection_has_exactly_its_value() {
    let rules = IdTokenRules { fixed: &[("tid", "11111111-aaaa")], ..RULES };
    let tid = |value: Value| code(&signed(&with(claims(), "tid", value)), &rules);
    assert_eq!(tid("11111111-aaaa".into()), "accepted");
    assert_eq!(tid("11111111-AAAA".into()), "tenant_invalid");
    assert_eq!(tid("22222222-aaaa".into()), "tenant_invalid");
    assert_eq!(tid(json!(["11111111-aaaa"])), "tenant_wrong_type");
    assert_eq!(tid(Value::Null), "tenant_missing");
}

#[test]
fn f08_an_access_token_is_the_one_it_came_with() {
    // Half of SHA-256 of "access".
    let half = |token: &str| {
        use base64ct::Encoding;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        base64ct::Base64UrlUnpadded::encode_string(&hash.as_ref()[..16])
    };
    let rules = IdTokenRules { access_token: Some("access"), ..RULES };
    let with_hash = |value: Value| code(&signed(&with(claims(), "at_hash", value)), &rules);
    assert_eq!(with_hash(half("access").into()), "accepted");
    assert_eq!(with_hash(half("other").into()), "claim_invalid");
    assert_eq!(with_hash(1.into()), "claim_wrong_type");
    // OIDC Core 3.1.3.6: optional where the token comes from the token endpoint.
    assert_eq!(with_hash(Value::Null), "accepted");
}

#[test]
fn f08_who_asked_for_a_new_sign_in_is_told_when_it_was() {
    let rules = IdTokenRules { shown_since: Some(Timestamp(NOW - 120)), ..RULES };
    let at = |value: Value| code(&signed(&with(claims(), "auth_time", value)), &rules);
    assert_eq!(at((NOW - 180).into()), "accepted");
    assert_eq!(at((NOW - 181).into()), "claim_invalid");
    assert_eq!(at((NOW + 61).into()), "claim_invalid");
    assert_eq!(at(Value::Null), "claim_missing");
    assert_eq!(at("now".into()), "claim_wrong_type");
    // Who did not ask need not be told, and is not told about tomorrow.
    assert_eq!(code(&signed(&claims()), &RULES), "accepted");
    let tomorrow = with(claims(), "auth_time", (NOW + 61).into());
    assert_eq!(code(&signed(&tomorrow), &RULES), "claim_invalid");
}
