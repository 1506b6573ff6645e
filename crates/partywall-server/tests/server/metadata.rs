//! Discovery and the key set.

use axum::http::StatusCode;

use crate::support::{ISSUER, Plane, TESTER};

#[tokio::test]
async fn o08_the_issuer_is_the_exact_prefix_of_everything_it_names() {
    let plane = Plane::new().await;
    let oidc = plane.get("/idp/.well-known/openid-configuration").await;
    let oauth = plane.get("/.well-known/oauth-authorization-server/idp").await;
    assert_eq!(oidc.body, oauth.body);
    let metadata = oidc.json();
    assert_eq!(metadata["issuer"], ISSUER);
    let addresses = metadata
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
    for (_, url) in addresses {
        let url = url.as_str().unwrap();
        let path = url.strip_prefix("https://id.test").unwrap();
        assert!(url.starts_with(&format!("{ISSUER}/")), "{url}");
        assert_ne!(plane.get(path).await.status, StatusCode::NOT_FOUND, "{url} is not there");
    }
    for elsewhere in [
        "/.well-known/openid-configuration",
        "/token",
        "/jwks",
        "/idp/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(plane.get(elsewhere).await.status, StatusCode::NOT_FOUND, "{elsewhere}");
    }
}

/// T-01: a host selects, and grants nothing.
#[tokio::test]
async fn t01_a_tenants_host_leads_to_the_issuer_with_the_tenants_name() {
    let plane = Plane::with(|config| {
        config.tenant_hosts = Some("{tenant}.login.test".parse().unwrap());
    })
    .await;
    let asked = async |host: &str, query: &str| {
        let request = axum::http::Request::get(format!("/idp/authorize?{query}"));
        plane.send(request.header("host", host).body("".into()).unwrap()).await
    };
    let reply = asked("acme.login.test:443", "client_id=x&state=s").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(
        reply.headers["location"],
        format!("{ISSUER}/authorize?client_id=x&state=s&tenant=acme")
    );
    let reply = asked("acme.login.test", "client_id=x&tenant=acme").await;
    assert_eq!(reply.headers["location"], format!("{ISSUER}/authorize?client_id=x&tenant=acme"));
    // Another one beside it: two of the same name, which the endpoint refuses.
    let reply = asked("acme.login.test", "client_id=x&tenant=bond").await;
    let twice = format!("{ISSUER}/authorize?client_id=x&tenant=bond&tenant=acme");
    assert_eq!(reply.headers["location"], twice);
    assert_eq!(asked("id.test", "client_id=x&tenant=bond&tenant=acme").await.status, 400);
    for host in ["id.test", "login.test", "evil.test", "x.acme.login.test"] {
        assert_eq!(asked(host, "client_id=x").await.status, 400, "{host} is answered here");
    }
}

/// Nobody registers a client of their own: the metadata offers none, and nothing answers.
#[tokio::test]
async fn o18_there_is_no_dynamic_registration() {
    let plane = Plane::new().await;
    let metadata = plane.get("/idp/.well-known/openid-configuration").await.json();
    assert_eq!(metadata.get("registration_endpoint"), None);
    for path in ["/register", "/registration", "/connect/register", "/clients"] {
        let request = axum::http::Request::post(format!("/idp{path}"))
            .header("content-type", "application/json")
            .body(r#"{"redirect_uris":["https://app.test/cb"]}"#.into())
            .unwrap();
        assert_eq!(plane.send(request).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn o08_an_issuer_without_a_path_answers_at_the_root() {
    let plane =
        Plane::with(|config| config.issuer = "http://127.0.0.1:8080".parse().unwrap()).await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let metadata = plane.get(path).await.json();
        assert_eq!(metadata["issuer"], "http://127.0.0.1:8080");
        assert_eq!(metadata["token_endpoint"], "http://127.0.0.1:8080/token");
    }
}

/// What clients may sign with. Where `private_key_jwt` is, RFC 8414 2 wants them named.
const ALGORITHMS: [&str; 5] = ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"];

#[tokio::test]
async fn metadata_names_what_exists_and_nothing_else() {
    let plane = Plane::new().await;
    let metadata = plane.get("/idp/.well-known/openid-configuration").await.json();
    let expected = serde_json::json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://id.test/idp/authorize",
        "token_endpoint": "https://id.test/idp/token",
        "end_session_endpoint": "https://id.test/idp/end-session",
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "userinfo_endpoint": "https://id.test/idp/userinfo",
        "pushed_authorization_request_endpoint": "https://id.test/idp/par",
        "jwks_uri": "https://id.test/idp/jwks",
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "device_authorization_endpoint": "https://id.test/idp/device_authorization",
        "introspection_endpoint": "https://id.test/idp/introspect",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "revocation_endpoint": "https://id.test/idp/revoke",
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "acr_values_supported": ["urn:partywall:acr:1fa", "urn:partywall:acr:2fa", "phr"],
        "claim_types_supported": ["normal"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "tid",
            "name", "updated_at", "email", "email_verified",
        ],
        "claims_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    assert_eq!(metadata, expected);
}

#[tokio::test]
async fn i11_the_key_set_may_be_cached_and_says_when_it_changed() {
    let plane = Plane::new().await;
    let jwks = plane.get("/idp/jwks").await;
    assert_eq!(jwks.status, StatusCode::OK);
    assert_eq!(jwks.header("cache-control"), "public, max-age=300");
    let etag = jwks.header("etag");
    let same = plane.get_if_none_match("/idp/jwks", etag).await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    assert!(same.body.is_empty());
    assert_eq!(plane.get_if_none_match("/idp/jwks", "\"other\"").await.status, StatusCode::OK);

    plane.control.begin_key_rotation(&TESTER).await.unwrap();
    let changed = plane.get_if_none_match("/idp/jwks", etag).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.json()["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn p06_the_key_set_has_no_private_member() {
    let plane =
        Plane::with(|config| config.keys.algorithm = partywall_server::SigningAlgorithm::Rs256)
            .await;
    for key in plane.get("/idp/jwks").await.json()["keys"].as_array().unwrap() {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
    }
}

#[tokio::test]
async fn l05_errors_are_generic_and_carry_a_request_id() {
    let plane = Plane::new().await;
    let reply = plane.get("/nowhere").await;
    let id = reply.header("x-request-id");
    assert_eq!(id.len(), 26);
    assert_eq!(reply.json(), serde_json::json!({ "error": "not_found", "request_id": id }));
    assert_ne!(plane.get("/nowhere").await.header("x-request-id"), id);
}
