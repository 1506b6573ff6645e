//! Every wall that is taken down is noticed, or stands before another; nothing stays broken.

use std::time::Instant;

use partywall_prove::{
    Exit, Silent,
    postgres::{
        Adversary, Broken, CannotRun, Fall, Options, break_walls, exit_of_breaks as exit_of,
    },
};

use crate::{
    harness::{Database, bench},
    planted::{SHOP, options},
};

async fn broken(database: &Database, options: &Options) -> Vec<Broken> {
    break_walls(&database.admin(), options, &Silent).await.unwrap()
}

fn shown(broken: &[Broken]) -> String {
    let line = |one: &Broken| format!("{} | {:?} | {:?}\n", one.wall, one.verdict, one.noticed_by);
    broken.iter().map(line).collect()
}

fn one<'b>(broken: &'b [Broken], wall: &str) -> &'b Broken {
    let found = broken.iter().find(|one| one.wall == wall);
    found.unwrap_or_else(|| panic!("{wall} was not broken:\n{}", shown(broken)))
}

/// What a wall is worth, as far as a test insists on it.
fn assert_noticed(broken: &[Broken], wall: &str, by: &str) {
    let one = one(broken, wall);
    assert_eq!(one.verdict, Fall::Noticed, "{wall}:\n{}", shown(broken));
    assert!(one.noticed_by.iter().any(|seen| seen == by), "{wall} by {by}: {:?}", one.noticed_by);
}

#[tokio::test]
async fn r07_every_wall_of_a_hand_made_schema_is_missed_when_it_falls() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let everything = Options { adversary: Adversary::SqlInjection, ..options() };
    let all = broken(&shop, &everything).await;
    assert_eq!(exit_of(&all), Exit::Proven, "{}", shown(&all));
    for (wall, by) in [
        ("row security on shop.orders", "postgres.read@shop.orders"),
        ("FORCE, were the application the owner of shop.files", "postgres.read@shop.files"),
        ("USING of policy wall on shop.orders", "postgres.read@shop.orders"),
        (
            "closed when unset: USING of policy wall on shop.orders",
            "postgres.read-unset@shop.orders",
        ),
        ("the whole id compared: USING of policy wall on shop.files", "postgres.read@shop.files"),
        ("WITH CHECK of policy wall on shop.orders", "postgres.move-bare@shop.orders"),
        ("no further policy on shop.customers", "postgres.read@shop.customers"),
        ("no TRUNCATE on shop.orders", "postgres.truncate@shop.orders"),
        (
            "the tenant in key (tenant_id, email) of shop.customers",
            "postgres.unique@shop.customers",
        ),
        ("the rights that are asked for by view shop.big_orders", "postgres.read@shop.big_orders"),
    ] {
        assert_noticed(&all, wall, by);
    }
    let role = format!("no BYPASSRLS for {}_app", shop.name);
    assert_noticed(&all, &role, "postgres.read@shop.orders");
    // Nothing stays: neither rows nor holes.
    assert_eq!(shop.number("SELECT count(*) FROM shop.orders").await, 0);
    let walled = "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity";
    assert_eq!(shop.number(walled).await, 3);
    let bypassing = "SELECT count(*) FROM pg_roles WHERE rolbypassrls AND NOT rolsuper";
    assert_eq!(shop.number(bypassing).await, 0);
    let after = shop.prove(&shop.admin(), &options()).await.unwrap();
    assert_eq!(after.exit(), Exit::Proven);
}

#[tokio::test]
async fn r07_every_wall_of_our_own_is_missed_or_stands_before_another() {
    let Some(bench) = bench() else { return };
    let walled = bench.walled().await;
    let all = broken(&walled, &Options::default()).await;
    assert_eq!(exit_of(&all), Exit::Proven, "{}", shown(&all));
    for (wall, by) in [
        ("row security on shop.notes", "postgres.read@shop.notes"),
        ("policy partywall on shop.notes", "postgres.read@shop.notes"),
        ("USING of policy partywall on shop.notes", "postgres.read@shop.notes"),
        ("WITH CHECK of policy partywall on shop.notes", "postgres.move-bare@shop.notes"),
        ("the proof in partywall.tenant_id()", "postgres.ticket-forged@shop.notes"),
        ("no rights to the ticket keys", "postgres.ticket-key@shop.notes"),
    ] {
        assert_noticed(&all, wall, by);
    }
    // Being restrictive is what holds when somebody adds a policy.
    let held = Fall::Held { by: "the restrictive policy partywall".to_owned() };
    assert_eq!(one(&all, "no further policy on shop.notes").verdict, held);
}

#[tokio::test]
async fn r07_policies_for_one_command_each_are_missed_one_by_one() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    shop.run(
        "DROP POLICY wall ON shop.files;
         CREATE POLICY r ON shop.files FOR SELECT USING (tenant_id = current_setting('shop.tenant', true));
         CREATE POLICY a ON shop.files FOR INSERT WITH CHECK (tenant_id = current_setting('shop.tenant', true));
         CREATE POLICY w ON shop.files FOR UPDATE USING (tenant_id = current_setting('shop.tenant', true));
         CREATE POLICY d ON shop.files FOR DELETE USING (tenant_id = current_setting('shop.tenant', true))",
    )
    .await;
    let all = broken(&shop, &options()).await;
    for wall in [
        "USING of policy r",
        "WITH CHECK of policy a",
        "WITH CHECK of policy w",
        "USING of policy w",
        "USING of policy d",
    ] {
        let one = one(&all, &format!("{wall} on shop.files"));
        assert_eq!(one.verdict, Fall::Noticed, "{wall}:\n{}", shown(&all));
    }
    // Open to an unset tenant for DELETE alone: no attack deletes without a tenant. That this is said,
    // and counts as undecided, is what taking walls down is for.
    let unseen = one(&all, "closed when unset: USING of policy d on shop.files");
    assert_eq!(unseen.verdict, Fall::Unnoticed);
    assert_eq!(exit_of(&all), Exit::Undecided, "{}", shown(&all));
}

#[tokio::test]
async fn r07_a_wall_that_was_down_before_is_not_taken_for_noticed() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    shop.run("CREATE POLICY hole ON shop.orders USING (true)").await;
    let all = broken(&shop, &options()).await;
    let orders = one(&all, "USING of policy wall on shop.orders");
    assert!(
        matches!(&orders.verdict, Fall::CouldNotBreak { why } if why.contains("mend that first")),
        "{orders:?}"
    );
    assert_eq!(exit_of(&all), Exit::Undecided);
    // The control: the others are as before.
    assert_noticed(&all, "row security on shop.files", "postgres.read@shop.files");
}

#[tokio::test]
async fn r07_walls_are_not_taken_down_where_it_could_hurt() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let refusal = |options: Options, address| {
        let shop = &shop;
        async move {
            break_walls(address, &options, &Silent)
                .await
                .err()
                .unwrap_or_else(|| panic!("{} let it happen", shop.name))
        }
    };
    let (admin, app) = (shop.admin(), shop.as_role("{db}_app"));
    let read_only = Options { read_only: true, ..options() };
    assert!(matches!(refusal(read_only, &admin).await, CannotRun::BreakWrites));
    assert!(matches!(refusal(options(), &app).await, CannotRun::BreakNeedsOwner));
    let production = bench.database("CREATE DATABASE {db}_prod").await;
    let live = format!("{}_prod", production.name);
    let live =
        partywall_prove::postgres::Address::from_options(shop.options().clone().database(&live));
    let anyway = Options { even_in_production: true, ..options() };
    assert!(matches!(refusal(anyway, &live).await, CannotRun::Caution(_)));
    assert!(!broken(&shop, &options()).await.is_empty(), "the control");
}

#[tokio::test]
async fn m24_fifty_tables_are_broken_in_well_under_a_minute() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    shop.run(
        "DO $$ BEGIN FOR n IN 1..47 LOOP
           EXECUTE format('CREATE TABLE shop.t%s (LIKE shop.files INCLUDING ALL)', n);
           EXECUTE format('ALTER TABLE shop.t%s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', n);
           EXECUTE format('CREATE POLICY wall ON shop.t%s USING (tenant_id = nullif(current_setting(''shop.tenant'', true), ''''))', n);
           EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON shop.t%s TO {db}_app', n);
         END LOOP; END $$",
    )
    .await;
    let began = Instant::now();
    let all = broken(&shop, &options()).await;
    let took = began.elapsed();
    eprintln!("{} walls of 50 tables in {took:.1?}", all.len());
    assert_eq!(exit_of(&all), Exit::Proven, "{}", shown(&all));
    // A debug build on a busy machine; the mark itself is a minute.
    assert!(took.as_secs() < 120, "{took:?}");
}
