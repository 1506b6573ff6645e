//! A server in a process of its own, on cores of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::load::fail;

pub(crate) struct Served {
    child: Child,
    /// Kept open: whoever writes to a closed one dies of it.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: String,
    /// Client id and secret of machines.
    pub(crate) machines: Vec<(String, String)>,
    pub(crate) said: Value,
}

impl Served {
    /// Runs `program` on these cores, and waits for its line.
    pub(crate) fn start(cores: &str, program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("taskset")
            .args(["-c", cores, program])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| fail(&format!("taskset {program}: {error}")));
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| fail(&format!("{program} {arguments:?} said: {line}")));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let machines = said["machines"].as_array().unwrap().iter();
        let machines = machines.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        Self { child, _stdout: stdout, address: text(&said["address"]), machines, said }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.said[name].as_str().unwrap_or_default().to_owned()
    }

    /// What all its threads have spent on a core so far, to the nanosecond.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(threads.flatten().map(of).sum())
    }

    /// What it has in memory, in MiB.
    pub(crate) fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap() / 1024.0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
