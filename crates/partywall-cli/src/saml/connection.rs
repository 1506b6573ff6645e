//! The connection that responses are judged by, as a TOML file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use partywall_saml::{Certificate, CertificateError, Connection, ConnectionError, Settings};
use serde::Deserialize;

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sp_entity_id: String,
    acs_url: String,
    idp_entity_id: String,
    certificates: Vec<Source>,
    #[serde(default)]
    idp_initiated: bool,
}

/// Where a certificate is: `{ file = "idp.pem" }`, looked for beside the connection's file, or
/// `{ text = "…" }`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    File(PathBuf),
    Text(String),
}

/// Why there is nothing to judge by.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{}", path.display())]
    Toml {
        path: PathBuf,
        #[source]
        error: Box<toml::de::Error>,
    },
    #[error("{}: certificates[{index}]", path.display())]
    Certificate {
        path: PathBuf,
        index: usize,
        #[source]
        error: CertificateError,
    },
    #[error("{}", path.display())]
    Connection {
        path: PathBuf,
        #[source]
        error: ConnectionError,
    },
}

/// Reads the file, and the certificates it names.
pub(super) fn load(path: &Path) -> Result<Connection, FileError> {
    let file: File = toml::from_str(&read(path)?)
        .map_err(|error| FileError::Toml { path: path.to_owned(), error: Box::new(error) })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut certificates = Vec::new();
    for (index, source) in file.certificates.into_iter().enumerate() {
        let text = match source {
            Source::File(name) => read(&folder.join(name))?,
            Source::Text(text) => text,
        };
        let certificate = Certificate::from_text(&text);
        certificates.push(certificate.map_err(|error| FileError::Certificate {
            path: path.to_owned(),
            index,
            error,
        })?);
    }
    Connection::new(Settings {
        sp_entity_id: file.sp_entity_id,
        acs_url: file.acs_url,
        idp_entity_id: file.idp_entity_id,
        certificates,
        idp_initiated: file.idp_initiated,
    })
    .map_err(|error| FileError::Connection { path: path.to_owned(), error })
}

fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::Read { path: path.to_owned(), error })
}
