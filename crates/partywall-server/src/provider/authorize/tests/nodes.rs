//! Several servers on one database, asked for the same thing at once. On PostgreSQL they are
//! what runs in production; on SQLite they share a file.

use std::collections::BTreeSet;

use super::*;
use crate::{
    control::tests_support,
    keys::{KeyPurpose, KeyState},
    storage::{catalogue, signing_keys},
};

const AT_ONCE: usize = 100;
const SERVERS: usize = 3;

/// R-14 wants ten thousand: `PARTYWALL_TEST_ROUNDS=10000`.
fn rounds() -> usize {
    let asked = std::env::var("PARTYWALL_TEST_ROUNDS").ok();
    asked.map_or(5, |asked| asked.parse().unwrap())
}

/// Sends the same request many times at once, to each server in turn.
async fn to_all(servers: &[axum::Router], form: &str) -> Vec<(StatusCode, Value)> {
    let mut all = tokio::task::JoinSet::new();
    for number in 0..AT_ONCE {
        let (server, form) = (servers[number % servers.len()].clone(), form.to_owned());
        all.spawn(async move { testing::post(server, "/token", &form).await });
    }
    all.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_of_a_hundred_redemptions_on_three_servers_one_wins() {
    let scene = Scene::new().await;
    let servers = scene.servers(SERVERS).await;
    for _ in 0..rounds() {
        let offline = [("scope", Some("openid offline_access"))];
        let code = scene.code(&offline).await;
        let client = scene.app.client_id.as_str();
        let form = format!(
            "grant_type=authorization_code&client_id={client}&code={code}\
             &code_verifier={VERIFIER}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb"
        );
        let answers = to_all(&servers, &form).await;
        let won: Vec<&Value> = answers
            .iter()
            .filter(|(status, _)| *status == StatusCode::OK)
            .map(|(_, a)| a)
            .collect();
        assert_eq!(won.len(), 1, "exactly one is the first");
        let lost = answers.iter().filter(|(status, _)| *status != StatusCode::OK);
        for (status, answer) in lost {
            assert_eq!(*status, StatusCode::BAD_REQUEST);
            assert_eq!(answer["error"], "invalid_grant");
        }
        // RFC 6749 4.1.2: all but one had a copy, so what the first was given has ended.
        let refresh = text(won[0], "refresh_token");
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");
        let (_, answer) = testing::post(servers[0].clone(), "/token", &form).await;
        assert_eq!(answer["error"], "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_hundred_refreshes_on_three_servers_lead_to_one_successor() {
    let scene = Scene::new().await;
    let servers = scene.servers(SERVERS).await;
    let mut token = scene.refresh_token("openid").await;
    for round in 1..=rounds() {
        let client = scene.app.client_id.as_str();
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        let answers = to_all(&servers, &form).await;
        let successors: BTreeSet<String> =
            answers.iter().map(|(_, answer)| text(answer, "refresh_token")).collect();
        assert_eq!(successors.len(), 1);
        token = successors.into_iter().next().unwrap();
        assert_eq!(scene.grants().await[0].turn, u64::try_from(round).unwrap(), "one turned it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m03_servers_that_start_and_turn_keys_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let open = || tests_support::control(dir.path());
    let (one, two, three) = tokio::join!(open(), open(), open());
    let all = [&one, &two, &three];
    let db = one.inner.db.reader();
    let done = catalogue::texts(db, "SELECT version FROM seaql_migrations ORDER BY version").await;
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), done.len(), "each was done once");
    for other in all {
        assert_eq!(other.bundle_key().to_string(), one.bundle_key().to_string());
    }

    let turn = |control: &crate::ControlPlane| {
        let control = control.clone();
        async move { control.begin_key_rotation(&testing::TESTER).await.map(drop) }
    };
    let (a, b, c) = tokio::join!(turn(&one), turn(&two), turn(&three));
    a.and(b).and(c).unwrap();
    let (a, b, c) = tokio::join!(one.rotate_keys(), two.rotate_keys(), three.rotate_keys());
    a.and(b).and(c).unwrap();
    for other in all {
        other.refresh().await.unwrap();
    }
    let keys = signing_keys::all(db, &KeyPurpose::Token).await.unwrap();
    let active = keys.iter().filter(|key| key.state == KeyState::Active).count();
    assert_eq!(active, 1, "one key signs");
    let jwks = one.token_keys().unwrap().jwks().clone();
    for other in all {
        assert_eq!(*other.token_keys().unwrap().jwks(), jwks);
        assert_eq!(other.generation(), one.generation());
    }
}
