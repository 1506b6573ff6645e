//! What one tenant leaves on a session, and what a dropped or cancelled handle leaves on the wire.

use std::time::{Duration, Instant};

use partywall::{Scoped, TenantContext, testing::contexts};
use partywall_postgres::Postgres;
use sqlx::Connection as _;

use crate::{
    store::{bodies, note, pooled},
    support::{Walled, one, run, shared, try_one},
};

/// One slot, so that every tenant gets the same session.
async fn one_session(walled: &Walled) -> Postgres {
    walled.store_with_slots(1, |target| target.cleanup_timeout(Duration::from_millis(400))).await
}

async fn pid(db: &mut Scoped<Postgres>) -> i32 {
    one(db.conn(), "SELECT pg_backend_pid()").await
}

/// Everything of R2 to R8 and F8 at once.
const TRAPS: &[&str] = &[
    "DECLARE held CURSOR WITH HOLD FOR SELECT body FROM notes",
    "PREPARE trap AS SELECT 'trapped'",
    "LISTEN orders",
    "SELECT set_config('app.user', 'ceo@acme', false)",
    "SELECT set_config('partywall.ticket', current_setting('partywall.ticket'), false)",
    "SELECT pg_advisory_lock(42)",
    "SET standard_conforming_strings = off",
    "SET search_path = pg_catalog",
    "SET statement_timeout = 1",
    "SET default_transaction_read_only = on",
];

#[tokio::test(flavor = "multi_thread")]
async fn m18_session_is_new_for_the_next_tenant() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let store = one_session(&walled).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    note(&acme, &store, "of acme").await;

    let mut db = acme.open(&store).await.unwrap();
    let session = pid(&mut db).await;
    for trap in TRAPS {
        run(db.conn(), trap).await;
    }
    db.commit().await.unwrap();

    // The control: on a session nobody scrubbed, the traps are there for the same tenant.
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(pid(&mut db).await, session);
    assert_eq!(
        one::<String>(db.conn(), "SELECT pg_catalog.current_setting('app.user')").await,
        "ceo@acme"
    );
    assert_eq!(
        one::<i64>(db.conn(), "SELECT count(*) FROM pg_catalog.pg_cursors WHERE name = 'held'")
            .await,
        1
    );
    assert_eq!(
        one::<i64>(
            db.conn(),
            "SELECT count(*) FROM pg_catalog.pg_prepared_statements WHERE name = 'trap'"
        )
        .await,
        1
    );
    assert_eq!(
        one::<i64>(db.conn(), "SELECT count(*) FROM pg_catalog.pg_listening_channels()").await,
        1
    );
    db.commit().await.unwrap();

    let mut db = other.open(&store).await.unwrap();
    assert_eq!(pid(&mut db).await, session, "the same backend, made new");
    for (what, expected) in [
        ("SELECT coalesce(current_setting('app.user', true), '')", ""),
        ("SHOW standard_conforming_strings", "on"),
        ("SHOW search_path", "public"),
        ("SHOW statement_timeout", "30s"),
        ("SHOW default_transaction_read_only", "off"),
        ("SELECT count(*)::text FROM pg_cursors WHERE name = 'held'", "0"),
        ("SELECT count(*)::text FROM pg_prepared_statements WHERE from_sql", "0"),
        ("SELECT count(*)::text FROM pg_listening_channels()", "0"),
        ("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'", "0"),
        ("SELECT partywall.tenant_id()", "acme-2"),
    ] {
        assert_eq!(one::<String>(db.conn(), what).await, expected, "{what}");
    }
    assert_eq!(bodies(&mut db).await, [""; 0]);
    // Nobody holds the advisory lock any more.
    assert!(one::<bool>(&mut walled.superuser, "SELECT pg_try_advisory_lock(42)").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_same_tenant_gets_its_session_back() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store_with_slots(3, |target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let (mut a, mut b) = (acme.open(&store).await.unwrap(), other.open(&store).await.unwrap());
    let (of_acme, of_other) = (pid(&mut a).await, pid(&mut b).await);
    assert_ne!(of_acme, of_other);
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    for _ in 0..3 {
        // Cleaning up is off the request's path, so it may still be under way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut a = acme.open(&store).await.unwrap();
        assert_eq!(pid(&mut a).await, of_acme);
        a.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_cancelled_statement_reaches_nobody() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = one_session(&walled).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    for n in 0..30 {
        note(&acme, &store, &format!("of acme {n}")).await;
    }
    // Cancelled at many points: while begun, while rows stream in, while the server works.
    for delay in (0..40).map(|n| Duration::from_micros(n * n * 3)) {
        let work = async {
            let mut db = acme.open(&store).await.unwrap();
            run(db.conn(), "UPDATE notes SET body = 'undone'").await;
            let sql = "SELECT a.body FROM notes a, notes b, notes c";
            sqlx::query(sql).fetch_all(db.conn()).await.unwrap().len()
        };
        let _cancelled = tokio::time::timeout(delay, work).await;
        let mut db = other.open(&store).await.unwrap();
        assert_eq!(bodies(&mut db).await, [""; 0], "after {delay:?}");
        assert_eq!(one::<String>(db.conn(), "SELECT partywall.tenant_id()").await, "acme-2");
        db.commit().await.unwrap();
    }
    let mut db = acme.open(&store).await.unwrap();
    assert!(!bodies(&mut db).await.contains(&"undone".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_statement_that_will_not_end_loses_its_backend() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = one_session(&walled).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let mut db = acme.open(&store).await.unwrap();
    let stuck = pid(&mut db).await;
    let endless =
        tokio::time::timeout(Duration::from_millis(100), run(db.conn(), "SELECT pg_sleep(20)"))
            .await;
    assert!(endless.is_err());
    drop(db);
    let started = Instant::now();
    let mut db = other.open(&store).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_ne!(pid(&mut db).await, stuck);
    // The backend was ended, so no two tenants share the slot's role.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()";
    assert_eq!(one::<i64>(db.conn(), left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_role_settings_and_password_changed_by_a_tenant_are_taken_back() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let control = partywall_postgres::Login::new(walled.admin_role.clone(), "admin");
    let lifetime = Duration::from_millis(1);
    let store =
        walled.store_with_slots(1, |target| target.control(control).max_lifetime(lifetime)).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let mut db = acme.open(&store).await.unwrap();
    let role: String = one(db.conn(), "SELECT current_user::text").await;
    run(db.conn(), "ALTER ROLE CURRENT_USER SET standard_conforming_strings = off").await;
    run(db.conn(), "ALTER ROLE CURRENT_USER SET application_name = 'trap'").await;
    run(db.conn(), "ALTER ROLE CURRENT_USER PASSWORD 'pwned'").await;
    db.commit().await.unwrap();
    // The control: it worked, for whoever connects as that role now.
    let pwned = walled.slot_options(1).password("pwned");
    let mut trapped = sqlx::PgConnection::connect_with(&pwned).await.unwrap();
    assert_eq!(one::<String>(&mut trapped, "SHOW standard_conforming_strings").await, "off");
    drop(trapped);

    let mut db = other.open(&store).await.unwrap();
    assert_eq!(one::<String>(db.conn(), "SHOW standard_conforming_strings").await, "on");
    assert_eq!(one::<String>(db.conn(), "SHOW application_name").await, "partywall");
    let remembered =
        format!("SELECT count(*) FROM pg_db_role_setting WHERE setrole = '{role}'::regrole");
    assert_eq!(one::<i64>(&mut walled.superuser, &remembered).await, 0);
    assert!(sqlx::PgConnection::connect_with(&pwned).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_interleaved_tenants_never_meet() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store_with_slots(4, |target| target).await;
    let tenants = contexts(["acme", "acme-2", "2-acme", "a", "acm", "acme-22"], &pooled());
    let mut work = tokio::task::JoinSet::new();
    for round in 0..12 {
        for context in tenants.clone() {
            work.spawn(one_turn(context, store.clone(), round));
        }
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

async fn one_turn(context: TenantContext, store: Postgres, round: u32) {
    let tenant = context.tenant().as_str().to_owned();
    let mut db = context.open(&store).await.unwrap();
    sqlx::query("INSERT INTO notes (body) VALUES ($1)")
        .bind(&tenant)
        .execute(db.conn())
        .await
        .unwrap();
    tokio::task::yield_now().await;
    assert!(bodies(&mut db).await.iter().all(|body| *body == tenant));
    match round % 3 {
        0 => db.commit().await.unwrap(),
        1 => drop(db),
        _ => {
            let slow = try_one::<i32>(db.conn(), "SELECT 1 FROM pg_sleep(0.05)");
            let _cancelled = tokio::time::timeout(Duration::from_millis(2), slow).await;
        }
    }
}

/// A runtime that ends takes the cleaner with it, in the middle of its work.
#[test]
fn t06_a_login_is_used_again_only_when_its_backend_before_has_ended() {
    let Some(shared) = shared() else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (mut walled, store, [_, other]) = first.block_on(async {
        let walled = Walled::new(shared).await;
        let store = one_session(&walled).await;
        let [acme, other] = contexts(["acme", "acme-2"], &pooled());
        let mut db = acme.open(&store).await.unwrap();
        let sleep = run(db.conn(), "SELECT pg_sleep(20)");
        assert!(tokio::time::timeout(Duration::from_millis(200), sleep).await.is_err());
        drop(db);
        (walled, store, [acme, other])
    });
    drop(first);
    second.block_on(async {
        let superuser = walled.shared.cluster.superuser(&walled.database);
        walled.superuser = sqlx::PgConnection::connect_with(&superuser).await.unwrap();
        let role = walled.roles.slot(1);
        let backends = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        assert_eq!(one::<i64>(&mut walled.superuser, &backends).await, 1, "acme's, still at work");
        let mut db = other.open(&store).await.unwrap();
        assert_eq!(one::<i64>(&mut walled.superuser, &backends).await, 1, "acme's is gone");
        // What a tenant could read of the other's, were it still there.
        let seen = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20%' AND pid <> pg_backend_pid()";
        assert_eq!(one::<i64>(db.conn(), seen).await, 0);
        db.commit().await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_no_tenant_knows_what_random_will_say_to_the_next() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = one_session(&walled).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    const SEED: &str = "SELECT setseed(0.25)";
    const NEXT: &str = "SELECT random()";
    let mut seen = Vec::new();
    for next in [&acme, &other] {
        let mut db = acme.open(&store).await.unwrap();
        run(db.conn(), SEED).await;
        let known: f64 = one(db.conn(), NEXT).await;
        run(db.conn(), SEED).await;
        db.commit().await.unwrap();
        let mut db = next.open(&store).await.unwrap();
        seen.push(one::<f64>(db.conn(), NEXT).await == known);
        db.commit().await.unwrap();
    }
    assert_eq!(seen, [true, false], "the control: to the same tenant, on the same session");
    // What PostgreSQL itself offers between two users of a session does not help.
    let mut naive = sqlx::PgConnection::connect_with(&walled.slot_options(2)).await.unwrap();
    run(&mut naive, SEED).await;
    let known: f64 = one(&mut naive, NEXT).await;
    run(&mut naive, SEED).await;
    run(&mut naive, "DISCARD ALL").await;
    assert_eq!(one::<f64>(&mut naive, NEXT).await, known);
}

/// A nested `begin()` that fails makes the driver forget the transaction; the tenant's SQL begins
/// another, of which nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn t06_no_session_is_lent_inside_a_transaction_somebody_left_open() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let store = one_session(&walled).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let role = walled.roles.slot(1);
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND state LIKE 'idle in%'"
    );
    for commits in [false, true] {
        let mut db = acme.open(&store).await.unwrap();
        let session = pid(&mut db).await;
        run(db.conn(), "SET search_path = pg_catalog").await;
        assert!(try_one::<i32>(db.conn(), "SELECT 1 / 0").await.is_err());
        assert!(db.conn().begin().await.is_err(), "refused in a failed transaction");
        run(db.conn(), "SET search_path = pg_catalog; BEGIN").await;
        assert_eq!(one::<i64>(&mut walled.superuser, &open).await, 1, "the control: it is open");
        match commits {
            true => assert!(db.commit().await.is_err(), "what was begun was rolled back"),
            false => drop(db),
        }
        let mut db = other.open(&store).await.unwrap();
        assert_eq!(one::<String>(db.conn(), "SHOW search_path").await, "public");
        assert_ne!(pid(&mut db).await, session, "the session was not to be trusted");
        drop(db);
        let mut db = other.open(&store).await.unwrap();
        let path: String = one(db.conn(), "SHOW search_path").await;
        assert_eq!(path, "public", "nothing comes back when the scrub's transaction is undone");
        db.commit().await.unwrap();
    }
}
