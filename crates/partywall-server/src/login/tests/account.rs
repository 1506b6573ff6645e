//! The page a person has for themselves.

use std::time::Duration;

use super::*;
use crate::{
    control::GrantEnd,
    storage::{consents, recovery_codes, sessions, totp_secrets},
};

fn own(scene: &Scene) -> String {
    format!("/account/{}", scene.tenant)
}

#[tokio::test]
async fn m02_the_page_is_of_one_tenant_and_for_who_is_in() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    user(&scene.control, &bond, "eve@bond.test").await;
    let mut ada = scene.surfer(&scene.user).await;
    let page = ada.get(&scene, &own(&scene)).await;
    assert_eq!((page.status, page.heading()), (StatusCode::OK, "Your account"));
    assert!(page.body.contains("ada@acme.test"));
    assert_eq!(ada.get(&scene, "/account").await.leads_to(), own(&scene), "there is but one");

    let sign_in = ada.get(&scene, &format!("/account/{bond}")).await.leads_to();
    assert!(sign_in.starts_with("/sign-in/"));
    assert_eq!(ada.get(&scene, &sign_in).await.heading(), "You cannot sign in here");
    let mut nobody = Surfer::default();
    let sign_in = nobody.get(&scene, &own(&scene)).await.leads_to();
    assert_eq!(nobody.get(&scene, &sign_in).await.heading(), "Sign in");
    let done = nobody.signs_in(&scene, &sign_in, "ada@acme.test", PASSWORD).await;
    assert_eq!(done.leads_to(), own(&scene));
}

#[tokio::test]
async fn p03_factors_are_changed_by_who_signed_in_just_now() {
    let scene = scene().await;
    let mut ada = scene.surfer(&scene.user).await;
    let changes = ["change_password", "add_app", "confirm_app", "remove_app", "new_codes"];
    let more = ["add_passkey", "remove_passkey"];
    scene.advance(Duration::from_secs(5 * 60));
    for change in changes.iter().chain(&more) {
        let form = [("do", *change), ("password", "some other long words")];
        let asked = ada.post(&scene, &own(&scene), &form).await.leads_to();
        assert!(asked.starts_with("/sign-in/"), "{change} leads to {asked}");
        assert_eq!(ada.get(&scene, &asked).await.heading(), "Enter your password", "{change}");
    }
    let options = ada.post(&scene, &format!("{}/passkey", own(&scene)), &[]).await;
    assert_eq!(options.status, StatusCode::NOT_FOUND);
    // What changes nothing about signing in needs none; and signing in again is enough.
    let end = [("do", "end_session"), ("sid", "nobodys")];
    assert!(ada.post(&scene, &own(&scene), &end).await.leads_to().ends_with("?said=gone"));
    let asked = ada.post(&scene, &own(&scene), &[("do", "new_codes")]).await.leads_to();
    let form = [("step", "password"), ("password", PASSWORD)];
    assert_eq!(ada.post(&scene, &asked, &form).await.leads_to(), own(&scene));
    let codes = ada.post(&scene, &own(&scene), &[("do", "new_codes")]).await;
    assert_eq!((codes.status, codes.heading()), (StatusCode::OK, "Your recovery codes"));
    let db = scene.control.inner.db.reader();
    let account = scene.user.account.as_ref().unwrap();
    assert_eq!(recovery_codes::left(db, account).await.unwrap(), 10);
    let options = ada.post(&scene, &format!("{}/passkey", own(&scene)), &[]).await;
    assert_eq!(options.status, StatusCode::OK);
    assert!(options.body.contains("challenge"));

    let elsewhere =
        ada.post_from(&scene, &own(&scene), &[("do", "new_codes")], Some("https://e.test")).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn i15_an_app_is_set_up_and_removed() {
    let scene = scene().await;
    let mut ada = scene.surfer(&scene.user).await;
    let page = ada.post(&scene, &own(&scene), &[("do", "add_app")]).await;
    assert_eq!(page.heading(), "Add an authenticator app");
    let between = |from: &str, to: char| {
        let at = page.body.find(from).unwrap() + from.len();
        page.body[at..].split(to).next().unwrap().to_owned()
    };
    let secret = Secret::new(between("<code>", '<'));
    let id = between("name=\"id\" value=\"", '"');
    let wrong = [("do", "confirm_app"), ("id", &*id), ("code", "000000")];
    let said = ada.post(&scene, &own(&scene), &wrong).await.leads_to();
    assert!(said.ends_with("?said=wrong_code"));
    let code = totp::tests::app_shows(&secret, scene.control.now());
    let right = [("do", "confirm_app"), ("id", &*id), ("code", &*code)];
    let said = ada.post(&scene, &own(&scene), &right).await.leads_to();
    assert!(ada.get(&scene, &said).await.body.contains("It is added."));

    // Somebody else's is none.
    let eve = user(&scene.control, &scene.tenant, "eve@acme.test").await;
    let mut surfer = scene.surfer(&eve).await;
    let remove = [("do", "remove_app"), ("id", &*id)];
    let said = surfer.post(&scene, &own(&scene), &remove).await.leads_to();
    assert!(said.ends_with("?said=gone"));
    let db = scene.control.inner.db.reader();
    let account = scene.user.account.as_ref().unwrap();
    assert_eq!(totp_secrets::of_account(db, account).await.unwrap().len(), 1);
    let said = ada.post(&scene, &own(&scene), &remove).await.leads_to();
    assert!(said.ends_with("?said=removed"));
    assert!(totp_secrets::of_account(db, account).await.unwrap().is_empty());
}

#[tokio::test]
async fn j20_sessions_are_listed_and_ended_by_their_own_user() {
    let scene = scene().await;
    let (mut here, mut there) = (scene.surfer(&scene.user).await, scene.surfer(&scene.user).await);
    let db = scene.control.inner.db.reader();
    let mut sids = Vec::new();
    for surfer in [&mut there, &mut here] {
        surfer.get(&scene, &own(&scene)).await;
        let now = scene.control.now();
        let live = sessions::live_of_user(db, &scene.tenant, &scene.user.id, None, 10, now).await;
        let live = live.unwrap().into_iter().map(|session| session.sid);
        let new: Vec<String> = live.filter(|sid| !sids.contains(sid)).collect();
        sids.extend(new);
    }
    let now = scene.control.now();
    assert_eq!(sids.len(), 2);
    let page = here.get(&scene, &own(&scene)).await;
    assert!(sids.iter().all(|sid| page.body.contains(sid)));
    let eve = user(&scene.control, &scene.tenant, "eve@acme.test").await;
    let mut surfer = scene.surfer(&eve).await;
    for sid in &sids {
        let form = [("do", "end_session"), ("sid", &**sid)];
        assert!(surfer.post(&scene, &own(&scene), &form).await.leads_to().ends_with("said=gone"));
    }
    for sid in &sids {
        let form = [("do", "end_session"), ("sid", &**sid)];
        here.post(&scene, &own(&scene), &form).await;
    }
    let live = sessions::live_of_user(db, &scene.tenant, &scene.user.id, None, 10, now).await;
    assert!(live.unwrap().is_empty());
    // The last one was its own: what it showed before opens nothing here any more.
    assert!(here.get(&scene, &own(&scene)).await.leads_to().starts_with("/sign-in/"));

    let mut here = scene.surfer(&scene.user).await;
    let out = here.post(&scene, &own(&scene), &[("do", "sign_out")]).await;
    assert_eq!(out.leads_to(), "/signed-out");
    let sign_in = here.get(&scene, &own(&scene)).await.leads_to();
    assert!(sign_in.starts_with("/sign-in/"));
}

#[tokio::test]
async fn o20_consent_is_taken_back_with_what_was_granted_by_it() {
    let scene = scene().await;
    let client = &scene.app.client_id;
    let token = scene.refresh_token("openid").await;
    let given = consents::Consent {
        client: client.clone(),
        scopes: ["openid".parse().unwrap()].into(),
        given_at: scene.control.now(),
    };
    let db = scene.control.inner.db.reader();
    consents::put(db, &scene.tenant, &scene.user.id, &given).await.unwrap();
    let mut ada = scene.surfer(&scene.user).await;
    assert!(ada.get(&scene, &own(&scene)).await.body.contains("Know who you are"));
    let form = [("do", "take_back"), ("client", client.as_str())];
    let said = ada.post(&scene, &own(&scene), &form).await.leads_to();
    assert!(said.ends_with("?said=taken_back"));
    assert!(consents::of_user(db, &scene.tenant, &scene.user.id).await.unwrap().is_empty());
    assert!(scene.grants().await.is_empty());
    let refresh = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
    assert_eq!(scene.post("/token", &refresh).await.1["error"], "invalid_grant");
    assert_eq!(GrantEnd::Withdrawn.as_str(), "withdrawn");
}
