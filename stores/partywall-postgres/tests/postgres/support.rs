//! One private cluster for all tests that run at the same time, a database of its own for each.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU32, Ordering},
};

use partywall_postgres::{
    InitOptions, Login, PoolTarget, Postgres, Roles, TicketKey,
    local::{Cluster, ClusterOptions, find_binaries},
    provision,
};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _,
    postgres::PgConnectOptions,
};

/// A cluster that stops when the last test lets go of it.
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    _dir: tempfile::TempDir,
}

/// The shared cluster; `None`, said aloud, when this machine has no server programs.
pub(crate) fn shared() -> Option<Arc<Shared>> {
    static RUNNING: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let binaries = find_binaries();
    if binaries.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL server programs");
        eprintln!("SKIPPED: no PostgreSQL server programs on this machine (package postgresql)");
        return None;
    }
    let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(shared) = running.upgrade() {
        return Some(shared);
    }
    let shared = Arc::new(Shared::start());
    *running = Arc::downgrade(&shared);
    Some(shared)
}

impl Shared {
    /// A cluster for one test only, whose log holds nothing of others.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ClusterOptions::new(dir.path().join("pg")).not_durable().tcp();
        Self { cluster: Cluster::start(&options).unwrap(), _dir: dir }
    }
}

/// A database with the pack and one walled table, `public.notes`, installed by an owner who is
/// not superuser: what a managed PostgreSQL gives its customers.
pub(crate) struct Walled {
    pub(crate) shared: Arc<Shared>,
    pub(crate) database: String,
    pub(crate) roles: Roles,
    pub(crate) admin_role: String,
    /// The owner of the database: `CREATEROLE`, not superuser.
    pub(crate) admin: PgConnection,
    /// Never given to the wall: looks behind it.
    pub(crate) superuser: PgConnection,
}

pub(crate) const KEY: [u8; 32] = [7; 32];
pub(crate) const SLOTS: u16 = 8;

impl Walled {
    pub(crate) async fn new(shared: Arc<Shared>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (database, roles) =
            (format!("saas{n}"), Roles::with_prefix(&format!("pw{n}")).unwrap());
        let admin_role = format!("admin{n}");
        let cluster = &shared.cluster;
        let mut root = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
        let create = format!("CREATE ROLE {admin_role} LOGIN CREATEROLE CREATEDB PASSWORD 'admin'");
        run(&mut root, &create).await;
        run(&mut root, &format!("CREATE DATABASE {database} OWNER {admin_role}")).await;
        // What only the owner of "public" can do on PostgreSQL 14, and nobody need do after it.
        let mut there = PgConnection::connect_with(&cluster.superuser(&database)).await.unwrap();
        run(&mut there, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
        run(&mut there, &format!("GRANT ALL ON SCHEMA public TO {admin_role} WITH GRANT OPTION"))
            .await;
        drop(there);
        let admin = cluster.address().username(&admin_role).password("admin").database(&database);
        let mut admin = PgConnection::connect_with(&admin).await.unwrap();
        run(&mut admin, NOTES).await;
        let options =
            InitOptions::new(roles.clone()).slots(SLOTS).table("public.notes".parse().unwrap());
        provision::install(&mut admin, &options).await.unwrap();
        let logins: Vec<_> = (1..=SLOTS).map(|n| slot_login(&roles, n)).collect();
        provision::set_passwords(&mut admin, &logins).await.unwrap();
        provision::put_ticket_key(&mut admin, &roles, 1, &key()).await.unwrap();
        let superuser = PgConnection::connect_with(&cluster.superuser(&database)).await.unwrap();
        Self { shared, database, roles, admin_role, admin, superuser }
    }

    /// A checked store `main` with this database as target `eu-1`.
    pub(crate) async fn store(&self, adjust: impl FnOnce(PoolTarget) -> PoolTarget) -> Postgres {
        self.store_with_slots(4, adjust).await
    }

    pub(crate) async fn store_with_slots(
        &self,
        slots: u16,
        adjust: impl FnOnce(PoolTarget) -> PoolTarget,
    ) -> Postgres {
        let target = adjust(self.target(slots));
        let builder = Postgres::builder("main".parse().unwrap());
        let connected = builder.pool("eu-1".parse().unwrap(), target).connect().await;
        connected.unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) fn target(&self, slots: u16) -> PoolTarget {
        let slots = (1..=slots).map(|n| slot_login(&self.roles, n));
        PoolTarget::new(self.shared.cluster.address(), &self.database, key()).slots(slots)
    }

    /// How a slot logs in without the store.
    pub(crate) fn slot_options(&self, n: u16) -> PgConnectOptions {
        let role = self.roles.slot(n);
        self.shared
            .cluster
            .address()
            .username(&role)
            .password(&format!("secret of {role}"))
            .database(&self.database)
    }
}

pub(crate) fn key() -> TicketKey {
    TicketKey::from_bytes(&KEY).unwrap()
}

pub(crate) fn slot_login(roles: &Roles, n: u16) -> Login {
    let role = roles.slot(n);
    let password = format!("secret of {role}");
    Login::new(role, password)
}

pub(crate) const NOTES: &str = r#"
    CREATE TABLE public.notes (
        tenant_id text COLLATE "C" NOT NULL,
        id bigint GENERATED ALWAYS AS IDENTITY,
        body text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )"#;

/// Runs statements that return nothing of interest.
pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    try_run(conn, sql).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
}

pub(crate) async fn try_run(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.map(drop)
}

/// The first column of the first row.
pub(crate) async fn one<T>(conn: &mut PgConnection, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    try_one(conn, sql).await.unwrap_or_else(|e| panic!("{e}\n{sql}"))
}

pub(crate) async fn try_one<T>(conn: &mut PgConnection, sql: &str) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false).fetch_one(conn).await?;
    row.try_get(0)
}

/// The SQLSTATE of a refusal.
pub(crate) fn code(error: &sqlx::Error) -> String {
    let database = error.as_database_error();
    database.and_then(|e| e.code()).unwrap_or_else(|| panic!("no SQLSTATE: {error}")).into_owned()
}
