//! What a tenant has agreed with its identity provider.

use thiserror::Error;

use crate::certificate::Certificate;
use crate::decrypt::DecryptionKey;

/// A tenant's trust in one identity provider. Without certificates there is none (S-08).
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) settings: Settings,
}

/// What a [`Connection`] is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our entity ID for this connection, which assertions must be meant for.
    pub sp_entity_id: String,
    /// Our assertion consumer service for this connection, where responses must be sent to.
    pub acs_url: String,
    /// The identity provider's entity ID, by which responses must be issued.
    pub idp_entity_id: String,
    /// Whose signatures are taken: one, or two while the identity provider changes its key.
    pub certificates: Vec<Certificate>,
    /// Whether the identity provider may send a person who did not ask to come (S-11).
    pub idp_initiated: bool,
    /// To which encrypted assertions are encrypted (S-12): none, one, or two while our key
    /// changes. Without one they are refused; with one, others are still taken.
    pub decryption_keys: Vec<DecryptionKey>,
    /// Whether AES-CBC is taken, which says nothing about what was changed on its way. Off, unless
    /// the identity provider knows nothing better.
    pub allow_cbc: bool,
}

/// Why a connection cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// An entity ID or URL that is empty or padded.
    #[error("{0} must not be empty, nor begin or end with white space")]
    Blank(&'static str),
    /// No certificate, so nothing could be verified.
    #[error("the connection has no signing certificate: import the identity provider's metadata")]
    NoCertificate,
    /// More than two certificates.
    #[error("at most two signing certificates at a time: remove the one that is no longer used")]
    TooManyCertificates,
    /// More than two decryption keys.
    #[error("at most two decryption keys at a time: remove the one that is no longer published")]
    TooManyDecryptionKeys,
}

impl Connection {
    /// A connection that can be used.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn new(settings: Settings) -> Result<Self, ConnectionError> {
        for (name, text) in [
            ("the service provider's entity ID", &settings.sp_entity_id),
            ("the assertion consumer service", &settings.acs_url),
            ("the identity provider's entity ID", &settings.idp_entity_id),
        ] {
            if text.is_empty() || text.trim() != text {
                return Err(ConnectionError::Blank(name));
            }
        }
        if settings.decryption_keys.len() > 2 {
            return Err(ConnectionError::TooManyDecryptionKeys);
        }
        match settings.certificates.len() {
            0 => Err(ConnectionError::NoCertificate),
            1 | 2 => Ok(Self { settings }),
            _ => Err(ConnectionError::TooManyCertificates),
        }
    }
}
