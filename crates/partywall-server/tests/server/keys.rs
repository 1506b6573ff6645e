//! Signing keys: published before use, overlapping, sealed.

use std::{collections::VecDeque, time::Duration};

use axum::http::StatusCode;
use bytes::Bytes;
use partywall::{Clock, Timestamp};
use partywall_server::{ControlError, ControlPlane, OpenError, SigningAlgorithm};

use crate::support::{Plane, START, TESTER, config, database, oracle, refusal, sealing_key};

const MINUTE: Duration = Duration::from_secs(60);

fn kids(jwks: &[u8]) -> Vec<String> {
    let jwks: serde_json::Value = serde_json::from_slice(jwks).unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn r02_no_token_fails_through_three_rotations_under_load() {
    let plane = Plane::with(|config| {
        config.keys.rotate_every = 60 * MINUTE;
        config.keys.publish_ahead = 10 * MINUTE;
        config.keys.jwks_max_age = 5 * MINUTE;
    })
    .await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let wall = plane.wall().await;

    // What a verifier that caches for five minutes may still have, oldest first; and every token
    // that has not expired.
    let mut cached: VecDeque<Bytes> = VecDeque::new();
    let mut alive: VecDeque<(Timestamp, String)> = VecDeque::new();
    let mut signers = std::collections::BTreeSet::new();
    for _ in 0..200 {
        plane.advance(MINUTE);
        let now = plane.clock.now();
        let fresh = async { (plane.token(&client).await, plane.token(&client).await) };
        // Tokens are asked for while the ring turns.
        let ((before, during), turned) = tokio::join!(fresh, plane.control.rotate_keys());
        turned.unwrap();
        let after = plane.token(&client).await;
        let jwks = plane.get("/idp/jwks").await.body;
        cached.push_back(jwks.clone());
        if cached.len() > 5 {
            cached.pop_front();
        }
        if plane.control.generation() > wall.generation().unwrap() {
            wall.accept(plane.control.bundle().await.unwrap().bytes).unwrap();
        }
        for token in [before, during, after] {
            for jwks in &cached {
                oracle(jwks, &token).expect("a fresh token fails against a cached key set");
            }
            alive.push_back((now + Duration::from_secs(600), token));
        }
        alive.retain(|(expires, _)| *expires > now);
        for (_, token) in &alive {
            oracle(&jwks, token).expect("a living token fails against the present key set");
            assert_eq!(refusal(&wall, token), None);
        }
        signers
            .extend(alive.back().map(|(_, token)| jsonwebtoken::decode_header(token).unwrap().kid));
        assert!(kids(&jwks).len() <= 2, "keys pile up");
    }
    assert!(signers.len() >= 4, "three rotations in 200 minutes, and not {}", signers.len() - 1);
}

#[tokio::test]
async fn i11_a_verifier_that_never_saw_the_publication_would_have_failed() {
    // The control of the test above: without the overlap there is something to fail.
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let before = plane.get("/idp/jwks").await.body;
    let old_token = plane.token(&client).await;

    plane.control.begin_key_rotation(&TESTER).await.unwrap();
    oracle(&before, &plane.token(&client).await).expect("published is not yet signing");
    plane.advance(Duration::from_secs(60 * 60));
    plane.control.rotate_keys().await.unwrap();
    let new_token = plane.token(&client).await;
    assert!(oracle(&before, &new_token).is_err(), "the new key was known before it was published");
    let now = plane.get("/idp/jwks").await.body;
    oracle(&now, &new_token).unwrap();
    oracle(&now, &old_token).expect("the retired key is withdrawn too early");

    // Ten minutes of token, five of cache, one for clocks: then the old key is nobody's.
    plane.advance(16 * MINUTE + Duration::from_secs(1));
    plane.control.rotate_keys().await.unwrap();
    let later = plane.get("/idp/jwks").await.body;
    assert_eq!(kids(&later).len(), 1);
    assert!(oracle(&later, &old_token).is_err());
    oracle(&later, &new_token).unwrap();
}

#[tokio::test]
async fn p06_another_algorithm_takes_over_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(config(database(dir.path()).await), START).await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let old_token = plane.token(&client).await;
    drop(plane);

    let mut changed = config(database(dir.path()).await);
    changed.keys.algorithm = SigningAlgorithm::EdDsa;
    let plane = Plane::open(changed, START + MINUTE).await;
    let alg = |token: &str| jsonwebtoken::decode_header(token).unwrap().alg;
    assert_eq!(
        alg(&plane.token(&client).await),
        jsonwebtoken::Algorithm::ES256,
        "not published for long enough"
    );
    plane.advance(60 * MINUTE);
    plane.control.rotate_keys().await.unwrap();
    let token = plane.token(&client).await;
    assert_eq!(alg(&token), jsonwebtoken::Algorithm::EdDSA);
    let jwks = plane.get("/idp/jwks").await.body;
    oracle(&jwks, &token).unwrap();
    oracle(&jwks, &old_token).unwrap();
    assert_eq!(refusal(&plane.wall().await, &token), None);
}

#[tokio::test]
async fn p06_a_withdrawn_key_is_nobodys_from_the_next_bundle_on() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let stolen = plane.token(&client).await;
    let wall = plane.wall().await;
    assert_eq!(refusal(&wall, &stolen), None);
    let [kid] = &kids(&plane.get("/idp/jwks").await.body)[..] else { panic!("one key") };

    let unknown = plane.control.withdraw_signing_key(&TESTER, "nope").await;
    assert!(matches!(unknown, Err(ControlError::UnknownSigningKey { .. })));
    plane.control.withdraw_signing_key(&TESTER, kid).await.unwrap();
    wall.accept(plane.control.bundle().await.unwrap().bytes).unwrap();
    assert_eq!(refusal(&wall, &stolen), Some("key_unknown"), "remembered or not");
    let jwks = plane.get("/idp/jwks").await.body;
    assert!(!kids(&jwks).contains(kid));
    assert!(oracle(&jwks, &stolen).is_err());
    let token = plane.token(&client).await;
    oracle(&jwks, &token).unwrap();
    assert_eq!(refusal(&wall, &token), None);
    let again = plane.control.withdraw_signing_key(&TESTER, kid).await;
    assert!(matches!(again, Err(ControlError::UnknownSigningKey { .. })));
}

#[tokio::test]
async fn p06_another_sealing_key_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |key: u8| {
        let mut config = config(database(dir.path()).await);
        config.sealing_key = sealing_key(key);
        let clock = std::sync::Arc::new(partywall::FixedClock::at(START));
        ControlPlane::open(config, clock).await
    };
    let bundle_key = open(7).await.unwrap().bundle_key().to_string();
    assert!(matches!(open(8).await, Err(OpenError::WrongSealingKey)));
    assert_eq!(open(7).await.unwrap().bundle_key().to_string(), bundle_key);
}

#[tokio::test]
async fn i41_the_key_set_is_served_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(config(database(dir.path()).await), START).await;
    let bundle = plane.get("/bundle").await.body;
    let file = dir.path().join("control.db");
    std::fs::write(&file, b"not a database any more").unwrap();
    assert_eq!(plane.get("/idp/jwks").await.status, StatusCode::OK);
    assert_eq!(plane.get("/bundle").await.body, bundle);
}
