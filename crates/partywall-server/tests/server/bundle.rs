//! The bundle as enforcement points fetch it.

use std::time::Duration;

use axum::http::StatusCode;
use partywall::{
    TenantStatus,
    bundle::{BundleTrust, Generation, SignedBundle},
    token::{IssuerConfig, KeySource, Profile},
};
use partywall_server::{ControlPlane, OpenError};

use crate::support::{Plane, START, TESTER, config, refusal, sqlite};

#[tokio::test]
async fn m06_a_bundle_is_all_an_enforcement_point_needs() {
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let token = plane.token(&plane.machine(tenant.id()).await).await;
    let reply = plane.get("/bundle").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "application/octet-stream");
    assert_eq!(reply.header("etag"), format!("\"{}\"", plane.control.generation()));

    let trust = BundleTrust::from(plane.control.bundle_key().clone());
    let bundle = SignedBundle::new(reply.body.clone()).check(&trust).unwrap();
    let entry = bundle.tenant(tenant.id()).unwrap();
    assert_eq!((entry.slug(), entry.status()), ("acme", TenantStatus::Active));
    assert_eq!(entry.placements(), Some(&tenant.record.placements));
    assert_eq!(bundle.created(), START);
    assert_eq!(bundle.expires(), START + Duration::from_secs(72 * 60 * 60));
    assert_eq!(refusal(&plane.wall().await, &token), None);

    // Another control plane's bundle is nothing to whoever pins this one's key.
    let other = Plane::new().await;
    let foreign = SignedBundle::new(other.get("/bundle").await.body);
    assert_eq!(foreign.check(&trust).unwrap_err().code(), "foreign_key");
}

#[tokio::test]
async fn m06_who_has_the_latest_is_told_so() {
    let plane = Plane::new().await;
    let first = plane.get("/bundle").await;
    let etag = first.header("etag");
    let same = plane.get_if_none_match("/bundle", etag).await;
    assert_eq!((same.status, same.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let weak = plane.get_if_none_match("/bundle", &format!("\"0\", W/{etag}")).await;
    assert_eq!(weak.status, StatusCode::NOT_MODIFIED);
    let generation = plane.control.generation();
    let after = plane.get(&format!("/bundle?after={generation}")).await;
    assert_eq!(after.status, StatusCode::NOT_MODIFIED);

    plane.tenant("acme").await;
    let newer = plane.get_if_none_match("/bundle", etag).await;
    assert_eq!(newer.status, StatusCode::OK);
    assert_ne!(newer.header("etag"), etag);
    assert_eq!(plane.get(&format!("/bundle?after={generation}")).await.body, newer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m06_a_long_poll_answers_when_something_changes() {
    let plane = std::sync::Arc::new(Plane::new().await);
    let wall = plane.wall().await;
    let path = format!("/bundle?after={}&wait=30", plane.control.generation());
    let poll = tokio::spawn({
        let (plane, path) = (std::sync::Arc::clone(&plane), path.clone());
        async move { plane.get(&path).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!poll.is_finished(), "it answers before there is anything to say");
    plane.tenant("acme").await;
    let reply = tokio::time::timeout(Duration::from_secs(5), poll).await.unwrap().unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(wall.accept(reply.body).unwrap(), plane.control.generation());

    let path = format!("/bundle?after={}&wait=1", plane.control.generation());
    let waited = std::time::Instant::now();
    assert_eq!(plane.get(&path).await.status, StatusCode::NOT_MODIFIED);
    assert!(waited.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn m06_a_delta_leads_where_the_full_bundle_does() {
    let plane = Plane::new().await;
    let (acme, rival) = (plane.tenant("acme").await, plane.tenant("rival").await);
    for number in 0..10 {
        plane.tenant(&format!("bystander-{number}")).await;
    }
    let client = plane.machine(acme.id()).await;
    let token = plane.token(&client).await;
    let by_delta = plane.wall().await;
    let base = by_delta.generation().unwrap();

    plane.control.set_status(&TESTER, rival.id(), TenantStatus::Suspended).await.unwrap();
    plane.control.revoke_machine(&TESTER, &client.client_id).await.unwrap();
    let newcomer = plane.tenant("newcomer").await;
    let reply = plane.get(&format!("/bundle?after={base}&delta=true")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(by_delta.accept(reply.body.clone()).unwrap(), plane.control.generation());
    let trust = BundleTrust::from(plane.control.bundle_key().clone());
    let alone = SignedBundle::new(reply.body.clone()).check(&trust);
    assert_eq!(alone.unwrap_err().code(), "wrong_base", "it was a full bundle after all");

    let by_full = plane.wall().await;
    for wall in [&by_delta, &by_full] {
        let bundle = wall.bundle().unwrap();
        assert_eq!(bundle.tenant(rival.id()).unwrap().status(), TenantStatus::Suspended);
        assert_eq!(bundle.tenant(acme.id()).unwrap().status(), TenantStatus::Active);
        assert!(bundle.tenant(newcomer.id()).is_some());
        assert_eq!(refusal(wall, &token), Some("revoked"));
    }
    // Whoever did not ask for a delta, or comes from nowhere, gets the whole.
    let full = plane.control.bundle().await.unwrap().bytes;
    assert_eq!(plane.get(&format!("/bundle?after={base}")).await.body, full);
    assert_eq!(plane.get("/bundle?after=0&delta=true").await.body, full);
    let again = plane.get(&format!("/bundle?after={base}&delta=true")).await;
    assert_eq!(again.body, reply.body);
}

#[tokio::test]
async fn r19_what_is_asked_wrongly_is_answered_with_what_to_ask() {
    let plane = Plane::new().await;
    assert_eq!(plane.get("/bundle?after=1").await.status, StatusCode::OK);
    for query in [
        "after=x",
        "after=-1",
        "after=1&wait=31",
        "wait=1",
        "delta=true",
        "other=1",
        "after=1&after=2",
    ] {
        let reply = plane.get(&format!("/bundle?{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(reply.json()["error_description"].as_str().unwrap().contains("after=<generation>"));
    }
}

#[tokio::test]
async fn m06_a_bundle_file_is_written_whole() {
    let plane = Plane::new().await;
    plane.tenant("acme").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.pwb");
    std::fs::write(&path, b"the one before").unwrap();
    let generation = plane.control.write_bundle(&path).await.unwrap();
    assert_eq!(generation, plane.control.generation());
    assert_eq!(std::fs::read(&path).unwrap(), plane.get("/bundle").await.body);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside it");
}

#[tokio::test]
async fn m06_a_bundle_is_made_anew_before_it_runs_out() {
    let plane = Plane::new().await;
    let before = plane.control.generation();
    plane.advance(Duration::from_secs(59 * 60));
    plane.control.keep_bundle_fresh().await.unwrap();
    assert_eq!(plane.control.generation(), before, "it is fresh enough");
    plane.advance(Duration::from_secs(60));
    let wall = plane.wall().await;
    plane.control.keep_bundle_fresh().await.unwrap();
    assert_eq!(plane.control.generation(), Generation(before.0 + 1));
    wall.accept(plane.control.bundle().await.unwrap().bytes).unwrap();
    assert_eq!(wall.bundle().unwrap().created(), START + Duration::from_secs(60 * 60));
}

#[tokio::test]
async fn r19_issuers_no_enforcement_point_could_use_are_refused_before_they_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let donor = Plane::new().await;
    let jwks: serde_json::Value = donor.get("/idp/jwks").await.json();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, jwks.to_string()).unwrap();
    let open = |issuers: Vec<IssuerConfig>| {
        let mut config = config(sqlite(dir.path()));
        config.external_issuers = issuers;
        ControlPlane::open(config, std::sync::Arc::new(partywall::FixedClock::at(START)))
    };
    let issuer = |name: &str, jwks| IssuerConfig::new(name, Profile::Partywall, jwks);
    let (inline, from_file) = (KeySource::Inline(jwks.clone()), KeySource::File(file));

    let own = open(vec![issuer(crate::support::ISSUER, inline.clone())]).await;
    assert!(matches!(own, Err(OpenError::Issuer(_))), "somebody else's keys under our name");
    let empty =
        open(vec![issuer("https://x.test", KeySource::Inline(serde_json::json!({})))]).await;
    assert!(matches!(empty, Err(OpenError::Issuer(_))));
    let twice =
        open(vec![issuer("https://x.test", inline.clone()), issuer("https://x.test", inline)])
            .await;
    assert!(matches!(twice, Err(OpenError::Issuer(_))));
    let missing =
        open(vec![issuer("https://x.test", KeySource::File("nowhere.json".into()))]).await;
    assert!(matches!(missing, Err(OpenError::KeySetFile { .. })));

    // The control: a good one is taken, its file inlined, and the generation rises.
    let before = open(Vec::new()).await.unwrap().generation();
    let control = open(vec![issuer("https://x.test", from_file)]).await.unwrap();
    assert!(control.generation() > before);
    let trust = BundleTrust::from(control.bundle_key().clone());
    let bundle = SignedBundle::new(control.bundle().await.unwrap().bytes).check(&trust).unwrap();
    let named: Vec<_> = bundle.issuers().iter().map(IssuerConfig::issuer).collect();
    assert_eq!(named, [crate::support::ISSUER, "https://x.test"]);
    assert!(bundle.issuers().iter().all(|issuer| matches!(issuer.jwks, KeySource::Inline(_))));
}

#[tokio::test]
async fn r19_a_poisoned_row_stops_no_enforcement_point() {
    use sqlx::Connection;

    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(config(sqlite(dir.path())), START).await;
    let (acme, rival) = (plane.tenant("acme").await, plane.tenant("rival").await);
    let good = plane.get("/bundle").await;
    let wall = plane.wall().await;
    let url = format!("sqlite:{}", dir.path().join("control.db").display());
    let mut by_hand = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let sane = serde_json::to_string(&acme.record.placements).unwrap();
    for poison in ["", "null", "{", "[]", r#"{"main":{"model":"open","target":"eu-1"}}"#] {
        let poisoning = sqlx::query("UPDATE tenants SET placements = ? WHERE id = ?");
        let poisoning = poisoning.bind(poison).bind(acme.id().as_str());
        poisoning.execute(&mut by_hand).await.unwrap();
        plane.control.bump_epoch(&TESTER, rival.id()).await.unwrap();

        // Who starts now gets the last good one; who has it is told to come back.
        let reply = plane.get("/bundle").await;
        assert_eq!((reply.status, &reply.body), (StatusCode::OK, &good.body), "{poison:?}");
        assert_eq!(reply.header("etag"), good.header("etag"));
        let base = wall.generation().unwrap();
        let reply = plane.get(&format!("/bundle?after={base}")).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.header("retry-after"), "5");
        assert_eq!(reply.error(), "temporarily_unavailable");
    }
    let healing = sqlx::query("UPDATE tenants SET placements = ? WHERE id = ?");
    healing.bind(&sane).bind(acme.id().as_str()).execute(&mut by_hand).await.unwrap();
    wall.accept(plane.get("/bundle").await.body).unwrap();
    assert_eq!(wall.generation().unwrap(), plane.control.generation());
}

#[tokio::test]
async fn i40_a_delta_has_what_changed_and_nothing_else() {
    let plane = Plane::new().await;
    for number in 0..30 {
        plane.tenant(&format!("tenant-{number}")).await;
    }
    let base = plane.control.generation();
    let wall = plane.wall().await;
    let changed = plane.tenant("changed").await;
    let full = plane.control.bundle().await.unwrap().bytes;
    let delta = plane.control.bundle_delta(base).await.unwrap().bytes;
    let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("tenant-").count();
    assert_eq!((names(&full), names(&delta)), (30, 0));
    wall.accept(delta).unwrap();
    assert!(wall.bundle().unwrap().tenant(changed.id()).is_some());
    assert_eq!(wall.bundle().unwrap().tenant_count(), 31);
}

#[tokio::test]
async fn i40_what_is_no_smaller_than_the_full_bundle_is_no_delta() {
    let plane = Plane::new().await;
    for number in 0..10 {
        plane.tenant(&format!("tenant-{number}")).await;
    }
    let base = plane.control.generation();
    let full = plane.get("/bundle").await.body;
    let ask = format!("/bundle?after={base}&delta=true");
    for tenant in plane.control.list_tenants(None, 10).await.unwrap() {
        plane.control.bump_epoch(&TESTER, tenant.id()).await.unwrap();
        let reply = plane.get(&ask).await;
        assert!(reply.body.len() <= full.len(), "more is sent than there is");
    }
    assert_eq!(plane.get(&ask).await.body, plane.control.bundle().await.unwrap().bytes);
}

#[tokio::test]
async fn i40_whoever_comes_from_a_bundle_that_has_run_out_gets_a_full_one() {
    let plane = Plane::new().await;
    for number in 0..10 {
        plane.tenant(&format!("tenant-{number}")).await;
    }
    let base = plane.control.generation();
    let ask = format!("/bundle?after={base}&delta=true");
    plane.advance(Duration::from_secs(72 * 3600 - 1));
    let changed = plane.tenant("changed").await;
    let delta = plane.get(&ask).await.body;
    assert!(delta.len() < plane.control.bundle().await.unwrap().bytes.len(), "the control");
    plane.advance(Duration::from_secs(1));
    plane.control.bump_epoch(&TESTER, changed.id()).await.unwrap();
    assert_eq!(plane.get(&ask).await.body, plane.control.bundle().await.unwrap().bytes);
}

/// A control plane that was set back to a copy of its database, and an enforcement point that was
/// ahead of that copy.
#[tokio::test]
async fn r16_after_a_restore_no_delta_is_laid_over_another_history() {
    use sqlx::Connection;

    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(config(sqlite(dir.path())), START).await;
    for number in 0..10 {
        plane.tenant(&format!("tenant-{number}")).await;
    }
    let victim = plane.tenant("victim").await;
    let copy = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("control.db").display());
    let mut by_hand = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let backup = sqlx::query("VACUUM INTO ?");
    let backup = backup.bind(copy.path().join("control.db").display().to_string());
    backup.execute(&mut by_hand).await.unwrap();

    // What is lost: the enforcement point learns that the victim is there, and changed twice.
    plane.control.bump_epoch(&TESTER, victim.id()).await.unwrap();
    plane.control.bump_epoch(&TESTER, victim.id()).await.unwrap();
    let wall = plane.wall().await;
    let theirs = wall.generation().unwrap();

    let restored = Plane::open(config(sqlite(copy.path())), START + Duration::from_secs(60)).await;
    assert!(restored.control.generation() < theirs);
    // Told at once, without waiting for the numbers to catch up.
    let ahead = format!("/bundle?after={theirs}&wait=30&delta=true");
    let reply = tokio::time::timeout(Duration::from_secs(5), restored.get(&ahead)).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.body, restored.control.bundle().await.unwrap().bytes);

    // Suspended within the numbers the enforcement point has already, so not in the delta.
    let suspended = TenantStatus::Suspended;
    restored.control.set_status(&TESTER, victim.id(), suspended).await.unwrap();
    while restored.control.generation() <= theirs {
        restored.tenant(&format!("later-{}", restored.control.generation())).await;
    }
    let delta = restored.get(&format!("/bundle?after={theirs}&delta=true")).await.body;
    assert!(delta.len() < restored.control.bundle().await.unwrap().bytes.len());
    assert_eq!(wall.accept(delta).unwrap_err().code(), "wrong_base");
    wall.accept(restored.get("/bundle").await.body).unwrap();
    let bundle = wall.bundle().unwrap();
    assert_eq!(bundle.tenant(victim.id()).unwrap().status(), suspended);

    // The control: over the history it was made for, a delta holds.
    let next = restored.tenant("next").await;
    let base = wall.generation().unwrap();
    wall.accept(restored.get(&format!("/bundle?after={base}&delta=true")).await.body).unwrap();
    assert!(wall.bundle().unwrap().tenant(next.id()).is_some());
}
