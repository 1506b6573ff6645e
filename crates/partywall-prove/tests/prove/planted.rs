//! A clean wall is proven; every fault planted in it is found.

use partywall_prove::{
    Exit,
    postgres::{Adversary, Options},
};

use crate::harness::{Database, bench, line, open};

pub(crate) const SHOP: &str = include_str!("shop.sql");

/// What the shop's owner knows: which table all tenants share; nobody runs SQL of their own.
pub(crate) fn options() -> Options {
    Options {
        shared: vec!["shop.countries".to_owned()],
        adversary: Adversary::Parameters,
        ..Options::default()
    }
}

async fn shop() -> Option<Database> {
    Some(bench()?.database(SHOP).await)
}

#[tokio::test]
async fn m24_a_clean_wall_is_proven_through_the_applications_own_role() {
    let Some(shop) = shop().await else { return };
    for address in [shop.as_role("{db}_app"), shop.admin()] {
        let run = shop.prove(&address, &options()).await.unwrap();
        assert_eq!(open(&run), Vec::<String>::new());
        assert_eq!(run.exit(), Exit::Proven);
        assert!(run.trials.len() > 40, "{} trials", run.trials.len());
    }
    for table in ["customers", "orders", "files", "countries"] {
        assert_eq!(shop.number(&format!("SELECT count(*) FROM shop.{table}")).await, 0, "{table}");
    }
}

/// Each fault, and an attack that must see it.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "no row security",
        "ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY",
        "postgres.read@shop.orders",
    ),
    (
        "owned by the application, not forced",
        "ALTER TABLE shop.files OWNER TO {db}_app; ALTER TABLE shop.files NO FORCE ROW LEVEL SECURITY",
        "postgres.read@shop.files",
    ),
    ("bypasses row security", "ALTER ROLE {db}_app BYPASSRLS", "postgres.read@shop.customers"),
    (
        "OR true",
        "ALTER POLICY wall ON shop.orders USING (tenant_id = current_setting('shop.tenant', true) OR true)",
        "postgres.read@shop.orders",
    ),
    (
        "WITH CHECK (true)",
        "ALTER POLICY wall ON shop.orders WITH CHECK (true)",
        "postgres.move-bare@shop.orders",
    ),
    (
        "open when unset",
        "ALTER POLICY wall ON shop.orders USING (coalesce(nullif(current_setting('shop.tenant', true), ''), tenant_id) = tenant_id)",
        "postgres.read-unset@shop.orders",
    ),
    (
        "one more policy",
        "CREATE POLICY report ON shop.customers FOR SELECT USING (true)",
        "postgres.read@shop.customers",
    ),
    (
        "a view of a superuser's",
        "ALTER VIEW shop.big_orders SET (security_invoker = false); ALTER VIEW shop.big_orders OWNER TO postgres",
        "postgres.read@shop.big_orders",
    ),
    (
        "a prefix compared",
        "ALTER POLICY wall ON shop.files USING (tenant_id LIKE current_setting('shop.tenant', true) || '%')",
        "postgres.read@shop.files",
    ),
    (
        "a new table, forgotten",
        "CREATE TABLE shop.invoices (id int PRIMARY KEY, tenant_id text NOT NULL); GRANT ALL ON shop.invoices TO {db}_app",
        "postgres.read@shop.invoices",
    ),
];

#[tokio::test]
async fn m24_every_planted_fault_is_found() {
    let Some(bench) = bench() else { return };
    for (fault, sql, must_see) in FAULTS {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let address = match *fault {
            // A superuser makes the row that the application may not.
            "a view of a superuser's" => shop.admin(),
            _ => shop.as_role("{db}_app"),
        };
        let run = shop.prove(&address, &options()).await.unwrap();
        let seen: Vec<String> = run.trials.iter().map(line).collect();
        let caught = seen.iter().any(|line| line.starts_with(&format!("{must_see}: leaked")));
        assert!(caught, "{fault}: {must_see} was not seen to leak\n{}", open(&run).join("\n"));
        assert_eq!(run.exit(), Exit::Leaked, "{fault}");
    }
}

#[tokio::test]
async fn m24_a_wall_that_denies_everyone_is_not_proven() {
    let Some(shop) = shop().await else { return };
    shop.run("ALTER POLICY wall ON shop.orders USING (false)").await;
    let run = shop.prove(&shop.as_role("{db}_app"), &options()).await.unwrap();
    assert_eq!(run.exit(), Exit::Undecided, "{:#?}", open(&run));
}

#[tokio::test]
async fn m24_a_table_nobody_declared_is_undecided() {
    let Some(shop) = shop().await else { return };
    shop.run("CREATE TABLE shop.order_lines (order_id uuid, sku text); GRANT ALL ON shop.order_lines TO {db}_app").await;
    let run = shop.prove(&shop.as_role("{db}_app"), &options()).await.unwrap();
    assert_eq!(run.exit(), Exit::Undecided);
    assert!(open(&run).iter().any(|line| line.starts_with("postgres.declare@shop.order_lines")));
}

#[tokio::test]
async fn m24_a_policy_without_with_check_is_no_fault() {
    let Some(shop) = shop().await else { return };
    shop.run("DROP POLICY wall ON shop.orders; CREATE POLICY wall ON shop.orders USING (tenant_id = current_setting('shop.tenant', true)) WITH CHECK (tenant_id = current_setting('shop.tenant', true))").await;
    let run = shop.prove(&shop.as_role("{db}_app"), &options()).await.unwrap();
    assert_eq!(open(&run), Vec::<String>::new());
}
