//! A tenant that may say any SQL it likes. Every attack has its control: the same statement, said
//! on an ordinary connection to the same file where the application keeps the usual discipline
//! (`WHERE tenant_id = ?` in front of every table), does what the attacker wanted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use partywall::Scoped;
use partywall_sqlite::{Error, Sqlite, types::Value};
use rusqlite::Connection;

use crate::support::{House, ids};

/// acme's statement, and what the ordinary connection must show for it.
struct Attack {
    name: &'static str,
    sql: &'static str,
    control: Control,
}

#[derive(Debug)]
enum Control {
    /// The secret of globex comes out.
    Leaks,
    /// It runs, and that is bad enough.
    Runs,
    /// It is a dead end there, too, for this reason; the wall must not depend on it.
    Fails(&'static str),
}
use Control::{Fails, Leaks, Runs};

const SECRET: &str = "globex-secret";
/// The same, as `ValueRef` prints text.
const SECRET_AS_BYTES: &str = "103, 108, 111, 98, 101, 120, 45, 115";

const fn attack(name: &'static str, sql: &'static str, control: Control) -> Attack {
    Attack { name, sql, control }
}

/// `{file}` is another tenant's file, `{new}` one that does not exist.
const ATTACKS: &[Attack] = &[
    // Around the view.
    attack("base table", "SELECT note FROM partywall_t_invoices", Leaks),
    attack(
        "base table, qualified and quoted",
        "SELECT note FROM main.[PARTYWALL_T_INVOICES]",
        Leaks,
    ),
    attack("union", "SELECT note FROM invoices UNION SELECT note FROM partywall_t_invoices", Leaks),
    attack(
        "a CTE under the view's name",
        "WITH invoices AS (SELECT * FROM partywall_t_invoices) SELECT note FROM invoices",
        Leaks,
    ),
    attack(
        "a CTE under the inner view's name",
        "WITH partywall_v_invoices AS (SELECT * FROM partywall_t_invoices) SELECT note FROM partywall_v_invoices",
        Leaks,
    ),
    attack(
        "scalar subquery",
        "SELECT (SELECT group_concat(note) FROM partywall_t_invoices) FROM invoices",
        Leaks,
    ),
    attack(
        "correlated subquery",
        "SELECT (SELECT group_concat(b.note) FROM partywall_t_invoices b WHERE b.id = a.id) FROM invoices a",
        Leaks,
    ),
    attack(
        "json_each over a subquery",
        "SELECT value FROM json_each((SELECT json_group_array(note) FROM partywall_t_invoices))",
        Leaks,
    ),
    attack(
        "RETURNING a subquery",
        "INSERT INTO customers (id, name) VALUES ('z', 'z') RETURNING (SELECT group_concat(note) FROM partywall_t_invoices)",
        Leaks,
    ),
    attack("inner view", "SELECT * FROM partywall_v_invoices", Fails("no such table")),
    attack("forging the tenant function", "SELECT partywall_tenant()", Fails("no such function")),
    attack(
        "forging a witness",
        "SELECT partywall_witness('invoices', 'globex')",
        Fails("no such function"),
    ),
    attack(
        "inscription",
        "SELECT tenant, model, 'globex-secret' FROM partywall_inscription",
        Leaks,
    ),
    attack("inscription, written", "UPDATE partywall_inscription SET tenant = 'acme'", Runs),
    // Writing for another tenant.
    attack(
        "insert with another's id",
        "INSERT INTO partywall_t_invoices (tenant_id, id) VALUES ('globex', 'forged')",
        Runs,
    ),
    attack(
        "insert through the view with a tenant",
        "INSERT INTO invoices (tenant_id, id) VALUES ('globex', 'forged')",
        Runs,
    ),
    attack("give a row away", "UPDATE invoices SET tenant_id = 'globex'", Runs),
    attack("update the base table", "UPDATE partywall_t_invoices SET note = NULL", Runs),
    attack("delete from the base table", "DELETE FROM partywall_t_invoices", Runs),
    attack(
        "upsert through the view",
        "INSERT INTO invoices (id) VALUES ('1') ON CONFLICT DO UPDATE SET tenant_id = 'globex'",
        Fails("cannot UPSERT a view"),
    ),
    // Other files.
    attack("ATTACH", "ATTACH '{file}' AS other", Runs),
    attack("ATTACH a new file", "ATTACH '{new}' AS other", Runs),
    attack("ATTACH in memory", "ATTACH ':memory:' AS other", Runs),
    attack("DETACH", "DETACH main", Fails("cannot detach")),
    attack("VACUUM INTO", "VACUUM INTO '{new}'", Runs),
    attack("VACUUM", "VACUUM", Runs),
    // Settings.
    attack("PRAGMA database_list", "PRAGMA database_list", Runs),
    attack("PRAGMA writable_schema", "PRAGMA writable_schema = ON", Runs),
    attack("PRAGMA foreign_keys", "PRAGMA foreign_keys = OFF", Runs),
    attack("PRAGMA synchronous", "PRAGMA synchronous = OFF", Runs),
    attack("PRAGMA locking_mode", "PRAGMA locking_mode = EXCLUSIVE", Runs),
    attack("PRAGMA temp_store_directory", "PRAGMA temp_store_directory = '/tmp'", Runs),
    attack("PRAGMA query_only", "PRAGMA query_only = 1", Runs),
    attack("PRAGMA trusted_schema", "PRAGMA trusted_schema = ON", Runs),
    // The schema, read.
    attack("sqlite_master", "SELECT 'globex-secret', sql FROM sqlite_master", Leaks),
    attack(
        "sqlite_schema, qualified",
        "SELECT 'globex-secret', sql FROM main.sqlite_schema",
        Leaks,
    ),
    attack("sqlite_temp_schema", "SELECT 'globex-secret', sql FROM sqlite_temp_schema", Leaks),
    attack(
        "pragma_table_info()",
        "SELECT 'globex-secret', name FROM pragma_table_info('invoices')",
        Leaks,
    ),
    attack("pragma_database_list", "SELECT 'globex-secret', file FROM pragma_database_list", Leaks),
    attack("pragma_function_list", "SELECT 'globex-secret', name FROM pragma_function_list", Leaks),
    attack("dbstat", "SELECT 'globex-secret', name FROM dbstat", Leaks),
    attack("sqlite_dbpage", "SELECT data FROM sqlite_dbpage", Fails("no such table")),
    attack("sqlite_stat1", "SELECT * FROM sqlite_stat1", Fails("no such table")),
    attack("EXPLAIN of the base table", "EXPLAIN SELECT note FROM partywall_t_invoices", Runs),
    // The schema, written.
    attack("CREATE TABLE", "CREATE TABLE t (x)", Runs),
    attack("CREATE TEMP TABLE", "CREATE TEMP TABLE t (x)", Runs),
    attack("CREATE TABLE AS", "CREATE TEMP TABLE t AS SELECT * FROM partywall_t_invoices", Runs),
    attack(
        "shadowing view",
        "CREATE TEMP VIEW shadow AS SELECT * FROM main.partywall_t_invoices",
        Runs,
    ),
    attack(
        "TEMP trigger",
        "CREATE TEMP TRIGGER spy AFTER INSERT ON main.partywall_t_invoices BEGIN SELECT 1; END",
        Runs,
    ),
    attack(
        "TEMP trigger on the view",
        "CREATE TEMP TRIGGER spy INSTEAD OF INSERT ON invoices BEGIN SELECT 1; END",
        Runs,
    ),
    attack("CREATE INDEX", "CREATE INDEX i ON partywall_t_invoices (note)", Runs),
    attack("ALTER TABLE", "ALTER TABLE partywall_t_invoices ADD COLUMN x TEXT", Runs),
    attack("ALTER TABLE RENAME", "ALTER TABLE partywall_t_invoices RENAME TO mine", Runs),
    attack("DROP the view", "DROP VIEW invoices", Runs),
    attack("DROP the index", "DROP INDEX invoices_by_customer", Runs),
    attack("DROP the table", "DROP TABLE partywall_t_invoices", Runs),
    attack("virtual table", "CREATE VIRTUAL TABLE temp.f USING fts5(x)", Runs),
    attack(
        "shadow tables of FTS",
        "CREATE VIRTUAL TABLE temp.f USING fts5(x, content=partywall_t_invoices)",
        Runs,
    ),
    attack("ANALYZE", "ANALYZE", Runs),
    attack("REINDEX", "REINDEX", Runs),
    // Functions that reach outside.
    attack("load_extension", "SELECT load_extension('{file}')", Fails("not authorized")),
    attack("fts3_tokenizer", "SELECT fts3_tokenizer('simple')", Runs),
    attack("readfile", "SELECT readfile('/etc/passwd')", Fails("no such function")),
    attack("writefile", "SELECT writefile('{new}', 'x')", Fails("no such function")),
    attack("sqlite_source_id", "SELECT sqlite_source_id()", Runs),
    attack("in a SET", "UPDATE invoices SET note = sqlite_source_id()", Runs),
    attack(
        "in the WHERE of an UPDATE",
        "UPDATE invoices SET note = 'n' WHERE sqlite_source_id() > ''",
        Runs,
    ),
    attack("in the WHERE of a DELETE", "DELETE FROM invoices WHERE sqlite_source_id() > ''", Runs),
    attack("in VALUES", "INSERT INTO invoices (id) VALUES (sqlite_source_id())", Runs),
    attack("in ORDER BY", "SELECT id FROM invoices ORDER BY sqlite_source_id()", Runs),
    attack(
        "in a window",
        "SELECT sum(cents) OVER (PARTITION BY sqlite_source_id()) FROM invoices",
        Runs,
    ),
    // Residue of other statements.
    attack("changes()", "SELECT changes()", Runs),
    attack("total_changes()", "SELECT total_changes()", Runs),
    attack("last_insert_rowid()", "SELECT last_insert_rowid()", Runs),
    // Transactions.
    attack("COMMIT", "COMMIT", Runs),
    attack("END", "END", Runs),
    attack("ROLLBACK", "ROLLBACK", Runs),
    attack("BEGIN", "BEGIN", Fails("within a transaction")),
    attack("two statements in one", "SELECT 1; COMMIT", Runs),
];

/// An application that is disciplined and trusts SQLite for the rest: acme's view of each table,
/// in a transaction.
fn disciplined(house: &House) -> Connection {
    let db = house.ordinary("one/pool.sqlite3");
    for table in ["invoices", "customers"] {
        db.execute_batch(&format!(
            "CREATE TEMP VIEW {table} AS SELECT * FROM main.partywall_t_{table} WHERE tenant_id = 'acme';"
        ))
        .unwrap();
    }
    db.execute_batch(
        "CREATE TEMP TRIGGER i INSTEAD OF INSERT ON invoices BEGIN
             INSERT INTO partywall_t_invoices (tenant_id, id) VALUES (coalesce(NEW.tenant_id, 'acme'), NEW.id); END;
         CREATE TEMP TRIGGER u INSTEAD OF UPDATE ON invoices BEGIN
             UPDATE partywall_t_invoices SET tenant_id = NEW.tenant_id, id = NEW.id || 'x', customer = NULL
             WHERE tenant_id = OLD.tenant_id AND id = OLD.id; END;
         CREATE TEMP TRIGGER d INSTEAD OF DELETE ON invoices BEGIN
             DELETE FROM partywall_t_invoices WHERE tenant_id = OLD.tenant_id AND id = OLD.id; END;
         CREATE TEMP TRIGGER c INSTEAD OF INSERT ON customers BEGIN
             INSERT INTO partywall_t_customers VALUES ('acme', NEW.id, NEW.name); END;",
    )
    .unwrap();
    db
}

/// Everything a statement gave, as one text.
fn said(db: &Connection, sql: &str) -> rusqlite::Result<String> {
    let mut said = String::new();
    let (first, then) =
        sql.split_once("; COMMIT").map_or((sql, None), |(first, _)| (first, Some("COMMIT")));
    for statement in [Some(first), then].into_iter().flatten() {
        let mut statement = db.prepare(statement)?;
        let columns = statement.column_count();
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                said.push_str(&format!("{:?}\n", row.get_ref(column)?));
            }
        }
    }
    Ok(said)
}

async fn said_behind_the_wall(db: &mut Scoped<Sqlite>, sql: &str) -> Result<String, Error> {
    let rows = db
        .query(sql, (), |row| {
            let columns = row.as_ref().column_count();
            (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()
        })
        .await?;
    Ok(format!("{rows:?}"))
}

#[tokio::test]
async fn m13_full_sql_does_not_reach_past_the_wall() {
    let (mut survivors, mut idle_controls) = (Vec::new(), Vec::new());
    for attack in ATTACKS {
        let house = House::new();
        let [acme, globex] = house.pool().await;
        let other = house.path("other.sqlite3");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let new = house.path("new.sqlite3");
        let sql = attack
            .sql
            .replace("{file}", &other.display().to_string())
            .replace("{new}", &new.display().to_string());

        let mut db = house.open(&acme).await;
        db.execute("INSERT INTO invoices (id) VALUES ('mark')", ()).await.unwrap();
        match said_behind_the_wall(&mut db, &sql).await {
            Err(_) => {}
            Ok(said) => survivors.push(format!("{}: {said}", attack.name)),
        }
        assert!(!new.exists(), "{} made a file", attack.name);
        // The transaction is still ours to end, and goes on.
        assert_eq!(ids(&mut db).await, ["1", "mark"], "{}", attack.name);
        drop(db);
        assert_eq!(
            ids(&mut house.open(&acme).await).await,
            ["1"],
            "{} ended a transaction",
            attack.name
        );
        let mut db = house.open(&globex).await;
        let notes: Vec<String> =
            db.query("SELECT note FROM invoices", (), |row| row.get(0)).await.unwrap();
        assert_eq!(notes, ["globex-secret"], "{} wrote into another tenant", attack.name);
        drop(db);

        let ordinary = disciplined(&house);
        if !["VACUUM", "ATTACH", "PRAGMA", "DETACH", "BEGIN"]
            .iter()
            .any(|word| sql.starts_with(word))
            || sql == "BEGIN"
        {
            ordinary.execute_batch("BEGIN").unwrap();
        }
        let control = said(&ordinary, &sql);
        let as_expected = match (&attack.control, &control) {
            (Leaks, Ok(said)) => said.contains(SECRET) || said.contains(SECRET_AS_BYTES),
            (Runs, Ok(_)) => true,
            (Fails(why), Err(error)) => error.to_string().contains(why),
            _ => false,
        };
        if !as_expected {
            idle_controls.push(format!("{}: {control:?}", attack.name));
        }
    }
    assert!(idle_controls.is_empty(), "{idle_controls:#?}");
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[tokio::test]
async fn m13_ordinary_sql_goes_on_working() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    for sql in [
        "SELECT * FROM invoices",
        "WITH i AS (SELECT * FROM invoices) SELECT count(*) FROM i",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10) SELECT sum(x) FROM n",
        "SELECT id, row_number() OVER (ORDER BY cents) FROM invoices",
        "SELECT value FROM json_each('[1,2]')",
        "SELECT i.id FROM invoices i LEFT JOIN customers c ON c.id = i.customer WHERE lower(c.name) LIKE 'acme%'",
        "SELECT note -> '$' FROM (SELECT '{}' AS note)",
        "SELECT customer, sum(cents) FROM invoices GROUP BY customer HAVING count(*) > 0",
        "SELECT datetime('now'), strftime('%Y', 0), printf('%d', 1)",
        "UPDATE invoices SET note = 'n' WHERE id IN (SELECT id FROM invoices) RETURNING id",
        "INSERT INTO invoices (id, cents) SELECT id || 'x', cents FROM invoices",
        "EXPLAIN QUERY PLAN SELECT * FROM invoices WHERE id = '1'",
        "SAVEPOINT s",
        "INSERT INTO invoices (id) VALUES ('s')",
        "ROLLBACK TO s",
        "RELEASE s",
    ] {
        said_behind_the_wall(&mut db, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(ids(&mut db).await, ["1", "1x"]);
}

#[tokio::test]
async fn m13_releasing_a_savepoint_does_not_commit() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    for sql in ["SAVEPOINT s", "INSERT INTO invoices (id) VALUES ('s')", "RELEASE s"] {
        said_behind_the_wall(&mut db, sql).await.unwrap();
    }
    drop(db);
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1"]);
    // The control: on a connection without a transaction around it, RELEASE commits.
    let ordinary = disciplined(&house);
    ordinary
        .execute_batch("SAVEPOINT s; INSERT INTO invoices (id) VALUES ('s'); RELEASE s")
        .unwrap();
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1", "s"]);
}

#[tokio::test]
async fn m13_a_statement_that_rolls_back_by_itself_ends_the_handle() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    db.execute("INSERT INTO invoices (id) VALUES ('2')", ()).await.unwrap();
    let clash = "INSERT OR ROLLBACK INTO invoices (id) VALUES ('1')";
    assert!(db.execute(clash, ()).await.unwrap_err().is_constraint());
    // Outside of any transaction, this would commit by itself and at once.
    assert!(matches!(db.execute("DELETE FROM invoices", ()).await, Err(Error::Closed { .. })));
    assert!(matches!(db.commit().await, Err(Error::Closed { .. })));
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1"]);
    // The control: so it does.
    let ordinary = disciplined(&house);
    ordinary.execute_batch("BEGIN").unwrap();
    assert!(
        ordinary
            .execute(
                "INSERT OR ROLLBACK INTO partywall_t_invoices (tenant_id, id) VALUES ('acme', '1')",
                ()
            )
            .is_err()
    );
    ordinary.execute("DELETE FROM partywall_t_invoices WHERE tenant_id = 'acme'", ()).unwrap();
    drop(ordinary);
    assert!(ids(&mut house.open(&acme).await).await.is_empty());
}

#[tokio::test]
async fn m21_replacing_a_row_never_takes_another_tenants_away() {
    let house = House::new();
    let [acme, globex] = house.pool().await;
    let mut db = house.open(&acme).await;
    let replace = "INSERT OR REPLACE INTO invoices (id, note) VALUES ('1', 'globex-secret')";
    assert_eq!(db.execute(replace, ()).await.unwrap(), 1);
    db.commit().await.unwrap();
    assert_eq!(ids(&mut house.open(&globex).await).await, ["1"]);
    // The control: with a UNIQUE over the note alone, REPLACE would have removed globex's row.
    let ordinary = house.ordinary("one/pool.sqlite3");
    ordinary.execute_batch(
        "CREATE TEMP TABLE t (tenant_id, id, note UNIQUE);
         INSERT INTO t VALUES ('globex', '1', 'n'); INSERT OR REPLACE INTO t VALUES ('acme', '1', 'n')",
    ).unwrap();
    let left: i64 = ordinary
        .query_row("SELECT count(*) FROM t WHERE tenant_id = 'globex'", (), |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn m13_endless_statements_are_stopped() {
    let house = House::with(|builder| builder.statement_timeout(Duration::from_millis(100)));
    let [acme, _] = house.pool().await;
    for bomb in [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) INSERT INTO invoices (id) SELECT x || 'b' FROM n",
    ] {
        let mut db = house.open(&acme).await;
        let began = Instant::now();
        let stopped = said_behind_the_wall(&mut db, bomb).await.unwrap_err();
        assert!(matches!(stopped, Error::TimedOut { .. }), "{stopped}");
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(db);
        assert_eq!(ids(&mut house.open(&acme).await).await, ["1"]);
    }
    // The control: an ordinary connection goes on for as long as somebody lets it.
    let (ordinary, looks) =
        (house.ordinary("one/pool.sqlite3"), std::sync::Arc::new(AtomicU64::new(0)));
    let count = std::sync::Arc::clone(&looks);
    ordinary.progress_handler(10_000, Some(move || count.fetch_add(1, Ordering::Relaxed) > 1_000));
    assert!(
        said(
            &ordinary,
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        )
        .is_err()
    );
    assert!(looks.load(Ordering::Relaxed) > 1_000);
}

#[tokio::test]
async fn m13_oversized_statements_are_refused() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    let deep = format!("SELECT {}1{}", "(1+".repeat(200), ")".repeat(200));
    let wide = vec!["SELECT 1"; 60].join(" UNION ALL ");
    let like = format!("SELECT 'x' LIKE '{}'", "%a".repeat(200));
    for sql in [deep, wide, like, "SELECT zeroblob(20000000)".to_owned()] {
        assert!(matches!(said_behind_the_wall(&mut db, &sql).await, Err(Error::Sqlite(_))));
        assert!(said(&house.ordinary("one/pool.sqlite3"), &sql).is_ok(), "control");
    }
}

#[tokio::test]
async fn m21_a_refusal_names_what_was_asked_for() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    let refused = db.execute("PRAGMA foreign_keys = OFF", ()).await.unwrap_err().to_string();
    assert!(refused.contains("acme") && refused.contains("PRAGMA foreign_keys"), "{refused}");
    let refused =
        db.query("SELECT sql FROM sqlite_master", (), |_| Ok(())).await.unwrap_err().to_string();
    assert!(refused.contains("read sqlite_master"), "{refused}");
    let reserved = db.query("SELECT 'partywall_'", (), |_| Ok(())).await.unwrap_err();
    assert!(matches!(reserved, Error::ReservedName { .. }));
    let bound: String = db.query_one("SELECT ?1", ("partywall_",), |row| row.get(0)).await.unwrap();
    assert_eq!(bound, "partywall_");
}
