//! Where bundles come from: [`BundleSource`], and [`Partywall::follow`], which keeps up with one.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;

use super::{BundleError, Generation};
use crate::{Partywall, wall::Accepted};

#[cfg(feature = "http")]
pub use http::HttpBundleSource;

#[cfg(feature = "http")]
mod http;

/// Somewhere bundles can be had: the control plane, an object store, a CDN, a file.
///
/// A source only carries bytes: what they are worth is decided by their signature.
pub trait BundleSource: Send + Sync {
    /// Waits for a bundle or delta newer than `after`; `None` when there was none for a while.
    ///
    /// Without `after` it is the full bundle that is wanted, at once.
    ///
    /// # Errors
    ///
    /// When the source cannot be reached, or answers nonsense.
    fn next(
        &self,
        after: Option<Generation>,
    ) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;

    /// How long a round in which there was nothing new should take, where
    /// [`next`](Self::next) did not wait so long itself.
    fn pause(&self) -> Duration {
        Duration::from_secs(5)
    }
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
    /// It sends more than is taken from it.
    #[error("{place} sends more than {limit} bytes: allow more if a bundle has them")]
    TooLarge {
        /// The address.
        place: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It takes too long.
    #[error("{place} did not send a bundle within {limit:?}")]
    TooSlow {
        /// The address.
        place: String,
        /// How long it may take.
        limit: Duration,
    },
    /// What it sends does not begin like a bundle.
    #[error("{place} sends something that is no bundle: point it at the control plane's /bundle")]
    NotABundle {
        /// The address.
        place: String,
    },
    /// What it sent was refused; the next attempt asks for a full bundle.
    #[error("the bundle was refused")]
    Refused(#[from] BundleError),
    /// The process is shutting down.
    #[error("the bundle was not looked at to the end")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl Partywall {
    /// Keeps up with `source` for as long as it is polled, and never ends by itself.
    ///
    /// While the source is out of reach or sends what is refused, the last good bundle stays in
    /// force; attempts are spread out with jitter, so that a thousand enforcement points do not
    /// come back in one instant. The metric `partywall_bundle_age_seconds` is set every two
    /// seconds, whatever the source does.
    pub async fn follow(&self, source: &impl BundleSource) {
        tokio::join!(self.keep_up(source), self.tell_age());
    }

    async fn keep_up(&self, source: &impl BundleSource) {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let pause = match self.round(source).await {
                Ok(news) => {
                    failures = 0;
                    let nothing = jittered(source.pause());
                    let pace = if news { nothing.min(PACE) } else { nothing };
                    pace.saturating_sub(began.elapsed())
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    // What was refused has been counted as that.
                    if !matches!(error, SourceError::Refused(_)) {
                        metrics::counter!("partywall_bundle_source_errors_total").increment(1);
                    }
                    tracing::warn!(
                        failures,
                        error = &error as &dyn std::error::Error,
                        "the bundle source failed; the last good bundle stays in force"
                    );
                    backoff(failures)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn tell_age(&self) {
        loop {
            if let Some(age) = self.bundle_age() {
                metrics::gauge!("partywall_bundle_age_seconds").set(age.as_secs_f64());
            }
            tokio::time::sleep(AGE_EVERY).await;
        }
    }

    /// Asks `source` once, and takes what it has.
    ///
    /// It asks for the full bundle where what came before was refused, or could not be kept on
    /// disk, or has become a long chain of deltas.
    ///
    /// # Errors
    ///
    /// When the source fails, and when what it sends is refused.
    pub async fn catch_up(&self, source: &impl BundleSource) -> Result<(), SourceError> {
        self.round(source).await.map(|_| ())
    }

    /// As [`catch_up`](Self::catch_up); says whether there was anything newer.
    async fn round(&self, source: &impl BundleSource) -> Result<bool, SourceError> {
        let wall = self.clone();
        // Somebody who takes a bundle this moment holds the keeper until it is on disk.
        let after = blocking(move || {
            let in_full = wall.keeper().asks_in_full(Instant::now());
            wall.generation().filter(|_| !in_full)
        })
        .await?;
        let Some(bytes) = source.next(after).await? else { return Ok(false) };
        let wall = self.clone();
        // Hashing, reading and writing many megabytes is no task for a runtime's worker.
        let taken = blocking(move || {
            let taken = wall.take(&bytes);
            if taken.is_err() && after.is_some() {
                wall.keeper().doubt();
            }
            taken
        });
        Ok(matches!(taken.await??, Accepted::Newer(_)))
    }
}

/// Rounds that bring something begin at least so far apart: what changes in between comes at once.
const PACE: Duration = Duration::from_secs(1);
const AGE_EVERY: Duration = Duration::from_secs(2);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(SourceError::Interrupted)
}

/// Half a second, doubling to half a minute, with jitter.
fn backoff(failures: u32) -> Duration {
    jittered(Duration::from_millis(500) * 2_u32.pow(failures.min(7)).min(60))
}

/// Anywhere between half and all of it.
fn jittered(full: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness we merely wait for all of it.
    let part = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => u32::from(random[0]),
        Err(_) => 255,
    };
    full / 2 + full / 2 * part / 255
}

/// A bundle file that something else puts in place: read again when its time of change moves.
#[derive(Debug)]
pub struct FileBundleSource {
    path: PathBuf,
    every: Duration,
    /// The time of change of what was last read.
    seen: Mutex<Option<SystemTime>>,
}

impl FileBundleSource {
    /// Looks at `path` once per `every`.
    pub fn new(path: impl Into<PathBuf>, every: Duration) -> Self {
        Self { path: path.into(), every, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BundleSource for FileBundleSource {
    async fn next(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        let failed = |error: std::io::Error| SourceError::Unreachable {
            place: self.path.display().to_string(),
            source: error.into(),
        };
        // Taken before reading and noted after it: a change meanwhile, or a failure, is not missed.
        let metadata = tokio::fs::metadata(&self.path).await;
        let changed = metadata.and_then(|file| file.modified()).map_err(failed)?;
        if after.is_some() && *self.seen() == Some(changed) {
            tokio::time::sleep(self.every).await;
            return Ok(None);
        }
        let bytes = tokio::fs::read(&self.path).await.map_err(failed)?;
        *self.seen() = Some(changed);
        Ok(Some(bytes.into()))
    }

    /// Zero: [`next`](Self::next) waits itself.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}
