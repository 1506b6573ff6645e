//! A lint's own report, where nothing was attacked: for people, for programs, for code scanning.

use serde_json::json;

use super::{
    sarif::{FORMAT, findings},
    text::{Paint, Tone},
    visible::{on_one_line, visible_json},
};
use crate::postgres::lint::{Finding, LintReport, Severity};

/// The report for people: what was looked at, each finding with its remedy and page, and a tally.
pub fn lint_text(report: &LintReport, paint: Paint<'_>) -> String {
    let mut lines = vec![format!(
        "Lint of database {} on PostgreSQL {}, as {}",
        on_one_line(&report.database),
        on_one_line(&report.server),
        on_one_line(&report.looked_as)
    )];
    let tables = report.tables.iter().map(|t| format!("{} ({})", t.name, t.column));
    lines.push(format!("  tenant tables  {}", listed(tables)));
    let roles = report.roles.iter().map(|role| {
        if role.guessed { format!("{} (guessed)", role.name) } else { role.name.clone() }
    });
    lines.push(format!("  runtime roles  {}", listed(roles)));
    lines.push(String::new());
    for finding in &report.findings {
        lines.extend(finding_lines(finding, paint));
    }
    if !report.notes.is_empty() {
        lines.push("Notes:".to_owned());
        let notes = report.notes.iter();
        lines
            .extend(notes.map(|note| {
                format!("  {}: {}", on_one_line(&note.place), on_one_line(&note.text))
            }));
        lines.push(String::new());
    }
    lines.push(tally(report, paint));
    lines.join("\n") + "\n"
}

/// The report as it is serialized, indented.
pub fn lint_json(report: &LintReport) -> String {
    // Strings and numbers only: there is nothing that could fail.
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    format!("{}\n", visible_json(&json))
}

/// The report as SARIF 2.1.0: a result for each finding; what is accepted is suppressed.
pub fn lint_sarif(report: &LintReport) -> String {
    let (rules, results) = findings(&report.findings);
    let notes = report.notes.iter().map(|note| {
        json!({ "level": "note", "message": { "text": format!("{}: {}", note.place, note.text) } })
    });
    let log = json!({
        "$schema": FORMAT,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "partywall postgres lint",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notes.collect::<Vec<_>>(),
            }],
            "results": results,
            "properties": { "database": report.database, "server": report.server },
        }],
    });
    let log = serde_json::to_string_pretty(&log).unwrap_or_default();
    format!("{}\n", visible_json(&log))
}

/// A finding, its evidence and its remedy, on lines of their own.
pub(super) fn finding_lines(finding: &Finding, paint: Paint<'_>) -> Vec<String> {
    let tone = match (finding.severity, &finding.accepted) {
        (Severity::Note, _) | (_, Some(_)) => Tone::Quiet,
        (Severity::Warning, None) => Tone::Doubt,
        (Severity::Error, None) => Tone::Bad,
    };
    // Imported findings need their place; ours say it in their own words.
    let what = match &finding.tool {
        Some(_) => format!("{}: {}", finding.place, finding.what),
        None => finding.what.clone(),
    };
    let severity = paint(tone, finding.severity.as_str());
    let mut lines =
        vec![format!("{severity}  {} [{}]", on_one_line(&what), on_one_line(&finding.rule))];
    let facts = [
        ("fix", Some(&finding.fix)),
        ("seen", Some(&finding.evidence)),
        ("ours", finding.ours.as_ref()),
        ("accepted", finding.accepted.as_ref()),
        ("more", Some(&finding.page)),
    ];
    for (label, fact) in facts {
        if let Some(fact) = fact.filter(|fact| !fact.is_empty()) {
            let label = paint(Tone::Quiet, &format!("{label:<8}"));
            lines.push(format!("    {label}  {}", on_one_line(fact)));
        }
    }
    lines
}

fn tally(report: &LintReport, paint: Paint<'_>) -> String {
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(|severity| report.count(severity));
    let accepted = report.findings.iter().filter(|finding| finding.accepted.is_some()).count();
    let word = match (errors, warnings) {
        (0, 0) => paint(Tone::Good, "clean"),
        (0, _) => paint(Tone::Doubt, "no errors"),
        _ => paint(Tone::Bad, "not sound"),
    };
    let plural =
        |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    format!(
        "{word}: {}, {}, {}, {accepted} accepted",
        plural(errors, "error"),
        plural(warnings, "warning"),
        plural(notes, "note")
    )
}

/// The first few, and how many more there are: JSON has them all.
fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = names.map(|name| on_one_line(&name)).collect();
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("{shown} and {} more", all - SHOWN),
        _ => shown,
    }
}
