//! Which database a test runs on: a SQLite file of its own, or, in a run that was started for it, a
//! schema of its own in one PostgreSQL. Shared by the unit tests and the request tests, so that
//! every test there is or will be runs on both.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::Path,
    process::Command,
};

use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use sqlx::{Connection, Executor, PgConnection};

/// The URL of the PostgreSQL that this run is of.
const RUN: &str = "PARTYWALL_TEST_POSTGRES";

/// The database that belongs to `dir`, made when missing. `None` in a run on SQLite.
pub(crate) async fn postgres(dir: &Path) -> Option<String> {
    let run = std::env::var(RUN).ok()?;
    let mut name = DefaultHasher::new();
    dir.hash(&mut name);
    Some(schema(&run, &format!("t{:x}", name.finish())).await)
}

/// A schema of that name, made when missing, as a database URL of its own.
pub(crate) async fn schema(url: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let create = format!("CREATE SCHEMA IF NOT EXISTS {name}");
    connection.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    connection.close().await.unwrap();
    format!("{url}&options[search_path]={name}")
}

/// A PostgreSQL for the length of a test. `None`, after saying so, where there are no server
/// programs; a failure where there must be.
pub(crate) fn cluster(dir: &Path) -> Option<Cluster> {
    if find_binaries().is_none() {
        assert!(std::env::var_os("CI").is_none(), "no PostgreSQL server binaries on this machine");
        eprintln!("SKIPPED: no PostgreSQL server binaries on this machine");
        return None;
    }
    let options = ClusterOptions::new(dir).not_durable().setting("max_connections", "400");
    Some(Cluster::start(&options).unwrap())
}

/// Where it is, for its superuser.
pub(crate) fn url(cluster: &Cluster) -> String {
    let socket = cluster.socket_dir().to_str().unwrap().replace('/', "%2F");
    format!(
        "postgres://{}:{}@localhost:{}/postgres?host={socket}&sslmode=disable",
        Cluster::SUPERUSER,
        cluster.superuser_password(),
        cluster.port(),
    )
}

/// Runs all tests of this program again, on PostgreSQL, but those whose name contains one of
/// `elsewhere`: they are about SQLite, about no database, or have been run on both already.
pub(crate) fn run_all_again(elsewhere: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(dir.path()) else { return };
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env(RUN, url(&cluster)).args(["--color", "never"]);
    for name in elsewhere {
        again.args(["--skip", name]);
    }
    let run = again.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "on PostgreSQL: {said}");
    let tests = said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok"));
    let tests = tests.count();
    eprintln!("{tests} tests passed on PostgreSQL, too");
    assert!(tests > 10, "hardly any test ran: {said}");
    cluster.stop().unwrap();
}
