//! Fifty tables, two tenants, every attack: how long it takes beside as many empty statements on the
//! same server, and whether a table's size shows in time or memory.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use partywall_benches::{only_a_test, wanted};
use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use partywall_prove::{
    Log, Silent, Verdict,
    postgres::{Address, Adversary, Options, prove},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

fn main() {
    if !wanted("prove") {
        return;
    }
    if find_binaries().is_none() {
        println!("skipped: no PostgreSQL server programs on this machine");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let dir = std::env::temp_dir().join(format!("partywall-bench-prove-{}", std::process::id()));
    let cluster = Cluster::start(&ClusterOptions::new(&dir).not_durable()).unwrap();
    let mut admin = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
    execute(&mut admin, "CREATE ROLE app LOGIN PASSWORD 'bench'; CREATE ROLE owner;").await;
    let (few, many) = if only_a_test() { (0, 1_000) } else { (0, 1_000_000) };
    println!("50 tables, 2 tenants, as the application's role (mark: 3 s)\n");
    println!("{:<44} {:>7} {:>9} {:>14} {:>9}", "", "trials", "time", "empty, as many", "ratio");
    for (database, rows) in [("empty", few), ("filled", many)] {
        execute(&mut admin, &format!("CREATE DATABASE {database}")).await;
        let mut own = PgConnection::connect_with(&cluster.superuser(database)).await.unwrap();
        execute(&mut own, &fifty_tables(rows)).await;
        let options = cluster.superuser(database).username("app").password("bench");
        let address = Address::from_options(options);
        for adversary in [Adversary::Parameters, Adversary::SqlInjection] {
            let (trials, took) = attack(&address, adversary).await;
            let empty = empty_statements(&mut own, trials).await;
            println!(
                "{:<44} {trials:>7} {:>7.2} s {:>12.2} s {:>9.1}",
                format!("{rows} rows in one table, {adversary:?}"),
                took.as_secs_f64(),
                empty.as_secs_f64(),
                took.as_secs_f64() / empty.as_secs_f64(),
            );
        }
        println!("{:<44} {} MB at most so far", "memory of this process", peak_megabytes());
    }
    drop(admin);
    cluster.stop().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

/// One run; nothing may leak but what the wall of this schema cannot hold.
async fn attack(address: &Address, adversary: Adversary) -> (usize, Duration) {
    let options = Options { adversary, even_in_production: true, ..Options::default() };
    let mut log = Log::new(Vec::new(), &Silent);
    let began = Instant::now();
    prove(address, &options, &mut log).await.unwrap();
    let took = began.elapsed();
    let leaked = log.trials().iter().filter(|trial| trial.verdict == Verdict::Leaked);
    if adversary == Adversary::Parameters {
        assert_eq!(leaked.count(), 0, "this wall holds");
    }
    (log.trials().len(), took)
}

/// As many statements that do nothing, one after the other.
async fn empty_statements(conn: &mut PgConnection, count: usize) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        execute(conn, "SELECT 1").await;
    }
    began.elapsed()
}

/// `t0` … `t49`, each referring to the one before it; `rows` of other tenants in the last.
fn fifty_tables(rows: u64) -> String {
    let mut sql =
        "CREATE SCHEMA s AUTHORIZATION owner; GRANT USAGE ON SCHEMA s TO app; SET ROLE owner;"
            .to_owned();
    for n in 0..50 {
        let parent = match n {
            0 | 49 => String::new(),
            n => format!(
                ", parent uuid NOT NULL, FOREIGN KEY (tenant_id, parent) REFERENCES s.t{}",
                n - 1
            ),
        };
        write!(
            sql,
            "CREATE TABLE s.t{n} (tenant_id uuid NOT NULL, id uuid DEFAULT gen_random_uuid(), name text NOT NULL,
               total numeric NOT NULL CHECK (total >= 0){parent}, PRIMARY KEY (tenant_id, id));
             ALTER TABLE s.t{n} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY wall ON s.t{n} USING (tenant_id = (SELECT nullif(current_setting('s.tenant', true), '')::uuid));
             GRANT SELECT, INSERT, UPDATE, DELETE ON s.t{n} TO app;"
        )
        .unwrap();
    }
    write!(
        sql,
        "RESET ROLE; INSERT INTO s.t49 SELECT gen_random_uuid(), gen_random_uuid(), 'name ' || n, n
           FROM generate_series(1, {rows}) n; ANALYZE s.t49;"
    )
    .unwrap();
    sql
}

async fn execute(conn: &mut PgConnection, sql: &str) {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

/// The most memory this process has had.
fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
