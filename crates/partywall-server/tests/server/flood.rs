//! More clients than the process has files for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use partywall::SystemClock;
use partywall_server::{ControlPlane, Server};
use tokio::net::TcpListener;

use crate::support::{config, sqlite};

const DIRECTORY: &str = "PARTYWALL_TEST_FLOOD_DIR";
/// Half of them are the server's own, the other half connections, and a quarter of those polls.
const FILES: usize = 64;

/// The child: serves until it is killed.
#[tokio::test]
#[ignore = "the child of the tests below"]
async fn serves_until_killed() {
    let dir = std::env::var_os(DIRECTORY).expect("run by the flood tests only");
    let clock = Arc::new(SystemClock::default());
    let control = ControlPlane::open(config(sqlite(Path::new(&dir))), clock).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nserving {} {}", listener.local_addr().unwrap(), control.generation());
    Server::new(control).serve(listener, std::future::pending()).await.unwrap();
}

struct Serving {
    child: Child,
    address: SocketAddr,
    generation: u64,
    _dir: tempfile::TempDir,
}

impl Serving {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "flood::serves_until_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = said.find(|line| line.starts_with("serving ")).expect("it does not serve");
        let mut words = line.split(' ').skip(1);
        let address = words.next().unwrap().parse().unwrap();
        let generation = words.next().unwrap().parse().unwrap();
        // Read on, so that the child never waits for us.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address, generation, _dir: dir }
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn r20_a_flood_of_connections_leaves_the_server_files_and_does_not_end_it() {
    let serving = Serving::start();
    let flood: Vec<_> =
        (0..2 * FILES).map(|_| TcpStream::connect(serving.address).unwrap()).collect();
    let flooded = Instant::now();
    while flooded.elapsed() < Duration::from_secs(1) {
        let open = serving.open_files();
        assert!(open < FILES, "{open} files are open of {FILES}: none is left for the database");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(flood);
    assert_eq!(status(serving.ask("/bundle")), "200");
}

#[test]
fn r20_polls_that_wait_leave_connections_to_others() {
    let serving = Serving::start();
    let poll = || serving.ask(&format!("/bundle?after={}&wait=10", serving.generation));
    let waiting: Vec<_> = (0..FILES / 2 / 4).map(|_| poll()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    assert_eq!(status(poll()), "304");
    assert!(asked.elapsed() < Duration::from_secs(5), "one more waits with the rest");
    assert_eq!(status(serving.ask("/bundle")), "200");
    // The control: those that were first do wait.
    assert!(asked.elapsed() < Duration::from_secs(9));
    for stream in waiting {
        assert_eq!(status(stream), "304");
    }
    assert!(asked.elapsed() > Duration::from_secs(8), "none of them waited");
}
