//! The state directory: one run at a time, and secrets made on the first one.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

/// Where everything `up` keeps is kept. Held by one process at a time.
pub(super) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io { path: path.to_owned(), source };
        // PostgreSQL runs as a user of its own under root, and must pass through.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory for our eyes only, whatever is put into it.
    pub(super) fn private(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.join(name);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| StateError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// 32 random bytes, made the first time and kept in a file of that name only we may read.
    pub(super) fn secret(&self, name: &str) -> Result<[u8; 32], StateError> {
        let path = self.join(name);
        let failed = |source| StateError::Io { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| StateError::BadSecret { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                rand::fill(&mut secret).map_err(|_| failed(io::Error::other("no randomness")))?;
                let beside = path.with_extension("new");
                let mut file = File::options();
                file.write(true).create(true).truncate(true).mode(0o600);
                let mut file = file.open(&beside).map_err(failed)?;
                file.write_all(&secret).and_then(|()| file.sync_all()).map_err(failed)?;
                fs::rename(&beside, &path).map_err(failed)?;
                Ok(secret)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is in use by another `partywall up`: stop that one, or give --state-dir another directory", path.display())]
    InUse { path: PathBuf },
    #[error("{} does not hold 32 bytes: remove the state directory to start anew", path.display())]
    BadSecret { path: PathBuf },
}
