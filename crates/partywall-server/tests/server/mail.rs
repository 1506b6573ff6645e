//! Invitations and new passwords by mail, given to a real SMTP server.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use partywall_server::{ControlError, MailConfig, NewUser, Server};

use crate::support::{Plane, TESTER};

/// PyPI's `aiosmtpd`, printing what it takes; killed with the test.
struct Postbox {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
}

impl Postbox {
    /// `None`, said aloud, where it is not installed; a failure where everything should be.
    fn open() -> Option<Self> {
        let python = python();
        let has = Command::new(&python)
            .args(["-c", "import aiosmtpd"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has {
            assert!(std::env::var_os("CI").is_none(), "aiosmtpd is not here: run scripts/install");
            eprintln!("SKIPPED: aiosmtpd is not here; scripts/install brings it");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut child = Command::new(python)
            .args(["-u", "-m", "aiosmtpd", "-n", "-l", &address])
            .args(["-c", "aiosmtpd.handlers.Debugging", "stdout"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        for _ in 0..200 {
            if std::net::TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, address, lines })
    }

    /// The next letter, with its encoding undone as far as these tests need.
    fn letter(&self) -> String {
        let mut letter = String::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("no letter came");
            if line.starts_with("------------ END") {
                break;
            }
            match line.strip_suffix('=') {
                Some(soft) => letter.push_str(soft),
                None => {
                    letter.push_str(&line);
                    letter.push('\n');
                }
            }
        }
        letter.replace("=3D", "=")
    }
}

impl Drop for Postbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> std::path::PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cache"))
    });
    let venv = cache.map(|cache| cache.join("partywall/venv/bin/python"));
    venv.filter(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

fn ada() -> NewUser {
    NewUser {
        email: "ada@acme.test".parse().unwrap(),
        name: "Ada".to_owned(),
        roles: Default::default(),
        metadata: Default::default(),
    }
}

/// A link to one of our pages, out of a letter.
fn link(letter: &str, action: &str) -> String {
    let marker = format!("https://id.test/idp/{action}/");
    let at = letter.find(&marker).unwrap_or_else(|| panic!("no link in {letter}"));
    letter[at..].split([' ', '\n', '"', '<']).next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_an_invitation_goes_to_its_addressee_and_nowhere_else() {
    let Some(postbox) = Postbox::open() else { return };
    let mail = MailConfig {
        server: format!("smtp://{}", postbox.address),
        from: "Vendor <login@vendor.test>".to_owned(),
        credentials: None,
    };
    let plane = Plane::with(|config| config.mail = Some(mail)).await;
    let tenant = plane.tenant("acme").await;
    let user = plane.control.create_user(&TESTER, tenant.id(), ada()).await.unwrap();
    let invitation = plane.control.invite(&TESTER, tenant.id(), &user.id).await.unwrap();
    assert!(invitation.mailed);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving =
        tokio::spawn(Server::new(plane.control.clone()).serve(listener, std::future::pending()));
    let letter = tokio::task::block_in_place(|| postbox.letter());
    serving.abort();
    assert!(letter.contains("To: ada@acme.test"), "{letter}");
    assert!(letter.contains("Subject: You are invited to acme"), "{letter}");
    assert_eq!(link(&letter, "invitation"), *invitation.link.expose());
    // Nothing that anybody can list shows it.
    for record in plane.control.audit_trail(tenant.id(), 10).await.unwrap() {
        assert!(!record.detail.contains(invitation.link.expose().rsplit('.').next().unwrap()));
    }
}

#[tokio::test]
async fn p04_without_mail_the_link_is_the_operators_to_hand_over() {
    let plane = Plane::new().await;
    let (acme, bond) = (plane.tenant("acme").await, plane.tenant("bond").await);
    let user = plane.control.create_user(&TESTER, acme.id(), ada()).await.unwrap();
    let invitation = plane.control.invite(&TESTER, acme.id(), &user.id).await.unwrap();
    assert!(!invitation.mailed);
    assert!(invitation.link.expose().starts_with("https://id.test/idp/invitation/"));
    let foreign = plane.control.invite(&TESTER, bond.id(), &user.id).await;
    assert!(matches!(foreign, Err(ControlError::UnknownUser { .. })));
}
