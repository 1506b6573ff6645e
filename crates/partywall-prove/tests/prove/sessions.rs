//! Who a session says it is: the wall that believes it falls, ours stands, and every fault planted
//! in either is found.

use std::collections::BTreeSet;

use partywall_prove::{
    Run, Verdict,
    postgres::{Adversary, Options},
};

use crate::{
    harness::{Database, bench, line, open},
    planted::SHOP,
};

/// The attacker runs SQL of its own.
pub(crate) fn injection() -> Options {
    Options { shared: vec!["shop.countries".to_owned()], ..Options::default() }
}

/// The attacks that came to `verdict`.
pub(crate) fn attacks(run: &Run, verdict: Verdict) -> BTreeSet<&str> {
    let of = run.trials.iter().filter(|trial| trial.verdict == verdict);
    of.map(|trial| trial.attack.as_str()).collect()
}

/// Whether `must_see` (`attack@place`) is among the leaks.
pub(crate) fn is_seen(run: &Run, must_see: &str) -> bool {
    run.trials.iter().any(|trial| line(trial).starts_with(&format!("{must_see}: leaked")))
}

const BELIEVES_THE_SESSION: [&str; 3] =
    ["postgres.context-hidden", "postgres.context-inline", "postgres.context-set"];

#[tokio::test]
async fn t06_a_wall_that_believes_a_setting_falls_to_who_may_set_it() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    for address in [shop.as_role("{db}_app"), shop.admin()] {
        let run = shop.prove(&address, &injection()).await.unwrap();
        let leaked = attacks(&run, Verdict::Leaked);
        assert!(leaked.is_superset(&BELIEVES_THE_SESSION.into()), "{:#?}", open(&run));
        assert_eq!(attacks(&run, Verdict::Undecided), BTreeSet::new(), "{:#?}", open(&run));
        let wrote = |trial: &&partywall_prove::Trial| trial.tried.contains("INSERT INTO");
        let written = run.trials.iter().filter(|trial| trial.attack == "postgres.context-set");
        let written: Vec<Verdict> = written.filter(wrote).map(|trial| trial.verdict).collect();
        assert_eq!(written, [Verdict::Leaked; 4], "two tables, from either side");
        // Every way in, not some.
        let held = run.trials.iter().filter(|trial| {
            BELIEVES_THE_SESSION.contains(&trial.attack.as_str())
                && trial.verdict != Verdict::Leaked
        });
        let held: Vec<String> =
            held.map(|trial| format!("{} {}", trial.tried, line(trial))).collect();
        // An index on the tenant column asks the setting once, before the first row.
        assert!(held.iter().all(|way| way.contains("WHERE CASE WHEN")), "{held:#?}");
    }
}

#[tokio::test]
async fn m24_values_alone_change_no_context() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let options = Options { adversary: Adversary::Parameters, ..injection() };
    let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
    assert_eq!(attacks(&run, Verdict::Leaked), BTreeSet::new());
    assert_eq!(attacks(&run, Verdict::Undecided), BTreeSet::new());
    let skipped = attacks(&run, Verdict::NotTested);
    for attack in BELIEVES_THE_SESSION {
        assert!(skipped.contains(attack), "{attack} is not said to be untested");
    }
    assert!(attacks(&run, Verdict::Blocked).contains("postgres.id-alike"));
}

/// Each fault, and an attack that must see it and does not without it.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "a member of the owner",
        "ALTER ROLE {db}_app NOINHERIT; GRANT {db}_owner TO {db}_app; ALTER TABLE shop.customers NO FORCE ROW LEVEL SECURITY",
        "postgres.role-switch@shop.customers",
    ),
    (
        "a member of a role that bypasses",
        "CREATE ROLE {db}_support BYPASSRLS; GRANT USAGE ON SCHEMA shop TO {db}_support; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {db}_support; ALTER ROLE {db}_app NOINHERIT; GRANT {db}_support TO {db}_app",
        "postgres.role-switch@shop.customers",
    ),
    ("may make roles", "ALTER ROLE {db}_app CREATEROLE", "postgres.role-powers@shop.customers"),
    (
        "may pass the owner on",
        "ALTER ROLE {db}_app NOINHERIT; GRANT {db}_owner TO {db}_app WITH ADMIN OPTION",
        "postgres.role-powers@shop.customers",
    ),
    (
        "owned by the application, forced",
        "ALTER TABLE shop.customers OWNER TO {db}_app",
        "postgres.alter-wall@shop.customers",
    ),
    (
        "bypasses row security",
        "ALTER ROLE {db}_app BYPASSRLS",
        "postgres.row-security-off@shop.customers",
    ),
    (
        "a wall's function that names nothing by its schema",
        "CREATE FUNCTION shop.tenant() RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN nullif(current_setting(''shop.tenant'', true), ''''); END';
         ALTER POLICY wall ON shop.customers USING (tenant_id = shop.tenant()); GRANT CREATE ON SCHEMA shop TO {db}_app",
        "postgres.shadow@shop.customers",
    ),
    (
        "open when unset",
        "ALTER POLICY wall ON shop.customers USING (coalesce(nullif(current_setting('shop.tenant', true), ''), tenant_id) = tenant_id)",
        "postgres.context-reset@shop.customers",
    ),
    (
        "compared by LIKE",
        "ALTER POLICY wall ON shop.customers USING (tenant_id LIKE nullif(current_setting('shop.tenant', true), ''))",
        "postgres.id-alike@shop.customers",
    ),
    (
        "compared without case",
        "ALTER POLICY wall ON shop.customers USING (lower(tenant_id) = lower(current_setting('shop.tenant', true)))",
        "postgres.id-alike@shop.customers",
    ),
    (
        "compared without spaces",
        "ALTER POLICY wall ON shop.customers USING (tenant_id = trim(current_setting('shop.tenant', true)))",
        "postgres.id-alike@shop.customers",
    ),
    (
        "may read the server's files",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {db}_app",
        "postgres.server-files@shop.customers",
    ),
    (
        "may run programs",
        "GRANT pg_execute_server_program TO {db}_app",
        "postgres.server-programs@shop.customers",
    ),
    (
        "may read hashes",
        "GRANT SELECT ON pg_catalog.pg_authid TO {db}_app",
        "postgres.server-secrets@shop.customers",
    ),
];

#[tokio::test]
async fn m24_every_fault_planted_around_a_session_is_found() {
    let Some(bench) = bench() else { return };
    let clean = bench.database(SHOP).await;
    let clean = clean.prove(&clean.as_role("{db}_app"), &injection()).await.unwrap();
    for (fault, sql, must_see) in FAULTS {
        assert!(!is_seen(&clean, must_see), "{must_see} is seen without any fault");
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = shop.prove(&shop.as_role("{db}_app"), &injection()).await.unwrap();
        assert!(is_seen(&run, must_see), "{fault}: {must_see}\n{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn m18_our_own_wall_stands_against_sql_of_the_attackers_own() {
    let Some(bench) = bench() else { return };
    let walled = bench.walled().await;
    let key = Some(crate::harness::TICKET_KEY.to_vec());
    let runtime = Options { ticket_key: key, ..Options::default() };
    for (address, options) in
        [(walled.admin(), Options::default()), (walled.as_role("{db}_slot_1"), runtime)]
    {
        let run = walled.prove(&address, &options).await.unwrap();
        assert_eq!(attacks(&run, Verdict::Leaked), BTreeSet::new(), "{:#?}", open(&run));
        assert_eq!(attacks(&run, Verdict::Undecided), BTreeSet::new(), "{:#?}", open(&run));
        let blocked = attacks(&run, Verdict::Blocked);
        for attack in BELIEVES_THE_SESSION.into_iter().chain([
            "postgres.context-reset",
            "postgres.ticket-forged",
            "postgres.ticket-replayed",
            "postgres.ticket-key",
            "postgres.id-alike",
            "postgres.role-switch",
            "postgres.role-powers",
            "postgres.alter-wall",
            "postgres.shadow",
            "postgres.server-files",
            "postgres.read-untouched",
            "postgres.context-commit",
        ]) {
            assert!(blocked.contains(attack), "{attack} was not blocked\n{:#?}", open(&run));
        }
    }
}

/// What would be wrong with the function that checks a ticket, as changes to its text.
const UNCHECKED: &[(&str, &str, &str, &str)] = &[
    (
        "the mac is not compared",
        "THEN mac.right_one OPERATOR(pg_catalog.=) mac.given ELSE false END",
        "THEN true ELSE true END",
        "postgres.ticket-forged",
    ),
    (
        "the end of the window is not looked at",
        "OPERATOR(pg_catalog.<=) pg_catalog.substr(ticket, 41, 8)",
        "IS NOT NULL",
        "postgres.ticket-replayed",
    ),
    (
        "the beginning of the window is not looked at",
        "OPERATOR(pg_catalog.>=) pg_catalog.substr(ticket, 33, 8)",
        "IS NOT NULL",
        "postgres.ticket-replayed",
    ),
    (
        "a neighbouring backend's will do",
        "pg_catalog.int4send(pg_catalog.pg_backend_pid())))",
        "pg_catalog.int4send(pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.+) near.by)))",
        "postgres.ticket-replayed",
    ),
];

#[tokio::test]
async fn m18_a_ticket_that_is_not_checked_is_found() {
    let Some(bench) = bench() else { return };
    for (fault, from, to, must_see) in UNCHECKED {
        let walled = bench.walled().await;
        mutate(&walled, from, to).await;
        let run = walled.prove(&walled.admin(), &Options::default()).await.unwrap();
        let seen = is_seen(&run, &format!("{must_see}@shop.notes"));
        assert!(seen, "{fault}: {must_see}\n{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn m18_a_key_that_can_be_read_is_found() {
    let Some(bench) = bench() else { return };
    for fault in [
        "GRANT SELECT ON partywall.ticket_key TO {db}_app",
        "ALTER FUNCTION partywall.tenant_id() OWNER TO {db}_slot_1",
        "GRANT CREATE ON SCHEMA partywall TO {db}_app",
    ] {
        let walled = bench.walled().await;
        walled.run(fault).await;
        let options =
            Options { role: Some(format!("{}_slot_1", walled.name)), ..Options::default() };
        let run = walled.prove(&walled.admin(), &options).await.unwrap();
        let seen = is_seen(&run, "postgres.ticket-key@shop.notes");
        assert!(seen, "{fault}\n{}", open(&run).join("\n"));
    }
}

/// Changes the text of the function that checks tickets.
async fn mutate(walled: &Database, from: &str, to: &str) {
    let keys =
        if to.contains("near.by") { ", pg_catalog.generate_series(0, 1) AS near(by)" } else { "" };
    walled
        .run(&format!(
            "DO $mutate$
             DECLARE
               body text := pg_get_functiondef('partywall.tenant_id()'::regprocedure);
               changed text := replace(replace(body, $x${from}$x$, $x${to}$x$),
                                       'FROM partywall.ticket_key k', 'FROM partywall.ticket_key k{keys}');
             BEGIN
               ASSERT changed <> body, 'nothing was changed';
               EXECUTE changed;
             END $mutate$"
        ))
        .await;
}
