//! Somebody else in the same browser, and providers that leave out what they are asked for.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A browser in which an account signed in, and then somebody came through the tenant's provider.
async fn shared(scene: &Scene) -> (Surfer, Connection, Idp) {
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(scene, &scene.tenant, joining()).await;
    proves(scene, &connection, "corp.test").await;
    let mut surfer = Surfer::default();
    let path = surfer.sets_out(scene, &[("tenant", "acme")]).await;
    let done = surfer.signs_in(scene, &path, scene.user.email.as_str(), PASSWORD).await;
    assert_eq!(subject(scene, &done).await, scene.user.id.as_str());
    scene.advance(MINUTE);
    let (_, out) = surfer.leaves(scene, "zoe@corp.test", &[("prompt", "select_account")]).await;
    let response = idp.response(scene, &connection, &out, &person("zoe", "zoe@corp.test"));
    let done = surfer.arrives(scene, &connection, &out, &response).await;
    assert_ne!(subject(scene, &done).await, scene.user.id.as_str());
    (surfer, connection, idp)
}

async fn subject(scene: &Scene, done: &Page) -> String {
    let tokens = tokens(scene, done).await;
    let claims = scene.claims(tokens["access_token"].as_str().unwrap());
    claims["sub"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn o21_i12_whoever_shows_a_password_comes_in_as_themselves() {
    let scene = scene().await;
    let (mut surfer, ..) = shared(&scene).await;
    scene.advance(MINUTE);
    // Nothing has to be newer: the choice alone is theirs.
    let more = [("tenant", "acme"), ("prompt", "select_account")];
    let path = surfer.sets_out(&scene, &more).await;
    let done = surfer.signs_in(&scene, &path, scene.user.email.as_str(), PASSWORD).await;
    assert_eq!(subject(&scene, &done).await, scene.user.id.as_str(), "as who was there before");
    // And stays so.
    let again = surfer.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert_eq!(subject(&scene, &again).await, scene.user.id.as_str());
}

#[tokio::test]
async fn o07_what_was_shown_elsewhere_makes_no_old_word_of_a_provider_new() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let bob = user(&scene.control, &bond, scene.user.email.as_str()).await;
    assert_eq!(bob.account, scene.user.account);
    let (mut surfer, ..) = shared(&scene).await;
    scene.advance(HOUR);
    // The account's factors are shown anew, to another tenant.
    let path = surfer.sets_out(&scene, &[("tenant", "bond"), ("prompt", "login")]).await;
    let done = surfer.signs_in(&scene, &path, scene.user.email.as_str(), PASSWORD).await;
    assert_eq!(subject(&scene, &done).await, bob.id.as_str());
    let control = surfer.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert!(control.answer().contains_key("code"), "without a demand");
    let asked = [("tenant", "acme"), ("max_age", "300")];
    let asked = surfer.asks(&scene, &scene.app, &asked).await;
    assert!(asked.leads_to().starts_with("/sign-in/"), "an hour is more than five minutes");
}

#[tokio::test]
async fn o07_a_provider_that_asks_nothing_anew_does_not_meet_a_demand_for_it() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "corp.test").await;
    let comes = async |more: &[(&str, &str)], shown: Duration| {
        let mut surfer = Surfer::default();
        let (path, out) = surfer.leaves(&scene, "zoe@corp.test", more).await;
        let who = Person { shown, ..person("zoe", "zoe@corp.test") };
        let response = idp.response(&scene, &connection, &out, &who);
        let done = surfer.arrives(&scene, &connection, &out, &response).await;
        let let_in = done.location().starts_with("https://app.test/cb?");
        assert!(let_in || done.leads_to() == path);
        let_in
    };
    assert!(comes(&[], HOUR).await, "nothing is asked for");
    assert!(comes(&[("max_age", "7200")], HOUR).await);
    assert!(comes(&[("prompt", "login")], Duration::ZERO).await);
    assert!(!comes(&[("max_age", "300")], HOUR).await);
    assert!(!comes(&[("prompt", "login")], HOUR).await);
}
