//! What asks the program to stop, and how often it was asked.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Hears Ctrl-C, SIGTERM and the closing of the terminal, from when it is made.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Starts listening.
    pub(super) fn listen() -> io::Result<Self> {
        let (count, heard) = watch::channel(0);
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !hangup_is_ignored() {
            kinds.push(SignalKind::hangup());
        }
        for kind in kinds {
            let (mut signals, count) = (signal(kind)?, count.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Self(heard))
    }

    /// Completes once asked.
    pub(super) async fn asked(&mut self) {
        self.times(1).await;
    }

    /// Completes once asked again: whoever asks twice does not want to wait.
    pub(super) async fn asked_again(&mut self) {
        self.times(2).await;
    }

    async fn times(&mut self, times: u32) {
        // The senders live as long as the runtime.
        let _ = self.0.wait_for(|count| *count >= times).await;
    }
}

/// Whether we were started by `nohup`, which wants us to outlive the terminal. Linux tells.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, id},
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_terminal_closing_stops_it_and_being_asked_twice_is_told_apart() {
        let mut stop = Stop::listen().unwrap();
        let send = |signal: &str| {
            Command::new("kill").args([signal, id().to_string().as_str()]).status().unwrap()
        };
        let (while_quiet, soon) = (Duration::from_millis(50), Duration::from_secs(10));
        assert!(timeout(while_quiet, stop.asked()).await.is_err(), "nobody asked yet");
        // Without a handler this would end the test itself.
        let first = if hangup_is_ignored() { "-TERM" } else { "-HUP" };
        assert!(send(first).success());
        timeout(soon, stop.asked()).await.unwrap();
        assert!(timeout(while_quiet, stop.asked_again()).await.is_err(), "asked once only");
        assert!(send("-INT").success());
        timeout(soon, stop.asked_again()).await.unwrap();
    }
}
