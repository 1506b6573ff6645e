//! Where bundles come from: [`BundleSource`], and [`Partywall::follow`], which keeps up with one.

use std::{future::Future, path::PathBuf, time::Duration};

use bytes::Bytes;

use super::Generation;
use crate::Partywall;

/// Somewhere bundles can be had: the control plane, an object store, a CDN, a file.
///
/// A source only carries bytes: what they are worth is decided by their signature.
pub trait BundleSource: Send + Sync {
    /// Waits for a bundle or delta newer than `after`; `None` when there was none for a while.
    ///
    /// # Errors
    ///
    /// When the source cannot be reached, or answers nonsense.
    fn next(
        &self,
        after: Option<Generation>,
    ) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}

/// A source could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It cannot be reached.
    #[error("{place} cannot be reached")]
    Unreachable {
        /// The address or path.
        place: String,
        /// What was in the way.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers, and not with a bundle.
    #[error("{place} answers {status}")]
    Status {
        /// The address.
        place: String,
        /// The HTTP status.
        status: u16,
    },
    /// It sends more than any bundle has.
    #[error("{place} sends more than {limit} bytes")]
    TooLarge {
        /// The address.
        place: String,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl Partywall {
    /// Keeps up with `source` for as long as it is polled, and never ends by itself.
    ///
    /// While the source is out of reach the last good bundle stays in force; attempts are spread
    /// out with jitter, so that a thousand enforcement points do not come back in one instant
    ///
    pub async fn follow(&self, source: &impl BundleSource) {
        let mut failures = 0_u32;
        loop {
            match self.catch_up(source).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    metrics::counter!("partywall_bundle_source_errors_total").increment(1);
                    tracing::warn!(
                        failures,
                        error = &error as &dyn std::error::Error,
                        "the bundle source failed; the last good bundle stays in force"
                    );
                    tokio::time::sleep(backoff(failures)).await;
                }
            }
            if let Some(age) = self.bundle_age() {
                metrics::gauge!("partywall_bundle_age_seconds").set(age.as_secs_f64());
            }
        }
    }

    /// Asks `source` once, and takes what it has.
    ///
    /// # Errors
    ///
    /// When the source fails. A bundle that is refused is counted and logged, and asked for again
    /// in full.
    pub async fn catch_up(&self, source: &impl BundleSource) -> Result<(), SourceError> {
        let Some(bytes) = source.next(self.generation()).await? else { return Ok(()) };
        if self.accept(bytes).is_err() {
            // Perhaps a delta for another base, perhaps worse: the full bundle settles it.
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(bytes) = source.next(None).await? {
                let newer = self.accept(bytes);
                tracing::info!(taken = newer.is_ok(), "asked for the full bundle instead");
            }
        }
        Ok(())
    }
}

/// Half a second, doubling to half a minute, each time anywhere between half and all of it.
fn backoff(failures: u32) -> Duration {
    let full = Duration::from_millis(500) * 2_u32.pow(failures.min(7)).min(60);
    let mut random = [0; 1];
    // Without randomness we merely wait for all of it.
    let part = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => u32::from(random[0]),
        Err(_) => 255,
    };
    full / 2 + full / 2 * part / 255
}

/// The control plane's `/bundle`, or any web server that serves the file.
///
/// Asks with `If-None-Match` and, of a control plane, waits on the server for the next change
/// (`?after=<generation>&wait=<seconds>&delta=true`), so that a change arrives within a round trip
/// and costs what changed.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub struct HttpBundleSource {
    url: String,
    client: reqwest::Client,
}

#[cfg(feature = "http")]
impl HttpBundleSource {
    /// How long to wait on the server for a change, in seconds.
    const WAIT: u64 = 20;

    /// Fetches from `url`.
    ///
    /// # Errors
    ///
    /// When the machine's TLS roots cannot be read.
    pub fn new(url: impl Into<String>) -> Result<Self, SourceError> {
        let url = url.into();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(Self::WAIT + 10))
            .build();
        match client {
            Ok(client) => Ok(Self { url, client }),
            Err(error) => Err(SourceError::Unreachable { place: url, source: error.into() }),
        }
    }

    fn failed(&self, error: reqwest::Error) -> SourceError {
        SourceError::Unreachable { place: self.url.clone(), source: error.without_url().into() }
    }
}

#[cfg(feature = "http")]
impl BundleSource for HttpBundleSource {
    async fn next(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        let request = match after {
            None => self.client.get(&self.url),
            Some(after) => {
                let joint = if self.url.contains('?') { '&' } else { '?' };
                let url =
                    format!("{}{joint}after={after}&wait={}&delta=true", self.url, Self::WAIT);
                self.client.get(url).header("if-none-match", format!("\"{after}\""))
            }
        };
        let mut answer = request.send().await.map_err(|error| self.failed(error))?;
        match answer.status().as_u16() {
            200 => {}
            204 | 304 => return Ok(None),
            status => return Err(SourceError::Status { place: self.url.clone(), status }),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(error))? {
            if bytes.len() + chunk.len() > super::format::MAX_FILE {
                let limit = super::format::MAX_FILE;
                return Err(SourceError::TooLarge { place: self.url.clone(), limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes.into()))
    }
}

/// A bundle file that something else puts in place: read again when its time of change moves.
#[derive(Debug)]
pub struct FileBundleSource {
    path: PathBuf,
    every: Duration,
    seen: std::sync::Mutex<Option<std::time::SystemTime>>,
}

impl FileBundleSource {
    /// Looks at `path` once per `every`.
    pub fn new(path: impl Into<PathBuf>, every: Duration) -> Self {
        Self { path: path.into(), every, seen: std::sync::Mutex::default() }
    }
}

impl BundleSource for FileBundleSource {
    async fn next(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        let failed = |error: std::io::Error| SourceError::Unreachable {
            place: self.path.display().to_string(),
            source: error.into(),
        };
        let changed = tokio::fs::metadata(&self.path)
            .await
            .and_then(|file| file.modified())
            .map_err(failed)?;
        let before =
            self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(changed);
        if after.is_some() && before == Some(changed) {
            tokio::time::sleep(self.every).await;
            return Ok(None);
        }
        tokio::fs::read(&self.path).await.map(|bytes| Some(bytes.into())).map_err(failed)
    }
}
