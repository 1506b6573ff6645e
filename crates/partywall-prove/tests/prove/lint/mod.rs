//! The lint, over schemas with faults planted in them and schemas without.

mod faults;
mod pgrls;

use partywall_postgres::{InitOptions, Roles, Table, migration};
use partywall_prove::{
    postgres::{
        TenantColumn,
        lint::{Finding, LintError, LintReport, Options, Rule, Severity, lint, rules},
    },
    report::{lint_json, lint_sarif, lint_text, uncoloured},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::harness::{Database, bench};
use faults::{FAULTS, Fault};

/// The clean schema, and what is to be known of it.
async fn clean() -> Option<(Database, Options)> {
    let database = bench()?.database(include_str!("clean.sql")).await;
    let options = Options {
        shared: ["shop.country", "auth.login"].map(str::to_owned).into(),
        ..Options::default()
    };
    Some((database, options))
}

/// Looks at the database as it is after `sql`, and leaves it as it was: the lint's own ROLLBACK
/// ends the transaction in which the fault was planted.
async fn after(database: &Database, sql: &str, options: &Options) -> LintReport {
    let mut connection = superuser(database).await;
    run(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    run(&mut connection, &sql.replace("{db}", &database.name)).await;
    lint(&mut connection, options).await.unwrap()
}

async fn superuser(database: &Database) -> PgConnection {
    PgConnection::connect_with(database.options()).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await {
        panic!("{sql}\n{error}");
    }
}

fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |f: &Finding| {
        format!(
            "{} {} @{}: {} | {} | {}",
            f.severity.as_str(),
            f.rule,
            f.place,
            f.what,
            f.fix,
            f.evidence
        )
    };
    findings.iter().map(line).collect()
}

#[tokio::test]
async fn m24_a_clean_schema_made_by_hand_gives_no_finding() {
    let Some((database, options)) = clean().await else { return };
    let report = after(&database, "SELECT 1", &options).await;
    assert_eq!(lines(&report.findings), [""; 0]);
    let tables: Vec<_> = report.tables.iter().map(|t| (&*t.name, &*t.column)).collect();
    assert_eq!(
        tables,
        ["shop.customer", "shop.event", "shop.event_2026", "shop.invoice"]
            .map(|t| (t, "tenant_id"))
    );
    let roles: Vec<_> = report.roles.iter().map(|r| (&*r.name, r.guessed)).collect();
    let names = ["acme", "acme2"].map(|name| format!("{}_{name}", database.name));
    assert_eq!(roles, names.each_ref().map(|name| (&**name, true)));
}

#[tokio::test]
async fn m24_a_schema_walled_by_the_migration_gives_no_finding() {
    let Some(bench) = bench() else { return };
    let database = bench
        .database(
            "CREATE TABLE note (tenant_id text COLLATE \"C\" NOT NULL, id uuid NOT NULL, body text, PRIMARY KEY (tenant_id, id));
             CREATE TABLE event (tenant_id uuid NOT NULL, at date NOT NULL, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
             CREATE TABLE event_2026 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
             CREATE ROLE {db}_manager LOGIN CREATEROLE; ALTER DATABASE {db} OWNER TO {db}_manager;
             ALTER TABLE note OWNER TO {db}_manager; ALTER TABLE event OWNER TO {db}_manager; ALTER TABLE event_2026 OWNER TO {db}_manager;
             ALTER SCHEMA public OWNER TO {db}_manager",
        )
        .await;
    let tables = ["public.note", "public.event"].map(|table| table.parse::<Table>().unwrap());
    let roles = Roles::with_prefix(&database.name).unwrap();
    let options = tables
        .into_iter()
        .fold(InitOptions::new(roles).slots(2), |options, table| options.table(table));
    let mut manager = PgConnection::connect_with(
        &database.options().clone().username(&format!("{}_manager", database.name)),
    )
    .await
    .unwrap();
    run(&mut manager, &migration(&options)).await;
    let report = lint(&mut manager, &Options::default()).await.unwrap();
    assert_eq!(lines(&report.findings), [""; 0]);
    let roles: Vec<_> = report.roles.iter().map(|role| role.name.clone()).collect();
    assert_eq!(roles, [1, 2].map(|n| format!("{}_slot_{n}", database.name)));
    // The role of migrations is no login of the application's, and what it may not see is said.
    let noted = |part: &str| report.notes.iter().any(|note| note.text.contains(part));
    assert!(noted("role of migrations"), "{:?}", report.notes);
    assert!(noted("seen by superusers only"), "{:?}", report.notes);

    // The control: one statement of that migration undone.
    let report =
        after(&database, "ALTER TABLE note NO FORCE ROW LEVEL SECURITY", &Options::default()).await;
    assert_eq!(report.findings.len(), 1, "{:?}", lines(&report.findings));
    assert_eq!(report.findings[0].rule, rules::ROW_SECURITY_NOT_FORCED.id);
}

#[tokio::test]
async fn m24_every_rule_finds_the_fault_planted_for_it_and_its_remedy_takes_it_away() {
    let Some((database, options)) = clean().await else { return };
    let (mut wrong, mut remedies) = (Vec::new(), 0);
    for Fault { rule, severity, place, plant } in FAULTS {
        let place = place.replace("{db}", &database.name);
        let is = |finding: &&Finding| finding.rule == rule.id && finding.place == place;
        let report = after(&database, plant, &options).await;
        let Some(found) = report.findings.iter().find(is).filter(|f| f.severity == *severity)
        else {
            let found = lines(&report.findings).join("\n");
            wrong.push(format!("{} ({severity:?}) @{place}: {plant}\n{found}", rule.id));
            continue;
        };
        assert_eq!(found.page, rule.page());
        if !is_statement(&found.fix) {
            continue;
        }
        remedies += 1;
        let repaired = after(&database, &format!("{plant}; {}", found.fix), &options).await;
        if repaired.findings.iter().any(|finding| is(&finding)) {
            wrong.push(format!("{} stays after {}", rule.id, found.fix));
        }
    }
    // Nothing of it stays: each was rolled back.
    assert_eq!(lines(&after(&database, "SELECT 1", &options).await.findings), [""; 0]);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(remedies > 45, "{remedies} remedies were tried");
}

/// Not a step in words, and with nothing left to fill in.
fn is_statement(fix: &str) -> bool {
    ["ALTER ", "REVOKE ", "DROP "].iter().any(|verb| fix.starts_with(verb))
        && ["…", " a role that ", " in front"].iter().all(|words| !fix.contains(words))
}

#[test]
fn m24_no_rule_is_without_a_planted_fault() {
    // These cannot be planted in a transaction, and have tests of their own.
    let elsewhere = [&rules::SERVER_VERSION, &rules::APPLICATION_ONLY, &rules::REPLICATION_SLOT];
    for rule in rules::CATALOGUE {
        let planted = FAULTS.iter().any(|fault| fault.rule.id == rule.id);
        let other = elsewhere.iter().any(|is| is.id == rule.id);
        assert!(planted != other, "{} has no planted fault", rule.id);
    }
}

#[tokio::test]
async fn t07_a_logical_replication_slot_is_noted() {
    let Some((database, options)) = clean().await else { return };
    let slot = format!("{}_slot", database.name);
    database.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    let report = after(&database, "SELECT 1", &options).await;
    database.run(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    assert_eq!(report.findings.len(), 1, "{:?}", lines(&report.findings));
    assert_eq!(report.findings[0].rule, rules::REPLICATION_SLOT.id);
    assert_eq!(report.findings[0].severity, Severity::Note);
}

#[tokio::test]
async fn m24_what_was_named_and_is_not_there_is_an_error() {
    let Some((database, options)) = clean().await else { return };
    let mut connection = superuser(&database).await;
    let column = |written: &str| -> Vec<TenantColumn> { vec![written.parse().unwrap()] };
    let wrong = [
        Options { schemas: vec!["nowhere".into()], ..options.clone() },
        Options { roles: vec!["nobody".into()], ..options.clone() },
        Options { shared: vec!["shop.nothing".into()], ..options.clone() },
        Options { tenant_columns: column("shop.invoice:owner"), ..options.clone() },
        Options { tenant_columns: column("shop.nothing:tenant_id"), ..options.clone() },
    ];
    for options in wrong {
        let error = lint(&mut connection, &options).await.unwrap_err();
        assert!(matches!(error, LintError::NotThere { .. }), "{error}");
    }
    // The control, on the same connection: nothing of the failures stayed open.
    // A view may be everybody's, as it may be to an attack.
    let shared = options.shared.iter().cloned().chain(["shop.big".to_owned()]).collect();
    let named = Options {
        shared,
        schemas: vec!["shop".into(), "auth".into()],
        roles: vec![format!("{}_acme", database.name)],
        tenant_columns: column("invoice:tenant_id"),
        ..options
    };
    let report = lint(&mut connection, &named).await.unwrap();
    assert_eq!(lines(&report.findings), [""; 0]);
    assert!(report.roles.iter().all(|role| !role.guessed));
}

#[tokio::test]
async fn m24_what_is_accepted_stays_in_the_report_with_its_reason() {
    let Some((database, options)) = clean().await else { return };
    let plant = "GRANT TRUNCATE ON shop.invoice, shop.customer TO {db}_app";
    let ignore = [
        "postgres-lint.grant-past-rows@shop.invoice*=emptied by hand in tests",
        "postgres-lint.publication=was here once",
    ]
    .map(|written| written.parse().unwrap());
    let options = Options { ignore: ignore.into(), ..options };
    let report = after(&database, plant, &options).await;
    let [customer, invoice] = &report.findings[..] else { panic!("{:?}", lines(&report.findings)) };
    assert_eq!(customer.accepted, None);
    assert_eq!(invoice.accepted.as_deref(), Some("emptied by hand in tests"));
    assert_eq!(report.count(Severity::Error), 1);
    assert!(!report.is_clean(false));
    assert!(report.notes.iter().any(|note| note.place == "postgres-lint.publication"));
    // And it reads back as it was written.
    let json = serde_json::to_string(&report).unwrap();
    let back: LintReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back.findings, report.findings);
}

#[tokio::test]
async fn m24_names_of_strangers_are_quoted_and_made_visible() {
    let Some((database, options)) = clean().await else { return };
    let plant = "CREATE TABLE shop.\"It\"\"s \u{1b}[2J\u{202e}\" (\"Tenant\" text); GRANT SELECT ON shop.\"It\"\"s \u{1b}[2J\u{202e}\" TO {db}_app";
    let column = "shop.It\"s \u{1b}[2J\u{202e}:Tenant".parse().unwrap();
    let options = Options { tenant_columns: vec![column], ..options };
    let report = after(&database, plant, &options).await;
    let fix = |rule: &Rule| {
        let found = report.findings.iter().find(|finding| finding.rule == rule.id);
        found.unwrap_or_else(|| panic!("{:?}", lines(&report.findings))).fix.clone()
    };
    let all =
        format!("{plant}; {}; {}", fix(&rules::ROW_SECURITY_OFF), fix(&rules::NULLABLE_TENANT));
    let repaired = after(&database, &all, &options).await;
    let rules: Vec<_> = repaired.findings.iter().map(|finding| &*finding.rule).collect();
    assert_eq!(rules, [rules::NO_POLICY.id]);
    for written in [lint_text(&report, &uncoloured), lint_json(&report), lint_sarif(&report)] {
        assert!(!written.contains(['\u{1b}', '\u{202e}']), "{written}");
        assert!(written.contains("2J"), "{written}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&lint_sarif(&report)).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        let rule = &sarif["runs"][0]["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(rule["helpUri"].as_str().unwrap().contains("docs/book/lint.md#"));
    }
}
