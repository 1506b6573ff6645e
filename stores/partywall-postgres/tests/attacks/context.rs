//! F: forging the tenant context.

use std::time::Duration;

use crate::harness::{
    A, B, DENIED, FOREIGN, NOTES, OWN, UNBOUND, Wall, bench, hex, pair_as_a, readdressed, ticket,
};

#[tokio::test]
async fn m18_f1_set_config_to_another_tenant() {
    let Some((naive, walled)) = pair_as_a().await else { return };

    naive.run("SELECT set_config('app.tenant_id', 'acme-2', true)").await;
    assert_eq!(naive.count(FOREIGN).await, NOTES, "the usual wall: all of B");

    let own = walled.text("SELECT current_setting('partywall.ticket')").await;
    walled.run("SAVEPOINT honest").await;
    // The usual setting means nothing here, and a ticket cannot be readdressed.
    walled.run("SELECT set_config('app.tenant_id', 'acme-2', true)").await;
    assert_eq!(walled.count(FOREIGN).await, 0);
    walled.present(&readdressed(&own, B)).await;
    assert_eq!(walled.refusal(FOREIGN).await, UNBOUND);
    walled.run("ROLLBACK TO honest").await;
    assert_eq!(walled.count(OWN).await, NOTES, "and the honest ticket still holds");
}

#[tokio::test]
async fn m18_f2_set_and_read_in_one_select() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let own = walled.text("SELECT current_setting('partywall.ticket')").await;
    // One statement by the extended protocol: "no multiple statements" is no defence.
    let one_select = "SELECT (SELECT count(*) FROM app.notes n
                               WHERE n.tenant_id = 'acme-2' AND n.id > y.len * 0)
                        FROM (SELECT length(set_config($1, $2, true)) AS len OFFSET 0) AS y";

    let leaked = naive.client.query_one(one_select, &[&"app.tenant_id", &B]).await.unwrap();
    assert_eq!(leaked.get::<_, i64>(0), NOTES);

    let forged = readdressed(&own, B);
    let refused = walled.client.query_one(one_select, &[&"partywall.ticket", &forged]).await;
    assert_eq!(refused.unwrap_err().code().unwrap().code(), UNBOUND);

    // The control: the same statement with the honest ticket runs, and reads nothing of B.
    walled.end().await;
    let own = walled.begin(A).await;
    let honest = walled.client.query_one(one_select, &[&"partywall.ticket", &own]).await.unwrap();
    assert_eq!(honest.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn m18_f3_forged_tickets() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let key = &bench().unwrap().key;
    let now = walled.transaction_time().await;
    let around = now - 1_000_000..=now + 1_000_000;
    let (honest_a, honest_b) = (walled.ticket(A, around.clone()), walled.ticket(B, around.clone()));

    // The control: honest tickets hold, with claims and without.
    let with_claims = ticket(key, walled.pid, B, around.clone(), r#"{"sub":"u:1"}"#);
    for (honest, sees) in [(&honest_a, 0), (&honest_b, NOTES), (&with_claims, NOTES)] {
        walled.present(honest).await;
        assert_eq!(walled.count(FOREIGN).await, sees);
    }

    let (mac_of_a, rest_of_b) = (&honest_a[..64], &honest_b[64..]);
    let one_bit = {
        let digit = u8::from_str_radix(&honest_b[..1], 16).unwrap() ^ 1;
        format!("{digit:x}{}", &honest_b[1..])
    };
    let not_hex = "22023"; // invalid_parameter_value, from decode()
    let forgeries = [
        ("A's mac over B's ticket", format!("{mac_of_a}{rest_of_b}"), UNBOUND),
        ("A's ticket, another tenant in it", readdressed(&honest_a, B), UNBOUND),
        ("a mac of zeros", format!("{}{rest_of_b}", "0".repeat(64)), UNBOUND),
        ("no mac", rest_of_b.to_owned(), UNBOUND),
        ("one bit of the mac", one_bit, UNBOUND),
        ("another key", ticket(&[0; 32], walled.pid, B, around.clone(), ""), UNBOUND),
        ("the empty key", ticket(&[], walled.pid, B, around.clone(), ""), UNBOUND),
        ("another backend", ticket(key, walled.pid + 1, B, around.clone(), ""), UNBOUND),
        ("too late", walled.ticket(B, now - 2..=now - 1), UNBOUND),
        ("too early", walled.ticket(B, now + 1..=now + 2), UNBOUND),
        ("a window turned round", walled.ticket(B, now + 1..=now - 1), UNBOUND),
        (
            "a window of A's put before B",
            { format!("{}{}{}", &honest_b[..64], hex(&[0; 16]), &honest_b[96..]) },
            UNBOUND,
        ),
        // B's ticket read as one of "acme" whose claims are "-2".
        ("a shorter length", honest_b.replacen("0661", "0461", 1), UNBOUND),
        ("a longer length", honest_b.replacen("0661", "0761", 1), UNBOUND),
        ("a length of none", honest_b.replacen("0661", "0061", 1), UNBOUND),
        ("claims added", format!("{honest_b}{}", hex(br#"{"role":"admin"}"#)), UNBOUND),
        ("a byte added", format!("{honest_b}00"), UNBOUND),
        ("a byte cut off", honest_b[..honest_b.len() - 2].to_owned(), UNBOUND),
        ("only a mac", honest_b[..64].to_owned(), UNBOUND),
        ("nothing", String::new(), UNBOUND),
        ("a tenant without a mac", hex(B.as_bytes()), UNBOUND),
        ("a megabyte", "00".repeat(1 << 20), UNBOUND),
        ("half a byte", honest_b[..honest_b.len() - 1].to_owned(), not_hex),
        ("no hexadecimal", "zz".to_owned(), not_hex),
        ("the name itself", B.to_owned(), not_hex),
    ];
    for (name, forged, code) in forgeries {
        assert_ne!(forged, honest_b, "{name} is no forgery");
        walled.run("SAVEPOINT honest").await;
        walled.present(&forged).await;
        for sql in [FOREIGN, OWN, "SELECT partywall.tenant_id()", "SELECT partywall.claims()"] {
            assert_eq!(walled.refusal_inside(sql).await, code, "{name}: {sql}");
        }
        walled.run("ROLLBACK TO honest").await;
    }
    walled.present(&honest_a).await;
    assert_eq!(walled.count(OWN).await, NOTES);
}

/// One uuid has many spellings, and each would be another tenant id for the same rows.
#[tokio::test]
async fn m18_f3_another_spelling_of_a_uuid() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let uuid = "7d3c0a52-4b2e-4b9e-9c39-0a7f6c1e2d11";
    let table = "CREATE TABLE app.by_uuid (tenant_id uuid, body text);
                 INSERT INTO app.by_uuid VALUES ('7d3c0a52-4b2e-4b9e-9c39-0a7f6c1e2d11', 'of uuid')";
    let root = bench.superuser("naive").await;
    root.set_up(&format!(
        "SET ROLE naive_owner; {table}; ALTER TABLE app.by_uuid ENABLE ROW LEVEL SECURITY;
         CREATE POLICY tenant ON app.by_uuid
           USING (tenant_id = current_setting('app.tenant_id')::uuid);
         GRANT SELECT ON app.by_uuid TO naive_app"
    ))
    .await;
    let root = bench.superuser("walled").await;
    root.set_up(&format!(
        "SET ROLE partywall_data; {table}; SELECT partywall.protect('app.by_uuid');
         GRANT SELECT ON app.by_uuid TO partywall_app"
    ))
    .await;
    naive.end().await;
    walled.end().await;

    let read = "SELECT body FROM app.by_uuid";
    for session in [&naive, &walled] {
        session.begin(uuid).await;
        assert_eq!(session.text(read).await, "of uuid", "the control");
        session.end().await;
    }
    for alias in [uuid.to_uppercase(), uuid.replace('-', ""), format!("{{{uuid}}}")] {
        naive.begin(&alias).await;
        assert_eq!(naive.text(read).await, "of uuid", "{alias}");
        naive.end().await;
        walled.begin(&alias).await;
        assert_eq!(walled.refusal(read).await, "22P02", "{alias}");
        walled.end().await;
    }
    walled.begin(A).await;
    assert_eq!(walled.refusal(read).await, "22P02", "a tenant whose id is none");
}

#[tokio::test]
async fn m18_f4_set_role_and_its_like() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();

    // The control: a login that is also a member of the owner, as migrations often leave it.
    // Owners are above the usual policies.
    let root = bench.superuser("naive").await;
    root.set_up("CREATE ROLE naive_member LOGIN IN ROLE naive_app, naive_owner").await;
    let member = bench.connect(Wall::Naive, "naive_member", "naive", "").await;
    member.begin(A).await;
    member.run("SET ROLE naive_owner").await;
    assert_eq!(member.count(FOREIGN).await, NOTES);
    // The same mistake behind our wall: FORCE holds the owner, too.
    root.set_up("CREATE ROLE walled_member LOGIN IN ROLE partywall_app, partywall_data").await;
    let member = bench.connect(Wall::Ours, "walled_member", "walled", "").await;
    member.begin(A).await;
    member.run("SET ROLE partywall_data").await;
    assert_eq!(member.count(OWN).await, NOTES);
    assert_eq!(member.count(FOREIGN).await, 0);
    member.end().await;
    assert_eq!(member.refusal(FOREIGN).await, UNBOUND);

    for session in [&naive, &walled] {
        for refused in [
            "SET ROLE naive_owner",
            "SET ROLE partywall_data",
            "SET ROLE partywall_owner",
            "SET ROLE partywall_slot_300",
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION postgres",
            "SET session_replication_role = replica",
            "SELECT set_config('role', 'partywall_data', true)",
        ] {
            assert_eq!(session.refusal_inside(refused).await, DENIED, "{refused}");
        }
        for harmless in ["RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION"] {
            session.run(harmless).await;
            assert_eq!(session.count(OWN).await, NOTES, "{harmless}");
            assert_eq!(session.count(FOREIGN).await, 0, "{harmless}");
        }
        session.run("SET LOCAL row_security = off").await;
        assert_eq!(session.refusal(FOREIGN).await, DENIED, "an error, instead of filtered rows");
    }
}

#[tokio::test]
async fn m18_f5_commit_begin_set_read_in_one_message() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let attack = |setting: &str, value: &str| {
        format!("COMMIT; BEGIN; SELECT set_config('{setting}', '{value}', false); {FOREIGN}")
    };

    let rows = naive.rows(&attack("app.tenant_id", B)).await.unwrap();
    assert_eq!(rows.last().unwrap(), &["1000"]);

    let own = walled.text("SELECT current_setting('partywall.ticket')").await;
    // Readdressed, and A's own carried over: neither holds in the new transaction.
    for planted in [readdressed(&own, B), own] {
        assert_eq!(walled.refusal(&attack("partywall.ticket", &planted)).await, UNBOUND);
        walled.end().await;
    }
    walled.begin(A).await;
    assert_eq!(walled.refusal(&format!("COMMIT; BEGIN; {OWN}")).await, UNBOUND);
    walled.end().await;
    walled.begin(A).await;
    assert_eq!(walled.count(OWN).await, NOTES);
}

#[tokio::test]
async fn m18_f6_context_left_on_a_pooled_connection() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    naive.end().await;
    walled.end().await;

    // B's request uses SET instead of SET LOCAL, as many applications do; the next forgets to set.
    naive.run("BEGIN; SELECT set_config('app.tenant_id', 'acme-2', false); COMMIT").await;
    assert_eq!(naive.count(FOREIGN).await, NOTES);

    let of_b = walled.begin(B).await;
    walled
        .run("SELECT set_config('partywall.ticket', current_setting('partywall.ticket'), false)")
        .await;
    assert_eq!(walled.count(FOREIGN).await, NOTES);
    walled.end().await;
    assert_eq!(walled.text("SELECT current_setting('partywall.ticket')").await, of_b);
    assert_eq!(walled.refusal(FOREIGN).await, UNBOUND, "it is there, and holds no more");
    assert_eq!(walled.refusal(OWN).await, UNBOUND);
}

#[tokio::test]
async fn m18_f7_replay_of_a_captured_ticket() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    walled.end().await;
    let other = bench().unwrap().walled().await;

    // Bound to a backend, and to a window.
    walled.run("BEGIN").await;
    let now = walled.transaction_time().await;
    let captured = walled.ticket(B, now..=now + 400_000);
    walled.present(&captured).await;
    assert_eq!(walled.count(FOREIGN).await, NOTES, "the control: to B's own use it holds");
    walled.end().await;

    other.run("BEGIN").await;
    other.present(&captured).await;
    assert_eq!(other.refusal(FOREIGN).await, UNBOUND, "on another backend");
    other.end().await;
    tokio::time::sleep(Duration::from_millis(450)).await;
    walled.run("BEGIN").await;
    walled.present(&captured).await;
    assert_eq!(walled.refusal(FOREIGN).await, UNBOUND, "after its window");
    walled.end().await;

    // Strict: bound to one transaction.
    let strict = walled.begin(B).await;
    assert_eq!(walled.count(FOREIGN).await, NOTES);
    walled.end().await;
    for session in [&walled, &other] {
        session.run("BEGIN").await;
        session.present(&strict).await;
        assert_eq!(session.refusal(FOREIGN).await, UNBOUND, "in another transaction");
        session.end().await;
    }
}

/// What strict mode is for, and the scrub, which removes the traps that could capture a ticket.
#[tokio::test]
async fn m18_f7_replay_on_the_same_backend_inside_its_window_residual() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let now = walled.transaction_time().await;
    let captured = walled.ticket(B, now..=now + 60_000_000);
    walled.end().await;
    walled.run("BEGIN").await;
    walled.present(&captured).await;
    assert_eq!(walled.count(FOREIGN).await, NOTES);
}

#[tokio::test]
async fn m18_f9_commit_and_chain() {
    let Some((naive, walled)) = pair_as_a().await else { return };

    // What is set for the session passes into the next transaction of the chain.
    naive.run("SELECT set_config('app.tenant_id', 'acme-2', false); COMMIT AND CHAIN").await;
    assert_eq!(naive.count(FOREIGN).await, NOTES);

    for chain in ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"] {
        walled.run(chain).await;
        assert_eq!(walled.refusal(OWN).await, UNBOUND, "{chain}: the ticket was local");
        walled.end().await;
        walled.begin(A).await;
    }
    walled
        .run("SELECT set_config('partywall.ticket', current_setting('partywall.ticket'), false)")
        .await;
    assert_eq!(walled.count(OWN).await, NOTES);
    walled.run("COMMIT AND CHAIN").await;
    assert_eq!(walled.refusal(OWN).await, UNBOUND, "carried over, it is of another transaction");
}

/// Writes a filter that reads SQL does not recognise: hidden in a string, or computed.
#[tokio::test]
async fn m18_f10_a_write_hidden_in_a_string() {
    let Some((naive, walled)) = pair_as_a().await else { return };
    let own = walled.text("SELECT current_setting('partywall.ticket')").await;
    let forged = readdressed(&own, B);
    let quoted = |inner: &str| inner.replace('\'', "''");

    for session in [(&naive), (&walled)] {
        let (space, name, value, wall) = if std::ptr::eq(session, &naive) {
            ("app", "tenant_id", B, Wall::Naive)
        } else {
            ("partywall", "ticket", &*forged, Wall::Ours)
        };
        let write = format!("SELECT set_config('{space}.{name}', '{value}', true)");
        let chr = format!("{space}.{name}");
        let chr = chr.bytes().map(|b| format!("chr({b})")).collect::<Vec<_>>().join("||");
        let hidden = [
            ("query_to_xml", format!("SELECT query_to_xml('{}', true, false, '')", quoted(&write))),
            (
                "query_to_xmlschema",
                format!("SELECT query_to_xml_and_xmlschema('{}', true, false, '')", quoted(&write)),
            ),
            (
                "ts_stat",
                format!(
                    "SELECT * FROM ts_stat('{}')",
                    quoted(&format!(
                        "SELECT (set_config('{space}.{name}', '{value}', true) || ' x')::tsvector"
                    ))
                ),
            ),
            (
                "a computed name",
                format!("SELECT set_config('{space}.' || '{name}', '{value}', true)"),
            ),
            ("a spelled name", format!("SELECT set_config({chr}, '{value}', true)")),
            (
                "FROM set_config()",
                format!("SELECT * FROM set_config('{space}.{name}', '{value}', true)"),
            ),
            (
                "a quoted function",
                format!("SELECT pg_catalog.\"set_config\"('{space}.{name}', '{value}', true)"),
            ),
            ("DO", format!("DO $x$ BEGIN EXECUTE '{}'; END $x$", quoted(&write))),
            ("PREPARE", format!("PREPARE hidden AS {write}; EXECUTE hidden; DEALLOCATE hidden")),
        ];
        for (trick, sql) in hidden {
            session.run("SAVEPOINT honest").await;
            session.run(&sql).await;
            match wall {
                Wall::Naive => assert_eq!(session.count(FOREIGN).await, NOTES, "{trick}"),
                _ => assert_eq!(session.refusal(FOREIGN).await, UNBOUND, "{trick}"),
            }
            session.run("ROLLBACK TO honest").await;
            assert_eq!(session.count(OWN).await, NOTES, "{trick}");
        }
    }
}

/// A role per tenant, pinned in the startup packet: RESET ROLE and DISCARD ALL cannot undo it.
#[tokio::test]
async fn m18_f10_a_role_of_the_startup_packet_is_undone() {
    let Some((_naive, walled)) = pair_as_a().await else { return };
    let bench = bench().unwrap();
    let undo =
        "SELECT query_to_xml('SELECT set_config(''role'', ''none'', false)', true, false, '')";
    let redo =
        "SELECT query_to_xml('SELECT set_config(''role'', ''tenant_b'', false)', true, false, '')";

    let root = bench.superuser("naive").await;
    root.set_up(
        "CREATE ROLE tenant_a NOLOGIN; CREATE ROLE tenant_b NOLOGIN;
         CREATE ROLE by_role LOGIN NOINHERIT IN ROLE tenant_a, tenant_b;
         GRANT USAGE ON SCHEMA app TO tenant_a, tenant_b;
         CREATE TABLE app.by_role (owner name, body text);
         INSERT INTO app.by_role VALUES ('tenant_a', 'of A'), ('tenant_b', 'of B');
         ALTER TABLE app.by_role ENABLE ROW LEVEL SECURITY;
         CREATE POLICY tenant ON app.by_role USING (owner = current_user);
         GRANT SELECT ON app.by_role TO tenant_a, tenant_b",
    )
    .await;
    let pinned = bench.connect(Wall::Naive, "by_role", "naive", "-c role=tenant_a").await;
    for harmless in ["RESET ROLE", "RESET ALL", "DISCARD ALL"] {
        pinned.run(harmless).await;
        assert_eq!(pinned.text("SELECT body FROM app.by_role").await, "of A", "{harmless}");
    }
    pinned.run(undo).await;
    assert_eq!(pinned.text("SELECT current_user").await, "by_role", "the pin is gone");
    pinned.run(redo).await;
    assert_eq!(pinned.text("SELECT body FROM app.by_role").await, "of B");

    // Behind our wall no tenant depends on the role.
    walled.run(undo).await;
    assert_eq!(walled.count(OWN).await, NOTES);
    assert_eq!(walled.count(FOREIGN).await, 0);
    let other_slot = "SELECT query_to_xml('SELECT set_config(''role'', ''partywall_slot_300'', false)', true, false, '')";
    assert_eq!(walled.refusal(other_slot).await, DENIED);
}
