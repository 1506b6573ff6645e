//! Invitations and new passwords.

use super::*;
use crate::{NewUser, UserId, provider::testing::TESTER, storage::users};

pub(super) async fn invited(
    scene: &Scene,
    of: &partywall::TenantId,
    email: &str,
) -> (UserId, String) {
    let new = NewUser {
        email: email.parse().unwrap(),
        name: "New".to_owned(),
        roles: Default::default(),
        metadata: Default::default(),
    };
    let user = scene.control.create_user(&TESTER, of, new).await.unwrap();
    let invitation = scene.control.invite(&TESTER, of, &user.id).await.unwrap();
    let path = invitation.link.expose().strip_prefix(ISSUER).unwrap().to_owned();
    (user.id, path)
}

async fn is_active(scene: &Scene, of: &partywall::TenantId, id: &UserId) -> bool {
    let found = users::find(scene.control.inner.db.reader(), of, id).await.unwrap().unwrap();
    found.status == crate::UserStatus::Active
}

#[tokio::test]
async fn i34_an_invitation_is_accepted_with_a_first_password() {
    let scene = scene().await;
    let (id, link) = invited(&scene, &scene.tenant, "new@acme.test").await;
    let mut new = Surfer::default();
    let page = new.get(&scene, &link).await;
    assert_eq!((page.status, page.heading()), (StatusCode::OK, "You are invited"));
    let weak = new.post(&scene, &link, &[("password", "short")]).await.leads_to();
    assert!(new.get(&scene, &weak).await.body.contains("Use at least"));
    let stolen = new.post_from(&scene, &link, &[("password", PASSWORD)], Some("https://e.test"));
    assert_eq!(stolen.await.status, StatusCode::FORBIDDEN);
    assert!(!is_active(&scene, &scene.tenant, &id).await);
    let accepted = new.post(&scene, &link, &[("password", PASSWORD)]).await;
    let own = format!("/account/{}", scene.tenant);
    assert_eq!(accepted.leads_to(), own);
    assert!(is_active(&scene, &scene.tenant, &id).await);
    assert_eq!(new.get(&scene, &own).await.heading(), "Your account", "and is in");
    assert_eq!(new.get(&scene, &link).await.status, StatusCode::NOT_FOUND, "once");
}

#[tokio::test]
async fn i02_whoever_has_an_account_signs_in_before_they_accept() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let (id, link) = invited(&scene, &bond, "ada@acme.test").await;
    let mut reader = Surfer::default();
    assert!(reader.get(&scene, &link).await.body.contains("You have an account already"));
    let sign_in = reader.post(&scene, &link, &[("password", "a password of mine")]).await;
    let sign_in = sign_in.leads_to();
    assert!(sign_in.starts_with("/sign-in/"));
    assert!(!is_active(&scene, &bond, &id).await, "whoever merely reads the mail");
    // Somebody else's account is not what was invited.
    let eve = user(&scene.control, &scene.tenant, "eve@acme.test").await;
    scene.has_password(&eve).await;
    reader.signs_in(&scene, &sign_in, "eve@acme.test", PASSWORD).await;
    assert_eq!(reader.get(&scene, &sign_in).await.heading(), "You cannot sign in here");
    reader.post(&scene, &sign_in, &[("step", "restart")]).await;
    let back = reader.signs_in(&scene, &sign_in, "ada@acme.test", PASSWORD).await;
    assert_eq!(back.leads_to(), link);
    assert!(!is_active(&scene, &bond, &id).await);
    let accepted = reader.post(&scene, &link, &[]).await;
    assert_eq!(accepted.leads_to(), format!("/account/{bond}"));
    assert!(is_active(&scene, &bond, &id).await);
}

#[tokio::test]
async fn r36_asking_for_a_new_password_tells_nobody_who_there_is() {
    let scene = scene().await;
    let mut anybody = Surfer::default();
    assert_eq!(anybody.get(&scene, "/forgot").await.heading(), "Set a new password");
    let mut answers = Vec::new();
    for email in ["ada@acme.test", "nobody@nowhere.test", "no address"] {
        let sent = anybody.post(&scene, "/forgot", &[("email", email)]).await;
        answers.push((sent.leads_to(), anybody.get(&scene, "/forgot?sent").await.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    for link in ["/reset/_.nothing", "/reset/x", "/invitation/t.x", "/invitation/_.x"] {
        let page = anybody.get(&scene, link).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{link}");
        assert_eq!(page.heading(), "This link is good no longer");
        let form = [("password", PASSWORD)];
        assert_eq!(anybody.post(&scene, link, &form).await.status, StatusCode::NOT_FOUND);
    }
}
