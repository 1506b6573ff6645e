//! The report for code scanning.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    hex::Digest,
    known,
    visible::{on_one_line, visible_json},
};
use crate::{
    Attack, Exit, Run, Trial, Verdict, Weight,
    postgres::lint::{Finding, Rule},
};

/// The report as SARIF 2.1.0 (OASIS): a rule for each attack, a result for each trial that leaked
/// or could not be decided. What is accepted is suppressed, with its reason as justification.
///
/// A result keeps its fingerprint from run to run as long as the same attacks are made in the same
/// place, so that a scanner tells old ones from new ones.
pub fn sarif(run: &Run) -> String {
    write(run, &known())
}

pub(super) fn write(run: &Run, catalogue: &[&'static Attack]) -> String {
    let rules = Rules::of(run, catalogue);
    let mut fingerprints = Fingerprints::default();
    let mut results = Vec::new();
    for trial in &run.trials {
        // What was blocked is counted, too, so that the next one keeps its number.
        let fingerprint = fingerprints.next(&trial.attack, &trial.place);
        if matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided) {
            results.push(leak(trial, fingerprint, &rules));
        }
    }
    for finding in &run.lint {
        let fingerprint = fingerprints.next(&finding.rule, &finding.place);
        results.push(finding_of(finding, fingerprint, &rules));
    }
    let log = json!({
        "$schema": FORMAT,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "partywall prove",
                "version": run.version,
                "semanticVersion": run.version,
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules.described,
            }},
            "automationDetails": { "id": format!("partywall prove/{}", run.id) },
            "invocations": [{
                "executionSuccessful": run.exit() != Exit::CouldNotRun,
                "startTimeUtc": run.started.to_rfc3339(),
                "endTimeUtc": run.ended.to_rfc3339(),
                "exitCode": run.exit().code(),
                "toolExecutionNotifications": notifications(run),
            }],
            "results": results,
            "properties": {
                "subject": run.subject.name,
                "adversary": run.subject.adversary,
                "verdict": run.exit(),
            },
        }],
    });
    // Strings and numbers only: there is nothing that could fail.
    let log = serde_json::to_string_pretty(&log).unwrap_or_default();
    format!("{}\n", visible_json(&log))
}

/// The schema of the format.
pub(super) const FORMAT: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The findings of a lint as results, after the rules they go by.
pub(super) fn findings(findings: &[Finding]) -> (Vec<Value>, Vec<Value>) {
    let mut rules = Rules { described: Vec::new(), indices: HashMap::new() };
    rules.add_findings(findings);
    let mut fingerprints = Fingerprints::default();
    let results = findings.iter().map(|finding| {
        let fingerprint = fingerprints.next(&finding.rule, &finding.place);
        finding_of(finding, fingerprint, &rules)
    });
    let results = results.collect();
    (rules.described, results)
}

fn leak(trial: &Trial, fingerprint: String, rules: &Rules) -> Value {
    let seen = on_one_line(trial.seen.text());
    let what = format!("{}: {} ({})", trial.place, trial.title, trial.verdict.as_str());
    let fix = trial.fix.as_deref().map(|fix| format!(" {fix}")).unwrap_or_default();
    let result = json!({
        "ruleId": trial.attack,
        "level": if trial.verdict == Verdict::Leaked { "error" } else { "warning" },
        "message": { "text": format!("{what}. Seen: {seen}.{fix}") },
        "locations": located(&trial.place),
        "partialFingerprints": { FINGERPRINT: fingerprint },
        "properties": {
            "attacker": trial.attacker,
            "victim": trial.victim,
            "tried": trial.tried,
            "control": trial.control.text(),
            "verdict": trial.verdict,
        },
    });
    completed(result, rules.index(&trial.attack), trial.accepted.as_deref())
}

fn finding_of(finding: &Finding, fingerprint: String, rules: &Rules) -> Value {
    let text = format!("{}: {}. {}", finding.place, finding.what, finding.fix);
    let result = json!({
        "ruleId": finding.rule,
        "level": finding.severity.as_str(),
        "message": { "text": text },
        "locations": located(&finding.place),
        "partialFingerprints": { FINGERPRINT: fingerprint },
        "properties": { "evidence": finding.evidence, "page": finding.page },
    });
    completed(result, rules.index(&finding.rule), finding.accepted.as_deref())
}

fn located(place: &str) -> Value {
    json!([{ "logicalLocations": [{ "fullyQualifiedName": place, "kind": "resource" }] }])
}

fn completed(mut result: Value, rule: Option<usize>, accepted: Option<&str>) -> Value {
    if let Some(result) = result.as_object_mut() {
        result.extend(rule.map(|index| ("ruleIndex".to_owned(), index.into())));
        result.extend(accepted.map(|reason| {
            let suppression = json!({
                "kind": "external", "status": "accepted", "justification": reason,
            });
            ("suppressions".to_owned(), json!([suppression]))
        }));
    }
    result
}

const FINGERPRINT: &str = "partywall/v1";

/// The same for the same attack or rule at the same place, run after run: neither the tenants,
/// which may be made anew each time, nor the evidence count. The second trial of an attack at a
/// place is told from the first by its number.
#[derive(Default)]
struct Fingerprints<'r>(HashMap<(&'r str, &'r str), usize>);

impl<'r> Fingerprints<'r> {
    fn next(&mut self, rule: &'r str, place: &'r str) -> String {
        let number = self.0.entry((rule, place)).or_default();
        *number += 1;
        Digest::of(format!("{rule}\0{place}\0{number}").as_bytes()).to_string()
    }
}

/// What else there is to know, and what was not tested: it must not look as if it had been.
fn notifications(run: &Run) -> Vec<Value> {
    let note = |text: String| json!({ "level": "note", "message": { "text": text } });
    let skipped = run.trials.iter().filter(|trial| trial.verdict == Verdict::NotTested);
    let skipped = skipped.map(|trial| {
        let seen = on_one_line(trial.seen.text());
        note(format!("not tested: {}: {} [{}]: {seen}", trial.place, trial.title, trial.attack))
    });
    let notes = run.notes.iter().map(|known| note(format!("{}: {}", known.place, known.text)));
    skipped.chain(notes).collect()
}

/// The rules, and where each stands among them.
struct Rules {
    described: Vec<Value>,
    indices: HashMap<String, usize>,
}

impl Rules {
    /// The whole catalogue, and what the run was attacked with beside it: a report may be older or
    /// newer than we are.
    fn of(run: &Run, catalogue: &[&'static Attack]) -> Self {
        let mut rules = Self { described: Vec::new(), indices: HashMap::new() };
        for attack in catalogue {
            rules.add(attack.id, || described(attack));
        }
        for trial in &run.trials {
            rules.add(
                &trial.attack,
                || json!({ "id": trial.attack, "shortDescription": { "text": trial.title } }),
            );
        }
        rules.add_findings(&run.lint);
        rules
    }

    fn add_findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.add(&finding.rule, || match Rule::by_id(&finding.rule) {
                Some(rule) => json!({
                    "id": rule.id,
                    "shortDescription": { "text": rule.title },
                    "fullDescription": { "text": rule.about },
                    "helpUri": rule.page(),
                    "properties": { "tags": rule.references },
                }),
                None => json!({ "id": finding.rule }),
            });
        }
    }

    fn add(&mut self, id: &str, describe: impl FnOnce() -> Value) {
        if !self.indices.contains_key(id) {
            self.indices.insert(id.to_owned(), self.described.len());
            self.described.push(describe());
        }
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.indices.get(id).copied()
    }
}

fn described(attack: &Attack) -> Value {
    let tags = ["security", "tenant-isolation", attack.layer.as_str()].into_iter();
    let references = attack.references.iter().chain(attack.supports).copied();
    json!({
        "id": attack.id,
        "shortDescription": { "text": attack.title },
        "fullDescription": { "text": attack.about },
        "help": { "text": attack.fix },
        "defaultConfiguration": { "level": "error" },
        "properties": {
            "tags": tags.chain(references).collect::<Vec<_>>(),
            "security-severity": severity(attack.weight),
        },
    })
}

/// On the scale of CVSS, for scanners that sort by it.
fn severity(weight: Weight) -> &'static str {
    match weight {
        Weight::Existence => "4.3",
        Weight::Read => "7.5",
        Weight::Write => "8.8",
        Weight::Identity => "9.8",
    }
}
