//! The history: a directory in which every run is a signed record that names the one before.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    audit::{Audit, Auditor},
    hex::{Digest, PublicKey},
    json::json,
    sign::{RecordError, SigningKey, UnverifiedRecord},
};
use crate::Run;

/// Nobody's report is as long; a file that is must not fill the memory.
const LONGEST: u64 = 256 << 20;
const LOCK: &str = "lock";
const NEXT: &str = "next.tmp";
const PINNED: &str = "key.pub";

/// A directory of signed records, `run-000001.proof` and on.
#[derive(Clone, Debug)]
pub struct History {
    dir: PathBuf,
}

/// Where a run was taken down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Its number, from 1.
    pub number: u64,
    /// The digest of its record: the history's head, worth keeping elsewhere.
    pub head: Digest,
    /// The record.
    pub path: PathBuf,
}

impl History {
    /// Names the directory; nothing is read yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Signs a run and appends it, making the directory if there is none. Of two processes that
    /// append at once, one waits for the other; after a crash, the record is there whole or not
    /// at all.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written, when another key signed what is there, or when its
    /// last record is not whole: nothing good is appended to what is broken.
    pub fn append(&self, run: &Run, key: &SigningKey) -> Result<Appended, HistoryError> {
        fs::create_dir_all(&self.dir).map_err(self.failed())?;
        let lock = File::create(self.dir.join(LOCK)).map_err(self.failed())?;
        lock.lock().map_err(self.failed())?;
        let pinned = self.is_pinned(&key.public())?;
        let (number, previous) = self.next(&key.public())?;
        if !pinned {
            self.put(&self.dir.join(PINNED), format!("{}\n", key.public()).as_bytes())?;
        }
        let record = key.sign(number, &previous, &json(run));
        let path = self.path_of(number);
        self.put(&path, &record)?;
        Ok(Appended { number, head: Digest::of(&record), path })
    }

    /// Whether a run signed with the private half of `key` could be appended, as far as can be told
    /// without writing. A directory that is not there yet is fine.
    ///
    /// # Errors
    ///
    /// As for [`History::append`].
    pub fn accepts(&self, key: &PublicKey) -> Result<(), HistoryError> {
        if self.dir.exists() {
            self.is_pinned(key)?;
            self.next(key)?;
        }
        Ok(())
    }

    /// The public key that was written down beside the records on the first run. Whoever can
    /// change the records can change it, too.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn pinned(&self) -> Result<Option<PublicKey>, HistoryError> {
        let path = self.dir.join(PINNED);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let key = text.trim_end().parse();
                key.map(Some).map_err(|_| HistoryError::Pinned { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HistoryError::Io { path, source }),
        }
    }

    /// Checks every record and the chain they form.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read. What is wrong with the records is in the [`Audit`].
    pub fn audit(&self, key: &PublicKey) -> Result<Audit, HistoryError> {
        let mut auditor = Auditor::new(*key);
        for name in self.foreign_names()? {
            auditor.foreign(name);
        }
        for number in self.numbers()? {
            auditor.file(number, &read_bounded(&self.path_of(number))?);
        }
        Ok(auditor.finish())
    }

    /// The next record's number, and the digest it has to name.
    fn next(&self, key: &PublicKey) -> Result<(u64, Digest), HistoryError> {
        match self.numbers()?.last() {
            None => Ok((1, Digest::NONE)),
            Some(last) => Ok((last.saturating_add(1), self.digest_of(*last, key)?)),
        }
    }

    /// The numbers the records are filed under, rising.
    fn numbers(&self) -> Result<Vec<u64>, HistoryError> {
        let mut numbers: Vec<_> = self.names()?.iter().filter_map(|name| number_in(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What ends like a record and is not called like one.
    fn foreign_names(&self) -> Result<Vec<String>, HistoryError> {
        let foreign = |name: &String| name.ends_with(".proof") && number_in(name).is_none();
        let mut names: Vec<_> = self.names()?.into_iter().filter(foreign).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn names(&self) -> Result<Vec<String>, HistoryError> {
        let entries = fs::read_dir(&self.dir).map_err(self.failed())?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map_err(self.failed())
    }

    fn digest_of(&self, number: u64, key: &PublicKey) -> Result<Digest, HistoryError> {
        let path = self.path_of(number);
        let file = read_bounded(&path)?;
        let record = UnverifiedRecord::parse(&file).and_then(|record| record.verify(key));
        let record = record.map_err(|source| HistoryError::Head { path: path.clone(), source })?;
        match record.number == number {
            true => Ok(record.digest),
            false => Err(HistoryError::Misplaced { path, says: record.number }),
        }
    }

    /// Whether `key` was written down before; another one is an error.
    fn is_pinned(&self, key: &PublicKey) -> Result<bool, HistoryError> {
        match self.pinned()? {
            Some(pinned) if pinned != *key => {
                Err(HistoryError::OtherKey { dir: self.dir.clone(), pinned, key: *key })
            }
            pinned => Ok(pinned.is_some()),
        }
    }

    /// Written beside, made to last, and put into place. Only under the lock.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), HistoryError> {
        let failed = |source| HistoryError::Io { path: path.to_owned(), source };
        let beside = self.dir.join(NEXT);
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    fn path_of(&self, number: u64) -> PathBuf {
        self.dir.join(name_of(number))
    }

    fn failed(&self) -> impl Fn(io::Error) -> HistoryError {
        let path = self.dir.clone();
        move |source| HistoryError::Io { path: path.clone(), source }
    }
}

/// Reads a record's file, unless it is longer than any record.
///
/// # Errors
///
/// When it cannot be read, or is too long.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, HistoryError> {
    let failed = |source| HistoryError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= LONGEST => Ok(bytes),
        _ => Err(failed(io::Error::other("longer than any record"))),
    }
}

/// `run-000017.proof`.
pub(super) fn name_of(number: u64) -> String {
    format!("run-{number:06}.proof")
}

fn number_in(name: &str) -> Option<u64> {
    let number = name.strip_prefix("run-")?.strip_suffix(".proof")?.parse().ok()?;
    (number > 0 && name_of(number) == name).then_some(number)
}

/// Why a history could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The key written down beside the records cannot be understood.
    #[error("{}: not a public key: 64 hexadecimal digits", path.display())]
    Pinned {
        /// The file.
        path: PathBuf,
    },
    /// The records there are signed by another key.
    #[error(
        "{}: its records are signed by {pinned}, and this run would be by {key}: give the same \
         --signing-key, or begin a new directory",
        dir.display()
    )]
    OtherKey {
        /// The directory.
        dir: PathBuf,
        /// The key it was begun with.
        pinned: PublicKey,
        /// The key that was to sign.
        key: PublicKey,
    },
    /// The last record cannot be continued.
    #[error("{}: nothing is appended after it: {source}", path.display())]
    Head {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The last record has another number than its name.
    #[error("{}: nothing is appended after it: it is record {says}", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The number in it.
        says: u64,
    },
}
