use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::bundle::tests::{Signer, contents};

#[test]
fn r16_the_last_good_bundle_survives_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let files = BundleFiles::in_dir(dir.path()).unwrap();
    let load = || {
        let loaded = files.load(&signer.trust());
        let found = loaded.bundle.map(|bundle| (bundle.generation().0, bundle.tenant_count()));
        (found, loaded.faults.len())
    };
    assert_eq!(load(), (None, 0), "nothing yet");

    let full = |generation: u64, ids: &[&str], previous: Option<u64>| {
        let bytes = signer.full(generation, &contents(ids));
        files.keep_full(Generation(generation), &bytes, previous.map(Generation)).unwrap();
    };
    let delta = |base, id: &str| {
        let bytes = signer.delta(base, base + 1, &contents(&[id]));
        files.keep_delta(Generation(base + 1), &bytes).unwrap();
    };
    full(1, &["acme"], None);
    delta(1, "globex");
    delta(2, "hooli");
    assert_eq!(load(), (Some((3, 3)), 0));

    // A torn delta ends the chain: what came before is served, and it is said.
    let torn = dir.path().join(format!("delta-{:020}.pwb", 2));
    let good = fs::read(&torn).unwrap();
    fs::write(&torn, b"PWBNDL").unwrap();
    assert_eq!(load(), (Some((1, 1)), 1));
    fs::write(&torn, good).unwrap();

    // A half-written file beside it is not looked at.
    full(3, &["acme", "globex", "hooli"], Some(1));
    fs::write(dir.path().join("bundle.new"), b"half of someth").unwrap();
    assert_eq!(load(), (Some((3, 3)), 0));

    // The one before and what led from it to here is there for the day the latest is damaged.
    let latest = dir.path().join(FULL);
    let good = fs::read(&latest).unwrap();
    fs::write(&latest, &good[..100]).unwrap();
    assert_eq!(load(), (Some((3, 3)), 1));
    fs::write(&latest, good).unwrap();

    full(4, &["acme", "initech"], Some(3));
    assert_eq!(load(), (Some((4, 2)), 0));
    assert!(!torn.exists(), "it led to nothing any more");

    let stranger = files.load(&Signer::new().trust());
    assert!(stranger.bundle.is_none(), "trusted for its signature, not its place");
    assert_eq!(
        stranger.faults.iter().map(|f| f.reason.code()).collect::<Vec<_>>(),
        ["foreign_key", "foreign_key"]
    );

    fs::remove_file(&latest).unwrap();
    assert_eq!(load(), (None, 0), "who removes the latest wants none, and not an older one");
}

#[test]
fn a_bundle_on_disk_is_nobody_elses_business() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    let files = BundleFiles::in_dir(&own).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(own.join("bundle.new"), "left behind").unwrap();
    fs::set_permissions(own.join("bundle.new"), Permissions::from_mode(0o644)).unwrap();
    files.keep_full(Generation(1), b"one", None).unwrap();
    files.keep_full(Generation(2), b"two", Some(Generation(1))).unwrap();
    files.keep_delta(Generation(3), b"three").unwrap();
    assert_eq!(mode(&own), 0o700);
    let entries = fs::read_dir(&own).unwrap();
    let modes: Vec<_> = entries.map(|entry| mode(&entry.unwrap().path())).collect();
    assert_eq!(modes, [0o600; 3], "the full one, the one before, the delta");
}

#[test]
fn r01_deltas_that_outweigh_the_full_bundle_ask_for_a_new_one() {
    let signer = Signer::new();
    let ids: Vec<String> = (0..15_000).map(|n| format!("t-{n:026}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let bytes = signer.full(1, &contents(&["acme"]));
    let full = SignedBundle::new(bytes.clone()).check(&signer.trust()).unwrap();
    let mut keeper = Keeper::new(None, &Loaded::default());
    keeper.keep(&full, &bytes).unwrap();
    let mut laid = |base: u64, ids: &[&str]| {
        let bytes = signer.delta(base, base + 1, &contents(ids));
        let onto = SignedBundle::new(signer.full(base, &contents(&[])));
        let onto = onto.check(&signer.trust()).unwrap();
        let delta = SignedBundle::new(bytes.clone()).check_onto(&onto, &signer.trust()).unwrap();
        keeper.keep(&delta, &bytes).unwrap();
        keeper.wants_full()
    };
    assert!(!laid(1, &ids[..100]), "larger than the full bundle, and small all the same");
    assert!(laid(2, &ids), "more than a megabyte");
}
