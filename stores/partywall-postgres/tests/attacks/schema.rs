//! S: ways round the policy that the schema offers.

use futures_util::TryStreamExt as _;

use crate::harness::{
    A, B, DENIED, FOREIGN, NOTES, OWN, Session, TENANTS, UNBOUND, Wall, bench, pair_as_a,
};

#[tokio::test]
async fn t07_s1_views_definers_and_copy() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    for (path, sql, to_all, to_one) in [
        (
            "a view without security_invoker",
            "SELECT count(DISTINCT tenant_id) FROM app.all_notes",
            4,
            1,
        ),
        ("a SECURITY DEFINER function", "SELECT app.count_notes()", 4 * NOTES, NOTES),
    ] {
        assert_eq!(naive.count(sql).await, to_all, "{path}");
        assert_eq!(walled.count(sql).await, to_one, "{path}");
    }
    // COPY TO goes by the policies on both; the control is that it gives one's own.
    for session in [&naive, &walled] {
        let copied = copy_out(session, "COPY app.notes (tenant_id) TO STDOUT").await;
        assert_eq!(copied.lines().count(), usize::try_from(NOTES).unwrap());
        assert!(copied.lines().all(|tenant| tenant == A));
    }
    // And an unbound session gets through none of them.
    walled.end().await;
    for sql in [
        "SELECT count(*) FROM app.all_notes",
        "SELECT app.count_notes()",
        "SELECT FROM app.notes WHERE false OR tenant_id > ''",
        TENANTS,
    ] {
        assert_eq!(walled.refusal(sql).await, UNBOUND, "{sql}");
    }
    let out = walled.client.copy_out("COPY app.notes TO STDOUT").await.unwrap();
    let refused = out.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), UNBOUND);
}

async fn copy_out(session: &Session, sql: &str) -> String {
    let out = session.client.copy_out(sql).await.unwrap();
    let chunks: Vec<_> = out.try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn t07_s1_partitions_and_materialized_views() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    for (path, sql) in [
        ("a partition", "SELECT count(DISTINCT tenant_id) FROM app.events_2026"),
        ("a materialized view", "SELECT count(DISTINCT tenant_id) FROM app.totals"),
    ] {
        assert_eq!(naive.count(sql).await, 4, "{path}");
        assert_eq!(walled.refusal_inside(sql).await, DENIED, "{path}");
    }
    let parent = "SELECT count(DISTINCT tenant_id) FROM app.events";
    assert_eq!(walled.count(parent).await, 1, "the control: by the parent");

    // A partition is behind the wall itself, so a grant by mistake opens nothing.
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up("GRANT SELECT ON app.events_2026 TO partywall_app").await;
    let seen = walled.count("SELECT count(DISTINCT tenant_id) FROM app.events_2026").await;
    root.set_up("REVOKE SELECT ON app.events_2026 FROM partywall_app").await;
    assert_eq!(seen, 1);
}

/// `GRANT ALL ON ALL TABLES`, run before the wall went up: `protect` takes back what it must.
#[tokio::test]
async fn t07_s1_grants_given_before_protect() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let root = bench().unwrap().superuser("walled").await;
    root.set_up(
        "SET ROLE partywall_data;
         CREATE TABLE app.granted (tenant_id text, at date) PARTITION BY RANGE (at);
         CREATE TABLE app.granted_2026 PARTITION OF app.granted
           FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         INSERT INTO app.granted VALUES ('acme', '2026-05-05'), ('acme-2', '2026-05-05');
         GRANT ALL ON app.granted, app.granted_2026 TO partywall_app, PUBLIC",
    )
    .await;
    let [parent, part] = ["app.granted", "app.granted_2026"]
        .map(|table| format!("SELECT count(DISTINCT tenant_id) FROM {table}"));
    let truncate = "TRUNCATE app.granted; ROLLBACK TO s; RELEASE s";
    for open in [&parent, &part] {
        assert_eq!(walled.count(open).await, 2, "the control: open before");
    }
    walled.run(&format!("SAVEPOINT s; {truncate}")).await;
    walled.end().await;
    root.set_up("SELECT partywall.protect('app.granted')").await;
    walled.begin(A).await;
    assert_eq!(walled.count(&parent).await, 1);
    assert_eq!(walled.refusal_inside(&part).await, DENIED);
    assert_eq!(walled.refusal_inside("TRUNCATE app.granted").await, DENIED);
    assert_eq!(walled.refusal_inside("TRUNCATE app.granted_2026").await, DENIED);
}

/// A partition made after `protect` has no policy of its own, and no grant either.
#[tokio::test]
async fn b50_s1_a_partition_made_later() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up(
        "SET ROLE partywall_data;
         CREATE TABLE app.later (LIKE app.events) PARTITION BY RANGE (at);
         CREATE TABLE app.later_2026 PARTITION OF app.later
           FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         SELECT partywall.protect('app.later');
         GRANT SELECT, INSERT, UPDATE ON app.later TO partywall_app;
         CREATE TABLE app.later_2027 PARTITION OF app.later
           FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
         RESET ROLE;
         INSERT INTO app.later VALUES ('acme', '2027-05-05', 'a'), ('acme-2', '2027-05-05', 'b')",
    )
    .await;
    let direct = "SELECT count(*) FROM app.later_2027";
    assert_eq!(root.count(direct).await, 2, "the control: two rows to be seen");
    assert_eq!(walled.refusal_inside(direct).await, DENIED);
    assert_eq!(walled.count("SELECT count(*) FROM app.later").await, 1);
    // Rows cannot be moved there out of sight, and messages about them tell of one's own only.
    walled.run("SAVEPOINT attempt").await;
    let nowhere = walled.rows("UPDATE app.later SET at = '2030-01-01'").await.unwrap_err();
    walled.run("ROLLBACK TO attempt").await;
    assert_eq!(nowhere.code, "23514");
    assert!(!nowhere.message.contains(B), "{}", nowhere.message);
    walled.run("UPDATE app.later SET at = '2026-06-06'").await;
    assert_eq!(
        walled.refusal("UPDATE app.later SET tenant_id = 'acme-2', at = '2027-06-06'").await,
        DENIED
    );
}

#[tokio::test]
async fn t07_s1_writes_to_another_tenant() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let writes = [
        "INSERT INTO app.ledger (tenant_id, entry) VALUES ('acme-2', 'by A')",
        "UPDATE app.notes SET tenant_id = 'acme-2' WHERE body = 'secret body 1'",
        "INSERT INTO app.events VALUES ('acme-2', '2026-06-06', 'by A')",
        "WITH w AS (INSERT INTO app.ledger (tenant_id, entry) VALUES ('acme-2', 'by A') RETURNING 1) SELECT * FROM w",
    ];
    // The policies check what is written on both walls; the usual one gives way to F1.
    for write in writes {
        assert_eq!(naive.refusal_inside(write).await, DENIED, "{write}");
        naive.run("SAVEPOINT attempt").await;
        let forge = "SELECT set_config('app.tenant_id', 'acme-2', true)";
        if write.starts_with("INSERT") {
            naive.run(&format!("{forge}; {write}")).await;
        }
        naive.run("ROLLBACK TO attempt").await;
        assert_eq!(walled.refusal_inside(write).await, DENIED, "{write}");
    }
    for nothing in [
        "UPDATE app.notes SET body = 'by A' WHERE tenant_id = 'acme-2' RETURNING 1",
        "DELETE FROM app.notes WHERE tenant_id = 'acme-2' RETURNING 1",
        "SELECT 1 FROM app.notes WHERE tenant_id = 'acme-2' FOR UPDATE",
    ] {
        assert!(walled.rows(nothing).await.unwrap().is_empty(), "{nothing}");
    }
    // The controls: its own row, with the tenant given and by default.
    let own = "INSERT INTO app.ledger (tenant_id, entry) VALUES ('acme', 'x'), (DEFAULT, 'y') RETURNING tenant_id";
    assert_eq!(walled.rows(own).await.unwrap().concat(), [A, A]);
    walled.run("ROLLBACK").await;
}

/// Rights that row level security does not cover are not granted.
#[tokio::test]
async fn t07_s1_truncate_references_trigger() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    naive.run("SAVEPOINT attempt; TRUNCATE app.ledger; ROLLBACK TO attempt").await;
    naive.run("CREATE TEMP TABLE probe (n int)").await;
    for attempt in [
        "TRUNCATE app.ledger",
        "TRUNCATE app.notes CASCADE",
        "CREATE TABLE app.probe (tenant_id text, id bigint REFERENCES app.notes)",
        "CREATE TRIGGER t AFTER INSERT ON app.ledger EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE app.ledger DISABLE TRIGGER ALL",
        "ALTER TABLE app.ledger DISABLE ROW LEVEL SECURITY",
        "REFRESH MATERIALIZED VIEW app.totals",
        "CLUSTER app.notes USING notes_pkey",
        "REINDEX TABLE app.notes",
        "COMMENT ON TABLE app.notes IS 'x'",
    ] {
        assert_eq!(walled.refusal_inside(attempt).await, DENIED, "{attempt}");
    }
    // VACUUM and ANALYZE only warn, and skip the table.
    walled.end().await;
    walled.run("ANALYZE app.notes").await;
    assert!(walled.notices().contains("skipping \"notes\""), "{}", walled.notices());
    walled.begin(A).await;
    walled.run("DELETE FROM app.ledger").await; // the control: what is granted works
    walled.run("ROLLBACK").await;
}

/// Whoever may UPDATE or DELETE may lock the whole table: a denial of service inside one
/// database, bounded by the limits on transactions and on waiting for locks.
#[tokio::test]
async fn m18_s1_lock_table_residual() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    for (session, other, database) in
        [(&naive, bench.naive().await, "naive"), (&walled, bench.walled().await, "walled")]
    {
        let (owner, app) = if database == "naive" {
            ("naive_owner", "naive_app")
        } else {
            ("partywall_data", "partywall_app")
        };
        // A table of its own, so as not to stop the other tests.
        let root = bench.superuser(database).await;
        root.set_up(&format!(
            "SET ROLE {owner}; CREATE TABLE app.lockable (LIKE app.ledger);
             GRANT SELECT, INSERT, UPDATE, DELETE ON app.lockable TO {app}; RESET ROLE"
        ))
        .await;
        if database == "walled" {
            root.set_up("SELECT partywall.protect('app.lockable')").await;
        }
        session.run("LOCK TABLE app.lockable IN ACCESS EXCLUSIVE MODE").await;
        other.begin(B).await;
        other.run("SET LOCAL lock_timeout = '50ms'").await;
        assert_eq!(other.refusal("SELECT * FROM app.lockable").await, "55P03");
        session.end().await;
        other.end().await;
        other.begin(B).await;
        other.run("SELECT * FROM app.lockable").await; // the control

        // No right is needed to queue for that lock, and to have others queue behind: CREATE RULE
        // looks at who asks only when it has it.
        session.begin(A).await;
        session.run("SET LOCAL lock_timeout = '50ms'").await;
        let rule = "CREATE RULE r AS ON INSERT TO app.lockable DO NOTHING";
        assert_eq!(session.refusal(rule).await, "55P03");
        session.end().await;
        other.end().await;
        assert_eq!(session.refusal(rule).await, DENIED, "and then refuses");
    }
}

#[tokio::test]
async fn t05_s2_the_owner_and_a_later_permissive_policy() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let careless = |table: &str, owner: &str| {
        format!(
            "SET ROLE {owner};
             CREATE POLICY careless ON {table} FOR SELECT USING (email IS NOT NULL); RESET ROLE"
        )
    };

    // Tables of their own, so as not to open those of the other tests.
    let root = bench.superuser("naive").await;
    root.set_up(
        "CREATE TABLE app.s2 AS SELECT * FROM app.notes; ALTER TABLE app.s2 OWNER TO naive_owner;
         ALTER TABLE app.s2 ENABLE ROW LEVEL SECURITY; GRANT SELECT ON app.s2 TO naive_app;
         CREATE POLICY tenant ON app.s2 USING (tenant_id = current_setting('app.tenant_id', true))",
    )
    .await;
    let tenants = "SELECT count(DISTINCT tenant_id) FROM app.s2";
    assert_eq!(naive.count(tenants).await, 1);
    root.set_up("SET ROLE naive_owner").await;
    assert_eq!(root.count(tenants).await, 4, "the owner, without FORCE");
    naive.end().await; // its lock is in the way of a policy
    root.set_up(&careless("app.s2", "naive_owner")).await;
    naive.begin(A).await;
    assert_eq!(naive.count(tenants).await, 4, "permissive policies add up");

    let root = bench.superuser("walled").await;
    root.set_up(
        "CREATE TABLE app.s2 AS SELECT * FROM app.notes;
         ALTER TABLE app.s2 OWNER TO partywall_data; SET ROLE partywall_data;
         SELECT partywall.protect('app.s2'); GRANT SELECT ON app.s2 TO partywall_app",
    )
    .await;
    assert_eq!(root.refusal(tenants).await, UNBOUND, "the owner, without a ticket");
    assert_eq!(walled.count(tenants).await, 1);
    walled.end().await;
    let careless = careless("app.s2", "partywall_data");
    root.set_up(&careless).await;
    root.set_up(&careless.replace("careless", "to_app").replace("USING", "TO partywall_app USING"))
        .await;
    walled.begin(A).await;
    assert_eq!(walled.count(tenants).await, 1, "RESTRICTIVE: nothing widens it");
    let expected = "SELECT count(*) FROM app.s2 WHERE tenant_id = 'acme'";
    assert_eq!(walled.count(expected).await, NOTES);
}

/// Superusers and BYPASSRLS are above any policy, FORCE or not: why start-up refuses them (T-05).
#[tokio::test]
async fn b21_s2_superuser_and_bypassrls_are_above_every_wall_residual() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up("CREATE ROLE above LOGIN BYPASSRLS IN ROLE partywall_app").await;
    let above = bench.connect(Wall::Ours, "above", "walled", "").await;
    for session in [&root, &above] {
        assert_eq!(session.count(TENANTS).await, 4);
    }
    // And no slot is one, or can become one.
    let bad = "SELECT count(*) FROM pg_roles r WHERE r.rolname LIKE 'partywall\\_%'
               AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)";
    assert_eq!(root.count(bad).await, 0);
    let members = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
                   WHERE r.rolname LIKE 'partywall\\_slot%' AND m.roleid <> 'partywall_app'::regrole";
    assert_eq!(root.count(members).await, 0, "no slot is a member of anything but the group");
}

/// The catalogue scan of B-20: which tables with a tenant column are behind the wall.
#[tokio::test]
async fn b20_every_table_with_a_tenant_column_is_walled() {
    let Some((_naive, _walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let open = "SELECT count(*) FROM pg_class c
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
                WHERE c.relnamespace = 'app'::regnamespace
                  AND c.oid IN ('app.notes'::regclass, 'app.comments'::regclass, 'app.ledger'::regclass,
                                'app.events'::regclass, 'app.events_2026'::regclass)
                  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)";
    assert_eq!(bench.superuser("naive").await.count(open).await, 5, "the control: none has FORCE");
    assert_eq!(bench.superuser("walled").await.count(open).await, 0);
}

#[tokio::test]
async fn t08_s3_cached_plan_of_an_immutable_context() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("naive").await;
    root.set_up(
        "CREATE FUNCTION app.tenant() RETURNS text LANGUAGE sql IMMUTABLE
           AS $$ SELECT current_setting('app.tenant_id', true) $$;
         CREATE TABLE app.s3 AS SELECT * FROM app.notes; ALTER TABLE app.s3 OWNER TO naive_owner;
         ALTER TABLE app.s3 ENABLE ROW LEVEL SECURITY; GRANT SELECT ON app.s3 TO naive_app;
         CREATE POLICY tenant ON app.s3 USING (tenant_id = app.tenant())",
    )
    .await;

    for (session, table, b_gets) in [(&naive, "app.s3", A), (&walled, "app.notes", B)] {
        session.run("SET plan_cache_mode = force_generic_plan").await;
        let sql = format!("SELECT min(tenant_id), max(tenant_id) FROM {table} WHERE id > $1");
        let cached = session.client.prepare(&sql).await.unwrap();
        let ask = async || {
            let row = session.client.query_one(&cached, &[&0_i64]).await.unwrap();
            [row.get::<_, String>(0), row.get::<_, String>(1)]
        };
        assert_eq!(ask().await, [A, A], "planned for A");
        session.end().await;
        session.begin(B).await;
        assert_eq!(ask().await, [b_gets, b_gets], "asked by B");
    }
    // Whoever is nobody gets nothing from the cached plan, either.
    walled.end().await;
    let again = walled.client.prepare("SELECT count(*) FROM app.notes").await.unwrap();
    let refused = walled.client.query_one(&again, &[]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), UNBOUND);
}

/// PostgreSQL has no COPY FROM under row level security. The answer is an INSERT of arrays.
#[tokio::test]
async fn t07_s4_copy_from_and_unnest() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    for session in [&naive, &walled] {
        let copy = "COPY app.ledger (entry) FROM STDIN";
        assert_eq!(session.refusal_inside(copy).await, "0A000");
    }
    let entries: Vec<String> = (0..2000).map(|n| format!("s4 {n}")).collect();
    let unnest = "INSERT INTO app.ledger (tenant_id, entry)
                  SELECT (SELECT partywall.tenant_id()), e FROM unnest($1::text[]) AS e";
    assert_eq!(walled.client.execute(unnest, &[&entries]).await.unwrap(), 2000);
    let inserted =
        "SELECT count(*), min(tenant_id), max(tenant_id) FROM app.ledger WHERE entry LIKE 's4 %'";
    assert_eq!(walled.rows(inserted).await.unwrap(), [["2000", A, A]]);
    // One foreign row among many takes all of them back.
    let smuggled = "INSERT INTO app.ledger (tenant_id, entry)
                    SELECT CASE WHEN e = 's4 1999' THEN 'acme-2' ELSE 'acme' END, e FROM unnest($1::text[]) AS e";
    walled.run("SAVEPOINT attempt").await;
    let refused = walled.client.execute(smuggled, &[&entries]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), DENIED);
    walled.run("ROLLBACK").await;
    walled.begin(A).await;
    assert_eq!(walled.count(OWN).await, NOTES);
    assert_eq!(walled.count(FOREIGN).await, 0);
}
