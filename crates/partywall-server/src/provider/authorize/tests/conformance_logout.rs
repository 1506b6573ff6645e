//! The modules of the OpenID conformance suite's RP-initiated and back-channel logout plans for
//! providers, as tests of our own under their names; below them, what they do not ask.

use partywall::Clock;
use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::{control::UserId, provider::testing::application};

pub(super) const BACK: &str = "https://app.test/signed-out";

/// Somebody signed in to an application that registered addresses for logouts.
pub(super) struct SignedIn {
    pub(super) scene: Scene,
    pub(super) app: ApplicationCredentials,
    pub(super) cookie: String,
    pub(super) id_token: String,
    pub(super) answer: Value,
}

impl SignedIn {
    pub(super) async fn new() -> Self {
        Self::hearing_at(None).await
    }

    pub(super) async fn hearing_at(backchannel: Option<&str>) -> Self {
        let scene = Scene::new().await;
        let app = registered(&scene, backchannel).await;
        let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
        let answer = tokens(&scene, &app, &cookie).await;
        let id_token = text(&answer, "id_token");
        Self { scene, app, cookie, id_token, answer }
    }

    pub(super) async fn end(&self, with: With<'_>) -> Reply {
        self.end_as(&self.cookie, with).await
    }

    async fn end_as(&self, cookie: &str, with: With<'_>) -> Reply {
        let query = self.query(with);
        let request = Request::get(format!("/end-session?{query}")).header("cookie", cookie);
        self.scene.reply(request.body(Body::empty()).unwrap()).await
    }

    /// The whole request, but for what `with` changes.
    fn query(&self, with: With<'_>) -> String {
        let mut parameters: BTreeMap<String, String> = [
            ("id_token_hint", &*self.id_token),
            ("post_logout_redirect_uri", BACK),
            ("state", "a b&c"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in with {
            parameters.remove(*name);
            parameters.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
        }
        encode(&parameters)
    }

    async fn post(&self, form: String, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::post("/end-session")
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.scene.reply(request.body(Body::from(form)).unwrap()).await
    }

    /// What our own page sends when its button is pressed.
    async fn agree(&self, with: With<'_>) -> Reply {
        let form = format!("{}&agreed=yes", self.query(with));
        self.post(form, &[("cookie", &self.cookie), ("origin", ISSUER)]).await
    }

    /// Whether a request that may ask nothing finds somebody signed in.
    pub(super) async fn is_signed_in(&self) -> bool {
        let prompt = [("prompt", Some("none"))];
        let reply = self.scene.authorize_at(&self.app, &self.cookie, &prompt).await;
        match reply.parameters().get("error").map(String::as_str) {
            None => true,
            Some("login_required") => false,
            Some(other) => panic!("{other}"),
        }
    }

    /// The page asks, sends nobody anywhere, and nobody is signed out yet.
    async fn asks(&self, reply: &Reply) {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        assert!(!reply.headers.contains_key("location"));
        assert!(reply.body.contains("<h1>Sign out?</h1>"), "{}", reply.body);
        assert!(self.is_signed_in().await, "signed out without being asked");
    }
}

pub(super) async fn registered(scene: &Scene, backchannel: Option<&str>) -> ApplicationCredentials {
    let how = json!({ "authentication": "none", "registration": {
        "redirect_uris": [CALLBACK], "grants": ["authorization_code", "refresh_token"],
        "scopes": ["openid", "invoices:read"], "post_logout_redirect_uris": [BACK, "https://app.test/out?x=1"],
        "backchannel_logout_uri": backchannel,
    } });
    application(&scene.control, None, how).await
}

pub(super) async fn tokens(scene: &Scene, app: &ApplicationCredentials, cookie: &str) -> Value {
    let offline = [("scope", Some("openid invoices:read offline_access"))];
    let code = scene.authorize_at(app, cookie, &offline).await.code();
    let form = [("client_id", Some(app.client_id.as_str()))];
    scene.redeem_as(app, &code, &form, &[]).await
}

pub(super) fn location(reply: &Reply) -> &str {
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    reply.headers["location"].to_str().unwrap()
}

fn says_signed_out(reply: &Reply) {
    assert_eq!(location(reply), format!("{ISSUER}/signed-out"));
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_discovery_endpoint_verification() {
    let (_, metadata) = metadata().await;
    assert_eq!(metadata["end_session_endpoint"], format!("{ISSUER}/end-session"));
}

async fn metadata() -> (Scene, Value) {
    let scene = Scene::new().await;
    let request = Request::get("/.well-known/openid-configuration");
    let reply = scene.reply(request.body(Body::empty()).unwrap()).await;
    (scene, serde_json::from_str(&reply.body).unwrap())
}

#[tokio::test]
async fn oidcc_rp_initiated_logout() {
    let signed_in = SignedIn::new().await;
    assert!(signed_in.is_signed_in().await);
    let reply = signed_in.end(&[]).await;
    assert_eq!(location(&reply), format!("{BACK}?state=a+b%26c"));
    assert!(!signed_in.is_signed_in().await);
    let cleared = reply.headers["set-cookie"].to_str().unwrap();
    assert!(cleared.starts_with("__Host-partywall=;") && cleared.contains("Max-Age=0"));
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_bad_post_logout_redirect_uri() {
    let signed_in = SignedIn::new().await;
    for address in [
        "https://app.test/signed-out/",
        "https://app.test/signed-out#x",
        "https://app.test/Signed-out",
        "https://app.test:443/signed-out",
        "http://app.test/signed-out",
        "https://app.test.evil.test/signed-out",
        "https://evil.test/",
        CALLBACK,
        "javascript:alert(1)",
    ] {
        let with = [("post_logout_redirect_uri", Some(address))];
        signed_in.asks(&signed_in.end(&with).await).await;
    }
    // Whoever agrees stays here.
    says_signed_out(&signed_in.agree(&[("post_logout_redirect_uri", Some(CALLBACK))]).await);
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri() {
    let signed_in = SignedIn::new().await;
    let with = [("post_logout_redirect_uri", Some("https://app.test/signed-out?foo=bar"))];
    signed_in.asks(&signed_in.end(&with).await).await;
    let with = [("post_logout_redirect_uri", Some("https://app.test/out?x=1"))];
    assert_eq!(location(&signed_in.end(&with).await), "https://app.test/out?x=1&state=a+b%26c");
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_modified_id_token_hint() {
    let signed_in = SignedIn::new().await;
    let mut parts = signed_in.id_token.split('.');
    let (_, claims) = (parts.next(), parts.next().unwrap());
    let header = Base64UrlUnpadded::encode_string(br#"{"alg":"none"}"#);
    let unsigned = format!("{header}.{claims}.");
    signed_in.asks(&signed_in.end(&[("id_token_hint", Some(&unsigned))]).await).await;
    says_signed_out(&signed_in.agree(&[("id_token_hint", Some(&unsigned))]).await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_bad_id_token_hint() {
    let signed_in = SignedIn::new().await;
    let access = text(&signed_in.answer, "access_token");
    for hint in ["bad", "a.b.c", &access] {
        signed_in.asks(&signed_in.end(&[("id_token_hint", Some(hint))]).await).await;
    }
    // Another client than the hint's.
    let other = signed_in.scene.app.client_id.as_str();
    signed_in.asks(&signed_in.end(&[("client_id", Some(other))]).await).await;
    let own = signed_in.app.client_id.as_str();
    assert!(location(&signed_in.end(&[("client_id", Some(own))]).await).starts_with(BACK));
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_id_token_hint() {
    let signed_in = SignedIn::new().await;
    signed_in.asks(&signed_in.end(&[("id_token_hint", None)]).await).await;
    says_signed_out(&signed_in.agree(&[("id_token_hint", None)]).await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_params() {
    let signed_in = SignedIn::new().await;
    let none = [("id_token_hint", None), ("post_logout_redirect_uri", None), ("state", None)];
    signed_in.asks(&signed_in.end(&none).await).await;
    says_signed_out(&signed_in.agree(&none).await);
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_only_state() {
    let signed_in = SignedIn::new().await;
    let only = [("id_token_hint", None), ("post_logout_redirect_uri", None)];
    signed_in.asks(&signed_in.end(&only).await).await;
    says_signed_out(&signed_in.agree(&only).await);
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_post_logout_redirect_uri() {
    let signed_in = SignedIn::new().await;
    says_signed_out(&signed_in.end(&[("post_logout_redirect_uri", None)]).await);
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_state() {
    let signed_in = SignedIn::new().await;
    assert_eq!(location(&signed_in.end(&[("state", None)]).await), BACK);
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn oidcc_backchannel_logout_discovery_endpoint_verification() {
    let (_, metadata) = metadata().await;
    assert!(metadata["end_session_endpoint"].is_string());
    assert_eq!(metadata["backchannel_logout_supported"], true);
    assert_eq!(metadata["backchannel_logout_session_supported"], true);
}

/// An application that hears of logouts, and answers as it is told to.
pub(super) struct Hearing {
    pub(super) address: String,
    pub(super) heard: mpsc::UnboundedReceiver<String>,
}

impl Hearing {
    pub(super) async fn answering(status: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/backchannel", listener.local_addr().unwrap());
        let (sender, heard) = mpsc::unbounded_channel();
        let answers = std::sync::Arc::new(std::sync::Mutex::new(status.iter().copied()));
        let handler = move |body: String| {
            let (sender, answers) = (sender.clone(), answers.clone());
            async move {
                sender.send(body).unwrap();
                let status = answers.lock().unwrap().next().unwrap_or(200);
                let elsewhere = [("location", "http://127.0.0.1:1/")];
                (StatusCode::from_u16(status).unwrap(), elsewhere)
            }
        };
        let router = axum::Router::new().route("/backchannel", axum::routing::post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, heard }
    }

    /// What it has heard, without waiting.
    pub(super) fn token(&mut self) -> Option<String> {
        let body = self.heard.try_recv().ok()?;
        Some(body.strip_prefix("logout_token=").unwrap().to_owned())
    }
}

#[tokio::test]
async fn oidcc_backchannel_rp_initiated_logout() {
    let mut hearing = Hearing::answering(&[]).await;
    let signed_in = SignedIn::hearing_at(Some(&hearing.address)).await;
    let scene = &signed_in.scene;
    assert!(location(&signed_in.end(&[]).await).starts_with(BACK));
    assert!(!signed_in.is_signed_in().await);
    scene.control.tell_due_logouts().await.unwrap();
    let token = hearing.token().expect("it heard nothing");

    // Back-Channel Logout 2.4, 2.6.
    let (claims, of_id) = (scene.claims(&token), scene.claims(&signed_in.id_token));
    for same in ["iss", "aud", "sub", "sid"] {
        assert_eq!(claims[same], of_id[same], "{same}");
    }
    assert_eq!(
        claims["events"],
        json!({ "http://schemas.openid.net/event/backchannel-logout": {} })
    );
    assert_eq!(claims["iat"], scene.clock.now().0);
    assert!(claims["exp"].as_u64().unwrap() <= scene.clock.now().0 + 120);
    assert!(claims["jti"].is_string() && claims.get("nonce").is_none());
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("logout+jwt"), &json!("ES256")));
    // It opens nothing, and is no hint (J-10).
    assert!(scene.refusal(&token).await.is_some());
    assert!(signed_in.end(&[("id_token_hint", Some(&token))]).await.status.is_redirection());
    // Told once.
    scene.advance(Duration::from_secs(3600));
    scene.control.tell_due_logouts().await.unwrap();
    assert_eq!(hearing.token(), None);
}

#[tokio::test]
async fn o14_an_application_that_is_down_hears_later_and_through_a_crash() {
    let mut hearing = Hearing::answering(&[500, 302, 400]).await;
    let signed_in = SignedIn::hearing_at(Some(&hearing.address)).await;
    let scene = &signed_in.scene;
    signed_in.end(&[]).await;
    for wait in [0, 5, 10] {
        scene.advance(Duration::from_secs(wait));
        scene.control.tell_due_logouts().await.unwrap();
        assert!(hearing.token().is_some(), "after {wait} s");
        scene.control.tell_due_logouts().await.unwrap();
        assert!(hearing.token().is_none(), "too soon");
    }
    // Another server on the same database: nothing of it was in the first one's memory.
    scene.advance(Duration::from_secs(20));
    let another = scene.another_server().await;
    another.tell_due_logouts().await.unwrap();
    assert!(hearing.token().is_some());
    scene.advance(Duration::from_secs(3600));
    another.tell_due_logouts().await.unwrap();
    assert!(hearing.token().is_none(), "it had taken it");
}

#[tokio::test]
async fn o14_every_end_of_a_session_is_told_and_only_to_its_own() {
    for how in ["revoke", "revoke_all", "suspend", "delete"] {
        let mut hearing = Hearing::answering(&[]).await;
        let signed_in = SignedIn::hearing_at(Some(&hearing.address)).await;
        let (scene, actor) = (&signed_in.scene, &testing::TESTER);
        // Registered, and got no tokens in that session.
        let mut other = Hearing::answering(&[]).await;
        registered(scene, Some(&other.address)).await;
        let sid = text(&scene.claims(&signed_in.id_token), "sid");
        let (control, tenant, user) = (&scene.control, &scene.tenant, &scene.user.id);
        control.tell_due_logouts().await.unwrap();
        assert!(hearing.token().is_none(), "{how}: before anything ended");
        match how {
            "revoke" => control.revoke_session(actor, tenant, user, &sid).await.unwrap(),
            "revoke_all" => control.revoke_all_sessions(actor, tenant, user).await.unwrap(),
            "suspend" => suspend(control, tenant, user).await,
            _ => control.delete_user(actor, tenant, user, |_| true).await.unwrap(),
        }
        control.tell_due_logouts().await.unwrap();
        let token = hearing.token().unwrap_or_else(|| panic!("{how}: it heard nothing"));
        assert_eq!(scene.claims(&token)["sid"], sid);
        assert!(other.token().is_none(), "{how}: somebody else heard it");
        // I-14: what the browser showed before does not let it in again.
        assert!(!signed_in.is_signed_in().await, "{how}");
    }
}

async fn suspend(control: &crate::ControlPlane, tenant: &partywall::TenantId, user: &UserId) {
    let patch = crate::UserPatch { status: Some(UserStatus::Suspended), ..Default::default() };
    control.update_user(&testing::TESTER, tenant, user, patch, |_| true).await.unwrap();
}

#[tokio::test]
async fn o13_nobody_is_signed_out_by_a_link_or_form_of_somebody_else() {
    let signed_in = SignedIn::new().await;
    let scene = &signed_in.scene;
    // Somebody else's hint, rightly signed.
    let other = testing::user(&scene.control, &scene.tenant, "eve@acme.test").await;
    let eves = scene.signed_in(&other, &[Amr::Password]).await;
    let hint = text(&tokens(scene, &signed_in.app, &eves).await, "id_token");
    signed_in.asks(&signed_in.end(&[("id_token_hint", Some(&hint))]).await).await;
    // A page elsewhere that pushes our button.
    let form = format!("{}&agreed=yes", signed_in.query(&[("id_token_hint", None)]));
    for origin in ["https://evil.test", "null"] {
        let headers = [("cookie", &*signed_in.cookie), ("origin", origin)];
        signed_in.asks(&signed_in.post(form.clone(), &headers).await).await;
    }
    // An application's form, with which browsers send no cookie: ours asks, with all it was sent.
    let reply = signed_in.post(signed_in.query(&[]), &[("origin", "https://app.test")]).await;
    signed_in.asks(&reply).await;
    assert!(reply.body.contains(&format!("value=\"{}\"", signed_in.id_token)));
    let policy = reply.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self' https:"), "{policy}");
    assert!(location(&signed_in.agree(&[]).await).starts_with(BACK));
    assert!(!signed_in.is_signed_in().await);
}

#[tokio::test]
async fn o13_a_logout_ends_the_tenants_session_and_its_grants_and_no_other_tenants() {
    let signed_in = SignedIn::new().await;
    let scene = &signed_in.scene;
    let bond = testing::tenant(&scene.control, "bond").await;
    testing::user(&scene.control, &bond, "ada@acme.test").await;
    let at_bond = |prompt| [("tenant", Some("bond")), ("prompt", prompt)];
    scene.authorize_at(&signed_in.app, &signed_in.cookie, &at_bond(None)).await.code();
    let access = text(&signed_in.answer, "access_token");
    assert_eq!(scene.refusal(&access).await, None);

    // An expired hint will do: it says who was signed in.
    scene.advance(Duration::from_secs(3600));
    let reply = signed_in.end(&[]).await;
    assert!(location(&reply).starts_with(BACK));
    assert!(!reply.headers.contains_key("set-cookie"), "the browser is signed in elsewhere");
    let at_acme = [("tenant", Some("acme")), ("prompt", Some("none"))];
    let reply = scene.authorize_at(&signed_in.app, &signed_in.cookie, &at_acme).await;
    assert_eq!(reply.error(), "login_required");
    scene.authorize_at(&signed_in.app, &signed_in.cookie, &at_bond(Some("none"))).await.code();
    assert!(scene.grants().await.is_empty(), "what began in it is over");
}
