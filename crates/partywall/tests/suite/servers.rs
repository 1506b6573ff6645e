//! Servers that are no control plane, and some that mean ill.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use partywall::{
    DeploymentModel, Partywall,
    bundle::{BundleError, BundleSource, HttpBundleSource, SourceError},
    testing::{ControlPlane, placed, tenant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    ControlPlane::new(vec![tenant("acme", pooled)])
}

/// A server that answers as told, and counts. Stops when dropped.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    downloads: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What a server sends.
#[derive(Clone, Default)]
struct Answer {
    file: Arc<Mutex<Vec<u8>>>,
    /// Answers 304 to who names it.
    etag: Option<&'static str>,
    /// How long it lies about the file.
    claims: Option<u64>,
    /// Byte by byte, so far apart.
    drips: Option<Duration>,
}

impl Answer {
    fn of(file: Vec<u8>) -> Self {
        Self { file: Arc::new(Mutex::new(file)), ..Self::default() }
    }

    async fn serve(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tenants.bundle", listener.local_addr().unwrap());
        let (requests, downloads) = (Arc::<AtomicUsize>::default(), Arc::default());
        let counts = (Arc::clone(&requests), Arc::clone(&downloads));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, counts) = (self.clone(), counts.clone());
                // Whoever hangs up half-way is not our concern.
                tokio::spawn(async move { answer.to(&mut stream, &counts).await.ok() });
            }
        });
        Server { url, requests, downloads, task }
    }

    async fn to(
        &self,
        stream: &mut TcpStream,
        (requests, downloads): &(Arc<AtomicUsize>, Arc<AtomicUsize>),
    ) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let request = String::from_utf8_lossy(&request).to_lowercase();
        let tag = self.etag.map(|tag| format!("etag: {tag}\r\n")).unwrap_or_default();
        if self.etag.is_some_and(|tag| request.contains(&format!("if-none-match: {tag}\r\n"))) {
            let head = format!("HTTP/1.1 304 Not Modified\r\n{tag}connection: close\r\n\r\n");
            return stream.write_all(head.as_bytes()).await;
        }
        downloads.fetch_add(1, Ordering::Relaxed);
        let file = self.file.lock().unwrap().clone();
        let length = self.claims.unwrap_or(file.len() as u64);
        let head = format!(
            "HTTP/1.1 200 OK\r\n{tag}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let Some(pause) = self.drips else { return stream.write_all(&file).await };
        for byte in file {
            stream.write_u8(byte).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}

impl Server {
    fn source(&self) -> HttpBundleSource {
        HttpBundleSource::new(&self.url).unwrap()
    }

    fn counts(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.downloads.load(Ordering::Relaxed))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow_for(wall: &Partywall, source: &HttpBundleSource, time: Duration) {
    assert!(tokio::time::timeout(time, wall.follow(source)).await.is_err(), "following ended");
}

#[tokio::test]
async fn r20_a_web_server_that_holds_nobody_is_asked_now_and_then() {
    let mut control = control();
    let answer = Answer { etag: Some(r#""5f3a-61b""#), ..Answer::of(control.publish()) };
    let (file, server) = (Arc::clone(&answer.file), answer.serve().await);
    let wall = control.builder().build().unwrap();
    let source = server.source();
    // The naive way asks again as soon as it has been answered.
    for _ in 0..20 {
        source.next(None).await.unwrap();
    }
    assert_eq!(server.counts(), (20, 20), "the server holds nobody");
    follow_for(&wall, &source, Duration::from_millis(2500)).await;
    let generation = wall.generation();
    assert!(generation.is_some(), "it was taken");
    assert_eq!(server.counts(), (22, 21), "once, and once again to hear that it is the same");

    // A new file under a new name comes with the next look; the old name would not do.
    *file.lock().unwrap() = control.publish();
    let renamed = Answer { etag: Some(r#""60c1-61b""#), file, ..Answer::default() };
    let renamed = renamed.serve().await;
    let source = renamed.source().poll_every(Duration::from_millis(100));
    follow_for(&wall, &source, Duration::from_millis(1500)).await;
    assert!(wall.generation() > generation);
    let (requests, downloads) = renamed.counts();
    assert_eq!(downloads, 1);
    // Between 50 and 100 ms apart, after the first two.
    assert!((3..=31).contains(&requests), "asked {requests} times");
}

#[tokio::test]
async fn r20_the_same_file_again_is_neither_news_nor_refused() {
    let control = control();
    let wall = control.wall();
    // No entity tag: each look is a download.
    let server = Answer::of(control.sign(1, None)).serve().await;
    let source = server.source();
    wall.catch_up(&source).await.unwrap();
    wall.catch_up(&source).await.unwrap();
    assert_eq!(server.counts(), (2, 2), "and no second download to settle it");
    follow_for(&wall, &source, Duration::from_millis(1500)).await;
    assert_eq!(server.counts(), (3, 3), "the default is every five seconds");
}

#[tokio::test]
async fn r20_a_refused_bundle_is_a_failure_to_back_off_from() {
    let control = control();
    let wall = control.wall();
    let foreign = ControlPlane::new(vec![]).sign(9, None);
    let server = Answer::of(foreign).serve().await;
    let source = server.source().poll_every(Duration::ZERO);
    let refused = wall.catch_up(&source).await;
    assert!(
        matches!(refused, Err(SourceError::Refused(BundleError::ForeignKey { .. }))),
        "{refused:?}"
    );
    follow_for(&wall, &source, Duration::from_millis(2400)).await;
    let (requests, _) = server.counts();
    // At once, after half a second to one, perhaps after one to two more.
    assert!((3..=4).contains(&requests), "asked {requests} times");
    assert_eq!(wall.generation().unwrap().0, 1);
}

#[tokio::test]
async fn r20_what_is_not_signed_yet_gets_so_much_time_and_no_more() {
    let control = control();
    let wall = control.builder().build().unwrap();
    let drips = Some(Duration::from_millis(20));
    let server = Answer { drips, ..Answer::of(control.sign(1, None)) }.serve().await;
    let began = Instant::now();
    // A byte every 20 ms is never late by a limit on the time between bytes.
    let limit = Duration::from_millis(400);
    let slow = wall.catch_up(&server.source().within(limit)).await;
    assert!(matches!(slow, Err(SourceError::TooSlow { .. })), "{slow:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());

    let quick = Answer::of(control.sign(1, None)).serve().await;
    wall.catch_up(&quick.source().within(Duration::from_secs(30))).await.unwrap();
    assert!(wall.generation().is_some(), "the control");
}

#[tokio::test]
async fn r19_what_is_not_signed_yet_gets_so_much_room_and_no_more() {
    let control = control();
    let wall = control.builder().build().unwrap();
    let bundle = control.sign(1, None);
    let size = bundle.len();
    let honest = Answer::of(bundle.clone()).serve().await;
    let too_large = wall.catch_up(&honest.source().max_bytes(size - 1)).await;
    assert!(matches!(too_large, Err(SourceError::TooLarge { .. })), "{too_large:?}");

    // A terabyte is refused when it is announced, and not when it is here.
    let boast =
        Answer { claims: Some(1 << 40), drips: Some(Duration::from_secs(1)), ..Answer::of(bundle) };
    let boast = boast.serve().await;
    let refused = wall.catch_up(&boast.source().within(Duration::from_secs(5))).await;
    assert!(matches!(refused, Err(SourceError::TooLarge { .. })), "{refused:?}");

    wall.catch_up(&honest.source().max_bytes(size)).await.unwrap();
    assert!(wall.generation().is_some(), "the control");
}

#[tokio::test]
async fn r19_what_does_not_begin_like_a_bundle_is_not_read_to_its_end() {
    let control = control();
    let wall = control.builder().build().unwrap();
    let page = b"<html>It works!</html>".to_vec();
    let endless =
        Answer { claims: Some(100 << 20), drips: Some(Duration::from_secs(1)), ..Answer::of(page) };
    let endless = endless.serve().await;
    let refused = wall.catch_up(&endless.source().within(Duration::from_secs(20))).await;
    assert!(matches!(refused, Err(SourceError::NotABundle { .. })), "{refused:?}");
    let server = Answer::of(control.sign(1, None)).serve().await;
    wall.catch_up(&server.source()).await.unwrap();
    assert!(wall.generation().is_some(), "the control");
}
