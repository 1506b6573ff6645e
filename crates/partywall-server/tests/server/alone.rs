//! Tests that listen to the log. What is logged where is remembered for a whole process, and a place
//! that another test's thread comes by first, while nobody listens, can stay silent for good.

use std::process::Command;

/// Runs an ignored test in a process where no other is.
pub(crate) fn alone(name: &str) {
    let mut test = Command::new(std::env::current_exe().unwrap());
    let run = test.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{complaint}");
    assert!(said.contains("test result: ok. 1 passed"), "there is no test {name}: {said}");
}
