//! The store over a pool database.

use std::{collections::BTreeMap, time::Duration};

use partywall::{
    DeploymentModel, OpenError, Placements, Scoped, Store, StoreName, TenantContext, TenantScope,
    Transactional,
    testing::{Probe, contexts, isolation, placed},
};
use partywall_postgres::{Postgres, PostgresError, TenantTransaction};
use sqlx::Connection as _;

use crate::support::{Walled, code, one, run, shared, try_one, try_run};

pub(crate) fn pooled() -> Placements {
    placed("main", DeploymentModel::Pool, "eu-1")
}

/// The rows a handle can reach.
pub(crate) async fn bodies(db: &mut Scoped<Postgres>) -> Vec<String> {
    let rows = sqlx::query_scalar("SELECT body FROM notes ORDER BY id");
    rows.fetch_all(db.conn()).await.unwrap()
}

pub(crate) async fn note(context: &TenantContext, store: &Postgres, body: &str) {
    let mut db = context.open(store).await.unwrap();
    sqlx::query("INSERT INTO notes (body) VALUES ($1)")
        .bind(body)
        .execute(db.conn())
        .await
        .unwrap();
    db.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn m13_pool_keeps_tenants_apart_and_commits_last() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    note(&acme, &store, "of acme").await;
    note(&other, &store, "of acme-2").await;

    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme"]);
    // Asked for by name, it is as if it did not exist; written into, refused.
    assert_eq!(
        one::<i64>(db.conn(), "SELECT count(*) FROM notes WHERE tenant_id = 'acme-2'").await,
        0
    );
    let written =
        try_run(db.conn(), "INSERT INTO notes (tenant_id, body) VALUES ('acme-2', 'x')").await;
    assert_eq!(code(&written.unwrap_err()), "42501");
    drop(db);
    let mut db = acme.open(&store).await.unwrap();
    let moved = try_run(db.conn(), "UPDATE notes SET tenant_id = 'acme-2'").await;
    assert_eq!(code(&moved.unwrap_err()), "42501");
    // The failed transaction cannot be committed, and says so.
    assert!(matches!(db.commit().await, Err(PostgresError::Commit { .. })));
    let mut db = acme.open(&store).await.unwrap();
    run(db.conn(), "UPDATE notes SET body = 'undone'").await;
    drop(db);
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme"]);
}

/// Gives the store to the isolation suite, which may not know its driver.
#[derive(Clone)]
pub(crate) struct Probed {
    pub(crate) store: Postgres,
    /// How to log in as a slot without going through the store.
    pub(crate) bare: sqlx::postgres::PgConnectOptions,
}

impl Store for Probed {
    type Handle = TenantTransaction;
    type Error = PostgresError;

    fn name(&self) -> &StoreName {
        self.store.name()
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<TenantTransaction, PostgresError> {
        self.store.open(scope).await
    }
}

impl Transactional for Probed {
    async fn commit(handle: TenantTransaction) -> Result<(), PostgresError> {
        Postgres::commit(handle).await
    }
}

impl Probe for Probed {
    async fn residue(&self) -> Result<BTreeMap<String, String>, PostgresError> {
        // Where a tenant has a login of its own, nobody else has one.
        let Ok(mut conn) = sqlx::PgConnection::connect_with(&self.bare).await else {
            return Ok(BTreeMap::new());
        };
        let rows = sqlx::query_as("SELECT body, tenant_id FROM notes").fetch_all(&mut conn).await;
        Ok(rows.map(|rows| rows.into_iter().collect()).unwrap_or_default())
    }

    async fn put(mut db: Scoped<Self>, key: &str, value: &str) -> Result<(), PostgresError> {
        sqlx::query("DELETE FROM notes WHERE body LIKE $1 || '=%'")
            .bind(key)
            .execute(db.conn())
            .await
            .unwrap();
        let sql = "INSERT INTO notes (body) VALUES ($1 || '=' || $2)";
        sqlx::query(sql).bind(key).bind(value).execute(db.conn()).await.unwrap();
        db.commit().await
    }

    async fn dump(mut db: Scoped<Self>) -> Result<BTreeMap<String, String>, PostgresError> {
        let sql = "SELECT split_part(body, '=', 1), split_part(body, '=', 2) FROM notes";
        Ok(sqlx::query_as(sql).fetch_all(db.conn()).await.unwrap().into_iter().collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m13_pool_passes_the_isolation_suite() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    for strict in [false, true] {
        let store = walled.store(|target| if strict { target.strict() } else { target }).await;
        let probed = Probed { store, bare: walled.slot_options(1) };
        isolation(&probed, &pooled(), 120, 7 + u64::from(strict)).await;
        let mut admin =
            sqlx::PgConnection::connect_with(&walled.shared.cluster.superuser(&walled.database))
                .await
                .unwrap();
        run(&mut admin, "DELETE FROM notes").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_nothing_is_reached_without_a_tenant() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme] = contexts(["acme"], &pooled());
    note(&acme, &store, "of acme").await;
    let mut bare = sqlx::PgConnection::connect_with(&walled.slot_options(1)).await.unwrap();
    for sql in [
        "SELECT count(*) FROM notes",
        "UPDATE notes SET body = ''",
        "DELETE FROM notes",
        "INSERT INTO notes (tenant_id, body) VALUES ('acme', 'x')",
        "INSERT INTO notes (body) VALUES ('x')",
    ] {
        let refused = try_run(&mut bare, sql).await.unwrap_err();
        assert_eq!(code(&refused), "28000", "{sql}");
    }
    // And after a COMMIT of the tenant's own the transaction that follows is nobody's.
    let mut db = acme.open(&store).await.unwrap();
    run(db.conn(), "COMMIT; BEGIN").await;
    let refused = try_one::<i64>(db.conn(), "SELECT count(*) FROM notes").await.unwrap_err();
    assert_eq!(code(&refused), "28000");
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_unknown_target_and_wrong_model_are_errors_not_defaults() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme] = contexts(["acme"], &placed("main", DeploymentModel::Pool, "us-1"));
    assert!(matches!(
        acme.open(&store).await,
        Err(OpenError::Store(PostgresError::UnknownTarget { .. }))
    ));
    let [acme] = contexts(["acme"], &placed("main", DeploymentModel::Silo, "eu-1"));
    assert!(matches!(
        acme.open(&store).await,
        Err(OpenError::Store(PostgresError::OtherModel { .. }))
    ));
    let [acme] = contexts(["acme"], &placed("ledger", DeploymentModel::Pool, "eu-1"));
    assert!(matches!(acme.open(&store).await, Err(OpenError::NotPlaced { .. })));
    let [acme] = contexts(["acme"], &pooled());
    assert!(acme.open(&store).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_savepoints_nest_and_leaked_ones_are_committed_with_the_rest() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme] = contexts(["acme"], &pooled());
    let mut db = acme.open(&store).await.unwrap();
    run(db.conn(), "INSERT INTO notes (body) VALUES ('kept')").await;
    let mut inner = db.begin().await.unwrap();
    run(&mut inner, "INSERT INTO notes (body) VALUES ('undone')").await;
    let refused = try_run(&mut inner, "INSERT INTO notes (tenant_id, body) VALUES ('x', '')").await;
    assert_eq!(code(&refused.unwrap_err()), "42501");
    inner.rollback().await.unwrap();
    let mut inner = db.begin().await.unwrap();
    run(&mut inner, "INSERT INTO notes (body) VALUES ('kept, too')").await;
    inner.commit().await.unwrap();
    let mut leaked = db.begin().await.unwrap();
    run(&mut leaked, "INSERT INTO notes (body) VALUES ('leaked')").await;
    std::mem::forget(leaked);
    db.commit().await.unwrap();
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["kept", "kept, too", "leaked"]);
    // The session goes on working after all this.
    drop(db);
    note(&acme, &store, "more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_full_pool_times_out_and_recovers() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let limit = Duration::from_millis(200);
    let store = walled.store_with_slots(1, |target| target.acquire_timeout(limit)).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let held = acme.open(&store).await.unwrap();
    let waited = other.open(&store).await;
    assert!(matches!(waited, Err(OpenError::Store(PostgresError::PoolTimedOut { .. }))));
    drop(held);
    let mut db = other.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_exchanged_connections_are_not_committed_and_not_kept() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    let (mut a, mut b) = (acme.open(&store).await.unwrap(), other.open(&store).await.unwrap());
    std::mem::swap(&mut *a, &mut *b); // two handles: all is well
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    let (mut a, mut b) = (acme.open(&store).await.unwrap(), other.open(&store).await.unwrap());
    std::mem::swap(a.conn(), b.conn()); // two connections: it is not
    assert!(matches!(a.commit().await, Err(PostgresError::Exchanged { .. })));
    drop(b);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..4 {
        let mut db = acme.open(&store).await.unwrap();
        assert_eq!(bodies(&mut db).await, [""; 0]);
        db.commit().await.unwrap();
    }
}
