//! O: observing others from inside one's own transaction.

use crate::harness::{A, B, DENIED, FOREIGN, NOTES, OWN, Session, bench, pair_as_a, until_asleep};

#[tokio::test]
async fn m18_o1_sql_of_others_in_pg_stat_activity() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let seen_by = async |spy: &Session, victim: Session| {
        let root = bench.superuser("postgres").await;
        victim.begin(B).await;
        let look = format!("SELECT query FROM pg_stat_activity WHERE pid = {}", victim.pid);
        let busy = victim.run("SELECT pg_sleep(0.4) /* ssn = '123-45-6789' */");
        let looked = async {
            until_asleep(&root, victim.pid).await;
            (spy.text(&look).await, root.text(&look).await)
        };
        let ((seen, there), ()) = tokio::join!(looked, busy);
        assert!(there.contains("123-45-6789"), "the control: it is there to be seen");
        seen
    };

    assert!(seen_by(&naive, bench.naive().await).await.contains("123-45-6789"));
    assert_eq!(seen_by(&walled, bench.walled().await).await, "<insufficient privilege>");
    // The control: a slot sees its own.
    let own = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert!(walled.text(own).await.contains("pg_stat_activity"));
}

#[tokio::test]
async fn m18_o2_cancel_and_terminate_others() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let root = bench.superuser("postgres").await;

    let victim = bench.naive().await;
    let strike = async {
        until_asleep(&root, victim.pid).await;
        naive.text(&format!("SELECT pg_cancel_backend({})", victim.pid)).await
    };
    let (struck, busy) = tokio::join!(strike, victim.rows("SELECT pg_sleep(20)"));
    assert_eq!(struck, "t");
    assert_eq!(busy.unwrap_err().code, "57014", "B's query was cancelled");

    let victim = bench.walled().await;
    victim.begin(B).await;
    let strike = async {
        until_asleep(&root, victim.pid).await;
        for weapon in ["pg_cancel_backend", "pg_terminate_backend"] {
            let sql = format!("SELECT {weapon}({})", victim.pid);
            assert_eq!(walled.refusal_inside(&sql).await, DENIED, "{weapon}");
        }
    };
    let ((), busy) = tokio::join!(strike, victim.rows("SELECT pg_sleep(0.4)"));
    busy.unwrap();
    assert_eq!(victim.count(FOREIGN).await, NOTES, "B goes on");
}

/// The planner's estimates come from one histogram of all tenants. Nothing of A has this salary,
/// and A learns that it is frequent among the others.
#[tokio::test]
async fn m18_o3_estimates_of_explain_residual() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    for session in [&naive, &walled] {
        let of_a = "SELECT count(*) FROM app.notes WHERE salary = 77777";
        assert_eq!(session.count(of_a).await, 0, "A has none");
        let [frequent, absent] = [estimate(session, 77777).await, estimate(session, 5).await];
        assert!(frequent >= 10 * absent, "{frequent} against {absent}");
    }
    // The remedy the documentation names: no statistics on a secret column.
    let bench = bench().unwrap();
    let root = bench.superuser("walled").await;
    root.set_up(
        "CREATE TABLE app.o3 (LIKE app.notes INCLUDING ALL);
         INSERT INTO app.o3 OVERRIDING SYSTEM VALUE SELECT * FROM app.notes;
         ALTER TABLE app.o3 OWNER TO partywall_data, ALTER salary SET STATISTICS 0;
         SELECT partywall.protect('app.o3'); GRANT SELECT ON app.o3 TO partywall_app;
         ANALYZE app.o3",
    )
    .await;
    let [frequent, absent] =
        [estimate_in("app.o3", &walled, 77777).await, estimate_in("app.o3", &walled, 5).await];
    assert_eq!(frequent, absent);
}

async fn estimate(session: &Session, salary: i64) -> i64 {
    estimate_in("app.notes", session, salary).await
}

async fn estimate_in(table: &str, session: &Session, salary: i64) -> i64 {
    let sql = format!("EXPLAIN SELECT * FROM {table} WHERE salary = {salary}");
    let plan = session.rows(&sql).await.unwrap();
    let scan = plan.iter().flatten().find(|line| line.contains(" on ")).unwrap();
    let rows = scan.split("rows=").nth(1).unwrap().split(' ').next().unwrap();
    rows.parse().unwrap()
}

#[tokio::test]
async fn t07_o4_rows_removed_by_filter() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let removed = async |session: &Session, email: &str| {
        session.run("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off").await;
        let sql = format!(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
             SELECT * FROM app.notes WHERE email = '{email}'"
        );
        let plan = session.rows(&sql).await.unwrap().concat();
        // The control: the question was put to an index.
        assert!(plan.iter().any(|line| line.contains("Index Scan")), "{plan:?}");
        plan.into_iter().filter(|line| line.contains("Removed")).collect::<Vec<_>>()
    };
    let [of_b, of_nobody] = ["user2@example", "nobody@example"];

    assert_ne!(removed(&naive, of_b).await, removed(&naive, of_nobody).await, "an oracle");
    assert_eq!(removed(&walled, of_b).await, removed(&walled, of_nobody).await);
    assert!(removed(&walled, of_b).await.is_empty(), "the index leads with the tenant");
}

#[tokio::test]
async fn t07_o5_unique_constraint_across_tenants() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let inserted = async |session: &Session, email: &str| {
        let sql = format!(
            "INSERT INTO app.notes (tenant_id, email) VALUES ('acme', '{email}')
             ON CONFLICT DO NOTHING RETURNING 1"
        );
        session.rows(&sql).await.unwrap().len()
    };
    let [of_b, of_nobody, of_a] = ["user2@example", "nobody@example", "user1@example"];

    assert_eq!([inserted(&naive, of_b).await, inserted(&naive, of_nobody).await], [0, 1]);
    assert_eq!([inserted(&walled, of_b).await, inserted(&walled, of_nobody).await], [1, 1]);
    assert_eq!(inserted(&walled, of_a).await, 0, "the control: unique within the tenant");
    naive.run("ROLLBACK").await;
    walled.run("ROLLBACK").await;
}

#[tokio::test]
async fn t07_o6_foreign_key_to_a_row_of_another() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    for (session, database, holds) in [(&naive, "naive", false), (&walled, "walled", true)] {
        let root = bench.superuser(database).await;
        let of =
            |tenant: &str| format!("SELECT min(id) FROM app.notes WHERE tenant_id = '{tenant}'");
        let (of_a, of_b) = (root.count(&of(A)).await, root.count(&of(B)).await);
        let comment = |note: i64| {
            format!("INSERT INTO app.comments (tenant_id, note_id) VALUES ('acme', {note})")
        };
        session.run(&comment(of_a)).await; // the control: to a note of one's own
        assert_eq!(session.refusal_inside(&comment(9_999_999)).await, "23503");
        if holds {
            assert_eq!(session.refusal_inside(&comment(of_b)).await, "23503", "no oracle");
        } else {
            session.run(&comment(of_b)).await;
        }
        session.run("ROLLBACK").await;
    }
}

/// Referential actions are above row level security: a cascade reaches whatever refers.
#[tokio::test]
async fn t07_o6b_cascade_deletes_a_row_of_another() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    // Two other tenants, since this is committed, and A's and B's notes are being counted.
    for (a, b, database) in
        [(&naive, bench.naive().await, "naive"), (&walled, bench.walled().await, "walled")]
    {
        let root = bench.superuser(database).await;
        a.end().await;
        a.begin("brick").await;
        let note = a.count(
            "INSERT INTO app.notes (tenant_id, body) VALUES ('brick', 'cascades') RETURNING id",
        );
        let note = note.await;
        a.end().await;
        let comment = format!(
            "INSERT INTO app.comments (tenant_id, note_id, body) VALUES ('cedar', {note}, 'o6b')"
        );
        let left = "SELECT count(*) FROM app.comments WHERE body IN ('o6b', 'of brick')";
        b.begin("cedar").await;
        if database == "naive" {
            b.run(&comment).await;
            b.end().await;
            assert_eq!(root.count(left).await, 1);
        } else {
            assert_eq!(b.refusal(&comment).await, "23503");
            b.end().await;
        }
        a.begin("brick").await;
        a.run(&format!(
            "INSERT INTO app.comments (tenant_id, note_id, body) VALUES ('brick', {note}, 'of brick')"
        ))
        .await;
        a.run(&format!("DELETE FROM app.notes WHERE id = {note}")).await;
        a.end().await;
        // On both walls its own comment went along, which is what the constraint says. On the
        // usual one the other tenant's did, too.
        assert_eq!(root.count(left).await, 0, "{database}");
    }
}

/// Quals of the query that could tell by an error or a notice are evaluated after the wall's.
#[tokio::test]
async fn b50_o7_leaky_operators_and_functions() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();

    // The control: a wall made of a view, as it was done before row level security. Whoever can
    // make a cheap function sees every row on its way to the filter.
    let root = bench.superuser("naive").await;
    root.set_up(
        "SET ROLE naive_owner;
         CREATE VIEW app.filtered AS SELECT * FROM app.notes
           WHERE tenant_id = current_setting('app.tenant_id', true);
         GRANT SELECT ON app.filtered TO naive_app",
    )
    .await;
    naive
        .run(
            "CREATE FUNCTION pg_temp.spy(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001
           AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$",
        )
        .await;
    assert_eq!(
        naive.count("SELECT count(*) FROM app.filtered WHERE pg_temp.spy(body)").await,
        NOTES
    );
    assert!(naive.notices().contains("saw secret body 2 "), "a body of B");

    // Row level security holds that back, on both walls; ours under every name.
    let root = bench.superuser("walled").await;
    root.set_up(
        "CREATE SCHEMA o7; GRANT USAGE ON SCHEMA o7 TO PUBLIC;
         CREATE FUNCTION o7.spy(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001
           AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$",
    )
    .await;
    for relation in ["app.notes", "app.all_notes"] {
        let sql = format!("SELECT count(*) FROM {relation} WHERE o7.spy(body)");
        assert_eq!(walled.count(&sql).await, NOTES);
    }
    assert!(walled.notices().contains("saw secret body 1 "), "the control: its own");
    assert!(!walled.notices().contains("saw secret body 2 "));

    for session in [&naive, &walled] {
        // An error at the first foreign row would tell; A has no such salary, and no number.
        let division = "SELECT count(*) FROM app.notes WHERE 1 / (salary - 77777) > 10";
        assert_eq!(session.count(division).await, 0);
        let own_error = "SELECT count(*) FROM app.notes WHERE 1 / (salary - 1001) > 10";
        assert_eq!(
            session.refusal_inside(own_error).await,
            "22012",
            "the control: on its own rows"
        );
        let cast = "SELECT count(*) FROM app.notes WHERE tenant_id = 'acme-2' AND body::int > 0";
        assert_eq!(session.count(cast).await, 0);
        let cast = "SELECT count(*) FROM app.notes WHERE body::int > 0";
        session.run("SAVEPOINT attempt").await;
        let told = session.rows(cast).await.unwrap_err();
        session.run("ROLLBACK TO attempt").await;
        let number = told.message.split("secret body ").nth(1).unwrap();
        let number: i64 = number.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        assert_eq!(number % 4, 1, "an error tells of A's own rows: {}", told.message);
    }
}

/// Sizes and totals are the whole table's: PostgreSQL has no right to withhold them.
#[tokio::test]
async fn m18_o8_sizes_and_totals_residual() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    for (session, database) in [(&naive, "naive"), (&walled, "walled")] {
        let root = bench.superuser(database).await;
        for sql in [
            "SELECT pg_relation_size('app.notes')",
            "SELECT reltuples FROM pg_class WHERE oid = 'app.notes'::regclass",
            "SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'app.notes'::regclass",
        ] {
            let (seen, there) = (session.text(sql).await, root.text(sql).await);
            assert_eq!(seen, there, "{sql}");
            assert!(there.parse::<i64>().unwrap() >= 4 * NOTES, "{sql}");
        }
        // But values are withheld where row level security is on.
        let stats =
            "SELECT count(*) FROM pg_stats WHERE schemaname = 'app' AND tablename = 'notes'";
        assert_eq!(session.count(stats).await, 0);
        assert!(root.count(stats).await > 0, "the control: there are statistics");
    }
}

/// A sequence tells how many rows others insert.
#[tokio::test]
async fn t07_o8_sequences() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let last = "SELECT last_value FROM app.notes_id_seq";
    assert!(naive.count(last).await >= 4 * NOTES);
    for sql in [
        last,
        "SELECT currval('app.notes_id_seq')",
        "SELECT nextval('app.notes_id_seq')",
        "SELECT setval('app.notes_id_seq', 1)",
    ] {
        assert_eq!(walled.refusal_inside(sql).await, DENIED, "{sql}");
    }
    let listed = "SELECT count(last_value) FROM pg_sequences WHERE sequencename = 'notes_id_seq'";
    assert_eq!(walled.count(listed).await, 0);
    assert_eq!(naive.count(listed).await, 1, "the control");
    walled.run("INSERT INTO app.notes (body) VALUES ('o8'); ROLLBACK").await;
}

#[tokio::test]
async fn m18_o9_large_objects_of_another_slot() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let store = "SELECT lo_from_bytea(0, 'a scan of B')";

    let b = bench.naive().await;
    b.begin(B).await;
    let object = b.count(store).await;
    b.end().await;
    let read = |object: i64| format!("SELECT convert_from(lo_get({object}), 'UTF8')");
    assert_eq!(naive.text(&read(object)).await, "a scan of B");

    let b = bench.walled().await;
    b.begin(B).await;
    let object = b.count(store).await;
    b.end().await;
    assert_eq!(walled.refusal_inside(&read(object)).await, DENIED);
    let drop = format!("SELECT lo_unlink({object})");
    assert_eq!(walled.refusal_inside(&drop).await, DENIED);
    b.begin(A).await;
    assert_eq!(b.text(&read(object)).await, "a scan of B", "on its own slot: see the residual");
}

/// Large objects know no tenant: they belong to the slot, and stay when its tenant changes.
/// Only a superuser could take `lo_create` away. Applications behind the wall do without them.
#[tokio::test]
async fn m18_o9_large_objects_of_the_same_slot_residual() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    walled.end().await;
    walled.begin(B).await;
    let object = walled.count("SELECT lo_from_bytea(0, 'a scan of B')").await;
    walled.end().await;
    walled.run("DISCARD ALL").await;
    walled.begin(A).await;
    let read = format!("SELECT convert_from(lo_get({object}), 'UTF8')");
    assert_eq!(walled.text(&read).await, "a scan of B");
}

/// Row addresses tell nothing: a row of another is not there.
#[tokio::test]
async fn m18_o9_probing_by_ctid() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    for (session, database) in [(&naive, "naive"), (&walled, "walled")] {
        let root = bench.superuser(database).await;
        let probe = "SELECT count(*) FROM app.notes WHERE ctid = ANY (ARRAY['(0,1)', '(0,2)', '(0,3)', '(0,4)']::tid[])";
        assert_eq!(root.count(probe).await, 4, "the control: four tenants' rows");
        assert_eq!(session.count(probe).await, 1);
    }
    assert_eq!(walled.count(OWN).await, NOTES);
}
