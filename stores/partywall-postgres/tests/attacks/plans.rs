//! What PostgreSQL itself once got wrong about row level security (B-50), tried behind the wall:
//! on a patched server, and on whichever is used, a regression shows here.

use crate::harness::{
    A, B, DENIED, FOREIGN, NOTES, OWN, Session, TENANTS, UNBOUND, bench, pair_as_a,
};

/// CVE-2016-2193, CVE-2024-10976: a plan made for one is reused for another, also where the table
/// is below a sub-query, a CTE, a view or a function.
#[tokio::test]
async fn b50_plan_reuse_across_tenants() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up(
        "CREATE VIEW app.invoked WITH (security_invoker) AS SELECT * FROM app.notes;
         CREATE FUNCTION app.inlined() RETURNS SETOF app.notes LANGUAGE sql STABLE
           AS 'SELECT * FROM app.notes';
         CREATE FUNCTION app.cached() RETURNS text LANGUAGE plpgsql STABLE
           AS 'BEGIN RETURN (SELECT min(tenant_id) FROM app.notes); END';
         GRANT SELECT ON app.invoked TO partywall_app;
         GRANT EXECUTE ON FUNCTION app.inlined(), app.cached() TO partywall_app",
    )
    .await;

    let shapes = [
        "SELECT min(tenant_id), count(*) FROM app.notes",
        "SELECT min(s.tenant_id), count(*) FROM (SELECT * FROM app.notes OFFSET 0) AS s",
        "WITH s AS MATERIALIZED (SELECT * FROM app.notes) SELECT min(tenant_id), count(*) FROM s",
        "SELECT min(tenant_id), count(*) FROM app.invoked",
        "SELECT min(tenant_id), count(*) FROM app.inlined()",
        "SELECT app.cached(), 1000::bigint",
        "SELECT t, 1000::bigint FROM (SELECT (SELECT min(tenant_id) FROM app.notes) AS t) AS s",
        "SELECT min(tenant_id), count(*) FROM app.notes WHERE id IN (SELECT note_id FROM app.comments)",
        "SELECT min(tenant_id), count(*) FROM app.events",
    ];
    for mode in ["auto", "force_generic_plan", "force_custom_plan"] {
        let session = bench.walled().await;
        session.run(&format!("SET plan_cache_mode = {mode}")).await;
        session.begin(A).await;
        let mut plans = Vec::new();
        for sql in shapes {
            plans.push((sql, session.client.prepare(sql).await.unwrap()));
        }
        session.end().await;
        // Seven rounds each, past the five after which a generic plan may be taken.
        for round in 0..14 {
            let tenant = [A, B][usize::from(round % 2 == 1)];
            session.begin(tenant).await;
            for (sql, plan) in &plans {
                let row = session.client.query_one(plan, &[]).await.unwrap();
                assert_eq!(row.get::<_, String>(0), tenant, "{mode}: {sql}");
                assert_eq!(row.get::<_, i64>(1), NOTES, "{mode}: {sql}");
            }
            session.end().await;
            for (sql, plan) in &plans {
                let refused = session.client.query_one(plan, &[]).await.unwrap_err();
                assert_eq!(refused.code().unwrap().code(), UNBOUND, "{mode}: {sql}");
            }
        }
    }
    assert_eq!(walled.count(TENANTS).await, 1);
}

/// CVE-2023-2455: a function inlined under one role is run under another.
#[tokio::test]
async fn b50_plan_reuse_across_roles() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    // The control: a policy of the roles. Owner and application see different rows by one text.
    let root = bench.superuser("naive").await;
    root.set_up("CREATE ROLE two_roles LOGIN IN ROLE naive_app, naive_owner").await;
    let two = bench.connect(crate::harness::Wall::Naive, "two_roles", "naive", "").await;
    let by_role = two.client.prepare(TENANTS).await.unwrap();
    let seen = async || two.client.query_one(&by_role, &[]).await.unwrap().get::<_, i64>(0);
    two.begin(A).await;
    two.run("SET ROLE naive_app").await;
    assert_eq!(seen().await, 1);
    two.run("SET ROLE naive_owner").await;
    assert_eq!(seen().await, 4, "planned anew, for the owner");
    two.run("SET ROLE naive_app").await;
    assert_eq!(seen().await, 1, "and back");
    drop(naive);

    // Ours does not depend on the role at all.
    let root = bench.superuser("walled").await;
    root.set_up("CREATE ROLE two_walled LOGIN IN ROLE partywall_app, partywall_data").await;
    let two = bench.connect(crate::harness::Wall::Ours, "two_walled", "walled", "").await;
    let by_role = two.client.prepare(TENANTS).await.unwrap();
    two.begin(A).await;
    for role in ["partywall_app", "partywall_data", "two_walled", "partywall_app"] {
        two.run(&format!("SET ROLE {role}")).await;
        let row = two.client.query_one(&by_role, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1, "{role}");
    }
    assert_eq!(walled.count(OWN).await, NOTES);
}

/// CVE-2023-39418: MERGE did not ask the policies of UPDATE and SELECT.
#[tokio::test]
async fn b50_merge() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    if walled.count("SHOW server_version_num").await < 150_000 {
        eprintln!("SKIPPED: MERGE came with PostgreSQL 15");
        return;
    }
    // Before PostgreSQL 17 MERGE has no RETURNING: count what it changed.
    let changed = "SELECT count(*) FROM app.notes WHERE body = 'merged'";
    let merge = |then: &str| {
        format!(
            "MERGE INTO app.notes AS n USING (SELECT 'secret body ' || g AS body FROM generate_series(1, 8) AS g) AS s
             ON n.body = s.body WHEN MATCHED THEN {then}"
        )
    };
    let update = merge("UPDATE SET body = 'merged'");

    // The usual wall gives way once the setting does.
    naive.run("SELECT set_config('app.tenant_id', 'acme-2', true)").await;
    naive.run(&update).await;
    assert_eq!(naive.count(changed).await, 2, "bodies 2 and 6, which are B's");
    naive.run("ROLLBACK").await;

    walled.run("SAVEPOINT clean").await;
    walled.run(&update).await;
    assert_eq!(walled.count(changed).await, 2, "the control: bodies 1 and 5, its own");
    let root = bench().unwrap().superuser("walled").await;
    walled.run("ROLLBACK TO clean").await;
    assert_eq!(walled.refusal_inside(&merge("UPDATE SET tenant_id = 'acme-2'")).await, DENIED);
    let give_away = "MERGE INTO app.ledger AS l USING (VALUES ('merged')) AS s (entry)
                     ON l.entry = s.entry
                     WHEN NOT MATCHED THEN INSERT (tenant_id, entry) VALUES ('acme-2', s.entry)";
    assert_eq!(walled.refusal_inside(give_away).await, DENIED);
    walled.run(&give_away.replace("'acme-2'", "'acme'")).await; // the control
    let foreign =
        "MERGE INTO app.notes AS n USING (VALUES ('acme-2')) AS s (t) ON n.tenant_id = s.t
                   WHEN MATCHED THEN DELETE";
    walled.run(foreign).await;
    walled.end().await;
    let left = "SELECT count(*) FROM app.notes WHERE tenant_id = 'acme-2'";
    assert!(root.count(left).await >= NOTES, "nothing of B was deleted");
    walled.begin(A).await;
    walled.run("DELETE FROM app.ledger WHERE entry = 'merged'; COMMIT").await;
}

/// CVE-2017-15099: ON CONFLICT DO UPDATE reads and writes a row that it did not find by a SELECT.
#[tokio::test]
async fn b50_on_conflict_do_update() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let upsert = |target: &str, tenant: &str, email: &str| {
        format!(
            "INSERT INTO app.notes (tenant_id, email, body) VALUES ('{tenant}', '{email}', 'mine')
             ON CONFLICT ({target}) DO UPDATE SET body = 'taken', tenant_id = 'acme'
             RETURNING body"
        )
    };
    let (of_a, of_b) = ("user1@example", "user2@example");

    // The usual schema: the conflict is with B's row. It is not taken, but it is told of.
    assert_eq!(naive.refusal_inside(&upsert("email", A, of_b)).await, DENIED);
    assert_eq!(naive.text(&upsert("email", A, "nobody@example")).await, "mine");

    let key = "tenant_id, email";
    assert_eq!(walled.text(&upsert(key, A, of_b)).await, "mine", "no conflict, nothing told");
    assert_eq!(walled.text(&upsert(key, A, of_a)).await, "taken", "the control: its own row");
    // Named as B's, the row is refused before the conflict is looked at.
    assert_eq!(walled.refusal_inside(&upsert(key, B, of_b)).await, DENIED);
    assert_eq!(walled.refusal_inside(&upsert(key, B, "nobody@example")).await, DENIED);
    let nothing = "INSERT INTO app.notes (tenant_id, email) VALUES ('acme-2', 'user2@example')
                   ON CONFLICT DO NOTHING";
    assert_eq!(walled.refusal_inside(nothing).await, DENIED);
    naive.run("ROLLBACK").await;
    walled.run("ROLLBACK").await;
}

/// CVE-2017-7484, CVE-2019-10130, CVE-2025-8713: the planner runs a leaky operator on the samples
/// in pg_statistic, which are everybody's: of a table, a partition, below a view.
#[tokio::test]
async fn b50_leaky_operator_on_the_statistics() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up(
        r#"CREATE SCHEMA leak; GRANT USAGE ON SCHEMA leak TO PUBLIC;
           CREATE FUNCTION leak.spy(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE COST 0.0000001
             AS $$ BEGIN RAISE NOTICE 'sampled %', $1; RETURN $1 = $2; END $$;
           CREATE OPERATOR leak.=== (leftarg = int, rightarg = int, procedure = leak.spy, restrict = eqsel);
           CREATE OPERATOR leak.<<< (leftarg = int, rightarg = int, procedure = leak.spy, restrict = scalarltsel);
           CREATE TABLE app.open AS SELECT * FROM app.notes; GRANT SELECT ON app.open TO partywall_app;
           CREATE TABLE app.parted (LIKE app.notes) PARTITION BY RANGE (id);
           CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (100000);
           INSERT INTO app.parted SELECT * FROM app.notes;
           ALTER TABLE app.parted OWNER TO partywall_data; ALTER TABLE app.parted_1 OWNER TO partywall_data;
           SELECT partywall.protect('app.parted'); GRANT SELECT ON app.parted TO partywall_app;
           CREATE VIEW app.parted_view AS SELECT * FROM app.parted;
           ALTER VIEW app.parted_view OWNER TO partywall_data;
           GRANT SELECT ON app.parted_view TO partywall_app;
           ANALYZE app.open; ANALYZE app.parted; ANALYZE app.parted_1"#,
    )
    .await;
    let explain = async |session: &Session, relation: &str| {
        for operator in ["===", "<<<"] {
            let sql = format!(
                "EXPLAIN SELECT * FROM {relation} WHERE salary OPERATOR(leak.{operator}) 5"
            );
            session.run(&sql).await;
        }
    };

    // The control: with no wall, planning alone prints the samples.
    let spy = bench.walled().await;
    spy.begin(A).await;
    explain(&spy, "app.open").await;
    assert!(spy.notices().contains("sampled 77777"), "the salary no note of A has");

    for relation in ["app.notes", "app.all_notes", "app.parted", "app.parted_view"] {
        let spy = bench.walled().await;
        spy.begin(A).await;
        explain(&spy, relation).await;
        assert_eq!(spy.notices(), "", "{relation}");
        // And when it is run, the operator sees A's rows only.
        spy.run(&format!("SELECT count(*) FROM {relation} WHERE salary OPERATOR(leak.===) 5"))
            .await;
        let seen = spy.notices();
        assert!(seen.contains("sampled 1001") && !seen.contains("77777"), "{relation}");
    }
    assert_eq!(walled.count(FOREIGN).await, 0);
}

/// Parallel workers prove the ticket as their leader does, or not at all.
#[tokio::test]
async fn t08_parallel_plan() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    walled
        .run(
            "SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0;
             SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
             SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
             SET LOCAL enable_indexonlyscan = off; SET LOCAL parallel_leader_participation = off",
        )
        .await;
    let plan = walled.rows("EXPLAIN SELECT count(salary) FROM app.notes").await.unwrap().concat();
    assert!(plan.iter().any(|line| line.contains("Gather")), "the control: {plan:?}");
    assert_eq!(walled.count("SELECT count(salary) FROM app.notes").await, NOTES);
    assert_eq!(walled.count(FOREIGN).await, 0);
    walled.run("SET LOCAL partywall.ticket = ''").await;
    assert_eq!(walled.refusal("SELECT count(salary) FROM app.notes").await, UNBOUND);
}
