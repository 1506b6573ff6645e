//! The report for code scanning.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{
    known,
    visible::{on_one_line, visible_json},
};
use crate::{Attack, Exit, Run, Trial, Verdict, Weight};

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
    let mut numbers: HashMap<_, usize> = HashMap::new();
    let mut results = Vec::new();
    for trial in &run.trials {
        let number = numbers.entry((&trial.attack, &trial.place)).or_default();
        *number += 1;
        if matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided) {
            results.push(result(trial, *number, &rules));
        }
    }
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
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

fn result(trial: &Trial, number: usize, rules: &Rules) -> Value {
    let seen = on_one_line(trial.seen.text());
    let what = format!("{}: {} ({})", trial.place, trial.title, trial.verdict.as_str());
    let fix = trial.fix.as_deref().map(|fix| format!(" {fix}")).unwrap_or_default();
    let mut result = json!({
        "ruleId": trial.attack,
        "level": if trial.verdict == Verdict::Leaked { "error" } else { "warning" },
        "message": { "text": format!("{what}. Seen: {seen}.{fix}") },
        "locations": [{
            "logicalLocations": [{ "fullyQualifiedName": trial.place, "kind": "resource" }],
        }],
        "partialFingerprints": { "partywallTrial/v1": fingerprint(trial, number) },
        "properties": {
            "attacker": trial.attacker,
            "victim": trial.victim,
            "tried": trial.tried,
            "control": trial.control.text(),
            "verdict": trial.verdict,
        },
    });
    if let (Some(result), Some(index)) = (result.as_object_mut(), rules.index(&trial.attack)) {
        result.insert("ruleIndex".to_owned(), index.into());
        if let Some(reason) = &trial.accepted {
            let suppression = json!([{
                "kind": "external", "status": "accepted", "justification": reason,
            }]);
            result.insert("suppressions".to_owned(), suppression);
        }
    }
    result
}

/// The same for the same attack at the same place, run after run: neither the tenants, which may
/// be made anew each time, nor the evidence count.
fn fingerprint(trial: &Trial, number: usize) -> String {
    let named = format!("{}\0{}\0{number}", trial.attack, trial.place);
    let digest = digest(&SHA256, named.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
        rules
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
