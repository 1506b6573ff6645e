//! `partywall up`: the whole system, started the way a newcomer starts it, and treated badly.

// Processes are looked at where Linux shows them.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::system::{System, run, state_dir};

/// The walls a newcomer may meet.
const POSTGRES: &str = "postgres";
const SQLITE: &str = "sqlite";

#[test]
fn up_once_holds_on_postgres() {
    once_holds(POSTGRES);
}

#[test]
fn up_once_holds_on_sqlite() {
    once_holds(SQLITE);
}

fn once_holds(data: &str) {
    let state = state_dir();
    let mut system = System::up(state.path(), &["--once", "--data", data]);
    let status = system.wait();
    let said = system.said();
    assert!(status.success(), "{status}:\n{said}");
    // Tenants of every model, every layer, and every pair of models in the store: each was tried,
    // and none was seen to fail.
    for word in [
        "pool at",
        "bridge at",
        "silo at",
        "token",
        "hint",
        "http",
        "job",
        "pool → pool",
        "pool → bridge",
        "pool → silo",
        "bridge → pool",
        "bridge → bridge",
        "bridge → silo",
        "silo → pool",
        "silo → bridge",
        "proven",
    ] {
        assert!(said.contains(word), "no {word:?} in\n{said}");
    }
    assert!(!said.contains('✗'), "{said}");
    assert!(!said.contains('\u{1b}'), "colours, and no terminal:\n{said}");
    let left = system.children();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn what_is_printed_to_paste_works_and_a_second_start_keeps_the_data_on_postgres() {
    keeps_its_data(POSTGRES, System::interrupt_and_wait);
}

#[test]
fn what_is_printed_to_paste_works_and_a_second_start_keeps_the_data_on_sqlite() {
    keeps_its_data(SQLITE, System::interrupt_and_wait);
}

#[test]
fn a_kill_loses_nothing_acknowledged_on_postgres() {
    keeps_its_data(POSTGRES, System::kill);
}

#[test]
fn a_kill_loses_nothing_acknowledged_on_sqlite() {
    keeps_its_data(SQLITE, System::kill);
}

/// Writes an invoice by the printed line, ends the system by `end`, and looks for it again.
#[track_caller]
fn keeps_its_data(data: &str, end: fn(&mut System)) {
    let state = state_dir();
    let mut first = System::up(state.path(), &["--data", data]);
    first.wait_until_serving();
    // In the order they are printed: a list, then a new invoice.
    let [before, created] = pasted(first.account());
    let id = created.get("id").and_then(Value::as_str).expect("an invoice was created");
    assert!(!before.to_string().contains(id), "the invoice was there before: {before}");
    end(&mut first);

    let mut second = System::up(state.path(), &["--data", data]);
    second.wait_until_serving();
    let [after, _] = pasted(second.account());
    assert!(after.to_string().contains(id), "{id} is gone: {after}");
    second.interrupt_and_wait();
    // Neither this run's servers nor any that the first could not take with it.
    let left = second.children();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Pastes what stands under "Try it" into a shell; the answers, one for each line of curl.
#[track_caller]
fn pasted<const N: usize>(account: &str) -> [Value; N] {
    let (_, rest) = account.split_once("Try it").expect("the account has something to try");
    let lines = rest.lines().skip(1).take_while(|line| line.is_empty() || line.starts_with(' '));
    let script: Vec<&str> = lines.collect();
    let output = shell(&script.join("\n"));
    let said = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&said)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error} in {said}"));
    answers.try_into().unwrap_or_else(|answers| panic!("expected {N} answers, not {answers:?}"))
}

fn shell(script: &str) -> Output {
    let mut shell = Command::new("sh");
    let output = shell.args(["-eu", "-c", script]).stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{complaint}");
    output
}

#[test]
fn a_fresh_token_is_had_by_the_printed_line() {
    let state = state_dir();
    let mut system = System::up(state.path(), &["--data", SQLITE]);
    system.wait_until_serving();
    let (_, rest) = system.account().split_once("A fresh token for").unwrap();
    let lines = rest.lines().skip(1).take_while(|line| line.is_empty() || line.starts_with(' '));
    let output = shell(&lines.collect::<Vec<_>>().join("\n"));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer.get("access_token").is_some_and(Value::is_string), "{answer}");
}

#[test]
fn an_interrupt_stops_the_children() {
    let state = state_dir();
    let mut system = System::up(state.path(), &["--data", POSTGRES]);
    system.wait_until_serving();

    // The control: there is something to stop, and root does not run it.
    let servers = system.children();
    assert!(servers.iter().any(|server| server.command.contains("postgres")), "{servers:?}");
    assert!(servers.iter().all(|server| server.uid != 0), "run by root: {servers:?}");

    system.interrupt();
    let status = system.wait();
    assert!(status.success(), "{status}:\n{}", system.said());
    let left = system.children();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn an_interrupt_while_starting_stops_the_children() {
    for step in ["starting PostgreSQL", "preparing", "trying to reach across"] {
        let state = state_dir();
        let mut system = System::up(state.path(), &["--data", POSTGRES]);
        system.wait_for(step);
        system.interrupt();
        system.wait();
        let left = system.children();
        assert!(left.is_empty(), "interrupted at {step:?}, left behind: {left:?}");
    }
}

#[test]
fn a_start_that_was_killed_at_any_step_is_followed_by_one_that_works() {
    let state = state_dir();
    // Kept to the end: dropping one would stop the servers it left to the next.
    let mut killed = Vec::new();
    for step in ["starting PostgreSQL", "opening the control plane", "preparing", "trying to reach"]
    {
        let mut system = System::up(state.path(), &["--data", POSTGRES]);
        system.wait_for(step);
        system.kill();
        killed.push(system);
    }
    let mut system = System::up(state.path(), &["--once", "--data", POSTGRES]);
    let status = system.wait();
    assert!(status.success(), "{status}:\n{}", system.said());
    let left = system.children();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_state_directory_in_use_is_refused_and_its_user_not_disturbed() {
    let state = state_dir();
    let mut first = System::up(state.path(), &["--data", POSTGRES]);
    first.wait_until_serving();

    let state_arg = state.path().to_str().unwrap();
    let args = ["up", "--once", "--listen", "127.0.0.1:0", "--state-dir", state_arg];
    let second = run(&args, state.path());
    let complaint = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("in use") && complaint.contains("--state-dir"), "{complaint}");

    let [list, _] = pasted(first.account());
    assert!(list.is_array(), "{list}");
    first.interrupt_and_wait();
}

/// Root's home lets nobody in, and PostgreSQL does not run as root: the clusters go elsewhere.
#[test]
fn a_home_that_nobody_may_enter_is_no_obstacle() {
    let dir = state_dir();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let once = || run(&["up", "--once", "--data", "postgres", "--listen", "127.0.0.1:0"], &home);
    let (first, second) = (once(), once());
    for name in ["postgres", "postgres-hooli"] {
        // What was made outside the temporary directory goes with the test.
        if let Ok(elsewhere) = fs::read_link(home.join(".partywall").join(name)) {
            fs::remove_dir_all(elsewhere).unwrap();
        }
    }
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let account = String::from_utf8(second.stdout).unwrap();
    assert!(account.contains("proven"), "the second start found its data: {account}");
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let state = state_dir();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let args = ["up", "--once", "--data", SQLITE, "--state-dir", ".", "--listen", &listen];
    let output = run(&args, state.path());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&listen) && complaint.contains("--listen"), "{complaint}");
}
