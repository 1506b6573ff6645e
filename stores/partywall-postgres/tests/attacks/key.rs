//! K: getting at the ticket key.

use crate::harness::{
    A, B, DENIED, FOREIGN, NOTES, OWN, Session, UNBOUND, bench, hex, pair_as_a, readdressed, ticket,
};

#[tokio::test]
async fn m18_k1_read_the_key_or_create_objects() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();

    // The controls: a signing key where `GRANT ALL ON ALL TABLES` reaches it, and the rights that
    // every new database gives to everybody.
    let root = bench.superuser("naive").await;
    root.set_up(
        "CREATE TABLE app.signing_key (key bytea); INSERT INTO app.signing_key VALUES ('secret');
         GRANT ALL ON ALL TABLES IN SCHEMA app TO naive_app",
    )
    .await;
    assert_eq!(naive.text("SELECT convert_from(key, 'UTF8') FROM app.signing_key").await, "secret");
    naive.run("CREATE TEMP TABLE trap (n int)").await;
    naive.run("CREATE FUNCTION pg_temp.trap() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    // And the key is where it is looked for.
    let root = bench.superuser("walled").await;
    assert_eq!(root.count("SELECT count(*) FROM partywall.ticket_key").await, 1);

    let mut otherwise = Vec::new();
    for attempt in [
        "SELECT * FROM partywall.ticket_key",
        "SELECT ctid FROM partywall.ticket_key",
        "SELECT count(*) FROM partywall.ticket_key",
        "TABLE partywall.ticket_key",
        "COPY partywall.ticket_key TO STDOUT",
        "SELECT table_to_xml('partywall.ticket_key', true, false, '')",
        "SELECT FROM partywall.ticket_key FOR UPDATE",
        "DELETE FROM partywall.ticket_key",
        "LOCK TABLE partywall.ticket_key",
        "SELECT partywall.put_key(2::int2, '\\x00')",
        "SELECT partywall.drop_key(1::int2)",
        "SELECT partywall.protect('app.notes')",
        "ALTER FUNCTION partywall.tenant_id() VOLATILE",
        "DROP FUNCTION partywall.tenant_id()",
        "CREATE OR REPLACE FUNCTION partywall.tenant_id() RETURNS text LANGUAGE sql AS 'SELECT 1'",
        "SELECT * FROM pg_statistic",
        "SELECT * FROM pg_statistic_ext_data",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_user_mapping",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_read_binary_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "COPY app.ledger FROM PROGRAM 'id'",
        "CREATE TEMP TABLE trap (n int)",
        "CREATE TEMP VIEW trap AS SELECT 1",
        "CREATE TEMP SEQUENCE trap",
        "SELECT 1 AS n INTO TEMP trap",
        "CREATE FUNCTION pg_temp.trap() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE pg_temp.trap AS (n int)",
        "CREATE TABLE public.trap (n int)",
        "CREATE TABLE app.trap (n int)",
        "CREATE TABLE partywall.trap (n int)",
        "CREATE VIEW app.trap AS SELECT 1",
        "CREATE FUNCTION public.trap() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OPERATOR public.= (leftarg = text, rightarg = text, procedure = texteq)",
        "CREATE SCHEMA trap",
        "CREATE EXTENSION pgcrypto",
        "CREATE SERVER trap FOREIGN DATA WRAPPER x",
        "CREATE PUBLICATION trap",
        "CREATE ROLE trap",
        "ALTER DATABASE walled SET search_path = public",
        "ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY partywall ON app.notes",
        "CREATE POLICY trap ON app.notes USING (true)",
        "CREATE INDEX ON app.notes (body)",
        "CREATE TRIGGER trap BEFORE INSERT ON app.notes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "LOAD 'auto_explain'",
        "SET session_preload_libraries = 'auto_explain'",
        "SET log_statement = 'all'",
        "SET track_functions = 'all'",
        "SET lo_compat_privileges = on",
        "SET debug_assertions = off",
        "SET zero_damaged_pages = on",
        "SET allow_system_table_mods = on",
        "SELECT pg_reload_conf()",
        "SELECT pg_create_physical_replication_slot('trap')",
    ] {
        let code = walled.refusal_inside(attempt).await;
        if code != DENIED {
            otherwise.push((attempt, code));
        }
    }
    // The foreign data wrapper is looked up before the right to use it; a setting fixed when the
    // server was built can be changed by nobody.
    let expected = [
        ("CREATE SERVER trap FOREIGN DATA WRAPPER x", "42704".to_owned()),
        ("SET debug_assertions = off", "55P02".to_owned()),
    ];
    assert_eq!(otherwise, expected);
    // Statistics of the key: visible to nobody here, and none were taken.
    let stats = "SELECT count(*) FROM pg_stats WHERE schemaname = 'partywall'";
    assert_eq!(walled.count(stats).await, 0);
    let samples =
        "SELECT count(*) FROM pg_statistic WHERE starelid = 'partywall.ticket_key'::regclass
                   AND staattnum > 1";
    assert_eq!(root.count(samples).await, 0, "not even for a superuser");

    assert_eq!(walled.count(OWN).await, NOTES);
}

/// `debug_print_plan` prints the plans of SECURITY DEFINER bodies to the client, constants and
/// all. The pack's functions have the key as columns of one query only; the two ways in which one
/// would naturally write them have it as a constant.
#[tokio::test]
async fn m18_k2_debug_print_plan() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up(LEAKY_VARIANTS).await;

    for (function, leaks) in [
        ("leaky.key_in_a_variable()", true),
        ("leaky.key_of_an_immutable_function()", true),
        ("partywall.tenant_id()", false),
        ("partywall.tenant_uuid()", false),
        ("partywall.claims()", false),
    ] {
        let mut leaked = false;
        for mode in ["auto", "force_custom_plan", "force_generic_plan"] {
            let spy = bench.walled().await;
            let printed = printed_plans(&spy, function, mode).await;
            // The control of the control: plans were printed, those of the body among them.
            assert!(printed.contains("PLANNEDSTMT"), "{function} {mode}: {printed}");
            assert!(printed.contains("outer_pad"), "{function} {mode}: {printed}");
            leaked |= shows_the_key(&root, &printed).await;
        }
        assert_eq!(leaked, leaks, "{function}");
    }
}

/// As K2, where the wall works and where it refuses: by a policy, and with a ticket that fails.
#[tokio::test]
async fn m18_k2_debug_print_plan_of_the_policy_and_of_a_refusal() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;

    let spy = bench.walled().await;
    print_everything(&spy).await;
    // A ticket whose every byte is the right length and nothing else, and an empty one.
    for ticket in ["00".repeat(64), String::new(), "ff".repeat(500)] {
        spy.run("BEGIN").await;
        spy.present(&ticket).await;
        spy.refusal(FOREIGN).await;
        spy.end().await;
    }
    spy.begin(A).await;
    for sql in [
        FOREIGN,
        "EXPLAIN (ANALYZE, VERBOSE, SETTINGS) SELECT count(*) FROM app.notes",
        "INSERT INTO app.ledger (entry) VALUES ('k2')",
        "SELECT app.count_notes()",
        "DISCARD PLANS",
        "SELECT count(*) FROM app.all_notes",
    ] {
        spy.run(sql).await;
    }
    spy.run("ROLLBACK").await;
    let printed = spy.notices();
    assert!(printed.contains("PLANNEDSTMT") && printed.len() > 50_000);
    // What was printed is the tenant's own: its ticket, never the key.
    assert!(!shows_the_key(&root, &printed).await);
}

/// Names inside a SECURITY DEFINER body that the caller's `search_path` resolves.
#[tokio::test]
async fn m18_k3_search_path_hijack_inside_the_definer() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    // K1 shows that no slot can make such a schema; here somebody made it for the attacker.
    root.set_up(EVIL_SCHEMA).await;

    let walled = bench.walled().await;
    walled.run("SET search_path = evil, pg_catalog").await;
    let own = walled.begin(A).await;
    // The control: a definer that names things as one does is taken over.
    assert_eq!(walled.text("SELECT evil.unqualified()").await, "hijacked as partywall_owner");

    // Ours: still A, though this session compiles the functions under that path. The queries name
    // what they use, too, since the attacker's own would be taken over as well.
    let seen = "SELECT pg_catalog.min(tenant_id), pg_catalog.max(tenant_id) FROM app.notes";
    assert_eq!(walled.text("SELECT partywall.tenant_id()").await, A);
    assert_eq!(walled.rows(seen).await.unwrap(), [[A, A]]);
    assert_eq!(walled.notices(), "", "nothing of the evil schema was called");
    walled.end().await;
    for forged in [readdressed(&own, B), "00".repeat(80)] {
        walled.run("BEGIN").await;
        walled.present_qualified(&forged).await;
        assert_eq!(walled.refusal("SELECT partywall.tenant_id()").await, UNBOUND);
        walled.end().await;
    }
    walled.run("BEGIN").await;
    let now = walled.transaction_time().await;
    let claims = r#"{"sub":"u:1"}"#;
    walled.present_qualified(&ticket(&bench.key, walled.pid, A, now..=now, claims)).await;
    let sub = "SELECT partywall.claims() OPERATOR(pg_catalog.->>) 'sub'";
    assert_eq!(walled.text(sub).await, "u:1");
    let uuid = "7d3c0a52-4b2e-4b9e-9c39-0a7f6c1e2d11";
    walled.present_qualified(&walled.ticket(uuid, now..=now)).await;
    assert_eq!(walled.text("SELECT partywall.tenant_uuid()").await, uuid);
    assert_eq!(walled.notices(), "", "nothing of the evil schema was called");
}

/// Whether anything of the key or its two padded blocks is in what was printed: as a plan prints
/// bytes, in decimal and signed where the machine's characters are, or in hexadecimal. White space
/// does not count, since lines are broken in the middle of a number.
async fn shows_the_key(root: &Session, printed: &str) -> bool {
    let pads =
        "SELECT encode(inner_pad, 'hex'), encode(outer_pad, 'hex') FROM partywall.ticket_key";
    let pads = root.rows(pads).await.unwrap().concat();
    let printed: String = printed.split_whitespace().collect();
    pads.into_iter().chain([hex(&bench().unwrap().key)]).any(|secret| {
        // Twelve bytes from the middle: none of a header, none of the padding.
        let part = &secret[16..40];
        let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = part.as_bytes().chunks(2).map(byte).collect();
        [
            part.to_owned(),
            part.to_uppercase(),
            bytes.iter().map(|b| b.cast_signed().to_string()).collect(),
            bytes.iter().map(u8::to_string).collect(),
        ]
        .iter()
        .any(|needle| printed.contains(needle))
    })
}

/// All that a session can be made to say while it calls `function`.
async fn printed_plans(spy: &Session, function: &str, plan_cache_mode: &str) -> String {
    print_everything(spy).await;
    spy.run(&format!("SET plan_cache_mode = {plan_cache_mode}")).await;
    spy.begin(A).await;
    spy.run("DISCARD PLANS").await;
    for _ in 0..8 {
        // Of tenant_id() the result, of claims() an error: A's ticket has none. Both print.
        _ = spy.rows(&format!("SAVEPOINT s; SELECT {function}")).await;
        spy.run("ROLLBACK TO s").await;
    }
    spy.run("DISCARD PLANS").await;
    _ = spy.rows(&format!("SELECT {function}")).await;
    spy.end().await;
    spy.notices()
}

async fn print_everything(spy: &Session) {
    spy.run(
        "SET client_min_messages = debug5; SET debug_print_plan = on; SET debug_print_parse = on;
         SET debug_print_rewritten = on; SET plpgsql.print_strict_params = on",
    )
    .await;
}

const LEAKY_VARIANTS: &str = "
    CREATE SCHEMA leaky AUTHORIZATION partywall_owner;
    GRANT USAGE ON SCHEMA leaky TO partywall_app;
    SET ROLE partywall_owner;
    CREATE FUNCTION leaky.key_in_a_variable() RETURNS bool
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
      k partywall.ticket_key;
      ticket bytea := decode(current_setting('partywall.ticket', true), 'hex');
      holds bool;
    BEGIN
      SELECT * INTO k FROM partywall.ticket_key LIMIT 1;
      SELECT sha256(k.outer_pad || sha256(k.inner_pad || substr(ticket, 33)
                                          || int4send(pg_backend_pid()))) = substr(ticket, 1, 32)
        INTO holds;
      RETURN holds;
    END $$;
    CREATE FUNCTION leaky.inner_pad() RETURNS bytea LANGUAGE sql IMMUTABLE SECURITY DEFINER
      AS 'SELECT inner_pad FROM partywall.ticket_key LIMIT 1';
    REVOKE ALL ON FUNCTION leaky.inner_pad() FROM PUBLIC;
    CREATE FUNCTION leaky.key_of_an_immutable_function() RETURNS bool
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
      RETURN sha256(leaky.inner_pad() || int4send(pg_backend_pid())) = '\\x00';
    END $$;
    RESET ROLE";

/// Every name the pack's bodies use, in front of pg_catalog's.
const EVIL_SCHEMA: &str = r#"
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.current_setting(pg_catalog.text, pg_catalog.bool) RETURNS pg_catalog.text
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked current_setting'; RETURN ''; END $$;
    CREATE FUNCTION evil.decode(pg_catalog.text, pg_catalog.text) RETURNS pg_catalog.bytea
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked decode'; RETURN ''; END $$;
    CREATE FUNCTION evil.sha256(pg_catalog.bytea) RETURNS pg_catalog.bytea
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked sha256 %', $1; RETURN ''; END $$;
    CREATE FUNCTION evil.hashtextextended(pg_catalog.text, pg_catalog.int8) RETURNS pg_catalog.int8
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked hash'; RETURN 0; END $$;
    CREATE FUNCTION evil.equal(pg_catalog.text, pg_catalog.text) RETURNS pg_catalog.bool
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked equal'; RETURN true; END $$;
    CREATE FUNCTION evil.joined(pg_catalog.bytea, pg_catalog.bytea) RETURNS pg_catalog.bytea
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked joined'; RETURN ''; END $$;
    CREATE FUNCTION evil.more(pg_catalog.int4, pg_catalog.int4) RETURNS pg_catalog.bool
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked more'; RETURN true; END $$;
    CREATE OPERATOR evil.=  (leftarg = pg_catalog.text,  rightarg = pg_catalog.text,  procedure = evil.equal);
    CREATE OPERATOR evil.<> (leftarg = pg_catalog.text,  rightarg = pg_catalog.text,  procedure = evil.equal);
    CREATE OPERATOR evil.|| (leftarg = pg_catalog.bytea, rightarg = pg_catalog.bytea, procedure = evil.joined);
    CREATE OPERATOR evil.>  (leftarg = pg_catalog.int4,  rightarg = pg_catalog.int4,  procedure = evil.more);
    CREATE OPERATOR evil.>= (leftarg = pg_catalog.int4,  rightarg = pg_catalog.int4,  procedure = evil.more);
    CREATE FUNCTION evil.spy(pg_catalog.text) RETURNS pg_catalog.bool
      LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hijacked a type: %', $1; RETURN true; END $$;
    CREATE DOMAIN evil.text  AS pg_catalog.text  CHECK (evil.spy(VALUE));
    CREATE DOMAIN evil.uuid  AS pg_catalog.uuid  CHECK (evil.spy(VALUE::pg_catalog.text));
    CREATE DOMAIN evil.bytea AS pg_catalog.bytea CHECK (evil.spy(pg_catalog.encode(VALUE, 'hex')));
    CREATE COLLATION evil."C" FROM pg_catalog."POSIX";
    CREATE FUNCTION evil.called_by_definer() RETURNS pg_catalog.text
      LANGUAGE sql AS $$ SELECT 'hijacked as ' || current_user $$;
    CREATE FUNCTION public.called_by_definer() RETURNS text LANGUAGE sql AS $$ SELECT 'meant' $$;
    CREATE FUNCTION evil.unqualified() RETURNS pg_catalog.text LANGUAGE plpgsql SECURITY DEFINER
      AS $$ BEGIN RETURN called_by_definer(); END $$;
    ALTER FUNCTION evil.unqualified() OWNER TO partywall_owner;
    GRANT USAGE ON SCHEMA evil TO PUBLIC"#;
