//! What can be wrong with a database, or with the way to it: each is said plainly, with what to do,
//! and never counts as safe.

use std::time::Duration;

use partywall_prove::{
    Exit, Verdict,
    postgres::{Address, Adversary, CannotRun, Options},
};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{
    harness::{Database, bench, line, open},
    planted::{SHOP, options},
};

/// Nothing but a role and what `{wall}` puts around a table.
const BASE: &str = "CREATE ROLE {db}_app LOGIN; CREATE ROLE {db}_owner; CREATE SCHEMA s AUTHORIZATION {db}_owner; GRANT USAGE ON SCHEMA s TO {db}_app; SET ROLE {db}_owner; ";

/// A walled table `s.t` with a tenant column and what `columns` adds.
fn walled(columns: &str, more: &str) -> String {
    format!(
        "{BASE} CREATE TABLE s.t (tenant_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, {columns} PRIMARY KEY (tenant_id, id));
         ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY wall ON s.t USING (tenant_id = nullif(current_setting('s.tenant', true), ''));
         GRANT SELECT, INSERT, UPDATE, DELETE ON s.t TO {{db}}_app; {more}; RESET ROLE;"
    )
}

fn parameters() -> Options {
    Options { adversary: Adversary::Parameters, ..Options::default() }
}

async fn cannot(database: &Database, address: &Address, options: &Options) -> String {
    match database.prove(address, options).await {
        Ok(run) => panic!("it ran: {:?}\n{}", run.exit(), open(&run).join("\n")),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn m24_no_way_in_is_said_with_the_way_in() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SHOP).await;
    database
        .run("CREATE ROLE needs_password LOGIN PASSWORD 'right'; CREATE ROLE let_in_nowhere LOGIN; CREATE ROLE {db}_group")
        .await;
    for (address, said) in [
        (database.with(|to| to.username("needs_password").password("wrong")), "PGPASSWORD"),
        (database.as_role("let_in_nowhere"), "pg_hba.conf"),
        (database.as_role("{db}_group"), "may not log in"),
        (database.with(|to| to.database("no_such_database")), "psql -l"),
        (database.with(|to| to.socket("/nonexistent/partywall")), "see that PostgreSQL runs there"),
        (
            Address::parse("postgres://app@127.0.0.1:1/shop").unwrap(),
            "see that PostgreSQL runs there",
        ),
    ] {
        let error = cannot(&database, &address, &options()).await;
        assert!(error.starts_with("cannot connect: ") && error.contains(said), "{said}: {error}");
    }
    assert!(Address::parse("mysql://app@localhost/shop").is_err());
}

/// Takes one connection on a port of its own, answers with `says`, and keeps it open for a while.
async fn listener(says: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(says).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    port
}

#[tokio::test]
async fn m24_what_is_no_postgresql_is_told_from_it() {
    let connect = async |says, mode: &str| {
        let port = listener(says).await;
        let url = format!("postgres://app@127.0.0.1:{port}/shop?sslmode={mode}");
        match Address::parse(&url).unwrap().connect().await {
            Ok(_) => panic!("{url} is not PostgreSQL"),
            Err(error) => error.to_string(),
        }
    };
    let refuses_tls = connect(b"N", "require").await;
    assert!(refuses_tls.contains("sslmode="), "{refuses_tls}");
    let (web, silent) = tokio::join!(
        connect(b"HTTP/1.1 400 Bad Request\r\n\r\n", "disable"),
        connect(b"", "disable")
    );
    for error in [web, silent] {
        assert!(error.contains("within 10 s"), "{error}");
    }
    let other = connect(b"Zgarbage that is no message", "disable").await;
    assert!(other.starts_with("cannot connect: "), "{other}");
}

#[tokio::test]
async fn m24_what_cannot_be_attacked_could_not_run() {
    let Some(bench) = bench() else { return };
    for (sql, role, said) in [
        ("", "postgres", "--tenant-column"),
        ("CREATE TABLE public.t (id int PRIMARY KEY, body text)", "postgres", "--tenant-column"),
        ("CREATE TABLE public.t (tenant_id text)", "postgres", "--role"),
        (
            "CREATE ROLE {db}_idle LOGIN; CREATE TABLE public.t (tenant_id text)",
            "{db}_idle",
            "no rights",
        ),
        (
            "CREATE ROLE {db}_tenant LOGIN; CREATE TABLE public.t (tenant name); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON public.t USING (tenant = current_user); GRANT ALL ON public.t TO {db}_tenant",
            "{db}_tenant",
            "can become no two of them",
        ),
    ] {
        let database = bench.database(sql).await;
        let error = cannot(&database, &database.as_role(role), &parameters()).await;
        assert!(error.contains(said), "{sql}: {error}");
    }
    let shop = bench.database(SHOP).await;
    let error = cannot(
        &shop,
        &shop.admin(),
        &Options { role: Some("no such role".to_owned()), ..options() },
    )
    .await;
    assert!(error.contains("cannot act as role no such role"), "{error}");
    let error =
        cannot(&shop, &shop.admin(), &Options { setup: Some("SELEC".to_owned()), ..options() })
            .await;
    assert!(error.contains("--setup failed"), "{error}");
    // It would end the transaction that everything is undone with.
    let error =
        cannot(&shop, &shop.admin(), &Options { setup: Some("COMMIT".to_owned()), ..options() })
            .await;
    assert!(error.contains("ends the transaction"), "{error}");
    let error = cannot(&shop, &shop.admin(), &Options { read_only: true, ..options() }).await;
    assert!(error.contains("--tenants A,B"), "{error}");
}

#[tokio::test]
async fn m24_a_superuser_as_the_application_is_held_by_no_wall() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let options = Options { role: Some("postgres".to_owned()), ..options() };
    let run = shop.prove(&shop.admin(), &options).await.unwrap();
    assert_eq!(run.exit(), Exit::Leaked);
}

/// What is in the way of a tenant's row, and the words that must be said beside *undecided*.
const IN_THE_WAY: &[(&str, &str, &str, &str)] = &[
    (
        "a composite type",
        "CREATE TYPE s.pair AS (a int, b int); ALTER TABLE s.t ADD p s.pair NOT NULL",
        "type s.pair",
        "--value",
    ),
    (
        "a range type of its own",
        "CREATE TYPE s.span AS RANGE (subtype = inet); ALTER TABLE s.t ADD p s.span NOT NULL",
        "type s.span",
        "--value",
    ),
    (
        "a CHECK that nothing passes",
        "ALTER TABLE s.t ADD n int NOT NULL, ADD CHECK (n > 5 AND n < 3)",
        "23514",
        "--value",
    ),
    (
        "a trigger that raises",
        "CREATE FUNCTION s.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'; CREATE TRIGGER no BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.no()",
        "P0001 not today",
        "trigger",
    ),
    (
        "a trigger that takes rows away",
        "CREATE FUNCTION s.gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER gone BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.gone()",
        "a rule or a trigger takes it away",
        "--tenants",
    ),
    (
        "a parent that cannot be written",
        "CREATE TABLE s.parent (id int PRIMARY KEY); ALTER TABLE s.t ADD p int NOT NULL REFERENCES s.parent",
        "23503",
        "--setup",
    ),
    (
        "a circle of references",
        "CREATE TABLE s.u (id int PRIMARY KEY, t_tenant text NOT NULL, t_id bigint NOT NULL, FOREIGN KEY (t_tenant, t_id) REFERENCES s.t); ALTER TABLE s.t ADD u int NOT NULL REFERENCES s.u DEFERRABLE INITIALLY DEFERRED",
        "23503",
        "--setup",
    ),
];

#[tokio::test]
async fn m24_what_no_row_can_be_written_into_is_undecided() {
    let Some(bench) = bench() else { return };
    for (what, sql, seen, fix) in IN_THE_WAY {
        let database = bench.database(&walled("", sql)).await;
        let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
        assert!(
            matches!(run.exit(), Exit::Undecided),
            "{what}: {:?}\n{}",
            run.exit(),
            open(&run).join("\n")
        );
        let own = run.trials.iter().find(|trial| {
            trial.attack == "postgres.own-rows" && trial.verdict == Verdict::Undecided
        });
        let Some(own) = own else { panic!("{what}\n{}", open(&run).join("\n")) };
        assert!(own.seen.text().contains(seen), "{what}: {}", line(own));
        assert!(own.fix.as_deref().is_some_and(|text| text.contains(fix)), "{what}: {:?}", own.fix);
    }
}

#[tokio::test]
async fn m24_a_rule_that_redirects_rows_is_looked_through() {
    let Some(bench) = bench() else { return };
    // With the rights of its owner, past the wall: whoever inserts names whom they like.
    let rule = "CREATE TABLE s.elsewhere (tenant_id text); CREATE RULE r AS ON INSERT TO s.t DO INSTEAD INSERT INTO s.elsewhere VALUES (new.tenant_id)";
    let database = bench.database(&walled("", rule)).await;
    let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
    assert_eq!(run.exit(), Exit::Leaked);
    assert!(open(&run).iter().any(|line| line.starts_with("postgres.insert@s.t: leaked")));
}

#[tokio::test]
async fn m24_a_value_that_is_given_decides() {
    let Some(bench) = bench() else { return };
    let pair = "CREATE TYPE s.pair AS (a int, b int); ALTER TABLE s.t ADD p s.pair NOT NULL, ADD owner text NOT NULL CHECK (owner LIKE 'pw%/me')";
    let database = bench.database(&walled("", pair)).await;
    let values = ["s.t.p=ROW(1, 2)::s.pair", "s.t.owner='{tenant}' || '/me'"];
    let values = values.iter().map(|value| value.parse().unwrap()).collect();
    let options = Options { values, ..parameters() };
    let run = database.prove(&database.as_role("{db}_app"), &options).await.unwrap();
    assert_eq!(open(&run), Vec::<String>::new());
    assert_eq!(run.exit(), Exit::Proven);
}

/// What looks difficult, and is attacked all the same.
const NO_OBSTACLE: &[(&str, &str)] = &[
    (
        "generated columns",
        "ALTER TABLE s.t ADD a int NOT NULL, ADD b int GENERATED ALWAYS AS (a * 2) STORED",
    ),
    ("an identity that may be given", "ALTER TABLE s.t ADD n int GENERATED BY DEFAULT AS IDENTITY"),
    (
        "a domain over a range",
        "CREATE DOMAIN s.span AS int4range CHECK (NOT isempty(VALUE)); ALTER TABLE s.t ADD p s.span NOT NULL",
    ),
    (
        "an exclusion constraint",
        "ALTER TABLE s.t ADD during daterange NOT NULL, ADD EXCLUDE USING gist (during WITH &&)",
    ),
    (
        "arrays, json, bytea, ranges, bits, addresses",
        "ALTER TABLE s.t ADD a int[] NOT NULL, ADD b jsonb NOT NULL, ADD c bytea NOT NULL, ADD d tstzrange NOT NULL, ADD e bit(3) NOT NULL, ADD f inet NOT NULL, ADD g timestamptz NOT NULL, ADD h interval NOT NULL, ADD i char(2) NOT NULL, ADD j money NOT NULL, ADD k xml NOT NULL, ADD l int4multirange NOT NULL",
    ),
    (
        "a deferred reference",
        "CREATE TABLE s.p (tenant_id text, id int, PRIMARY KEY (tenant_id, id)); ALTER TABLE s.p ENABLE ROW LEVEL SECURITY; CREATE POLICY wall ON s.p USING (tenant_id = current_setting('s.tenant', true)); GRANT SELECT, INSERT, UPDATE, DELETE ON s.p TO {db}_app; ALTER TABLE s.t ADD p int NOT NULL, ADD FOREIGN KEY (tenant_id, p) REFERENCES s.p DEFERRABLE INITIALLY DEFERRED",
    ),
    (
        "names that need quotes",
        "CREATE TABLE s.\"sel\"\"ect ünï 'q' \\b\" (\"Tenant Id\" text NOT NULL, \"from\" int NOT NULL, PRIMARY KEY (\"Tenant Id\", \"from\")); ALTER TABLE s.\"sel\"\"ect ünï 'q' \\b\" ENABLE ROW LEVEL SECURITY; CREATE POLICY \"w all\" ON s.\"sel\"\"ect ünï 'q' \\b\" USING (\"Tenant Id\" = current_setting('s.tenant', true)); GRANT ALL ON s.\"sel\"\"ect ünï 'q' \\b\" TO {db}_app; REVOKE TRUNCATE, REFERENCES, TRIGGER ON s.\"sel\"\"ect ünï 'q' \\b\" FROM {db}_app",
    ),
];

#[tokio::test]
async fn m24_what_looks_difficult_is_attacked_all_the_same() {
    let Some(bench) = bench() else { return };
    for (what, sql) in NO_OBSTACLE {
        let database = bench.database(&walled("", sql)).await;
        let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
        let leaks_or_doubts = |line: &String| !line.contains(": not tested");
        let bad: Vec<String> = open(&run).into_iter().filter(leaks_or_doubts).collect();
        assert_eq!(bad, Vec::<String>::new(), "{what}: {:#?}", run.notes);
        assert_eq!(run.exit(), Exit::Proven, "{what}");
    }
}

#[tokio::test]
async fn m24_the_same_name_in_two_schemas_is_two_tables() {
    let Some(bench) = bench() else { return };
    let more = "CREATE SCHEMA \"o ld\"; CREATE TABLE \"o ld\".t (LIKE s.t INCLUDING ALL); GRANT USAGE ON SCHEMA \"o ld\" TO {db}_app; GRANT SELECT, INSERT, UPDATE, DELETE ON \"o ld\".t TO {db}_app;";
    let database = bench.database(&walled("", "")).await;
    database.run(more).await;
    let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
    let leaks = open(&run);
    assert!(
        leaks.iter().any(|line| line.starts_with("postgres.read@o ld.t: leaked")),
        "{leaks:#?}"
    );
    assert!(!leaks.iter().any(|line| line.contains("@s.t: leaked")), "{leaks:#?}");
}

#[tokio::test]
async fn m24_policies_that_look_at_several_columns_are_asked_about() {
    let Some(bench) = bench() else { return };
    let more = "CREATE TABLE s.m (owner text, folder text); ALTER TABLE s.m ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.m USING (owner = current_setting('s.tenant', true) OR folder = 'public'); GRANT SELECT, INSERT ON s.m TO {db}_app";
    let database = bench.database(&walled("", more)).await;
    let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
    assert_eq!(run.exit(), Exit::Undecided);
    assert!(open(&run).iter().any(|line| line.starts_with("postgres.declare@s.m: undecided")));
    assert!(
        run.notes.iter().any(|note| note.text.contains("several columns (folder, owner)")),
        "{:#?}",
        run.notes
    );
}

#[tokio::test]
async fn m24_locks_and_timeouts_are_undecided() {
    let Some(bench) = bench() else { return };
    let database = bench.database(&walled("", "")).await;
    let limited = |what: &'static str, limit: &'static str| {
        let app = format!("{}_app", database.name);
        database.with(|to| to.username(&app).options([(what, limit)]))
    };
    // Another session holds the table.
    let mut other = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE s.t IN EXCLUSIVE MODE").execute(&mut other).await.unwrap();
    let run = database.prove(&limited("lock_timeout", "30ms"), &parameters()).await.unwrap();
    assert!(matches!(run.exit(), Exit::Undecided), "{}", open(&run).join("\n"));
    let own = run.trials.iter().find(|trial| trial.attack == "postgres.own-rows").unwrap();
    assert!(own.seen.text().starts_with("55P03"), "{}", line(own));
    let told = own.fix.as_deref().is_some_and(|fix| fix.contains("another session holds"));
    assert!(told, "{:?}", own.fix);
    // So that not even the catalogue can be read.
    sqlx::raw_sql("LOCK TABLE s.t").execute(&mut other).await.unwrap();
    let error = cannot(&database, &limited("lock_timeout", "30ms"), &parameters()).await;
    assert!(error.contains("55P03") && error.contains("another session holds"), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    // And once it has let go.
    let run = database.prove(&limited("lock_timeout", "30ms"), &parameters()).await.unwrap();
    assert_eq!(run.exit(), Exit::Proven, "{}", open(&run).join("\n"));

    database.run("CREATE FUNCTION s.slow() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN true; END'; CREATE POLICY slow ON s.t AS RESTRICTIVE FOR SELECT USING (s.slow())").await;
    let run = database.prove(&limited("statement_timeout", "100ms"), &parameters()).await.unwrap();
    assert!(matches!(run.exit(), Exit::Undecided), "{}", open(&run).join("\n"));
    assert!(open(&run).iter().any(|line| line.contains("57014")), "{}", open(&run).join("\n"));
    let told = |trial: &partywall_prove::Trial| {
        trial.fix.as_deref().is_some_and(|fix| fix.contains("statement_timeout"))
    };
    assert!(run.trials.iter().any(told));
}

#[tokio::test]
async fn m24_hundreds_of_partitions_are_attacked_once_each() {
    let Some(bench) = bench() else { return };
    let more = "CREATE TABLE s.e (tenant_id text NOT NULL, n int NOT NULL) PARTITION BY LIST (n);
        DO $$ BEGIN FOR i IN 0..299 LOOP EXECUTE format('CREATE TABLE s.e_%s PARTITION OF s.e FOR VALUES IN (%s)', i, i); END LOOP; END $$;
        CREATE TABLE s.e_rest PARTITION OF s.e DEFAULT;
        ALTER TABLE s.e ENABLE ROW LEVEL SECURITY; CREATE POLICY wall ON s.e USING (tenant_id = nullif(current_setting('s.tenant', true), ''));
        GRANT SELECT, INSERT, UPDATE, DELETE ON s.e TO {db}_app";
    let database = bench.database(&walled("", more)).await;
    let run = database.prove(&database.as_role("{db}_app"), &parameters()).await.unwrap();
    let bad: Vec<String> =
        open(&run).into_iter().filter(|line| !line.contains(": not tested")).collect();
    assert_eq!(bad, Vec::<String>::new());
    // One attack for each of them, not all: what holds for the parent holds behind it.
    assert!(run.trials.len() < 1_000, "{} trials", run.trials.len());
}

/// Functions, operators and views that are called like the server's own, ahead of them on the path.
const HOSTILE: &str = "
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.took(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked by %', $1; END $$;
    CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT evil.took('current_setting')::text $$;
    CREATE FUNCTION evil.pg_backend_pid() RETURNS int LANGUAGE sql AS $$ SELECT evil.took('pg_backend_pid')::int $$;
    CREATE FUNCTION evil.version() RETURNS text LANGUAGE sql AS $$ SELECT evil.took('version')::text $$;
    CREATE FUNCTION evil.has_table_privilege(oid, oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.took('has_table_privilege') $$;
    CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.took('=') $$;
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
    CREATE FUNCTION evil.equal(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.took('= of names') $$;
    CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.equal);
    CREATE VIEW evil.pg_class AS SELECT evil.took('pg_class');
    CREATE VIEW evil.pg_roles AS SELECT evil.took('pg_roles');
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil, pg_catalog, public', current_database()); END $$;";

#[tokio::test]
async fn m24_a_hostile_schema_does_not_reach_the_run_itself() {
    let Some(bench) = bench() else { return };
    let database = bench.database(&walled("", "")).await;
    database.run(HOSTILE).await;
    // It would bite whoever trusts the path.
    let mut naive = database.connect().await;
    let hijacked =
        sqlx::raw_sql(AssertSqlSafe("SELECT version()".to_owned())).execute(&mut naive).await;
    assert!(hijacked.unwrap_err().to_string().contains("hijacked"));
    for address in [database.admin(), database.as_role("{db}_app")] {
        let run = database.prove(&address, &parameters()).await.unwrap();
        assert!(
            !run.trials.iter().any(|trial| trial.seen.text().contains("hijacked by pg_class")),
            "{}",
            open(&run).join("\n")
        );
        let own = |trial: &&partywall_prove::Trial| trial.attack == "postgres.read";
        assert!(
            run.trials.iter().filter(own).all(|trial| trial.verdict == Verdict::Blocked),
            "{}",
            open(&run).join("\n")
        );
    }
}

#[tokio::test]
async fn m24_what_is_written_for_the_application_runs_nobodys_code_as_a_superuser() {
    let Some(bench) = bench() else { return };
    let more = "REVOKE INSERT ON s.t FROM {db}_app;
        CREATE FUNCTION s.who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE EXCEPTION 'as a superuser'; END IF; RETURN new; END $$;
        CREATE TRIGGER who BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.who()";
    let database = bench.database(&walled("", more)).await;
    // The owner may; and where it may not, the triggers rest.
    for revoke in ["SELECT 1", "REVOKE INSERT ON s.t FROM {db}_owner"] {
        database.run(revoke).await;
        let run = database.prove(&database.admin(), &parameters()).await.unwrap();
        let bad: Vec<String> =
            open(&run).into_iter().filter(|line| !line.contains(": not tested")).collect();
        assert_eq!(bad, Vec::<String>::new(), "{:#?}", run.notes);
    }
}

/// Rows, roles, settings, locks and prepared transactions that a run could leave.
async fn nothing_is_left(database: &Database) {
    // A backend that was cut off takes a moment to see it.
    for _ in 0..100 {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'partywall prove'";
        if database.number(others).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (what, sql) in [
        (
            "rows",
            "SELECT (SELECT count(*) FROM shop.customers) + (SELECT count(*) FROM shop.orders) + (SELECT count(*) FROM shop.files) + (SELECT count(*) FROM shop.countries)",
        ),
        ("roles", "SELECT count(*) FROM pg_roles WHERE rolname ~ '^pw[0-9a-f]{8}'"),
        (
            "settings",
            "SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()",
        ),
        (
            "locks",
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'shop' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        ),
        ("functions", "SELECT count(*) FROM pg_proc WHERE proname ~ 'partywall|decoy'"),
        (
            "prepared transactions",
            "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()",
        ),
    ] {
        assert_eq!(database.number(sql).await, 0, "{what} were left");
    }
}

#[tokio::test]
async fn m24_a_run_leaves_nothing_however_it_ends() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let injection = Options { adversary: Adversary::SqlInjection, ..options() };
    for address in [shop.admin(), shop.as_role("{db}_app")] {
        shop.prove(&address, &injection).await.unwrap();
        nothing_is_left(&shop).await;
        // Dropped at some moment or other, as a process that is killed.
        for moment in [5, 40, 150, 400] {
            let run = shop.prove(&address, &injection);
            let _ = tokio::time::timeout(Duration::from_millis(moment), run).await;
            nothing_is_left(&shop).await;
        }
    }
    // Cut off by the server in the middle.
    shop.run("CREATE FUNCTION shop.cut() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN new; END $$; CREATE TRIGGER cut AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.cut()").await;
    let ended = shop.prove(&shop.as_role("{db}_app"), &injection).await;
    assert!(matches!(ended, Err(CannotRun::Gone(_))), "{:?}", ended.map(|run| run.exit()));
    nothing_is_left(&shop).await;
}
