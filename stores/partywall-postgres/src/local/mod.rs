//! A private PostgreSQL cluster from the server binaries found on this machine: for `partywall up`
//! and for tests, never for production.
//!
//! The cluster listens on a Unix socket in a private directory, and on a loopback port only when
//! asked to. Everybody logs in with a password, the superuser with one generated at `initdb`.
//! Started by root, the server runs as an unprivileged user (PostgreSQL refuses root).

mod binaries;
mod system;

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use zeroize::Zeroizing;

use binaries::all_binaries;
pub use binaries::{Binaries, find_binaries};
use system::{
    Unprivileged, free_port, give_to, own_directory, random_hex, run_as, set_mode, signal_process,
    working_in, write_private,
};

/// How to run a cluster; see [`Cluster::start`].
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    dir: PathBuf,
    binaries: Option<Binaries>,
    tcp: bool,
    durable: bool,
    settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// A durable cluster in `dir`, on a Unix socket only.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), binaries: None, tcp: false, durable: true, settings: Vec::new() }
    }

    /// Runs these programs, rather than the newest found.
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Listens on a free loopback port as well.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Gives up durability for speed: no `fsync`. For tests only.
    #[must_use]
    pub fn not_durable(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Sets one server setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running private cluster; dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    data: PathBuf,
    socket: Socket,
    tcp_port: Option<u16>,
    server: Child,
    password: Password,
}

impl Cluster {
    /// The user `initdb` makes superuser.
    pub const SUPERUSER: &'static str = "postgres";

    /// Creates the cluster if there is none in the directory yet, and starts it.
    ///
    /// Blocks for about a second the first time. What a killed run left behind is taken over: its
    /// server is stopped first, should it still run.
    ///
    /// # Errors
    ///
    /// When there are no server programs, or the server does not come up; its own words are
    /// quoted.
    pub fn start(options: &ClusterOptions) -> Result<Self, LocalError> {
        let user = Unprivileged::find()?;
        fs::create_dir_all(&options.dir).map_err(|e| LocalError::io(&options.dir, e))?;
        let dir = fs::canonicalize(&options.dir).map_err(|e| LocalError::io(&options.dir, e))?;
        let data = dir.join("data");
        let binaries = choose_binaries(options, &data)?;

        // The server's user passes through the directory; the password beside stays ours alone.
        let mode = if user.is_some() { 0o711 } else { 0o700 };
        set_mode(&dir, mode)?;
        let password = superuser_password(&dir)?;
        if !data.join("PG_VERSION").exists() {
            init_db(&binaries, &data, user, &password)?;
        }
        stop_leftover(&data)?;
        Self::serve(options, binaries, dir, user, password)
    }

    fn serve(
        options: &ClusterOptions,
        binaries: Binaries,
        dir: PathBuf,
        user: Option<Unprivileged>,
        password: Password,
    ) -> Result<Self, LocalError> {
        let data = dir.join("data");
        let socket = Socket::choose(&dir, user)?;
        let tcp_port = options.tcp.then(free_port).transpose()?;
        let log = dir.join("server.log");
        // It quotes statements, and whoever may pass through the directory knows its name.
        write_private(&log, "")?;
        let log_file = fs::File::options().append(true).open(&log);
        let log_file = log_file.map_err(|e| LocalError::io(&log, e))?;
        let errors = log_file.try_clone().map_err(|e| LocalError::io(&log, e))?;

        let mut server = Command::new(binaries.program("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&socket.dir);
        server.args(["-p", &tcp_port.unwrap_or(SOCKET_PORT).to_string()]);
        let listen = if tcp_port.is_some() { "127.0.0.1" } else { "" };
        let mut settings = vec![
            ("listen_addresses", listen),
            ("unix_socket_permissions", "0700"),
            ("shared_buffers", "32MB"),
            ("dynamic_shared_memory_type", "mmap"),
            ("max_connections", "200"),
            ("logging_collector", "off"),
        ];
        if !options.durable {
            settings.extend([
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("synchronous_commit", "off"),
            ]);
        }
        settings
            .extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        run_as(&mut server, user);
        // Its own process group, so that Ctrl-C at the terminal is ours to pass on, in order.
        server.process_group(0);
        server.stdin(Stdio::null()).stdout(log_file).stderr(errors);
        let child = server.spawn().map_err(|e| LocalError::io(binaries.dir(), e))?;
        let mut cluster = Self { binaries, data, socket, tcp_port, server: child, password };
        cluster.wait_until_ready(&log)?;
        Ok(cluster)
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket.dir
    }

    /// The port: the number in the socket's name, and the loopback port when one was asked for.
    pub fn port(&self) -> u16 {
        self.tcp_port.unwrap_or(SOCKET_PORT)
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The superuser's password.
    pub fn superuser_password(&self) -> &str {
        &self.password.0
    }

    /// Where the server is, without a user: for the builder of a store.
    pub fn address(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .socket(&self.socket.dir)
            .port(self.port())
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    }

    /// How the superuser connects to a database.
    pub fn superuser(&self, database: &str) -> PgConnectOptions {
        self.address().username(Self::SUPERUSER).password(&self.password.0).database(database)
    }

    /// Stops the server: sessions are ended, what was committed is kept.
    ///
    /// # Errors
    ///
    /// When it had to be killed.
    pub fn stop(mut self) -> Result<(), LocalError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), LocalError> {
        let data = || self.data.clone();
        for (signal, patience) in [(Signal::INT, 10), (Signal::QUIT, 5), (Signal::KILL, 2)] {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                return Ok(());
            }
            signal_process(self.server.id(), signal);
            let deadline = Instant::now() + Duration::from_secs(patience);
            while Instant::now() < deadline {
                if matches!(self.server.try_wait(), Ok(Some(_))) {
                    return if signal == Signal::INT {
                        Ok(())
                    } else {
                        Err(LocalError::Killed { data: data() })
                    };
                }
                std::thread::sleep(TICK);
            }
        }
        Err(LocalError::Killed { data: data() })
    }

    /// Reads the state the server itself writes to the eighth line of `postmaster.pid`.
    fn wait_until_ready(&mut self, log: &Path) -> Result<(), LocalError> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                break;
            }
            let pid_file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = pid_file.lines();
            let ours = lines.next().is_some_and(|pid| pid.trim() == self.server.id().to_string());
            if ours && lines.nth(6).is_some_and(|state| matches!(state.trim(), "ready" | "standby"))
            {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(LocalError::NotUp { said: last_lines(&said) })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::warn!(%error, "the private PostgreSQL cluster did not stop by itself");
        }
    }
}

/// Why a private cluster could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// No server programs.
    #[error(
        "no PostgreSQL server programs (version 14 or later) in PATH or /usr/lib/postgresql: install the package postgresql"
    )]
    NoBinaries,
    /// The data was made by another major version.
    #[error("the data in {} was made by PostgreSQL {found}, whose programs are not on this machine: install postgresql-{found}, or use another directory", data.display())]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// The major version that made it.
        found: u32,
    },
    /// Root, and no user to run the server as.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody: run as another user"
    )]
    NoUser,
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error(
        "initdb failed; when it was refused a directory, choose one whose parents every user may pass through: {said}"
    )]
    InitDb {
        /// The end of what it said.
        said: String,
    },
    /// The server did not come up.
    #[error("the PostgreSQL server did not come up: {said}")]
    NotUp {
        /// The end of its log.
        said: String,
    },
    /// The server of an earlier run could not be stopped.
    #[error("process {pid} still serves {}: stop it, then start again", data.display())]
    Busy {
        /// The server's process.
        pid: u32,
        /// The data directory.
        data: PathBuf,
    },
    /// The server did not stop when asked to.
    #[error("the PostgreSQL server of {} had to be killed; it recovers at its next start", data.display())]
    Killed {
        /// The data directory.
        data: PathBuf,
    },
}

impl LocalError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The superuser's password; no `Debug`.
struct Password(Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Where the socket is: beside the data, or in a short directory of its own when that path would
/// not fit into a socket address.
#[derive(Debug)]
struct Socket {
    dir: PathBuf,
    ours_to_remove: bool,
}

impl Socket {
    fn choose(dir: &Path, user: Option<Unprivileged>) -> Result<Self, LocalError> {
        let beside = dir.join("run");
        let name = format!("/.s.PGSQL.{}.lock", u16::MAX);
        let fits = beside.as_os_str().len() + name.len() <= SOCKET_PATH_LIMIT;
        let socket = if fits {
            Self { dir: beside, ours_to_remove: false }
        } else {
            let random = random_hex()?;
            let random = random.get(..12).unwrap_or_default();
            Self {
                dir: std::env::temp_dir().join(format!("partywall-{random}")),
                ours_to_remove: true,
            }
        };
        own_directory(&socket.dir, user)?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.ours_to_remove {
            let _gone_or_not_ours = fs::remove_dir_all(&self.dir);
        }
    }
}

fn choose_binaries(options: &ClusterOptions, data: &Path) -> Result<Binaries, LocalError> {
    let made_by =
        fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|v| v.trim().parse().ok());
    let candidates = options.binaries.clone().map_or_else(all_binaries, |b| vec![b]);
    match made_by {
        Some(found) => candidates
            .into_iter()
            .find(|b| b.major() == found)
            .ok_or_else(|| LocalError::OtherVersion { data: data.to_owned(), found }),
        None => candidates.into_iter().max_by_key(Binaries::major).ok_or(LocalError::NoBinaries),
    }
}

/// Reads the superuser's password, or makes one.
fn superuser_password(dir: &Path) -> Result<Password, LocalError> {
    let file = dir.join("superuser-password");
    match fs::read_to_string(&file) {
        Ok(password) if !password.trim().is_empty() => {
            Ok(Password(Zeroizing::new(password.trim().to_owned())))
        }
        _ => {
            let password = random_hex()?;
            write_private(&file, &password)?;
            Ok(Password(password))
        }
    }
}

fn init_db(
    binaries: &Binaries,
    data: &Path,
    user: Option<Unprivileged>,
    password: &Password,
) -> Result<(), LocalError> {
    // A run killed inside initdb leaves a directory without PG_VERSION.
    if data.exists() {
        fs::remove_dir_all(data).map_err(|e| LocalError::io(data, e))?;
    }
    own_directory(data, user)?;
    // initdb reads the password as the server's user, so it gets a file of its own for a moment.
    let handover = data.with_file_name("handover");
    write_private(&handover, &password.0)?;
    give_to(&handover, user)?;
    let mut command = Command::new(binaries.program("initdb"));
    command.arg("-D").arg(data).arg("--pwfile").arg(&handover);
    command.args([
        "-U",
        Cluster::SUPERUSER,
        "--auth=scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    run_as(&mut command, user);
    let out = command.stdin(Stdio::null()).output();
    let removed = fs::remove_file(&handover);
    let out = out.map_err(|e| LocalError::io(binaries.dir(), e))?;
    removed.map_err(|e| LocalError::io(&handover, e))?;
    if out.status.success() {
        return Ok(());
    }
    Err(LocalError::InitDb { said: last_lines(&String::from_utf8_lossy(&out.stderr)) })
}

/// Stops the server a killed run left running on this data directory, if there is one, and waits
/// for what a killed server left: its children hold on to its shared memory for a moment.
fn stop_leftover(data: &Path) -> Result<(), LocalError> {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let postmaster = pid_file.lines().next().and_then(|pid| pid.trim().parse::<u32>().ok());
    let Some(postmaster) = postmaster else { return Ok(()) };
    for (signal, patience) in [(Signal::INT, 10), (Signal::QUIT, 10)] {
        // A stranger that was given the same number does not work in this directory.
        if working_in(data).contains(&postmaster) {
            signal_process(postmaster, signal);
        }
        let deadline = Instant::now() + Duration::from_secs(patience);
        while Instant::now() < deadline {
            if working_in(data).is_empty() {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }
    match working_in(data).first() {
        Some(&pid) => Err(LocalError::Busy { pid, data: data.to_owned() }),
        None => Ok(()),
    }
}

fn last_lines(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    let skip = lines.len().saturating_sub(8);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join(" | ")
}

/// The number in the socket's name when there is no loopback port.
const SOCKET_PORT: u16 = 5432;
/// `sun_path` has 108 bytes on Linux and 104 on BSD, with a NUL at the end.
const SOCKET_PATH_LIMIT: usize = 103;
const START_LIMIT: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);
