//! A history cannot be changed without being seen, but at its end.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use partywall::Timestamp;
use partywall_prove::{
    Exit, Run,
    report::{
        Audit, Digest, Fault, History, HistoryError, ReadError, json,
        sign::{RecordError, SigningKey, UnverifiedRecord},
    },
};

use proptest::prelude::*;

use crate::report::{all_blocked, one_of_each};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn run(number: u64) -> Run {
    let mut run = if number == 3 { one_of_each() } else { all_blocked() };
    run.id = format!("{number:032x}");
    run.started = Timestamp(1_767_225_600 + number * 86_400);
    run.ended = Timestamp(run.started.0 + 60);
    run
}

/// Five runs on five days, the third of which leaked.
struct Five {
    dir: tempfile::TempDir,
    history: History,
    heads: Vec<Digest>,
}

impl Five {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let history = History::at(dir.path());
        let heads = (1..=5).map(|number| history.append(&run(number), &key(1)).unwrap().head);
        let heads = heads.collect();
        Self { dir, history, heads }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.path().join(format!("run-{number:06}.proof"))
    }

    fn audit(&self) -> Audit {
        self.history.audit(&key(1).public()).unwrap()
    }

    /// Asserts that the tampering is seen, and that it is all that is seen.
    fn caught(&self, what: &str, expected: impl Fn(&Fault) -> bool) {
        let audit = self.audit();
        assert!(!audit.is_good(), "{what} went unseen");
        assert!(audit.faults.iter().any(expected), "{what}: {:?}", audit.faults);
    }
}

/// Changes a record's text, and leaves it as long as it was.
fn edit(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn m24_an_untouched_history_shows_a_period() {
    let five = Five::new();
    let audit = five.audit();
    assert!(audit.is_good(), "{:?}", audit.faults);
    assert_eq!(audit.entries.len(), 5);
    assert_eq!(audit.head(), Some(five.heads[4].to_string().as_str()));
    assert_eq!(audit.period(), Some((run(1).started, run(5).ended)));
    let gap = audit.longest_gap().unwrap();
    assert_eq!(gap.lasting.as_secs(), 86_400 - 60);
    let unproven: Vec<_> = audit.unproven().map(|entry| (entry.number, entry.verdict)).collect();
    assert_eq!(unproven, [(3, Exit::Leaked)]);
    assert_eq!(audit.back_in_time().count(), 0);
    assert_eq!(five.history.pinned().unwrap(), Some(key(1).public()));
    let mut named: Vec<_> = fs::read_dir(five.dir.path()).unwrap().collect();
    named
        .retain(|entry| !entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".proof"));
    assert_eq!(named.len(), 2, "the lock and the public key, nothing half-written");
}

#[test]
fn m24_every_flipped_byte_is_seen() {
    let five = Five::new();
    let path = five.path(2);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let record =
            UnverifiedRecord::parse(&bad).and_then(|record| record.verify(&key(1).public()));
        assert!(record.is_err(), "byte {at} of {}", good.len());
    }
    let record = UnverifiedRecord::parse(&good).and_then(|record| record.verify(&key(1).public()));
    assert_eq!(record.unwrap().number, 2, "the control: unflipped it is good");
    for length in 0..good.len() {
        assert!(UnverifiedRecord::parse(&good[..length]).is_err(), "cut at {length}");
    }
    let longer = [good.as_slice(), b"\n"].concat();
    assert!(UnverifiedRecord::parse(&longer).is_err(), "nothing may follow");
}

#[test]
fn m24_an_edited_report_is_seen() {
    let five = Five::new();
    edit(&five.path(3), "1 row of pwa1", "0 row of pwa1");
    five.caught("an edited report", |fault| {
        matches!(fault, Fault::Record { number: 3, source: RecordError::Signature })
    });
}

#[test]
fn m24_swapped_records_are_seen() {
    let five = Five::new();
    let (second, fourth) = (five.path(2), five.path(4));
    let kept = fs::read(&second).unwrap();
    fs::copy(&fourth, &second).unwrap();
    fs::write(&fourth, kept).unwrap();
    five.caught("swapping", |fault| matches!(fault, Fault::Misplaced { number: 2, says: 4 }));
    five.caught("swapping", |fault| matches!(fault, Fault::Misplaced { number: 4, says: 2 }));
}

#[test]
fn m24_a_record_taken_out_is_seen() {
    for (gone, expected) in [(1, (1, 1)), (3, (3, 3))] {
        let five = Five::new();
        fs::remove_file(five.path(gone)).unwrap();
        five.caught(
            "taking one out",
            |fault| matches!(fault, Fault::Missing { from, to } if (*from, *to) == expected),
        );
    }
    let five = Five::new();
    fs::remove_file(five.path(1)).unwrap();
    for number in 2..=5 {
        fs::rename(five.path(number), five.path(number - 1)).unwrap();
    }
    five.caught("closing the ranks", |fault| {
        matches!(fault, Fault::Misplaced { number: 1, says: 2 })
    });
}

#[test]
fn m24_a_record_signed_again_is_seen() {
    // By another key.
    let five = Five::new();
    let previous = five.heads[1];
    let forged = key(2).sign(3, &previous, &json(&all_blocked()));
    fs::write(five.path(3), &forged).unwrap();
    five.caught("another key", |fault| {
        matches!(fault, Fault::Record { number: 3, source: RecordError::OtherKey { .. } })
    });
    // By another key that claims to be the right one.
    let claimed = String::from_utf8(forged).unwrap();
    let claimed = claimed.replacen(&key(2).public().to_string(), &key(1).public().to_string(), 1);
    fs::write(five.path(3), claimed).unwrap();
    five.caught("another's key", |fault| {
        matches!(fault, Fault::Record { number: 3, source: RecordError::Signature })
    });
    // By the right key, which its holder can always do: the next record names what was there.
    fs::write(five.path(3), key(1).sign(3, &previous, &json(&all_blocked()))).unwrap();
    five.caught("a rewritten past", |fault| matches!(fault, Fault::Broken { number: 4 }));
    // And a whole history by another key is not checked with the key it brings along.
    let other = tempfile::tempdir().unwrap();
    let history = History::at(other.path());
    history.append(&run(1), &key(2)).unwrap();
    assert!(!history.audit(&key(1).public()).unwrap().is_good());
    assert!(history.audit(&key(2).public()).unwrap().is_good(), "the control");
}

#[test]
fn m24_a_run_counted_twice_is_seen() {
    let five = Five::new();
    fs::copy(five.path(5), five.path(6)).unwrap();
    five.caught("a copy", |fault| matches!(fault, Fault::Misplaced { number: 6, says: 5 }));
    fs::remove_file(five.path(6)).unwrap();
    five.history.append(&run(2), &key(1)).unwrap();
    five.caught("a run appended again", |fault| {
        matches!(fault, Fault::Repeated { number: 6, first: 2, .. })
    });
    let five = Five::new();
    fs::copy(five.path(5), five.dir.path().join("run-5.proof")).unwrap();
    five.caught("a number in another spelling", |fault| matches!(fault, Fault::Foreign { .. }));
}

#[test]
fn m24_what_is_cut_off_at_the_end_is_seen_by_who_kept_the_head() {
    let five = Five::new();
    fs::remove_file(five.path(5)).unwrap();
    let mut audit = five.audit();
    assert!(audit.is_good(), "from the files alone it cannot be seen");
    audit.expect(Some(4), Some(&five.heads[3]));
    assert!(audit.is_good(), "the control: {:?}", audit.faults);
    audit.expect(Some(5), None);
    assert!(matches!(audit.faults[..], [Fault::TooFew { there: 4, wanted: 5 }]));
    let mut audit = five.audit();
    audit.expect(None, Some(&five.heads[4]));
    assert!(matches!(audit.faults[..], [Fault::NotThere { .. }]));
}

#[test]
fn m24_a_signed_lie_is_a_lie() {
    let lie =
        json(&one_of_each()).replacen("\"verdict\": \"leaked\"", "\"verdict\": \"proven\"", 1);
    let record = key(1).sign(1, &Digest::NONE, &lie);
    let record = UnverifiedRecord::parse(&record).unwrap().verify(&key(1).public());
    assert!(matches!(record, Err(RecordError::Report(ReadError::Verdict { .. }))), "{record:?}");
}

#[test]
fn m24_nothing_is_appended_to_what_is_broken() {
    let five = Five::new();
    let other = five.history.append(&run(6), &key(2));
    assert!(matches!(other, Err(HistoryError::OtherKey { .. })), "{other:?}");
    let pinned = five.dir.path().join("key.pub");
    fs::remove_file(&pinned).unwrap();
    let other = five.history.append(&run(6), &key(2));
    assert!(matches!(other, Err(HistoryError::Head { .. })), "{other:?}");
    assert!(!pinned.exists(), "nor is the wrong key written down");
    let good = fs::read(five.path(5)).unwrap();
    fs::write(five.path(5), &good[..good.len() / 2]).unwrap();
    let broken = five.history.append(&run(6), &key(1));
    assert!(matches!(broken, Err(HistoryError::Head { .. })), "{broken:?}");
    fs::write(five.path(5), good).unwrap();
    assert_eq!(five.history.append(&run(6), &key(1)).unwrap().number, 6, "the control");
    // What a crash leaves behind is nobody's record.
    fs::write(five.dir.path().join("next.tmp"), "half").unwrap();
    assert_eq!(five.history.append(&run(7), &key(1)).unwrap().number, 7);
    assert!(five.audit().is_good());
}

#[test]
fn m24_an_empty_directory_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let audit = History::at(dir.path()).audit(&key(1).public()).unwrap();
    assert!(!audit.is_good());
    assert!(matches!(audit.faults[..], [Fault::Empty]));
    let nowhere = History::at(dir.path().join("no")).audit(&key(1).public());
    assert!(matches!(nowhere, Err(HistoryError::Io { .. })));
}

#[test]
fn m24_many_at_once_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|threads| {
        for thread in 0..8 {
            let history = History::at(dir.path());
            threads.spawn(move || {
                for at in 0..5 {
                    history.append(&run(10 + thread * 5 + at), &key(1)).unwrap();
                }
            });
        }
    });
    let audit = History::at(dir.path()).audit(&key(1).public()).unwrap();
    assert!(audit.is_good(), "{:?}", audit.faults);
    assert_eq!(audit.entries.len(), 40);
}

/// Where the children of the two tests below append, and the first of their runs.
const DIRECTORY: &str = "PARTYWALL_PROVE_TEST_HISTORY";
const FIRST: &str = "PARTYWALL_PROVE_TEST_FIRST";

/// What each child does: this test in a process of its own. Without its variables, nothing.
#[test]
fn m24_a_child_appends_until_it_is_done() {
    let (Ok(dir), Ok(first)) = (env::var(DIRECTORY), env::var(FIRST)) else { return };
    let first: u64 = first.parse().unwrap();
    for at in 0..20 {
        History::at(&dir).append(&run(first + at), &key(1)).unwrap();
    }
}

fn child(dir: &Path, first: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "report_history::m24_a_child_appends_until_it_is_done"])
        .envs([(DIRECTORY, dir.as_os_str()), (FIRST, first.to_string().as_ref())])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn m24_many_processes_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|at| child(dir.path(), 100 + at * 20)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let audit = History::at(dir.path()).audit(&key(1).public()).unwrap();
    assert!(audit.is_good(), "{:?}", audit.faults);
    assert_eq!(audit.entries.len(), 80);
}

#[test]
fn m24_who_is_killed_while_appending_leaves_a_good_history() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::at(dir.path());
    for round in 0..12 {
        let mut child = child(dir.path(), 1000 + round * 20);
        thread::sleep(Duration::from_millis(5 + round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        history.append(&run(10 + round), &key(1)).unwrap();
        let audit = history.audit(&key(1).public()).unwrap();
        assert!(audit.is_good(), "{:?}", audit.faults);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn m24_no_bytes_but_the_signed_ones_are_a_record(
        cut in 0_usize..400, keep in 0_usize..400, garbage in prop::collection::vec(any::<u8>(), 0..64)
    ) {
        let good = key(1).sign(1, &Digest::NONE, &json(&all_blocked()));
        let (cut, after) = (cut.min(good.len()), cut.saturating_add(keep).min(good.len()));
        let bytes = [&good[..cut], garbage.as_slice(), &good[after..]].concat();
        let public = key(1).public();
        let record = UnverifiedRecord::parse(&bytes).and_then(|record| record.verify(&public));
        prop_assert_eq!(record.is_ok(), bytes == good);
        let record = UnverifiedRecord::parse(&garbage).and_then(|record| record.verify(&public));
        prop_assert!(record.is_err());
    }
}

/// The format is simple enough for any tool: OpenSSL checks the bytes above the last line.
#[test]
fn m24_openssl_comes_to_the_same() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing");
        eprintln!("SKIPPED: openssl is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = key(1).sign(1, &Digest::NONE, &json(&all_blocked()));
    let at = record.len() - "signature \n".len() - 128;
    let hex = std::str::from_utf8(&record[at + "signature ".len()..]).unwrap().trim_end();
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2);
        digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, 4).
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let spki = [prefix.as_slice(), &bytes(&key(1).public().to_string())].concat();
    let file = |name: &str| dir.path().join(name);
    fs::write(file("signed"), &record[..at]).unwrap();
    fs::write(file("signature"), bytes(hex)).unwrap();
    fs::write(file("key.der"), spki).unwrap();
    let verified = || {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"]);
        openssl.arg(file("key.der")).arg("-in").arg(file("signed"));
        openssl.arg("-sigfile").arg(file("signature")).output().unwrap().status.success()
    };
    assert!(verified(), "the bytes as they are");
    fs::write(file("signed"), &record[..at - 1]).unwrap();
    assert!(!verified(), "and no others");
}
