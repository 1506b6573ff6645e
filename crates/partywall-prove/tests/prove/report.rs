//! Reports say what happened, the same way every time.

use std::{fs, path::Path};

use partywall::Timestamp;
use partywall_prove::{
    Attack, Control, Exception, Exit, Layer, Log, Observation, Run, Silent, Subject, Trial,
    Verdict, Weight,
    postgres::lint::{Finding, rules},
    report::{self, FORMAT, Format, ReadError, Tally, Tone},
};

static READ: Attack = Attack {
    id: "sample.read",
    layer: Layer::Store,
    title: "read another's rows",
    about: "Asks for every row, and looks for those of the other tenant.",
    weight: Weight::Read,
    fix: "Put a row policy on the table.",
    references: &["M-24", "CWE-639"],
    supports: &["soc2:CC6.1", "asvs5:8.4.1"],
};

static COUNT: Attack = Attack {
    id: "sample.count",
    layer: Layer::Store,
    title: "count another's rows",
    about: "Asks the planner how many rows there are.",
    weight: Weight::Existence,
    fix: "Nothing can be done about estimates; accept them.",
    references: &["CWE-203"],
    supports: &["iso27001:A.8.3"],
};

static AUDIENCE: Attack = Attack {
    id: "sample.audience",
    layer: Layer::Token,
    title: "present a token meant for another service",
    about: "A good token, for somebody else.",
    weight: Weight::Identity,
    fix: "Check the audience.",
    references: &["RFC 9068"],
    supports: &["asvs5:9.2.3"],
};

pub(crate) const CATALOGUE: &[&Attack] = &[&AUDIENCE, &READ, &COUNT];

/// One of everything: blocked, leaked, leaked and accepted, undecided, not tested.
pub(crate) fn one_of_each() -> Run {
    let accepted = "sample.count@public.*=sizes are no secret here".parse::<Exception>().unwrap();
    let mut log = Log::new(vec![accepted], &Silent);
    let trial = |attack, place: &str| {
        Trial::of(attack, place).between("pwa", "pwa1").tried("SELECT *\nFROM t")
    };
    let held = || Control::held("1 row of its own");
    log.record(trial(&READ, "public.invoices").judge(Observation::nothing("0 rows"), held()));
    log.record(
        trial(&READ, "public.payments").judge(Observation::reached("1 row of pwa1"), held()),
    );
    log.record(trial(&COUNT, "public.payments").judge(Observation::reached("rows=1"), held()));
    let failed = Control::failed("0 rows of its own");
    log.record(trial(&READ, "public.notes").judge(Observation::nothing("0 rows"), failed));
    log.record(trial(&COUNT, "public.notes").skip("EXPLAIN is not permitted"));
    log.note("public.currencies", "has no tenant column: declared as shared");
    let subject = Subject {
        name: "postgres://app@db.internal/shop".to_owned(),
        adversary: "A user of another tenant, with SQL injection in its own session.".to_owned(),
        facts: vec![("PostgreSQL".to_owned(), "15.20".to_owned())],
    };
    let (started, ended) = (Timestamp(1_767_225_600), Timestamp(1_767_225_603));
    let mut run = Run::new("00c0ffee".to_owned(), started, ended, subject, log);
    run.version = "0.0.0".to_owned();
    let what = "public.notes does not force row security";
    let fix = "ALTER TABLE public.notes FORCE ROW LEVEL SECURITY;";
    run.lint.push(Finding::of(&rules::ROW_SECURITY_OFF, "public.notes", what, fix));
    run
}

pub(crate) fn all_blocked() -> Run {
    let mut run = one_of_each();
    run.trials.retain(|trial| trial.verdict == Verdict::Blocked);
    run.lint.clear();
    run
}

#[test]
fn m24_every_report_is_as_it_was_agreed() {
    let run = one_of_each();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prove/golden");
    for format in Format::ALL {
        let path = golden.join(format!("report.{format}"));
        let written = format.knowing(CATALOGUE, &run);
        if std::env::var_os("PARTYWALL_BLESS").is_some() {
            fs::write(&path, &written).unwrap();
        }
        let agreed = fs::read_to_string(&path).unwrap();
        assert_eq!(written, agreed, "{}: PARTYWALL_BLESS=1 agrees to the new one", path.display());
    }
}

#[test]
fn m24_the_text_says_what_was_not_blocked_and_what_was_not_tested() {
    let text = Format::Text.knowing(CATALOGUE, &one_of_each());
    for (what, line) in [
        ("the leak", "leaked  read another's rows [sample.read]"),
        ("its evidence", "seen     1 row of pwa1"),
        ("what to do", "fix      Put a row policy on the table."),
        ("what is accepted, and why", "because  sizes are no secret here"),
        ("what was skipped, and why", "EXPLAIN is not permitted"),
        ("what there was no occasion for", "no occasion for: sample.audience"),
        ("the verdict", "leaked: at least one attack reached another tenant"),
        ("the count", "1 blocked, 2 leaked, 1 undecided, 1 not tested; 1 of these accepted"),
    ] {
        assert!(text.contains(line), "{what}: {line:?} is not in\n{text}");
    }
    assert!(!text.contains("[sample.read]\n      by       pwa on pwa1\n      tried    SELECT *\n"));
    let clean = Format::Text.knowing(CATALOGUE, &all_blocked());
    assert!(clean.contains("proven: every attack"), "{clean}");
    assert!(!clean.contains("\n  leaked"), "the control: nothing is said of nothing\n{clean}");
}

#[test]
fn m24_colours_are_the_callers() {
    let coloured = report::text(&one_of_each(), &|tone, word| match tone {
        Tone::Bad => format!("<{word}>"),
        _ => word.to_owned(),
    });
    assert!(coloured.contains("<leaked>"), "{coloured}");
    assert!(
        !report::text(&all_blocked(), &|tone, word| match tone {
            Tone::Bad => format!("<{word}>"),
            _ => word.to_owned(),
        })
        .contains('<')
    );
}

#[test]
fn m24_what_json_says_is_read_back() {
    let run = one_of_each();
    let json = report::json(&run);
    let back = report::read(json.as_bytes()).unwrap();
    assert_eq!(report::json(&back), json);
    assert_eq!(back.exit(), Exit::Leaked);
    assert_eq!(Tally::of(&back.trials).accepted, 1);
    let later = json.replacen("{\n", "{\n  \"added_later\": [1],\n", 1);
    assert!(report::read(later.as_bytes()).is_ok(), "fields may be added");
}

#[test]
fn m24_a_report_that_contradicts_itself_is_refused() {
    let json = report::json(&one_of_each());
    let read = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        report::read(json.replacen(from, to, 1).as_bytes()).map(drop)
    };
    let proven =
        read("\"verdict\": \"leaked\",\n  \"counts\"", "\"verdict\": \"proven\",\n  \"counts\"");
    assert!(matches!(proven, Err(ReadError::Verdict { follows: Exit::Leaked, .. })), "{proven:?}");
    let blocked =
        read("\"verdict\": \"leaked\",\n      \"fix\"", "\"verdict\": \"blocked\",\n      \"fix\"");
    assert!(matches!(blocked, Err(ReadError::Trial { number: 2, .. })), "{blocked:?}");
    let fewer = read("\"leaked\": 2", "\"leaked\": 0");
    assert!(matches!(fewer, Err(ReadError::Verdict { .. })), "{fewer:?}");
    let twice = read("\"id\": \"00c0ffee\"", "\"id\": \"00c0ffee\", \"id\": \"1\"");
    assert!(matches!(twice, Err(ReadError::Malformed(_))), "{twice:?}");
    let other = read(FORMAT, "partywall.prove/2");
    assert!(matches!(other, Err(ReadError::Format { .. })), "{other:?}");
    assert!(matches!(report::read(b"{}"), Err(ReadError::Malformed(_))));
    assert!(read("00c0ffee", "00c0ffef").is_ok(), "the control: other changes are the signature's");
}

#[test]
fn m24_junit_counts_what_build_servers_count() {
    let xml = report::junit(&one_of_each());
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    let counts = ["tests", "failures", "errors", "skipped"].map(|name| root.attribute(name));
    assert_eq!(counts, [Some("5"), Some("1"), Some("1"), Some("2")]);
    let suites: Vec<_> = root.children().filter(|node| node.has_tag_name("testsuite")).collect();
    let names: Vec<_> = suites.iter().filter_map(|suite| suite.attribute("name")).collect();
    assert_eq!(names, ["public.invoices", "public.payments", "public.notes"]);
    let elements = |name: &str| document.descendants().filter(|n| n.has_tag_name(name)).count();
    let counted = ["testcase", "failure", "error", "skipped"].map(elements);
    assert_eq!(counted, [5, 1, 1, 2], "as many as are announced");
    let skipped = document.descendants().filter(|node| node.has_tag_name("skipped"));
    let reasons: Vec<_> = skipped.filter_map(|node| node.attribute("message")).collect();
    assert_eq!(reasons, ["leaked, accepted: sizes are no secret here", "EXPLAIN is not permitted"]);
}

#[test]
fn m24_sarif_keeps_its_fingerprints_from_run_to_run() {
    let fingerprints = |run: &Run| -> Vec<String> {
        let sarif: serde_json::Value = serde_json::from_str(&report::sarif(run)).unwrap();
        let results = sarif["runs"][0]["results"].as_array().unwrap().clone();
        let print = |result: &serde_json::Value| {
            result["partialFingerprints"]["partywall/v1"].as_str().unwrap().to_owned()
        };
        results.iter().map(print).collect()
    };
    let first = one_of_each();
    let mut second = first.clone();
    second.id = "another".to_owned();
    for trial in &mut second.trials {
        trial.attacker = "pw-of-today".to_owned();
        trial.tried = "SELECT now()".to_owned();
    }
    let prints = fingerprints(&first);
    assert_eq!(prints, fingerprints(&second));
    assert_eq!(prints.len(), 4, "two leaks, one undecided, one finding of the lint");
    let mut elsewhere = first.clone();
    for trial in &mut elsewhere.trials {
        trial.place.push('2');
    }
    let others = fingerprints(&elsewhere);
    assert!(prints.iter().take(3).all(|print| !others.contains(print)), "places differ");
}

#[test]
fn m24_sarif_suppresses_what_is_accepted_and_nothing_else() {
    let sarif: serde_json::Value =
        serde_json::from_str(&Format::Sarif.knowing(CATALOGUE, &one_of_each())).unwrap();
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"], "points at its rule");
        let accepted = result["ruleId"] == "sample.count";
        assert_eq!(result["suppressions"].is_array(), accepted, "{result}");
        let level =
            if result["properties"]["verdict"] == "undecided" { "warning" } else { "error" };
        assert_eq!(result["level"], level, "{result}");
    }
    assert_eq!(rules.len(), CATALOGUE.len() + 1, "the catalogue, and the lint's rule");
}

#[test]
fn m24_controls_are_supported_contradicted_or_open() {
    let json: serde_json::Value =
        serde_json::from_str(&Format::Json.knowing(CATALOGUE, &one_of_each())).unwrap();
    let standing = |json: &serde_json::Value, id: &str| {
        let rows = json["controls"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        row["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing(&json, "soc2:CC6.1"), "contradicted");
    assert_eq!(standing(&json, "iso27001:A.8.3"), "contradicted", "accepted is not supported");
    assert_eq!(standing(&json, "asvs5:9.2.3"), "no_evidence");
    let clean: serde_json::Value =
        serde_json::from_str(&Format::Json.knowing(CATALOGUE, &all_blocked())).unwrap();
    assert_eq!(standing(&clean, "soc2:CC6.1"), "supported");
    let mut open = all_blocked();
    open.trials[0].control = Control::failed("0 rows");
    open.trials[0].verdict = Verdict::Undecided;
    let open: serde_json::Value =
        serde_json::from_str(&Format::Json.knowing(CATALOGUE, &open)).unwrap();
    assert_eq!(standing(&open, "soc2:CC6.1"), "open");
    for format in Format::ALL {
        let report = format.knowing(CATALOGUE, &all_blocked()).to_lowercase();
        for promise in ["certif", "complian"] {
            assert!(!report.contains(promise), "{format} promises: {promise}");
        }
    }
}

#[test]
fn m24_the_page_needs_nothing_and_allows_nothing() {
    let html = report::html(&one_of_each());
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let page = roxmltree::Document::parse_with_options(&html, options).unwrap();
    let names: Vec<_> = page.descendants().filter(|node| node.is_element()).collect();
    for forbidden in ["script", "link", "img", "iframe", "form", "base", "object"] {
        assert!(!names.iter().any(|node| node.has_tag_name(forbidden)), "{forbidden}");
    }
    let inline = |node: &roxmltree::Node<'_, '_>| {
        node.attributes().any(|a| a.name() == "style" || a.name().starts_with("on"))
    };
    assert!(!names.iter().any(inline), "no styles or handlers in attributes");
    let policy = names.iter().find(|node| node.attribute("http-equiv").is_some()).unwrap();
    let policy = policy.attribute("content").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for table in names.iter().filter(|node| node.has_tag_name("table")) {
        let within = |name: &str| table.descendants().filter(|n| n.has_tag_name(name)).count();
        assert_eq!(within("caption"), 1, "every table says what it is");
        let heads = table.descendants().filter(|n| n.has_tag_name("th"));
        assert!(heads.clone().all(|th| th.attribute("scope").is_some()), "heads say of what");
    }
}
