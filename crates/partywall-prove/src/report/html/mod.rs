//! The report for auditors: one page that needs no other file and runs no script.

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use self::parts::{pairs, section, table};
use super::{
    controls::{self, Standing, Support},
    known,
    markup::Markup,
    tally::{Tally, conclusion, made_and_untried, not_tested, places},
};
use crate::{
    Attack, Control, Exit, Layer, Run, Trial, Verdict,
    postgres::lint::{Finding, Severity},
};

mod parts;

/// The report as one HTML page. It prints, follows the reader's light or dark scheme, and forbids
/// itself scripts, foreign styles and requests by its own policy.
pub fn html(run: &Run) -> String {
    write(run, &known())
}

pub(super) fn write(run: &Run, catalogue: &[&'static Attack]) -> String {
    let (made, untried) = made_and_untried(run, catalogue);
    let rows = controls::matrix_of(run, catalogue);
    let mut page = Markup::starting("<!DOCTYPE html>\n");
    page.element("html", &[("lang", "en")], |page| {
        page.element("head", &[], |page| head(page, run));
        page.element("body", &[], |page| {
            page.element("header", &[], |page| header(page, run));
            page.element("main", &[], |page| {
                this_run(page, run, made.len());
                open(page, run);
                lint(page, run);
                attacked(page, run);
                untested(page, run, &untried);
                notes(page, run);
                attacks(page, run, &made);
                matrix(page, &rows);
                how_to_read(page);
            });
        });
    });
    page.finish()
}

fn head(page: &mut Markup, run: &Run) {
    let style = Base64::encode_string(digest(&SHA256, STYLE.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    );
    page.leaf("meta", &[("charset", "utf-8")]);
    page.leaf("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
    page.leaf("meta", &[("name", "viewport"), ("content", "width=device-width")]);
    page.leaf("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    page.says("title", &[], &format!("{}: {}", run.subject.name, run.exit().as_str()));
    page.element("style", &[], |page| page.verbatim(STYLE));
}

fn header(page: &mut Markup, run: &Run) {
    let exit = run.exit();
    page.says("h1", &[], &format!("Proof of isolation: {}", run.subject.name));
    page.element("p", &[("class", "verdict")], |page| {
        page.says("strong", &[("class", class_of(exit))], exit.as_str());
        page.text(&format!(": {}.", conclusion(exit)));
    });
    page.says("p", &[], &format!("{}.", Tally::of(&run.trials).sentence()));
}

fn this_run(page: &mut Markup, run: &Run, attacks: usize) {
    section(page, "run", "This run", |page| {
        let trials = format!("{}, of {attacks} attacks", run.trials.len());
        let (started, ended) = (run.started.to_rfc3339(), run.ended.to_rfc3339());
        let mut facts = vec![
            ("Attacked", run.subject.name.as_str()),
            ("By", &run.subject.adversary),
            ("Trials", &trials),
            ("Began", &started),
            ("Ended", &ended),
            ("Run", &run.id),
            ("Partywall", &run.version),
        ];
        facts.extend(run.subject.facts.iter().map(|(label, fact)| (label.as_str(), fact.as_str())));
        pairs(page, &facts);
    });
}

fn open(page: &mut Markup, run: &Run) {
    let is_open = |trial: &&Trial| matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided);
    let open: Vec<_> = run.trials.iter().filter(is_open).collect();
    section(page, "open", "What was not blocked", |page| {
        if open.is_empty() {
            page.says("p", &[], "Nothing leaked, and nothing stayed undecided.");
        }
        for trial in open {
            page.element("article", &[], |page| {
                page.element("h3", &[], |page| {
                    verdict(page, trial);
                    page.text(&format!(" {}: {}", trial.place, trial.title));
                });
                let by = format!("{} on {}", trial.attacker, trial.victim);
                let mut facts = vec![
                    ("Attack", trial.attack.as_str()),
                    ("By", &by),
                    ("Tried", &trial.tried),
                    ("Seen", trial.seen.text()),
                    (control_label(&trial.control), trial.control.text()),
                ];
                facts.extend(trial.fix.as_deref().map(|fix| ("To do", fix)));
                facts.extend(trial.accepted.as_deref().map(|why| ("Accepted because", why)));
                pairs(page, &facts);
            });
        }
    });
}

fn lint(page: &mut Markup, run: &Run) {
    if run.lint.is_empty() {
        return;
    }
    section(page, "lint", "What no attack shows", |page| {
        let columns = ["Rule", "Where", "What", "Evidence", "To do", "Severity"];
        table(page, "Findings of the lint", &columns, |page| {
            for finding in &run.lint {
                page.element("tr", &[], |page| found(page, finding));
            }
        });
    });
}

fn found(page: &mut Markup, finding: &Finding) {
    let class = match finding.severity {
        Severity::Error => "bad",
        Severity::Warning | Severity::Note => "doubt",
    };
    page.element("th", &[("scope", "row")], |page| page.says("code", &[], &finding.rule));
    page.says("td", &[], &finding.place);
    page.says("td", &[], &finding.what);
    page.says("td", &[], &finding.evidence);
    page.element("td", &[], |page| page.says("code", &[], &finding.fix));
    page.element("td", &[], |page| {
        page.says("strong", &[("class", class)], finding.severity.as_str());
        if let Some(reason) = &finding.accepted {
            page.text(&format!(", accepted: {reason}"));
        }
    });
}

fn attacked(page: &mut Markup, run: &Run) {
    section(page, "attacked", "What was attacked, how, and what came of it", |page| {
        for (place, trials) in places(run) {
            page.says("h3", &[], place);
            let caption = Tally::of(trials.iter().copied()).sentence();
            let columns = ["Attack", "By, on", "Tried", "Seen", "Control", "Verdict"];
            table(page, &caption, &columns, |page| {
                for trial in trials {
                    page.element("tr", &[], |page| row(page, trial));
                }
            });
        }
    });
}

fn row(page: &mut Markup, trial: &Trial) {
    page.element("th", &[("scope", "row")], |page| {
        page.text(&trial.title);
        page.text(" ");
        page.says("code", &[], &trial.attack);
    });
    page.says("td", &[], &format!("{}, {}", trial.attacker, trial.victim));
    page.element("td", &[], |page| page.says("code", &[], &trial.tried));
    page.says("td", &[], trial.seen.text());
    page.says("td", &[], &format!("{}: {}", control_word(&trial.control), trial.control.text()));
    page.element("td", &[], |page| verdict(page, trial));
}

fn untested(page: &mut Markup, run: &Run, untried: &[&Attack]) {
    let groups = not_tested(run);
    section(page, "untested", "What was not tested", |page| {
        if groups.is_empty() && untried.is_empty() {
            page.says("p", &[], "Every attack this version knows was made.");
        }
        for (reason, trials) in groups {
            page.says("h3", &[], reason);
            page.element("ul", &[], |page| {
                for trial in trials {
                    page.element("li", &[], |page| {
                        page.text(&format!("{}: {} ", trial.place, trial.title));
                        page.says("code", &[], &trial.attack);
                    });
                }
            });
        }
        for layer in Layer::ALL {
            let of_layer: Vec<_> =
                untried.iter().copied().filter(|attack| attack.layer == layer).collect();
            if !of_layer.is_empty() {
                page.says("h3", &[], &format!("Not part of this run: {}", layer.as_str()));
                page.element("ul", &[], |page| of_layer.iter().for_each(|a| named(page, a)));
            }
        }
    });
}

fn named(page: &mut Markup, attack: &Attack) {
    page.element("li", &[], |page| {
        page.text(attack.title);
        page.text(" ");
        page.says("code", &[], attack.id);
    });
}

fn notes(page: &mut Markup, run: &Run) {
    if run.notes.is_empty() {
        return;
    }
    section(page, "notes", "Notes", |page| {
        page.element("ul", &[], |page| {
            for note in &run.notes {
                page.says("li", &[], &format!("{}: {}", note.place, note.text));
            }
        });
    });
}

fn attacks(page: &mut Markup, run: &Run, made: &[&Attack]) {
    if made.is_empty() {
        return;
    }
    section(page, "attacks", "The attacks", |page| {
        let caption = "How each attack of this run works, and where it comes from";
        table(page, caption, &["Attack", "How it works", "From", "Verdicts"], |page| {
            for attack in made {
                let trials = run.trials.iter().filter(|trial| trial.attack == attack.id);
                page.element("tr", &[], |page| {
                    page.element("th", &[("scope", "row")], |page| {
                        page.text(attack.title);
                        page.text(" ");
                        page.says("code", &[], attack.id);
                    });
                    page.says("td", &[], attack.about);
                    page.says("td", &[], &attack.references.join(", "));
                    page.says("td", &[], &Tally::of(trials).sentence());
                });
            }
        });
    });
}

fn matrix(page: &mut Markup, rows: &[Support]) {
    if rows.is_empty() {
        return;
    }
    section(page, "controls", "Controls this evidence supports", |page| {
        page.says("p", &[], SUPPORTS);
        let columns = ["Framework", "Control", "What it asks for", "This run", "Trials", "Attacks"];
        table(page, "Controls and the trials that support them", &columns, |page| {
            for row in rows {
                page.element("tr", &[], |page| supported(page, row));
            }
        });
    });
}

fn supported(page: &mut Markup, row: &Support) {
    let class = match row.standing {
        Standing::Supported => "good",
        Standing::Contradicted => "bad",
        Standing::Open | Standing::NoEvidence => "doubt",
    };
    page.says("td", &[], row.clause.framework);
    page.says("th", &[("scope", "row")], row.clause.number());
    page.says("td", &[], row.clause.title);
    page.element("td", &[], |page| {
        page.says("strong", &[("class", class)], row.standing.as_str());
    });
    page.says("td", &[], &row.counts.sentence());
    page.says("td", &[], &row.attacks.join(", "));
}

fn how_to_read(page: &mut Markup) {
    section(page, "reading", "How to read this", |page| {
        let verdicts = [
            (
                "blocked",
                "The wall stopped it for the right reason, and let the one through who may.",
            ),
            ("leaked", "It went through: the attacker read, changed or learned what is another's."),
            ("undecided", "Nobody can say, or the control failed. Never counted as safe."),
            ("not tested", "It was not tried, for the reason given."),
            (
                "control",
                "The same request by the one who may. Without it a refusal proves nothing.",
            ),
        ];
        pairs(page, &verdicts);
        page.says("p", &[], VERIFY);
    });
}

const SUPPORTS: &str = "The trials of a run are evidence that supports these controls, or speaks \
    against them. Whether a control is met is for the auditor to say, who looks at a period and at \
    more than software.";
const VERIFY: &str = "This page is a rendering and is not signed. The signed record of the same run \
    is in the history; check it without a network, and have this page made from it: partywall prove \
    verify RECORD --key PUBLIC-KEY --report html=FILE.";

fn verdict(page: &mut Markup, trial: &Trial) {
    let class = match trial.verdict {
        Verdict::Blocked => "good",
        Verdict::Leaked => "bad",
        Verdict::Undecided | Verdict::NotTested => "doubt",
    };
    page.says("strong", &[("class", class)], trial.verdict.as_str());
    if trial.accepted.is_some() {
        page.text(", accepted");
    }
}

fn class_of(exit: Exit) -> &'static str {
    match exit {
        Exit::Proven => "good",
        Exit::Leaked => "bad",
        Exit::Undecided | Exit::CouldNotRun => "doubt",
    }
}

fn control_label(control: &Control) -> &'static str {
    match control {
        Control::Held(_) => "Control held",
        Control::Failed(_) => "Control failed",
    }
}

fn control_word(control: &Control) -> &'static str {
    match control {
        Control::Held(_) => "held",
        Control::Failed(_) => "failed",
    }
}

const STYLE: &str = include_str!("report.css");
