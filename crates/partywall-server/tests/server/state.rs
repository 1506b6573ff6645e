//! The control plane's state, through its Rust interface. [`suite`] runs on every database.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, time::Duration};

use partywall::{TenantId, TenantStatus, bundle::Generation};
use partywall_server::{ControlError, DatabaseConfig, NewTenant};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    alone::{Log, alone},
    support::{Plane, START, TESTER, config, new_machine, new_tenant, refusal, sqlite},
};

#[tokio::test]
async fn m03_state_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    suite(sqlite(dir.path())).await;
}

/// Everything the control plane promises, on one fresh database.
pub(crate) async fn suite(database: DatabaseConfig) {
    let plane = Plane::open(config(database.clone()), START).await;
    tenants_are_made_found_and_listed(&plane).await;
    slugs_are_unique_and_no_ids(&plane).await;
    changes_are_accounted_for(&plane).await;
    nothing_of_a_refused_change_stays(&plane).await;
    machines_live_in_their_tenant(&plane).await;
    what_is_revoked_is_refused(&plane).await;
    an_erased_tenant_leaves_its_id_only(&plane).await;
    concurrent_changes_are_serialised(&plane).await;
    a_second_server_agrees(&plane, database).await;
}

async fn tenants_are_made_found_and_listed(plane: &Plane) {
    let mut ids = BTreeSet::new();
    for number in 0..7 {
        let tenant = plane.tenant(&format!("tenant-{number}")).await;
        assert_eq!(tenant.record.status, TenantStatus::Active);
        assert_eq!(tenant.created_at, START);
        let (id, slug) = (tenant.id().clone(), tenant.record.slug.clone());
        assert_eq!(id.as_str().len(), 28);
        assert_eq!(plane.control.tenant(&id).await.unwrap().as_ref(), Some(&tenant));
        assert_eq!(plane.control.tenant_by_slug(&slug).await.unwrap().as_ref(), Some(&tenant));
        ids.insert(id);
    }
    let mut listed = Vec::new();
    let mut after: Option<TenantId> = None;
    loop {
        let page = plane.control.list_tenants(after.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id().clone());
        listed.extend(page.iter().map(|tenant| tenant.id().clone()));
    }
    assert!(listed.is_sorted());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
}

async fn slugs_are_unique_and_no_ids(plane: &Plane) {
    let create = |slug: &str| plane.control.create_tenant(&TESTER, new_tenant(slug));
    assert!(matches!(create("tenant-1").await, Err(ControlError::SlugTaken { .. })));
    let like_an_id = format!("t-{}", "a".repeat(26));
    assert!(matches!(create(&like_an_id).await, Err(ControlError::SlugLikeId { .. })));
    let first = plane.control.ensure_tenant(&TESTER, new_tenant("seeded")).await.unwrap();
    let again = plane.control.ensure_tenant(&TESTER, new_tenant("seeded")).await.unwrap();
    assert_eq!(first, again);
}

async fn changes_are_accounted_for(plane: &Plane) {
    let control = &plane.control;
    let before = control.generation();
    let tenant = plane.tenant("accounted").await;
    let id = tenant.id();
    control.set_status(&TESTER, id, TenantStatus::Suspended).await.unwrap();
    let bumped = control.bump_epoch(&TESTER, id).await.unwrap();
    let outdated_until = START + Duration::from_secs(30);
    assert_eq!((bumped.record.epoch, bumped.record.epoch_at), (1, outdated_until));
    let placements = new_tenant("x").placements;
    control.set_placements(&TESTER, id, placements).await.unwrap();
    assert_eq!(control.generation(), Generation(before.0 + 4));

    let trail = control.audit_trail(id, 100).await.unwrap();
    let actions: Vec<_> = trail.iter().map(|event| event.action.as_str()).collect();
    let expected =
        ["tenant.set_placements", "tenant.bump_epoch", "tenant.set_status", "tenant.create"];
    assert_eq!(actions, expected);
    assert!(trail.iter().all(|event| event.actor == "test" && event.at == START));
    let generations: Vec<_> = trail.iter().rev().map(|event| event.generation.0).collect();
    assert_eq!(generations, (before.0 + 1..=before.0 + 4).collect::<Vec<_>>());
}

async fn nothing_of_a_refused_change_stays(plane: &Plane) {
    let control = &plane.control;
    let before = control.generation();
    let nobody: TenantId = format!("t-{}", "b".repeat(26)).parse().unwrap();
    let refused = control.set_status(&TESTER, &nobody, TenantStatus::Active).await;
    assert!(matches!(refused, Err(ControlError::UnknownTenant { .. })));
    assert!(control.create_tenant(&TESTER, new_tenant("tenant-1")).await.is_err());
    assert!(control.create_machine(&TESTER, &nobody, new_machine("x")).await.is_err());
    control.refresh().await.unwrap();
    assert_eq!(control.generation(), before);
    assert!(control.audit_trail(&nobody, 1).await.unwrap().is_empty());
}

async fn machines_live_in_their_tenant(plane: &Plane) {
    let control = &plane.control;
    let (one, two) = (plane.tenant("machines-1").await, plane.tenant("machines-2").await);
    let client = plane.machine(one.id()).await;
    let machine = control.machine(&client.client_id).await.unwrap().unwrap();
    assert_eq!(&machine.tenant, one.id());
    assert_eq!(control.list_machines(one.id(), None, 10).await.unwrap(), [machine]);
    assert!(control.list_machines(two.id(), None, 10).await.unwrap().is_empty());

    let seeded = control.ensure_machine(&TESTER, one.id(), new_machine("seeded")).await.unwrap();
    let again = control.ensure_machine(&TESTER, one.id(), new_machine("seeded")).await.unwrap();
    assert_eq!(seeded.client_id, again.client_id);
    assert_eq!(plane.ask(&seeded, "").await.error(), "invalid_client");
    plane.token(&again).await;

    for new in [
        new_machine(""),
        new_machine("line\nbreak"),
        partywall_server::NewMachine {
            roles: (0..33).map(|n| format!("role-{n}").as_str().into()).collect(),
            ..new_machine("x")
        },
        partywall_server::NewMachine { roles: ["two words".into()].into(), ..new_machine("x") },
    ] {
        let refused = control.create_machine(&TESTER, one.id(), new).await;
        assert!(matches!(refused, Err(ControlError::Machine(_))));
    }
}

async fn what_is_revoked_is_refused(plane: &Plane) {
    let control = &plane.control;
    let tenant = plane.tenant("revoking").await;
    let (client, other) = (plane.machine(tenant.id()).await, plane.machine(tenant.id()).await);
    let (single, sibling) = (plane.token(&client).await, plane.token(&client).await);
    let neighbour = plane.token(&other).await;
    let wall = plane.wall().await;
    let claims = crate::support::oracle(&plane.get("/idp/jwks").await.body, &single).unwrap();
    let jti = claims["jti"].as_str().unwrap().to_owned();
    let states = |wall: &partywall::Partywall| {
        [&single, &sibling, &neighbour].map(|token| refusal(wall, token))
    };
    assert_eq!(states(&wall), [None; 3]);

    control.revoke_token(&TESTER, tenant.id(), &jti).await.unwrap();
    control.revoke_token(&TESTER, tenant.id(), &jti).await.unwrap();
    assert_eq!(states(&plane.wall().await), [Some("revoked"), None, None]);

    control.revoke_machine(&TESTER, &client.client_id).await.unwrap();
    assert_eq!(states(&plane.wall().await), [Some("revoked"), Some("revoked"), None]);
    let again = control.revoke_machine(&TESTER, &client.client_id).await;
    assert!(matches!(again, Err(ControlError::MachineRevoked { .. })));
    let rotated = control.rotate_machine_secret(&TESTER, &client.client_id, Duration::ZERO).await;
    assert!(matches!(rotated, Err(ControlError::MachineRevoked { .. })));

    control.bump_epoch(&TESTER, tenant.id()).await.unwrap();
    let wall = plane.wall().await;
    assert_eq!(refusal(&wall, &neighbour), Some("epoch_passed"));
    assert_eq!(refusal(&wall, &plane.token(&other).await), None, "a token of the new epoch");
}

async fn an_erased_tenant_leaves_its_id_only(plane: &Plane) {
    let control = &plane.control;
    let tenant = plane.tenant("erased").await;
    let id = tenant.id();
    let client = plane.machine(id).await;
    let base = control.generation();
    let wall = plane.wall().await;
    assert!(wall.bundle().unwrap().tenant(id).is_some());
    let early = control.erase_tenant(&TESTER, id).await;
    assert!(matches!(early, Err(ControlError::NotPendingErase { .. })));

    control.set_status(&TESTER, id, TenantStatus::PendingErase).await.unwrap();
    control.erase_tenant(&TESTER, id).await.unwrap();
    assert_eq!(control.tenant(id).await.unwrap(), None);
    assert_eq!(control.machine(&client.client_id).await.unwrap(), None);
    assert_eq!(plane.ask(&client, "").await.error(), "invalid_client");
    let gone = control.set_status(&TESTER, id, TenantStatus::Active).await;
    assert!(matches!(gone, Err(ControlError::UnknownTenant { .. })));

    // Gone from the full bundle, and from the one a delta leads to.
    assert!(plane.wall().await.bundle().unwrap().tenant(id).is_none());
    wall.accept(control.bundle_delta(base).await.unwrap().bytes).unwrap();
    assert!(wall.bundle().unwrap().tenant(id).is_none());
    // Its name is free, its trail stays, its id is another's never.
    assert_ne!(plane.tenant("erased").await.id(), id);
    assert_eq!(control.audit_trail(id, 1).await.unwrap()[0].action, "tenant.erase");
}

async fn concurrent_changes_are_serialised(plane: &Plane) {
    let before = plane.control.generation();
    let tasks = (0..20).map(|number| {
        let control = plane.control.clone();
        tokio::spawn(async move {
            let slug = format!("concurrent-{number}");
            control.create_tenant(&TESTER, new_tenant(&slug)).await.unwrap().generation
        })
    });
    let mut generations = BTreeSet::new();
    for task in tasks.collect::<Vec<_>>() {
        generations.insert(task.await.unwrap().0);
    }
    assert_eq!(generations, (before.0 + 1..=before.0 + 20).collect());
    assert_eq!(plane.control.generation(), Generation(before.0 + 20));
}

async fn a_second_server_agrees(plane: &Plane, database: DatabaseConfig) {
    let second = Plane::open(config(database), START + Duration::from_secs(5)).await;
    assert_eq!(second.control.generation(), plane.control.generation());
    let (ours, theirs) =
        (plane.control.bundle().await.unwrap(), second.control.bundle().await.unwrap());
    assert_eq!(ours.bytes, theirs.bytes, "one generation, two files");

    // What one changes, keys included, the other knows once it looks.
    second.tenant("by-the-second").await;
    second.control.begin_key_rotation(&TESTER).await.unwrap();
    plane.control.refresh().await.unwrap();
    assert_eq!(second.control.generation(), plane.control.generation());
    let jwks = async |plane: &Plane| plane.get("/idp/jwks").await.body;
    assert_eq!(jwks(plane).await, jwks(&second).await);
    let slug = "by-the-second".parse().unwrap();
    assert!(plane.wall().await.bundle().unwrap().tenant_by_slug(&slug).is_some());

    // Both turn the ring at once: one key, not two, is activated.
    plane.advance(Duration::from_secs(2 * 60 * 60));
    second.advance(Duration::from_secs(2 * 60 * 60));
    let (one, two) = tokio::join!(plane.control.rotate_keys(), second.control.rotate_keys());
    one.and(two).unwrap();
    plane.control.refresh().await.unwrap();
    second.control.refresh().await.unwrap();
    assert_eq!(jwks(plane).await, jwks(&second).await);
}

#[test]
fn m03_what_only_the_server_decides_cannot_be_assigned() {
    let parse = |json: &str| serde_json::from_str::<NewTenant>(json);
    let honest =
        r#"{"slug":"acme","tier":"free","administrators":["a@b.example"],"metadata":{"crm":1}}"#;
    assert!(parse(honest).is_ok());
    for field in [
        r#""id":"t-1""#,
        r#""epoch":7"#,
        r#""status":"active""#,
        r#""created_at":1"#,
        r#""generation":1"#,
        r#""is_admin":true"#,
    ] {
        let json = format!(r#"{{"slug":"acme","tier":"free",{field}}}"#);
        assert!(parse(&json).is_err(), "{field} can be assigned");
    }
    let with = |field: &str| parse(&format!(r#"{{"slug":"acme","tier":"free",{field}}}"#));
    assert!(with(&format!(r#""metadata":{{"x":"{}"}}"#, "x".repeat(4_000))).is_ok());
    assert!(with(&format!(r#""metadata":{{"x":"{}"}}"#, "x".repeat(5_000))).is_err());
    assert!(with(r#""metadata":[]"#).is_err());
    assert!(with(r#""metadata":{"x":"\u0000"}"#).is_err());
    assert!(with(r#""administrators":["nobody"]"#).is_err());
    assert!(with(&format!(r#""billing_reference":"{}""#, "x".repeat(256))).is_err());
}

#[tokio::test]
async fn m03_a_profile_comes_back_as_it_was_given() {
    let plane = Plane::new().await;
    let new = r#"{"slug":"acme","tier":"enterprise","region":"eu","administrators":["a@b.example"],
        "billing_reference":"cus_1","metadata":{"crm":{"id":1,"tags":["x","é"]}},
        "placements":{"main":{"model":"silo","target":"acme-1"}}}"#;
    let new: NewTenant = serde_json::from_str(new).unwrap();
    let made = plane.control.create_tenant(&TESTER, new).await.unwrap();
    let found = plane.control.tenant(made.id()).await.unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(found.profile.metadata.as_object()["crm"]["tags"][1], "é");
    assert_eq!(found.record.region.unwrap().as_str(), "eu");
    let too_many = NewTenant {
        administrators: vec![made.profile.administrators[0].clone(); 33],
        ..new_tenant("b")
    };
    assert!(matches!(
        plane.control.create_tenant(&TESTER, too_many).await,
        Err(ControlError::Profile(_))
    ));
}

#[tokio::test]
async fn m03_the_database_file_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    // A file that was there before, open to everybody, is closed.
    let path = dir.path().join("control.db");
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let plane = Plane::open(config(sqlite(dir.path())), START).await;
    plane.tenant("acme").await;
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert!(files >= 2, "no write-ahead log beside the database");
}

#[tokio::test]
async fn m03_state_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(config(sqlite(dir.path())), START).await;
    let tenant = plane.tenant("acme").await;
    let client = plane.machine(tenant.id()).await;
    let token = plane.token(&client).await;
    let generation = plane.control.generation();
    drop(plane);

    let plane = Plane::open(config(sqlite(dir.path())), START + Duration::from_secs(30)).await;
    assert_eq!(plane.control.generation(), generation, "opening changes nothing");
    assert_eq!(plane.control.tenant(tenant.id()).await.unwrap(), Some(tenant));
    assert_eq!(refusal(&plane.wall().await, &token), None);
    plane.token(&client).await;
}

#[test]
fn l02_neither_secrets_nor_tokens_reach_the_log() {
    alone("state::what_reaches_the_log");
}

#[tokio::test]
#[ignore = "in a process of its own"]
async fn what_reaches_the_log() {
    let (log, _listening) = Log::listen(LevelFilter::TRACE);

    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let client = plane.machine(tenant.id()).await;
    let token = plane.token(&client).await;
    let rotated = plane
        .control
        .rotate_machine_secret(&TESTER, &client.client_id, Duration::ZERO)
        .await
        .unwrap();
    plane.ask(&client, "").await;
    plane.ask(&rotated, "&scope=nope").await;

    let log = log.take();
    assert!(log.contains("an access token was issued") && log.contains(tenant.id().as_str()));
    let signature = token.rsplit('.').next().unwrap();
    for secret in [client.secret.expose(), rotated.secret.expose(), signature, &"07".repeat(32)] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
