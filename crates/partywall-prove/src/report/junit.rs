//! The report for build servers.

use super::{
    markup::Markup,
    tally::{Tally, places},
    visible::on_one_line,
};
use crate::{Run, Trial, Verdict};

/// The report as JUnit XML, as Jenkins and GitLab read it: a suite for each place, a case for each
/// trial. A leak is a failure, what is undecided an error; what was not tested, or is accepted,
/// is skipped with its reason.
pub fn junit(run: &Run) -> String {
    let mut xml = Markup::starting("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let seconds = run.ended.since(run.started).as_secs().to_string();
    let counts = Counts::of(run.trials.iter());
    let name = format!("partywall prove {}", run.subject.name);
    let attributes = counts.attributes(&name);
    let mut attributes: Vec<_> = attributes.iter().map(|(n, v)| (*n, v.as_str())).collect();
    attributes.push(("time", &seconds));
    xml.element("testsuites", &attributes, |xml| {
        xml.text("\n");
        for (place, trials) in places(run) {
            suite(xml, run, place, &trials);
        }
    });
    xml.finish()
}

fn suite(xml: &mut Markup, run: &Run, place: &str, trials: &[&Trial]) {
    let counts = Counts::of(trials.iter().copied());
    let attributes = counts.attributes(place);
    let started = run.started.to_rfc3339();
    // JUnit's xs:dateTime has no zone; Jenkins reads it as UTC.
    let timestamp = started.trim_end_matches('Z');
    let mut attributes: Vec<_> = attributes.iter().map(|(n, v)| (*n, v.as_str())).collect();
    attributes.extend([("timestamp", timestamp), ("time", "0")]);
    xml.element("testsuite", &attributes, |xml| {
        xml.text("\n");
        xml.element("properties", &[], |xml| {
            for (name, value) in [("run", &run.id), ("partywall", &run.version)] {
                xml.leaf("property", &[("name", name), ("value", value)]);
            }
            for (name, value) in &run.subject.facts {
                xml.leaf("property", &[("name", name), ("value", value)]);
            }
        });
        for trial in trials {
            case(xml, trial);
        }
    });
}

fn case(xml: &mut Markup, trial: &Trial) {
    let name = format!("{} ({} on {})", trial.title, trial.attacker, trial.victim);
    let attributes = [("name", name.as_str()), ("classname", &trial.attack), ("time", "0")];
    let seen = on_one_line(trial.seen.text());
    xml.element("testcase", &attributes, |xml| match (trial.verdict, &trial.accepted) {
        (Verdict::Blocked, _) => {}
        (Verdict::NotTested, _) => xml.leaf("skipped", &[("message", &seen)]),
        (verdict, Some(reason)) => {
            let message = format!("{}, accepted: {}", verdict.as_str(), on_one_line(reason));
            xml.says("skipped", &[("message", &message)], &evidence(trial));
        }
        (Verdict::Leaked, None) => {
            xml.says("failure", &[("message", &seen), ("type", "leaked")], &evidence(trial));
        }
        (Verdict::Undecided, None) => {
            xml.says("error", &[("message", &seen), ("type", "undecided")], &evidence(trial));
        }
    });
}

fn evidence(trial: &Trial) -> String {
    let fix = trial.fix.as_deref().unwrap_or_default();
    format!(
        "tried: {}\nseen: {}\ncontrol: {}\nfix: {fix}",
        trial.tried,
        trial.seen.text(),
        trial.control.text()
    )
}

/// What a suite says of its cases; each case is at most one of these.
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn of<'t>(trials: impl Iterator<Item = &'t Trial>) -> Self {
        let (accepted, open): (Vec<_>, Vec<_>) = trials.partition(|trial| trial.accepted.is_some());
        let tally = Tally::of(open);
        Self {
            tests: tally.total() + accepted.len(),
            failures: tally.leaked,
            errors: tally.undecided,
            skipped: tally.not_tested + accepted.len(),
        }
    }

    fn attributes(&self, name: &str) -> [(&'static str, String); 5] {
        [
            ("name", name.to_owned()),
            ("tests", self.tests.to_string()),
            ("failures", self.failures.to_string()),
            ("errors", self.errors.to_string()),
            ("skipped", self.skipped.to_string()),
        ]
    }
}
