//! Discovery documents and key sets that are wrong, huge, slow, or come and go.

use super::*;

type Answer = (StatusCode, &'static str, Vec<u8>);

const JSON: &str = "application/json";

fn ok(json: impl Into<Vec<u8>>) -> Answer {
    (StatusCode::OK, JSON, json.into())
}

#[tokio::test]
async fn i27_a_discovery_document_is_the_issuers_own() {
    let idp = Idp::new().await;
    for (changed, rule) in [
        (json!({}), "came in"),
        (json!({ "issuer": "https://evil.test" }), "discovery_invalid"),
        (json!({ "issuer": format!("{}/", idp.issuer) }), "discovery_invalid"),
        (json!({ "issuer": idp.issuer.to_uppercase() }), "discovery_invalid"),
        (json!({ "issuer": [idp.issuer] }), "discovery_invalid"),
        (json!({ "token_endpoint": null }), "discovery_invalid"),
        (json!({ "token_endpoint": "/token" }), "discovery_invalid"),
        (json!({ "jwks_uri": "file:///etc/passwd" }), "discovery_invalid"),
        (json!({ "authorization_endpoint": "javascript:alert(1)" }), "discovery_invalid"),
        (
            json!({ "token_endpoint": format!("{}/{}", idp.issuer, "x".repeat(2048)) }),
            "discovery_invalid",
        ),
    ] {
        idp.mind().metadata = changed.clone();
        assert_eq!(Registered::with(&idp).rule(&idp).await, rule, "{changed}");
    }
    let answers: [(Answer, &str); 8] = [
        ((StatusCode::FOUND, JSON, vec![]), "discovery_unreachable"),
        ((StatusCode::NOT_FOUND, JSON, vec![]), "discovery_unreachable"),
        ((StatusCode::INTERNAL_SERVER_ERROR, JSON, vec![]), "discovery_unreachable"),
        ((StatusCode::OK, "text/html", b"<!doctype html>".to_vec()), "discovery_unreachable"),
        (ok("<!doctype html>"), "discovery_invalid"),
        (ok("{"), "discovery_invalid"),
        (ok(format!("{{\"issuer\":\"{0}\",\"issuer\":\"{0}\"}}", idp.issuer)), "discovery_invalid"),
        (ok(vec![b' '; 600 * 1024]), "discovery_unreachable"),
    ];
    idp.mind().metadata = json!({});
    for (answer, rule) in answers {
        idp.mind().instead.insert(METADATA, answer);
        assert_eq!(Registered::with(&idp).rule(&idp).await, rule);
    }
}

#[tokio::test]
async fn b29_what_a_document_names_is_judged_like_what_an_administrator_types() {
    let document = |name: &str, address: &str| {
        let mut all = json!({
            "issuer": "https://id.example", "authorization_endpoint": "https://id.example/a",
            "token_endpoint": "https://id.example/t", "jwks_uri": "https://id.example/k",
            "userinfo_endpoint": "https://id.example/u",
        });
        all[name] = address.into();
        let public_only = Outbound::new(false).reach();
        Metadata::read(all.to_string().as_bytes(), "https://id.example", public_only)
    };
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
        assert!(document(name, "https://elsewhere.example/x").is_ok(), "{name}");
        for inside in [
            "http://id.example/x",
            "https://127.0.0.1/x",
            "https://0x7f.1/x",
            "https://169.254.169.254/latest/meta-data/",
            "https://[::ffff:10.0.0.1]/x",
            "https://user@id.example/x",
            "https://id.example:25/x",
            "https://id.example/x#y",
        ] {
            assert!(document(name, inside).is_err(), "{name}: {inside}");
        }
    }
}

#[tokio::test]
async fn r09_the_last_good_documents_stay() {
    let idp = Idp::new().await;
    let many = |count: usize| {
        let key = idp.mind().keys[0].public_jwk();
        let keys: Vec<_> = (0..count)
            .map(|n| {
                let mut key = key.clone();
                key["kid"] = n.to_string().into();
                key
            })
            .collect();
        json!({ "keys": keys }).to_string()
    };
    let too_many = many(101);
    for answer in [
        ok("{\"keys\":[]}"),
        ok(too_many),
        ok("{}"),
        ok("not json"),
        ok("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
        (StatusCode::OK, "text/html", b"<html>".to_vec()),
        (StatusCode::FOUND, JSON, vec![]),
        ok(vec![b' '; 600 * 1024]),
    ] {
        let fresh = Registered::with(&idp);
        assert_eq!(fresh.rule(&idp).await, "came in");
        idp.mind().instead.insert(KEYS, answer.clone());
        idp.mind().instead.insert(METADATA, answer);
        tokio::time::pause();
        // Both are too old now, and cannot be had anew.
        tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
        tokio::time::resume();
        assert_eq!(fresh.rule(&idp).await, "came in");
        let newcomer = Registered::with(&idp).rule(&idp).await;
        assert!(newcomer.starts_with("discovery_"), "{newcomer}");
        idp.mind().instead.clear();
    }
}

#[tokio::test]
async fn f08_keys_change_a_moment_before_they_sign() {
    use partywall::token::{Algorithm, SigningKey};

    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    assert_eq!(acme.rule(&idp).await, "came in");
    assert_eq!(acme.rule(&idp).await, "came in");
    assert_eq!((idp.times_asked(METADATA), idp.times_asked(KEYS)), (1, 1));
    for _ in 0..3 {
        let new = SigningKey::generate(Algorithm::Es256).unwrap();
        idp.mind().keys = vec![new];
        assert_eq!(acme.rule(&idp).await, "came in");
    }
    assert_eq!(idp.times_asked(KEYS), 4);
    // Old and new side by side, signed by either.
    let new = SigningKey::generate(Algorithm::EdDsa).unwrap();
    idp.mind().keys.push(new);
    assert_eq!(acme.rule(&idp).await, "came in");
    idp.mind().keys.swap(0, 1);
    assert_eq!(acme.rule(&idp).await, "came in");
}

#[tokio::test]
async fn r10_unknown_keys_cost_six_fetches_a_minute_and_no_good_key() {
    use partywall::token::{Algorithm, SigningKey};

    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    assert_eq!(acme.rule(&idp).await, "came in");
    let known = idp.mind().keys.remove(0);
    let published = json!({ "keys": [known.public_jwk()] }).to_string();
    idp.mind().instead.insert(KEYS, ok(published));
    for _ in 0..60 {
        idp.mind().keys = vec![SigningKey::generate(Algorithm::Es256).unwrap()];
        assert_eq!(acme.rule(&idp).await, "key_unknown");
    }
    assert_eq!(idp.times_asked(KEYS), 6);
    idp.mind().keys = vec![known];
    assert_eq!(acme.rule(&idp).await, "came in");
}

#[tokio::test]
async fn r10_a_hundred_sign_ins_at_once_fetch_each_document_once() {
    let idp = Arc::new(Idp::new().await);
    let acme = Arc::new(Registered::with(&idp));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (idp, acme) = (Arc::clone(&idp), Arc::clone(&acme));
        all.spawn(async move { acme.rule(&idp).await });
    }
    assert!(all.join_all().await.into_iter().all(|came| came == "came in"));
    assert_eq!((idp.times_asked(METADATA), idp.times_asked(KEYS)), (1, 1));
}

#[tokio::test]
async fn r38_a_provider_that_is_down_is_down_for_its_own_connection() {
    let (down, up) = (Idp::new().await, Idp::new().await);
    let acme = Registered::with(&down);
    let bond = Registered {
        oidc: Arc::clone(&acme.oidc),
        tenant: "bond".parse().unwrap(),
        ..Registered::with(&up)
    };
    assert_eq!((acme.rule(&down).await, bond.rule(&up).await), ("came in", "came in"));
    let failing = (StatusCode::SERVICE_UNAVAILABLE, JSON, vec![]);
    down.mind().instead.insert(TOKEN, failing);
    for _ in 0..5 {
        let refused = acme.sign_in(&down).await.unwrap_err();
        assert_eq!(refused.rule(), "token_endpoint_unreachable");
        assert!(refused.is_ours());
    }
    // After three it is left alone.
    assert_eq!(down.times_asked(TOKEN), 1 + 3);
    assert_eq!(bond.rule(&up).await, "came in");
}

#[tokio::test]
async fn f05_setting_up_says_what_would_be_trusted() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    let trusted = acme.oidc.check(&acme.tenant, &acme.provider).await.unwrap();
    assert_eq!(trusted.issuer, idp.issuer);
    assert_eq!(trusted.jwks_uri, format!("{}/jwks", idp.issuer));
    let jwk = idp.mind().keys[0].public_jwk();
    assert_eq!(trusted.keys.len(), 1);
    assert_eq!(trusted.keys[0].kid.as_deref(), jwk["kid"].as_str());
    assert_eq!(trusted.keys[0].thumbprint, jwk["kid"].as_str().unwrap());
    assert!(trusted.remarks.is_empty(), "{:?}", trusted.remarks);
    idp.mind().metadata = json!({
        "authorization_response_iss_parameter_supported": false,
        "id_token_signing_alg_values_supported": ["HS256", "RS384"],
        "code_challenge_methods_supported": ["plain"],
    });
    let worse = acme.oidc.check(&acme.tenant, &acme.provider).await.unwrap();
    assert_eq!(worse.remarks.len(), 2, "{:?}", worse.remarks);
    idp.mind().metadata = json!({ "issuer": "https://evil.test" });
    let refused = acme.oidc.check(&acme.tenant, &acme.provider).await.unwrap_err();
    assert!(refused.to_string().contains("https://evil.test"), "{refused}");
}
