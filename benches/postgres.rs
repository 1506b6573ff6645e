//! One bound statement beside its peers: plain SQL, the usual row level security in four trips and
//! in one, and this wall, over half a millisecond of network and in server CPU.
//!
//! All in one run, turn by turn, so that a busy moment hits every variant alike.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use partywall::{
    DeploymentModel, TenantContext,
    testing::{contexts, placed},
};
use partywall_benches::{only_a_test, wanted};
use partywall_postgres::{
    DerivedLogins, InitOptions, Login, PoolTarget, Postgres, Roles, SingleFlight, TicketKey,
    local::{Cluster, ClusterOptions, find_binaries},
    provision,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio_postgres::{Client, NoTls, Statement, types::ToSql};

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
const ROWS_PER_TENANT: i64 = 50_000;
/// One way; a round trip is twice this.
const DELAY: Duration = Duration::from_micros(250);
const BATCH: u32 = 40;

fn main() {
    if !wanted("postgres") {
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
    let how_long = Duration::from_secs(if only_a_test() { 1 } else { 20 });
    let dir = std::env::temp_dir().join(format!("partywall-bench-{}", std::process::id()));
    let cluster = Cluster::start(&ClusterOptions::new(&dir).tcp().not_durable()).unwrap();
    let bed = Bed::prepare(&cluster).await;

    println!(
        "server CPU of one statement, over a Unix socket (µs; least and median of batches of {BATCH})\n"
    );
    let direct = Variants::connect(&bed, cluster.address(), None).await;
    let mut cpu = direct.measure(how_long, Reading::Cpu).await;
    table(&mut cpu, "plain");

    let proxy = delaying_proxy(cluster.port());
    let through = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(proxy);
    println!("\nwall time of one statement, with {:?} of network round trip (µs)\n", DELAY * 2);
    let far = Variants::connect(&bed, through, Some(proxy)).await;
    let mut wall = far.measure(how_long, Reading::Wall).await;
    table(&mut wall, "plain");
    let median = |name: &str| wall.iter().find(|row| row.name == name).unwrap().at(0.5);
    println!(
        "\none flight is {:.2} of plain, and {:.1} times faster than the usual four trips",
        median("partywall, one flight") / median("plain"),
        median("usual, four trips") / median("partywall, one flight"),
    );
    drop((direct, far));
    cluster.stop().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

/// A database with three tables of the same rows: open, behind the usual policy, behind the wall.
struct Bed {
    logins: DerivedLogins,
    roles: Roles,
    key: TicketKey,
}

impl Bed {
    async fn prepare(cluster: &Cluster) -> Self {
        let bed = Self {
            logins: DerivedLogins::new("bench", &[3; 32]),
            roles: Roles::default(),
            key: TicketKey::from_bytes(&[5; 32]).unwrap(),
        };
        let mut admin = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
        for table in ["plain", "usual", "walled"] {
            let sql = format!(
                "CREATE TABLE {table} (tenant_id text COLLATE \"C\" NOT NULL, id bigint NOT NULL, sku text NOT NULL,
                   amount bigint NOT NULL, note text NOT NULL, PRIMARY KEY (tenant_id, id));
                 INSERT INTO {table} SELECT t, n, 'sku-' || n % 997, n % 10000, md5(n::text)
                   FROM generate_series(1, {ROWS_PER_TENANT}) n, unnest(ARRAY['{}']) t;",
                TENANTS.join("','"),
            );
            admin.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        }
        let pack = InitOptions::new(bed.roles.clone()).slots(6);
        let pack = pack.table("public.walled".parse().unwrap());
        provision::install(&mut admin, &pack).await.unwrap();
        let slots: Vec<Login> = (1..=6).map(|n| bed.slot(n)).collect();
        provision::set_passwords(&mut admin, &slots).await.unwrap();
        provision::put_ticket_key(&mut admin, &bed.roles, 1, &bed.key).await.unwrap();
        // The policy everybody copies, for a role of its own.
        let usual = "ALTER TABLE usual ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY tenant ON usual USING (tenant_id = (SELECT current_setting('app.tenant_id')));
             CREATE ROLE usual LOGIN PASSWORD 'usual';
             GRANT CONNECT ON DATABASE postgres TO usual; GRANT USAGE ON SCHEMA public TO usual;
             GRANT SELECT ON plain, usual TO usual; ANALYZE;";
        admin.execute(sqlx::raw_sql(usual)).await.unwrap();
        admin.close().await.unwrap();
        bed
    }

    fn slot(&self, n: u16) -> Login {
        self.logins.for_role(&self.roles.slot(n))
    }
}

/// Every way to run the one statement, each on a backend of its own.
struct Variants {
    raw: Raw,
    sequential: tokio::sync::Mutex<PgConnection>,
    sequential_pid: i32,
    store: Postgres,
    store_pid: i32,
    flights: Flights,
    /// For tenants in turn: its session is another tenant's each time.
    shared: Flights,
    contexts: [TenantContext; TENANTS.len()],
}

/// Single flights over one session.
struct Flights {
    store: SingleFlight,
    pid: i32,
}

impl Flights {
    async fn over(store: &Postgres, context: &TenantContext) -> Self {
        let store = store.single_flight();
        let mut flight = context.open(&store).await.unwrap();
        let rows = flight.query("SELECT pg_backend_pid()", &[]).await.unwrap();
        let pid = rows.first().unwrap().get(0);
        drop(flight);
        Self { store, pid }
    }
}

/// A bare connection with everything prepared.
struct Raw {
    client: Client,
    pid: i32,
    plain: Statement,
    usual: Statement,
    set: Statement,
}

#[derive(Clone, Copy)]
enum Reading {
    Cpu,
    Wall,
}

const NAMES: [&str; 6] = [
    "plain",
    "usual, one flight",
    "usual, four trips",
    "partywall, one flight",
    "partywall, one flight, tenants in turn",
    "partywall, sqlx transaction",
];

impl Variants {
    async fn connect(bed: &Bed, server: PgConnectOptions, port: Option<u16>) -> Self {
        let contexts = contexts(TENANTS, &placed("main", DeploymentModel::Pool, "here"));
        let usual = server.clone().username("usual").password("usual").database("postgres");
        let mut sequential = PgConnection::connect_with(&usual).await.unwrap();
        let pid = "SELECT pg_backend_pid()";
        let sequential_pid = sqlx::query_scalar(pid).fetch_one(&mut sequential).await.unwrap();
        // One session each: every statement meets what the one before left to be done.
        let slots = if port.is_some() { [1, 2, 3] } else { [4, 5, 6] };
        let [slot, flight, shared] = slots.map(|n| bed.slot(n));
        let store = |flight: Login, slot: Login| {
            let pool = PoolTarget::new(server.clone(), "postgres", bed.key.clone());
            let pool = pool.slots([slot]).flight_slots([flight]);
            let store = Postgres::builder("main".parse().unwrap());
            store.pool("here".parse().unwrap(), pool).build().unwrap()
        };
        let [context, ..] = &contexts;
        // The second store opens flights only; its ordinary slot is never logged in to.
        let shared = Flights::over(&store(shared, slot.clone()), context).await;
        let store = store(flight, slot);
        let flights = Flights::over(&store, context).await;
        let mut db = context.open(&store).await.unwrap();
        let store_pid = sqlx::query_scalar(pid).fetch_one(db.conn()).await.unwrap();
        drop(db);
        let raw = Raw::connect(&server, port).await;
        let sequential = sequential.into();
        Self { raw, sequential, sequential_pid, store, store_pid, flights, shared, contexts }
    }

    /// Turn by turn until the time is over.
    async fn measure(&self, how_long: Duration, reading: Reading) -> Vec<Row> {
        let mut rows = NAMES.map(|name| Row { name, batches: Vec::new() });
        let (started, mut seed) = (Instant::now(), 1_i64);
        let mut warm = false;
        while started.elapsed() < how_long {
            for (n, row) in rows.iter_mut().enumerate() {
                let before = self.read(n, reading);
                for turn in 0..BATCH {
                    seed = (seed * 48_271) % 2_147_483_647;
                    self.once(n, turn as usize, seed % ROWS_PER_TENANT + 1).await;
                }
                let took = self.read(n, reading) - before;
                if warm {
                    row.batches.push(took / f64::from(BATCH));
                }
            }
            warm = true;
        }
        rows.into()
    }

    async fn once(&self, variant: usize, turn: usize, id: i64) {
        let sql = "SELECT id, sku, amount, note FROM walled WHERE id = $1";
        let [acme, ..] = &self.contexts;
        let found = match variant {
            0 => self.raw.plain(id).await,
            1 => self.raw.usual(id).await,
            2 => four_trips(&mut *self.sequential.lock().await, id).await,
            3 | 4 => {
                let in_turn = self.contexts.get(turn % TENANTS.len()).unwrap();
                let (context, flights) =
                    if variant == 3 { (acme, &self.flights) } else { (in_turn, &self.shared) };
                let mut flight = context.open(&flights.store).await.unwrap();
                flight.query(sql, &[&id]).await.unwrap().len()
            }
            _ => {
                let mut db = acme.open(&self.store).await.unwrap();
                let found = sqlx::query(sql).bind(id).fetch_all(db.conn()).await.unwrap().len();
                db.commit().await.unwrap();
                found
            }
        };
        assert_eq!(found, 1, "{variant}");
    }

    /// Microseconds of the backend's CPU, or of the clock.
    fn read(&self, variant: usize, reading: Reading) -> f64 {
        let pid = match variant {
            0 | 1 => self.raw.pid,
            2 => self.sequential_pid,
            3 => self.flights.pid,
            4 => self.shared.pid,
            _ => self.store_pid,
        };
        match reading {
            Reading::Cpu => cpu(pid),
            Reading::Wall => EPOCH.with(|epoch| epoch.elapsed().as_secs_f64() * 1e6),
        }
    }
}

thread_local! {
    static EPOCH: Instant = Instant::now();
}

/// What the kernel charged a process, in microseconds.
fn cpu(pid: i32) -> f64 {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3
}

impl Raw {
    async fn connect(server: &PgConnectOptions, port: Option<u16>) -> Self {
        let mut config = tokio_postgres::Config::new();
        config.user("usual").password("usual").dbname("postgres");
        match port {
            Some(port) => config.host("127.0.0.1").port(port),
            None => config.host_path(server.get_socket().unwrap()).port(server.get_port()),
        };
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let columns = "SELECT id, sku, amount, note FROM";
        let plain = format!("{columns} plain WHERE tenant_id = $1 AND id = $2");
        let plain = client.prepare(&plain).await.unwrap();
        let usual = client.prepare(&format!("{columns} usual WHERE id = $1")).await.unwrap();
        let set = client.prepare("SELECT set_config('app.tenant_id', $1, true)").await.unwrap();
        Self { client, pid, plain, usual, set }
    }

    /// No wall: the application is trusted to say whose rows.
    async fn plain(&self, id: i64) -> usize {
        self.client.query(&self.plain, &[&"acme", &id]).await.unwrap().len()
    }

    /// The forgeable setting, as cheaply as it can be had.
    async fn usual(&self, id: i64) -> usize {
        let (tenant, id): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&"acme"], [&id]);
        let (begin, set, rows, commit) = tokio::join!(
            biased;
            self.client.batch_execute("BEGIN"),
            self.client.query(&self.set, &tenant),
            self.client.query(&self.usual, &id),
            self.client.batch_execute("COMMIT"),
        );
        begin.and(set.map(|_| ())).and(commit).unwrap();
        rows.unwrap().len()
    }
}

/// The forgeable setting, as an ORM does it: each step waits for the one before.
async fn four_trips(db: &mut PgConnection, id: i64) -> usize {
    let mut tx = db.begin().await.unwrap();
    let set = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind("acme");
    set.execute(&mut *tx).await.unwrap();
    let query = sqlx::query("SELECT id, sku, amount, note FROM usual WHERE id = $1").bind(id);
    let found = query.fetch_all(&mut *tx).await.unwrap().len();
    tx.commit().await.unwrap();
    found
}

struct Row {
    name: &'static str,
    batches: Vec<f64>,
}

impl Row {
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.batches.clone();
        sorted.sort_by(f64::total_cmp);
        *sorted.get(((sorted.len() - 1) as f64 * share) as usize).unwrap()
    }
}

fn table(rows: &mut [Row], base: &str) {
    let base = rows.iter().find(|row| row.name == base).unwrap();
    let (least, median) = (base.at(0.0), base.at(0.5));
    println!("{:40} {:>9} {:>9} {:>9} {:>9} {:>7}", "", "least", "+", "median", "+", "ratio");
    for row in rows {
        println!(
            "{:40} {:9.1} {:+9.1} {:9.1} {:+9.1} {:7.2}",
            row.name,
            row.at(0.0),
            row.at(0.0) - least,
            row.at(0.5),
            row.at(0.5) - median,
            row.at(0.5) / median,
        );
    }
}

/// A network: every byte arrives [`DELAY`] after it was sent. Listens at the returned port.
fn delaying_proxy(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || carry(client, server));
            thread::spawn(move || carry(back, forth));
        }
    });
    port
}

/// Takes what is sent when it is sent, so that messages one behind the other travel together.
fn carry(mut from: TcpStream, to: TcpStream) {
    let (sender, road) = mpsc::channel();
    thread::spawn(move || deliver(road, to));
    let mut buffer = [0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..len).unwrap_or_default().to_vec();
        if sender.send((Instant::now() + DELAY, bytes)).is_err() {
            break;
        }
    }
}

/// Waits by asking the time over and over: no timer of the system's is fine enough. Whoever else
/// wants the processor meanwhile gets it.
fn deliver(road: Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (arrives, bytes) in road {
        while Instant::now() < arrives {
            thread::yield_now();
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
