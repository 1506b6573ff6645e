//! The code flow as requests, from a browser that has signed in already.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use http_body_util::BodyExt;
use partywall::TenantStatus;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    ApplicationCredentials, User, UserStatus,
    login::Amr,
    provider::testing::{self, ISSUER, Scene, Signer},
    storage::users,
};

mod conformance_basic;
mod conformance_logout;
mod crash;
mod elsewhere;
mod equal;
mod logout;
mod nodes;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://app.test/cb";

/// Parameters by name: one that is `None` is left out.
type With<'w> = &'w [(&'w str, Option<&'w str>)];

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// What came back to the application.
    fn parameters(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        let location = self.headers["location"].to_str().unwrap();
        let (address, query) = location.split_once('?').unwrap();
        assert_eq!(address, CALLBACK);
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn error(&self) -> String {
        let parameters = self.parameters();
        assert_eq!(parameters["iss"], ISSUER, "errors name the issuer too");
        assert_eq!(parameters["state"], "s");
        assert!(!parameters.contains_key("code"));
        parameters["error"].clone()
    }

    fn code(&self) -> String {
        let parameters = self.parameters();
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        assert_eq!(names, ["code", "iss", "state"], "{parameters:?}");
        assert_eq!((&*parameters["iss"], &*parameters["state"]), (ISSUER, "s"));
        parameters["code"].clone()
    }

    /// A page, and no way on.
    fn is_a_page(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST
            && !self.headers.contains_key("location")
            && self.body.starts_with("<!doctype html>")
            && fits_a_small_screen(&self.body)
            && self.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("frame-ancestors 'none'")
    }
}

fn fits_a_small_screen(page: &str) -> bool {
    page.contains(r#"<meta name="viewport" content="width=device-width"#)
}

fn encode(parameters: &BTreeMap<String, String>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn parameters(client: &ApplicationCredentials, with: With<'_>) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = [
        ("client_id", client.client_id.as_str()),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid invoices:read"),
        ("state", "s"),
        ("nonce", "n"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in with {
        parameters.remove(*name);
        parameters.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    parameters
}

impl Scene {
    async fn authorize(&self, cookie: &str, with: With<'_>) -> Reply {
        self.authorize_at(&self.app, cookie, with).await
    }

    async fn authorize_at(
        &self,
        client: &ApplicationCredentials,
        cookie: &str,
        with: With<'_>,
    ) -> Reply {
        self.ask(cookie, &encode(&parameters(client, with))).await
    }

    async fn ask(&self, cookie: &str, query: &str) -> Reply {
        let request = Request::get(format!("/authorize?{query}")).header("cookie", cookie);
        self.reply(request.body(Body::empty()).unwrap()).await
    }

    async fn reply(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn redeem(&self, code: &str, with: With<'_>) -> Value {
        self.redeem_as(&self.app, code, with, &[]).await
    }

    async fn redeem_as(
        &self,
        client: &ApplicationCredentials,
        code: &str,
        with: With<'_>,
        headers: &[(&str, String)],
    ) -> Value {
        let mut form: BTreeMap<String, String> = [
            ("grant_type", "authorization_code"),
            ("client_id", client.client_id.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in with {
            form.remove(*name);
            form.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
        }
        self.post_with("/token", &encode(&form), headers).await.1
    }

    /// A code by the shortest way.
    async fn code(&self, with: With<'_>) -> String {
        let cookie = self.signed_in(&self.user, &[Amr::Password]).await;
        self.authorize(&cookie, with).await.code()
    }

    async fn user_info(&self, token: &str) -> (StatusCode, Value) {
        self.user_info_with(&[("authorization", format!("Bearer {token}"))]).await
    }

    async fn user_info_with(&self, headers: &[(&str, String)]) -> (StatusCode, Value) {
        let mut request = Request::get("/userinfo");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let reply = self.reply(request.body(Body::empty()).unwrap()).await;
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
}

#[tokio::test]
async fn o09_a_code_becomes_an_access_token_and_an_id_token() {
    let scene = Scene::new().await;
    let offline = [("scope", Some("openid invoices:read offline_access"))];
    let answer = scene.redeem(&scene.code(&offline).await, &[]).await;
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "invoices:read offline_access openid");
    let access = text(&answer, "access_token");
    assert_eq!(scene.refusal(&access).await, None);
    let (of_access, of_id) = (scene.claims(&access), scene.claims(&text(&answer, "id_token")));
    // I-05, I-06, J-17.
    assert_eq!(of_access["tid"], scene.tenant.as_str());
    assert_eq!(of_access["sub"], scene.user.id.as_str());
    assert_eq!(of_access["client_id"], scene.app.client_id.as_str());
    assert_eq!(of_access["aud"], "https://api.test");
    assert_eq!(of_access["roles"], json!(["clerk"]));
    assert_eq!(of_access["amr"], json!(["pwd"]));
    for name in ["iss", "exp", "iat", "jti", "auth_time", "acr", "sid", "tep"] {
        assert!(of_access.get(name).is_some(), "{name}");
    }
    // OIDC Core 2, 3.1.3.7.
    assert_eq!(of_id["iss"], ISSUER);
    assert_eq!(of_id["sub"], of_access["sub"]);
    assert_eq!(of_id["aud"], scene.app.client_id.as_str());
    assert_eq!(of_id["nonce"], "n");
    assert_eq!(of_id["sid"], of_access["sid"]);
    assert_eq!(of_id["tid"], scene.tenant.as_str());
    assert_eq!(of_id["acr"], "urn:partywall:acr:1fa");
    assert_eq!(of_id["auth_time"], of_access["auth_time"]);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access.as_bytes());
    assert_eq!(of_id["at_hash"], Base64UrlUnpadded::encode_string(&hash.as_ref()[..16]));
    // No enforcement point takes it for an access token (J-10).
    assert_eq!(scene.refusal(&text(&answer, "id_token")).await, Some("type_not_accepted"));
    let refreshed = format!(
        "grant_type=refresh_token&client_id={}&refresh_token={}",
        scene.app.client_id,
        text(&answer, "refresh_token")
    );
    assert!(scene.post("/token", &refreshed).await.1.get("access_token").is_some());
}

#[tokio::test]
async fn o01_an_address_that_is_not_registered_gets_nothing() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    for address in [
        None,
        Some("https://app.test/cb/"),
        Some("https://app.test/cb?x=1"),
        Some("https://app.test/CB"),
        Some("https://app.test:443/cb"),
        Some("http://app.test/cb"),
        Some("https://app.test.evil.test/cb"),
        Some("https://app.test/cb#x"),
        Some("https://app.test/%63b"),
        Some("https://evil.test/"),
        Some("javascript:alert(1)"),
    ] {
        let reply = scene.authorize(&cookie, &[("redirect_uri", address)]).await;
        assert!(reply.is_a_page(), "{address:?}: {} {}", reply.status, reply.body);
    }
    for client in [None, Some("app-aaaaaaaaaaaaaaaaaaaaaaaaaa"), Some("<script>")] {
        let reply = scene.authorize(&cookie, &[("client_id", client)]).await;
        assert!(reply.is_a_page(), "{client:?}");
    }
    scene.authorize(&cookie, &[]).await.code();
}

#[tokio::test]
async fn o02_without_s256_there_is_no_code() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    for with in [
        [("code_challenge", None), ("code_challenge_method", None)],
        [("code_challenge", None), ("code_challenge_method", Some("S256"))],
        [("code_challenge", Some(VERIFIER)), ("code_challenge_method", Some("plain"))],
        [("code_challenge", Some(CHALLENGE)), ("code_challenge_method", None)],
        [("code_challenge", Some(CHALLENGE)), ("code_challenge_method", Some("s256"))],
        [("code_challenge", Some("short")), ("code_challenge_method", Some("S256"))],
    ] {
        assert_eq!(scene.authorize(&cookie, &with).await.error(), "invalid_request", "{with:?}");
    }
    for verifier in [None, Some(""), Some(CHALLENGE), Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r")] {
        let code = scene.authorize(&cookie, &[]).await.code();
        let answer = scene.redeem(&code, &[("code_verifier", verifier)]).await;
        assert_eq!(answer["error"], "invalid_grant", "{verifier:?}");
        // And the code is gone: nobody tries another.
        assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
    }
    let code = scene.authorize(&cookie, &[]).await.code();
    assert!(scene.redeem(&code, &[]).await.get("access_token").is_some());
}

#[tokio::test]
async fn o03_a_code_used_twice_ends_what_it_led_to() {
    let scene = Scene::new().await;
    let code = scene.code(&[("scope", Some("openid offline_access"))]).await;
    let answer = scene.redeem(&code, &[]).await;
    let (access, refresh) = (text(&answer, "access_token"), text(&answer, "refresh_token"));
    assert_eq!(scene.refusal(&access).await, None);
    assert_eq!(scene.user_info(&access).await.0, StatusCode::OK);
    scene.advance(Duration::from_secs(30));
    assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
    assert_eq!(scene.refusal(&access).await, Some("revoked"));
    assert_eq!(scene.user_info(&access).await.0, StatusCode::UNAUTHORIZED);
    let form = format!(
        "grant_type=refresh_token&client_id={}&refresh_token={refresh}",
        scene.app.client_id
    );
    assert_eq!(scene.post("/token", &form).await.1["error"], "invalid_grant");
    assert_eq!(scene.security_events().await, ["grant.end code_reused"]);
    // One without a refresh token, too.
    let code = scene.code(&[]).await;
    let access = text(&scene.redeem(&code, &[]).await, "access_token");
    assert_eq!(scene.refusal(&access).await, None);
    assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
    assert_eq!(scene.refusal(&access).await, Some("revoked"));
}

#[tokio::test]
async fn o03_a_code_is_good_for_a_minute() {
    let scene = Scene::new().await;
    let (early, late) = (scene.code(&[]).await, scene.code(&[]).await);
    scene.advance(Duration::from_secs(59));
    assert!(scene.redeem(&early, &[]).await.get("access_token").is_some());
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.redeem(&late, &[]).await["error"], "invalid_grant");
}

#[tokio::test]
async fn o03_of_a_hundred_redemptions_at_once_one_succeeds() {
    let scene = std::sync::Arc::new(Scene::new().await);
    let code = scene.code(&[("scope", Some("openid offline_access"))]).await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (scene, code) = (std::sync::Arc::clone(&scene), code.clone());
        all.spawn(async move { scene.redeem(&code, &[]).await });
    }
    let answers = all.join_all().await;
    let good: Vec<_> =
        answers.iter().filter(|answer| answer.get("access_token").is_some()).collect();
    assert_eq!(good.len(), 1);
    let others = answers.iter().filter(|answer| answer["error"] == "invalid_grant").count();
    assert_eq!(others, 99);
    // Whoever came second ended it all.
    assert_eq!(scene.refusal(&text(good[0], "access_token")).await, Some("revoked"));
    assert!(scene.grants().await.is_empty(), "no family is left");
}

#[tokio::test]
async fn o04_a_code_is_bound_to_all_it_was_made_for() {
    let scene = Scene::new().await;
    let other = scene.another_app().await;
    let swapped: [(&str, Option<&str>); 3] = [
        ("redirect_uri", Some("https://app.test/other")),
        ("redirect_uri", None),
        ("client_id", Some(other.client_id.as_str())),
    ];
    for with in swapped {
        let code = scene.code(&[]).await;
        assert_eq!(scene.redeem(&code, &[with]).await["error"], "invalid_grant", "{with:?}");
    }
    // Another tenant: its drawer is empty.
    let bond = testing::tenant(&scene.control, "bond").await;
    let code = scene.code(&[]).await;
    let elsewhere = code.replace(scene.tenant.as_str(), bond.as_str());
    assert_ne!(elsewhere, code);
    assert_eq!(scene.redeem(&elsewhere, &[]).await["error"], "invalid_grant");
    assert!(scene.redeem(&code, &[]).await.get("access_token").is_some(), "the control");
    for garbage in ["x", "pwc_x", "pwc_x.acme", "pwc_.", &code[4..]] {
        assert_eq!(scene.redeem(garbage, &[]).await["error"], "invalid_grant", "{garbage}");
    }
}

#[tokio::test]
async fn o04_a_code_dies_with_its_session_its_user_and_its_tenant() {
    let scene = Scene::new().await;
    let db = scene.control.inner.db.reader();
    let (ended, of_user, of_tenant) =
        (scene.code(&[]).await, scene.code(&[]).await, scene.code(&[]).await);
    let now = partywall::Clock::now(&*scene.clock);
    let live =
        crate::storage::sessions::live_of_user(db, &scene.tenant, &scene.user.id, None, 10, now)
            .await
            .unwrap();
    assert_eq!(live.len(), 3);
    for session in &live {
        crate::storage::sessions::end_proof(db, &scene.tenant, &session.sid, now).await.unwrap();
    }
    assert_eq!(scene.redeem(&ended, &[]).await["error"], "invalid_grant");
    let mut user = scene.user.clone();
    user.status = UserStatus::Suspended;
    user.version += 1;
    assert!(users::update(db, &user).await.unwrap());
    assert_eq!(scene.redeem(&of_user, &[]).await["error"], "invalid_grant");
    user.status = UserStatus::Active;
    user.version += 1;
    assert!(users::update(db, &user).await.unwrap());
    scene.set_status(TenantStatus::Suspended).await;
    assert_eq!(scene.redeem(&of_tenant, &[]).await["error"], "invalid_grant");
    scene.set_status(TenantStatus::Active).await;
    assert!(scene.redeem(&scene.code(&[]).await, &[]).await.get("access_token").is_some());
}

#[tokio::test]
async fn o04_a_code_bound_to_a_key_wants_that_key() {
    let scene = Scene::new().await;
    let (key, thief) = (Signer::new(), Signer::new());
    let jkt = key.thumbprint();
    let bound = [("dpop_jkt", Some(jkt.as_str()))];
    let proof = |key: &Signer, id: &str| [("dpop", scene.dpop_proof(key, "/token", id))];
    let app = &scene.app;
    assert_eq!(scene.redeem(&scene.code(&bound).await, &[]).await["error"], "invalid_grant");
    let by_thief = scene.redeem_as(app, &scene.code(&bound).await, &[], &proof(&thief, "1")).await;
    assert_eq!(by_thief["error"], "invalid_grant");
    let answer = scene.redeem_as(app, &scene.code(&bound).await, &[], &proof(&key, "2")).await;
    assert_eq!(answer["token_type"], "DPoP");
    let access = text(&answer, "access_token");
    assert_eq!(scene.claims(&access)["cnf"]["jkt"], jkt);
    // RFC 9449 7.2: at UserInfo it is no bearer token.
    assert_eq!(scene.user_info(&access).await.0, StatusCode::UNAUTHORIZED);
    let ath = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access.as_bytes());
    let claims = json!({
        "jti": "3", "htm": "GET", "htu": format!("{ISSUER}/userinfo"),
        "iat": partywall::Clock::now(&*scene.clock).0,
        "ath": Base64UrlUnpadded::encode_string(ath.as_ref()),
    });
    let sign = |key: &Signer| {
        key.sign(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk() }), &claims)
    };
    let with = async |proof| {
        let token = ("authorization", format!("DPoP {access}"));
        scene.user_info_with(&[token, ("dpop", proof)]).await.0
    };
    assert_eq!(with(sign(&thief)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(with(sign(&key)).await, StatusCode::OK);
    assert_eq!(with(sign(&key)).await, StatusCode::UNAUTHORIZED, "replayed");
}

#[tokio::test]
async fn o05_only_codes_are_given_out() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    for kind in ["token", "id_token", "code id_token", "code token", "none", "CODE"] {
        let reply = scene.authorize(&cookie, &[("response_type", Some(kind))]).await;
        assert_eq!(reply.error(), "unsupported_response_type", "{kind}");
    }
    for (with, error) in [
        (("response_type", None), "invalid_request"),
        (("request", Some("e30.e30.")), "request_not_supported"),
        (("request_uri", Some("https://app.test/r")), "request_uri_not_supported"),
        (("registration", Some("{}")), "registration_not_supported"),
        (("response_mode", Some("fragment")), "invalid_request"),
        (("scope", Some("openid admin")), "invalid_scope"),
        (("resource", Some("https://evil.test")), "invalid_target"),
        (("prompt", Some("none login")), "invalid_request"),
        (("prompt", Some("create")), "invalid_request"),
        (("max_age", Some("-1")), "invalid_request"),
        (("max_age", Some("+1")), "invalid_request"),
        (("claims", Some("[")), "invalid_request"),
        (("id_token_hint", Some("a.b.c")), "invalid_request"),
        (("dpop_jkt", Some("x")), "invalid_request"),
        (("nonce", Some("a\nb")), "invalid_request"),
        (("tenant", Some("Not A Tenant")), "invalid_request"),
    ] {
        assert_eq!(scene.authorize(&cookie, &[with]).await.error(), error, "{with:?}");
    }
    // RFC 6749 3.1: a parameter twice.
    let twice = format!("{}&nonce=m", encode(&parameters(&scene.app, &[])));
    assert!(scene.ask(&cookie, &twice).await.is_a_page());
    scene.authorize(&cookie, &[("extra", Some("foobar"))]).await.code();
}

#[tokio::test]
async fn o07_a_form_post_names_the_issuer_and_runs_one_script() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let with =
        [("response_mode", Some("form_post")), ("state", Some("\"><script>alert(1)</script>"))];
    let reply = scene.authorize(&cookie, &with).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.body.contains(r#"<form method="post" action="https://app.test/cb">"#));
    // What a reader of the page is led to (WCAG 2.2, 1.3.1).
    assert!(reply.body.contains("<main>\n<h1>Signing in</h1>"), "{}", reply.body);
    assert!(fits_a_small_screen(&reply.body), "{}", reply.body);
    assert!(reply.body.contains(r#"name="iss" value="https://id.test""#), "{}", reply.body);
    assert!(reply.body.contains(r#"name="code" value="pwc_"#));
    assert!(!reply.body.contains("<script>alert"), "{}", reply.body);
    assert_eq!(reply.headers["cache-control"], "no-store");
    let policy = reply.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    let script = reply.body.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, script.as_bytes());
    assert!(policy.contains(&base64ct::Base64::encode_string(hash.as_ref())), "{script}");
}

#[tokio::test]
async fn o11_prompt_none_never_asks() {
    let scene = Scene::new().await;
    let none = ("prompt", Some("none"));
    assert_eq!(scene.authorize("", &[none]).await.error(), "login_required");
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    scene.authorize(&cookie, &[none]).await.code();
    let max_age = |age| [none, ("max_age", Some(age))];
    // Not even a sign-in of this very second is as new as that.
    assert_eq!(scene.authorize(&cookie, &max_age("0")).await.error(), "login_required");
    scene.authorize(&cookie, &max_age("1")).await.code();
    scene.advance(Duration::from_secs(100));
    assert_eq!(scene.authorize(&cookie, &max_age("100")).await.error(), "login_required");
    scene.authorize(&cookie, &max_age("101")).await.code();
    assert_eq!(scene.authorize(&cookie, &max_age("0")).await.error(), "login_required");
    // Somebody in two tenants has to say which.
    let bond = testing::tenant(&scene.control, "bond").await;
    testing::user(&scene.control, &bond, "ada@acme.test").await;
    assert_eq!(scene.authorize(&cookie, &[none]).await.error(), "interaction_required");
    for tenant in ["bond", bond.as_str()] {
        let code = scene.authorize(&cookie, &[none, ("tenant", Some(tenant))]).await.code();
        let token = text(&scene.redeem(&code, &[]).await, "access_token");
        assert_eq!(scene.claims(&token)["tid"], bond.as_str());
    }
}

#[tokio::test]
async fn o11_an_essential_context_is_reached_or_there_is_no_code() {
    let scene = Scene::new().await;
    let one = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let two = scene.signed_in(&scene.user, &[Amr::Password, Amr::Totp]).await;
    let essential = |acr: &str| {
        json!({ "id_token": { "acr": { "essential": true, "values": [acr] } } }).to_string()
    };
    let (second, phishing) = (essential("urn:partywall:acr:2fa"), essential("phr"));
    let asked = |claims| [("prompt", Some("none")), ("claims", Some(claims))];
    assert_eq!(scene.authorize(&one, &asked(&second)).await.error(), "login_required");
    assert_eq!(scene.authorize(&two, &asked(&phishing)).await.error(), "login_required");
    let code = scene.authorize(&two, &asked(&second)).await.code();
    let id = scene.claims(&text(&scene.redeem(&code, &[]).await, "id_token"));
    assert_eq!(id["acr"], "urn:partywall:acr:2fa");
    assert_eq!(id["amr"], json!(["pwd", "otp", "mfa"]));
    // `acr_values` are a wish (OIDC Core 3.1.2.1).
    scene.authorize(&one, &[("acr_values", Some("phr"))]).await.code();
}

#[tokio::test]
async fn o11_a_hint_is_an_id_token_of_ours_expired_or_not() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let code = scene.authorize(&cookie, &[]).await.code();
    let answer = scene.redeem(&code, &[]).await;
    let (hint, access) = (text(&answer, "id_token"), text(&answer, "access_token"));
    scene.advance(Duration::from_secs(20 * 60));
    let silently = |hint| [("prompt", Some("none")), ("id_token_hint", Some(hint))];
    scene.authorize(&cookie, &silently(&hint)).await.code();
    // Somebody else is signed in.
    let eve = testing::user(&scene.control, &scene.tenant, "eve@acme.test").await;
    let of_eve = scene.signed_in(&eve, &[Amr::Password]).await;
    assert_eq!(scene.authorize(&of_eve, &silently(&hint)).await.error(), "login_required");
    let claims = json!({ "id_token": { "sub": { "value": scene.user.id } } }).to_string();
    let by_claims = [("prompt", Some("none")), ("claims", Some(claims.as_str()))];
    assert_eq!(scene.authorize(&of_eve, &by_claims).await.error(), "login_required");
    scene.authorize(&cookie, &by_claims).await.code();
    // Not an ID token; not made for this client; altered.
    assert_eq!(scene.authorize(&cookie, &silently(&access)).await.error(), "invalid_request");
    let other = scene.another_app().await;
    let reply = scene.authorize_at(&other, &cookie, &silently(&hint)).await;
    assert_eq!(reply.error(), "invalid_request");
    let altered = hint.replace('.', ".e");
    assert_eq!(scene.authorize(&cookie, &silently(&altered)).await.error(), "invalid_request");
}

#[tokio::test]
async fn o12_i16_no_hint_leads_into_another_tenant_than_the_one_named() {
    let scene = Scene::new().await;
    let bond = testing::tenant(&scene.control, "bond").await;
    let eve = testing::user(&scene.control, &bond, "eve@bond.test").await;
    let cookie = scene.signed_in(&eve, &[Amr::Password]).await;
    let silently = |tenant| {
        [("prompt", Some("none")), ("login_hint", Some("eve@bond.test")), ("tenant", Some(tenant))]
    };
    // There, elsewhere, and nowhere look alike (I-16).
    let mut answers = Vec::new();
    for tenant in ["acme", "no-such-tenant"] {
        answers.push(scene.authorize(&cookie, &silently(tenant)).await.parameters());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["error"], "login_required");
    scene.authorize(&cookie, &silently("bond")).await.code();
    // An application of one tenant signs in to that one.
    let own = testing::application(
        &scene.control,
        Some(&scene.tenant),
        json!({
            "authentication": "none",
        }),
    )
    .await;
    let mut refusals = Vec::new();
    for tenant in ["bond", "no-such-tenant"] {
        refusals.push(scene.authorize_at(&own, &cookie, &silently(tenant)).await.parameters());
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0]["error"], "invalid_request");
    let without = [("prompt", Some("none"))];
    assert_eq!(scene.authorize_at(&own, &cookie, &without).await.error(), "login_required");
    let ada = scene.signed_in(&scene.user, &[Amr::Password]).await;
    scene.authorize_at(&own, &ada, &without).await.code();
}

#[tokio::test]
async fn o10_user_info_is_for_the_tokens_of_this_issuer() {
    let scene = Scene::new().await;
    let all = [("scope", Some("openid profile email phone address"))];
    let answer = scene.redeem(&scene.code(&all).await, &[]).await;
    assert_eq!(answer["scope"], "email openid profile", "phone and address are not granted");
    let (access, id) = (text(&answer, "access_token"), text(&answer, "id_token"));
    let (status, info) = scene.user_info(&access).await;
    assert_eq!(status, StatusCode::OK);
    let updated_at = scene.user.changed_at.0;
    assert_eq!(
        info,
        json!({
            "sub": scene.claims(&id)["sub"], "name": "Ada", "updated_at": updated_at,
            "email": "ada@acme.test", "email_verified": false,
        })
    );
    assert!(scene.claims(&id).get("email").is_none(), "OIDC Core 5.4");
    // In a form, and by POST with the header.
    let post = |body: String| {
        let request =
            Request::post("/userinfo").header("content-type", "application/x-www-form-urlencoded");
        request.body(Body::from(body)).unwrap()
    };
    assert_eq!(scene.reply(post(format!("access_token={access}"))).await.status, StatusCode::OK);
    let request = Request::post("/userinfo").header("authorization", format!("Bearer {access}"));
    assert_eq!(scene.reply(request.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    let mut twice = post(format!("access_token={access}"));
    twice.headers_mut().insert("authorization", format!("Bearer {access}").parse().unwrap());
    assert_eq!(scene.reply(twice).await.status, StatusCode::BAD_REQUEST);
    // O-23.
    let query = Request::get(format!("/userinfo?access_token={access}"));
    let reply = scene.reply(query.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);

    let less = scene.redeem(&scene.code(&[("scope", Some("openid"))]).await, &[]).await;
    let (_, info) = scene.user_info(&text(&less, "access_token")).await;
    assert_eq!(info, json!({ "sub": scene.user.id }));
    let no_openid = [("scope", Some("invoices:read"))];
    let oauth = scene.redeem(&scene.code(&no_openid).await, &[]).await;
    assert!(oauth.get("id_token").is_none());
    assert_eq!(scene.user_info(&text(&oauth, "access_token")).await.0, StatusCode::FORBIDDEN);
    let robot = scene.machine().await;
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        robot.client_id,
        robot.secret.expose()
    );
    let of_robot = text(&scene.post("/token", &form).await.1, "access_token");
    for refused in [id.as_str(), "x", "", &format!("{access}x")] {
        assert_eq!(scene.user_info(refused).await.0, StatusCode::UNAUTHORIZED, "{refused}");
    }
    assert_eq!(scene.user_info(&of_robot).await.0, StatusCode::FORBIDDEN);
    scene.set_status(TenantStatus::Suspended).await;
    assert_eq!(scene.user_info(&access).await.0, StatusCode::UNAUTHORIZED);
    scene.set_status(TenantStatus::Active).await;
    assert_eq!(scene.user_info(&access).await.0, StatusCode::OK);
    scene.advance(Duration::from_secs(11 * 60));
    assert_eq!(scene.user_info(&access).await.0, StatusCode::UNAUTHORIZED, "expired");
}

#[tokio::test]
async fn o11_claims_name_what_is_wanted() {
    let scene = Scene::new().await;
    let claims = json!({
        "id_token": { "email": null, "email_verified": { "essential": true }, "phone_number": null },
        "userinfo": { "name": { "essential": true } },
    })
    .to_string();
    let asked = [("scope", Some("openid")), ("claims", Some(claims.as_str()))];
    let answer = scene.redeem(&scene.code(&asked).await, &[]).await;
    let id = scene.claims(&text(&answer, "id_token"));
    assert_eq!((&id["email"], &id["email_verified"]), (&json!("ada@acme.test"), &json!(false)));
    assert!(id.get("name").is_none() && id.get("phone_number").is_none());
    let (_, info) = scene.user_info(&text(&answer, "access_token")).await;
    assert_eq!(info["name"], "Ada");
    assert!(info.get("email").is_none());
}

async fn push(
    scene: &Scene,
    client: &ApplicationCredentials,
    with: With<'_>,
    headers: &[(&str, String)],
) -> (StatusCode, Value) {
    scene.post_with("/par", &encode(&parameters(client, with)), headers).await
}

#[tokio::test]
async fn a_pushed_request_is_good_once_for_its_client() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let ask = async |client: &ApplicationCredentials, uri: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", client.client_id.as_str()), ("request_uri", uri)])
            .finish();
        scene.ask(&cookie, &query).await
    };
    let (status, pushed) = push(&scene, &scene.app, &[], &[]).await;
    assert_eq!(status, StatusCode::CREATED, "{pushed}");
    assert_eq!(pushed["expires_in"], 90);
    let uri = text(&pushed, "request_uri");
    let code = ask(&scene.app, &uri).await.code();
    assert!(scene.redeem(&code, &[]).await.get("access_token").is_some());
    assert!(ask(&scene.app, &uri).await.is_a_page(), "used");

    let uri = text(&push(&scene, &scene.app, &[], &[]).await.1, "request_uri");
    let other = scene.another_app().await;
    assert!(ask(&other, &uri).await.is_a_page(), "another client's");
    let uri = text(&push(&scene, &scene.app, &[], &[]).await.1, "request_uri");
    scene.advance(Duration::from_secs(90));
    assert!(ask(&scene.app, &uri).await.is_a_page(), "expired");
    // What is wrong is said at once (RFC 9126 2.3).
    for (with, error) in [
        (("redirect_uri", Some("https://evil.test/")), "invalid_request"),
        (("code_challenge", None), "invalid_request"),
        (("scope", Some("admin")), "invalid_scope"),
        (("request_uri", Some(uri.as_str())), "invalid_request"),
        (("client_id", Some("app-aaaaaaaaaaaaaaaaaaaaaaaaaa")), "invalid_client"),
    ] {
        let (_, answer) = push(&scene, &scene.app, &[with], &[]).await;
        assert_eq!(answer["error"], error, "{with:?}");
    }
}

#[tokio::test]
async fn an_application_that_must_push_gets_nothing_otherwise() {
    let scene = Scene::new().await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let app = testing::application(
        &scene.control,
        None,
        json!({
            "authentication": "client_secret",
            "registration": { "redirect_uris": [CALLBACK], "requires_pushed_requests": true },
        }),
    )
    .await;
    let openid = ("scope", Some("openid"));
    assert_eq!(scene.authorize_at(&app, &cookie, &[openid]).await.error(), "invalid_request");
    let (status, _) = push(&scene, &app, &[openid], &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "it shows no secret");
    let secret = app.secret.as_ref().unwrap().expose();
    let with = [openid, ("client_secret", Some(secret))];
    let uri = text(&push(&scene, &app, &with, &[]).await.1, "request_uri");
    let query = format!("client_id={}&request_uri={uri}&scope=openid+admin", app.client_id);
    let code = scene.ask(&cookie, &query).await.code();
    let answer = scene.redeem_as(&app, &code, &[("client_secret", Some(secret))], &[]).await;
    assert_eq!(answer["scope"], "openid", "what the browser brought counts for nothing");
    assert!(answer.get("refresh_token").is_none());
}

#[tokio::test]
async fn o11_who_is_to_be_asked_gets_no_code_by_being_known() {
    let scene = Scene::new().await;
    let user: &User = &scene.user;
    let cookie = scene.signed_in(user, &[Amr::Password]).await;
    for prompt in ["login", "select_account", "consent"] {
        let reply = scene.authorize(&cookie, &[("prompt", Some(prompt))]).await;
        let location = reply.headers["location"].to_str().unwrap();
        assert!(!location.contains("code="), "{prompt}: {location}");
    }
}

#[tokio::test]
async fn o12_however_a_sign_in_went_its_end_must_fit_the_request() {
    use crate::provider::{At, authorize::complete};

    let scene = Scene::new().await;
    let at = At::shared(&scene.control);
    let bond = testing::tenant(&scene.control, "bond").await;
    let eve = testing::user(&scene.control, &scene.tenant, "eve@acme.test").await;
    let admitted = scene.admitted().await;
    let end = async |spoil: &dyn Fn(&mut super::AuthorizationRequest)| {
        let mut request = conformance_basic::read(&scene, &[]).await;
        spoil(&mut request);
        let response = complete(&scene.control, &at, &request, &admitted, "sid").await;
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let (_, query) = location.split_once('?').unwrap();
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        query.get("error").cloned()
    };
    let later = partywall::Clock::now(&*scene.clock) + Duration::from_secs(60);
    assert_eq!(end(&|_| {}).await, None, "the control");
    let refused = [
        end(&|request| request.tenant = Some(bond.clone())).await,
        end(&|request| request.subject = Some(eve.id.clone())).await,
        end(&|request| {
            request.prompt.insert(super::Prompt::Login);
            request.received_at = later;
        })
        .await,
        end(&|request| {
            request.max_age = Some(60);
            request.received_at = later;
        })
        .await,
        end(&|request| request.essential_acr = vec!["phr".to_owned()]).await,
    ];
    let refused = refused.map(Option::unwrap_or_default);
    let unmet = "unmet_authentication_requirements";
    let login = "login_required";
    assert_eq!(refused, ["access_denied", login, login, login, unmet]);
}
