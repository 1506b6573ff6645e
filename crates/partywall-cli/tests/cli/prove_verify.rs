//! `partywall prove verify`, over histories as `prove --history` leaves them.

use std::fs;

use partywall::Timestamp;
use partywall_prove::{
    Attack, Control, Layer, Log, Observation, Run, Silent, Subject, Trial, Weight,
    report::{History, sign::SigningKey},
};

use crate::harness::Folder;

static READ: Attack = Attack {
    id: "sample.read",
    layer: Layer::Store,
    title: "read another's rows",
    about: "Asks for every row.",
    weight: Weight::Read,
    fix: "Put a row policy on the table.",
    references: &[],
    supports: &[],
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn run(number: u64, leaks: bool) -> Run {
    let mut log = Log::new(Vec::new(), &Silent);
    let seen = if leaks { Observation::reached("1 row") } else { Observation::refused("42501") };
    log.record(Trial::of(&READ, "public.invoices").judge(seen, Control::held("1 row")));
    let subject = Subject { name: "postgres://app@db/shop".to_owned(), ..Subject::default() };
    let started = Timestamp(1_767_225_600 + number * 86_400);
    Run::new(format!("run{number}"), started, Timestamp(started.0 + 60), subject, log)
}

/// Three runs in `proofs`, the second of which leaked.
fn three() -> Folder {
    let folder = Folder::new();
    let history = History::at(folder.path("proofs"));
    for number in 1..=3 {
        history.append(&run(number, number == 2), &key(1)).unwrap();
    }
    folder
}

#[test]
fn m24_a_history_shows_its_period_to_whoever_has_the_key() {
    let folder = three();
    let key = key(1).public().to_string();
    let ran = folder.run(&["prove", "verify", "proofs", "--key", &key]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    for line in [
        "proofs: good: 3 runs, none changed or taken out",
        "period     2026-01-02T00:00:00Z to 2026-01-04T00:01:00Z",
        "longest    23 hours 59 minutes without a run",
        "not proven 1 of 3",
        "run 2: leaked, 2026-01-03T00:01:00Z",
        "Runs cut off at the end leave no trace",
    ] {
        assert!(ran.out.contains(line), "{line:?} is not in\n{}", ran.out);
    }
    folder.write("auditor/key.pub", format!("{key}\n"));
    let by_file = folder.run(&["prove", "verify", "proofs", "--key", "auditor/key.pub"]);
    assert_eq!((by_file.code, by_file.out), (Some(0), ran.out));
}

#[test]
fn m24_what_was_tampered_with_ends_with_1() {
    let key = key(1).public().to_string();
    let verify = ["prove", "verify", "proofs", "--key", key.as_str()];
    let folder = three();
    fs::remove_file(folder.path("proofs/run-000002.proof")).unwrap();
    let ran = folder.run(&verify);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("not good: run-000002.proof: missing"), "{}", ran.out);

    let folder = three();
    let path = folder.path("proofs/run-000002.proof");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"leaked\"", "\"proven\"")).unwrap();
    let ran = folder.run(&verify);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("run-000002.proof: the signature does not match"), "{}", ran.out);

    let folder = three();
    fs::remove_file(folder.path("proofs/run-000003.proof")).unwrap();
    assert_eq!(folder.run(&verify).code, Some(0), "the end cannot be seen");
    let ran = folder.run(&[&verify[..], &["--expect-at-least", "3"]].concat());
    assert_eq!(ran.code, Some(1), "but by who counts");
    assert!(ran.out.contains("2 runs, and there must be at least 3"), "{}", ran.out);
}

#[test]
fn m24_no_key_is_taken_on_trust() {
    let folder = three();
    let record = "proofs/run-000001.proof";
    let ran = folder.run(&["prove", "verify", record]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    let claimed = key(1).public().to_string();
    assert!(ran.err.contains("give --key") && ran.err.contains(&claimed), "{}", ran.err);
    let other = key(2).public().to_string();
    let ran = folder.run(&["prove", "verify", record, "--key", &other]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("and not the one it is checked with"), "{}", ran.out);
    let ran = folder.run(&["prove", "verify", record, "--key", &claimed]);
    assert_eq!(ran.code, Some(0), "the control");
    assert!(ran.out.contains("verdict    proven"), "{}", ran.out);
    // A directory brings a key along, and it is said what that is worth.
    let ran = folder.run(&["prove", "verify", "proofs"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("The key was taken from the directory itself"), "{}", ran.out);
    fs::remove_file(folder.path("proofs/key.pub")).unwrap();
    assert_eq!(folder.run(&["prove", "verify", "proofs"]).code, Some(2));
}

#[test]
fn m24_a_page_is_made_from_the_bytes_that_were_signed() {
    let folder = three();
    let key = key(1).public().to_string();
    let verify = ["prove", "verify", "--key", &key, "--report", "html=proof.html"];
    let ran = folder.run(&[&verify[..], &["proofs/run-000002.proof"]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let page = fs::read_to_string(folder.path("proof.html")).unwrap();
    assert!(page.contains("read another's rows") && page.contains("leaked"), "{page}");

    fs::remove_file(folder.path("proof.html")).unwrap();
    let path = folder.path("proofs/run-000002.proof");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("1 row", "0 row")).unwrap();
    let ran = folder.run(&[&verify[..], &["proofs/run-000002.proof"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(!folder.path("proof.html").exists(), "and from no others");
    let ran = folder.run(&[&verify[..], &["proofs"]].concat());
    assert_eq!(ran.code, Some(2), "of which of them?");
}

#[test]
fn m24_what_cannot_be_asked_ends_with_2() {
    let folder = three();
    let key = key(1).public().to_string();
    for (args, said) in [
        (&["nowhere", "--key", &key][..], "No such file"),
        (&["proofs", "--key", "d75a"], "neither 64 hexadecimal digits nor a file"),
        (&["proofs/run-000001.proof", "--key", &key, "--expect-at-least", "1"], "directory"),
        (&["proofs", "--key", &key, "--expect-head", "xyz"], "64 hexadecimal digits"),
        (&[], "required arguments"),
    ] {
        let ran = folder.run(&[&["prove", "verify"], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
}
