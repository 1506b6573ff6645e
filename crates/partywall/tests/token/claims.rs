//! Claims: missing, of a wrong type, and wrong are three different refusals.

use partywall::{
    Timestamp,
    token::{IssuerConfig, TokenError, TrustedIssuers},
};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn j17_the_honest_token_proves_what_it_says() {
    let claims = with(claims(), "act", json!({ "sub": "u:support" }));
    let claims = with(with(claims, "amr", json!(["pwd", "otp"])), "auth_time", json!(NOW - 90));
    let claims = with(with(claims, "cid", json!("okta-1")), "tep", json!(3));
    let facts = examine(&KEY.sign(&header(), &claims)).unwrap();
    assert_eq!(facts.tenant.as_str(), "acme-7f3k");
    assert_eq!(facts.subject.as_str(), "u:ada");
    assert!(!facts.machine);
    assert_eq!(facts.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(), ["member"]);
    assert_eq!(facts.scope, ["invoices:read", "invoices:pay"]);
    assert_eq!(facts.client_id.as_deref(), Some("web"));
    assert_eq!(facts.jti.as_deref(), Some("t-1"));
    assert_eq!((facts.issued_at.0, facts.expires_at.0), (NOW - 60, NOW + 540));
    assert_eq!(facts.auth_time, Some(Timestamp(NOW - 90)));
    assert_eq!(facts.amr, ["pwd", "otp"]);
    assert_eq!(facts.connection.as_deref(), Some("okta-1"));
    assert_eq!(facts.tenant_epoch, Some(3));
    assert_eq!(facts.actor.unwrap().as_str(), "u:support");
    assert_eq!(facts.kid.as_deref(), Some(KID));
}

#[test]
fn j17_every_claim_of_rfc_9068_is_required() {
    for (claim, expected) in [
        ("iss", "issuer_missing"),
        ("sub", "subject_missing"),
        ("aud", "audience_missing"),
        ("exp", "expiry_missing"),
        ("iat", "issued_at_missing"),
        ("jti", "token_id_missing"),
        ("client_id", "client_missing"),
        ("tid", "tenant_missing"),
    ] {
        let forged = with_claim(claim, Value::Null);
        assert_eq!(code(&forged), expected);
        // The control: whether or not it has an audience, the ordinary verifier takes it.
        if claim != "exp" {
            assert!(naive(&forged), "{claim}");
        }
    }
}

#[test]
fn j11_a_claim_of_a_wrong_type_is_never_absent() {
    for (claim, expected) in [
        ("iss", "issuer_wrong_type"),
        ("sub", "subject_wrong_type"),
        ("aud", "audience_wrong_type"),
        ("exp", "expiry_wrong_type"),
        ("nbf", "not_before_wrong_type"),
        ("iat", "issued_at_wrong_type"),
        ("jti", "token_id_wrong_type"),
        ("client_id", "client_wrong_type"),
        ("auth_time", "claim_wrong_type"),
        ("amr", "claim_wrong_type"),
        ("roles", "claim_wrong_type"),
        ("scope", "claim_wrong_type"),
        ("act", "claim_wrong_type"),
        ("cid", "claim_wrong_type"),
        ("tep", "claim_wrong_type"),
    ] {
        for value in [json!(true), json!({ "a": 1 }), json!([[1]]), json!([null])] {
            assert_eq!(code(&with_claim(claim, value.clone())), expected, "{claim}: {value}");
        }
        // A null is not an absence either.
        let mut null = claims();
        null[claim] = Value::Null;
        assert_eq!(code(&KEY.sign(&header(), &null)), expected, "{null}");
    }
    // Text where there should be a number (CVE-2026-25537), a number where there should be text.
    for (claim, value, expected) in [
        ("exp", json!((NOW + 540).to_string()), "expiry_wrong_type"),
        ("exp", json!([NOW + 540]), "expiry_wrong_type"),
        ("nbf", json!((NOW + 540).to_string()), "not_before_wrong_type"),
        ("iat", json!((NOW - 60).to_string()), "issued_at_wrong_type"),
        ("sub", json!(1), "subject_wrong_type"),
        ("jti", json!(1), "token_id_wrong_type"),
        ("tid", json!(7), "tenant_wrong_type"),
        ("tep", json!("3"), "claim_wrong_type"),
        ("tep", json!(3.5), "claim_wrong_type"),
        ("tep", json!(-1), "claim_wrong_type"),
        ("tep", json!(4_294_967_296_u64), "claim_wrong_type"),
    ] {
        assert_eq!(code(&with_claim(claim, value.clone())), expected, "{claim}: {value}");
    }
}

#[test]
fn j08_the_issuer_is_compared_byte_by_byte() {
    for iss in [
        "https://id.example/",
        "https://ID.example",
        "HTTPS://id.example",
        "http://id.example",
        "https://id.example:443",
        "https://id.example.evil.example",
        "https://id.example\0",
        " https://id.example",
        "https://id.%65xample",
        "https://id.ex\u{430}mple",
        "id.example",
    ] {
        assert_eq!(code(&with_claim("iss", json!(iss))), "issuer_untrusted", "{iss:?}");
    }
    assert_eq!(code(&with_claim("iss", json!(""))), "issuer_invalid");
    let both = with_claim("iss", json!(["https://evil.example", ISSUER]));
    assert_eq!(code(&both), "issuer_wrong_type");
    assert!(naive(&both), "the control: the ordinary verifier takes a list of issuers");
}

#[test]
fn j09_audience_must_be_ours() {
    for aud in [json!(AUDIENCE), json!([AUDIENCE]), json!(["https://other", AUDIENCE])] {
        assert!(examine(&with_claim("aud", aud.clone())).is_ok(), "{aud}");
    }
    for (aud, expected) in [
        (json!("https://other"), "audience_mismatch"),
        (json!(["https://other"]), "audience_mismatch"),
        (json!([]), "audience_mismatch"),
        (json!(""), "audience_mismatch"),
        (json!("https://api.example/"), "audience_mismatch"),
        (json!("https://API.example"), "audience_mismatch"),
        (json!("https://api.example.evil"), "audience_mismatch"),
        (json!("https://api"), "audience_mismatch"),
        (json!("https://other https://api.example"), "audience_mismatch"),
        (json!([AUDIENCE, 1]), "audience_wrong_type"),
        (json!([[AUDIENCE]]), "audience_wrong_type"),
        (json!({ "0": AUDIENCE }), "audience_wrong_type"),
        (json!(1), "audience_wrong_type"),
    ] {
        assert_eq!(code(&with_claim("aud", aud.clone())), expected, "{aud}");
    }
}

#[test]
fn j09_audience_missing_is_refused() {
    let forged = with_claim("aud", Value::Null);
    assert_eq!(code(&forged), "audience_missing");
    assert!(naive(&forged), "the control: the ordinary verifier does not miss it");
    assert!(naive(&with_claim("aud", json!({ "a": 1 }))), "nor mind its type");
}

#[test]
fn j11_times_are_in_their_window_to_the_second() {
    for (claim, value, expected) in [
        ("exp", json!(NOW - 29), None),
        ("exp", json!(NOW - 30), Some("token_expired")),
        ("exp", json!(NOW as f64 - 29.5), Some("token_expired")),
        ("exp", json!(NOW as f64 - 28.5), None),
        ("exp", json!(0), Some("token_expired")),
        ("exp", json!(-1), Some("expiry_invalid")),
        ("exp", json!(-0.5), Some("expiry_invalid")),
        ("exp", json!(1e300), Some("expiry_invalid")),
        ("exp", json!(u64::MAX), Some("expiry_invalid")),
        ("exp", json!(9_007_199_254_740_993_u64), Some("expiry_invalid")),
        ("nbf", json!(NOW + 30), None),
        ("nbf", json!(NOW + 31), Some("token_not_yet_valid")),
        ("nbf", json!(NOW as f64 + 30.5), Some("token_not_yet_valid")),
        ("nbf", json!(NOW as f64 + 29.5), None),
        ("nbf", json!(i64::MAX), Some("not_before_invalid")),
        ("nbf", json!(-5), Some("not_before_invalid")),
        ("iat", json!(NOW + 30), None),
        ("iat", json!(NOW + 31), Some("issued_in_future")),
        ("iat", json!(-5), Some("issued_at_invalid")),
        ("iat", json!(1e18), Some("issued_at_invalid")),
    ] {
        let outcome = examine(&with_claim(claim, value.clone())).map_err(|error| error.code());
        assert_eq!(outcome.err(), expected, "{claim}: {value}");
    }
    // The control: nbf is a day away, and the ordinary verifier does not look.
    assert!(naive(&with_claim("nbf", json!(NOW + 86_400))));
}

#[test]
fn j11_the_leeway_can_only_be_shortened() {
    let mut strict = config();
    strict.leeway_seconds = 0;
    let strict = compile(&[strict]);
    let at = |exp: u64| strict.examine(&with_claim("exp", json!(exp)), Timestamp(NOW));
    assert!(at(NOW + 1).is_ok());
    assert!(matches!(at(NOW).unwrap_err(), TokenError::Expired { .. }));
    let mut lax = config();
    lax.leeway_seconds = 31;
    assert!(TrustedIssuers::compile(&[lax], &[AUDIENCE.into()]).is_err());
}

#[test]
fn j12_no_token_lives_longer_than_its_issuer_may_let_it() {
    const DAY: u64 = 86_400;
    let lives = |iat: u64, exp: u64| {
        let claims = with(with(claims(), "iat", json!(iat)), "exp", json!(exp));
        examine(&KEY.sign(&header(), &claims)).map_err(|error| error.code())
    };
    assert!(lives(NOW, NOW + DAY).is_ok());
    assert_eq!(lives(NOW, NOW + DAY + 31).unwrap_err(), "lifetime_too_long");
    assert_eq!(lives(NOW, NOW + 30 * DAY).unwrap_err(), "lifetime_too_long");
    // Old and still running: a life is counted from its beginning.
    assert_eq!(lives(NOW - 20 * DAY, NOW + 60).unwrap_err(), "lifetime_too_long");
    // A few seconds too long count as leeway, and are not lived.
    assert_eq!(lives(NOW, NOW + DAY + 30).unwrap().expires_at.0, NOW + DAY);

    let mut patient = config();
    patient.max_lifetime_seconds = 31 * 86_400;
    let long = with_claim("exp", json!(NOW + 30 * DAY));
    assert!(compile(&[patient.clone()]).examine(&long, Timestamp(NOW)).is_ok());
    patient.max_lifetime_seconds += 1;
    assert!(TrustedIssuers::compile(&[patient], &[AUDIENCE.into()]).is_err());
}

#[test]
fn j13_duplicate_claims_are_refused() {
    let head = header().to_string();
    let honest = claims().to_string();
    for (twice, first) in [
        (r#""tid":"acme-7f3k","tid":"evil-0001""#, false),
        (r#""tid":"evil-0001","t\u0069d":"acme-7f3k""#, false),
        (r#""roles":["member"],"roles":["admin"]"#, true),
    ] {
        let name = if first { "roles" } else { "tid" };
        let without = with(claims(), name, Value::Null).to_string();
        let payload = without.replacen('{', &format!("{{{twice},"), 1);
        let forged = KEY.sign_bytes(head.as_bytes(), payload.as_bytes());
        assert_eq!(code(&forged), "json_duplicate_name", "{payload}");
        assert!(naive(&forged), "the control: the ordinary verifier reads one of the two");
    }
    assert!(examine(&KEY.sign_bytes(head.as_bytes(), honest.as_bytes())).is_ok());
}

#[test]
fn j10_claims_of_other_tokens_give_them_away() {
    for (claim, value) in [
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ("at_hash", json!("abc")),
        ("c_hash", json!("abc")),
    ] {
        assert_eq!(code(&with_claim(claim, value)), "claim_invalid", "{claim}");
    }
    // Unknown claims are no concern of ours.
    assert!(examine(&with_claim("favourite_colour", json!("blue"))).is_ok());
}

#[test]
fn j18_a_machines_subject_can_never_be_a_persons() {
    assert!(!examine(&with_claim("sub", json!("u:1"))).unwrap().machine);
    assert!(examine(&with_claim("sub", json!("m:1"))).unwrap().machine);
    for sub in ["1", "ada", "U:1", "M:1", "x:u:1", "machine", "m"] {
        assert_eq!(code(&with_claim("sub", json!(sub))), "principal_unclear", "{sub}");
    }
    for sub in ["u:\u{e9}", "u:a b", "u:a\0", &format!("u:{}", "x".repeat(254))] {
        assert_eq!(code(&with_claim("sub", json!(sub))), "subject_invalid", "{sub}");
    }
    assert_eq!(code(&with_claim("sub", json!(""))), "subject_invalid");
}

#[test]
fn errors_are_for_operators_and_carry_no_token() {
    let hostile = format!("https://evil\n2026-01-01 INFO admitted\u{1b}[31m{}", "x".repeat(5000));
    let forged = with_claim("iss", json!(hostile));
    let error = examine(&forged).unwrap_err();
    let message = error.to_string();
    assert!(!message.contains('\n') && !message.contains('\u{1b}'), "{message}");
    assert!(message.len() < 300, "{}", message.len());
    assert!(!message.contains(forged.split('.').next_back().unwrap()));
}

#[test]
fn a_configuration_is_refused_with_its_reason() {
    let compile = |json: Value| {
        let config: IssuerConfig = serde_json::from_value(json).map_err(|e| e.to_string())?;
        TrustedIssuers::compile(&[config], &[]).map(drop).map_err(|e| e.to_string())
    };
    let jwks = json!({ "inline": { "keys": [KEY.jwk()] } });
    let good = json!({ "issuer": ISSUER, "jwks": jwks, "audience": ["a"] });
    assert_eq!(compile(good.clone()), Ok(()));
    for (name, value, expected) in [
        ("issuers", json!(1), "unknown field `issuers`"),
        ("profile", json!("google"), "unknown variant `google`"),
        ("algorithms", json!(["HS256"]), "unknown variant `HS256`"),
        ("algorithms", json!(["none"]), "unknown variant `none`"),
        ("issuer", json!(""), "visible ASCII"),
        ("audience", Value::Null, "no audience"),
        ("audience", json!([""]), "no audience"),
        ("leeway_seconds", json!(60), "at most 30"),
        ("max_lifetime_seconds", json!(0), "from 1 to"),
        ("tenant", json!({ "claim": "groups", "prefix": "" }), "empty `prefix`"),
        ("tenant", json!({ "claim": [] }), "must be a name"),
        ("tenant", json!({ "claim": "a", "claims": "b" }), "unknown field"),
        ("profile", json!("generic"), "no tenant claim of its own"),
        ("aliases", json!({ "x": "Not An Id" }), "not a tenant id"),
        ("jwks", json!({ "url": "http://keys.example/" }), "https"),
        ("jwks", json!({ "url": "ftp://keys.example/" }), "https"),
        ("jwks", json!({ "url": "https://u:p@keys.example/" }), "https"),
        ("jwks", json!({ "url": "keys" }), "https"),
        ("jwks", json!({ "file": "/nonexistent/jwks.json" }), "/nonexistent/jwks.json"),
        ("jwks", json!({ "inline": {} }), "no array `keys`"),
        ("jwks", json!({ "inline": { "keys": [] } }), "no usable key"),
    ] {
        let refused = compile(with(good.clone(), name, value.clone())).unwrap_err();
        assert!(refused.contains(expected), "{name}: {value}: {refused}");
    }
    for url in ["https://keys.example/jwks", "http://127.0.0.1:8080/jwks", "http://localhost/"] {
        assert_eq!(compile(with(good.clone(), "jwks", json!({ "url": url }))), Ok(()), "{url}");
    }
    let twice = [config(), config()];
    let refused = TrustedIssuers::compile(&twice, &[AUDIENCE.into()]).unwrap_err();
    assert!(refused.to_string().contains("configured twice"));
}

#[test]
fn a_configuration_reads_the_same_from_toml_and_json() {
    let toml = r#"
        issuer = "https://id.example"
        profile = "keycloak"
        jwks = { url = "https://id.example/jwks" }
        audience = ["api"]
        algorithms = ["RS256", "PS256"]
        tenant = { claim = ["org", "id"], prefix = "t:" }
        roles = { claim = "https://id.example/roles" }
        aliases = { Acme = "acme-1" }
        tenants = ["acme-1"]
        leeway_seconds = 5
    "#;
    let from_toml: IssuerConfig = toml::from_str(toml).unwrap();
    let json = serde_json::to_string(&from_toml).unwrap();
    assert_eq!(serde_json::from_str::<IssuerConfig>(&json).unwrap(), from_toml);
    assert!(toml::from_str::<IssuerConfig>(&format!("{toml}\nleeway = 3")).is_err());
    let inline = format!(
        "issuer = \"https://id.example\"\n[jwks.inline]\nkeys = [{{ {} }}]",
        "kty = \"OKP\", crv = \"Ed25519\", x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\", kid = \"a\""
    );
    let inline: IssuerConfig = toml::from_str(&inline).unwrap();
    assert!(TrustedIssuers::compile(&[inline], &[AUDIENCE.into()]).is_ok());
}
