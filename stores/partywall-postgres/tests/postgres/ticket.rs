//! The ticket and the SQL pack, without the pool around them.

use std::time::Duration;

use partywall::{
    DeploymentModel, Store, StoreName, TenantScope,
    testing::{contexts, placed},
};
use partywall_postgres::{Backend, Binder, InitOptions, TicketKey, migration, provision};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{
    store::{bodies, note, pooled},
    support::{Walled, code, key, one, run, shared, try_one, try_run},
};

#[tokio::test(flavor = "multi_thread")]
async fn m18_pack_may_be_installed_again() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let options =
        InitOptions::new(walled.roles.clone()).slots(9).table("public.notes".parse().unwrap());
    run(&mut walled.admin, &migration(&options)).await;
    let policies = "SELECT count(*) FROM pg_policy WHERE polrelid = 'notes'::regclass";
    assert_eq!(one::<i64>(&mut walled.superuser, policies).await, 2);
    // The key is still there.
    let store = walled.store(|target| target).await;
    let [acme] = contexts(["acme"], &pooled());
    note(&acme, &store, "still here").await;
}

/// A store of another driver, as a SeaORM or diesel user would write it on a raw statement.
#[derive(Clone)]
struct ByHand {
    name: StoreName,
    binder: Binder,
    options: sqlx::postgres::PgConnectOptions,
}

impl Store for ByHand {
    type Handle = PgConnection;
    type Error = sqlx::Error;

    fn name(&self) -> &StoreName {
        &self.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<PgConnection, sqlx::Error> {
        let mut conn = PgConnection::connect_with(&self.options).await?;
        sqlx::query("BEGIN").execute(&mut conn).await?;
        let (pid, transaction_start) =
            sqlx::query_as(Binder::CHALLENGE).fetch_one(&mut conn).await?;
        let bind = self.binder.bind_statement(scope, Backend { pid, transaction_start });
        sqlx::raw_sql(AssertSqlSafe(bind)).execute(&mut conn).await?;
        Ok(conn)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_binder_binds_the_transactions_of_other_drivers() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    note(&acme, &store, "of acme").await;
    let options = walled.slot_options(7);
    let by_hand = ByHand { name: "main".parse().unwrap(), binder: Binder::new(key()), options };
    let mut db = acme.open(&by_hand).await.unwrap();
    assert_eq!(one::<String>(&mut db, "SELECT body FROM notes").await, "of acme");
    // The ticket goes with its transaction, whatever the session is used for next.
    run(&mut db, "COMMIT").await;
    let left = "SELECT coalesce(current_setting('partywall.ticket', true), '')";
    assert_eq!(one::<String>(&mut db, left).await, "");
    let mut db = other.open(&by_hand).await.unwrap();
    assert_eq!(one::<i64>(&mut db, "SELECT count(*) FROM notes").await, 0);
    assert_ne!(one::<String>(&mut db, left).await, "", "the control");
}

/// The store's own ticket, captured inside its window: nothing but the backend is another.
#[tokio::test(flavor = "multi_thread")]
async fn m18_a_captured_ticket_is_good_on_its_own_backend_only() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store_with_slots(1, |t| t.slack(Duration::from_secs(60))).await;
    let [acme] = contexts(["acme"], &pooled());
    let mut db = acme.open(&store).await.unwrap();
    let captured: String = one(db.conn(), "SELECT current_setting('partywall.ticket')").await;
    let pid: i32 = one(db.conn(), "SELECT pg_backend_pid()").await;
    db.commit().await.unwrap();
    let (present, tenant) =
        (format!("SET LOCAL partywall.ticket = '{captured}'"), "SELECT partywall.tenant_id()");

    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(one::<i32>(db.conn(), "SELECT pg_backend_pid()").await, pid);
    run(db.conn(), "SET LOCAL partywall.ticket = ''").await;
    run(db.conn(), &present).await;
    assert_eq!(one::<String>(db.conn(), tenant).await, "acme", "the control: a later transaction");

    let mut elsewhere = PgConnection::connect_with(&walled.slot_options(7)).await.unwrap();
    run(&mut elsewhere, &format!("BEGIN; {present}")).await;
    let reached = try_one::<String>(&mut elsewhere, tenant).await;
    let refused = reached.as_ref().is_err_and(|error| code(error) == "28000");
    assert!(refused, "on another backend: {reached:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_forged_and_foreign_tickets_are_refused() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let options = walled.slot_options(7);
    let mint = |key| ByHand {
        name: "main".parse().unwrap(),
        binder: Binder::new(key),
        options: options.clone(),
    };
    let mut db = acme.open(&mint(key())).await.unwrap();
    let good: String = one(&mut db, "SELECT current_setting('partywall.ticket')").await;
    assert_eq!(one::<String>(&mut db, "SELECT partywall.tenant_id()").await, "acme", "the control");
    let (mac, rest) = good.split_at(64);
    let of_other = rest[..32].to_owned() + "06" + &hex("acme-2");
    let far = "7fffffffffffffff";
    let forgeries = [
        String::new(),
        "00".to_owned(),
        "zz".to_owned(),
        good[..good.len() - 2].to_owned(),
        format!("{good}00"),
        format!("{mac}{of_other}"),
        format!("{}{of_other}", "00".repeat(32)),
        // The length moved, so that `acme` reads as `acm` and a claim, or as less than it says.
        format!("{mac}{}03{}", &rest[..32], hex("acme")),
        format!("{mac}{}ff{}", &rest[..32], hex("acme")),
        format!("{mac}{}00{}", &rest[..32], hex("acme")),
        // A wider window.
        format!("{mac}{}{far}04{}", &rest[..16], hex("acme")),
        good[..98].to_owned(),
    ];
    for forged in forgeries {
        run(&mut db, "SAVEPOINT s").await;
        run(&mut db, &format!("SET LOCAL partywall.ticket = '{forged}'")).await;
        let refused = try_one::<String>(&mut db, "SELECT partywall.tenant_id()").await;
        let code = code(&refused.expect_err(&forged));
        assert!(code == "28000" || code == "22023", "{forged}: {code}");
        run(&mut db, "ROLLBACK TO s").await;
    }
    assert_eq!(one::<String>(&mut db, "SELECT partywall.tenant_id()").await, "acme");

    // Another backend, and another transaction of the same one.
    let mut elsewhere = PgConnection::connect_with(&options).await.unwrap();
    run(&mut elsewhere, &format!("BEGIN; SET LOCAL partywall.ticket = '{good}'")).await;
    let refused = try_one::<String>(&mut elsewhere, "SELECT partywall.tenant_id()").await;
    assert_eq!(code(&refused.unwrap_err()), "28000");
    run(&mut db, "ROLLBACK").await;
    run(&mut db, &format!("BEGIN; SET LOCAL partywall.ticket = '{good}'")).await;
    let refused = try_one::<String>(&mut db, "SELECT partywall.tenant_id()").await;
    assert_eq!(code(&refused.unwrap_err()), "28000");

    // Another key.
    let mut db = other.open(&mint(TicketKey::from_bytes(&[8; 32]).unwrap())).await.unwrap();
    let refused = try_one::<String>(&mut db, "SELECT partywall.tenant_id()").await;
    assert_eq!(code(&refused.unwrap_err()), "28000");
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn m18_keys_rotate_without_a_gap() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let [acme] = contexts(["acme"], &pooled());
    let old = walled.store(|target| target).await;
    note(&acme, &old, "under the old key").await;
    let new_key = TicketKey::from_bytes(&[9; 64]).unwrap();
    let with_new = |walled: &Walled| {
        let slots = (5..=6).map(|n| crate::support::slot_login(&walled.roles, n));
        let cluster = &walled.shared.cluster;
        partywall_postgres::PoolTarget::new(cluster.address(), &walled.database, new_key.clone())
            .slots(slots)
    };
    let build = |target| {
        partywall_postgres::Postgres::builder("main".parse().unwrap())
            .pool("eu-1".parse().unwrap(), target)
    };
    // Before the database has it, a process with the new key does not start, and says why.
    let refused = build(with_new(&walled)).connect().await.unwrap_err().to_string();
    assert!(refused.contains("ticket key"), "{refused}");
    provision::put_ticket_key(&mut walled.admin, &walled.roles, 2, &new_key).await.unwrap();
    let new = build(with_new(&walled)).connect().await.unwrap();
    for store in [&old, &new] {
        let mut db = acme.open(store).await.unwrap();
        assert_eq!(bodies(&mut db).await, ["under the old key"]);
    }
    provision::drop_ticket_key(&mut walled.admin, &walled.roles, 1).await.unwrap();
    let mut db = acme.open(&new).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["under the old key"]);
    let mut db = acme.open(&old).await.unwrap();
    let refused = try_run(db.conn(), "SELECT count(*) FROM notes").await.unwrap_err();
    assert_eq!(code(&refused), "28000");
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_uuid_columns_take_one_spelling() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let data = format!("{}_data", walled.roles.prefix());
    run(&mut walled.admin, "CREATE TABLE things (tenant_id uuid, n int)").await;
    run(
        &mut walled.admin,
        &migration(&InitOptions::new(walled.roles.clone()).table("public.things".parse().unwrap())),
    )
    .await;
    assert_eq!(
        one::<String>(
            &mut walled.superuser,
            "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'things'"
        )
        .await,
        data
    );
    let store = walled.store(|target| target).await;
    let hyphens = "550e8400-e29b-41d4-a716-446655440000";
    let alias = "550e8400e29b41d4a716446655440000"; // the same uuid, another tenant
    let [tenant, other, named] = contexts([hyphens, alias, "acme"], &pooled());
    let mut db = tenant.open(&store).await.unwrap();
    run(db.conn(), "INSERT INTO things (n) VALUES (1)").await;
    db.commit().await.unwrap();
    let mut db = tenant.open(&store).await.unwrap();
    assert_eq!(one::<i64>(db.conn(), "SELECT count(*) FROM things").await, 1);
    for other in [other, named] {
        let mut db = other.open(&store).await.unwrap();
        let refused = try_one::<i64>(db.conn(), "SELECT count(*) FROM things").await.unwrap_err();
        assert_eq!(code(&refused), "22P02", "{}", other.tenant());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_protect_walks_parts_and_refuses_what_it_cannot_hold() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    run(
        &mut walled.admin,
        "CREATE TABLE events (tenant_id varchar(63), at date) PARTITION BY RANGE (at);
         CREATE TABLE events_26 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
         CREATE TABLE events_26_a PARTITION OF events_26 FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
         CREATE TABLE parent (tenant_id text); CREATE TABLE child (n int) INHERITS (parent);
         CREATE TABLE padded (tenant_id char(8)); CREATE TABLE numbered (tenant_id int);
         CREATE TABLE nobodys (n int); CREATE VIEW seen AS SELECT tenant_id FROM parent;
         CREATE TABLE loose (tenant_id text);",
    )
    .await;
    let options =
        ["events", "parent"].into_iter().fold(InitOptions::new(walled.roles.clone()), |o, t| {
            o.table(format!("public.{t}").parse().unwrap())
        });
    provision::install(&mut walled.admin, &options).await.unwrap();
    for part in ["events", "events_26", "events_26_a", "parent", "child"] {
        let forced = format!(
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = '{part}'"
        );
        assert!(one::<bool>(&mut walled.superuser, &forced).await, "{part}");
        let walls = format!(
            "SELECT count(*) FROM pg_policy WHERE polrelid = '{part}'::regclass AND NOT polpermissive"
        );
        assert_eq!(one::<i64>(&mut walled.superuser, &walls).await, 1, "{part}");
    }
    for (table, why) in [
        ("padded", "cannot name"),
        ("numbered", "cannot name"),
        ("nobodys", "no column"),
        ("seen", "not a table"),
    ] {
        let refused =
            try_run(&mut walled.superuser, &format!("SELECT partywall.protect('{table}')")).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(why), "{table}: {said}");
    }
    // A collation for which two ids are one; a deterministic one is fine.
    run(&mut walled.superuser, "CREATE COLLATION blind (provider = icu, locale = 'und-u-ka-shifted', deterministic = false)").await;
    assert!(one::<bool>(&mut walled.superuser, "SELECT 'acme-2' = 'acme2' COLLATE blind").await);
    run(&mut walled.superuser, "ALTER TABLE loose ALTER tenant_id TYPE text COLLATE blind").await;
    let said = try_run(&mut walled.superuser, "SELECT partywall.protect('loose')")
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("nondeterministic"), "{said}");
    run(&mut walled.superuser, r#"ALTER TABLE loose ALTER tenant_id TYPE text COLLATE "C""#).await;
    run(&mut walled.superuser, "SELECT partywall.protect('loose')").await;

    // What could not be protected keeps the store from being served.
    run(&mut walled.superuser, "DROP TABLE padded, numbered").await;

    // Rows go to their partitions, and only by the parent.
    let store = walled.store(|target| target).await;
    let [acme, other] =
        contexts(["acme", "acme-2"], &placed("main", DeploymentModel::Pool, "eu-1"));
    let mut db = acme.open(&store).await.unwrap();
    run(db.conn(), "INSERT INTO events (at) VALUES ('2026-05-05')").await;
    let direct = try_one::<i64>(db.conn(), "SELECT count(*) FROM events_26_a").await.unwrap_err();
    assert_eq!(code(&direct), "42501");
    drop(db);
    let mut db = other.open(&store).await.unwrap();
    assert_eq!(one::<i64>(db.conn(), "SELECT count(*) FROM events").await, 0);
}
