//! pgrls itself, where it is installed, on the same schemas.

use std::{env, path::PathBuf, process::Command};

use partywall_prove::postgres::lint::{Finding, Options, lint, pgrls, rules};

use super::{lines, superuser};
use crate::harness::{Database, bench};

/// What the two see differently, and why.
const PAGE: &str = include_str!("../../../../../docs/book/lint.md");

#[tokio::test]
async fn m24_what_pgrls_finds_is_found_or_the_difference_explained() {
    let Some(program) = find() else {
        eprintln!("SKIPPED: no pgrls on this machine (pip install pgrls; on PATH, or in PGRLS)");
        return;
    };
    let Some(bench) = bench() else { return };
    let mut compared = 0;
    for (sql, schemas) in [
        (include_str!("clean.sql"), "shop,auth"),
        (include_str!("set_local.sql"), "public"),
        (include_str!("claims.sql"), "public,auth"),
    ] {
        let database = bench.database(sql).await;
        let imported = pgrls::import(&run(&program, &database, schemas)).unwrap();
        let options = Options { imported: imported.clone(), ..Options::default() };
        let report = lint(&mut superuser(&database).await, &options).await.unwrap();
        // Beside ours, all of them, and marked as what they are.
        let theirs = report.findings.iter().filter(|f| f.tool.as_deref() == Some("pgrls"));
        assert_eq!(theirs.count(), imported.len());
        let unexplained: Vec<_> = imported
            .into_iter()
            .filter(|theirs| !found(theirs, &report.findings) && !explained(&theirs.rule))
            .collect();
        assert_eq!(lines(&unexplained), [""; 0], "docs/book/lint.md must say why we do not");
        compared += report.findings.len();
    }
    assert!(compared > 20, "the schemas with faults have them");
}

#[test]
fn m24_the_page_lists_which_rules_of_both_are_one() {
    let known = ["SEC", "PERF", "HYG", "VIEW"].into_iter().zip([55, 5, 4, 4]);
    for (kind, last) in known {
        for number in 1..=last {
            let rule = format!("{kind}{number:03}");
            let row = match pgrls::counterpart(&rule) {
                Some(ours) => format!("| {rule} | [{0}](#{0}) |", ours.anchor()),
                None => format!("| {rule} | none |"),
            };
            assert!(PAGE.contains(&row), "docs/book/lint.md lacks the row {row:?}");
        }
    }
    // And every rule of ours without one stands in the other table.
    let theirs: Vec<_> = (1..=55)
        .flat_map(|n| ["SEC", "PERF", "VIEW"].map(|kind| format!("{kind}{n:03}")))
        .filter_map(|rule| pgrls::counterpart(&rule))
        .map(|ours| ours.id)
        .collect();
    let (_, only_ours) = PAGE.split_once("## Only here").unwrap();
    for rule in rules::CATALOGUE {
        let link = format!("[{0}](#{0})", rule.anchor());
        assert_eq!(
            only_ours.contains(&link),
            !theirs.contains(&rule.id),
            "docs/book/lint.md, Only here: {}",
            rule.id
        );
    }
}

/// We have it too, at the same table or function.
fn found(theirs: &Finding, all: &[Finding]) -> bool {
    let names: Vec<&str> = theirs.place.split([' ', '.']).take(2).collect();
    all.iter().filter(|finding| finding.tool.is_none()).any(|ours| {
        Some(&ours.rule) == theirs.ours.as_ref() && ours.place.contains(&names.join("."))
    })
}

/// The table of differences names the rule, and gives a reason.
fn explained(rule: &str) -> bool {
    let name = rule.trim_start_matches("pgrls.");
    let row = format!("| {name} | ");
    PAGE.lines().any(|line| {
        line.starts_with(&row) && line.matches('|').count() == 4 && line.len() > row.len() + 40
    })
}

fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("PGRLS") {
        return Some(PathBuf::from(named));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join("pgrls")).find(|program| program.is_file())
}

/// Its findings, as JSON. It exits with 1 when there are any.
fn run(program: &PathBuf, database: &Database, schemas: &str) -> String {
    let options = database.options();
    let url = format!(
        "postgresql:///{}?user={}&port={}&host={}",
        database.name,
        options.get_username(),
        options.get_port(),
        options.get_socket().unwrap().display()
    );
    let output = Command::new(program)
        .args(["lint", "--format", "json", "--database-url", &url])
        .args(["--schemas", schemas])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {said}", program.display());
    String::from_utf8(output.stdout).unwrap()
}
