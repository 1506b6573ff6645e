//! The last good bundle on disk: what an enforcement point starts from when everything else is
//! down (M-06, R-01).
//!
//! `bundle.pwb` is the latest full bundle; `delta-<generation>.pwb` are those that came after it.
//! Each is written beside its place, flushed, and renamed, so that a crash leaves the old or the
//! new and never half of one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{Bundle, BundleError, BundleTrust, Generation, SignedBundle};

/// A directory that holds an enforcement point's last good bundle.
#[derive(Clone, Debug)]
pub struct BundleFiles {
    dir: PathBuf,
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
    /// A damaged delta ends the chain: what came before it is served. `Ok(None)` when there is
    /// no bundle yet.
    ///
    /// # Errors
    ///
    /// When the full bundle is there and cannot be trusted.
    pub fn load(&self, trust: &BundleTrust) -> Result<Option<Bundle>, LoadError> {
        let path = self.full_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeeperError { path, source }.into()),
        };
        let mut bundle = SignedBundle::new(bytes).check(trust)?;
        for (generation, path) in self.deltas()? {
            if generation <= bundle.generation() {
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| KeeperError { path, source })?;
            match SignedBundle::new(bytes).check_onto(&bundle, trust) {
                Ok(newer) => bundle = newer,
                Err(error) => {
                    tracing::warn!(%generation, %error, "a stored delta is not usable: serving from before it");
                    break;
                }
            }
        }
        Ok(Some(bundle))
    }

    /// Keeps a full bundle, in place of everything before it.
    ///
    /// # Errors
    ///
    /// When the bytes could not be made to last.
    pub fn keep_full(&self, bytes: &[u8]) -> Result<(), KeeperError> {
        let before = self.deltas()?;
        write_durably(&self.full_path(), bytes)?;
        before.into_iter().try_for_each(|(_, path)| match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeeperError { path, source })
            }
            _ => Ok(()),
        })
    }

    /// Keeps the delta that leads to `generation`.
    ///
    /// # Errors
    ///
    /// When the bytes could not be made to last.
    pub fn keep_delta(&self, generation: Generation, bytes: &[u8]) -> Result<(), KeeperError> {
        write_durably(&self.dir.join(format!("{DELTA_PREFIX}{generation:020}{SUFFIX}")), bytes)
    }

    fn full_path(&self) -> PathBuf {
        self.dir.join("bundle.pwb")
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

/// Why the stored bundle could not be loaded.
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

/// Writes beside, flushes, renames, flushes the directory: what is there afterwards is whole.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), KeeperError> {
    let failed = |source| KeeperError { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}
