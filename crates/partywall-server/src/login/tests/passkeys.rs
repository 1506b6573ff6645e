//! Passkeys, added on one page and shown on another, by an authenticator in software.

use super::*;
use crate::{
    login::{factors::passkey::tests::Authenticator, session},
    storage::accounts,
};

async fn authenticator(scene: &Scene) -> Authenticator {
    let id = scene.user.account.as_ref().unwrap();
    let account = accounts::find(scene.control.inner.db.reader(), id).await.unwrap().unwrap();
    Authenticator::new(&account)
}

/// Adds a passkey on the account's page.
async fn adds(scene: &Scene, surfer: &mut Surfer, key: &Authenticator) {
    let own = format!("/account/{}", scene.tenant);
    let options = surfer.post(scene, &format!("{own}/passkey"), &[]).await;
    let answer = key.registered(&serde_json::from_str(&options.body).unwrap());
    let form = [("do", "add_passkey"), ("name", "my <key>"), ("answer", &*answer)];
    let added = surfer.post(scene, &own, &form).await.leads_to();
    let page = surfer.get(scene, &added).await;
    assert!(page.body.contains("It is added.") && page.body.contains("my &#60;key&#62;"));
    let again = surfer.post(scene, &own, &form).await.leads_to();
    assert!(again.ends_with("said=passkey_failed"), "a challenge is good once");
}

async fn shows(scene: &Scene, surfer: &mut Surfer, key: &Authenticator, at: &str) -> Page {
    let options = surfer.post(scene, &format!("{at}/passkey"), &[]).await;
    let answer = key.asserted(&serde_json::from_str(&options.body).unwrap());
    surfer.post(scene, at, &[("step", "passkey"), ("answer", &*answer)]).await
}

#[tokio::test]
async fn i15_a_passkey_that_verified_its_user_is_two_factors() {
    let scene = scene().await;
    let mut ada = scene.surfer(&scene.user).await;
    let key = authenticator(&scene).await;
    adds(&scene, &mut ada, &key).await;
    let strict = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, strict).await;
    let mut elsewhere = Surfer::default();
    let path = elsewhere.sets_out(&scene, &[]).await;
    let page = elsewhere.get(&scene, &path).await;
    assert!(page.body.contains("data-passkey=\"get\""));
    let done = shows(&scene, &mut elsewhere, &key, &path).await;
    assert!(done.answer().contains_key("code"));
    assert!(elsewhere.cookies.contains_key(session::COOKIE_NAME));
}

#[tokio::test]
async fn i15_one_that_did_not_is_one_factor() {
    let scene = scene().await;
    let secret = scene.has_app(&scene.user).await;
    scene.advance(std::time::Duration::from_secs(60));
    let mut ada = scene.surfer(&scene.user).await;
    let mut key = authenticator(&scene).await;
    adds(&scene, &mut ada, &key).await;
    key.flags = 0b001;
    let mut elsewhere = Surfer::default();
    let path = elsewhere.sets_out(&scene, &[]).await;
    assert_eq!(shows(&scene, &mut elsewhere, &key, &path).await.leads_to(), path);
    assert_eq!(elsewhere.get(&scene, &path).await.heading(), "Enter a code");
    assert!(!elsewhere.cookies.contains_key(session::COOKIE_NAME));
    let code = totp::tests::app_shows(&secret, scene.control.now());
    let form = [("step", "second_factor"), ("code", &*code)];
    assert!(elsewhere.post(&scene, &path, &form).await.answer().contains_key("code"));
}

#[tokio::test]
async fn o21_an_answer_is_good_for_the_sign_in_it_was_asked_for() {
    let scene = scene().await;
    let mut ada = scene.surfer(&scene.user).await;
    let key = authenticator(&scene).await;
    adds(&scene, &mut ada, &key).await;
    let mut elsewhere = Surfer::default();
    let (one, two) = (elsewhere.sets_out(&scene, &[]).await, elsewhere.sets_out(&scene, &[]).await);
    let options = elsewhere.post(&scene, &format!("{one}/passkey"), &[]).await;
    let answer = key.asserted(&serde_json::from_str(&options.body).unwrap());
    let form = [("step", "passkey"), ("answer", &*answer)];
    assert_eq!(elsewhere.post(&scene, &two, &form).await.leads_to(), two);
    assert!(elsewhere.get(&scene, &two).await.body.contains("That passkey did not work"));
    let mut thief = Surfer::default();
    let stolen = thief.post(&scene, &format!("{one}/passkey"), &[]).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND, "nor are there options for others");
    assert!(shows(&scene, &mut elsewhere, &key, &one).await.answer().contains_key("code"));
}

#[tokio::test]
async fn i15_a_password_alone_sets_up_no_app_beside_a_passkey() {
    let scene = scene().await;
    let mut ada = scene.surfer(&scene.user).await;
    let key = authenticator(&scene).await;
    adds(&scene, &mut ada, &key).await;
    let strict = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, strict).await;
    scene.advance(std::time::Duration::from_secs(60));
    let mut thief = Surfer::default();
    let path = thief.sets_out(&scene, &[]).await;
    let right = thief.signs_in(&scene, &path, "ada@acme.test", PASSWORD).await;
    assert_eq!(right.leads_to(), path);
    let page = thief.get(&scene, &path).await;
    assert_eq!(page.heading(), "Enter your password");
    assert!(page.body.contains("Use your passkey"));
    assert_eq!(thief.post(&scene, &path, &[("step", "enrol")]).await.leads_to(), path);
    assert_eq!(thief.get(&scene, &path).await.heading(), "Enter your password");
    let done = shows(&scene, &mut thief, &key, &path).await;
    assert!(done.answer().contains_key("code"), "whoever has the passkey is no thief");
}

#[tokio::test]
async fn p03_a_password_alone_changes_nothing_beside_a_passkey() {
    let scene = scene().await;
    let own = format!("/account/{}", scene.tenant);
    let mut ada = scene.surfer(&scene.user).await;
    let key = authenticator(&scene).await;
    adds(&scene, &mut ada, &key).await;
    scene.advance(std::time::Duration::from_secs(60));
    let mut thief = Surfer::default();
    let path = thief.get(&scene, &own).await.leads_to();
    let done = thief.signs_in(&scene, &path, "ada@acme.test", PASSWORD).await;
    assert_eq!(done.leads_to(), own, "this tenant asks for no more");
    let mut asked = String::new();
    for change in ["change_password", "add_app", "new_codes", "add_passkey", "remove_passkey"] {
        let form = [("do", change), ("password", "some other long words")];
        asked = thief.post(&scene, &own, &form).await.leads_to();
        let page = thief.get(&scene, &asked).await;
        assert!(page.body.contains("Use your passkey"), "{change}: {}", page.heading());
        let form = [("step", "password"), ("password", PASSWORD)];
        assert_eq!(thief.post(&scene, &asked, &form).await.leads_to(), asked, "{change}");
    }
    let options = thief.post(&scene, &format!("{own}/passkey"), &[]).await;
    assert_eq!(options.status, StatusCode::NOT_FOUND);
    scene.advance(std::time::Duration::from_secs(1));
    assert_eq!(shows(&scene, &mut thief, &key, &asked).await.leads_to(), own);
    let codes = thief.post(&scene, &own, &[("do", "new_codes")]).await;
    assert_eq!(codes.heading(), "Your recovery codes", "with the passkey");
}
