//! The built program, as a child of the test: started, listened to, interrupted, killed.

// Processes are looked at where Linux shows them.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long anything may take. `initdb` on a busy machine is the slowest.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program, built the way a user builds it, without what the tests of others switch on; or,
/// to try one that was packaged, the file that `PARTYWALL_TEST_PROGRAM` names.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("PARTYWALL_TEST_PROGRAM") {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "-q", "-p", "partywall-cli", "--message-format", "json"];
        let built = Command::new(cargo).args(build).output().unwrap();
        let complaint = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the program does not build: {complaint}");
        let executable = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let named = message.get("target")?.get("name")?.as_str()? == "partywall";
            let file = message.get("executable")?.as_str()?;
            named.then(|| PathBuf::from(file))
        };
        let said = String::from_utf8(built.stdout).unwrap();
        said.lines().find_map(executable).expect("cargo names the program it built")
    })
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str], dir: &Path) -> Output {
    Command::new(program()).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

/// A directory for one system's state. PostgreSQL runs as a user of its own when the tests run as
/// root, so everybody may pass through.
pub(crate) fn state_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("partywall-e2e-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// A started program. Dropping it kills it, and whatever works in its state directory.
pub(crate) struct System {
    child: Child,
    state: PathBuf,
    lines: Receiver<Line>,
    /// Standard output: the account.
    out: String,
    /// Standard error: progress, the log, complaints.
    err: String,
}

enum Line {
    Out(String),
    Err(String),
}

impl System {
    /// Starts `partywall up` with its state in `state`, listening on a free port.
    pub(crate) fn up(state: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["up", "--listen", "127.0.0.1:0", "--state-dir"]).arg(state).args(args);
        // Nothing of the caller's may decide what the test sees.
        command.env_remove("PARTYWALL_LOG").current_dir(state);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();

        let (sender, lines) = channel();
        listen(child.stdout.take().unwrap(), sender.clone(), Line::Out);
        listen(child.stderr.take().unwrap(), sender, Line::Err);
        Self { child, state: state.to_owned(), lines, out: String::new(), err: String::new() }
    }

    /// The account, as far as it was heard.
    pub(crate) fn account(&self) -> &str {
        &self.out
    }

    /// Everything heard so far, for the message of a test that fails.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.err, self.out)
    }

    /// Listens until a line contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.out.contains(text) && !self.err.contains(text) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in time:\n{}", self.said()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {text:?}:\n{}", self.said())
                }
            }
        }
    }

    /// Listens until it serves and the account is complete: two streams, in no order.
    #[track_caller]
    pub(crate) fn wait_until_serving(&mut self) {
        self.wait_for("serving;");
        self.wait_for("grant_type=client_credentials");
    }

    /// Waits until the program has ended by itself, and has said all it had to say.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(20)) {
                self.hear(line);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                    self.hear(line);
                }
                return status;
            }
            assert!(Instant::now() < deadline, "did not end in time:\n{}", self.said());
        }
    }

    fn hear(&mut self, line: Line) {
        let (heard, line) = match &line {
            Line::Out(line) => (&mut self.out, line),
            Line::Err(line) => (&mut self.err, line),
        };
        heard.push_str(line);
        heard.push('\n');
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        signal("INT", self.pid());
    }

    /// Ctrl-C, and then all the time it needs.
    #[track_caller]
    pub(crate) fn interrupt_and_wait(&mut self) {
        self.interrupt();
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.said());
    }

    /// SIGKILL: the program has no say in it, and its children are not told.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The processes at work in this system's state directory, itself aside.
    pub(crate) fn children(&self) -> Vec<Process> {
        let all = processes_in(&self.state);
        all.into_iter().filter(|process| process.pid != self.pid()).collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in self.children() {
            signal("KILL", process.pid);
        }
    }
}

/// A process, as the kernel describes it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) command: String,
}

/// The living processes that run in `dir` or were told of it on their command line.
pub(crate) fn processes_in(dir: &Path) -> Vec<Process> {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let told = dir.to_string_lossy().into_owned();
    let process = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        let works_there =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&dir));
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let uid = uid.split_whitespace().next()?.parse().ok()?;
        (works_there || command.contains(&told)).then_some(Process { pid, uid, command })
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
}

/// Hears a stream to its end, line by line.
fn listen(stream: impl Read + Send + 'static, sender: Sender<Line>, said: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(said(line)).is_err() {
                break;
            }
        }
    });
}

fn signal(name: &str, pid: u32) {
    // The shell's own `kill`: Debian's minimal system has no other.
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
}
