//! One statement in one round trip, and many rows in one statement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use partywall::{OpenError, testing::contexts};
use partywall_postgres::{BulkInsert, PostgresError};
use sqlx::AssertSqlSafe;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    store::{bodies, note, pooled},
    support::{Walled, code, one, run, shared, slot_login},
};

#[tokio::test(flavor = "multi_thread")]
async fn m18_single_flights_are_bound_each_by_itself() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let flight_slots = [slot_login(&walled.roles, 8)];
    let store = walled.store(|target| target.flight_slots(flight_slots)).await;
    let flights = store.single_flight();
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let mut flight = acme.open(&flights).await.unwrap();
    flight.query("INSERT INTO notes (body) VALUES ($1)", &[&"of acme"]).await.unwrap();
    for _ in 0..8 {
        let rows = flight.query("SELECT body FROM notes", &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<_, &str>(0), "of acme");
    }
    // A failed one keeps nothing and harms nothing after it.
    let foreign =
        flight.query("INSERT INTO notes (tenant_id, body) VALUES ('acme-2', 'x')", &[]).await;
    let Err(PostgresError::Flight { source, .. }) = foreign else { panic!("{foreign:?}") };
    assert_eq!(source.code().as_deref(), Some("42501"));
    let rows = flight.query("SELECT body FROM notes", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    // Traps for whoever comes next on this, the only, session.
    flight.query("SELECT set_config('app.user', 'ceo@acme', false)", &[]).await.unwrap();
    drop(flight);
    let mut flight = other.open(&flights).await.unwrap();
    assert!(flight.query("SELECT body FROM notes", &[]).await.unwrap().is_empty());
    let user =
        flight.query("SELECT coalesce(current_setting('app.user', true), '')", &[]).await.unwrap();
    assert_eq!(user[0].get::<_, &str>(0), "");
    drop(flight);
    // Cancelled in the air, many times: it never lands at another tenant.
    for delay in (0..30).map(|n| Duration::from_micros(n * 40)) {
        let mut flight = acme.open(&flights).await.unwrap();
        let _cancelled =
            tokio::time::timeout(delay, flight.query("SELECT body FROM notes", &[])).await;
        drop(flight);
        let mut flight = other.open(&flights).await.unwrap();
        assert!(flight.query("SELECT body FROM notes", &[]).await.unwrap().is_empty());
    }
    // What the flight committed is there for everybody else of the tenant.
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_flights_leave_from_where_they_are_configured_only() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let [acme] = contexts(["acme"], &pooled());
    let without = walled.store(|target| target).await.single_flight();
    assert!(matches!(
        acme.open(&without).await,
        Err(OpenError::Store(PostgresError::NoFlights { .. }))
    ));
    let slots = [slot_login(&walled.roles, 8)];
    let strict = walled.store(|target| target.flight_slots(slots).strict()).await.single_flight();
    assert!(matches!(
        acme.open(&strict).await,
        Err(OpenError::Store(PostgresError::NoFlights { .. }))
    ));
}

/// Counts how often the conversation turns around: a round trip is a client's message after a
/// server's.
async fn counting_proxy(server: u16) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let trips = Arc::new(AtomicU32::new(0));
    let counter = trips.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut up, mut down) = ([0; 65536], [0; 65536]);
                let mut answered = true;
                loop {
                    tokio::select! {
                        n = client.read(&mut up) => {
                            let Ok(n @ 1..) = n else { return };
                            if std::mem::take(&mut answered) {
                                counter.fetch_add(1, Ordering::SeqCst);
                            }
                            server.write_all(&up[..n]).await.unwrap();
                            // As a network would: what is written together arrives together.
                            tokio::time::sleep(Duration::from_millis(3)).await;
                        }
                        n = server.read(&mut down) => {
                            let Ok(n @ 1..) = n else { return };
                            answered = true;
                            if client.write_all(&down[..n]).await.is_err() { return }
                        }
                    }
                }
            });
        }
    });
    (port, trips)
}

// On one thread, so that the cleaner does not start before the count is read.
#[tokio::test(flavor = "current_thread")]
async fn m18_begin_and_bind_take_one_trip_and_a_flight_takes_one_in_all() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let (port, trips) = counting_proxy(walled.shared.cluster.port()).await;
    let server = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    let target =
        partywall_postgres::PoolTarget::new(server, &walled.database, crate::support::key())
            .slots([slot_login(&walled.roles, 1)])
            .flight_slots([slot_login(&walled.roles, 2)]);
    let builder = partywall_postgres::Postgres::builder("main".parse().unwrap());
    let store = builder.pool("eu-1".parse().unwrap(), target).build().unwrap();
    let flights = store.single_flight();
    let [acme] = contexts(["acme"], &pooled());
    let sql = "SELECT count(*) FROM notes";
    // Connected, prepared, and everything off the request's path done.
    for _ in 0..2 {
        let mut db = acme.open(&store).await.unwrap();
        sqlx::query(sql).fetch_one(db.conn()).await.unwrap();
        db.commit().await.unwrap();
        acme.open(&flights).await.unwrap().query(sql, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let counted = || trips.swap(0, Ordering::SeqCst);
    counted();
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(counted(), 1, "begin and bind");
    sqlx::query(sql).fetch_one(db.conn()).await.unwrap();
    assert_eq!(counted(), 1, "query");
    db.commit().await.unwrap();
    assert_eq!(counted(), 1, "commit");
    tokio::time::sleep(Duration::from_millis(300)).await;
    counted();
    let mut flight = acme.open(&flights).await.unwrap();
    flight.query(sql, &[]).await.unwrap();
    assert_eq!(counted(), 1, "begin, bind, query and commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_bulk_insert_goes_where_copy_is_refused() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    run(
        &mut walled.admin,
        &format!("SET ROLE {}; ALTER TABLE notes ADD stars int4; RESET ROLE", walled.roles.data()),
    )
    .await;
    let store = walled.store(|target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    note(&other, &store, "of acme-2").await;

    let mut db = acme.open(&store).await.unwrap();
    let refused = db.copy_in_raw("COPY notes (body) FROM STDIN").await.err().unwrap();
    assert_eq!(code(&refused), "0A000");
    drop(db);
    let insert = BulkInsert::into_table("notes")
        .in_schema("public")
        .column("body", "text")
        .column("stars", "int4");
    let texts: Vec<_> = (0..5000).map(|n| format!("note {n}")).collect();
    let stars: Vec<i32> = (0..5000).collect();
    let mut db = acme.open(&store).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(insert.sql()))
        .bind(&texts)
        .bind(&stars)
        .execute(db.conn())
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 5000);
    db.commit().await.unwrap();
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(one::<i64>(db.conn(), "SELECT count(*) FROM notes WHERE stars < 100").await, 100);
    drop(db);
    let mut db = other.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_a_statement_that_waits_for_the_client_does_not_keep_the_flight() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    run(&mut walled.superuser, "CREATE TABLE open_to_all (n int)").await;
    let app = walled.roles.app();
    run(&mut walled.superuser, &format!("GRANT SELECT, INSERT ON open_to_all TO {app}")).await;
    let slots = [slot_login(&walled.roles, 8)];
    let store = walled.store(|target| target.flight_slots(slots)).await;
    let [acme] = contexts(["acme"], &pooled());
    let flights = store.single_flight();
    let mut flight = acme.open(&flights).await.unwrap();
    let copied = flight.query("COPY open_to_all FROM STDIN", &[]);
    let copied = tokio::time::timeout(Duration::from_secs(8), copied).await;
    assert!(copied.expect("it came down").is_err());
    drop(flight);
    let mut flight = acme.open(&flights).await.unwrap();
    assert!(flight.query("SELECT n FROM open_to_all", &[]).await.unwrap().is_empty());
}
