//! Fetching issuers' key sets, so that a hostile or broken one costs nothing but its own tokens
//!

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode, redirect};
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep},
};

use super::{KeySet, KeySetError};

/// How long one fetch may take, from the first byte sent to the last byte read.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How many fetches an issuer gets in a [`WINDOW`], whatever anybody asks for.
const FETCHES_PER_WINDOW: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);
/// How often keys are fetched when nobody asks.
const PERIOD: Duration = Duration::from_secs(10 * 60);
/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(15);
/// How many unknown `kid`s are remembered per issuer, and for how long.
const UNKNOWN_KIDS: usize = 1024;
const UNKNOWN_FOR: Duration = Duration::from_secs(5 * 60);
/// How many requests may wait for one issuer's fetch. The rest are told at once that it is unknown.
const WAITERS: usize = 64;

/// Keeps the key sets of issuers at addresses up to date.
///
/// At most six fetches per minute and issuer, one at a time, of at most two seconds and 256 KiB,
/// without redirects. Whatever goes wrong, the last good set stays: only a set that
/// [parses](KeySet::parse) replaces one. Must be used inside a tokio runtime. Cloning shares it.
#[derive(Clone)]
pub struct KeyRefresher(Arc<HashMap<String, Arc<Source>>>);

impl KeyRefresher {
    /// Takes pairs of an issuer and the address of its key set, and what to do with a new one, for
    /// instance [`Partywall::replace_keys`](crate::Partywall::replace_keys).
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up, as without any trusted root certificates.
    pub fn new(
        urls: impl IntoIterator<Item = (String, String)>,
        publish: impl Fn(&str, KeySet) + Send + Sync + 'static,
    ) -> Result<Self, RefreshError> {
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(FETCH_TIMEOUT)
            .referer(false)
            .build()
            .map_err(RefreshError::Client)?;
        let publish: Arc<Publish> = Arc::new(publish);
        let source = |(issuer, url): (String, String)| {
            let source = Source {
                issuer: issuer.clone(),
                url,
                http: http.clone(),
                publish: Arc::clone(&publish),
                fetches: AtomicU64::new(0),
                waiting: Semaphore::new(WAITERS),
                state: Mutex::new(State::default()),
            };
            (issuer, Arc::new(source))
        };
        Ok(Self(Arc::new(urls.into_iter().map(source).collect())))
    }

    /// Looks whether `issuer` has a new key `kid`, and publishes what was found. Answers whether
    /// it is worth verifying again.
    ///
    /// Safe to call for every refused token: it fetches at most six times a minute, joins a fetch
    /// under way, and remembers what it did not find.
    pub async fn refresh_for_unknown_kid(&self, issuer: &str, kid: &str) -> bool {
        let Some(source) = self.0.get(issuer) else { return false };
        let Ok(_waiting) = source.waiting.try_acquire() else { return false };
        // A fetch goes on although whoever asked for it hangs up: otherwise six impatient strangers
        // a minute could keep every fetch from finishing.
        let (source, kid) = (Arc::clone(source), UnknownKid::of(kid));
        let asked = tokio::spawn(async move { source.find(kid).await });
        asked.await.unwrap_or(false)
    }

    /// Fetches `issuer`'s keys now, within the six fetches a minute.
    ///
    /// # Errors
    ///
    /// Why there is no new set; the last good one stays.
    pub async fn refresh(&self, issuer: &str) -> Result<(), RefreshError> {
        let source = self.0.get(issuer).ok_or(RefreshError::UnknownIssuer)?;
        let mut state = source.state.lock().await;
        source.fetch(&mut state).await
    }

    /// Fetches all issuers' keys, and again every ten minutes, for ever; after a failure every 15
    /// seconds. Issuers do not wait for one another.
    pub async fn run(&self) {
        join_all(self.0.values().map(|source| source.keep_fresh())).await;
    }
}

impl fmt::Debug for KeyRefresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

type Publish = dyn Fn(&str, KeySet) + Send + Sync;

/// Where one issuer's keys come from.
struct Source {
    issuer: String,
    url: String,
    http: Client,
    publish: Arc<Publish>,
    /// Counts finished fetches, so that who waited for one does not ask for another.
    fetches: AtomicU64,
    waiting: Semaphore,
    /// Held during a fetch: there is one at a time.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_good: Option<KeySet>,
    /// When the latest fetches began, oldest first.
    begun: VecDeque<Instant>,
    unknown: UnknownKids,
}

impl Source {
    async fn find(&self, kid: UnknownKid) -> bool {
        let fetches = self.fetches.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if state.knows(kid) {
            return true;
        }
        if state.unknown.has(kid) {
            return false;
        }
        let fetched_meanwhile = self.fetches.load(Ordering::Acquire) != fetches;
        let looked = fetched_meanwhile || self.fetch(&mut state).await.is_ok();
        let found = state.knows(kid);
        // A `kid` is only known to be unknown once the issuer was asked.
        if looked && !found {
            state.unknown.remember(kid);
        }
        found
    }

    async fn keep_fresh(&self) {
        loop {
            let outcome = {
                let mut state = self.state.lock().await;
                self.fetch(&mut state).await
            };
            sleep(if outcome.is_ok() { PERIOD } else { RETRY }).await;
        }
    }

    /// Fetches once, if the issuer's share of fetches allows it.
    async fn fetch(&self, state: &mut State) -> Result<(), RefreshError> {
        state.begin_fetch()?;
        let fetched = self.download().await.and_then(|body| Ok(KeySet::parse(&body)?));
        self.fetches.fetch_add(1, Ordering::Release);
        let set = fetched.inspect_err(|error| {
            metrics::counter!("partywall_jwks_failed_total").increment(1);
            tracing::warn!(issuer = self.issuer, %error, "an issuer's keys could not be fetched; the last good ones stay");
        })?;
        for skipped in set.skipped() {
            tracing::debug!(issuer = self.issuer, index = skipped.index, kid = ?skipped.kid, reason = %skipped.reason, "a key of the set is not used");
        }
        if state.last_good.as_ref() != Some(&set) {
            tracing::info!(issuer = self.issuer, keys = ?set, "an issuer's keys changed");
            state.last_good = Some(set.clone());
            state.unknown.forget();
        }
        // Every time: the set may not have been taken the last time, for the issuer's rules then.
        (self.publish)(&self.issuer, set);
        Ok(())
    }

    /// The body at the address. Its type is not looked at: it is a key set if it parses as one.
    async fn download(&self) -> Result<Vec<u8>, RefreshError> {
        let mut response = self.http.get(&self.url).send().await?;
        if response.status() != StatusCode::OK {
            return Err(RefreshError::Status { status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > KeySet::MAX_LEN {
                return Err(KeySetError::TooLarge { bytes: body.len() + chunk.len() }.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl State {
    /// Counts a fetch, unless there were six within the last minute. Exact, where a bucket that
    /// refills would let twelve through across the edge of a minute.
    fn begin_fetch(&mut self) -> Result<(), RefreshError> {
        let now = Instant::now();
        if self.begun.len() == FETCHES_PER_WINDOW {
            match self.begun.front() {
                Some(oldest) if now.duration_since(*oldest) < WINDOW => {
                    return Err(RefreshError::TooOften);
                }
                _ => self.begun.pop_front(),
            };
        }
        self.begun.push_back(now);
        Ok(())
    }

    fn knows(&self, kid: UnknownKid) -> bool {
        let mut kids = self.last_good.iter().flat_map(KeySet::kids).flatten();
        kids.any(|known| UnknownKid::of(known) == kid)
    }
}

/// A `kid` a stranger chose, at a fixed size.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct UnknownKid([u8; 32]);

impl UnknownKid {
    fn of(kid: &str) -> Self {
        let hash = digest(&SHA256, kid.as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// The latest `kid`s an issuer was asked for and did not have.
#[derive(Default)]
struct UnknownKids {
    in_order: VecDeque<(Instant, UnknownKid)>,
    kids: HashSet<UnknownKid>,
}

impl UnknownKids {
    fn has(&mut self, kid: UnknownKid) -> bool {
        let now = Instant::now();
        while let Some((since, oldest)) = self.in_order.front().copied() {
            if now.duration_since(since) < UNKNOWN_FOR {
                break;
            }
            self.in_order.pop_front();
            self.kids.remove(&oldest);
        }
        self.kids.contains(&kid)
    }

    fn remember(&mut self, kid: UnknownKid) {
        if !self.kids.insert(kid) {
            return;
        }
        self.in_order.push_back((Instant::now(), kid));
        if self.in_order.len() > UNKNOWN_KIDS
            && let Some((_, oldest)) = self.in_order.pop_front()
        {
            self.kids.remove(&oldest);
        }
    }

    fn forget(&mut self) {
        self.in_order.clear();
        self.kids.clear();
    }
}

/// Why an issuer's keys were not renewed. The last good ones stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The HTTP client could not be set up.
    #[error("the HTTP client for key sets cannot be set up")]
    Client(#[source] reqwest::Error),
    /// No address is known for that issuer.
    #[error("no `jwks.url` is configured for this issuer")]
    UnknownIssuer,
    /// The issuer was asked six times within the last minute.
    #[error("the issuer's keys were fetched six times within the last minute")]
    TooOften,
    /// The issuer could not be reached, or did not finish in time.
    #[error("the issuer's key set could not be fetched within two seconds")]
    Http(#[from] reqwest::Error),
    /// The answer was not 200. A redirect is not followed: configure where it leads to.
    #[error("the issuer answered {status}: `jwks.url` must be the key set's final address")]
    Status {
        /// The status code.
        status: u16,
    },
    /// What was fetched is no key set that can be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}
