//! What was acknowledged outlives a SIGKILL.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use partywall::DeploymentModel::Pool;

use crate::support::{House, ids};

/// A process of its own that is gone when the test is.
struct Writer(Child);

impl Writer {
    /// Runs the test `name` of this binary against `directory`.
    fn start(name: &str, directory: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits for `many` acknowledgements, kills the process, and gives what it still said.
    fn kill_after(mut self, many: usize) -> Vec<String> {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledged = |line: String| Some(line.strip_prefix(ACK)?.to_owned());
        let mut ids: Vec<_> = lines.by_ref().filter_map(acknowledged).take(many).collect();
        self.0.kill().unwrap(); // SIGKILL
        self.0.wait().unwrap();
        ids.extend(lines.filter_map(acknowledged));
        assert!(ids.len() >= many, "the writer ended early");
        ids
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn m13_nothing_acknowledged_is_lost_by_sigkill() {
    let house = House::new();
    let [acme] = house.tenants(Pool, ["acme"]).await;
    let mut all = Vec::new();
    for round in 1..=4 {
        let writer = Writer::start("durable::writes_and_then_acknowledges", house.directory.path());
        all.extend(writer.kill_after(25 * round));
        let kept = ids(&mut house.open(&acme).await).await;
        for id in &all {
            assert!(kept.contains(id), "round {round}: {id} was acknowledged and lost");
        }
        let sound: String = house
            .ordinary("one/pool.sqlite3")
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

#[tokio::test]
async fn m13_acknowledging_before_the_commit_would_lose() {
    let house = House::new();
    let [acme] = house.tenants(Pool, ["acme"]).await;
    let writer = Writer::start("durable::acknowledges_and_then_writes", house.directory.path());
    let acknowledged = writer.kill_after(1);
    let kept = ids(&mut house.open(&acme).await).await;
    assert!(!acknowledged.iter().all(|id| kept.contains(id)));
}

#[tokio::test]
#[ignore = "runs in a process of its own, to be killed"]
async fn writes_and_then_acknowledges() {
    write(true).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own, to be killed"]
async fn acknowledges_and_then_writes() {
    write(false).await;
}

async fn write(commit_first: bool) {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let schema = partywall_sqlite::Schema::new(crate::support::INVOICES).unwrap();
    let store = partywall_sqlite::Sqlite::builder("main".parse().unwrap(), schema)
        .target("one".parse().unwrap(), Path::new(&directory).join("one"))
        .build();
    let acme = crate::support::one_context("acme", &crate::support::at(Pool, "one"));
    for number in 0..100_000_u32 {
        let mut db = acme.open(&store).await.unwrap();
        let id = format!("{}-{number}", std::process::id());
        db.execute("INSERT INTO invoices (id) VALUES (?1)", (&id,)).await.unwrap();
        if commit_first {
            db.commit().await.unwrap();
            acknowledge(&id);
        } else {
            acknowledge(&id);
            std::future::pending().await // it would commit any moment now
        }
    }
}

fn acknowledge(id: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{ACK}{id}").and_then(|()| out.flush()).unwrap();
}

const DIRECTORY: &str = "PARTYWALL_TEST_SQLITE_DIRECTORY";
const ACK: &str = "acknowledged ";
