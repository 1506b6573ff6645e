//! `partywall postgres init`.

use std::{fs, process::Command};

use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};

use crate::harness::Folder;

#[test]
fn init_prints_the_migration_for_the_tables_named() {
    let args = [
        "postgres",
        "init",
        "--schema",
        "billing",
        "--table",
        "invoices",
        "--table",
        "shop.orders:org_id",
        "--slots",
        "2",
        "--prefix",
        "shop",
    ];
    let ran = Folder::new().run(&args);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for part in [
        r#"partywall.protect('"billing"."invoices"'::regclass, 'tenant_id')"#,
        r#"partywall.protect('"shop"."orders"'::regclass, 'org_id')"#,
        "'shop_slot_1', 'shop_slot_2'",
    ] {
        assert!(ran.out.contains(part), "{part} is not in the migration");
    }
    assert!(!ran.out.contains("shop_slot_3"));
}

#[test]
fn init_writes_a_new_file_and_never_over_one() {
    let folder = Folder::new();
    let args = ["postgres", "init", "--table", "invoices", "--output", "wall.sql"];
    assert_eq!(folder.run(&args).code, Some(0));
    let written = fs::read_to_string(folder.path("wall.sql")).unwrap();
    assert_eq!(written, folder.run(&args[..4]).out);

    folder.write("wall.sql", "mine");
    let ran = folder.run(&args);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("wall.sql: File exists"), "{}", ran.err);
    assert_eq!(fs::read_to_string(folder.path("wall.sql")).unwrap(), "mine");
}

#[test]
fn init_refuses_names_that_are_none() {
    for (args, said) in [
        (["--table", ""], "names no table"),
        (["--table", "a.b.c"], "names no table"),
        (["--table", "in\"voices"], "names no table"),
        (["--prefix", "pg_x"], "no prefix for role names"),
        (["--schema", "a\"b"], "names no table"),
    ] {
        let ran = Folder::new().run(&[&["postgres", "init", "--table", "t"][..], &args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
}

/// A cluster with an ordinary table in it, spoken to as a person would: with `psql`.
struct Database {
    cluster: Cluster,
    _dir: tempfile::TempDir,
}

impl Database {
    /// None where no PostgreSQL is installed, which is fine on a desk and not in CI.
    fn start() -> Option<Self> {
        let Some(binaries) = find_binaries() else {
            assert!(std::env::var_os("CI").is_none(), "no PostgreSQL on this machine");
            eprintln!("SKIPPED: no PostgreSQL on this machine");
            return None;
        };
        let dir = tempfile::TempDir::new().unwrap();
        let options =
            ClusterOptions::new(dir.path().join("cluster")).binaries(binaries).not_durable();
        Some(Self { cluster: Cluster::start(&options).unwrap(), _dir: dir })
    }

    fn psql(&self, args: &[&str]) -> String {
        let output = Command::new(self.cluster.binaries().program("psql"))
            .args(["-XAtq", "-U", "postgres", "-d", "postgres", "-h"])
            .arg(self.cluster.socket_dir())
            .args(["-p", &self.cluster.port().to_string(), "-v", "ON_ERROR_STOP=1"])
            .args(args)
            .env("PGPASSWORD", self.cluster.superuser_password())
            .env("PGOPTIONS", "-c client_min_messages=warning")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn t05_what_init_prints_walls_the_table() {
    let Some(database) = Database::start() else { return };
    const FORCED: &str = "SELECT relforcerowsecurity, (SELECT count(*) FROM pg_policies \
        WHERE tablename = 'invoices') FROM pg_class WHERE relname = 'invoices'";
    database.psql(&["-c", "CREATE TABLE invoices (tenant_id text, id int)"]);
    assert_eq!(database.psql(&["-c", FORCED]), "f|0", "the control");

    let folder = Folder::new();
    let args = ["postgres", "init", "--table", "invoices", "--slots", "2", "--output", "wall.sql"];
    assert_eq!(folder.run(&args).code, Some(0));
    let file = folder.path("wall.sql");
    // As the file itself says to, and once more, as it says one may.
    for _ in 0..2 {
        database.psql(&["--single-transaction", "-f", file.to_str().unwrap()]);
    }
    let walled = database.psql(&["-c", FORCED]);
    assert!(walled.starts_with("t|") && !walled.ends_with("|0"), "{walled}");
    let slots = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'partywall_slot_%'";
    assert_eq!(database.psql(&["-c", slots]), "2");
}
