//! A real PgBouncer in front of a test's database.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, fs::chown, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use partywall_prove::postgres::Address;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions, postgres::PgSslMode};

use crate::harness::Database;

/// A running PgBouncer, in transaction pooling.
pub(crate) struct PgBouncer {
    child: Child,
    port: u16,
    role: String,
    database: String,
    _dir: tempfile::TempDir,
}

impl PgBouncer {
    /// For one role (`{db}` in it is the database's name), with more lines of configuration. `None`,
    /// said aloud, where there is no pgbouncer on this machine.
    pub(crate) fn start(database: &Database, role: &str, more: &str) -> Option<Self> {
        let Some(program) = find() else {
            assert!(std::env::var_os("CI").is_none(), "CI must have pgbouncer");
            eprintln!("SKIPPED: no pgbouncer on this machine (package pgbouncer)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let login = database.login(role);
        let (role, socket) = (login.get_username(), login.get_socket().unwrap());
        let (users, ini) = (dir.path().join("users"), dir.path().join("ini"));
        fs::write(&users, format!("\"{role}\" \"\"\n")).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        fs::write(
            &ini,
            format!(
                "[databases]\n{name} = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = 4\n\
                 ignore_startup_parameters = options,extra_float_digits\n{more}\n",
                socket.display(),
                login.get_port(),
                users.display(),
                name = database.name,
            ),
        )
        .unwrap();
        let mut command = Command::new(program);
        command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::piped());
        // As the server's own user, whom alone the server's socket lets in.
        let server = fs::metadata(socket).unwrap();
        if fs::metadata("/proc/self").unwrap().uid() != server.uid() {
            for path in [dir.path(), &users, &ini] {
                chown(path, Some(server.uid()), Some(server.gid())).unwrap();
            }
            command.uid(server.uid()).gid(server.gid());
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let up = log.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.contains("process up"))
        });
        assert!(up, "pgbouncer did not come up:\n{}", said.join("\n"));
        std::thread::spawn(move || log.for_each(drop));
        let (role, database) = (role.to_owned(), database.name.clone());
        Some(Self { child, port, role, database, _dir: dir })
    }

    /// The way in.
    pub(crate) fn address(&self) -> Address {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .ssl_mode(PgSslMode::Disable)
            .username(&self.role)
            .database(&self.database)
            .disable_statement_logging();
        Address::from_options(options)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join("pgbouncer")).find(|p| p.is_file())
}
