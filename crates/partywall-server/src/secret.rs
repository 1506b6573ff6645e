//! Values that must not be printed, compared carelessly, or left in memory.

use std::path::{Path, PathBuf};

use zeroize::Zeroize;

/// A value that is nobody's business: no `Debug`, no `PartialEq`, wiped from memory when dropped.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes custody of a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Shows the value. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// As somebody sends it: text.
impl<'de> serde::Deserialize<'de> for Secret<String> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Where secrets come from: a file, the environment, a vault. Never the configuration itself.
pub trait SecretSource {
    /// Reads the secret's bytes.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be read.
    fn read(&self) -> Result<Secret<Vec<u8>>, SecretError>;
}

/// A secret that is a file's whole content. The file must belong to its owner alone.
#[derive(Clone, Debug)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// Names the file; nothing is read yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Reads the file, after writing what `generate` returns to it when there is none.
    ///
    /// # Errors
    ///
    /// When the file can neither be read nor made.
    pub fn read_or_create(
        &self,
        generate: impl FnOnce() -> Result<Secret<Vec<u8>>, SecretError>,
    ) -> Result<Secret<Vec<u8>>, SecretError> {
        use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};

        match self.read() {
            Err(SecretError::Unreadable { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            read => return read,
        }
        // Written beside and linked into place, so that no reader and no crash sees half of it,
        // and of two first starts at once one wins and both use its secret.
        let secret = generate()?;
        let failed = |source| SecretError::Unreadable { path: self.0.clone(), source };
        let beside = self.0.with_extension(format!("new-{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        file.write_all(secret.expose()).and_then(|()| file.sync_all()).map_err(failed)?;
        let linked = fs::hard_link(&beside, &self.0);
        fs::remove_file(&beside).map_err(failed)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => sync_directory_of(&self.0).map_err(failed).and_then(|()| self.read()),
        }
    }
}

impl SecretSource for SecretFile {
    fn read(&self) -> Result<Secret<Vec<u8>>, SecretError> {
        use std::os::unix::fs::PermissionsExt;

        let failed = |source| SecretError::Unreadable { path: self.0.clone(), source };
        let mode = std::fs::metadata(&self.0).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: self.0.clone(), mode });
        }
        std::fs::read(&self.0).map(Secret::new).map_err(failed)
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file could not be read or made.
    #[error("the secret file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than its owner may read the file.
    #[error("the secret file {} has mode {mode:03o}: others can read it; run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A vault or another source said no.
    #[error("the secret source failed")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes a new name in a directory outlast a crash.
pub(crate) fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
