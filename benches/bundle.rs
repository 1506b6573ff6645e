//! A million tenants: how long a bundle takes to load, what it holds in memory, what a look-up
//! costs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

use std::{fs, hint::black_box, path::Path, process::Command, time::Instant};

use criterion::{Criterion, criterion_group};
use partywall::{
    DeploymentModel, TenantId,
    bundle::{Bundle, BundleKey, BundleTrust, SignedBundle},
    testing::{ControlPlane, placed, tenant},
};
use partywall_benches::wanted;

const TENANTS: usize = 1_000_000;

/// Ids as the control plane makes them: `t-` and 26 characters that look like nothing.
fn id(n: usize) -> String {
    let mut state = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut id = String::from("t-");
    for _ in 0..26 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        id.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(state >> 59) as usize & 31]));
    }
    id
}

fn signed() -> (Vec<u8>, BundleKey) {
    let pool = placed("main", DeploymentModel::Pool, "eu-1");
    let tenants = (0..TENANTS).map(|n| {
        let mut record = tenant(&id(n), pool.clone());
        record.slug = format!("customer-{n}").parse().unwrap();
        record
    });
    let control = ControlPlane::new(tenants.collect());
    (control.sign(1, None), control.bundle_public())
}

fn load(bytes: &[u8], trust: &BundleTrust) -> Bundle {
    SignedBundle::new(bytes.to_vec()).check(trust).unwrap()
}

/// Resident memory of this process, in megabytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

/// Every number below [`TENANTS`] once: a step that has no divisor in common with it.
fn shuffled() -> impl Iterator<Item = usize> {
    (0..TENANTS).map(|n| n * 617_473 % TENANTS)
}

/// Loads the bundle in a process of its own, which has held nothing else, and says what it took.
fn load_alone(bytes: &[u8], trust_key: &str) {
    let file = std::env::temp_dir().join(format!("partywall-bench-{}.pwb", std::process::id()));
    fs::write(&file, bytes).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .env(ALONE, &file)
        .env(KEY, trust_key)
        .status();
    fs::remove_file(&file).unwrap();
    assert!(child.unwrap().success());
}

/// What the process of [`load_alone`] does.
fn measure_alone(file: &Path) {
    let before = resident();
    let started = Instant::now();
    let trust = std::env::var(KEY).unwrap().parse::<BundleKey>().unwrap().into();
    let bundle = SignedBundle::new(fs::read(file).unwrap()).check(&trust).unwrap();
    println!(
        "bundle of {} tenants, read from disk, checked and indexed: {:?}, {:.0} MB in memory",
        bundle.tenant_count(),
        started.elapsed(),
        resident() - before,
    );
}

const ALONE: &str = "PARTYWALL_BENCH_BUNDLE";
const KEY: &str = "PARTYWALL_BENCH_KEY";

fn million(c: &mut Criterion) {
    let (bytes, key) = signed();
    println!(
        "on the wire: {:.1} MB, {} bytes a tenant",
        bytes.len() as f64 / 1e6,
        bytes.len() / TENANTS
    );
    load_alone(&bytes, &key.to_string());
    let trust = BundleTrust::from(key);
    let bundle = load(&bytes, &trust);
    // In an order that has nothing to do with the file's, but one after another in memory: a real
    // id comes out of a token that was just read.
    let ids: Vec<TenantId> = shuffled().map(|n| id(n).parse().unwrap()).collect();
    let mut at = 0;
    c.bench_function("bundle/look-up, in any order", |b| {
        b.iter(|| {
            at = (at + 1) % TENANTS;
            bundle.tenant(black_box(&ids[at])).unwrap().status()
        });
    });
    let few: Vec<&TenantId> = ids.iter().step_by(TENANTS / 100).collect();
    let mut turn = 0;
    c.bench_function("bundle/look-up, of a hundred busy tenants", |b| {
        b.iter(|| {
            turn = (turn + 1) % few.len();
            bundle.tenant(black_box(few[turn])).unwrap().status()
        });
    });
    let mut group = c.benchmark_group("bundle");
    group.sample_size(10);
    group.bench_function("load", |b| b.iter(|| load(&bytes, &trust)));
    group.finish();
}

criterion_group!(benches, million);

fn main() {
    match std::env::var_os(ALONE) {
        Some(file) => measure_alone(Path::new(&file)),
        None if !wanted("bundle") => {}
        None => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
