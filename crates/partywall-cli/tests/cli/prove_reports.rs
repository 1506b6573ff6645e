//! `partywall prove` over a real PostgreSQL: where its reports go, and what they end with.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use serde_json::Value;

use crate::harness::{Folder, Ran};

/// A wall by hand that holds, and beside it a table that has none.
const SQL: &str = "
    CREATE ROLE app LOGIN PASSWORD 'app';
    CREATE TABLE notes (tenant_id text, id int, body text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE notes FORCE ROW LEVEL SECURITY;
    CREATE POLICY wall ON notes USING (tenant_id = current_setting('app.tenant', true));
    GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO app;
    CREATE SCHEMA open;
    CREATE TABLE open.notes (tenant_id text, id int, body text, PRIMARY KEY (tenant_id, id));
    GRANT USAGE ON SCHEMA open TO app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON open.notes TO app;";

/// A private cluster with [`SQL`] in it, and a folder to run in.
struct Bench {
    folder: Folder,
    cluster: Cluster,
}

impl Bench {
    fn start() -> Option<Self> {
        let Some(binaries) = find_binaries() else {
            assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL server programs");
            eprintln!("SKIPPED: no PostgreSQL server programs on this machine (postgresql)");
            return None;
        };
        let folder = Folder::new();
        // The server's user must be able to pass through.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
        let cluster =
            Cluster::start(&ClusterOptions::new(folder.path("pg")).not_durable()).unwrap();
        let psql = Command::new(binaries.program("psql"))
            .args(["-qX", "-v", "ON_ERROR_STOP=1", "-U", Cluster::SUPERUSER, "-c", SQL, "postgres"])
            .env("PGHOST", cluster.socket_dir())
            .env("PGPORT", cluster.port().to_string())
            .env("PGPASSWORD", cluster.superuser_password())
            .output()
            .unwrap();
        assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
        Some(Self { folder, cluster })
    }

    fn prove(&self, schema: &str, more: &[&str]) -> Ran {
        let (host, port) = (self.cluster.socket_dir().display(), self.cluster.port());
        let url = format!("postgres://app:app@localhost/postgres?host={host}&port={port}");
        let args = ["prove", &url, "--schema", schema, "--parameters-only"];
        self.folder.run(&[&args[..], more].concat())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path(name)).unwrap()
    }
}

#[test]
fn m24_reports_go_where_they_are_asked_for() {
    let Some(bench) = Bench::start() else { return };
    // A wall that holds, in every form at once.
    let ran = bench.prove(
        "public",
        &[
            "--format",
            "json",
            "--report",
            "text=prove.txt",
            "--report",
            "junit=prove.xml",
            "--report",
            "sarif=prove.sarif",
            "--report",
            "html=proof.html",
            "--history",
            "proofs",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["verdict"], "proven");
    assert!(json["counts"]["blocked"].as_u64() > Some(5), "{}", json["counts"]);
    assert!(bench.read("prove.txt").contains("proven: "));
    assert!(bench.read("prove.xml").contains("<testsuite name=\"public.notes\""));
    let sarif: Value = serde_json::from_str(&bench.read("prove.sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"], serde_json::json!([]));
    assert!(bench.read("proof.html").starts_with("<!DOCTYPE html>"));
    assert!(ran.err.contains("run 1 of proofs, head "), "{}", ran.err);
    let mode = fs::metadata(bench.folder.path("proofs/signing-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // One that does not: the history takes it down all the same.
    let ran = bench.prove("open", &["--history", "proofs"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("leaked: "), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "no colours outside a terminal");
    let key = bench.read("proofs/key.pub");
    let verify = bench.folder.run(&["prove", "verify", "proofs", "--key", key.trim()]);
    assert_eq!(verify.code, Some(0), "{}", verify.out);
    assert!(
        verify.out.contains("2 runs") && verify.out.contains("run 2: leaked"),
        "{}",
        verify.out
    );
    assert!(!verify.out.contains("app:app") && !ran.out.contains("app:app"), "no password");

    // What cannot be delivered is found out before anything is attacked, or does not hide a leak.
    let ran = bench.prove("public", &["--report", "html=nowhere/proof.html"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
    assert!(ran.err.contains("no such directory"), "{}", ran.err);
    for (schema, expected) in [("public", 3), ("open", 1)] {
        let ran = bench.prove(schema, &["--report", "html=/dev/full"]);
        assert_eq!(ran.code, Some(expected), "{}", ran.err);
        assert!(ran.err.contains("the report /dev/full: No space left"), "{}", ran.err);
    }
    let ran = bench.prove("open", &["--history", "proofs", "--signing-key", "other-key"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
    assert!(ran.err.contains("give the same --signing-key"), "{}", ran.err);
    bench.folder.set_mode("proofs/signing-key", 0o644);
    let ran = bench.prove("open", &["--history", "proofs"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains("others can read it"), "{}", ran.err);
}
