//! Whatever things are called, a report holds no markup, no colours and no lines of theirs.

use partywall_prove::{
    Note, Run, Trial,
    report::{self, Format},
};
use proptest::prelude::*;

use crate::report::{CATALOGUE, one_of_each};

/// What has broken reports of other tools, and what breaks out of each of ours if let.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style></title></td></table><iframe>",
    "]]><failure message=\"\">",
    "<!--",
    "-->",
    "&lt;&#60;&amp;&nosuch;",
    "\u{1b}[2J\u{1b}]8;;http://x\u{7}",
    "\u{9b}31m",
    "a\r\nproven: every attack that was made was blocked",
    "\u{202e}devorp\u{2066}",
    "\u{0}\u{b}\u{fffe}\u{ffff}\u{feff}",
    "{{7*7}}${7*7}<%= 7 %>",
];

/// The sample, with `hostile` in every text it holds.
fn with_everywhere(hostile: &str) -> Run {
    let mut run = one_of_each();
    // Not even an empty one leaves the attack its name, or a label without its fact.
    let hostile = &format!("x{hostile}");
    let mut put = |text: &mut String| text.push_str(hostile);
    put(&mut run.id);
    put(&mut run.version);
    put(&mut run.subject.name);
    put(&mut run.subject.adversary);
    for (label, fact) in &mut run.subject.facts {
        put(label);
        put(fact);
    }
    for trial in &mut run.trials {
        trial_texts(trial).into_iter().for_each(&mut put);
    }
    for finding in &mut run.lint {
        let texts = [
            &mut finding.rule,
            &mut finding.place,
            &mut finding.what,
            &mut finding.fix,
            &mut finding.evidence,
            &mut finding.page,
        ];
        texts.into_iter().for_each(&mut put);
    }
    run.notes.push(Note { place: hostile.clone(), text: hostile.clone() });
    run
}

fn trial_texts(trial: &mut Trial) -> Vec<&mut String> {
    use partywall_prove::{Control, Observation};

    let Trial { attack, title, place, attacker, victim, tried, seen, control, .. } = trial;
    let seen = match seen {
        Observation::Refused(text)
        | Observation::Nothing(text)
        | Observation::Reached(text)
        | Observation::Unclear(text)
        | Observation::Skipped(text) => text,
    };
    let control = match control {
        Control::Held(text) | Control::Failed(text) => text,
    };
    let mut texts = vec![attack, title, place, attacker, victim, tried, seen, control];
    texts.extend(trial.accepted.as_mut());
    texts.extend(trial.fix.as_mut());
    texts
}

/// The elements and attributes of a document, in order: what no text of a run adds to.
fn skeleton(markup: &str) -> Vec<String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(markup, options).unwrap();
    let elements = document.descendants().filter(|node| node.is_element());
    let named = elements.flat_map(|node| {
        let name = node.tag_name().name().to_owned();
        let attributes: Vec<_> =
            node.attributes().map(|a| format!("{name} {}", a.name())).collect();
        [name].into_iter().chain(attributes)
    });
    let other = document.descendants().filter(|n| n.is_comment() || n.is_pi()).count();
    assert_eq!(other, 0, "no comments, no instructions");
    named.collect()
}

fn holds_nothing_of(hostile: &str) {
    let (plain, run) = (with_everywhere(""), with_everywhere(hostile));
    for format in [Format::Html, Format::Junit] {
        let (usual, written) = (format.knowing(CATALOGUE, &plain), format.knowing(CATALOGUE, &run));
        assert!(skeleton(&written) == skeleton(&usual), "{format}: {hostile:?}");
    }
    for format in Format::ALL {
        let written = format.knowing(CATALOGUE, &run);
        let hidden = |c: char| {
            (c.is_control() && !matches!(c, '\n' | '\t')) || ('\u{202a}'..='\u{202e}').contains(&c)
        };
        assert!(!written.contains(hidden), "{format}: {hostile:?}");
    }
    let lines = |run: &Run| Format::Text.knowing(&[], run).lines().count();
    assert_eq!(lines(&run), lines(&plain), "text: {hostile:?} makes lines");
    let back = report::read(report::json(&run).as_bytes()).unwrap();
    assert_eq!(back.subject.name, run.subject.name, "JSON means exactly what was there");
    let sarif = report::sarif(&run);
    assert!(serde_json::from_str::<serde_json::Value>(&sarif).is_ok(), "{hostile:?}");
}

#[test]
fn m24_known_tricks_stay_text() {
    HOSTILE.iter().for_each(|hostile| holds_nothing_of(hostile));
}

#[test]
fn m24_the_check_would_see_markup() {
    let html = Format::Html.knowing(CATALOGUE, &one_of_each());
    let broken = html.replacen("1 row of pwa1", "<b>1 row</b>", 1);
    assert_ne!(skeleton(&broken), skeleton(&html));
    let broken = html.replacen("<dl>", "<dl onclick=\"x\">", 1);
    assert_ne!(skeleton(&broken), skeleton(&html));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..Default::default() })]

    #[test]
    fn m24_any_text_stays_text(
        parts in prop::collection::vec(
            prop_oneof![any::<String>(), "[<>&\"'\\]/\\-!;\u{0}-\u{20}]{1,8}", prop::sample::select(HOSTILE)
                .prop_map(str::to_owned)],
            0..4,
        )
    ) {
        holds_nothing_of(&parts.concat());
    }
}
