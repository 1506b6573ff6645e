//! Where bundles come from. What keeps up with a source is
//! [`Partywall::follow`](crate::Partywall::follow).

use std::{
    future::Future,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{BundleError, Generation};
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
