//! What the start-up check refuses, each with the fix it prints as the control.

use partywall_postgres::{ConnectError, Finding, Login, PoolTarget, Postgres, Severity, Unfit};
use sqlx::PgConnection;

use std::{fs, sync::Arc};

use partywall::testing::contexts;

use crate::{
    store::pooled,
    support::{Shared, Walled, key, run, shared},
};

async fn findings(walled: &Walled) -> Vec<Finding> {
    findings_of(walled.target(2)).await
}

async fn findings_of(target: PoolTarget) -> Vec<Finding> {
    let builder = Postgres::builder("main".parse().unwrap()).pool("eu-1".parse().unwrap(), target);
    match builder.connect().await {
        Ok(store) => store.verify().await.unwrap(),
        Err(ConnectError::Unfit(Unfit::Findings { findings, .. })) => findings,
        Err(error) => panic!("{error}"),
    }
}

fn refusals(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| f.severity == Severity::Refusal).collect()
}

/// `(what is done to a good database, what the refusal says, how it is put right)`; an empty last
/// part means that the fix the refusal prints is run as it is.
const SPOILED: &[(&str, &str, &str)] = &[
    ("ALTER ROLE {slot} CREATEDB", "may create databases", ""),
    (
        "GRANT pg_read_all_data TO {app}",
        "is a member of pg_read_all_data",
        "REVOKE pg_read_all_data FROM {app}",
    ),
    ("GRANT {data} TO {slot}", "which owns tables or the wall", ""),
    ("GRANT {owner} TO {slot}", "which owns tables or the wall", ""),
    ("GRANT TEMP ON DATABASE {db} TO PUBLIC", "create temporary tables", ""),
    ("GRANT TEMP ON DATABASE {db} TO {app}", "create temporary tables", ""),
    ("GRANT TEMP ON DATABASE {db} TO PUBLIC, {app}", "create temporary tables", ""),
    ("GRANT CREATE ON DATABASE {db} TO {slot}", "create schemas", ""),
    ("GRANT CREATE ON DATABASE {db} TO {app}", "create schemas", ""),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "may create in schema public", ""),
    ("GRANT CREATE ON SCHEMA public TO {app}", "may create in schema public", ""),
    // What a slot may do to its own role up to PostgreSQL 14.
    ("GRANT {slot2} TO {slot}", "which another session logs in as", ""),
    (
        "CREATE TRUSTED LANGUAGE plother HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler",
        "may run code in language plother",
        "",
    ),
    ("GRANT USAGE ON LANGUAGE plother TO {app}", "may run code in language plother", ""),
    ("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY", "no FORCE", ""),
    ("ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "no row level security", ""),
    ("DROP POLICY partywall ON notes", "no row policy of the wall", ""),
    ("ALTER POLICY partywall ON notes USING (true)", "one that was changed", ""),
    ("ALTER POLICY partywall ON notes TO {slot}", "one that was changed", ""),
    ("CREATE TABLE forgotten (tenant_id text, n int)", "table forgotten has a tenant column", ""),
    (
        "GRANT SELECT ON partywall.ticket_key TO {slot}",
        "may read the ticket keys",
        "REVOKE ALL ON partywall.ticket_key FROM {slot}",
    ),
    ("ALTER TABLE notes OWNER TO {slot}", "owns table notes", "ALTER TABLE notes OWNER TO {data}"),
    ("GRANT TRUNCATE ON notes TO {slot}", "has TRUNCATE", "REVOKE TRUNCATE ON notes FROM {slot}"),
    (
        "CREATE MATERIALIZED VIEW totals AS SELECT tenant_id, count(*) FROM notes GROUP BY 1; GRANT SELECT ON totals TO {app}",
        "materialized view totals",
        "REVOKE ALL ON totals FROM {app}",
    ),
    (
        "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;
         CREATE FOREIGN TABLE elsewhere (tenant_id text, n int) SERVER away; GRANT SELECT ON elsewhere TO {app}",
        "foreign table elsewhere",
        "REVOKE ALL ON elsewhere FROM {app}",
    ),
    (
        "CREATE VIEW everything AS SELECT * FROM notes; GRANT SELECT ON everything TO {app}",
        "view everything is owned by postgres",
        "ALTER VIEW everything OWNER TO {data}",
    ),
    (
        "CREATE VIEW own AS SELECT * FROM notes; ALTER VIEW own OWNER TO {data};
         CREATE MATERIALIZED VIEW deep AS SELECT count(*) FROM own WITH NO DATA; GRANT SELECT (count) ON deep TO {app}",
        "materialized view deep",
        "REVOKE ALL ON deep FROM {app}",
    ),
    (
        "CREATE VIEW erasable AS SELECT * FROM notes; GRANT DELETE ON erasable TO {app}",
        "view erasable is owned by postgres",
        "ALTER VIEW erasable OWNER TO {data}",
    ),
    (
        "CREATE FUNCTION count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM notes'",
        "function count_all() is owned by postgres",
        "ALTER FUNCTION count_all() OWNER TO {data}",
    ),
    (
        "CREATE TABLE replies (tenant_id text, note_tenant text, note bigint,
           FOREIGN KEY (note_tenant, note) REFERENCES notes (tenant_id, id));
         SELECT partywall.protect('replies')",
        "does not carry the tenant",
        "ALTER TABLE replies DROP CONSTRAINT replies_note_tenant_note_fkey,
           ADD FOREIGN KEY (tenant_id, note) REFERENCES notes (tenant_id, id)",
    ),
    ("DROP FUNCTION partywall.tenant_id() CASCADE", "the wall is not installed", "-"),
];

#[tokio::test(flavor = "multi_thread")]
async fn t05_start_is_refused_with_a_fix_that_works() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let names = [
        ("{slot}", walled.roles.slot(1)),
        ("{slot2}", walled.roles.slot(2)),
        ("{app}", walled.roles.app()),
        ("{data}", walled.roles.data()),
        ("{owner}", walled.roles.owner()),
        ("{db}", walled.database.clone()),
    ];
    let fill = |sql: &str| {
        names.iter().fold(sql.to_owned(), |sql, (place, name)| sql.replace(place, name))
    };
    assert_eq!(refusals(&findings(&walled).await), Vec::<&Finding>::new(), "the control");
    for (spoil, says, repair) in SPOILED {
        run(&mut walled.superuser, &fill(spoil)).await;
        let found = findings(&walled).await;
        let refused = refusals(&found);
        let told = refused.iter().find(|finding| finding.what.contains(says));
        let told = told.unwrap_or_else(|| panic!("{spoil}: {found:#?}"));
        match *repair {
            "-" => return, // the last one: nothing is left to repair
            "" => run(&mut walled.superuser, &told.fix).await,
            repair => run(&mut walled.superuser, &fill(repair)).await,
        }
        let after = findings(&walled).await;
        assert_eq!(refusals(&after), Vec::<&Finding>::new(), "after the fix of {spoil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_b21_superuser_bypassrls_and_owner_are_refused_as_runtime_roles() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let slot = walled.roles.slot(1);
    for attribute in ["SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION"] {
        run(&mut walled.superuser, &format!("ALTER ROLE {slot} {attribute}")).await;
        let found = findings(&walled).await;
        assert!(
            refusals(&found).iter().any(|f| f.fix.contains("NOBYPASSRLS")),
            "{attribute}: {found:?}"
        );
        run(&mut walled.superuser, &format!("ALTER ROLE {slot} NO{attribute}")).await;
        assert!(refusals(&findings(&walled).await).is_empty(), "NO{attribute}");
    }
    // The second slot is looked at, too, without being connected as.
    let second = walled.roles.slot(2);
    run(&mut walled.superuser, &format!("ALTER ROLE {second} BYPASSRLS")).await;
    assert!(!refusals(&findings(&walled).await).is_empty());
    // The naive way: the owner of the tables as the application's role.
    let owner = Login::new(walled.admin_role.clone(), "admin");
    let target =
        PoolTarget::new(walled.shared.cluster.address(), &walled.database, key()).slots([owner]);
    assert!(!refusals(&findings_of(target).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_weak_keys_are_told_and_served() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let strong = findings(&walled).await;
    assert!(!strong.iter().any(|f| f.what.contains("unique index")), "{strong:?}");
    spoil(&mut walled.superuser).await;
    let weak = findings(&walled).await;
    assert!(weak.iter().all(|f| f.severity == Severity::Warning), "{weak:?}");
    assert!(weak.iter().any(|f| f.what.contains("unique index notes_body_key")), "{weak:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_b20_tenant_columns_of_other_names_and_shared_tables_are_seen() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    run(&mut walled.superuser, "CREATE TABLE orders (org_id text, n int)").await;
    let app = walled.roles.app();
    run(&mut walled.superuser, &format!("GRANT SELECT, INSERT ON orders TO {app}")).await;
    // Without being told, it can only be said that the table is everybody's.
    let untold = findings(&walled).await;
    assert!(refusals(&untold).is_empty());
    assert!(
        untold.iter().any(|f| f.what.contains("table orders has no row level security")),
        "{untold:?}"
    );
    let told = findings_of(walled.target(2).tenant_column("org_id")).await;
    let fix = &refusals(&told).first().unwrap().fix;
    assert_eq!(fix, "SELECT partywall.protect('orders', 'org_id')");
    run(&mut walled.superuser, fix).await;
    let told = findings_of(walled.target(2).tenant_column("org_id")).await;
    assert!(told.is_empty(), "{told:?}");
}

async fn spoil(conn: &mut PgConnection) {
    run(conn, "ALTER TABLE notes ADD UNIQUE (body)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_starting_and_serving_raise_no_warning_at_the_server() {
    if shared().is_none() {
        return;
    }
    let cluster = Arc::new(Shared::start());
    let mut walled = Walled::new(cluster).await;
    let log = walled.shared.cluster.data_dir().with_file_name("server.log");
    let warned = || fs::read_to_string(&log).unwrap().matches("no transaction in progress").count();
    let store = walled.store(|target| target).await;
    let strict = walled.store(|target| target.strict()).await;
    let [acme] = contexts(["acme"], &pooled());
    for store in [&store, &strict] {
        acme.open(store).await.unwrap().commit().await.unwrap();
        drop(acme.open(store).await.unwrap());
        acme.open(store).await.unwrap().commit().await.unwrap();
    }
    assert_eq!(warned(), 0);
    run(&mut walled.superuser, "ROLLBACK").await;
    assert_eq!(warned(), 1, "the control: this is what the server says then");
}
