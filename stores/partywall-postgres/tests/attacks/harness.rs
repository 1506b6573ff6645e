//! One cluster for the whole binary, the two databases in it, and sessions that take down what
//! the server said.

use std::{
    fmt::Write as _,
    fs,
    future::poll_fn,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use aws_lc_rs::{hmac, rand};
use partywall_postgres::{
    InitOptions, Roles,
    local::{Cluster, ClusterOptions, find_binaries},
    migration,
};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};

/// The tenant that attacks.
pub(crate) const A: &str = "acme";
/// The tenant that is attacked; the ids begin alike.
pub(crate) const B: &str = "acme-2";
/// How many notes each of four tenants has.
pub(crate) const NOTES: i64 = 1000;
/// A counts its own notes.
pub(crate) const OWN: &str = "SELECT count(*) FROM app.notes WHERE tenant_id = 'acme'";
/// A counts B's notes.
pub(crate) const FOREIGN: &str = "SELECT count(*) FROM app.notes WHERE tenant_id = 'acme-2'";
/// How many tenants' notes can be seen.
pub(crate) const TENANTS: &str = "SELECT count(DISTINCT tenant_id) FROM app.notes";

/// `invalid_authorization_specification`: no tenant is bound to the transaction.
pub(crate) const UNBOUND: &str = "28000";
/// `insufficient_privilege`: no grant, or a row the policy does not admit.
pub(crate) const DENIED: &str = "42501";

/// The cluster, running with both databases in it; `None`, said aloud, where this machine has no
/// server programs.
pub(crate) fn bench() -> Option<&'static Bench> {
    static BENCH: LazyLock<Option<Bench>> = LazyLock::new(Bench::start);
    BENCH.as_ref()
}

/// A fresh connection to each database.
pub(crate) async fn pair() -> Option<(Session, Session)> {
    let bench = bench()?;
    Some((bench.naive().await, bench.walled().await))
}

/// As [`pair`], inside a transaction of A on both. Shown before: on both walls each tenant sees
/// its own rows and nobody else's, so what an attack sees more is the attack's doing.
pub(crate) async fn pair_as_a() -> Option<(Session, Session)> {
    let (naive, walled) = pair().await?;
    for session in [&naive, &walled] {
        session.begin(B).await;
        assert_eq!(session.count(FOREIGN).await, NOTES, "B sees its own");
        assert_eq!(session.count(OWN).await, 0, "B does not see A's");
        session.end().await;
        session.begin(A).await;
        assert_eq!(session.count(OWN).await, NOTES, "A sees its own");
        assert_eq!(session.count(FOREIGN).await, 0, "A does not see B's");
        assert_eq!(session.count(TENANTS).await, 1);
    }
    Some((naive, walled))
}

/// The running cluster.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) key: [u8; 32],
    pub(crate) roles: Roles,
    next_slot: AtomicU16,
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
        let options = ClusterOptions::new(dir.join("pg")).not_durable().tcp();
        // Statistics are what some attacks read: they change when the suite says so.
        let options = options.setting("autovacuum", "off").setting("statement_timeout", "30s");
        // SCRAM costs a debug build more than the attacks do; the password attack goes by TCP.
        let prepared = Cluster::start(&options).unwrap();
        let hba = prepared.data_dir().join("pg_hba.conf");
        fs::write(hba, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        prepared.stop().unwrap();
        let cluster = Cluster::start(&options).unwrap();
        stop_with_this_process(cluster.pid(), &dir);
        let mut key = [0; 32];
        rand::fill(&mut key).unwrap();
        let next_slot = AtomicU16::new(1);
        let bench = Self { cluster, key, roles: Roles::default(), next_slot };
        // A thread of its own, since whoever asks first is already on a runtime.
        std::thread::scope(|scope| {
            let filled = scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(bench.fill());
            });
            filled.join().unwrap();
        });
        Some(bench)
    }

    async fn fill(&self) {
        let root = self.superuser("postgres").await;
        root.run("CREATE DATABASE naive").await;
        root.run("CREATE ROLE manager LOGIN CREATEROLE CREATEDB").await;
        root.run("CREATE DATABASE walled OWNER manager").await;

        let naive = self.superuser("naive").await;
        for sql in [
            include_str!("naive.sql"),
            include_str!("rows.sql"),
            include_str!("naive_policies.sql"),
            "ANALYZE",
        ] {
            naive.run(sql).await;
        }

        // As on managed PostgreSQL: the owner of the database installs the wall, no superuser.
        let manager = self.connect(Wall::None, "manager", "walled", "").await;
        let pack = migration(&InitOptions::new(self.roles.clone()).slots(SLOTS));
        let key: String = hex(&self.key);
        for sql in [
            &*pack,
            "CREATE SCHEMA app AUTHORIZATION partywall_data",
            "GRANT USAGE ON SCHEMA app TO partywall_app",
            &format!(
                "SET ROLE partywall_owner; SELECT partywall.put_key(1::int2, '\\x{key}'); RESET ROLE"
            ),
            include_str!("walled.sql"),
            include_str!("rows.sql"),
            include_str!("walled_policies.sql"),
        ] {
            manager.run(sql).await;
        }
        self.superuser("walled").await.run("ANALYZE").await;
    }

    /// A connection of the naive application.
    pub(crate) async fn naive(&self) -> Session {
        self.connect(Wall::Naive, "naive_app", "naive", "").await
    }

    /// A connection of a slot role nobody else uses.
    pub(crate) async fn walled(&self) -> Session {
        let slot = self.fresh_slot();
        self.connect(Wall::Ours, &slot, "walled", "").await
    }

    /// The name of a slot role nobody else uses.
    pub(crate) fn fresh_slot(&self) -> String {
        let slot = self.next_slot.fetch_add(1, Ordering::Relaxed);
        assert!(slot < SLOTS, "more slots are needed");
        self.roles.slot(slot)
    }

    /// Who looks behind the wall.
    pub(crate) async fn superuser(&self, database: &str) -> Session {
        self.connect(Wall::None, Cluster::SUPERUSER, database, "").await
    }

    /// A connection with startup `options`.
    pub(crate) async fn connect(
        &self,
        wall: Wall,
        user: &str,
        database: &str,
        options: &str,
    ) -> Session {
        let mut config = Config::new();
        config.host_path(self.cluster.socket_dir()).port(self.cluster.port());
        config.user(user).dbname(database);
        if !options.is_empty() {
            config.options(options);
        }
        let (client, mut connection) = config.connect(NoTls).await.unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ear = Arc::clone(&heard);
        tokio::spawn(poll_fn(move |cx| {
            loop {
                let Some(Ok(message)) = ready!(connection.poll_message(cx)) else {
                    return Poll::Ready(());
                };
                let mut heard = ear.lock().unwrap();
                match message {
                    AsyncMessage::Notice(n) => {
                        _ = write!(
                            heard.notices,
                            "{} {} ",
                            n.message(),
                            n.detail().unwrap_or_default()
                        );
                    }
                    AsyncMessage::Notification(n) => heard.notified.push(n.payload().to_owned()),
                    _ => {}
                }
            }
        }));
        let mut session = Session { client, pid: 0, heard, wall };
        session.pid = session.text("SELECT pg_backend_pid()").await.parse().unwrap();
        session
    }
}

/// Stops the server and removes its directory when this process is gone, however it went: its end
/// of the pipe closes. A static is never dropped, and the test harness has no last word.
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
    std::mem::forget(janitor);
}

/// Behind which wall a session is, and so how the application binds a tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wall {
    /// `SET LOCAL app.tenant_id`.
    Naive,
    /// A ticket.
    Ours,
    /// Not an application.
    None,
}

/// What the server said unasked.
#[derive(Default)]
struct Heard {
    notices: String,
    notified: Vec<String>,
}

/// One connection to one backend.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) pid: i32,
    wall: Wall,
    heard: Arc<Mutex<Heard>>,
}

impl Session {
    /// Begins a transaction of `tenant` as the application does, and returns the value that binds
    /// it: the ticket, behind our wall.
    pub(crate) async fn begin(&self, tenant: &str) -> String {
        self.run("BEGIN").await;
        let (setting, value) = match self.wall {
            Wall::Naive => ("app.tenant_id", tenant.to_owned()),
            Wall::Ours => {
                let now = self.transaction_time().await;
                ("partywall.ticket", self.ticket(tenant, now..=now))
            }
            Wall::None => panic!("no application"),
        };
        self.set(setting, &value).await;
        value
    }

    /// Sets a setting until the end of the transaction.
    pub(crate) async fn set(&self, setting: &str, value: &str) {
        self.client
            .query("SELECT set_config($1, $2, true)", &[&setting, &value])
            .await
            .unwrap_or_else(|e| panic!("{e:?}"));
    }

    /// Binds to the current transaction what the test says is a ticket.
    pub(crate) async fn present(&self, ticket: &str) {
        self.set("partywall.ticket", ticket).await;
    }

    /// As [`present`](Self::present), under a `search_path` that is not to be trusted.
    pub(crate) async fn present_qualified(&self, ticket: &str) {
        let sql = "SELECT pg_catalog.set_config('partywall.ticket', $1, true)";
        self.client.query(sql, &[&ticket]).await.unwrap_or_else(|e| panic!("{e:?}"));
    }

    /// An honest ticket for this backend.
    pub(crate) fn ticket(&self, tenant: &str, window: std::ops::RangeInclusive<i64>) -> String {
        ticket(&bench().unwrap().key, self.pid, tenant, window, "")
    }

    /// When the current transaction began, in microseconds since 2000-01-01 UTC.
    pub(crate) async fn transaction_time(&self) -> i64 {
        let sql = "SELECT (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint
                          - 946684800000000";
        self.count(sql).await
    }

    /// Ends the transaction as a pool does: commit, or roll back when it failed.
    pub(crate) async fn end(&self) {
        self.run("COMMIT").await; // of a failed transaction this is a ROLLBACK
    }

    /// Runs statements by the simple protocol; they must succeed.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(refused) = self.rows(sql).await {
            panic!("{refused:?}\n{sql}");
        }
    }

    /// As [`run`](Self::run), one test at a time: two that change the rights on one object at once
    /// would make one of them fail ("tuple concurrently updated").
    pub(crate) async fn set_up(&self, sql: &str) {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = TURN.lock().await;
        self.run(sql).await;
    }

    /// The first column of the only row.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let rows = self.rows(sql).await.unwrap_or_else(|refused| panic!("{refused:?}\n{sql}"));
        assert_eq!(rows.len(), 1, "{rows:?}\n{sql}");
        rows[0][0].clone()
    }

    /// The number in the first column of the only row.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.text(sql).await.parse().unwrap()
    }

    /// The SQLSTATE with which statements that must not succeed are refused.
    pub(crate) async fn refusal(&self, sql: &str) -> String {
        match self.rows(sql).await {
            Ok(rows) => panic!("not refused, and returned {rows:?}\n{sql}"),
            Err(refused) => refused.code,
        }
    }

    /// As [`refusal`](Self::refusal), and the transaction goes on.
    pub(crate) async fn refusal_inside(&self, sql: &str) -> String {
        self.run("SAVEPOINT attempt").await;
        let code = self.refusal(sql).await;
        self.run("ROLLBACK TO attempt").await;
        code
    }

    /// The rows of all statements as text, NULL as the empty text.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Refused> {
        let messages = self.client.simple_query(sql).await.map_err(|e| Refused::from(&e))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// All notices so far, with white space collapsed.
    pub(crate) fn notices(&self) -> String {
        let heard = self.heard.lock().unwrap();
        heard.notices.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The payloads of all notifications so far.
    pub(crate) fn notified(&self) -> Vec<String> {
        self.heard.lock().unwrap().notified.clone()
    }
}

/// What the server refused, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl From<&tokio_postgres::Error> for Refused {
    fn from(error: &tokio_postgres::Error) -> Self {
        let db = error.as_db_error().unwrap_or_else(|| panic!("not the server's word: {error:?}"));
        let detail = db.detail().unwrap_or_default();
        Self { code: db.code().code().into(), message: format!("{} {detail}", db.message()) }
    }
}

/// Waits until the backend `pid` sleeps in `pg_sleep`.
pub(crate) async fn until_asleep(root: &Session, pid: i32) {
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
    );
    for _ in 0..500 {
        if root.count(&asleep).await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("backend {pid} does not sleep");
}

/// A ticket by the pack's layout, in the suite's own few lines:
/// `hex( mac[32] | not_before int8 | not_after int8 | length int1 | tenant | claims )` with
/// `mac = HMAC-SHA256(key, everything after the mac | backend pid int4)`.
pub(crate) fn ticket(
    key: &[u8],
    pid: i32,
    tenant: &str,
    window: std::ops::RangeInclusive<i64>,
    claims: &str,
) -> String {
    let mut message = Vec::new();
    message.extend(window.start().to_be_bytes());
    message.extend(window.end().to_be_bytes());
    message.push(u8::try_from(tenant.len()).unwrap());
    message.extend(tenant.as_bytes());
    message.extend(claims.as_bytes());
    let bound = [&message[..], &pid.to_be_bytes()].concat();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &bound);
    hex(mac.as_ref()) + &hex(&message)
}

/// A ticket of another tenant under the mac of this one: what A can make of its own.
pub(crate) fn readdressed(ticket: &str, tenant: &str) -> String {
    let (mac_and_window, _own) = ticket.split_at(2 * (32 + 16));
    format!("{mac_and_window}{:02x}{}", tenant.len(), hex(tenant.as_bytes()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// The last of them is nobody's: what the attacks try to become.
const SLOTS: u16 = 300;
