//! Chromium, driven by npm `playwright-core`, goes every way in that people go. On every page
//! `axe-core` looks for what keeps anybody out, and the browser itself must have nothing to
//! complain of: no policy violated, nothing missing.

use std::{collections::BTreeSet, path::Path, time::Duration};

use partywall::TenantId;
use partywall_server::{Branding, MailConfig, NewOperatorKey, NewUser, SignInPolicy};
use serde_json::{Value, json};

use super::{
    native, parts,
    postbox::Postbox,
    scene::{Scene, TESTER},
};

#[tokio::test(flavor = "multi_thread")]
async fn i42_people_come_in_by_every_way_in_a_browser() {
    drive("people.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i42_people_come_in_without_javascript() {
    drive("plain.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i42_people_change_how_they_sign_in_in_a_browser() {
    drive("account.mjs").await;
}

/// And nobody else: I-13, I-14, I-15, and a passkey that was shown to another site.
#[tokio::test(flavor = "multi_thread")]
async fn i42_people_are_turned_away_in_a_browser() {
    drive("refusals.mjs").await;
}

async fn drive(script: &str) {
    let letters = tempfile::tempdir().unwrap();
    let Some(chromium) = parts::chromium() else { return };
    let Some(postbox) = Postbox::open(letters.path()).await else { return };
    let scene = scene(&postbox).await;
    let mut judged = stage(&scene, letters.path()).await;
    judged["chromium"] = json!(chromium);
    parts::node(script, &judged).await;
    scene.stop().await;
}

/// Under a name, since a passkey belongs to one and not to an address.
async fn scene(postbox: &Postbox) -> Scene {
    let mail = MailConfig {
        server: format!("smtp://{}", postbox.address),
        from: "Vendor <login@vendor.test>".to_owned(),
        credentials: None,
    };
    Scene::start_as("localhost", |config| config.mail = Some(mail)).await
}

/// Tenants, who is invited to them, and applications. Everything else people do themselves.
async fn stage(scene: &Scene, letters: &Path) -> Value {
    let bond = scene.another_tenant("bond").await;
    let vault = scene.another_tenant("vault").await;
    let two_factors = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.control.set_sign_in_policy(&TESTER, &vault, two_factors, |_| true).await.unwrap();
    let look = Branding {
        display_name: Some("Acme Rockets".to_owned()),
        logo_uri: None,
        accent: Some("#ffcc00".to_owned()),
    };
    scene.control.set_branding(&TESTER, &scene.tenant, look, |_| true).await.unwrap();
    for (tenant, email) in [
        (&scene.tenant, "ada@people.test"),
        (&bond, "ada@people.test"),
        (&vault, "grace@people.test"),
        (&bond, "linus@people.test"),
        (&vault, "linus@people.test"),
    ] {
        invite(scene, tenant, email).await;
    }
    let asks = json!({
        "name": "Ledger", "authentication": "none",
        "registration": {
            "redirect_uris": ["http://127.0.0.1/cb"], "native": true, "asks_consent": true,
            "scopes": ["invoices:read"],
        },
    });
    let key = NewOperatorKey { name: "olga".to_owned(), lasts: Duration::from_secs(3600) };
    let key = scene.control.create_operator_key(&TESTER, key).await.unwrap();
    scene.judged(json!({
        "operatorKey": key.expose(), "letters": letters, "bond": bond, "vault": vault,
        "app": scene.application(native()).await, "asks": scene.application(asks).await,
    }))
}

async fn invite(scene: &Scene, tenant: &TenantId, email: &str) {
    let user = NewUser {
        email: email.parse().unwrap(),
        name: "A Person".to_owned(),
        roles: BTreeSet::new(),
        metadata: Default::default(),
    };
    let user = scene.control.create_user(&TESTER, tenant, user).await.unwrap();
    scene.control.invite(&TESTER, tenant, &user.id).await.unwrap();
}
