//! One private cluster for the whole binary, and a database of its own for each test.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use partywall::Timestamp;
use partywall_postgres::{
    InitOptions, Roles, TicketKey,
    local::{Cluster, ClusterOptions, find_binaries},
    provision,
};
use partywall_prove::{
    Exception, Log, Run, Silent, Trial, Verdict,
    postgres::{Address, CannotRun, Options, prove},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};

/// The running cluster.
pub(crate) struct Bench {
    cluster: Cluster,
    next: AtomicU32,
}

/// The cluster; `None`, said aloud, where this machine has no server programs.
pub(crate) fn bench() -> Option<&'static Bench> {
    static BENCH: LazyLock<Option<Bench>> = LazyLock::new(Bench::start);
    BENCH.as_ref()
}

impl Bench {
    fn start() -> Option<Self> {
        if find_binaries().is_none() {
            assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL server programs");
            eprintln!("SKIPPED: no PostgreSQL server programs on this machine (postgresql)");
            return None;
        }
        // The server's user must be able to pass through.
        let open = fs::Permissions::from_mode(0o711);
        let dir = tempfile::Builder::new().permissions(open).tempdir().unwrap().keep();
        let options =
            ClusterOptions::new(dir.join("pg")).not_durable().setting("wal_level", "logical");
        let prepared = Cluster::start(&options).unwrap();
        // SCRAM costs a debug build more than the attacks do.
        let hba = "local all needs_password scram-sha-256\nlocal all let_in_nowhere reject\nlocal all all trust\n";
        fs::write(prepared.data_dir().join("pg_hba.conf"), hba).unwrap();
        prepared.stop().unwrap();
        let cluster = Cluster::start(&options).unwrap();
        stop_with_this_process(cluster.pid(), &dir);
        Some(Self { cluster, next: AtomicU32::new(1) })
    }

    /// A new database in which the superuser has run `sql`. Roles belong to the whole cluster: name
    /// them after the database, `{db}` in the text.
    pub(crate) async fn database(&self, sql: &str) -> Database {
        let name = format!("db{}", self.next.fetch_add(1, Ordering::Relaxed));
        let mut admin =
            PgConnection::connect_with(&self.cluster.superuser("postgres")).await.unwrap();
        execute(&mut admin, &format!("CREATE DATABASE {name}")).await;
        let database = Database { options: self.cluster.superuser(&name), name };
        database.run(sql).await;
        database
    }
}

/// The key of the walls that [`Bench::walled`] makes.
pub(crate) const TICKET_KEY: [u8; 32] = [7; 32];

impl Bench {
    /// A new database behind our own wall, with one table, `shop.notes`, and two slots.
    pub(crate) async fn walled(&self) -> Database {
        let notes = "CREATE SCHEMA shop; CREATE TABLE shop.notes (tenant_id text NOT NULL, id bigint \
                     GENERATED ALWAYS AS IDENTITY, body text NOT NULL, PRIMARY KEY (tenant_id, id))";
        let database = self.database(notes).await;
        let roles = Roles::with_prefix(&database.name).unwrap();
        let table = "shop.notes".parse().unwrap();
        let options = InitOptions::new(roles.clone()).slots(2).table(table);
        let mut admin = PgConnection::connect_with(&database.options).await.unwrap();
        provision::install(&mut admin, &options).await.unwrap();
        let key = TicketKey::from_bytes(&TICKET_KEY).unwrap();
        provision::put_ticket_key(&mut admin, &roles, 1, &key).await.unwrap();
        database
    }
}

/// A database of one test's own.
pub(crate) struct Database {
    options: PgConnectOptions,
    pub(crate) name: String,
}

impl Database {
    /// Runs SQL as the superuser.
    pub(crate) async fn run(&self, sql: &str) {
        let mut admin = PgConnection::connect_with(&self.options).await.unwrap();
        execute(&mut admin, &sql.replace("{db}", &self.name)).await;
        admin.close().await.unwrap();
    }

    /// One number, asked as the superuser.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut admin = PgConnection::connect_with(&self.options).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut admin).await.unwrap()
    }

    /// How the superuser connects.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// How a driver connects as `role`.
    pub(crate) fn login(&self, role: &str) -> PgConnectOptions {
        self.options.clone().username(&role.replace("{db}", &self.name))
    }

    /// The way in for the superuser.
    pub(crate) fn admin(&self) -> Address {
        Address::from_options(self.options.clone())
    }

    /// The way in for `role`; `{db}` in it is the database's name.
    pub(crate) fn as_role(&self, role: &str) -> Address {
        Address::from_options(self.options.clone().username(&role.replace("{db}", &self.name)))
    }

    /// The superuser's way in, with the driver's options changed.
    pub(crate) fn with(
        &self,
        change: impl FnOnce(PgConnectOptions) -> PgConnectOptions,
    ) -> Address {
        Address::from_options(change(self.options.clone()))
    }

    /// A connection of the superuser's, for what goes on beside a run.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    /// A run from `address`.
    pub(crate) async fn prove(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Run, CannotRun> {
        self.accept(address, options, Vec::new()).await
    }

    /// A run in which some of what is found was declared.
    pub(crate) async fn accept(
        &self,
        address: &Address,
        options: &Options,
        declared: Vec<Exception>,
    ) -> Result<Run, CannotRun> {
        let mut log = Log::new(declared, &Silent);
        let subject = prove(address, options, &mut log).await?;
        Ok(Run::new("test".to_owned(), Timestamp(0), Timestamp(1), subject, log))
    }
}

async fn execute(conn: &mut PgConnection, sql: &str) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await {
        panic!("{sql}\n{error}");
    }
}

/// `attack@place: verdict` of everything that leaked or could not be decided.
pub(crate) fn open(run: &Run) -> Vec<String> {
    let closed = [Verdict::Blocked, Verdict::NotTested];
    run.trials.iter().filter(|trial| !closed.contains(&trial.verdict)).map(line).collect()
}

/// One trial on one line, with what was seen.
pub(crate) fn line(trial: &Trial) -> String {
    format!(
        "{}@{}: {} ({}; control: {})",
        trial.attack,
        trial.place,
        trial.verdict.as_str(),
        trial.seen.text(),
        trial.control.text()
    )
}

/// Stops the server and removes its directory when this process has ended, however it ended.
fn stop_with_this_process(server: u32, dir: &std::path::Path) {
    let janitor = Command::new("sh")
        .args(["-c", "cat; kill -INT $0; while kill -0 $0; do sleep 0.1; done; rm -rf \"$1\""])
        .arg(server.to_string())
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // so that what stops the tests, Ctrl-C too, does not stop it
        .spawn()
        .unwrap();
    // Its standard input closes with us.
    std::mem::forget(janitor);
}
