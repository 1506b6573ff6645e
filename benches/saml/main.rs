//! What believing a SAML response costs, beside npm's node-saml and xmlsec's library (PyPI's
//! `xmlsec`, which calls it), all of them in CPU time of one run; and what refusing a hostile one
//! costs, in time and memory.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use partywall_benches::{only_a_test, wanted};
use partywall_saml::{Certificate, Expected};
use serde_json::json;

use message::{Idp, REQUEST, hostile};

mod message;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("hostile") {
        return refuse(&arguments.next().unwrap(), &arguments.next().unwrap());
    }
    if !wanted("saml") {
        return;
    }
    let idp = Idp::new();
    for kilobytes in [3, 10, 100] {
        let response = idp.response(kilobytes * 1000);
        println!("a response of {} bytes, in CPU time", response.len());
        let raw = idp.signature_alone(rounds(20_000));
        let ours = ours(&idp, &response, rounds(20_000 / kilobytes));
        let more = micros(ours).saturating_sub(micros(raw));
        println!(
            "  {:<22}{:>9} µs, of which {more} µs are not the signature (mark: 1,000 at 10 kB)",
            "ours",
            micros(ours)
        );
        let judged = json!({
            "response": response,
            "certificate": idp.certificate_base64(),
            "sp": message::SP, "acs": message::ACS, "request": REQUEST,
            "rounds": rounds(2_000 / kilobytes),
        });
        for (name, program, script) in [
            ("node-saml", "node".into(), "peer.mjs"),
            ("xmlsec (Python, C)", cache().join("venv/bin/python"), "peer.py"),
        ] {
            match peer(&program, script, &judged.to_string()) {
                Some(theirs) => println!(
                    "  {name:<22}{:>9} µs, {:.1} times ours",
                    micros(theirs),
                    theirs.as_secs_f64() / ours.as_secs_f64()
                ),
                None => println!("  skipped: no {name} on this machine: scripts/install"),
            }
        }
    }
    println!("hostile messages (marks: 50 ms, 16 MiB)");
    for (name, text) in hostile(&idp) {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["hostile", name, &idp.certificate_base64()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}");
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

fn rounds(usual: usize) -> usize {
    if only_a_test() { 1 } else { usual.max(1) }
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}

fn ours(idp: &Idp, response: &str, rounds: usize) -> Duration {
    let connection = idp.connection();
    let expected = Expected { request_id: Some(REQUEST), now: idp.now };
    let began = cpu();
    for _ in 0..rounds {
        connection.verify(black_box(response.as_bytes()), &expected).unwrap();
    }
    (cpu() - began) / u32::try_from(rounds).unwrap()
}

/// What this process has spent on a processor.
pub(crate) fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

/// CPU time of one verification.
fn peer(program: &Path, script: &str, judged: &str) -> Option<Duration> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("saml").join(script);
    let mut child = Command::new(program)
        .arg(script)
        .arg(cache().join("node/node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(judged.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let nanoseconds: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    Some(Duration::from_secs_f64(nanoseconds / 1e9))
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.unwrap_or_default().join("partywall")
}

/// In a process of its own, whose memory is this message's.
fn refuse(name: &str, certificate: &str) {
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    let connection = message::connection(Certificate::from_text(certificate).unwrap());
    let expected = Expected { request_id: Some(REQUEST), now: message::now() };
    // proc(5): from here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let mut verdict = connection.verify(text.as_bytes(), &expected);
    let memory = peak() - before;
    // The processor's clock is too coarse for one, and the wall's least is nearest to it.
    let mut least = Duration::MAX;
    for _ in 0..rounds(10) {
        let began = Instant::now();
        verdict = connection.verify(text.as_bytes(), &expected);
        least = least.min(began.elapsed());
    }
    let rule = match verdict {
        Ok(_) => "accepted",
        Err(refused) => refused.rule().code(),
    };
    println!("  {name:<22}{:>9} µs, {memory:>6} KiB: {rule}", micros(least));
}

/// The most memory this process has had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}
