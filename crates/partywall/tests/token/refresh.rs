//! Fetching keys from issuers that are slow, huge, lying, broken or under attack.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use partywall::token::{KeyRefresher, KeySet, RefreshError};
use serde_json::json;

use crate::support::*;

/// How the issuer answers.
#[derive(Clone)]
enum Mood {
    Keys(Vec<&'static str>),
    Bytes(&'static [u8]),
    Status(u16),
    Redirect,
    /// Slowly, for ever.
    Drip,
    /// Fast, for ever.
    Endless,
    /// After a while, right.
    Late(Duration),
}

/// A real HTTP server on this machine that misbehaves as told, and counts.
struct Issuer {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    hits: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Serving {
    mood: Arc<Mutex<Mood>>,
    hits: Arc<AtomicUsize>,
}

impl Issuer {
    async fn serve(mood: Mood) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Serving { mood: Arc::new(Mutex::new(mood)), hits: Arc::default() };
        let (mood, hits) = (Arc::clone(&serving.mood), Arc::clone(&serving.hits));
        let app = Router::new()
            .route("/jwks", get(answer))
            .route("/elsewhere", get(|| async { jwks(&["k9"]) }))
            .with_state(serving);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, mood, hits, serving }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// A refresher of this issuer's keys, and what it published.
    fn refresher(&self) -> (KeyRefresher, Published) {
        let published = Published::default();
        let sink = published.clone();
        let url = format!("http://{}/jwks", self.address);
        let refresher = KeyRefresher::new([(ISSUER.to_owned(), url)], move |issuer, keys| {
            assert_eq!(issuer, ISSUER);
            sink.0.lock().unwrap().push(keys);
        });
        (refresher.unwrap(), published)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone, Default)]
struct Published(Arc<Mutex<Vec<KeySet>>>);

impl Published {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn has(&self, kid: &str) -> bool {
        self.0.lock().unwrap().last().is_some_and(|keys| keys.has_kid(kid))
    }
}

async fn answer(State(serving): State<Serving>) -> Response {
    serving.hits.fetch_add(1, Ordering::SeqCst);
    let mood = serving.mood.lock().unwrap().clone();
    match mood {
        Mood::Keys(kids) => ([(header::CONTENT_TYPE, "text/html")], jwks(&kids)).into_response(),
        Mood::Bytes(bytes) => bytes.into_response(),
        Mood::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), jwks(&["k9"])).into_response()
        }
        Mood::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        Mood::Drip => stream(Bytes::from_static(b" "), Duration::from_millis(100)),
        Mood::Endless => stream(Bytes::from(vec![b' '; 64 * 1024]), Duration::ZERO),
        Mood::Late(delay) => {
            tokio::time::sleep(delay).await;
            jwks(&["k2"]).into_response()
        }
    }
}

fn stream(chunk: Bytes, pause: Duration) -> Response {
    let chunks = futures_util::stream::unfold(chunk, move |chunk| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::io::Error>(chunk.clone()), chunk))
    });
    Body::from_stream(chunks).into_response()
}

fn jwks(kids: &[&str]) -> String {
    let keys: Vec<_> = kids.iter().map(|kid| with(KEY.jwk(), "kid", json!(kid))).collect();
    json!({ "keys": keys }).to_string()
}

#[tokio::test]
async fn r09_the_last_good_keys_survive_every_failure() {
    let mut outcomes = Vec::new();
    for mood in [
        Mood::Bytes(b""),
        Mood::Bytes(b"<html>sign in</html>"),
        Mood::Bytes(b"{\"keys\":["),
        Mood::Bytes(b"{\"keys\":[]}"),
        Mood::Bytes(b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
        Mood::Bytes(b"{\"keys\":[],\"keys\":[]}"),
        Mood::Bytes(b"\x00\xff\xfe"),
        Mood::Status(500),
        Mood::Status(404),
        Mood::Status(206),
        Mood::Status(204),
        Mood::Redirect,
        Mood::Drip,
        Mood::Endless,
        Mood::Keys(vec!["a", "a"]),
    ] {
        let issuer = Issuer::serve(Mood::Keys(vec!["k1"])).await;
        let (refresher, published) = issuer.refresher();
        refresher.refresh(ISSUER).await.unwrap();
        assert!(published.has("k1"));

        issuer.set(mood);
        let start = Instant::now();
        let failed = refresher.refresh(ISSUER).await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(4), "{failed}");
        assert!(published.has("k1") && published.count() == 1, "{failed}");
        outcomes.push(failed.to_string());

        issuer.set(Mood::Keys(vec!["k2"]));
        refresher.refresh(ISSUER).await.unwrap();
        assert!(published.has("k2"), "the control: a good set replaces it");
    }
    assert!(outcomes.iter().any(|why| why.contains("262144")), "the cap was met: {outcomes:?}");
    assert!(outcomes.iter().any(|why| why.contains("302")), "a redirect is an answer");
}

#[tokio::test]
async fn r10_an_unknown_kid_is_looked_up_once() {
    let issuer = Issuer::serve(Mood::Keys(vec!["k1"])).await;
    let (refresher, published) = issuer.refresher();
    assert!(refresher.refresh_for_unknown_kid(ISSUER, "k1").await);
    assert_eq!((issuer.hits(), published.count()), (1, 1));
    assert!(refresher.refresh_for_unknown_kid(ISSUER, "k1").await, "known by now");
    for _ in 0..10 {
        assert!(!refresher.refresh_for_unknown_kid(ISSUER, "ghost").await);
    }
    assert_eq!(issuer.hits(), 2, "one fetch for k1, one for the ghost");
    assert_eq!(published.count(), 2, "each good fetch is handed on: who takes it compares");

    // A rotation is found at once, whatever was unknown before.
    issuer.set(Mood::Keys(vec!["k1", "k2"]));
    assert!(refresher.refresh_for_unknown_kid(ISSUER, "k2").await);
    assert!(published.has("k1") && published.has("k2"));
    assert!(!refresher.refresh_for_unknown_kid("https://nobody", "k1").await);
}

#[tokio::test]
async fn r10_a_flood_of_unknown_kids_fetches_six_times_and_evicts_nothing() {
    let issuer = Issuer::serve(Mood::Keys(vec!["k1"])).await;
    let (refresher, published) = issuer.refresher();
    refresher.refresh(ISSUER).await.unwrap();
    let flood = (0..20_000).map(|n| {
        let refresher = refresher.clone();
        tokio::spawn(async move { refresher.refresh_for_unknown_kid(ISSUER, &n.to_string()).await })
    });
    for asked in flood.collect::<Vec<_>>() {
        assert!(!asked.await.unwrap());
    }
    for n in 0..2_000 {
        assert!(!refresher.refresh_for_unknown_kid(ISSUER, &format!("later-{n}")).await);
    }
    assert!((2..=6).contains(&issuer.hits()), "{} fetches", issuer.hits());
    assert!(published.has("k1") && published.count() <= 6, "as often as it was fetched");
    assert!(matches!(refresher.refresh(ISSUER).await, Err(RefreshError::TooOften)));
}

#[tokio::test]
async fn r10_those_who_ask_together_share_one_fetch() {
    let issuer = Issuer::serve(Mood::Late(Duration::from_millis(200))).await;
    let (refresher, _) = issuer.refresher();
    // Half of them ask for what is there, and half, each, for something else that is not.
    let asking = (0..50).map(|n| {
        let refresher = refresher.clone();
        let kid = if n % 2 == 0 { "k2".to_owned() } else { format!("ghost-{n}") };
        tokio::spawn(async move { refresher.refresh_for_unknown_kid(ISSUER, &kid).await })
    });
    let mut found = 0;
    for asked in asking.collect::<Vec<_>>() {
        found += usize::from(asked.await.unwrap());
    }
    assert_eq!((found, issuer.hits()), (25, 1));
}

#[tokio::test]
async fn r10_hanging_up_does_not_stop_a_fetch() {
    let issuer = Issuer::serve(Mood::Late(Duration::from_millis(300))).await;
    let (refresher, published) = issuer.refresher();
    let impatient = refresher.refresh_for_unknown_kid(ISSUER, "k2");
    let gave_up = tokio::time::timeout(Duration::from_millis(50), impatient).await;
    assert!(gave_up.is_err());
    for _ in 0..100 {
        if published.has("k2") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the fetch was lost with the one who asked for it");
}

#[tokio::test]
async fn r09_an_issuer_that_hangs_does_not_hold_up_another() {
    let (slow, quick) =
        (Issuer::serve(Mood::Drip).await, Issuer::serve(Mood::Keys(vec!["k1"])).await);
    let (done, mut published) = tokio::sync::mpsc::unbounded_channel();
    let urls = [("slow", slow.address), ("quick", quick.address)]
        .map(|(issuer, address)| (issuer.to_owned(), format!("http://{address}/jwks")));
    let refresher = KeyRefresher::new(urls, move |issuer, _| done.send(issuer.to_owned()).unwrap());
    let refresher = refresher.unwrap();
    let running = tokio::spawn(async move { refresher.run().await });
    let first = tokio::time::timeout(Duration::from_millis(1_900), published.recv()).await;
    assert_eq!(first.unwrap().as_deref(), Some("quick"));
    running.abort();
}

#[tokio::test]
async fn r09_flapping_keys_are_followed_and_cost_no_more_fetches() {
    let issuer = Issuer::serve(Mood::Keys(vec!["a"])).await;
    let (refresher, published) = issuer.refresher();
    for round in 0..6 {
        let kids = if round % 2 == 0 { vec!["a"] } else { vec!["b"] };
        issuer.set(Mood::Keys(kids.clone()));
        refresher.refresh(ISSUER).await.unwrap();
        assert!(published.has(kids[0]), "a withdrawal is a withdrawal");
    }
    assert!(refresher.refresh(ISSUER).await.is_err());
    assert_eq!(issuer.hits(), 6);
}
