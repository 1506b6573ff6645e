//! What is left on a connection that a real PgBouncer gives to the next client.

use std::collections::BTreeSet;

use partywall_prove::{
    Run, Verdict,
    postgres::{Adversary, Options},
};

use crate::{
    harness::{bench, open},
    planted::SHOP,
    pooler::PgBouncer,
    sessions::{attacks, injection},
};

fn leftovers(run: &Run, verdict: Verdict) -> BTreeSet<&str> {
    attacks(run, verdict).into_iter().filter(|id| id.starts_with("postgres.leftover-")).collect()
}

const ALL: [&str; 7] = [
    "postgres.leftover-context",
    "postgres.leftover-cursor",
    "postgres.leftover-listen",
    "postgres.leftover-lock",
    "postgres.leftover-prepared",
    "postgres.leftover-setting",
    "postgres.leftover-temporary",
];

#[tokio::test]
async fn t06_everything_is_left_behind_a_pooler_that_cleans_nothing() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let Some(pooler) = PgBouncer::start(&shop, "{db}_app", "") else { return };
    // The pooler is the address, or stands beside one.
    let beside = Options { pooler: Some(pooler.address()), ..injection() };
    for (address, options) in [(pooler.address(), injection()), (shop.as_role("{db}_app"), beside)]
    {
        let run = shop.prove(&address, &options).await.unwrap();
        assert_eq!(leftovers(&run, Verdict::Leaked), ALL.into(), "{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn t06_nothing_is_left_behind_a_pooler_that_cleans() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let clean = "server_reset_query = DISCARD ALL\nserver_reset_query_always = 1";
    let Some(pooler) = PgBouncer::start(&shop, "{db}_app", clean) else { return };
    let options = Options { pooler: Some(pooler.address()), ..injection() };
    let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
    assert_eq!(leftovers(&run, Verdict::Blocked), ALL.into(), "{}", open(&run).join("\n"));
}

/// Each part of the cleaning that is forgotten.
#[tokio::test]
async fn t06_whatever_a_pooler_forgets_is_found() {
    let Some(bench) = bench() else { return };
    let parts = [
        ("CLOSE ALL", "postgres.leftover-cursor"),
        ("UNLISTEN *", "postgres.leftover-listen"),
        ("SELECT pg_advisory_unlock_all()", "postgres.leftover-lock"),
        ("DEALLOCATE ALL", "postgres.leftover-prepared"),
        ("DISCARD TEMP", "postgres.leftover-temporary"),
    ];
    let shop = bench.database(SHOP).await;
    for (forgotten, must_see) in parts {
        let others: Vec<&str> =
            parts.iter().map(|(part, _)| *part).filter(|part| *part != forgotten).collect();
        let clean = format!(
            "server_reset_query = RESET ALL; {}\nserver_reset_query_always = 1",
            others.join("; ")
        );
        let Some(pooler) = PgBouncer::start(&shop, "{db}_app", &clean) else { return };
        let options = Options { pooler: Some(pooler.address()), ..injection() };
        let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
        let leaked = leftovers(&run, Verdict::Leaked);
        assert_eq!(leaked, [must_see].into(), "{forgotten}\n{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn t06_an_address_that_pools_nothing_is_said_to_be_untested() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let run = shop.prove(&shop.as_role("{db}_app"), &injection()).await.unwrap();
    assert_eq!(leftovers(&run, Verdict::NotTested), ALL.into());
    let why = run.trials.iter().find(|trial| trial.attack == ALL[0]).unwrap();
    assert!(why.seen.text().contains("--pooler"), "{}", why.seen.text());

    let Some(pooler) = PgBouncer::start(&shop, "{db}_app", "") else { return };
    let options =
        Options { pooler: Some(pooler.address()), adversary: Adversary::Parameters, ..injection() };
    let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
    assert_eq!(leftovers(&run, Verdict::NotTested), ALL.into());
}

#[tokio::test]
async fn t06_our_wall_behind_a_pooler_that_cleans_nothing_holds_the_context_and_no_temporary_table()
{
    let Some(bench) = bench() else { return };
    let walled = bench.walled().await;
    let Some(pooler) = PgBouncer::start(&walled, "{db}_slot_1", "") else { return };
    let options = Options { pooler: Some(pooler.address()), ..Options::default() };
    let run = walled.prove(&walled.admin(), &options).await.unwrap();
    let blocked = leftovers(&run, Verdict::Blocked);
    assert_eq!(blocked, ["postgres.leftover-temporary"].into(), "{}", open(&run).join("\n"));
    // As SECURITY.md says: residue is the pooler's to clean.
    assert_eq!(leftovers(&run, Verdict::Leaked).len(), 5, "{}", open(&run).join("\n"));
    assert!(attacks(&run, Verdict::Blocked).contains("postgres.context-commit"));
}
