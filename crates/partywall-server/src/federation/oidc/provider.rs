//! What is known of a connection's provider: its metadata and its keys, fetched when they are
//! needed and kept while they are good. Whatever goes wrong, the last good ones stay.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use partywall::token::KeySet;
use tokio::{sync::Mutex, time::Instant};

use super::{
    error::{Document, OidcError},
    metadata::{self, Metadata},
};
use crate::outbound::{Line, Media, Outbound};

/// Of whom, and by whom it is asked.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub(super) outbound: Arc<Outbound>,
    pub(super) line: Line,
    pub(super) issuer: Arc<str>,
}

impl Fetcher {
    pub(super) async fn metadata(&self) -> Result<Metadata, OidcError> {
        let address = metadata::address_of(&self.issuer);
        let json = self.get(Document::Metadata, &address).await?;
        Metadata::read(&json, &self.issuer, self.outbound.reach())
            .map_err(|fault| OidcError::Metadata { address, fault: Box::new(fault) })
    }

    pub(super) async fn keys(&self, address: &str) -> Result<KeySet, OidcError> {
        let json = self.get(Document::Keys, address).await?;
        KeySet::parse(&json).map_err(|fault| OidcError::Keys { address: address.to_owned(), fault })
    }

    async fn get(&self, what: Document, address: &str) -> Result<Vec<u8>, OidcError> {
        let answer = self.outbound.get(&self.line, address, Media::Json).await;
        answer.map_err(|source| what.unreachable(address, source))
    }
}

/// What is known of one provider.
#[derive(Default)]
pub(super) struct Provider {
    metadata: ArcSwapOption<Held<Metadata>>,
    keys: ArcSwapOption<Held<Keys>>,
    /// Held during a fetch: there is one at a time.
    fetching: Mutex<Budget>,
}

struct Held<T> {
    value: T,
    since: Instant,
}

struct Keys {
    /// Where they are from: keys from elsewhere are not the provider's.
    address: String,
    set: KeySet,
}

impl Provider {
    /// Its metadata, at most an hour old where it can be had.
    pub(super) async fn metadata(
        self: &Arc<Self>,
        fetcher: &Fetcher,
    ) -> Result<Metadata, OidcError> {
        if let Some(fresh) = self.fresh_metadata() {
            return Ok(fresh);
        }
        let (this, fetcher) = (Arc::clone(self), fetcher.clone());
        on_its_own(async move {
            let mut budget = this.fetching.lock().await;
            if let Some(fresh) = this.fresh_metadata() {
                return Ok(fresh);
            }
            let fetched = match budget.metadata.spend() {
                Ok(()) => fetcher.metadata().await,
                Err(too_often) => Err(too_often),
            };
            match (fetched, this.metadata.load_full()) {
                (Ok(value), _) => {
                    this.metadata.store(Some(Held::now(value.clone())));
                    Ok(value)
                }
                (Err(error), Some(last_good)) => {
                    note_failure(&fetcher, &error);
                    Ok(last_good.value.clone())
                }
                (Err(error), None) => Err(error),
            }
        })
        .await
    }

    /// Its keys, at most ten minutes old where they can be had.
    pub(super) async fn keys(
        self: &Arc<Self>,
        fetcher: &Fetcher,
        address: &str,
    ) -> Result<KeySet, OidcError> {
        match self.fresh_keys(address) {
            Some(fresh) => Ok(fresh),
            None => self.fetch_keys(fetcher, address, None).await,
        }
    }

    /// Its keys, which are perhaps others than `tried`: what signed last is not among those, and it
    /// may be new.
    pub(super) async fn keys_other_than(
        self: &Arc<Self>,
        tried: &KeySet,
        fetcher: &Fetcher,
        address: &str,
    ) -> Result<KeySet, OidcError> {
        self.fetch_keys(fetcher, address, Some(tried.clone())).await
    }

    async fn fetch_keys(
        self: &Arc<Self>,
        fetcher: &Fetcher,
        address: &str,
        tried: Option<KeySet>,
    ) -> Result<KeySet, OidcError> {
        let (this, fetcher, address) = (Arc::clone(self), fetcher.clone(), address.to_owned());
        on_its_own(async move {
            let mut budget = this.fetching.lock().await;
            // Somebody else may have fetched them meanwhile.
            let fresh = this.fresh_keys(&address);
            if let Some(fresh) = fresh.filter(|fresh| tried.as_ref() != Some(fresh)) {
                return Ok(fresh);
            }
            let fetched = match budget.keys.spend() {
                Ok(()) => fetcher.keys(&address).await,
                Err(too_often) => Err(too_often),
            };
            match (fetched, this.last_good_keys(&address)) {
                (Ok(set), _) => {
                    this.keys.store(Some(Held::now(Keys { address, set: set.clone() })));
                    Ok(set)
                }
                (Err(error), Some(last_good)) => {
                    note_failure(&fetcher, &error);
                    Ok(last_good)
                }
                (Err(error), None) => Err(error),
            }
        })
        .await
    }

    fn fresh_metadata(&self) -> Option<Metadata> {
        let held = self.metadata.load();
        held.as_ref().filter(|held| held.is_fresh(METADATA_KEPT)).map(|held| held.value.clone())
    }

    fn fresh_keys(&self, address: &str) -> Option<KeySet> {
        let held = self.keys.load();
        let held = held.as_ref().filter(|held| held.is_fresh(KEYS_KEPT))?;
        (held.value.address == address).then(|| held.value.set.clone())
    }

    fn last_good_keys(&self, address: &str) -> Option<KeySet> {
        let held = self.keys.load();
        let held = held.as_ref().filter(|held| held.value.address == address);
        held.map(|held| held.value.set.clone())
    }
}

impl<T> Held<T> {
    fn now(value: T) -> Arc<Self> {
        Arc::new(Self { value, since: Instant::now() })
    }

    fn is_fresh(&self, kept: Duration) -> bool {
        self.since.elapsed() < kept
    }
}

/// How often a provider's documents are fetched, whatever anybody asks for.
#[derive(Default)]
struct Budget {
    metadata: Fetches,
    keys: Fetches,
}

/// When the latest fetches began, oldest first.
#[derive(Default)]
struct Fetches(VecDeque<Instant>);

impl Fetches {
    /// Counts a fetch, unless there were six within the last minute.
    fn spend(&mut self) -> Result<(), OidcError> {
        let now = Instant::now();
        while self.0.front().is_some_and(|begun| now.duration_since(*begun) >= WINDOW) {
            self.0.pop_front();
        }
        if self.0.len() >= FETCHES_PER_WINDOW {
            return Err(OidcError::TooOften);
        }
        self.0.push_back(now);
        Ok(())
    }
}

/// Lets something come to its end although whoever asked for it hangs up: otherwise six impatient
/// strangers a minute could keep every fetch from finishing.
async fn on_its_own<T: Send + 'static>(
    work: impl Future<Output = Result<T, OidcError>> + Send + 'static,
) -> Result<T, OidcError> {
    tokio::spawn(work).await.map_err(|_| OidcError::Stopping)?
}

fn note_failure(fetcher: &Fetcher, error: &OidcError) {
    metrics::counter!("partywall_upstream_documents_failed_total").increment(1);
    let issuer = &*fetcher.issuer;
    tracing::warn!(issuer, %error, "a provider's document was not renewed; the last good one stays");
}

const METADATA_KEPT: Duration = Duration::from_secs(60 * 60);
const KEYS_KEPT: Duration = Duration::from_secs(10 * 60);
const FETCHES_PER_WINDOW: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);
