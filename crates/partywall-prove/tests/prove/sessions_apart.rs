//! Attacks from a connection of their own: where no tenant was ever set, after a COMMIT, and on the
//! session beside.

use partywall_prove::{Verdict, postgres::Options};

use crate::{
    harness::{bench, line, open},
    planted::{self, SHOP},
    sessions::{attacks, injection, is_seen},
};

const UNTOUCHED: &str = "postgres.read-untouched@shop.files";

#[tokio::test]
async fn t02_what_opens_on_null_is_found_without_a_committed_row() {
    let Some(bench) = bench() else { return };
    for (fault, sql) in [
        (
            "IS NULL OR",
            "ALTER POLICY wall ON shop.files USING (current_setting('shop.tenant', true) IS NULL OR tenant_id = current_setting('shop.tenant', true))",
        ),
        (
            "coalesce to the row's own",
            "ALTER POLICY wall ON shop.files USING (coalesce(current_setting('shop.tenant', true), tenant_id) = tenant_id)",
        ),
        (
            "not known to be another's",
            "ALTER POLICY wall ON shop.files USING ((tenant_id <> current_setting('shop.tenant', true)) IS NOT TRUE)",
        ),
        (
            "in a function, beside the right policy",
            "CREATE FUNCTION shop.is_job() RETURNS bool LANGUAGE sql STABLE AS $$SELECT current_setting('shop.tenant', true) IS NULL$$;
             GRANT EXECUTE ON FUNCTION shop.is_job() TO {db}_app; CREATE POLICY jobs ON shop.files FOR SELECT TO {db}_app USING (shop.is_job())",
        ),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        for (address, options) in
            [(shop.as_role("{db}_app"), planted::options()), (shop.admin(), injection())]
        {
            let run = shop.prove(&address, &options).await.unwrap();
            assert!(is_seen(&run, UNTOUCHED), "{fault}\n{}", open(&run).join("\n"));
            let empty = "postgres.read-unset@shop.files";
            assert!(!is_seen(&run, empty), "{fault}: the empty setting shows it already");
        }
        assert_eq!(shop.number("SELECT count(*) FROM shop.files").await, 0);
    }
}

#[tokio::test]
async fn t02_what_stays_closed_on_null_is_not_blamed() {
    let Some(bench) = bench() else { return };
    for (wall, sql) in [
        ("as it is", "SELECT 1"),
        (
            "a restrictive policy closes what another opens",
            "ALTER POLICY wall ON shop.files USING (current_setting('shop.tenant', true) IS NULL OR tenant_id = current_setting('shop.tenant', true));
             CREATE POLICY bound ON shop.files AS RESTRICTIVE USING (current_setting('shop.tenant', true) IS NOT NULL)",
        ),
        (
            "a policy for another role",
            "CREATE ROLE {db}_jobs; CREATE POLICY jobs ON shop.files FOR SELECT TO {db}_jobs USING (true)",
        ),
        (
            "a policy for another command",
            "CREATE POLICY jobs ON shop.files FOR DELETE USING (current_setting('shop.tenant', true) IS NULL)",
        ),
        (
            "an error where nothing is set",
            "ALTER POLICY wall ON shop.files USING (tenant_id = current_setting('shop.tenant'))",
        ),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = shop.prove(&shop.as_role("{db}_app"), &planted::options()).await.unwrap();
        let seen: Vec<String> = run.trials.iter().map(line).collect();
        let blocked = seen.iter().any(|line| line.starts_with(&format!("{UNTOUCHED}: blocked")));
        assert!(blocked, "{wall}\n{}", seen.join("\n"));
    }
}

#[tokio::test]
async fn t06_a_context_that_can_be_kept_or_forged_outlives_its_transaction() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    for address in [shop.as_role("{db}_app"), shop.admin()] {
        let run = shop.prove(&address, &injection()).await.unwrap();
        let ways = run.trials.iter().filter(|trial| trial.attack == "postgres.context-commit");
        let ways: Vec<Verdict> = ways.map(|trial| trial.verdict).collect();
        assert_eq!(ways, [Verdict::Leaked; 3], "{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn t05_one_role_for_all_tenants_shows_each_what_the_others_run() {
    let Some(bench) = bench() else { return };
    let shop = bench.database(SHOP).await;
    let run = shop.prove(&shop.as_role("{db}_app"), &injection()).await.unwrap();
    let leaked = attacks(&run, Verdict::Leaked);
    assert!(leaked.contains("postgres.activity"), "{}", open(&run).join("\n"));
    assert!(leaked.contains("postgres.signal"));
    // Where the server does not keep the statements, there is nothing to read.
    shop.run("ALTER ROLE {db}_app SET track_activities = off").await;
    let run = shop.prove(&shop.as_role("{db}_app"), &injection()).await.unwrap();
    assert!(attacks(&run, Verdict::Blocked).contains("postgres.activity"));
    // Who logged in is what counts, and a switched session does not show it.
    let run = shop.prove(&shop.admin(), &injection()).await.unwrap();
    assert!(attacks(&run, Verdict::NotTested).contains("postgres.activity"));
}

#[tokio::test]
async fn t05_a_role_per_session_shows_nothing_of_the_others() {
    let Some(bench) = bench() else { return };
    let walled = bench.walled().await;
    let run = walled.prove(&walled.admin(), &Options::default()).await.unwrap();
    assert!(attacks(&run, Verdict::Blocked).contains("postgres.activity"), "{:#?}", open(&run));
    let notes: Vec<&str> = run.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("ALTER ROLE CURRENT_USER")), "{notes:#?}");
    walled.run("GRANT pg_read_all_stats TO {db}_app").await;
    let run = walled.prove(&walled.admin(), &Options::default()).await.unwrap();
    assert!(attacks(&run, Verdict::Leaked).contains("postgres.activity"), "{:#?}", open(&run));
}

#[tokio::test]
async fn t05_a_trigger_that_tells_every_listener_of_a_row_is_found() {
    let Some(bench) = bench() else { return };
    let trigger = |body: &str| {
        format!(
            "CREATE FUNCTION shop.tell() RETURNS trigger LANGUAGE plpgsql AS $t$ BEGIN {body}; RETURN NULL; END $t$;
             CREATE TRIGGER tell AFTER INSERT ON shop.files FOR EACH ROW EXECUTE FUNCTION shop.tell()"
        )
    };
    let of = "postgres.notify@shop.files";
    for (body, leaks) in [
        ("PERFORM pg_notify('files', row_to_json(NEW)::text)", true),
        ("PERFORM pg_notify('files', '')", false),
        ("PERFORM length(NEW.path)", false),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(&trigger(body)).await;
        let run = shop.prove(&shop.as_role("{db}_app"), &injection()).await.unwrap();
        assert_eq!(is_seen(&run, of), leaks, "{body}\n{}", open(&run).join("\n"));
    }
}

#[tokio::test]
async fn m24_without_writing_a_session_is_attacked_all_the_same() {
    let Some(bench) = bench() else { return };
    let options = |shared: Vec<String>| Options {
        read_only: true,
        tenants: Some(["acme".to_owned(), "acme-2".to_owned()]),
        shared,
        ..Options::default()
    };
    let shop = bench.database(SHOP).await;
    let rows = "INSERT INTO shop.customers (tenant_id, email) VALUES ('acme', 'a@a'), ('acme-2', 'b@b');
                INSERT INTO shop.files VALUES ('acme', 'a', 1), ('acme-2', 'b', 1);
                INSERT INTO shop.orders SELECT tenant_id, gen_random_uuid(), id, 'open', 1 FROM shop.customers";
    shop.run(rows).await;
    let run = shop.prove(&shop.as_role("{db}_app"), &options(injection().shared)).await.unwrap();
    assert_eq!(attacks(&run, Verdict::Undecided), [].into(), "{:#?}", open(&run));
    let leaked = attacks(&run, Verdict::Leaked);
    for attack in ["postgres.context-set", "postgres.context-inline", "postgres.context-commit"] {
        assert!(leaked.contains(attack), "{attack}: {:#?}", open(&run));
    }

    let walled = bench.walled().await;
    walled
        .run(
            "SET row_security = off; ALTER TABLE shop.notes ALTER tenant_id DROP DEFAULT;
              INSERT INTO shop.notes (tenant_id, body) VALUES ('acme', 'a'), ('acme-2', 'b')",
        )
        .await;
    let run = walled.prove(&walled.admin(), &options(Vec::new())).await.unwrap();
    assert_eq!(open(&run), Vec::<String>::new());
    let blocked = attacks(&run, Verdict::Blocked);
    assert!(
        blocked.contains("postgres.ticket-replayed") && blocked.contains("postgres.read-untouched")
    );
}
