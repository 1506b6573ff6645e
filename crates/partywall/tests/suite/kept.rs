//! What an enforcement point keeps on disk, and what a restart makes of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use partywall::{
    AccessToken, DeploymentModel, Partywall, TenantStatus,
    bundle::{BundleSource, Generation, SourceError},
    testing::{ControlPlane, placed, tenant},
    token::{Algorithm, KeySet, SigningKey},
};
use serde_json::json;

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    ControlPlane::new(vec![tenant("acme", pooled.clone()), tenant("globex", pooled)])
}

fn start(control: &ControlPlane, dir: &Path) -> Partywall {
    control.builder().state_dir(dir).build().unwrap()
}

fn generation(wall: &Partywall) -> Option<u64> {
    wall.generation().map(|generation| generation.0)
}

fn serves(wall: &Partywall, control: &ControlPlane, tenant: &str) -> bool {
    wall.verify(AccessToken::new(&control.token(tenant, "u:ada"))).is_ok()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn delta_file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("delta-{generation:020}.pwb"))
}

/// Suspends acme: a delta from one generation to the next that names nobody else.
fn suspension(control: &mut ControlPlane, generation: u64) -> Vec<u8> {
    let (mut acme, others): (Vec<_>, Vec<_>) =
        control.contents.tenants.drain(..).partition(|tenant| tenant.id.as_str() == "acme");
    acme.iter_mut().for_each(|acme| acme.status = TenantStatus::Suspended);
    control.contents.tenants = acme.clone();
    let delta = control.sign(generation, Some(generation - 1));
    control.contents.tenants = [acme, others].concat();
    delta
}

/// Hands out what it was given, and remembers what it was asked.
#[derive(Default)]
struct Shelf {
    full: Mutex<Vec<u8>>,
    delta: Mutex<Option<Vec<u8>>>,
    asked: Mutex<Vec<Option<u64>>>,
}

impl Shelf {
    fn with(full: Vec<u8>) -> Self {
        Self { full: full.into(), ..Self::default() }
    }

    fn asked(&self) -> Vec<Option<u64>> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl BundleSource for Shelf {
    async fn next(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        self.asked.lock().unwrap().push(after.map(|generation| generation.0));
        Ok(match after {
            None => Some(self.full.lock().unwrap().clone().into()),
            Some(_) => self.delta.lock().unwrap().take().map(Bytes::from),
        })
    }
}

#[tokio::test]
async fn r16_a_damaged_delta_is_healed_by_the_next_full_bundle() {
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    wall.accept(control.sign(1, None)).unwrap();
    let idle = std::mem::take(&mut control.contents.tenants);
    wall.accept(control.sign(2, Some(1))).unwrap();
    control.contents.tenants = idle;
    wall.accept(suspension(&mut control, 3)).unwrap();
    assert!(!serves(&wall, &control, "acme"), "suspended by generation 3");
    fs::write(delta_file(dir.path(), 2), "torn").unwrap();

    let again = start(&control, dir.path());
    assert_eq!(generation(&again), Some(1), "all that the disk still leads to");
    // The naive way on is a delta from there, laid beside what is torn.
    let shelf = Shelf::with(control.sign(3, None));
    again.catch_up(&shelf).await.unwrap();
    assert_eq!(shelf.asked(), [None], "it asks in full");
    assert!(!serves(&again, &control, "acme") && serves(&again, &control, "globex"));
    again.catch_up(&shelf).await.unwrap();
    assert_eq!(shelf.asked(), [Some(3)], "and goes on as ever");

    let healed = start(&control, dir.path());
    assert_eq!(generation(&healed), Some(3), "the disk leads to it again");
    assert!(!serves(&healed, &control, "acme") && serves(&healed, &control, "globex"));
}

#[tokio::test]
async fn r15_what_could_not_be_kept_is_kept_in_full_later() {
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    wall.accept(control.sign(1, None)).unwrap();
    // Where the delta's place is taken by a directory, no file can be put: the disk says no.
    fs::create_dir_all(delta_file(dir.path(), 2).join("in the way")).unwrap();
    wall.accept(suspension(&mut control, 2)).unwrap();
    assert!(!serves(&wall, &control, "acme"), "in force all the same");

    control.contents.tenants[1].status = TenantStatus::Suspended;
    wall.accept(control.sign(3, Some(2))).unwrap();
    assert!(!delta_file(dir.path(), 3).exists(), "a delta after a gap is worth nothing");
    fs::remove_dir_all(delta_file(dir.path(), 2)).unwrap();
    assert_eq!(generation(&start(&control, dir.path())), Some(1), "what a restart came to");

    let shelf = Shelf::with(control.sign(3, None));
    wall.catch_up(&shelf).await.unwrap();
    assert_eq!((shelf.asked(), generation(&wall)), (vec![None], Some(3)));
    let again = start(&control, dir.path());
    assert_eq!(generation(&again), Some(3), "the same generation, in full, on disk");
    assert!(!serves(&again, &control, "acme") && !serves(&again, &control, "globex"));
}

#[tokio::test]
async fn r01_a_full_bundle_that_cannot_be_kept_is_not_fetched_over_and_over() {
    let (control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    wall.accept(control.sign(1, None)).unwrap();
    // A directory where the file is written first: nothing can be kept any more.
    fs::create_dir(dir.path().join("bundle.new")).unwrap();
    wall.accept(control.sign(2, None)).unwrap();
    let shelf = Shelf::with(control.sign(2, None));
    for _ in 0..3 {
        wall.catch_up(&shelf).await.unwrap();
    }
    assert_eq!(shelf.asked(), [None, Some(2), Some(2)], "asked for once in a while");
    fs::remove_dir(dir.path().join("bundle.new")).unwrap();
    wall.accept(control.sign(2, None)).unwrap();
    assert_eq!(generation(&start(&control, dir.path())), Some(2), "the control");
}

#[tokio::test]
async fn r01_a_long_chain_of_deltas_becomes_one_file_again() {
    const ROUNDS: u64 = 300;
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    let shelf = Shelf::with(control.sign(1, None));
    wall.catch_up(&shelf).await.unwrap();
    let all = control.contents.tenants.clone();
    let (mut most, mut latest) = (0, 1);
    for round in 0..ROUNDS {
        // Each change names acme alone; the full bundle names both.
        control.contents.tenants = all.clone();
        control.contents.tenants[0].epoch = round as u32;
        *shelf.full.lock().unwrap() = control.sign(latest, None);
        control.contents.tenants.truncate(1);
        *shelf.delta.lock().unwrap() = Some(control.sign(latest + 1, Some(latest)));
        wall.catch_up(&shelf).await.unwrap();
        latest = generation(&wall).unwrap();
        most = most.max(files(dir.path()).len());
    }
    let asked = shelf.asked();
    let in_full = asked.iter().filter(|after| after.is_none()).count();
    assert_eq!(in_full, 1 + 300 / 65, "the first one, and one after 64 deltas each");
    assert_eq!(latest, 1 + ROUNDS - 300 / 65, "a round spent on saying the same in one piece");
    assert!(most <= 2 + 2 * 64, "{most} files at once");
    assert!(files(dir.path()).contains(&"bundle.previous.pwb".to_owned()));

    // What is damaged now costs nothing: the one before and its deltas lead here, too.
    let full = dir.path().join("bundle.pwb");
    let bytes = fs::read(&full).unwrap();
    fs::write(&full, &bytes[..bytes.len() / 2]).unwrap();
    let fallen_back = start(&control, dir.path());
    fs::write(&full, bytes).unwrap();
    let again = start(&control, dir.path());
    assert_eq!((generation(&again), generation(&fallen_back)), (Some(latest), Some(latest)));
    assert!(serves(&again, &control, "globex") && serves(&fallen_back, &control, "globex"));
}

#[tokio::test]
async fn r19_a_damaged_full_bundle_starts_from_the_one_before() {
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    wall.accept(control.sign(1, None)).unwrap();
    control.contents.tenants[0].status = TenantStatus::Suspended;
    wall.accept(control.sign(5, None)).unwrap();
    let (full, before) = (dir.path().join("bundle.pwb"), dir.path().join("bundle.previous.pwb"));
    assert_eq!(generation(&start(&control, dir.path())), Some(5), "the control: undamaged");
    fs::write(&full, "torn").unwrap();

    let again = start(&control, dir.path());
    assert_eq!(generation(&again), Some(1));
    let shelf = Shelf::with(control.sign(5, None));
    again.catch_up(&shelf).await.unwrap();
    assert_eq!((shelf.asked(), generation(&again)), (vec![None], Some(5)));
    assert_eq!(generation(&start(&control, dir.path())), Some(5));

    // The good one before was not overwritten with the damaged one.
    fs::write(&full, "torn again").unwrap();
    assert_eq!(generation(&start(&control, dir.path())), Some(1));
    fs::write(&before, "torn, too").unwrap();
    let nothing = start(&control, dir.path());
    assert_eq!(generation(&nothing), None, "it starts, and serves nobody");
    assert!(!serves(&nothing, &control, "globex"));
    nothing.catch_up(&shelf).await.unwrap();
    assert!(serves(&nothing, &control, "globex"), "until it is told");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&full), 0o600);
}

/// A disk that hangs holds up neither decisions nor the keys of issuers.
#[test]
fn r09_new_keys_do_not_wait_for_the_disk() {
    let (control, dir) = (control(), tempfile::tempdir().unwrap());
    let wall = start(&control, dir.path());
    wall.accept(control.sign(1, None)).unwrap();
    assert!(serves(&wall, &control, "acme"), "the control: the keys are good");
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap().public_jwk();
    let other = KeySet::parse(json!({ "keys": [other] }).to_string().as_bytes()).unwrap();
    // Writing into a pipe nobody reads from waits until somebody does.
    let pipe = dir.path().join("bundle.new");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| wall.accept(control.sign(2, None)));
        while generation(&wall) != Some(2) {
            assert!(!hanging.is_finished(), "it was refused");
            std::thread::yield_now();
        }
        let (done, replaced) = mpsc::channel();
        let wall = &wall;
        scope.spawn(move || {
            wall.replace_keys(ControlPlane::ISSUER, other);
            done.send(()).unwrap();
        });
        let in_time = replaced.recv_timeout(Duration::from_secs(5)).is_ok();
        let still_hanging = !hanging.is_finished();
        // Free everybody before complaining.
        fs::read(&pipe).unwrap();
        assert!(in_time, "new keys waited for the disk");
        assert!(still_hanging, "the control: the disk did not hang");
        assert_eq!(hanging.join().unwrap().unwrap(), Generation(2));
    });
    assert!(!serves(&wall, &control, "acme"), "the keys were replaced");
}

/// Taking a bundle is long work: readers and the runtime go on meanwhile.
#[tokio::test]
async fn r01_taking_a_bundle_holds_up_no_task() {
    let mut control = control();
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    let many = (0..20_000).map(|n| tenant(&format!("t-{n}"), pooled.clone()));
    control.contents.tenants.extend(many);
    let shelf = Shelf::with(control.sign(1, None));
    let wall = control.builder().build().unwrap();
    let mut turns = 0;
    let took = std::time::Instant::now();
    {
        let mut taking = std::pin::pin!(wall.catch_up(&shelf));
        loop {
            tokio::select! {
                biased;
                taken = &mut taking => break taken.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(1)) => turns += 1,
            }
        }
    }
    // On this one-threaded runtime a bundle read in line leaves no turn to anybody else.
    assert!(turns > 2, "{turns} turns in {:?}", took.elapsed());
}
