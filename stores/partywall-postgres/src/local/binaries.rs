//! Finding server programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The server programs of one PostgreSQL version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The programs in `dir`, when `initdb` and `postgres` are there and of version 14 or later.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Option<Self> {
        let dir = dir.into();
        if !dir.join("initdb").is_file() {
            return None;
        }
        let out = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        // "postgres (PostgreSQL) 15.20 (Debian …)"
        let number = text.split(' ').find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
        let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
        let major = digits.parse().ok()?;
        (major >= OLDEST_MAJOR).then_some(Self { dir, major })
    }

    /// The directory they are in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of the programs, such as `pg_basebackup`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The newest server programs on this machine, version 14 or later: in `PATH`, or where Debian,
/// Red Hat and Homebrew put them. `PARTYWALL_POSTGRES_BIN` names one directory to take instead.
pub fn find_binaries() -> Option<Binaries> {
    all_binaries().into_iter().max_by_key(Binaries::major)
}

pub(super) fn all_binaries() -> Vec<Binaries> {
    if let Some(dir) = std::env::var_os("PARTYWALL_POSTGRES_BIN") {
        return Binaries::in_dir(dir).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path);
    let packaged = [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/opt/homebrew/opt", "bin")]
        .into_iter()
        .flat_map(|(parent, bin)| {
            let children = fs::read_dir(parent).into_iter().flatten().flatten();
            children
                .filter(move |d| {
                    let name = d.file_name();
                    let name = name.to_string_lossy();
                    parent == "/usr/lib/postgresql"
                        || name.starts_with("pgsql-")
                        || name.starts_with("postgresql@")
                })
                .map(move |d| d.path().join(bin))
        });
    in_path.chain(packaged).filter_map(Binaries::in_dir).collect()
}

/// The oldest major version the wall works on.
const OLDEST_MAJOR: u32 = 14;
