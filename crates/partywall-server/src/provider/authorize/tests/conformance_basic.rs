//! The modules of the OpenID conformance suite's Basic and Config plans for providers, as tests of
//! our own under their names. The suite itself needs a network, a browser and people who look at
//! screenshots; what it checks by requests is checked here by requests.
//!
//! Without a test of its own:
//! - `oidcc-idtoken-unsigned` wants a client that registered `id_token_signed_response_alg: none`.
//!   None can: see `oidcc_idtoken_signature`, where the metadata leaves it out.
//! - The screenshots of `oidcc-prompt-login`, `oidcc-max-age-1`, `oidcc-display-*` and
//!   `oidcc-ui-locales`: nobody looks at them here.
//!
//! Where the suite signs in on a page, the browser here has a session of somebody who did.

use super::*;
use crate::{
    login::session::{self, Browser},
    provider::{
        At,
        authorize::{Asker, AuthorizationRequest, complete, request},
        form::Form,
    },
};

async fn signed_in(scene: &Scene) -> String {
    scene.signed_in(&scene.user, &[Amr::Password]).await
}

/// The whole flow: the claims of the ID token, and the token response.
async fn happy(scene: &Scene, cookie: &str, with: With<'_>) -> (Value, Value) {
    let code = scene.authorize(cookie, with).await.code();
    let answer = scene.redeem(&code, &[]).await;
    (scene.claims(&text(&answer, "id_token")), answer)
}

/// What a request of this form leads to once its user has signed in on the page it led to.
async fn signs_in_again(scene: &Scene, with: With<'_>) -> Reply {
    let cookie = signed_in(scene).await;
    let mut headers = HeaderMap::new();
    headers.insert("cookie", cookie.parse().unwrap());
    let browser = Browser::of(&headers, crate::rate::Network::default());
    let control = &scene.control;
    let session = browser.session(control).await.unwrap().unwrap();
    let admitted = session::admit_session(control, &session, &scene.tenant).await.unwrap().unwrap();
    let sid = session::enter(control, &browser, &session, &admitted).await.unwrap();
    let request = read(scene, with).await;
    let response = complete(control, &At::shared(control), &request, &admitted, &sid).await;
    let (parts, _) = response.into_parts();
    Reply { status: parts.status, headers: parts.headers, body: String::new() }
}

pub(super) async fn read(scene: &Scene, with: With<'_>) -> AuthorizationRequest {
    let query = encode(&parameters(&scene.app, with));
    let form = Form::parse(query.as_bytes()).unwrap();
    let asker = Asker::of(&scene.control, &form).await.unwrap();
    request::read(&scene.control, &At::shared(&scene.control), &asker, &form).await.unwrap()
}

#[tokio::test]
async fn oidcc_server() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (id, answer) = happy(&scene, &cookie, &[]).await;
    assert_eq!(id["nonce"], "n");
    assert_eq!(answer["token_type"], "Bearer");
    let (_, info) = scene.user_info(&text(&answer, "access_token")).await;
    assert_eq!(info["sub"], id["sub"]);
}

#[tokio::test]
async fn oidcc_response_type_missing() {
    let scene = Scene::new().await;
    let reply = scene.authorize(&signed_in(&scene).await, &[("response_type", None)]).await;
    assert_eq!(reply.error(), "invalid_request");
}

#[tokio::test]
async fn oidcc_idtoken_signature() {
    let scene = Scene::new().await;
    let (_, answer) = happy(&scene, &signed_in(&scene).await, &[]).await;
    let id = text(&answer, "id_token");
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        serde_json::from_str::<Value>(&scene.reply(request).await.body).unwrap()
    };
    // With the published key, by its `kid`, and an algorithm the metadata names: RS256 where that
    // is configured, as the suite wants it.
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(get("/jwks").await).unwrap();
    let header = jsonwebtoken::decode_header(&id).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(header.alg);
    rules.validate_exp = false;
    rules.set_audience(&[scene.app.client_id.as_str()]);
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    jsonwebtoken::decode::<Value>(&id, &key, &rules).unwrap();
    let metadata = get("/.well-known/openid-configuration").await;
    assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256"]));
}

#[tokio::test]
async fn oidcc_userinfo_get() {
    let scene = Scene::new().await;
    let (id, answer) = happy(&scene, &signed_in(&scene).await, &[]).await;
    let (status, info) = scene.user_info(&text(&answer, "access_token")).await;
    assert_eq!((status, &info["sub"]), (StatusCode::OK, &id["sub"]));
}

#[tokio::test]
async fn oidcc_userinfo_post_header() {
    let scene = Scene::new().await;
    let (id, answer) = happy(&scene, &signed_in(&scene).await, &[]).await;
    let token = format!("Bearer {}", text(&answer, "access_token"));
    let request = Request::post("/userinfo").header("authorization", token);
    let reply = scene.reply(request.body(Body::empty()).unwrap()).await;
    let info: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &info["sub"]), (StatusCode::OK, &id["sub"]));
}

#[tokio::test]
async fn oidcc_userinfo_post_body() {
    let scene = Scene::new().await;
    let (id, answer) = happy(&scene, &signed_in(&scene).await, &[]).await;
    let form = format!("access_token={}", text(&answer, "access_token"));
    let (status, info) = scene.post("/userinfo", &form).await;
    assert_eq!((status, &info["sub"]), (StatusCode::OK, &id["sub"]));
}

#[tokio::test]
async fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow() {
    let scene = Scene::new().await;
    let (id, _) = happy(&scene, &signed_in(&scene).await, &[("nonce", None)]).await;
    assert!(id.get("nonce").is_none());
}

/// Asks for `scope`, and returns what UserInfo says.
async fn info_for(scope: &str) -> Value {
    let scene = Scene::new().await;
    let (_, answer) = happy(&scene, &signed_in(&scene).await, &[("scope", Some(scope))]).await;
    scene.user_info(&text(&answer, "access_token")).await.1
}

#[tokio::test]
async fn oidcc_scope_profile() {
    assert_eq!(info_for("openid profile").await["name"], "Ada");
}

#[tokio::test]
async fn oidcc_scope_email() {
    let info = info_for("openid email").await;
    assert_eq!((&info["email"], &info["email_verified"]), (&json!("ada@acme.test"), &json!(false)));
}

#[tokio::test]
async fn oidcc_scope_address() {
    // Not in `scopes_supported`; asked for, it does no harm.
    assert!(info_for("openid address").await.get("address").is_none());
}

#[tokio::test]
async fn oidcc_scope_phone() {
    assert!(info_for("openid phone").await.get("phone_number").is_none());
}

#[tokio::test]
async fn oidcc_scope_all() {
    let info = info_for("openid address email phone profile").await;
    assert_eq!((&info["name"], &info["email"]), (&json!("Ada"), &json!("ada@acme.test")));
}

#[tokio::test]
async fn oidcc_alternate_happy_flow() {
    let scene = Scene::new().await;
    let parameters = parameters(&scene.app, &[("scope", Some("email openid"))]);
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters.iter().rev() {
        query.append_pair(name, value);
    }
    let code = scene.ask(&signed_in(&scene).await, &query.finish()).await.code();
    assert_eq!(scene.redeem(&code, &[]).await["scope"], "email openid");
}

#[tokio::test]
async fn oidcc_display_page() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[("display", Some("page"))]).await;
}

#[tokio::test]
async fn oidcc_display_popup() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[("display", Some("popup"))]).await;
}

#[tokio::test]
async fn oidcc_prompt_login() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (first, _) = happy(&scene, &cookie, &[]).await;
    scene.advance(Duration::from_secs(1));
    let again = [("prompt", Some("login"))];
    let asked = scene.authorize(&cookie, &again).await;
    let location = asked.headers["location"].to_str().unwrap();
    assert!(!location.contains("code="), "without signing in: {location}");
    let code = signs_in_again(&scene, &again).await.code();
    let second = scene.claims(&text(&scene.redeem(&code, &[]).await, "id_token"));
    assert_eq!(first["sub"], second["sub"]);
    assert!(second["auth_time"].as_u64() > first["auth_time"].as_u64());
}

#[tokio::test]
async fn oidcc_prompt_none_not_logged_in() {
    let scene = Scene::new().await;
    assert_eq!(scene.authorize("", &[("prompt", Some("none"))]).await.error(), "login_required");
}

#[tokio::test]
async fn oidcc_prompt_none_logged_in() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (first, _) = happy(&scene, &cookie, &[]).await;
    scene.advance(Duration::from_secs(1));
    let (second, _) = happy(&scene, &cookie, &[("prompt", Some("none"))]).await;
    for claim in ["sub", "auth_time", "sid"] {
        assert_eq!(first[claim], second[claim], "{claim}");
    }
}

#[tokio::test]
async fn oidcc_max_age_1() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (first, _) = happy(&scene, &cookie, &[]).await;
    scene.advance(Duration::from_secs(1));
    let young = [("max_age", Some("1"))];
    let asked = scene.authorize(&cookie, &young).await;
    assert!(!asked.headers["location"].to_str().unwrap().contains("code="));
    let code = signs_in_again(&scene, &young).await.code();
    let second = scene.claims(&text(&scene.redeem(&code, &[]).await, "id_token"));
    assert!(second["auth_time"].as_u64() > first["auth_time"].as_u64());
}

#[tokio::test]
async fn oidcc_max_age_10000() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (first, _) = happy(&scene, &cookie, &[("max_age", Some("15000"))]).await;
    scene.advance(Duration::from_secs(1));
    let (second, _) = happy(&scene, &cookie, &[("max_age", Some("10000"))]).await;
    for claim in ["sub", "auth_time"] {
        assert_eq!(first[claim], second[claim], "{claim}");
    }
}

#[tokio::test]
async fn oidcc_ensure_request_with_unknown_parameter_succeeds() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[("extra", Some("foobar"))]).await;
}

#[tokio::test]
async fn oidcc_id_token_hint() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let (first, answer) = happy(&scene, &cookie, &[]).await;
    let hint = text(&answer, "id_token");
    let with = [("prompt", Some("none")), ("id_token_hint", Some(hint.as_str()))];
    let (second, _) = happy(&scene, &cookie, &with).await;
    assert_eq!(first["sub"], second["sub"]);
    assert_eq!(first["auth_time"], second["auth_time"]);
}

#[tokio::test]
async fn oidcc_login_hint() {
    let scene = Scene::new().await;
    for hint in ["buffy@id.test", "buffy"] {
        happy(&scene, &signed_in(&scene).await, &[("login_hint", Some(hint))]).await;
    }
    let request = read(&scene, &[("login_hint", Some("Buffy@id.test"))]).await;
    assert_eq!(request.login_hint.unwrap().as_str(), "buffy@id.test", "kept for the first page");
}

#[tokio::test]
async fn oidcc_ui_locales() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[("ui_locales", Some("se"))]).await;
}

#[tokio::test]
async fn oidcc_claims_locales() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[("claims_locales", Some("se"))]).await;
}

#[tokio::test]
async fn oidcc_ensure_request_with_acr_values_succeeds() {
    let scene = Scene::new().await;
    let wanted = [("acr_values", Some("urn:partywall:acr:1fa urn:partywall:acr:2fa phr"))];
    let (id, _) = happy(&scene, &signed_in(&scene).await, &wanted).await;
    assert_eq!(id["acr"], "urn:partywall:acr:1fa", "one of those asked for");
}

#[tokio::test]
async fn oidcc_codereuse() {
    let scene = Scene::new().await;
    let code = scene.code(&[]).await;
    assert!(scene.redeem(&code, &[]).await.get("access_token").is_some());
    assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
}

#[tokio::test]
async fn oidcc_codereuse_30seconds() {
    let scene = Scene::new().await;
    let code = scene.code(&[]).await;
    let token = text(&scene.redeem(&code, &[]).await, "access_token");
    assert_eq!(scene.user_info(&token).await.0, StatusCode::OK);
    scene.advance(Duration::from_secs(30));
    assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
    assert_eq!(scene.user_info(&token).await.0, StatusCode::UNAUTHORIZED, "it was revoked");
}

#[tokio::test]
async fn oidcc_ensure_registered_redirect_uri() {
    let scene = Scene::new().await;
    let cookie = signed_in(&scene).await;
    let other = format!("{CALLBACK}/other");
    assert!(scene.authorize(&cookie, &[("redirect_uri", Some(&other))]).await.is_a_page());
    // oidcc-redirect-uri-query-added and -query-mismatch, of the Dynamic plan.
    let added = format!("{CALLBACK}?foo=bar");
    assert!(scene.authorize(&cookie, &[("redirect_uri", Some(&added))]).await.is_a_page());
}

#[tokio::test]
async fn oidcc_ensure_post_request_succeeds() {
    let scene = Scene::new().await;
    let request = Request::post("/authorize")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", signed_in(&scene).await)
        .body(Body::from(encode(&parameters(&scene.app, &[]))))
        .unwrap();
    let code = scene.reply(request).await.code();
    assert!(scene.redeem(&code, &[]).await.get("id_token").is_some());
}

#[tokio::test]
async fn oidcc_server_client_secret_post() {
    let scene = Scene::new().await;
    let how = json!({ "authentication": "client_secret" });
    let app = testing::application(&scene.control, None, how).await;
    let secret = app.secret.as_ref().unwrap().expose();
    let code = scene.authorize_at(&app, &signed_in(&scene).await, &[]).await.code();
    let answer = scene.redeem_as(&app, &code, &[("client_secret", Some(secret))], &[]).await;
    assert_eq!(scene.claims(&text(&answer, "id_token"))["aud"], app.client_id.as_str());
}

#[tokio::test]
async fn oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported() {
    let scene = Scene::new().await;
    let with = [("request_uri", Some("https://app.test/request.jwt"))];
    let reply = scene.authorize(&signed_in(&scene).await, &with).await;
    assert_eq!(reply.error(), "request_uri_not_supported");
}

#[tokio::test]
async fn oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported() {
    let scene = Scene::new().await;
    let with = [("request", Some("eyJhbGciOiJub25lIn0.e30."))];
    let reply = scene.authorize(&signed_in(&scene).await, &with).await;
    assert_eq!(reply.error(), "request_not_supported");
}

#[tokio::test]
async fn oidcc_ensure_request_object_with_redirect_uri() {
    // The address in the object counts for nothing: none is taken, and nobody is sent there.
    let scene = Scene::new().await;
    let payload = Base64UrlUnpadded::encode_string(br#"{"redirect_uri":"https://evil.test/"}"#);
    let object = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let reply = scene.authorize(&signed_in(&scene).await, &[("request", Some(&object))]).await;
    assert_eq!(reply.error(), "request_not_supported");
}

#[tokio::test]
async fn oidcc_claims_essential() {
    let scene = Scene::new().await;
    let claims = json!({ "userinfo": { "name": { "essential": true } } }).to_string();
    let with = [("claims", Some(claims.as_str()))];
    let (_, answer) = happy(&scene, &signed_in(&scene).await, &with).await;
    assert_eq!(scene.user_info(&text(&answer, "access_token")).await.1["name"], "Ada");
}

#[tokio::test]
async fn oidcc_refresh_token() {
    let scene = Scene::new().await;
    let with = [("scope", Some("openid offline_access"))];
    let (id, answer) = happy(&scene, &signed_in(&scene).await, &with).await;
    let refresh = |token: String| {
        let client = &scene.app.client_id;
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        async move { form }
    };
    let form = refresh(text(&answer, "refresh_token")).await;
    let next = scene.post("/token", &form).await.1;
    assert_eq!(scene.claims(&text(&next, "access_token"))["sub"], id["sub"]);
    assert_ne!(next["access_token"], answer["access_token"]);
    // OIDC Core 12.2: where there is an ID token, it is about the same sign-in.
    if next.get("id_token").is_some() {
        let later = scene.claims(&text(&next, "id_token"));
        for claim in ["iss", "sub", "aud", "auth_time"] {
            assert_eq!(later[claim], id[claim], "{claim}");
        }
    }
}

#[tokio::test]
async fn oidcc_ensure_request_with_valid_pkce_succeeds() {
    let scene = Scene::new().await;
    happy(&scene, &signed_in(&scene).await, &[]).await;
}

#[tokio::test]
async fn oidcc_discovery_endpoint_verification() {
    let scene = Scene::new().await;
    let request = Request::get("/.well-known/openid-configuration").body(Body::empty()).unwrap();
    let reply = scene.reply(request).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers["content-type"], "application/json");
    let metadata: Value = serde_json::from_str(&reply.body).unwrap();
    // OIDC Discovery 3, 4.3.
    assert_eq!(metadata["issuer"], ISSUER);
    for required in [
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "scopes_supported",
        "claims_supported",
    ] {
        assert!(metadata.get(required).is_some(), "{required}");
    }
    for (name, value) in metadata.as_object().unwrap() {
        if name.ends_with("_endpoint") || name.ends_with("_uri") {
            assert!(value.as_str().unwrap().starts_with("https://"), "{name}");
        }
    }
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    assert_eq!(metadata["claims_parameter_supported"], true);
    assert_eq!(metadata["request_uri_parameter_supported"], false);
}
