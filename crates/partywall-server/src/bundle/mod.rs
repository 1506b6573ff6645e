//! The signed bundle: compiled from one snapshot of the database, kept in memory, served to
//! enforcement points and written as a plain file for any object store or CDN.
//!
//! The bytes of a generation follow from the database alone, so that two servers on one database
//! serve the same file under the same entity tag.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use partywall::bundle::{BundleError, BundleKey, EncodeError, Generation};

use crate::{
    control::{ControlPlane, by_itself},
    keys::RingError,
    secret::sync_directory_of,
    storage::{StorageError, directory},
};
pub(crate) use endpoint::routes;

mod compile;
mod endpoint;

impl ControlPlane {
    /// The full bundle of the latest generation, compiled when it is not at hand.
    ///
    /// # Errors
    ///
    /// When the database fails or what it holds cannot be laid out.
    pub async fn bundle(&self) -> Result<PublishedBundle, CompileError> {
        let publisher = &self.inner.publisher;
        if let Some(bundle) = publisher.full_of(self.generation()) {
            return Ok(bundle);
        }
        // One compiles; who comes meanwhile waits for its result.
        let _compiling = publisher.compiling.lock().await;
        if let Some(bundle) = publisher.full_of(self.generation()) {
            return Ok(bundle);
        }
        let bundle = compile::compile(&self.inner, None).await?;
        publisher.keep(|shelf| shelf.full = Some(bundle.clone()));
        Ok(bundle)
    }

    /// What changed since generation `base`, as a delta that leads from there to the latest.
    ///
    /// # Errors
    ///
    /// As [`bundle`](Self::bundle), and [`CompileError::NoSuchDelta`] when `base` is not a
    /// generation of this control plane before the latest, or its bundle has run out.
    pub async fn bundle_delta(&self, base: Generation) -> Result<PublishedBundle, CompileError> {
        let publisher = &self.inner.publisher;
        if let Some(delta) = publisher.delta_of(base, self.generation()) {
            return Ok(delta);
        }
        let _compiling = publisher.compiling.lock().await;
        if let Some(delta) = publisher.delta_of(base, self.generation()) {
            return Ok(delta);
        }
        let delta = compile::compile(&self.inner, Some(base)).await?;
        publisher.keep(|shelf| {
            shelf.deltas.retain(|_, kept| kept.generation == delta.generation);
            if shelf.deltas.len() >= MAX_DELTAS {
                shelf.deltas.pop_first();
            }
            shelf.deltas.insert(base, delta.clone());
        });
        Ok(delta)
    }

    /// Raises the generation when the last one is so old that its bundles would run out.
    /// [`Server::serve`](crate::Server::serve) does so by itself.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn keep_bundle_fresh(&self) -> Result<(), StorageError> {
        let now = self.now();
        let (_, changed_at) = directory::current(self.inner.db.reader()).await?;
        if now.since(changed_at) >= self.inner.config.bundle.refresh_after {
            let change = self.inner.db.change(now).await?;
            self.commit(change, by_itself("bundle.refresh", serde_json::json!({}))).await?;
        }
        Ok(())
    }

    /// The public key that enforcement points pin.
    pub fn bundle_key(&self) -> &BundleKey {
        self.inner.bundle_signer.public()
    }

    /// Writes the latest full bundle to `path`, whole or not at all: for an object store or a CDN
    /// to carry.
    ///
    /// # Errors
    ///
    /// As [`bundle`](Self::bundle), and when the file cannot be written.
    pub async fn write_bundle(&self, path: &Path) -> Result<Generation, CompileError> {
        let PublishedBundle { generation, bytes } = self.bundle().await?;
        let path = path.to_owned();
        // Many megabytes, flushed: no task for a runtime's worker.
        let writing = tokio::task::spawn_blocking(move || {
            write_whole(&path, &bytes).map_err(|source| CompileError::File { path, source })
        });
        writing.await.map_err(CompileError::Interrupted)??;
        Ok(generation)
    }
}

/// Writes beside, flushes, renames, flushes the directory.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("partial");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    sync_directory_of(path)
}

/// A signed bundle, ready to be sent. Cloning it is cheap.
#[derive(Clone)]
pub struct PublishedBundle {
    /// The generation it leads to.
    pub generation: Generation,
    /// The file.
    pub bytes: Bytes,
}

impl PublishedBundle {
    /// The entity tag: the generation.
    pub fn etag(&self) -> String {
        etag(self.generation)
    }
}

/// The latest bundles.
#[derive(Default)]
pub(crate) struct Publisher {
    shelf: Mutex<Shelf>,
    compiling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shelf {
    full: Option<PublishedBundle>,
    /// By the generation they start from. All lead to one generation.
    deltas: BTreeMap<Generation, PublishedBundle>,
}

impl Publisher {
    fn full_of(&self, latest: Generation) -> Option<PublishedBundle> {
        self.shelf().full.clone().filter(|bundle| bundle.generation >= latest)
    }

    fn delta_of(&self, base: Generation, latest: Generation) -> Option<PublishedBundle> {
        self.shelf().deltas.get(&base).cloned().filter(|delta| delta.generation >= latest)
    }

    /// The last full bundle that could be compiled, however old.
    fn last_good(&self) -> Option<PublishedBundle> {
        self.shelf().full.clone()
    }

    fn keep(&self, put: impl FnOnce(&mut Shelf)) {
        put(&mut self.shelf());
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing is ever half put there, so a poisoned lock holds no poison.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enforcement points lag by different amounts; more than this many at once is not worth keeping.
const MAX_DELTAS: usize = 64;

fn etag(generation: Generation) -> String {
    format!("\"{generation}\"")
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] RingError),
    /// What the database holds cannot be laid out.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What was laid out does not read.
    #[error("the compiled bundle would be refused by every enforcement point; it is not published")]
    Unreadable(#[source] BundleError),
    /// The process is shutting down.
    #[error("the compilation was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// A delta cannot start where there is nothing yet, from the future, or from a bundle that has
    /// run out.
    #[error("there is no delta from generation {base} to {latest}: ask for the full bundle")]
    NoSuchDelta {
        /// Where it should start.
        base: Generation,
        /// The latest generation.
        latest: Generation,
    },
    /// The file could not be written.
    #[error("the bundle file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
