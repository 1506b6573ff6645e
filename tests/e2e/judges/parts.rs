//! Where `scripts/install` put the judges' software, and how it is run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A script of `tests/judges/node` in Node, with what npm has: what it says, or `None`, said aloud,
/// where that is not installed.
pub(super) async fn node(script: &str, judged: &Value) -> Option<String> {
    let (node, _here) = in_node(script)?;
    Some(run(node, script, judged).await)
}

/// The same, of a script that serves: until the value is dropped.
pub(super) async fn node_serving(script: &str, judged: &Value) -> Option<Serving> {
    let (node, here) = in_node(script)?;
    Some(Serving::start(node, judged, Some(here)).await)
}

fn in_node(script: &str) -> Option<(Command, TempDir)> {
    let modules = cache().join("node/node_modules");
    if !modules.join("partywall-installed").exists() {
        return missing("npm's clients are");
    }
    // A module is looked for beside and above the script that names it.
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&modules, here.path().join("node_modules")).unwrap();
    for entry in fs::read_dir(scripts("node")).unwrap() {
        let from = entry.unwrap().path();
        if from.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&from, here.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    let mut node = Command::new("node");
    node.arg(here.path().join(script));
    Some((node, here))
}

/// A client's new key for an algorithm: `private` and `public` as JWKs, and as `….pem`.
pub(super) async fn keys(alg: &str) -> Option<Value> {
    let keys = node("keys.mjs", &json!({ "alg": alg })).await?;
    Some(serde_json::from_str(&keys).unwrap())
}

/// A script of `tests/judges/python`, with what PyPI has.
pub(super) async fn python(script: &str, judged: &Value) -> Option<String> {
    Some(run(in_python(script)?, script, judged).await)
}

/// The same, of a script that serves: until the value is dropped.
pub(super) async fn python_serving(script: &str, judged: &Value) -> Option<Serving> {
    Some(Serving::start(in_python(script)?, judged, None).await)
}

/// What PyPI's `spid-sp-test` says, which wants other versions than everybody else.
pub(super) async fn spid(judged: &Value) -> Option<String> {
    let venv = cache().join("spid");
    if !venv.join("partywall-installed").exists() {
        return missing("PyPI's spid-sp-test is");
    }
    let script = "service_provider.py";
    let mut python = Command::new(venv.join("bin/python"));
    python.arg("-B").arg(scripts("python").join(script));
    Some(run(python, script, judged).await)
}

fn in_python(script: &str) -> Option<Command> {
    let venv = cache().join("venv");
    if !venv.join("partywall-installed").exists() {
        return missing("PyPI's clients are");
    }
    let mut python = Command::new(venv.join("bin/python"));
    python.arg("-B").arg(scripts("python").join(script));
    Some(python)
}

/// A server that is not ours; killed with the value.
pub(super) struct Serving {
    /// What it said first: where it is.
    pub(super) address: String,
    _process: Child,
    /// It stops where nobody could hear it.
    _said: Lines<BufReader<ChildStdout>>,
    _here: Option<TempDir>,
}

impl Serving {
    async fn start(mut command: Command, judged: &Value, here: Option<TempDir>) -> Self {
        let mut process = command
            .env("PARTYWALL_JUDGED", judged.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = timeout(Duration::from_secs(30), said.next_line()).await;
        let address = address.unwrap().unwrap().expect("it did not start");
        Self { address, _process: process, _said: said, _here: here }
    }
}

/// Runs one script to its end. It says what held, line by line; what failed, it says last.
async fn run(mut command: Command, script: &str, judged: &Value) -> String {
    let running = command
        .env("PARTYWALL_JUDGED", judged.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(120), running).await;
    let output = output.unwrap_or_else(|_| panic!("{script} does not come to its end")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}, {}:\n{said}{failed}", output.status);
    assert!(!said.trim().is_empty(), "{script} tried nothing:\n{failed}");
    said.lines().filter(|line| line.starts_with("held:")).for_each(|line| println!("{line}"));
    said.into_owned()
}

pub(super) fn missing<T>(what: &str) -> Option<T> {
    assert!(env::var_os("CI").is_none(), "{what} not here: run scripts/install");
    eprintln!("SKIPPED: {what} not here; scripts/install brings them");
    None
}

/// Debian's Chromium, or the one that `CHROMIUM` names.
pub(super) fn chromium() -> Option<PathBuf> {
    let named = env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from);
    if named.exists() { Some(named) } else { missing("Chromium is") }
}

pub(super) fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_default().join("partywall")
}

fn scripts(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("judges").join(of)
}
