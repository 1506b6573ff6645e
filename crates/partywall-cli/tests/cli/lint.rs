//! `partywall postgres lint`, on a private cluster.

use std::{fs, os::unix::fs::PermissionsExt};

use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::harness::{Folder, Ran};

const SCHEMA: &str = "
    CREATE ROLE app NOLOGIN; CREATE ROLE acme LOGIN IN ROLE app; CREATE ROLE globex LOGIN IN ROLE app;
    REVOKE ALL ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO app;
    CREATE TABLE note (tenant_id name NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id));
    ALTER TABLE note ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON note USING (tenant_id = current_user);
    GRANT SELECT, INSERT ON note TO app";

#[test]
fn m24_the_lint_ends_with_0_1_or_2() {
    if find_binaries().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL server programs");
        eprintln!("SKIPPED: no PostgreSQL server programs on this machine (postgresql)");
        return;
    }
    // The server's user must be able to pass through.
    let open = fs::Permissions::from_mode(0o711);
    let dir = tempfile::Builder::new().permissions(open).tempdir().unwrap();
    let options = ClusterOptions::new(dir.path().join("pg")).not_durable().tcp();
    let cluster = Cluster::start(&options).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port());
    let folder = Folder::new();
    let password = cluster.superuser_password().to_owned();
    let lint = |more: &[&str]| {
        let args = [&["postgres", "lint", &url][..], more].concat();
        let mut command = folder.command(&args);
        command.env("PGPASSWORD", &password).env("NO_COLOR", "1");
        Ran::of(command.spawn().unwrap(), Vec::new())
    };
    run(&cluster, SCHEMA);

    let clean = lint(&[]);
    assert_eq!(clean.code, Some(0), "{clean:?}");
    assert!(clean.out.contains("runtime roles  acme (guessed), globex (guessed)"), "{}", clean.out);
    assert!(
        clean.out.ends_with("clean: 0 errors, 0 warnings, 0 notes, 0 accepted\n"),
        "{}",
        clean.out
    );

    run(&cluster, "ALTER TABLE note NO FORCE ROW LEVEL SECURITY");
    assert_eq!(lint(&[]).code, Some(0), "a warning");
    assert_eq!(lint(&["--strict"]).code, Some(1));
    let accepted = "postgres-lint.row-security-not-forced@public.note=no view of the owner's";
    assert_eq!(lint(&["--strict", "--ignore", accepted]).code, Some(0));

    run(&cluster, "GRANT TRUNCATE ON note TO app");
    let found = lint(&["--role", "acme", "--role", "globex", "--tenant-column", "note:tenant_id"]);
    assert_eq!((found.code, &*found.err), (Some(1), ""));
    for line in
        ["[postgres-lint.grant-past-rows]", "fix       REVOKE TRUNCATE ON public.note FROM app"]
    {
        assert!(found.out.contains(line), "{}", found.out);
    }
    let json: Value = serde_json::from_str(&lint(&["--format", "json"]).out).unwrap();
    assert_eq!(json["findings"][0]["rule"], "postgres-lint.grant-past-rows");
    let sarif: Value = serde_json::from_str(&lint(&["--format", "sarif"]).out).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");

    folder.write(
        "pgrls.json",
        r#"{"violations": [{"rule_id": "SEC002", "severity": "error",
        "title": "FORCE ROW LEVEL SECURITY missing", "message": "m", "location": "public.note"}]}"#,
    );
    let beside = lint(&["--pgrls", "pgrls.json"]).out;
    assert!(beside.contains("[pgrls.SEC002]"), "{beside}");
    assert!(beside.contains("postgres-lint.row-security-not-forced"), "{beside}");

    for (wrong, said) in [
        (&["--role", "nobody"][..], "there is no role nobody"),
        (&["--schema", "nowhere"], "there is no schema nowhere"),
        (&["--shared", "nothing"], "there is no table nothing"),
        (&["--pgrls", "none.json"], "none.json: "),
    ] {
        let ran = lint(wrong);
        assert_eq!((ran.code, &*ran.out), (Some(2), ""), "{wrong:?}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    cluster.stop().unwrap();
    let gone = lint(&[]);
    assert_eq!((gone.code, &*gone.out), (Some(2), ""));
    assert!(gone.err.contains("cannot connect"), "{}", gone.err);
}

fn run(cluster: &Cluster, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut admin = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
    });
}
