//! R, P: what one tenant leaves on a pooled backend for the next.
//!
//! No context, however well signed, answers these: they happen between transactions. So each is
//! shown three times: on the usual wall, on ours over a connection that nobody tidies, where what
//! the SQL alone stops is told from what it does not, and through the crate's own pool with one
//! slot, so that both tenants get the same backend.

use std::time::Duration;

use partywall::{DeploymentModel, Scoped, TenantContext, testing};
use partywall_postgres::{Login, PoolTarget, Postgres, SessionSettings, TicketKey};
use sqlx::{AssertSqlSafe, Executor as _, Row as _, postgres::PgConnectOptions};

use crate::harness::{A, B, DENIED, FOREIGN, NOTES, OWN, Session, UNBOUND, Wall, bench, pair_as_a};

/// The crate's pool over one slot, and the two tenants.
struct OneSlot {
    store: Postgres,
    a: TenantContext,
    b: TenantContext,
}

impl OneSlot {
    /// Over a slot nobody used before.
    async fn open() -> Self {
        let one = Self::over(&bench().unwrap().fresh_slot());
        // The positive control of every run through the pool.
        let (mut db, mut backends) = (one.as_b().await, Vec::new());
        assert_eq!(text(&mut db, FOREIGN).await, NOTES.to_string(), "B sees its own");
        assert_eq!(text(&mut db, OWN).await, "0");
        backends.push(text(&mut db, "SELECT pg_backend_pid()").await);
        db.commit().await.unwrap();
        let mut db = one.as_a().await;
        assert_eq!(text(&mut db, OWN).await, NOTES.to_string(), "A sees its own");
        assert_eq!(text(&mut db, FOREIGN).await, "0");
        backends.push(text(&mut db, "SELECT pg_backend_pid()").await);
        db.commit().await.unwrap();
        assert_eq!(backends[0], backends[1], "both are served by one backend");
        one
    }

    fn over(slot: &str) -> Self {
        let bench = bench().unwrap();
        let target = PoolTarget::new(bench.cluster.address(), "walled", ticket_key());
        Self::with(target.slots([Login::new(slot, "unasked")]))
    }

    fn with(target: PoolTarget) -> Self {
        let settings = SessionSettings::default().search_path("app");
        let target = target.session_settings(settings);
        let store = Postgres::builder("main".parse().unwrap())
            .pool("eu-1".parse().unwrap(), target)
            .build()
            .unwrap();
        let placed = testing::placed("main", DeploymentModel::Pool, "eu-1");
        let [a, b] = testing::contexts([A, B], &placed);
        Self { store, a, b }
    }

    async fn as_a(&self) -> Scoped<Postgres> {
        self.a.open(&self.store).await.unwrap()
    }

    async fn as_b(&self) -> Scoped<Postgres> {
        self.b.open(&self.store).await.unwrap()
    }

    /// A's injection, committed by A's unsuspecting request.
    async fn a_runs(&self, sql: &str) {
        let mut db = self.as_a().await;
        run(&mut db, sql).await;
        db.commit().await.unwrap();
    }

    async fn b_runs(&self, sql: &str) {
        let mut db = self.as_b().await;
        run(&mut db, sql).await;
        db.commit().await.unwrap();
    }

    async fn a_reads(&self, sql: &str) -> String {
        text(&mut self.as_a().await, sql).await
    }

    async fn b_reads(&self, sql: &str) -> String {
        text(&mut self.as_b().await, sql).await
    }

    /// The SQLSTATE of A's refusal.
    async fn refuses_a(&self, sql: &str) -> String {
        let mut db = self.as_a().await;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let error = db.conn().execute(sql).await.unwrap_err();
        error.as_database_error().unwrap().code().unwrap().into_owned()
    }
}

fn ticket_key() -> TicketKey {
    TicketKey::from_bytes(&bench().unwrap().key).unwrap()
}

async fn run(db: &mut Scoped<Postgres>, sql: &str) {
    let raw = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    db.conn().execute(raw).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
}

async fn text(db: &mut Scoped<Postgres>, sql: &str) -> String {
    let raw = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    let row = db.conn().fetch_one(raw).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
    row.try_get_unchecked::<Option<String>, _>(0).unwrap().unwrap_or_default()
}

#[tokio::test]
async fn t06_f8_context_planted_for_a_request_that_binds_nothing() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    // B's request forgets to bind and writes; where does the row go?
    let write = "INSERT INTO app.ledger (tenant_id, entry)
                 VALUES (current_setting('app.tenant_id', true), 'of B') RETURNING tenant_id";
    let plant = |setting: &str| {
        format!("SELECT set_config('{setting}', current_setting('{setting}'), false)")
    };

    naive.run(&plant("app.tenant_id")).await;
    naive.end().await;
    assert_eq!(naive.text(write).await, A, "redirected, for ever");
    naive.run("DELETE FROM app.ledger WHERE entry = 'of B'").await;

    // A ticket is good for its transaction only, planted or not.
    let write = "INSERT INTO app.ledger (entry) VALUES ('of B') RETURNING tenant_id";
    walled.run(&plant("partywall.ticket")).await;
    assert_eq!(walled.text(write).await, A, "the control");
    walled.run("DELETE FROM app.ledger WHERE entry = 'of B'").await;
    walled.end().await;
    assert_eq!(walled.refusal(write).await, UNBOUND);

    // The pool binds every transaction, and nothing of A's is left beneath B's ticket.
    let one = OneSlot::open().await;
    one.a_runs(&plant("partywall.ticket")).await;
    let mut db = one.as_b().await;
    assert_eq!(text(&mut db, write).await, B);
    run(&mut db, "RESET partywall.ticket").await;
    assert_eq!(text(&mut db, "SELECT current_setting('partywall.ticket', true)").await, "");
}

/// Until its window is over, a planted ticket serves the backend's next transaction: strict mode
/// and the scrub leave no such moment.
#[tokio::test]
async fn t06_f8_planted_inside_its_window_residual() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let now = walled.transaction_time().await;
    walled.present(&walled.ticket(A, now..=now + 300_000)).await;
    walled
        .run("SELECT set_config('partywall.ticket', current_setting('partywall.ticket'), false)")
        .await;
    walled.end().await;
    assert_eq!(walled.count(OWN).await, NOTES);
    assert_eq!(walled.count(FOREIGN).await, 0, "its own tenant's, at least");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(walled.refusal(OWN).await, UNBOUND);
}

#[tokio::test]
async fn t06_r1_temporary_table_shadows_the_next_tenants_insert() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let trap = "CREATE TEMP TABLE ledger (LIKE app.ledger)";
    let write = "INSERT INTO ledger (tenant_id, entry) VALUES ('acme-2', 'B secret')";

    naive.run("SET search_path = app").await; // the application's own
    naive.run(trap).await;
    naive.end().await;
    naive.begin(B).await;
    naive
        .run(&write.replace("(tenant_id", "(id, tenant_id").replace("('acme-2'", "(1, 'acme-2'"))
        .await;
    naive.end().await;
    naive.begin(A).await;
    assert_eq!(naive.text("SELECT entry FROM pg_temp.ledger").await, "B secret");

    assert_eq!(walled.refusal_inside(trap).await, DENIED);
    let one = OneSlot::open().await;
    assert_eq!(one.refuses_a(trap).await, DENIED);
    let mut db = one.as_b().await;
    run(&mut db, write).await;
    let landed = "SELECT count(*) FROM app.ledger WHERE entry = 'B secret'";
    assert_eq!(text(&mut db, landed).await, "1", "the control: it landed where it was meant to");
}

/// The pool's own prepared statement is exchanged for one of A's making, which then runs as B.
#[tokio::test]
async fn t06_r2_prepared_statement_of_the_pool_is_replaced() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let honest = "SELECT id, email FROM app.notes WHERE id = $1";
    let trap = |name: &str| {
        format!(
            "PREPARE \"{name}\" (bigint) AS SELECT $1, set_config('x.loot',
               (SELECT string_agg(email, ',') FROM (SELECT email FROM app.notes ORDER BY id LIMIT 2) AS l),
               false)"
        )
    };
    for session in [&naive, &walled] {
        session.end().await;
        session.begin(B).await;
        let cached = session.client.prepare(honest).await.unwrap();
        session.end().await;
        session.begin(A).await;
        let name = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%id = $1%' AND NOT from_sql";
        let name = session.text(name).await;
        session.run(&format!("DEALLOCATE \"{name}\"")).await;
        session.run(&trap(&name)).await;
        session.end().await;
        session.begin(B).await;
        session.client.query_one(&cached, &[&2_i64]).await.unwrap();
        session.end().await;
        session.begin(A).await;
        let loot = session.text("SELECT current_setting('x.loot', true)").await;
        assert_eq!(loot, "user2@example,user6@example", "the context alone does not help");
    }

    let one = OneSlot::open().await;
    let honest = "SELECT email FROM app.notes WHERE id = $1";
    let ask = async || {
        let mut db = one.as_b().await;
        let email = sqlx::query_scalar::<_, String>(honest).bind(2_i64).fetch_one(db.conn());
        let email = email.await.unwrap();
        let name = text(&mut db, "SELECT name FROM pg_prepared_statements").await;
        db.commit().await.unwrap();
        (email, name)
    };
    assert_eq!(ask().await, ("user2@example".to_owned(), "sqlx_s_1".to_owned()));
    // Traps under every name the driver is about to give.
    let mut db = one.as_a().await;
    assert_eq!(text(&mut db, "SELECT count(*) FROM pg_prepared_statements").await, "0");
    let names: Vec<_> = (1..=9).map(|n| format!("sqlx_s_{n}")).collect();
    for name in &names {
        run(&mut db, &trap(name)).await;
    }
    db.commit().await.unwrap();
    let (email, name) = ask().await;
    assert_eq!(email, "user2@example");
    assert!(names.contains(&name), "the control: there was a trap under {name}");
    assert_eq!(one.a_reads("SELECT current_setting('x.loot', true)").await, "");
}

#[tokio::test]
async fn t06_r3_cursor_with_hold() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let open = "DECLARE cur CURSOR WITH HOLD FOR SELECT email FROM app.notes ORDER BY id LIMIT 1";
    for session in [&naive, &walled] {
        session.end().await;
        session.begin(B).await;
        session.run(open).await;
        session.end().await;
        session.begin(A).await;
        assert_eq!(session.text("FETCH ALL FROM cur").await, "user2@example");
    }
    let one = OneSlot::open().await;
    one.b_runs(open).await;
    assert_eq!(one.b_reads("FETCH ALL FROM cur").await, "user2@example", "B itself may go on");
    assert_eq!(one.refuses_a("FETCH ALL FROM cur").await, "34000");
}

#[tokio::test]
async fn t06_r4_listen_on_a_guessed_channel() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    for (session, other) in [(&naive, bench.naive().await), (&walled, bench.walled().await)] {
        session.run("LISTEN orders").await;
        session.end().await;
        other.begin(B).await;
        other.run("NOTIFY orders, 'order 4711 of B'").await;
        other.end().await;
        assert_eq!(heard(session).await, ["order 4711 of B"], "channels know no tenant");
    }
    let one = OneSlot::open().await;
    let listening = "SELECT count(*) FROM pg_listening_channels()";
    one.a_runs("LISTEN orders").await;
    assert_eq!(one.a_reads(listening).await, "1", "the control: the backend listens");
    assert_eq!(one.b_reads(listening).await, "0");
}

async fn heard(session: &Session) -> Vec<String> {
    for _ in 0..100 {
        session.run("SELECT 1").await;
        if !session.notified().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    session.notified()
}

#[tokio::test]
async fn t06_r5_settings_hijack_the_next_tenant() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let hijack = "SET standard_conforming_strings = off; SET client_encoding = 'SJIS';
                  SET statement_timeout = 1234; SET default_transaction_read_only = on;
                  SET search_path = evil; SET TimeZone = 'Asia/Tokyo'; SET row_security = off";
    let settings = [
        ("standard_conforming_strings", "off", "on"),
        ("client_encoding", "SJIS", "UTF8"),
        ("statement_timeout", "1234ms", "30s"),
        ("default_transaction_read_only", "on", "off"),
        ("search_path", "evil", "app"),
        ("TimeZone", "Asia/Tokyo", "UTC"),
        ("row_security", "off", "on"),
    ];
    for session in [&naive, &walled] {
        session.run(hijack).await;
        session.end().await;
        for (setting, hijacked, _) in settings {
            assert_eq!(session.text(&format!("SHOW {setting}")).await, hijacked);
        }
    }
    let one = OneSlot::open().await;
    one.a_runs(hijack).await;
    let mut db = one.as_b().await;
    for (setting, _, own) in settings {
        assert_eq!(text(&mut db, &format!("SHOW {setting}")).await, own, "{setting}");
    }
}

#[tokio::test]
async fn t06_r6_lastval_of_the_previous_tenant() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let insert = "INSERT INTO app.ledger (tenant_id, entry) VALUES ('acme-2', 'r6')";
    naive.end().await;
    naive.begin(B).await;
    naive.run(insert).await;
    naive.end().await;
    naive.begin(A).await;
    assert!(naive.count("SELECT lastval()").await > 0);

    walled.end().await;
    walled.begin(B).await;
    walled.run(insert).await;
    walled.end().await;
    walled.begin(A).await;
    assert_eq!(walled.refusal("SELECT lastval()").await, DENIED, "no grant on the sequence");

    let one = OneSlot::open().await;
    one.b_runs(insert).await;
    assert_eq!(one.refuses_a("SELECT lastval()").await, "55000", "and no value in the session");
}

#[tokio::test]
async fn t06_r7_session_variables() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let set = "SELECT set_config('app.user_email', 'ceo@b', false)";
    let read = "SELECT current_setting('app.user_email', true)";
    for session in [&naive, &walled] {
        session.end().await;
        session.begin(B).await;
        session.run(set).await;
        session.end().await;
        session.begin(A).await;
        assert_eq!(session.text(read).await, "ceo@b");
    }
    let one = OneSlot::open().await;
    one.b_runs(set).await;
    assert_eq!(one.b_reads(read).await, "ceo@b", "the control: B itself still has it");
    assert_eq!(one.a_reads(read).await, "");
}

#[tokio::test]
async fn t06_r8_advisory_lock_left_behind() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let lock = |key: i64| format!("SELECT pg_advisory_lock({key})");
    let try_lock = |key: i64| format!("SELECT pg_try_advisory_lock({key})");
    for (session, other) in [(&naive, bench.naive().await), (&walled, bench.walled().await)] {
        session.run(&lock(81)).await;
        session.end().await;
        other.begin(B).await;
        assert_eq!(other.text(&try_lock(81)).await, "f", "B waits for ever");
    }
    let one = OneSlot::open().await;
    let other = bench.walled().await;
    one.a_runs(&lock(82)).await;
    assert_eq!(other.text(&try_lock(82)).await, "f", "the control: it is held");
    drop(one.as_b().await); // the backend changes its tenant
    assert_eq!(other.text(&try_lock(82)).await, "t");
}

#[tokio::test]
async fn t06_r9_trap_function_in_pg_temp() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let trap = "CREATE FUNCTION pg_temp.trap(text) RETURNS text LANGUAGE sql AS 'SELECT $1'";
    naive.run(trap).await;
    naive.end().await;
    naive.begin(B).await;
    assert_eq!(naive.text("SELECT pg_temp.trap('there for B')").await, "there for B");
    assert_eq!(walled.refusal_inside(trap).await, DENIED);
    assert_eq!(OneSlot::open().await.refuses_a(trap).await, DENIED);
}

/// Reading the statements does not help: whatever leaves residue hides inside DO.
#[tokio::test]
async fn t06_r10_residue_hidden_inside_do() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let hidden = "DO $$ BEGIN
        EXECUTE 'PREPARE r10 AS SELECT 1'; EXECUTE 'LISTEN r10';
        PERFORM set_config('x.r10', 'left', false); PERFORM pg_advisory_lock(10);
        EXECUTE 'DECLARE r10 CURSOR WITH HOLD FOR SELECT 1'; END $$";
    let left = "SELECT concat_ws(' ',
        (SELECT count(*) FROM pg_prepared_statements WHERE name = 'r10'),
        (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        current_setting('x.r10', true))";
    for session in [&naive, &walled] {
        session.run(hidden).await;
        session.end().await;
        session.begin(B).await;
        assert_eq!(session.text(left).await, "1 1 1 1 left");
        session.end().await;
        session.run("SELECT pg_advisory_unlock_all()").await;
    }
    let one = OneSlot::open().await;
    one.a_runs(hidden).await;
    assert_eq!(one.a_reads(left).await, "1 1 1 1 left", "the control");
    assert_eq!(one.b_reads(left).await.trim(), "0 0 0 0");
}

/// A role may change its own settings. They outlive DISCARD ALL and the connection, and await
/// whoever logs in as it next.
#[tokio::test]
async fn t06_p1_alter_role_current_user() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let poison = "ALTER ROLE CURRENT_USER SET standard_conforming_strings = off;
                  ALTER ROLE CURRENT_USER SET search_path = 'evil';
                  ALTER ROLE CURRENT_USER SET default_text_search_config = 'pg_catalog.german';
                  ALTER ROLE CURRENT_USER IN DATABASE {db} SET xmlbinary = 'hex'";
    let watched = [
        ("standard_conforming_strings", "off", "on"),
        ("search_path", "evil", "app"),
        ("default_text_search_config", "pg_catalog.german", "pg_catalog.english"),
        ("xmlbinary", "hex", "base64"),
    ];
    let root = bench.superuser("naive").await;
    root.set_up("CREATE ROLE naive_p1 LOGIN IN ROLE naive_app").await;
    let slot = bench.fresh_slot();

    for (wall, role, db) in [(Wall::Naive, "naive_p1", "naive"), (Wall::Ours, &*slot, "walled")] {
        let session = bench.connect(wall, role, db, "").await;
        session.begin(A).await;
        session.run(&poison.replace("{db}", db)).await;
        session.end().await;
        let next = bench.connect(wall, role, db, "").await;
        next.run("DISCARD ALL").await;
        for (setting, poisoned, _) in watched {
            assert_eq!(next.text(&format!("SHOW {setting}")).await, poisoned);
        }
        // What would be more than a setting is refused.
        for more in [
            "ALTER ROLE CURRENT_USER BYPASSRLS",
            "ALTER ROLE CURRENT_USER SUPERUSER",
            "ALTER ROLE CURRENT_USER CREATEROLE",
            "ALTER ROLE CURRENT_USER CONNECTION LIMIT 0",
            "ALTER ROLE CURRENT_USER NOLOGIN",
            "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
            "GRANT partywall_owner TO CURRENT_USER",
        ] {
            assert_eq!(next.refusal(more).await, DENIED, "{more}");
        }
        // Start-up options win over what the role remembers, also after RESET ALL.
        let pinned = "-c standard_conforming_strings=on -c search_path=app";
        let pinned = bench.connect(wall, role, db, pinned).await;
        pinned.run("RESET ALL").await;
        for (setting, _, own) in &watched[..2] {
            assert_eq!(&pinned.text(&format!("SHOW {setting}")).await, own);
        }
    }

    // The pool takes over the poisoned slot, and cleans it.
    let one = OneSlot::over(&slot);
    let mut db = one.as_b().await;
    for (setting, _, own) in watched {
        assert_eq!(text(&mut db, &format!("SHOW {setting}")).await, own, "{setting}");
    }
    let remembered =
        format!("SELECT count(*) FROM pg_db_role_setting WHERE setrole = '{slot}'::regrole");
    assert_eq!(root.count(&remembered).await, 0);
}

/// Settings that would not change what B sees, but whether B is served at all.
#[tokio::test]
async fn t06_p1_alter_role_to_lock_the_next_out() {
    if bench().is_none() {
        return;
    }
    for lock_out in [
        "statement_timeout = 1",
        "lock_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "idle_session_timeout = 1",
        "default_transaction_read_only = on",
        "exit_on_error = on",
        "local_preload_libraries = 'nowhere'",
        "client_encoding = 'SJIS'",
        "role = 'partywall_app'",
        "row_security = off",
        "work_mem = '64kB'",
    ] {
        b_is_served_after(&format!("ALTER ROLE CURRENT_USER SET {lock_out}")).await;
    }
}

/// What A leaves to its slot's role does not keep B out when the slot logs in anew.
async fn b_is_served_after(poison: &str) {
    let slot = bench().unwrap().fresh_slot();
    let one = OneSlot::over(&slot);
    one.a_runs(poison).await;
    one.store.close().await;
    let one = OneSlot::over(&slot);
    let mut db = one.b.open(&one.store).await.unwrap_or_else(|e| panic!("{poison}: {e:?}"));
    assert_eq!(text(&mut db, FOREIGN).await, NOTES.to_string(), "{poison}");
}

/// A role may change its own password, and nothing in PostgreSQL forbids it. With a control login
/// the pool sets it right when it is locked out; certificates or IAM take the attack away.
#[tokio::test]
async fn t06_p1_alter_role_password() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let slot = bench.fresh_slot();
    let root = bench.superuser("walled").await;
    root.set_up(&format!("ALTER ROLE {slot} PASSWORD 'right'")).await;
    root.set_up("ALTER ROLE manager PASSWORD 'manager'").await;
    let tcp = || {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(bench.cluster.port())
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    };
    let target = || {
        PoolTarget::new(tcp(), "walled", ticket_key())
            .slots([Login::new(&*slot, "right")])
            .control(Login::new("manager", "manager"))
    };
    let log_in = async |password: &str| {
        use sqlx::Connection as _;
        let login = tcp().username(&slot).password(password).database("walled");
        sqlx::PgConnection::connect_with(&login).await.map(drop)
    };

    let one = OneSlot::with(target());
    one.a_runs("DO $$ BEGIN EXECUTE 'ALTER ROLE CURRENT_USER PASSWORD ''pwned'''; END $$").await;
    one.store.close().await;
    log_in("pwned").await.unwrap();
    let locked_out = log_in("right").await.unwrap_err();
    assert_eq!(locked_out.as_database_error().unwrap().code().unwrap(), "28P01");

    let one = OneSlot::with(target());
    assert_eq!(one.b_reads(FOREIGN).await, NOTES.to_string(), "B is served all the same");
    log_in("right").await.unwrap();
    log_in("pwned").await.unwrap_err();
}
