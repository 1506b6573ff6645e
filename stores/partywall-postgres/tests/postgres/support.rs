//! One private cluster for all tests that run at the same time, a database of its own for each.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU32, Ordering},
};

use partywall_postgres::{
    InitOptions, Roles, Table,
    local::{Cluster, ClusterOptions, find_binaries},
    migration,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

/// A cluster that stops when the last test lets go of it.
pub struct Shared {
    pub cluster: Cluster,
    _dir: tempfile::TempDir,
}

/// The shared cluster; `None`, said aloud, when this machine has no server programs.
pub fn shared() -> Option<Arc<Shared>> {
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
    let dir = tempfile::tempdir().unwrap();
    let options = ClusterOptions::new(dir.path().join("pg")).not_durable().tcp();
    let shared = Arc::new(Shared { cluster: Cluster::start(&options).unwrap(), _dir: dir });
    *running = Arc::downgrade(&shared);
    Some(shared)
}

/// A database with the pack and one walled table, `public.notes`, installed by an owner who is
/// not superuser: what a managed PostgreSQL gives its customers.
pub struct Walled {
    pub shared: Arc<Shared>,
    pub database: String,
    pub roles: Roles,
    /// The owner of the database: `CREATEROLE`, not superuser.
    pub admin: PgConnection,
    /// Never given to the wall: looks behind it.
    pub superuser: PgConnection,
}

pub const KEY: [u8; 32] = [7; 32];

impl Walled {
    pub async fn new(shared: Arc<Shared>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (database, roles) =
            (format!("saas{n}"), Roles::with_prefix(&format!("pw{n}")).unwrap());
        let admin_role = format!("admin{n}");
        let cluster = &shared.cluster;
        let mut root = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
        run(
            &mut root,
            &format!("CREATE ROLE {admin_role} LOGIN CREATEROLE CREATEDB PASSWORD 'admin'"),
        )
        .await;
        run(&mut root, &format!("CREATE DATABASE {database} OWNER {admin_role}")).await;
        let admin = cluster.address().username(&admin_role).password("admin").database(&database);
        let mut admin = PgConnection::connect_with(&admin).await.unwrap();
        run(&mut admin, NOTES).await;
        let options = InitOptions::new(roles.clone())
            .slots(8)
            .table("public.notes".parse::<Table>().unwrap());
        run(&mut admin, &migration(&options)).await;
        run(&mut admin, &format!("SET ROLE {}_owner", roles.prefix())).await;
        sqlx::query("SELECT partywall.put_key(1::int2, $1)")
            .bind(&KEY[..])
            .execute(&mut admin)
            .await
            .unwrap();
        run(&mut admin, "RESET ROLE").await;
        let superuser = PgConnection::connect_with(&cluster.superuser(&database)).await.unwrap();
        Self { shared, database, roles, admin, superuser }
    }
}

pub const NOTES: &str = r#"
    CREATE TABLE public.notes (
        tenant_id text COLLATE "C" NOT NULL,
        id bigint GENERATED ALWAYS AS IDENTITY,
        body text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )"#;

/// Runs statements that return nothing of interest.
pub async fn run(conn: &mut PgConnection, sql: &str) {
    try_run(conn, sql).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
}

pub async fn try_run(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.map(drop)
}

/// The first column of the first row.
pub async fn one<T>(conn: &mut PgConnection, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    try_one(conn, sql).await.unwrap_or_else(|e| panic!("{e}\n{sql}"))
}

pub async fn try_one<T>(conn: &mut PgConnection, sql: &str) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false).fetch_one(conn).await?;
    row.try_get(0)
}

/// The SQLSTATE of a refusal.
pub fn code(error: &sqlx::Error) -> String {
    let database = error.as_database_error();
    database.and_then(|e| e.code()).unwrap_or_else(|| panic!("no SQLSTATE: {error}")).into_owned()
}
