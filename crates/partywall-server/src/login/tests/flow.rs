//! Sign-ins from an application's request to its code.

use std::time::Duration;

use super::*;
use crate::{
    Actor, NewUser,
    login::{binding, session},
};

const EMAIL: &str = "ada@acme.test";

#[tokio::test]
async fn o09_somebody_signs_in_and_the_application_gets_tokens() {
    let scene = scene().await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    let first = ada.get(&scene, &path).await;
    assert_eq!((first.status, first.heading()), (StatusCode::OK, "Sign in to web"));
    let done = ada.signs_in(&scene, &path, EMAIL, PASSWORD).await;
    let answer = done.answer();
    assert_eq!((&*answer["state"], &*answer["iss"]), ("s", ISSUER));
    let form = format!(
        "grant_type=authorization_code&client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb\
         &code_verifier={VERIFIER}&code={}",
        scene.app.client_id, answer["code"]
    );
    let (_, tokens) = scene.post("/token", &form).await;
    let claims = scene.claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], scene.user.id.as_str());
    assert_eq!(claims["tid"], scene.tenant.as_str());
    assert_eq!(claims["amr"], json!(["pwd"]));
    assert!(claims["sid"].is_string() || claims["sid"].is_null());

    // Used up: neither shown nor played again.
    assert_eq!(ada.get(&scene, &path).await.status, StatusCode::NOT_FOUND);
    let again = ada.post(&scene, &path, &[("step", "restart")]).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    // And the next application asks nothing.
    assert!(ada.asks(&scene, &scene.app, &[]).await.answer().contains_key("code"));
    let events = scene.security_events().await;
    for happened in ["sign_in.password success", "sign_in.enter success"] {
        assert!(events.iter().any(|event| event == happened), "{happened}: {events:?}");
    }
}

#[tokio::test]
async fn r36_whoever_does_not_come_in_hears_the_same() {
    let scene = scene().await;
    let without = user(&scene.control, &scene.tenant, "bob@acme.test").await;
    let mut pages = Vec::new();
    for (email, password) in [
        (EMAIL, "wrong and wrong again"),
        ("nobody@nowhere.test", PASSWORD),
        (without.email.as_str(), PASSWORD),
    ] {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[]).await;
        let tried = surfer.signs_in(&scene, &path, email, password).await;
        assert_eq!(tried.leads_to(), path);
        assert!(!surfer.cookies.contains_key(session::COOKIE_NAME), "{email} has a session");
        let page = surfer.get(&scene, &path).await;
        assert!(page.body.contains("role=\"alert\""));
        pages.push((page.status, page.body.replace(email, "-").replace(&path, "-")));
    }
    assert!(pages.iter().all(|page| *page == pages[0]), "the pages differ");
    // So do the pages of a tenant there is and of one there is not.
    let mut seen = Vec::new();
    for tenant in ["acme", "no-such-tenant"] {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[("tenant", tenant)]).await;
        let page = surfer.get(&scene, &path).await;
        let policy = page.headers["content-security-policy"].clone();
        seen.push((page.status, policy, page.body.replace(&path, "-")));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn j20_a_session_has_a_new_name_after_signing_in() {
    let scene = scene().await;
    let mut ada = Surfer::default();
    let planted = "A".repeat(43);
    ada.cookies.insert(session::COOKIE_NAME.to_owned(), planted.clone());
    let path = ada.sets_out(&scene, &[]).await;
    ada.signs_in(&scene, &path, EMAIL, PASSWORD).await;
    let first = ada.cookies[session::COOKIE_NAME].clone();
    assert_ne!(first, planted);
    let path = ada.sets_out(&scene, &[("prompt", "login")]).await;
    assert_eq!(ada.get(&scene, &path).await.heading(), "Enter your password", "known already");
    let again = ada.post(&scene, &path, &[("step", "password"), ("password", PASSWORD)]).await;
    assert!(again.answer().contains_key("code"));
    assert_ne!(ada.cookies[session::COOKIE_NAME], first);
    let mut thief = Surfer::default();
    thief.cookies.insert(session::COOKIE_NAME.to_owned(), first);
    let stolen = thief.asks(&scene, &scene.app, &[]).await;
    assert!(!stolen.location().contains("code="), "the old name is good for nothing");
}

#[tokio::test]
async fn o21_a_sign_in_belongs_to_the_browser_that_began_it() {
    let scene = scene().await;
    let (mut ada, mut eve) = (Surfer::default(), Surfer::default());
    let path = ada.sets_out(&scene, &[]).await;
    eve.sets_out(&scene, &[]).await;
    assert_eq!(eve.get(&scene, &path).await.status, StatusCode::NOT_FOUND);
    let posted = eve.post(&scene, &path, &[("step", "identify"), ("email", EMAIL)]).await;
    assert_eq!(posted.status, StatusCode::NOT_FOUND);
    let mut none = Surfer::default();
    assert_eq!(none.get(&scene, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.get(&scene, &path).await.status, StatusCode::OK, "the control");
    // A second tab shares the browser's cookie.
    let other = ada.sets_out(&scene, &[]).await;
    for path in [&path, &other] {
        assert_eq!(ada.get(&scene, path).await.status, StatusCode::OK);
    }
    assert!(ada.cookies.contains_key(binding::COOKIE_NAME));
    // Late, it is nobody's.
    scene.advance(Duration::from_secs(31 * 60));
    assert_eq!(ada.get(&scene, &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn p03_a_form_from_elsewhere_does_nothing() {
    let scene = scene().await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    let form = [("step", "identify"), ("email", "eve@evil.test")];
    for origin in [Some("https://evil.test"), Some("null"), None] {
        let page = ada.post_from(&scene, &path, &form, origin).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    }
    assert_eq!(ada.get(&scene, &path).await.heading(), "Sign in to web");
    let own = ada.post(&scene, &path, &form).await;
    assert_eq!(own.leads_to(), path, "the control");
    assert_eq!(ada.get(&scene, &path).await.heading(), "Enter your password");
}

#[tokio::test]
async fn i15_a_second_factor_is_shown_at_this_very_sign_in() {
    let scene = scene().await;
    let secret = scene.has_app(&scene.user).await;
    scene.advance(Duration::from_secs(60));
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    assert_eq!(ada.signs_in(&scene, &path, EMAIL, PASSWORD).await.leads_to(), path);
    assert_eq!(ada.get(&scene, &path).await.heading(), "Enter a code");
    assert!(!ada.cookies.contains_key(session::COOKIE_NAME), "half a sign-in is none");
    let wrong = ada.post(&scene, &path, &[("step", "second_factor"), ("code", "000000")]).await;
    assert_eq!(wrong.leads_to(), path);
    // The password's page is no way round it.
    let round = ada.post(&scene, &path, &[("step", "choose_tenant"), ("tenant", "x")]).await;
    assert_eq!(round.leads_to(), path);
    let code = totp::tests::app_shows(&secret, scene.control.now());
    let right = ada.post(&scene, &path, &[("step", "second_factor"), ("code", &code)]).await;
    assert!(right.answer().contains_key("code"));
}

#[tokio::test]
async fn i15_whoever_has_no_second_factor_sets_one_up_where_it_is_asked_for() {
    let scene = scene().await;
    let strict = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, strict).await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    assert_eq!(ada.signs_in(&scene, &path, EMAIL, PASSWORD).await.leads_to(), path);
    assert_eq!(ada.get(&scene, &path).await.heading(), "Set up a second factor");
    ada.post(&scene, &path, &[("step", "enrol")]).await;
    let page = ada.get(&scene, &path).await;
    let from = page.body.find("<code>").unwrap() + 6;
    let secret = Secret::new(page.body[from..from + 32].to_owned());
    let wrong = ada.post(&scene, &path, &[("step", "enrol"), ("code", "000000")]).await;
    assert_eq!(wrong.leads_to(), path);
    let code = totp::tests::app_shows(&secret, scene.control.now());
    let right = ada.post(&scene, &path, &[("step", "enrol"), ("code", &code)]).await;
    assert!(right.answer().contains_key("code"), "two factors");
}

/// Else whoever may invite could put a tenant's name before anybody.
#[tokio::test]
async fn i18_an_invitation_that_was_not_accepted_is_no_choice() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let invited = NewUser {
        email: EMAIL.parse().unwrap(),
        name: "Ada".to_owned(),
        roles: Default::default(),
        metadata: Default::default(),
    };
    scene.control.create_user(&Actor::System("test"), &bond, invited).await.unwrap();
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    let done = ada.signs_in(&scene, &path, EMAIL, PASSWORD).await;
    assert!(done.answer().contains_key("code"), "there is but one");
    // The same without a sign-in, and where it is asked for by name.
    assert!(ada.asks(&scene, &scene.app, &[]).await.answer().contains_key("code"));
    let path = ada.sets_out(&scene, &[("tenant", bond.as_str())]).await;
    let told = ada.get(&scene, &path).await;
    assert!(told.body.contains("have not accepted yet"), "{}", told.body);
}

#[tokio::test]
async fn i18_whoever_belongs_to_several_chooses_after_signing_in() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    user(&scene.control, &bond, EMAIL).await;
    let foreign = tenant(&scene.control, "foreign").await;
    user(&scene.control, &foreign, "eve@foreign.test").await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    assert_eq!(ada.signs_in(&scene, &path, EMAIL, PASSWORD).await.leads_to(), path);
    let chooser = ada.get(&scene, &path).await;
    assert_eq!(chooser.heading(), "Choose an organisation");
    assert!(chooser.body.contains("acme") && chooser.body.contains("bond"));
    assert!(!chooser.body.contains("foreign"));
    // I-16: another tenant is as good as none.
    for other in [foreign.as_str(), "t-nowhere", ""] {
        let form = [("step", "choose_tenant"), ("tenant", other)];
        assert_eq!(ada.post(&scene, &path, &form).await.leads_to(), path, "{other}");
    }
    let form = [("step", "choose_tenant"), ("tenant", bond.as_str())];
    assert!(ada.post(&scene, &path, &form).await.answer().contains_key("code"));
}

#[tokio::test]
async fn i14_the_second_tenant_asks_for_what_it_wants() {
    let scene = scene().await;
    let secret = scene.has_app(&scene.user).await;
    let bond = tenant(&scene.control, "bond").await;
    user(&scene.control, &bond, EMAIL).await;
    let strict = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.asks_of_members(&bond, strict).await;
    scene.advance(Duration::from_secs(60));
    let cookie = scene.signed_in(&scene.user, &[crate::login::Amr::Password]).await;
    let (name, value) = cookie.split_once('=').unwrap();
    let mut ada = Surfer::default();
    ada.cookies.insert(name.to_owned(), value.to_owned());
    let acme = ada.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert!(acme.answer().contains_key("code"), "one factor does for acme");
    let path = ada.sets_out(&scene, &[("tenant", "bond")]).await;
    assert_eq!(ada.get(&scene, &path).await.heading(), "Enter a code");
    let code = totp::tests::app_shows(&secret, scene.control.now());
    let right = ada.post(&scene, &path, &[("step", "second_factor"), ("code", &code)]).await;
    assert!(right.answer().contains_key("code"));
}

#[tokio::test]
async fn o12_b18_a_hint_chooses_no_tenant_and_nobody_enters_another_one() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    user(&scene.control, &bond, "eve@bond.test").await;
    for asked in ["bond", "no-such-tenant"] {
        let mut ada = Surfer::default();
        let path = ada.sets_out(&scene, &[("tenant", asked), ("login_hint", EMAIL)]).await;
        let form = [("step", "password"), ("password", PASSWORD)];
        assert_eq!(ada.post(&scene, &path, &form).await.leads_to(), path);
        let page = ada.get(&scene, &path).await;
        assert_eq!(page.heading(), "You cannot sign in here", "{asked}");
        assert!(page.body.contains("does not belong to the organisation you asked for"));
        let back = ada.post(&scene, &path, &[("step", "cancel")]).await;
        assert_eq!(back.answer()["error"], "access_denied");
    }
}

#[tokio::test]
async fn o20_consent_shows_who_and_what_and_is_asked_for_once() {
    let scene = scene().await;
    let how = json!({
        "authentication": "none", "name": "Ledger <b>", "registration": {
            "redirect_uris": ["https://app.test/cb"], "asks_consent": true,
            "grants": ["authorization_code"], "scopes": ["openid", "invoices:read"],
        },
    });
    let app = application(&scene.control, None, how).await;
    let mut ada = Surfer::default();
    let path = ada.asks(&scene, &app, &[]).await.leads_to();
    assert_eq!(ada.signs_in(&scene, &path, EMAIL, PASSWORD).await.leads_to(), path);
    let page = ada.get(&scene, &path).await;
    assert_eq!(page.heading(), "Allow Ledger &#60;b&#62;?", "every value is escaped");
    for shown in ["Know who you are", "Use invoices:read", "acme", EMAIL, "10 minutes"] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let no = ada.post(&scene, &path, &[("step", "consent"), ("answer", "deny")]).await;
    assert_eq!(no.answer()["error"], "access_denied");

    let path = ada.asks(&scene, &app, &[]).await.leads_to();
    let yes = ada.post(&scene, &path, &[("step", "consent"), ("answer", "allow")]).await;
    assert!(yes.answer().contains_key("code"));
    assert!(ada.asks(&scene, &app, &[]).await.answer().contains_key("code"), "not asked again");
    let insisting = [("prompt", "consent")];
    let again = ada.asks(&scene, &app, &insisting).await.leads_to();
    assert!(ada.get(&scene, &again).await.heading().starts_with("Allow"), "but if insisted on");
    let yes = ada.post(&scene, &again, &[("step", "consent"), ("answer", "allow")]).await;
    assert!(yes.answer().contains_key("code"));
}

#[tokio::test]
async fn i13_a_tenant_locked_to_its_own_provider_takes_no_password() {
    let scene = scene().await;
    let locked = SignInPolicy { sso_only: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, locked).await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    assert_eq!(ada.signs_in(&scene, &path, EMAIL, PASSWORD).await.leads_to(), path);
    let page = ada.get(&scene, &path).await;
    assert!(page.body.contains("Your organisation asks for another way of signing in."));
    scene.asks_of_members(&scene.tenant, SignInPolicy::default()).await;
    let control = ada.get(&scene, &path).await;
    assert!(control.answer().contains_key("code"), "the control");
}

#[tokio::test]
async fn i40_the_choice_among_many_is_paged() {
    let scene = scene().await;
    for number in 0..24 {
        let more = tenant(&scene.control, &format!("more-{number}")).await;
        user(&scene.control, &more, EMAIL).await;
    }
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    ada.signs_in(&scene, &path, EMAIL, PASSWORD).await;
    let first = ada.get(&scene, &path).await;
    assert_eq!(first.body.matches("value=\"choose_tenant\"").count(), 20);
    let from = first.body.find("?after=").unwrap();
    let after: String = first.body[from..].chars().take_while(|c| *c != '"').collect();
    let second = ada.get(&scene, &format!("{path}{after}")).await;
    assert_eq!(second.body.matches("value=\"choose_tenant\"").count(), 5);
    assert!(!second.body.contains("?after="));
}

#[tokio::test]
async fn i12_of_two_tabs_that_finish_one_gets_the_code() {
    let scene = scene().await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    ada.post(&scene, &path, &[("step", "identify"), ("email", EMAIL)]).await;
    let mut other = Surfer { cookies: ada.cookies.clone() };
    let form = [("step", "password"), ("password", PASSWORD)];
    let both = (ada.post(&scene, &path, &form), other.post(&scene, &path, &form));
    let (one, two) = tokio::join!(both.0, both.1);
    let codes = [one, two].iter().filter(|page| page.status == StatusCode::SEE_OTHER).count();
    assert_eq!(codes, 1);
}

#[tokio::test]
async fn o08_a_tenants_own_issuer_has_the_pages_too() {
    use partywall::{DeploymentModel, Placement, Placements};

    let scene = scene().await;
    let silo = Placement { model: DeploymentModel::Silo, target: "eu-1".parse().unwrap() };
    let placements = Placements::from_iter([("main".parse().unwrap(), silo)]);
    let new = crate::NewTenant::new("hooli".parse().unwrap(), "free".parse().unwrap(), placements);
    let tester = crate::provider::testing::TESTER;
    let hooli = scene.control.create_tenant(&tester, new).await.unwrap().id().clone();
    user(&scene.control, &hooli, EMAIL).await;
    let mut ada = Surfer::default();
    let query = format!(
        "client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb&response_type=code&scope=openid\
         &state=s&code_challenge={CHALLENGE}&code_challenge_method=S256",
        scene.app.client_id
    );
    let path = ada.get(&scene, &format!("/t/hooli/authorize?{query}")).await.leads_to();
    assert!(path.starts_with("/t/hooli/sign-in/"), "{path}");
    let page = ada.get(&scene, &path).await;
    assert_eq!(page.heading(), "Sign in to web");
    let style = page.body.find("/t/hooli/assets/").unwrap();
    let style: String = page.body[style..].chars().take_while(|c| *c != '"').collect();
    assert_eq!(ada.get(&scene, &style).await.status, StatusCode::OK);
    // A sign-in goes on where it was begun.
    let elsewhere = path.strip_prefix("/t/hooli").unwrap();
    assert_eq!(ada.get(&scene, elsewhere).await.status, StatusCode::NOT_FOUND);
    let done = ada.signs_in(&scene, &path, EMAIL, PASSWORD).await;
    let answer = done.answer();
    assert!(answer.contains_key("code"));
    assert_eq!(answer["iss"], format!("{ISSUER}/t/hooli"));
    // Its account page is of its own tenant.
    let own = ada.get(&scene, "/t/hooli/account").await.leads_to();
    assert_eq!(own, format!("/t/hooli/account/{hooli}"));
    assert_eq!(ada.get(&scene, &own).await.heading(), "Your account");
    let other = ada.get(&scene, &format!("/t/hooli/account/{}", scene.tenant)).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn i15_a_password_that_was_changed_meanwhile_is_no_first_factor() {
    for changed in [false, true] {
        let scene = scene().await;
        let secret = scene.has_app(&scene.user).await;
        let mut thief = Surfer::default();
        let path = thief.sets_out(&scene, &[]).await;
        thief.signs_in(&scene, &path, "ada@acme.test", PASSWORD).await;
        assert_eq!(thief.get(&scene, &path).await.heading(), "Enter a code");
        scene.advance(std::time::Duration::from_secs(60));
        if changed {
            scene.has_password(&scene.user).await;
        }
        let code = totp::tests::app_shows(&secret, scene.control.now());
        let form = [("step", "second_factor"), ("code", &*code)];
        let answer = thief.post(&scene, &path, &form).await;
        if changed {
            assert_eq!(answer.leads_to(), path);
            let page = thief.get(&scene, &path).await;
            assert_eq!(page.heading(), "Sign in to web");
            assert!(page.body.contains("Your password was changed"));
        } else {
            assert!(answer.answer().contains_key("code"));
        }
    }
}
