//! The connection that responses are judged by, as a TOML file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64ct::{Base64, Encoding};
use partywall_saml::{
    Certificate, CertificateError, Connection, ConnectionError, DecryptionKey, DecryptionKeyError,
    Settings,
};
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
    #[serde(default)]
    decryption_keys: Vec<Source>,
    #[serde(default)]
    allow_cbc: bool,
}

/// Where a certificate or key is: `{ file = "idp.pem" }`, looked for beside the connection's file, or
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
    #[error("{}: decryption_keys[{index}]", path.display())]
    Key {
        path: PathBuf,
        index: usize,
        #[source]
        error: DecryptionKeyError,
    },
    #[error("{}", path.display())]
    Connection {
        path: PathBuf,
        #[source]
        error: ConnectionError,
    },
}

/// Reads the file, and the certificates and keys it names.
pub(super) fn load(path: &Path) -> Result<Connection, FileError> {
    let file: File = toml::from_str(&read(path)?)
        .map_err(|error| FileError::Toml { path: path.to_owned(), error: Box::new(error) })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = |source: &Source| match source {
        Source::File(name) => read(&folder.join(name)),
        Source::Text(text) => Ok(text.clone()),
    };
    let mut certificates = Vec::new();
    for (index, source) in file.certificates.iter().enumerate() {
        let certificate = Certificate::from_text(&text(source)?);
        certificates.push(certificate.map_err(|error| FileError::Certificate {
            path: path.to_owned(),
            index,
            error,
        })?);
    }
    let mut decryption_keys = Vec::new();
    for (index, source) in file.decryption_keys.iter().enumerate() {
        let key = decryption_key(&text(source)?);
        decryption_keys.push(key.map_err(|error| FileError::Key {
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
        decryption_keys,
        allow_cbc: file.allow_cbc,
    })
    .map_err(|error| FileError::Connection { path: path.to_owned(), error })
}

/// From PEM (RFC 7468, section 10).
fn decryption_key(pem: &str) -> Result<DecryptionKey, DecryptionKeyError> {
    let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
    let body = body.and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"));
    let body: String = body.unwrap_or_default().split_ascii_whitespace().collect();
    let der = Base64::decode_vec(&body).map_err(|_| DecryptionKeyError)?;
    DecryptionKey::from_pkcs8(&der)
}

fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::Read { path: path.to_owned(), error })
}
