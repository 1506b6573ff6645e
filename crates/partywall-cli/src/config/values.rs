//! The kinds of values the configuration has besides text and numbers.

use std::{
    fmt, fs, io,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use partywall_server::{Secret, SecretError, SecretFile, SecretSource};
use serde::{Deserialize, Serialize};
use toml::{Spanned, de::DeValue};

use super::document::Section;

/// A length of time: a whole number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Lasting(Duration);

impl Lasting {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub(crate) const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    pub(crate) const fn days(days: u64) -> Self {
        Self::seconds(days * 24 * 60 * 60)
    }

    pub(crate) fn duration(self) -> Duration {
        self.0
    }
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Lasting {
    type Err = InvalidLasting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        UNITS
            .into_iter()
            .find_map(|(unit, seconds)| {
                let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
                Some(Self::seconds(count.checked_mul(seconds)?))
            })
            .ok_or_else(|| InvalidLasting(text.to_owned()))
    }
}

impl TryFrom<String> for Lasting {
    type Error = InvalidLasting;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let fitting =
            UNITS.into_iter().find(|(_, seconds)| all > 0 && all.is_multiple_of(*seconds));
        let (unit, seconds) = fitting.unwrap_or(("s", 1));
        write!(f, "{}{unit}", all / seconds)
    }
}

impl From<Lasting> for String {
    fn from(lasting: Lasting) -> Self {
        lasting.to_string()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no length of time: expected a whole number and s, m, h or d")]
pub(crate) struct InvalidLasting(String);

/// Where a secret is: never the secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretRef {
    /// A file that only its owner can read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl SecretSource for SecretRef {
    fn read(&self) -> Result<Secret<Vec<u8>>, SecretError> {
        match self {
            Self::File(path) => SecretFile::at(path).read(),
            Self::Env(name) => match std::env::var_os(name) {
                Some(value) => Ok(Secret::new(value.into_vec())),
                None => Err(SecretError::Source(SecretFault::NotSet { name: name.clone() }.into())),
            },
        }
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFault {
    #[error("the secret file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the secret file {} is no file", path.display())]
    NotAFile { path: PathBuf },
    #[error("the secret file {} has mode {mode:03o}: others can read it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the secret file {} is empty", path.display())]
    EmptyFile { path: PathBuf },
    #[error("the environment variable {name} is not set")]
    NotSet { name: String },
    #[error("the environment variable {name} is empty")]
    EmptyVariable { name: String },
}

impl SecretFault {
    /// What to do about it.
    pub(crate) fn fix(&self) -> String {
        match self {
            Self::Unreadable { path, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("create {} with the secret in it and mode 600", path.display())
            }
            Self::Unreadable { path, .. } => {
                format!("make {} readable for this user alone", path.display())
            }
            Self::NotAFile { .. } => "name a regular file".to_owned(),
            Self::Exposed { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::EmptyFile { .. } => "write the secret into it".to_owned(),
            Self::NotSet { name } | Self::EmptyVariable { name } => {
                format!("set {name} in the environment of the process")
            }
        }
    }
}

impl SecretRef {
    const EXAMPLE: &str = r#"{ file = "/run/secrets/name" } or { env = "NAME" }"#;

    /// Looks whether the secret can be had, without keeping it.
    pub(crate) fn look(&self) -> Result<(), SecretFault> {
        match self {
            Self::File(path) => look_at_file(path),
            Self::Env(name) => match std::env::var_os(name) {
                None => Err(SecretFault::NotSet { name: name.clone() }),
                Some(value) if value.is_empty() => {
                    Err(SecretFault::EmptyVariable { name: name.clone() })
                }
                Some(_) => Ok(()),
            },
        }
    }

    /// Takes the reference under `key` out of `section`. A secret written there in the clear is
    /// refused without being repeated.
    pub(super) fn take(
        section: &mut Section<'_, '_>,
        key: &'static str,
        base: &Path,
    ) -> Option<Spanned<Self>> {
        let example = format!("{key} = {}", Self::EXAMPLE);
        let Some(value) = section.take(key) else {
            section.missing(key, &example);
            return None;
        };
        let span = value.span();
        let fix = format!("write `{example}`");
        let DeValue::Table(_) = value.get_ref() else {
            let what = "a secret must not stand in this file";
            section.fault_at(&span, key, what, fix);
            return None;
        };
        let path = section.path_of(key);
        let place: Spanned<Place> = section.foreign(&path, value, &fix)?;
        let secret = match place.into_inner() {
            Place { file: Some(file), env: None } => Self::File(base.join(file)),
            Place { file: None, env: Some(name) } => Self::Env(name),
            Place { .. } => {
                section.fault_at(&span, key, "expected either `file` or `env`", fix);
                return None;
            }
        };
        Some(Spanned::new(span, secret))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    file: Option<PathBuf>,
    env: Option<String>,
}

fn look_at_file(path: &Path) -> Result<(), SecretFault> {
    let unreadable = |source| SecretFault::Unreadable { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(SecretFault::NotAFile { path: path.to_owned() });
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFault::Exposed { path: path.to_owned(), mode });
    }
    if about.len() == 0 {
        return Err(SecretFault::EmptyFile { path: path.to_owned() });
    }
    fs::File::open(path).map(drop).map_err(unreadable)
}

/// One text, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("10m", 600), ("24h", 86_400), ("30d", 2_592_000)]
        {
            assert_eq!(text.parse::<Lasting>().unwrap(), Lasting::seconds(seconds), "{text}");
        }
        assert_eq!(Lasting::seconds(86_400).to_string(), "1d");
        assert_eq!(Lasting::seconds(90).to_string(), "90s");
        for wrong in ["", "s", "10", "-1s", "1.5h", "10 m", "1w", "10M", "99999999999999999d"] {
            assert!(wrong.parse::<Lasting>().is_err(), "{wrong}");
        }
    }
}
