//! Logout where it is hard: at the same moment as something else, in several places, and for those
//! who do not answer. What it is at its easiest is in [`conformance_logout`](super::conformance_logout).

use super::{
    conformance_logout::{BACK, Hearing, SignedIn, location, registered, tokens},
    elsewhere::silo,
    *,
};
use partywall::Clock;
use tokio::net::TcpListener;

use crate::{
    control::NewGrant,
    login::{
        Proof, actions,
        session::{self, Browser},
    },
    provider::logout::Telling,
    random,
    secret::Secret,
    storage::{
        grants, outgoing_logouts,
        sessions::{self, TenantSession},
    },
};

impl Scene {
    /// The one session its user has.
    async fn session(&self) -> TenantSession {
        let (db, now) = (self.control.inner.db.reader(), self.control.now());
        let found = sessions::live_of_user(db, &self.tenant, &self.user.id, None, 10, now).await;
        let [session] = found.unwrap().try_into().unwrap();
        session
    }

    /// `user` signs in in a browser in which somebody else was.
    async fn signs_in_at(&self, cookie: &str, user: &User) {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        let browser = Browser::of(&headers, crate::rate::Network::default());
        let proof = Proof::of([Amr::Password], self.clock.now());
        let account = user.account.as_ref().unwrap();
        session::begin(&self.control, &browser, account, &proof).await.unwrap();
    }

    async fn refreshed(&self, app: &ApplicationCredentials, token: &str) -> Value {
        let client = app.client_id.as_str();
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        self.post("/token", &form).await.1
    }
}

/// `PARTYWALL_TEST_ROUNDS` for more.
fn rounds() -> u32 {
    let asked = std::env::var("PARTYWALL_TEST_ROUNDS").ok();
    asked.map_or(24, |asked| asked.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o13_nothing_outlives_a_session_that_ends_while_its_code_is_redeemed() {
    let scene = Scene::new().await;
    let app = registered(&scene, None).await;
    let (mut good, mut too_late) = (0, 0);
    for round in 0..rounds() {
        let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
        let scope = if round % 2 == 0 { "openid offline_access" } else { "openid" };
        let code = scene.authorize_at(&app, &cookie, &[("scope", Some(scope))]).await.code();
        let session = scene.session().await;
        let logout = async {
            tokio::time::sleep(Duration::from_micros(u64::from(round % 12) * 400)).await;
            scene.control.sign_out(&session).await.unwrap()
        };
        let (answer, ended) = tokio::join!(scene.redeem_as(&app, &code, &[], &[]), logout);
        assert!(ended);
        let Some(access) = answer["access_token"].as_str() else {
            assert_eq!(answer["error"], "invalid_grant");
            too_late += 1;
            continue;
        };
        good += 1;
        assert_eq!(scene.refusal(access).await, Some("revoked"), "round {round}: {scope}");
        if let Some(refresh) = answer["refresh_token"].as_str() {
            let refreshed = scene.refreshed(&app, refresh).await;
            assert_eq!(refreshed["error"], "invalid_grant", "round {round}");
        }
        assert!(scene.grants().await.is_empty(), "round {round}");
    }
    eprintln!("{good} codes were redeemed before the end of their session, {too_late} after");

    // The control: nobody signs out.
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let answer = tokens(&scene, &app, &cookie).await;
    assert_eq!(scene.refusal(&text(&answer, "access_token")).await, None);
    let refreshed = scene.refreshed(&app, &text(&answer, "refresh_token")).await;
    assert!(refreshed.get("access_token").is_some(), "{refreshed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o13_nothing_outlives_a_session_that_ends_while_a_token_is_refreshed() {
    let scene = Scene::new().await;
    let app = registered(&scene, None).await;
    for round in 0..rounds() {
        let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
        let first = text(&tokens(&scene, &app, &cookie).await, "refresh_token");
        let session = scene.session().await;
        let logout = async {
            tokio::time::sleep(Duration::from_micros(u64::from(round % 12) * 400)).await;
            scene.control.sign_out(&session).await.unwrap()
        };
        let (answer, _) = tokio::join!(scene.refreshed(&app, &first), logout);
        if let Some(access) = answer["access_token"].as_str() {
            assert_eq!(scene.refusal(access).await, Some("revoked"), "round {round}");
            let second = text(&answer, "refresh_token");
            assert_eq!(scene.refreshed(&app, &second).await["error"], "invalid_grant");
        }
        assert_eq!(scene.refreshed(&app, &first).await["error"], "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o13_whoever_ends_a_session_waits_for_what_begins_in_it() {
    let signed_in = SignedIn::new().await;
    let scene = &signed_in.scene;
    let session = scene.session().await;
    let write = scene.control.inner.db.write().await.unwrap();
    let held = sessions::hold(write.rows(), &scene.tenant, &session.sid).await.unwrap();
    assert_eq!(held.unwrap().ended_at, None);
    let mut ending = tokio::spawn({
        let (control, session) = (scene.control.clone(), session.clone());
        async move { control.sign_out(&session).await.unwrap() }
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut ending).await;
    assert!(early.is_err(), "it does not wait");
    let new = NewGrant {
        id: random::opaque_id(&scene.control.inner.random).unwrap(),
        client: &signed_in.app.client_id,
        scopes: ["openid".parse().unwrap()].into(),
        resource: "https://api.test",
        sid: Some(&session.sid),
        nonce: None,
        dpop_jkt: None,
        refreshed: true,
    };
    let grant = scene.control.new_grant(&scene.admitted().await, new).unwrap();
    grants::insert(write.rows(), &grant).await.unwrap();
    write.commit().await.unwrap();
    assert!(ending.await.unwrap());
    assert!(scene.grants().await.is_empty(), "one began in it and goes on");

    // The other way round: whoever comes after its end finds it ended.
    let write = scene.control.inner.db.write().await.unwrap();
    let held = sessions::hold(write.rows(), &scene.tenant, &session.sid).await.unwrap();
    assert!(held.unwrap().ended_at.is_some());
    let elsewhere = "bond".parse().unwrap();
    let held = sessions::hold(write.rows(), &elsewhere, &session.sid).await.unwrap();
    assert!(held.is_none(), "another tenant's");
}

#[tokio::test]
async fn o13_access_tokens_end_with_their_session_refreshed_or_not() {
    let signed_in = SignedIn::new().await;
    let scene = &signed_in.scene;
    let code = scene.authorize_at(&signed_in.app, &signed_in.cookie, &[]).await.code();
    let answer = scene.redeem_as(&signed_in.app, &code, &[], &[]).await;
    assert!(answer.get("refresh_token").is_none(), "nobody asked for one");
    let plain = text(&answer, "access_token");
    // Of the same user, in another browser.
    let elsewhere = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let code = scene.authorize_at(&signed_in.app, &elsewhere, &[]).await.code();
    let other = text(&scene.redeem_as(&signed_in.app, &code, &[], &[]).await, "access_token");
    let offline = text(&signed_in.answer, "access_token");
    for token in [&plain, &offline, &other] {
        assert_eq!(scene.refusal(token).await, None, "the control");
    }
    signed_in.end(&[]).await;
    for token in [&plain, &offline] {
        assert_eq!(scene.refusal(token).await, Some("revoked"));
        assert_eq!(scene.user_info(token).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(scene.refusal(&other).await, None, "another session's");
}

/// Decision 0019.
#[tokio::test]
async fn o14_offline_access_outlives_a_session_that_runs_out_and_none_that_is_ended() {
    let signed_in = SignedIn::new().await;
    let scene = &signed_in.scene;
    let mut refresh = text(&signed_in.answer, "refresh_token");
    let ends_at = scene.session().await.expires_at;
    scene.advance(Duration::from_secs(ends_at.0 - scene.control.now().0 + 1));
    scene.control.keep_bundle_fresh().await.unwrap();
    assert!(!signed_in.is_signed_in().await);
    let refreshed = scene.refreshed(&signed_in.app, &refresh).await;
    refresh = text(&refreshed, "refresh_token");
    assert_eq!(scene.refusal(&text(&refreshed, "access_token")).await, None);

    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    let answer = tokens(scene, &signed_in.app, &cookie).await;
    let session = scene.session().await;
    scene.control.sign_out(&session).await.unwrap();
    let of_ended = text(&answer, "refresh_token");
    let refreshed = scene.refreshed(&signed_in.app, &of_ended).await;
    assert_eq!(refreshed["error"], "invalid_grant");
    // The other session's was not this one's to end.
    let refreshed = scene.refreshed(&signed_in.app, &refresh).await;
    assert!(refreshed.get("access_token").is_some(), "{refreshed}");
}

#[tokio::test]
async fn o14_a_new_password_a_suspended_tenant_and_somebody_else_at_the_browser_are_told() {
    for how in ["password", "suspend", "erase", "somebody else"] {
        let mut hearing = Hearing::answering(&[]).await;
        let signed_in = SignedIn::hearing_at(Some(&hearing.address)).await;
        let (scene, control) = (&signed_in.scene, &signed_in.scene.control);
        // The same application heard from by another tenant's people.
        let bond = testing::tenant(control, "bond").await;
        let eve = testing::user(control, &bond, "eve@bond.test").await;
        let eves = scene.signed_in(&eve, &[Amr::Password]).await;
        let at_bond = [("tenant", Some("bond"))];
        let code = scene.authorize_at(&signed_in.app, &eves, &at_bond).await.code();
        let eves = text(&scene.redeem_as(&signed_in.app, &code, &[], &[]).await, "access_token");
        let (access, refresh) =
            (text(&signed_in.answer, "access_token"), text(&signed_in.answer, "refresh_token"));
        control.tell_due_logouts().await.unwrap();
        assert!(hearing.token().is_none(), "{how}: before anything ended");
        assert_eq!(scene.refusal(&access).await, None, "the control");
        match how {
            "password" => {
                let account = scene.user.account.as_ref().unwrap();
                let account = control.account(account).await.unwrap().unwrap();
                let new = Secret::new("correct horse battery staple 9".to_owned());
                actions::change_password(control, &account, "acme", new, b"none").await.unwrap();
            }
            "suspend" => scene.set_status(TenantStatus::Suspended).await,
            "erase" => scene.set_status(TenantStatus::PendingErase).await,
            _ => {
                let other = testing::user(control, &scene.tenant, "bill@acme.test").await;
                scene.signs_in_at(&signed_in.cookie, &other).await;
            }
        }
        control.tell_due_logouts().await.unwrap();
        let token = hearing.token().unwrap_or_else(|| panic!("{how}: it heard nothing"));
        let claims = scene.claims(&token);
        assert_eq!(claims["sid"], scene.claims(&signed_in.id_token)["sid"], "{how}");
        assert_eq!(claims["tid"], scene.tenant.as_str(), "{how}");
        assert!(hearing.token().is_none(), "{how}: another tenant's people were told of");
        assert_eq!(scene.refusal(&eves).await, None, "{how}: another tenant's token");
        assert!(scene.refusal(&access).await.is_some(), "{how}");
        let refreshed = scene.refreshed(&signed_in.app, &refresh).await;
        assert_eq!(refreshed["error"], "invalid_grant", "{how}");
        if how == "suspend" {
            // Decision 0019: people come back by signing in, programs as they were.
            scene.set_status(TenantStatus::Active).await;
            assert!(!signed_in.is_signed_in().await);
            let refreshed = scene.refreshed(&signed_in.app, &refresh).await;
            assert!(refreshed.get("access_token").is_some(), "{refreshed}");
        }
    }
}

#[tokio::test]
async fn o08_a_tenants_own_issuer_signs_people_out_and_says_so_itself() {
    const OWN: &str = "https://id.test/t/hooli";
    let mut hearing = Hearing::answering(&[]).await;
    let (scene, cookie) = silo().await;
    let app = registered(&scene, Some(&hearing.address)).await;
    let get = async |path: &str| {
        let request = Request::get(path).header("cookie", &cookie);
        scene.reply(request.body(Body::empty()).unwrap()).await
    };
    let metadata = get("/t/hooli/.well-known/openid-configuration").await;
    let metadata: Value = serde_json::from_str(&metadata.body).unwrap();
    assert_eq!(metadata["end_session_endpoint"], format!("{OWN}/end-session"));
    assert_eq!(metadata["backchannel_logout_supported"], true);

    let reply = scene.asks_at("/t/hooli", &cookie, &encode(&parameters(&app, &[]))).await;
    let form = format!(
        "grant_type=authorization_code&client_id={}&redirect_uri={CALLBACK}\
         &code_verifier={VERIFIER}&code={}",
        app.client_id,
        reply.parameters()["code"]
    );
    let answer = scene.post("/t/hooli/token", &form).await.1;
    let (access, hint) = (text(&answer, "access_token"), text(&answer, "id_token"));
    assert_eq!(scene.refusal(&access).await, None, "the control");

    // The shared issuer did not make that hint, and asks.
    let query = format!("id_token_hint={hint}&post_logout_redirect_uri={BACK}");
    assert_eq!(get(&format!("/end-session?{query}")).await.status, StatusCode::OK);
    assert_eq!(scene.refusal(&access).await, None);
    let reply = get(&format!("/t/hooli/end-session?{query}")).await;
    assert_eq!(location(&reply), BACK);
    assert_eq!(scene.refusal(&access).await, Some("revoked"));

    scene.control.tell_due_logouts().await.unwrap();
    let token = hearing.token().expect("it heard nothing");
    let (told, of_id) = (scene.claims(&token), scene.claims(&hint));
    assert_eq!(told["iss"], OWN);
    for same in ["iss", "aud", "sub", "sid"] {
        assert_eq!(told[same], of_id[same], "{same}");
    }
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let kid = header["kid"].as_str().unwrap();
    assert!(get("/t/hooli/jwks").await.body.contains(kid), "not its own key");
    assert!(!get("/jwks").await.body.contains(kid), "the shared issuer's key");
}

/// Ends a session of the user in which each of `apps` got tokens.
async fn a_logout(scene: &Scene, apps: &[&ApplicationCredentials]) {
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    for app in apps {
        tokens(scene, app, &cookie).await;
    }
    let session = scene.session().await;
    assert!(scene.control.sign_out(&session).await.unwrap());
}

#[tokio::test]
async fn o14_an_application_that_never_answers_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}/", silent.local_addr().unwrap());
    let scene = Scene::new().await;
    let deaf = registered(&scene, Some(&nowhere)).await;
    let mut hearing = Hearing::answering(&[]).await;
    let app = registered(&scene, Some(&hearing.address)).await;
    for _ in 0..12 {
        a_logout(&scene, &[&deaf]).await;
    }
    a_logout(&scene, &[&deaf, &app]).await;

    let mut telling = Telling::default();
    let heard = async |hearing: &mut Hearing| {
        tokio::time::timeout(Duration::from_secs(3), hearing.heard.recv()).await.is_ok()
    };
    telling.begin(&scene.control).await.unwrap();
    assert!(heard(&mut hearing).await);
    // It is called by one at a time, and nobody waits for that one.
    let mut calls = vec![silent.accept().await.unwrap()];
    a_logout(&scene, &[&deaf, &app]).await;
    telling.begin(&scene.control).await.unwrap();
    assert!(heard(&mut hearing).await, "it waits for the one that does not answer");
    let second = tokio::time::timeout(Duration::from_millis(300), silent.accept()).await;
    assert!(second.is_err(), "it is called by several");

    // When it has been waited for long enough, all of its logouts are put off.
    calls.clear();
    let waits = async |scene: &Scene| {
        let db = scene.control.inner.db.reader();
        outgoing_logouts::due(db, &deaf.client_id, scene.control.now(), 100).await.unwrap().len()
    };
    let put_off = async {
        while waits(&scene).await > 0 {
            telling.begin(&scene.control).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(15), put_off).await.expect("it is called for ever");
    // And after a day it is left alone for good.
    drop(silent);
    scene.advance(Duration::from_secs(24 * 3600));
    assert_eq!(waits(&scene).await, 14, "the control");
    scene.control.tell_due_logouts().await.unwrap();
    scene.advance(Duration::from_secs(24 * 3600));
    assert_eq!(waits(&scene).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o14_several_servers_tell_everybody_once_and_go_on_where_one_was_killed() {
    const LOGOUTS: usize = 40;
    let mut hearing = Hearing::answering(&[]).await;
    let scene = Scene::new().await;
    let app = registered(&scene, Some(&hearing.address)).await;
    for _ in 0..LOGOUTS {
        a_logout(&scene, &[&app]).await;
    }
    // One server has taken one, and is killed before it says so to anybody.
    let (control, now) = (&scene.control, scene.control.now());
    let due = outgoing_logouts::due(control.inner.db.reader(), &app.client_id, now, 1).await;
    let due = due.unwrap().remove(0);
    let write = control.inner.db.single().await;
    let again_at = now + Duration::from_secs(5);
    assert!(outgoing_logouts::claim(write.db(), &due, again_at).await.unwrap());
    assert!(!outgoing_logouts::claim(write.db(), &due, again_at).await.unwrap(), "taken twice");
    drop(write);

    let servers = [scene.another_server().await, scene.another_server().await, control.clone()];
    let mut all = tokio::task::JoinSet::new();
    for server in servers {
        all.spawn(async move { server.tell_due_logouts().await.unwrap() });
    }
    all.join_all().await;
    let mut sids = std::collections::BTreeSet::new();
    let mut listen = |hearing: &mut Hearing| {
        while let Some(token) = hearing.token() {
            assert!(sids.insert(text(&scene.claims(&token), "sid")), "told twice");
        }
        sids.len()
    };
    assert_eq!(listen(&mut hearing), LOGOUTS - 1);
    scene.advance(Duration::from_secs(5));
    control.tell_due_logouts().await.unwrap();
    assert_eq!(listen(&mut hearing), LOGOUTS);
}
