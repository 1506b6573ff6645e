//! The last good bundle on disk: what an enforcement point starts from when everything else is
//! down (M-06, R-01).
//!
//! `bundle.pwb` is the latest full bundle; `delta-<generation>.pwb` are those that came after it;
//! `bundle.previous.pwb` is the full bundle before it, for the day the disk damages the latest.
//! Each is written beside its place, flushed, and renamed, so that a crash leaves the old or the
//! new and never half of one.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Bundle, BundleError, BundleTrust, Generation, SignedBundle};

pub(crate) use chain::Keeper;

mod chain;
#[cfg(test)]
mod tests;

/// A directory that holds an enforcement point's last good bundle.
#[derive(Clone, Debug)]
pub struct BundleFiles {
    dir: PathBuf,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The best that can be trusted; `None` when there is no bundle, or none to trust.
    pub bundle: Option<Bundle>,
    /// What could not be used. Where there is any, the bundle may be older than the last one kept.
    pub faults: Vec<Fault>,
    /// The generation of `bundle.pwb`, where that could be used.
    full: Option<Generation>,
    sizes: Sizes,
}

/// A stored file that could not be used.
#[derive(Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: LoadError,
}

/// What a bundle is put together from.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// Of the full bundle, in bytes.
    full: u64,
    /// How many deltas lie over it.
    deltas: u32,
    /// Of all of them, in bytes.
    delta_bytes: u64,
}

impl Sizes {
    fn of_full(bytes: &[u8]) -> Self {
        Self { full: bytes.len() as u64, ..Self::default() }
    }

    fn add_delta(&mut self, bytes: &[u8]) {
        self.deltas += 1;
        self.delta_bytes += bytes.len() as u64;
    }
}

impl BundleFiles {
    /// Uses `dir`, creating it where it is missing.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Result<Self, KeeperError> {
        let dir = dir.into();
        // A bundle names every tenant: that is nobody else's business on this machine.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| KeeperError { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    /// Loads the full bundle and the deltas that follow it without a gap.
    ///
    /// A damaged delta ends the chain: what came before it is served. In place of a damaged full
    /// bundle the one before it is taken. Nothing is taken that is not signed by a key in
    /// `trust`.
    pub fn load(&self, trust: &BundleTrust) -> Loaded {
        let mut loaded = Loaded::default();
        match self.read_full(FULL, trust) {
            // Whoever removes `bundle.pwb` wants none; the one before it would be a surprise.
            Ok(None) => return loaded,
            Ok(Some((bundle, sizes))) => {
                loaded.full = Some(bundle.generation());
                (loaded.bundle, loaded.sizes) = (Some(bundle), sizes);
            }
            Err(fault) => {
                loaded.faults.push(fault);
                match self.read_full(PREVIOUS, trust) {
                    Ok(None) => {}
                    Ok(Some((bundle, sizes))) => {
                        (loaded.bundle, loaded.sizes) = (Some(bundle), sizes);
                    }
                    Err(fault) => loaded.faults.push(fault),
                }
            }
        }
        if let Some(full) = loaded.bundle.take() {
            loaded.bundle = Some(self.with_deltas(full, trust, &mut loaded));
        }
        loaded
    }

    fn read_full(&self, name: &str, trust: &BundleTrust) -> Result<Option<(Bundle, Sizes)>, Fault> {
        let path = self.dir.join(name);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let sizes = Sizes::of_full(&bytes);
        match SignedBundle::new(bytes).check(trust) {
            Ok(bundle) => Ok(Some((bundle, sizes))),
            Err(error) => Err(Fault { path, reason: error.into() }),
        }
    }

    fn with_deltas(&self, mut bundle: Bundle, trust: &BundleTrust, loaded: &mut Loaded) -> Bundle {
        let deltas = self.deltas().unwrap_or_else(|error| {
            loaded.faults.push(Fault { path: self.dir.clone(), reason: error.into() });
            Vec::new()
        });
        for (generation, path) in deltas {
            if generation <= bundle.generation() {
                continue;
            }
            let laid = read(&path).and_then(|bytes| {
                let bytes = bytes.unwrap_or_default();
                loaded.sizes.add_delta(&bytes);
                let newer = SignedBundle::new(bytes).check_onto(&bundle, trust);
                newer.map_err(|error| Fault { path, reason: error.into() })
            });
            match laid {
                Ok(newer) => bundle = newer,
                Err(fault) => {
                    loaded.faults.push(fault);
                    break;
                }
            }
        }
        bundle
    }

    /// Keeps the full bundle of `generation`. What was `bundle.pwb` becomes the one before, if
    /// `previous` says that it is good and of which generation; deltas that do not lead from there
    /// to here are removed.
    ///
    /// # Errors
    ///
    /// When the bytes could not be made to last.
    pub fn keep_full(
        &self,
        generation: Generation,
        bytes: &[u8],
        previous: Option<Generation>,
    ) -> Result<(), KeeperError> {
        let (full, before) = (self.dir.join(FULL), self.dir.join(PREVIOUS));
        let beside = write_beside(&full, bytes)?;
        if previous.is_some() {
            // Linked and not moved: at no moment is there no `bundle.pwb`.
            match fs::remove_file(&before) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(KeeperError { path: before, source: error });
                }
                _ => {}
            }
            let linked = fs::hard_link(&full, &before).or_else(|_| {
                fs::copy(&full, &before).and_then(|_| File::open(&before)?.sync_all())
            });
            // The new one is worth more than the old one's name.
            if let Err(error) = linked {
                tracing::warn!(%error, path = %before.display(), "the bundle before could not be kept");
            }
        }
        put_in_place(&beside, &full)?;
        for (delta, path) in self.deltas()? {
            let leads_here = previous.is_some_and(|from| from < delta && delta <= generation);
            if !leads_here && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an old delta could not be removed");
            }
        }
        Ok(())
    }

    /// Keeps the delta that leads to `generation`.
    ///
    /// # Errors
    ///
    /// When the bytes could not be made to last.
    pub fn keep_delta(&self, generation: Generation, bytes: &[u8]) -> Result<(), KeeperError> {
        let path = self.dir.join(format!("{DELTA_PREFIX}{generation:020}{SUFFIX}"));
        put_in_place(&write_beside(&path, bytes)?, &path)
    }

    /// The stored deltas, by ascending generation.
    fn deltas(&self) -> Result<Vec<(Generation, PathBuf)>, KeeperError> {
        let failed = |source| KeeperError { path: self.dir.clone(), source };
        let mut deltas = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = name.strip_prefix(DELTA_PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
            if let Some(Ok(number)) = number.map(str::parse) {
                deltas.push((Generation(number), path));
            }
        }
        deltas.sort_unstable();
        Ok(deltas)
    }
}

const FULL: &str = "bundle.pwb";
const PREVIOUS: &str = "bundle.previous.pwb";
const DELTA_PREFIX: &str = "delta-";
const SUFFIX: &str = ".pwb";

/// A bundle file could not be read or made to last.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct KeeperError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why a stored bundle could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] KeeperError),
    /// The file is no bundle we trust.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl LoadError {
    /// A word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disk(_) => "unreadable",
            Self::Bundle(error) => error.code(),
        }
    }
}

/// The file's bytes; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let path = path.to_owned();
            Err(Fault { path: path.clone(), reason: KeeperError { path, source }.into() })
        }
    }
}

/// Writes `bytes` beside `path` and flushes them.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, KeeperError> {
    let beside = path.with_extension("new");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        // Where it was left behind by somebody with other habits.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match written() {
        Ok(()) => Ok(beside),
        Err(source) => Err(KeeperError { path: path.to_owned(), source }),
    }
}

/// Renames and flushes the directory: what is there afterwards is whole.
fn put_in_place(beside: &Path, path: &Path) -> Result<(), KeeperError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::rename(beside, path)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|source| KeeperError { path: path.to_owned(), source })
}
