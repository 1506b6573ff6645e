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
];

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
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = attacked(&shop, false).await;
        assert_eq!(ours(&run, Verdict::Leaked), Vec::<String>::new(), "{what}");
        assert_eq!(ours(&run, Verdict::Undecided), Vec::<String>::new(), "{what}");
    }
}
