//! One standard token, whatever the way in (M-09).

use std::collections::BTreeSet;

use partywall::{AccessToken, Partywall};

use super::*;
use crate::provider::testing::as_machine;

fn names(claims: &Value) -> BTreeSet<String> {
    claims.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn m09_every_way_in_gives_the_same_token() {
    let scene = Scene::new().await;
    let ways = [
        vec![Amr::Password],
        vec![Amr::Password, Amr::Totp],
        vec![Amr::Password, Amr::RecoveryCode],
        vec![Amr::Passkey, Amr::UserVerified],
    ];
    let mut tokens = Vec::new();
    for amr in &ways {
        let cookie = scene.signed_in(&scene.user, amr).await;
        let code = scene.authorize(&cookie, &[]).await.code();
        tokens.push(text(&scene.redeem(&code, &[]).await, "access_token"));
    }
    let refresh = scene.refresh_token("openid invoices:read").await;
    let form = format!(
        "grant_type=refresh_token&client_id={}&refresh_token={refresh}&scope=openid+invoices:read",
        scene.app.client_id
    );
    tokens.push(text(&scene.post("/token", &form).await.1, "access_token"));
    let robot = scene.machine().await;
    let form = format!("grant_type=client_credentials&{}", as_machine(&robot));
    let of_machine = text(&scene.post("/token", &form).await.1, "access_token");

    // A grant that began outside a session has none; all else is there, whatever was shown.
    let shape = |token: &str| {
        let mut names = names(&scene.claims(token));
        names.remove("sid");
        names
    };
    let expected = shape(&tokens[0]);
    for token in &tokens {
        assert_eq!(shape(token), expected, "{}", scene.claims(token));
    }
    // What a machine has none of is left out, and nothing is added.
    let machine = shape(&of_machine);
    let left_out: Vec<_> = expected.difference(&machine).collect();
    assert_eq!(left_out, ["acr", "amr", "auth_time"]);
    assert!(machine.is_subset(&expected), "{machine:?}");

    let wall = Partywall::builder()
        .audience("https://api.test")
        .trust(scene.control.bundle_key().clone())
        .clock(std::sync::Arc::clone(&scene.clock) as std::sync::Arc<dyn partywall::Clock>)
        .build()
        .unwrap();
    wall.accept(scene.control.bundle().await.unwrap().bytes).unwrap();
    for token in tokens.iter().chain([&of_machine]) {
        let context = wall.verify(AccessToken::new(token)).unwrap();
        assert_eq!(context.tenant(), &scene.tenant);
        let subject =
            if *token == of_machine { robot.client_id.as_str() } else { scene.user.id.as_str() };
        assert_eq!(context.principal().subject().as_str(), subject);
    }
}
