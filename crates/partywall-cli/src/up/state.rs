//! The state directory: one run at a time, and secrets made on the first one.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use partywall_server::{Secret, SecretError, SecretFile};

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

    /// A directory for a server that runs as a user of its own when we are root.
    ///
    /// Such a user must pass through every directory above it, and root's home lets nobody in. Where
    /// that is in the way, the directory is made below [`ELSEWHERE`], and a link to it left here.
    pub(super) fn for_server(&self, name: &str) -> Result<PathBuf, StateError> {
        let here = self.join(name);
        let failed = |source| StateError::Io { path: here.clone(), source };
        if here.symlink_metadata().is_ok() || !is_root() || self.lets_everybody_pass() {
            return Ok(here);
        }
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| failed(io::Error::other("no randomness")))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let there = Path::new(ELSEWHERE).join(id);
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&there).map_err(failed)?;
        std::os::unix::fs::symlink(&there, &here).map_err(failed)?;
        Ok(here)
    }

    fn lets_everybody_pass(&self) -> bool {
        let passable =
            |dir: &Path| fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o001 != 0);
        self.path.ancestors().all(passable)
    }

    /// 32 random bytes, made the first time and kept in a file of that name only we may read.
    pub(super) fn secret(&self, name: &str) -> Result<[u8; 32], StateError> {
        let path = self.join(name);
        let kept = SecretFile::at(&path).read_or_create(|| {
            let mut secret = vec![0; 32];
            let filled = rand::fill(&mut secret).map(|()| Secret::new(secret));
            filled.map_err(|_| SecretError::Source("no randomness".into()))
        })?;
        kept.expose().as_slice().try_into().map_err(|_| StateError::BadSecret { path })
    }
}

/// Where root's servers keep their data when the state directory is out of their reach.
const ELSEWHERE: &str = "/var/lib/partywall";

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is in use by another `partywall up`: stop that one, or give --state-dir another directory", path.display())]
    InUse { path: PathBuf },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{} does not hold 32 bytes: remove the state directory to start anew", path.display())]
    BadSecret { path: PathBuf },
}
