//! What hangs on tables: writes by other statements, keys, cascades, places, copies, parts, views,
//! functions, sequences, statistics. Each attack is quiet on a clean wall and finds its fault.

use partywall_prove::{
    Run, Verdict,
    postgres::{Adversary, Options},
};

use crate::{
    harness::{Database, bench, line},
    planted::SHOP,
};

/// The attacks this module is about.
const OURS: &[&str] = &[
    "postgres.insert-unset",
    "postgres.insert-default",
    "postgres.insert-with",
    "postgres.upsert",
    "postgres.insert-select",
    "postgres.delete-join",
    "postgres.merge",
    "postgres.truncate",
    "postgres.unique",
    "postgres.reference",
    "postgres.cascade",
    "postgres.ctid",
    "postgres.lock-row",
    "postgres.copy",
    "postgres.error",
    "postgres.part",
    "postgres.view-insert",
    "postgres.view-update",
    "postgres.view-move",
    "postgres.view-delete",
    "postgres.view-spy",
    "postgres.materialized",
    "postgres.function",
    "postgres.function-write",
    "postgres.derived",
    "postgres.large-object",
    "postgres.shared-write",
    "postgres.statistics",
    "postgres.estimates",
    "postgres.rows-removed",
];

/// What the shop's owner knows; the attacker runs SQL of its own.
fn options() -> Options {
    Options {
        shared: vec!["shop.countries".to_owned()],
        adversary: Adversary::SqlInjection,
        ..Options::default()
    }
}

/// Our trials that came to `verdict`, a line each.
fn ours(run: &Run, verdict: Verdict) -> Vec<String> {
    run.trials
        .iter()
        .filter(|trial| OURS.contains(&trial.attack.as_str()) && trial.verdict == verdict)
        .map(line)
        .collect()
}

async fn attacked(shop: &Database, as_admin: bool) -> Run {
    let address = if as_admin { shop.admin() } else { shop.as_role("{db}_app") };
    shop.prove(&address, &options()).await.unwrap()
}

#[tokio::test]
async fn t07_a_clean_wall_holds_against_what_hangs_on_tables() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    for as_admin in [false, true] {
        let run = attacked(&shop, as_admin).await;
        assert_eq!(ours(&run, Verdict::Leaked), Vec::<String>::new());
        assert_eq!(ours(&run, Verdict::Undecided), Vec::<String>::new());
        assert!(ours(&run, Verdict::Blocked).len() > 60, "{:#?}", ours(&run, Verdict::Blocked));
    }
}

/// Each fault, the statements that plant it, and an attack that must see it.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "an insert policy open when unset",
        "ALTER POLICY wall ON shop.orders WITH CHECK (tenant_id = coalesce(nullif(current_setting('shop.tenant', true), ''), tenant_id))",
        "postgres.insert-unset@shop.orders",
    ),
    (
        "a default that is nobody's",
        "ALTER TABLE shop.files ALTER tenant_id SET DEFAULT 'default'; ALTER POLICY wall ON shop.files USING (tenant_id IN (current_setting('shop.tenant', true), 'default'))",
        "postgres.insert-default@shop.files",
    ),
    (
        "WITH CHECK (true), in WITH",
        "ALTER POLICY wall ON shop.orders WITH CHECK (true)",
        "postgres.insert-with@shop.orders",
    ),
    (
        "an upsert on a key without the tenant, and an update that looks at what is new only",
        "DROP POLICY wall ON shop.files;
         CREATE POLICY r ON shop.files FOR SELECT USING (true);
         CREATE POLICY i ON shop.files FOR INSERT WITH CHECK (tenant_id = current_setting('shop.tenant', true));
         CREATE POLICY u ON shop.files FOR UPDATE USING (true) WITH CHECK (tenant_id = current_setting('shop.tenant', true));
         CREATE UNIQUE INDEX ON shop.files (path)",
        "postgres.upsert@shop.files",
    ),
    (
        "an open SELECT, copied from",
        "CREATE POLICY report ON shop.files FOR SELECT USING (true)",
        "postgres.insert-select@shop.files",
    ),
    (
        "an open DELETE, through a join",
        "DROP POLICY wall ON shop.files;
         CREATE POLICY r ON shop.files FOR SELECT USING (true);
         CREATE POLICY d ON shop.files FOR DELETE USING (true);
         CREATE POLICY w ON shop.files FOR INSERT WITH CHECK (tenant_id = current_setting('shop.tenant', true))",
        "postgres.delete-join@shop.files",
    ),
    (
        "an open DELETE, by MERGE",
        "CREATE POLICY d ON shop.files USING (true)",
        "postgres.merge@shop.files",
    ),
    ("TRUNCATE granted", "GRANT TRUNCATE ON shop.files TO {db}_app", "postgres.truncate@shop.files"),
    (
        "a unique key without the tenant",
        "ALTER TABLE shop.customers ADD UNIQUE (email)",
        "postgres.unique@shop.customers",
    ),
    (
        "a unique key without the tenant, that only an update can meet",
        "ALTER TABLE shop.customers ADD UNIQUE (email); CREATE UNIQUE INDEX ON shop.customers (tenant_id)",
        "postgres.unique@shop.customers",
    ),
    (
        "a foreign key without the tenant",
        "ALTER TABLE shop.customers ADD UNIQUE (id); ALTER TABLE shop.orders DROP CONSTRAINT orders_tenant_id_customer_id_fkey, ADD FOREIGN KEY (customer_id) REFERENCES shop.customers (id)",
        "postgres.reference@shop.orders",
    ),
    (
        "a cascade without the tenant",
        "ALTER TABLE shop.customers ADD UNIQUE (id); ALTER TABLE shop.orders DROP CONSTRAINT orders_tenant_id_customer_id_fkey, ADD FOREIGN KEY (customer_id) REFERENCES shop.customers (id) ON DELETE CASCADE",
        "postgres.cascade@shop.orders",
    ),
    (
        "a cascade to NULL without the tenant",
        "ALTER TABLE shop.customers ADD UNIQUE (id); ALTER TABLE shop.orders ALTER customer_id DROP NOT NULL; ALTER TABLE shop.orders DROP CONSTRAINT orders_tenant_id_customer_id_fkey, ADD FOREIGN KEY (customer_id) REFERENCES shop.customers (id) ON DELETE SET NULL",
        "postgres.cascade@shop.orders",
    ),
    ("no row security, by place", "ALTER TABLE shop.files DISABLE ROW LEVEL SECURITY", "postgres.ctid@shop.files"),
    ("no row security, locked", "ALTER TABLE shop.files DISABLE ROW LEVEL SECURITY", "postgres.lock-row@shop.files"),
    ("no row security, copied", "ALTER TABLE shop.files DISABLE ROW LEVEL SECURITY", "postgres.copy@shop.files"),
    ("no row security, by an error", "ALTER TABLE shop.files DISABLE ROW LEVEL SECURITY", "postgres.error@shop.files"),
    (
        "a partition granted and not walled",
        "CREATE TABLE shop.events (tenant_id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE shop.events_all PARTITION OF shop.events FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
         ALTER TABLE shop.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY wall ON shop.events USING (tenant_id = nullif(current_setting('shop.tenant', true), ''));
         GRANT SELECT, INSERT, UPDATE, DELETE ON shop.events, shop.events_all TO {db}_app",
        "postgres.part@shop.events_all",
    ),
    (
        "a child that inherits, granted and not walled",
        "CREATE TABLE shop.old_files (extra text) INHERITS (shop.files); GRANT ALL ON shop.old_files TO {db}_app",
        "postgres.ctid@shop.old_files",
    ),
    ("a view that filters by itself, inserted through", OWN_FILTER, "postgres.view-insert@shop.mine"),
    ("a view that filters by itself, moved through", OWN_FILTER, "postgres.view-move@shop.mine"),
    ("a view that filters by itself, spied on", OWN_FILTER, "postgres.view-spy@shop.mine"),
    (
        "a superuser's view, updated through",
        "CREATE VIEW shop.theirs AS SELECT * FROM shop.files; GRANT ALL ON shop.theirs TO {db}_app",
        "postgres.view-update@shop.theirs",
    ),
    (
        "a superuser's view, deleted through",
        "CREATE VIEW shop.theirs AS SELECT * FROM shop.files; GRANT ALL ON shop.theirs TO {db}_app",
        "postgres.view-delete@shop.theirs",
    ),
    (
        "a rule in place of a view's update",
        "CREATE VIEW shop.theirs AS SELECT DISTINCT tenant_id, path FROM shop.files;
         CREATE RULE r AS ON UPDATE TO shop.theirs DO INSTEAD UPDATE shop.files SET size = size WHERE path = OLD.path;
         GRANT ALL ON shop.theirs TO {db}_app",
        "postgres.view-update@shop.theirs",
    ),
    (
        "a materialized view, granted",
        "INSERT INTO shop.files VALUES ('someone', 'a', 1);
         CREATE MATERIALIZED VIEW shop.sizes AS SELECT tenant_id, sum(size) FROM shop.files GROUP BY 1;
         GRANT SELECT ON shop.sizes TO {db}_app",
        "postgres.materialized@shop.sizes",
    ),
    (
        "a function that counts for everybody",
        "CREATE FUNCTION shop.total() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM shop.files'",
        "postgres.function@shop.total",
    ),
    (
        "a function that lists for everybody",
        "CREATE FUNCTION shop.emails() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM shop.customers'",
        "postgres.function@shop.emails",
    ),
    (
        "a function that looks up by id alone",
        "CREATE FUNCTION shop.order_status(p_order_id uuid) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT status FROM shop.orders WHERE id = p_order_id'",
        "postgres.function@shop.order_status",
    ),
    (
        "a function that believes the tenant it is given",
        "CREATE FUNCTION shop.paths(tenant text) RETURNS TABLE (p text) LANGUAGE sql SECURITY DEFINER AS 'SELECT path FROM shop.files WHERE tenant_id = tenant'",
        "postgres.function@shop.paths",
    ),
    (
        "a function that deletes by path alone",
        "CREATE FUNCTION shop.drop_file(p_path text) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM shop.files WHERE path = p_path'",
        "postgres.function-write@shop.drop_file",
    ),
    (
        "a procedure that believes the tenant it is given",
        "CREATE PROCEDURE shop.purge(tenant text) LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM shop.files WHERE tenant_id = tenant'",
        "postgres.function-write@shop.purge",
    ),
    (
        "a view that counts for everybody",
        "CREATE VIEW shop.counts AS SELECT count(*) AS n FROM shop.files; GRANT SELECT ON shop.counts TO {db}_app",
        "postgres.derived@shop.counts",
    ),
    (
        "a shared table that may be changed",
        "INSERT INTO shop.countries VALUES ('AT'); GRANT UPDATE ON shop.countries TO {db}_app",
        "postgres.shared-write@shop.countries",
    ),
    (
        "a shared table that may be added to",
        "GRANT INSERT ON shop.countries TO {db}_app",
        "postgres.shared-write@shop.countries",
    ),
    (
        "statistics of an open table",
        "INSERT INTO shop.files SELECT 'someone', 'p' || g, g FROM generate_series(1, 100) g;
         ALTER TABLE shop.files DISABLE ROW LEVEL SECURITY; ANALYZE shop.files",
        "postgres.statistics@statistics",
    ),
    (
        "an index that does not begin with the tenant",
        "CREATE UNIQUE INDEX ON shop.files (size)",
        "postgres.rows-removed@shop.files",
    ),
];

/// A wall of a view, as it was built before row security, that may be written through.
const OWN_FILTER: &str = "
    CREATE VIEW shop.mine AS SELECT * FROM shop.files WHERE tenant_id = current_setting('shop.tenant', true);
    GRANT SELECT, INSERT, UPDATE, DELETE ON shop.mine TO {db}_app";

#[tokio::test]
async fn t07_every_fault_of_what_hangs_on_tables_is_found() {
    let Some(bench) = bench() else { return };
    let mut missed = Vec::new();
    for (fault, sql, must_see) in FAULTS {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = attacked(&shop, false).await;
        let seen: Vec<String> = run.trials.iter().map(line).collect();
        if !seen.iter().any(|line| line.starts_with(&format!("{must_see}: leaked"))) {
            let near: Vec<&String> = seen.iter().filter(|line| line.contains(must_see)).collect();
            missed.push(format!("{fault}: {must_see}\n  {near:#?}"));
        }
    }
    assert!(missed.is_empty(), "not seen to leak:\n{}", missed.join("\n"));
}

/// The controls of the faults above: nearly the same, and no fault.
#[tokio::test]
async fn t07_what_only_looks_like_a_fault_is_none() {
    let Some(bench) = bench() else { return };
    for (what, sql) in [
        (
            "a cascade with the tenant in its key",
            "ALTER TABLE shop.orders DROP CONSTRAINT orders_tenant_id_customer_id_fkey, ADD FOREIGN KEY (tenant_id, customer_id) REFERENCES shop.customers ON DELETE CASCADE",
        ),
        (
            "a partition behind its parent",
            "CREATE TABLE shop.events (tenant_id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
             CREATE TABLE shop.events_all PARTITION OF shop.events FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
             ALTER TABLE shop.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY wall ON shop.events USING (tenant_id = nullif(current_setting('shop.tenant', true), ''));
             GRANT SELECT, INSERT, UPDATE, DELETE ON shop.events TO {db}_app",
        ),
        (
            "one row for each tenant",
            "CREATE TABLE shop.profile (tenant_id text PRIMARY KEY DEFAULT current_setting('shop.tenant', true), kind text NOT NULL CHECK (kind IN ('a', 'b')));
             ALTER TABLE shop.profile ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY wall ON shop.profile USING (tenant_id = nullif(current_setting('shop.tenant', true), ''));
             GRANT SELECT, INSERT, UPDATE, DELETE ON shop.profile TO {db}_app",
        ),
        (
            "a child of one row for each of its parents",
            "CREATE TABLE shop.receipts (tenant_id text, order_id uuid, kind text NOT NULL CHECK (kind IN ('a', 'b')),
               PRIMARY KEY (tenant_id, order_id), UNIQUE (tenant_id, kind),
               FOREIGN KEY (tenant_id, order_id) REFERENCES shop.orders ON DELETE CASCADE);
             ALTER TABLE shop.receipts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY wall ON shop.receipts USING (tenant_id = nullif(current_setting('shop.tenant', true), ''));
             GRANT SELECT, INSERT, UPDATE, DELETE ON shop.receipts TO {db}_app",
        ),
        (
            "a view that filters by itself, and for all that is written",
            "CREATE VIEW shop.mine WITH (security_barrier) AS SELECT * FROM shop.files
               WHERE tenant_id = current_setting('shop.tenant', true) WITH CHECK OPTION;
             GRANT SELECT, INSERT, UPDATE, DELETE ON shop.mine TO {db}_app",
        ),
        (
            "functions that filter by themselves, that work for the caller, that read nothing",
            "CREATE FUNCTION shop.my_total() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT count(*) FROM shop.files WHERE tenant_id = current_setting('shop.tenant', true)$$;
             CREATE FUNCTION shop.total() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM shop.files';
             CREATE FUNCTION shop.status(p_order_id uuid) RETURNS text LANGUAGE sql AS 'SELECT status FROM shop.orders WHERE id = p_order_id';
             CREATE FUNCTION shop.version() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT '1.0'$$;
             CREATE FUNCTION shop.slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
             CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END';
             CREATE FUNCTION shop.drop_mine(p_path text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$DELETE FROM shop.files WHERE path = p_path AND tenant_id = current_setting('shop.tenant', true)$$",
        ),
        ("an index that begins with the tenant", "CREATE INDEX ON shop.files (tenant_id, size)"),
        (
            "statistics behind row security",
            "INSERT INTO shop.files SELECT 'someone', 'p' || g, g FROM generate_series(1, 100) g; ANALYZE shop.files",
        ),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = attacked(&shop, false).await;
        assert_eq!(ours(&run, Verdict::Leaked), Vec::<String>::new(), "{what}");
        assert_eq!(ours(&run, Verdict::Undecided), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn t07_what_cannot_be_decided_is_said() {
    let Some(bench) = bench() else { return };
    for (what, sql, undecided) in [
        (
            "a definer with an argument nobody knows",
            "CREATE FUNCTION shop.at(p point) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT 'x'$$",
            "postgres.function@shop.at: undecided",
        ),
        (
            "large objects of the application's",
            "SET ROLE {db}_app; SELECT lo_from_bytea(0, 'x')",
            "postgres.large-object@large objects: undecided",
        ),
        (
            "a materialized view with nobody in it",
            "CREATE MATERIALIZED VIEW shop.sizes AS SELECT tenant_id, sum(size) FROM shop.files GROUP BY 1;
             GRANT SELECT ON shop.sizes TO {db}_app",
            "postgres.materialized@shop.sizes: undecided",
        ),
        (
            "a shared table that may be emptied, and is empty",
            "GRANT DELETE ON shop.countries TO {db}_app",
            "postgres.shared-write@shop.countries: undecided",
        ),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = attacked(&shop, false).await;
        let open = ours(&run, Verdict::Undecided);
        assert!(open.iter().any(|line| line.starts_with(undecided)), "{what}: {open:#?}");
        assert_eq!(ours(&run, Verdict::Leaked), Vec::<String>::new(), "{what}");
    }
}

/// Who may refresh a materialized view, or make its rows anew, sees what it gives away.
#[tokio::test]
async fn t07_a_materialized_view_is_refreshed_for_the_run() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    shop.run(
        "CREATE MATERIALIZED VIEW shop.sizes AS SELECT tenant_id, sum(size) FROM shop.files GROUP BY 1;
         GRANT SELECT ON shop.sizes TO {db}_app",
    )
    .await;
    let leaked = ours(&attacked(&shop, true).await, Verdict::Leaked);
    assert!(leaked.iter().any(|line| line.starts_with("postgres.materialized@shop.sizes")));
    assert_eq!(shop.number("SELECT count(*) FROM shop.sizes").await, 0, "rolled back");
}

/// Estimates are of tenants that exist: made-up ones are in no statistics.
#[tokio::test]
async fn t07_estimates_tell_of_tenants_that_exist() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    shop.run(
        "INSERT INTO shop.files SELECT (ARRAY['acme', 'acme-2'])[1 + g % 2], 'p' || g, g FROM generate_series(1, 5000) g;
         ANALYZE shop.files",
    )
    .await;
    let named = ["acme", "acme-2"].map(str::to_owned);
    let options = Options { tenants: Some(named), ..options() };
    let run = shop.prove(&shop.admin(), &options).await.unwrap();
    let leaked = ours(&run, Verdict::Leaked);
    assert!(
        leaked.iter().any(|line| line.starts_with("postgres.estimates@shop.files")),
        "{leaked:#?}"
    );
    // The control: the remedy.
    shop.run("ALTER TABLE shop.files ALTER tenant_id SET STATISTICS 0; DELETE FROM pg_statistic WHERE starelid = 'shop.files'::regclass; ANALYZE shop.files").await;
    let run = shop.prove(&shop.admin(), &options).await.unwrap();
    let leaked = ours(&run, Verdict::Leaked);
    assert!(!leaked.iter().any(|line| line.starts_with("postgres.estimates")), "{leaked:#?}");
    let made_up = ours(&attacked(&shop, false).await, Verdict::NotTested);
    assert!(made_up.iter().any(|line| line.starts_with("postgres.estimates")), "{made_up:#?}");
}

/// By the wall's own rules for schemas: the tenant in every key.
const MORE_BEHIND_OUR_WALL: &str = "
    CREATE TABLE shop.comments (tenant_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
      note_id bigint NOT NULL, body text NOT NULL, PRIMARY KEY (tenant_id, id),
      FOREIGN KEY (tenant_id, note_id) REFERENCES shop.notes ON DELETE CASCADE);
    CREATE TABLE shop.events (tenant_id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
    CREATE TABLE shop.events_all PARTITION OF shop.events FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
    CREATE VIEW shop.all_notes AS SELECT * FROM shop.notes;
    ALTER TABLE shop.comments OWNER TO {db}_data;
    ALTER TABLE shop.events OWNER TO {db}_data;
    ALTER TABLE shop.events_all OWNER TO {db}_data;
    ALTER VIEW shop.all_notes OWNER TO {db}_data;
    SET ROLE {db}_data;
    SELECT partywall.protect('shop.comments'), partywall.protect('shop.events');
    CREATE FUNCTION shop.total() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM shop.notes';
    GRANT SELECT, INSERT, UPDATE, DELETE ON shop.comments, shop.events, shop.all_notes TO {db}_app";

#[tokio::test]
async fn m18_our_own_wall_holds_against_what_hangs_on_tables() {
    let Some(bench) = bench() else { return };
    let walled = bench.walled().await;
    walled.run(MORE_BEHIND_OUR_WALL).await;
    let key = Some(crate::harness::TICKET_KEY.to_vec());
    let runtime = Options { ticket_key: key, ..Options::default() };
    for (address, options) in
        [(walled.admin(), Options::default()), (walled.as_role("{db}_slot_1"), runtime)]
    {
        let run = walled.prove(&address, &options).await.unwrap();
        assert_eq!(ours(&run, Verdict::Leaked), Vec::<String>::new());
        assert_eq!(ours(&run, Verdict::Undecided), Vec::<String>::new());
        assert!(ours(&run, Verdict::Blocked).len() > 30, "{:#?}", ours(&run, Verdict::Blocked));
    }
}

/// What needs SQL of the attacker's own is not tried where it has none, and the report says so.
#[tokio::test]
async fn m24_values_alone_are_not_said_to_have_tried_statements() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let options = Options { adversary: Adversary::Parameters, ..options() };
    let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
    let skipped = ours(&run, Verdict::NotTested);
    for attack in ["postgres.truncate@", "postgres.copy@", "postgres.statistics@"] {
        assert!(skipped.iter().any(|line| line.starts_with(attack)), "{attack}: {skipped:#?}");
    }
}

/// A sequence tells of all tenants together, and of none alone: a note, not a leak.
#[tokio::test]
async fn t07_a_sequence_that_counts_for_all_is_noted() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let noted = |run: &Run| run.notes.iter().any(|note| note.place == "shop.customers_id_seq");
    assert!(!noted(&attacked(&shop, false).await));
    shop.run("GRANT USAGE ON SEQUENCE shop.customers_id_seq TO {db}_app").await;
    assert!(noted(&attacked(&shop, false).await));
}
