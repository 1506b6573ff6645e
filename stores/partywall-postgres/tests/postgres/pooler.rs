//! Behind a real PgBouncer, in transaction pooling.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use partywall::testing::{contexts, isolation};
use partywall_postgres::{Login, PoolTarget, Postgres, SCRUB};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use crate::{
    store::{Probed, bodies, note, pooled},
    support::{Walled, key, one, run, shared, slot_login},
};

struct PgBouncer {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl PgBouncer {
    /// Two server connections as slot 8, scrubbed after every transaction when told to.
    fn start(walled: &Walled, scrub: bool) -> Option<Self> {
        let Some(program) = find("pgbouncer") else {
            assert!(std::env::var_os("CI").is_none(), "CI must have pgbouncer");
            eprintln!("SKIPPED: no pgbouncer on this machine (package pgbouncer)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let role = walled.roles.slot(8);
        let (users, ini) = (dir.path().join("users"), dir.path().join("ini"));
        std::fs::write(&users, format!("\"{role}\" \"secret of {role}\"\n")).unwrap();
        let cluster = &walled.shared.cluster;
        let reset = if scrub {
            format!("server_reset_query = {SCRUB}\nserver_reset_query_always = 1\n")
        } else {
            String::new()
        };
        std::fs::write(
            &ini,
            format!(
                "[databases]\n{} = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = 2\nignore_startup_parameters = options,extra_float_digits\n{reset}",
                walled.database,
                // Its own server may run as another user than ours, so it goes over the loopback.
                "127.0.0.1",
                cluster.port(),
                users.display(),
            ),
        )
        .unwrap();
        let mut command = Command::new(program);
        command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some((uid, gid)) = unprivileged() {
            for path in [dir.path(), &users, &ini] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let deadline = Instant::now() + Duration::from_secs(10);
        let up = log.find(|line| {
            let line = line.as_ref().unwrap();
            line.contains("process up") || Instant::now() > deadline
        });
        assert!(up.is_some(), "pgbouncer did not come up");
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, port, _dir: dir })
    }

    fn address(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// PgBouncer refuses root, as the server does.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let line =
        users.lines().find(|line| line.starts_with("postgres:") || line.starts_with("nobody:"))?;
    let ids: Vec<u32> = line.split(':').filter_map(|field| field.parse().ok()).collect();
    root.then(|| (ids[0], ids[1]))
}

fn behind(bouncer: &PgBouncer, walled: &Walled, sessions: u16) -> PoolTarget {
    let login = slot_login(&walled.roles, 8);
    PoolTarget::new(bouncer.address(), &walled.database, key()).behind_pooler(login, sessions)
}

fn store(target: PoolTarget) -> partywall_postgres::PostgresBuilder {
    Postgres::builder("main".parse().unwrap()).pool("eu-1".parse().unwrap(), target)
}

#[tokio::test(flavor = "multi_thread")]
async fn b51_pgbouncer_strict_mode_keeps_tenants_apart() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let Some(bouncer) = PgBouncer::start(&walled, true) else { return };
    let store = store(behind(&bouncer, &walled, 8)).connect().await.unwrap();
    let tenants = contexts(["acme", "acme-2", "2-acme", "third"], &pooled());
    let mut work = tokio::task::JoinSet::new();
    for round in 0..20 {
        for context in tenants.clone() {
            let store = store.clone();
            work.spawn(async move {
                let tenant = context.tenant().as_str().to_owned();
                let mut db = context.open(&store).await.unwrap();
                let insert = "INSERT INTO notes (body) VALUES ($1)";
                sqlx::query(insert).bind(&tenant).execute(db.conn()).await.unwrap();
                assert!(bodies(&mut db).await.iter().all(|body| *body == tenant));
                if round % 2 == 0 { db.commit().await.unwrap() } else { drop(db) }
            });
        }
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    for context in &tenants {
        let mut db = context.open(&store).await.unwrap();
        assert_eq!(bodies(&mut db).await, [context.tenant().as_str(); 10]);
    }
    let probed = Probed {
        store: self::store(behind(&bouncer, &walled, 2)).build().unwrap(),
        bare: walled.slot_options(8),
    };
    let mut superuser = walled.superuser;
    run(&mut superuser, "DELETE FROM notes").await;
    isolation(&probed, &pooled(), 40, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b51_direct_mode_behind_a_pooler_is_refused_at_the_start() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let Some(bouncer) = PgBouncer::start(&walled, true) else { return };
    let login = Login::new(walled.roles.slot(8), format!("secret of {}", walled.roles.slot(8)));
    let direct = PoolTarget::new(bouncer.address(), &walled.database, key()).slots([login]);
    let refused = store(direct).connect().await.unwrap_err().to_string();
    assert!(refused.contains("pooler"), "{refused}");
    // The control: the same way, said to be behind a pooler.
    store(behind(&bouncer, &walled, 2)).connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn b51_session_state_leaks_through_a_pooler_without_the_scrub_and_not_with_it() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    for scrub in [false, true] {
        let Some(bouncer) = PgBouncer::start(&walled, scrub) else { return };
        let store = store(behind(&bouncer, &walled, 1)).build().unwrap();
        let [acme, other] = contexts(["acme", "acme-2"], &pooled());
        note(&acme, &store, "of acme").await;
        let mut db = acme.open(&store).await.unwrap();
        run(db.conn(), "DECLARE held CURSOR WITH HOLD FOR SELECT body FROM notes").await;
        run(db.conn(), "SELECT set_config('app.user', 'ceo@acme', false)").await;
        db.commit().await.unwrap();
        let mut db = other.open(&store).await.unwrap();
        let held = "SELECT count(*) FROM pg_cursors WHERE name = 'held'";
        assert_eq!(one::<i64>(db.conn(), held).await, i64::from(!scrub), "scrub: {scrub}");
        let user: String =
            one(db.conn(), "SELECT coalesce(current_setting('app.user', true), '')").await;
        assert_eq!(user, if scrub { "" } else { "ceo@acme" }, "scrub: {scrub}");
    }
    let mut direct = PgConnection::connect_with(&walled.slot_options(8)).await.unwrap();
    assert_eq!(one::<i32>(&mut direct, "SELECT 1").await, 1);
}
