//! `partywall serve`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Command},
    time::Duration,
};

use serde_json::Value;

use crate::harness::Folder;

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
issuer = "http://127.0.0.1:8080"
audience = "https://api.example.com"
database = { sqlite = "control.db" }
sealing_key = { file = "sealing.key" }

[[issuers]]
issuer = "http://127.0.0.1:8080"
jwks = { url = "http://127.0.0.1:8080/jwks" }
"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("partywall.toml", CONFIG);
    folder.write_secret("sealing.key", "5a".repeat(32));
    folder
}

/// A server under way; killed when dropped.
struct Serving {
    child: Child,
    said: BufReader<ChildStderr>,
    address: String,
    bundle_address: Option<String>,
    bundle_key: String,
}

impl Serving {
    fn start(folder: &Folder) -> Self {
        let mut child = folder.command(&["serve"]).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut after = |mark: &str| {
            let mut line = String::new();
            while said.read_line(&mut line).unwrap() > 0 {
                if let Some((_, rest)) = line.split_once(mark) {
                    return rest.trim().to_owned();
                }
                line.clear();
            }
            String::from("it ended")
        };
        let address = after("is served on http://");
        let mut bundle_key = after("bundle ");
        let bundle_address = bundle_key
            .strip_prefix("is served on http://")
            .map(|rest| rest.trim_end_matches(" only").to_owned());
        if bundle_address.is_some() {
            bundle_key = after("bundle ");
        }
        let bundle_key = bundle_key.trim_start_matches("key: ").to_owned();
        Self { child, said, address, bundle_address, bundle_key }
    }

    fn get(&self, path: &str) -> (String, Value) {
        Self::get_from(&self.address, path)
    }

    fn get_from(address: &str, path: &str) -> (String, Value) {
        let (status, body) = Self::text_from(address, path);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    fn text_from(address: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Its exit code, and what else it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_until_it_is_asked_to_stop() {
    let folder = folder();
    let mut bundle_keys = Vec::new();
    for signal in ["TERM", "INT"] {
        let serving = Serving::start(&folder);
        let (status, discovery) = serving.get("/.well-known/openid-configuration");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(discovery["issuer"], "http://127.0.0.1:8080");
        let (_, jwks) = serving.get("/jwks");
        assert_eq!(jwks["keys"].as_array().map(Vec::is_empty), Some(false), "{jwks}");
        bundle_keys.push(serving.bundle_key.clone());
        serving.signal(signal);
        let (code, rest) = serving.end();
        assert_eq!((code, rest.contains("stopping")), (Some(0), true), "{rest}");
    }
    assert_eq!(bundle_keys[0].len(), 64);
    assert_eq!(bundle_keys[0], bundle_keys[1], "a second start keeps its keys");
}

#[test]
fn l02_the_bundle_is_served_where_it_is_configured_and_nowhere_else() {
    const OK: &str = "HTTP/1.1 200 OK";
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found";
    let folder = folder();
    let together = Serving::start(&folder);
    assert_eq!(together.bundle_address, None);
    assert_eq!(together.get("/bundle/key").0, OK);
    drop(together);

    let apart = "listen = \"127.0.0.1:0\"\nbundle_listen = \"127.0.0.1:0\"";
    folder.write("partywall.toml", CONFIG.replace("listen = \"127.0.0.1:0\"", apart));
    let serving = Serving::start(&folder);
    let bundles = serving.bundle_address.clone().expect("it has no address of its own");
    assert_eq!(serving.get("/bundle/key").0, NOT_FOUND);
    assert_eq!(serving.get("/bundle").0, NOT_FOUND);
    assert_eq!(serving.get("/jwks").0, OK);
    assert_eq!(Serving::get_from(&bundles, "/bundle/key").0, OK);
    assert_eq!(Serving::get_from(&bundles, "/jwks").0, NOT_FOUND);
    // What was counted, by route and never by address: nobody makes labels.
    serving.get("/no-such-page-of-ours");
    assert_eq!(serving.get("/metrics").0, NOT_FOUND);
    let (status, counted) = Serving::text_from(&bundles, "/metrics");
    assert_eq!(status, OK);
    assert!(counted.contains("partywall_generation "), "{counted}");
    let jwks = "partywall_http_request_seconds_count{route=\"/jwks\",status=\"2xx\"} 1";
    assert!(counted.contains(jwks), "{counted}");
    assert!(!counted.contains("no-such-page"), "{counted}");
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn r12_after_a_kill_it_starts_again() {
    let folder = folder();
    let serving = Serving::start(&folder);
    let key = serving.bundle_key.clone();
    serving.signal("KILL");
    assert_eq!(serving.end().0, None, "killed");
    let serving = Serving::start(&folder);
    assert_eq!(serving.bundle_key, key);
}

#[test]
fn p06_another_sealing_key_opens_nothing() {
    let folder = folder();
    drop(Serving::start(&folder));
    folder.write_secret("sealing.key", "a5".repeat(32));
    let ran = folder.run(&["serve"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("sealing key is not the one"), "{}", ran.err);
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.write("partywall.toml", CONFIG.replace("127.0.0.1:0", &address));
    let ran = folder.run(&["serve"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains(&format!("cannot listen on {address}")), "{}", ran.err);

    let apart = format!("listen = \"127.0.0.1:0\"\nbundle_listen = \"{address}\"");
    folder.write("partywall.toml", CONFIG.replace("listen = \"127.0.0.1:0\"", &apart));
    let ran = folder.run(&["serve"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("give `server.bundle_listen` another"), "{}", ran.err);

    folder.write("partywall.toml", CONFIG.replace("listen", "lisen"));
    let ran = folder.run(&["serve"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("partywall.toml:3:1: server.lisen: unknown key"), "{}", ran.err);

    folder.write("partywall.toml", "");
    let ran = folder.run(&["serve"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("no [server] section"), "{}", ran.err);
    assert!(fs::metadata(folder.path("control.db")).is_err(), "nothing was started");
}
