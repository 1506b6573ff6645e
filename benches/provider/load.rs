//! Requests over connections that stay open, and how long each took. The reading is as plain as
//! can be: it runs beside what is measured.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|code| code.parse().ok()).unwrap()
    }

    pub(crate) fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.lines().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A member of a JSON answer, which must be there.
    pub(crate) fn member(&self, name: &str) -> String {
        let json = self.json();
        let found = json.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        found.unwrap_or_else(|| fail(&format!("no {name}: {} {json}", self.head)))
    }
}

/// A bench stops at the first surprise.
pub(crate) fn fail(why: &str) -> ! {
    panic!("{why}")
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16 * 1024) }
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let (head, length) = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap()).into_owned();
                let mut lengths = head.lines().filter_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let is_length = name.eq_ignore_ascii_case("content-length");
                    is_length.then(|| value.trim().parse::<usize>().ok()).flatten()
                });
                let length = lengths.next().unwrap_or(0);
                break (head, end + 4 + length);
            }
            self.read().await;
        };
        while self.buffer.len() < length {
            self.read().await;
        }
        let body = self.buffer.get(head.len() + 4..length).unwrap().to_vec();
        Answer { head, body }
    }

    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
        if read == 0 {
            fail("the server hung up");
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

pub(crate) fn get(path: &str, cookies: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\ncookie: {cookies}\r\n\r\n").into_bytes()
}

/// A form, as a program sends it.
pub(crate) fn post(path: &str, form: &str) -> Vec<u8> {
    post_with(path, "", form)
}

/// A form, as a browser sends it.
pub(crate) fn post_from(path: &str, origin: &str, cookies: &str, form: &str) -> Vec<u8> {
    post_with(path, &format!("origin: {origin}\r\ncookie: {cookies}\r\n"), form)
}

fn post_with(path: &str, headers: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\n{headers}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// How long requests took.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn note(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The time that `share` of the requests took at most, in microseconds.
    pub(crate) fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list that fits into memory"
        )]
        let index = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    }
}

/// Asks the same requests again and again over `connections` at once; all must be answered with 200.
pub(crate) async fn load(
    address: &str,
    requests: &[Vec<u8>],
    connections: usize,
    lasts: Duration,
) -> Times {
    let mut all = tokio::task::JoinSet::new();
    for first in 0..connections {
        let (address, requests) = (address.to_owned(), requests.to_vec());
        all.spawn(async move {
            let mut connection = Connection::open(&address).await;
            let mut times = Times::default();
            let until = Instant::now() + lasts;
            for request in requests.iter().cycle().skip(first * 7) {
                let began = Instant::now();
                if began >= until {
                    break;
                }
                let answer = connection.ask(request).await;
                times.note(began.elapsed());
                if answer.status() != 200 {
                    fail(&format!("{}\n{}", answer.head, String::from_utf8_lossy(&answer.body)));
                }
            }
            times
        });
    }
    let mut times = Times::default();
    for each in all.join_all().await {
        times.add(each);
    }
    times
}
