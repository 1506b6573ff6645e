//! Why somebody who came from a tenant's provider is not believed. The person learns nothing of
//! it; their tenant's administrator learns the rule, the element and the value.

use partywall_saml::{Refused, SignerError};
use serde::{Deserialize, Serialize};

use super::oidc::OidcError;
use crate::{
    keys::SealError, provider::FormError, random::RandomError, rate::TooFast, storage::StorageError,
};

/// What an administrator is told: data that a stranger may have chosen, to be escaped wherever it
/// is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Complaint {
    /// The rule's name, which stays as it is.
    pub(crate) rule: String,
    /// In a sentence: what must be, and where it is not.
    pub(crate) told: String,
    /// Which element or claim broke it.
    pub(crate) element: Option<String>,
    /// What was found there.
    pub(crate) value: Option<String>,
}

/// Why somebody is not believed, or not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FederationError {
    #[error("the response is refused")]
    Saml(#[from] Box<Refused>),
    #[error("the provider's answer is refused")]
    Oidc(#[from] OidcError),
    #[error("the assertion was used before")]
    Replayed { id: String },
    #[error("the name identifier is transient: the provider names the same person anew each time")]
    Transient,
    #[error("nobody who left through this connection comes back with that state")]
    NotAway,
    #[error("what came back cannot be read")]
    Malformed(&'static str),
    #[error("the connection cannot be used: {0}")]
    Settings(String),
    #[error("the connection has no private key of ours")]
    NoKey,
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Signer(SignerError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<SignerError> for FederationError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl FederationError {
    /// Whether it is our failure or the network's: another try may succeed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Oidc(error) => error.is_ours(),
            error => error.complaint().is_none(),
        }
    }

    /// What the tenant's administrator is told; nothing, where something failed here.
    pub(crate) fn complaint(&self) -> Option<Complaint> {
        let plain = |rule: &str| Complaint {
            rule: rule.to_owned(),
            told: self.to_string(),
            element: None,
            value: None,
        };
        Some(match self {
            Self::Saml(refused) => Complaint {
                rule: refused.rule().code().to_owned(),
                told: refused.to_string(),
                element: Some(refused.element().to_owned()),
                value: refused.value().map(str::to_owned),
            },
            Self::Oidc(OidcError::Stopping | OidcError::Seal(_) | OidcError::Random(_)) => {
                return None;
            }
            Self::Oidc(error) => Complaint {
                rule: error.rule().to_owned(),
                told: error.to_string(),
                element: error.element().map(str::to_owned),
                value: error.value().map(str::to_owned),
            },
            Self::Replayed { id } => Complaint { value: Some(id.clone()), ..plain("replayed") },
            Self::Transient => {
                Complaint { element: Some("NameID".to_owned()), ..plain("transient_name_id") }
            }
            Self::NotAway => plain("not_away"),
            Self::Malformed(_) => plain("malformed"),
            Self::Settings(_) => plain("settings"),
            Self::Form(_) => plain("form"),
            Self::NoKey
            | Self::TooFast(_)
            | Self::Signer(_)
            | Self::Storage(_)
            | Self::Random(_)
            | Self::Seal(_) => return None,
        })
    }
}
