//! Where letters of a test go.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use super::parts::{cache, missing};

/// PyPI's `aiosmtpd`, which puts letters into a maildir; killed with the test.
pub(super) struct Postbox {
    pub(super) address: String,
    _server: tokio::process::Child,
}

impl Postbox {
    /// Takes mail until it is dropped.
    pub(super) async fn open(letters: &Path) -> Option<Self> {
        let venv = cache().join("venv");
        if !venv.join("partywall-installed").exists() {
            return missing("PyPI's mail server is");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let server = Command::new(venv.join("bin/python"))
            .args(["-m", "aiosmtpd", "-n", "-l", &address, "-c", "aiosmtpd.handlers.Mailbox"])
            .arg(letters.join("mail"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                return Some(Self { address, _server: server });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("aiosmtpd does not listen on {address}");
    }
}
