//! Why nobody came in through an OIDC connection: for the tenant's administrator, and for nobody
//! who tries.

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::token::{KeySetError, TokenError};

use super::metadata::{MetadataFault, shorten};
use crate::{keys::SealError, outbound::CallError, random::RandomError};

/// The rule that refused a sign-in, or what kept it from being judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    #[error("the {} at {address} could not be had: {source}", what.name())]
    Unreachable {
        what: Document,
        address: String,
        #[source]
        source: CallError,
    },
    #[error("the discovery document at {address}: {fault}")]
    Metadata {
        address: String,
        #[source]
        fault: Box<MetadataFault>,
    },
    #[error("the key set at {address}: {fault}")]
    Keys {
        address: String,
        #[source]
        fault: KeySetError,
    },
    #[error("the provider's documents were fetched six times within the last minute")]
    TooOften,
    #[error("the answer has neither a code nor an error")]
    NoCode,
    #[error("the sign-in was begun for another connection, or before the connection was changed")]
    OtherConnection,
    #[error("the answer does not say whose it is (`iss`), and the provider announces that it does")]
    IssuerMissing,
    #[error("the answer says it is of {found:?} (`iss`): it is another provider's")]
    OtherIssuer { found: String },
    #[error("the provider refused: {error}{}", in_brackets(description))]
    Refused { error: String, description: String },
    #[error("the provider did not redeem the code: {error}{}", in_brackets(description))]
    NotRedeemed { error: String, description: String },
    #[error("the answer of the {} cannot be read: {fault}", what.name())]
    Unreadable { what: Document, fault: String },
    #[error("the token endpoint's answer has no ID token: is the scope `openid` allowed?")]
    NoIdToken,
    #[error("the ID token: {error}")]
    IdToken {
        #[source]
        error: Box<TokenError>,
        /// What stands in the claim that is wrong.
        found: Option<String>,
    },
    #[error("the UserInfo endpoint speaks of another subject than the ID token")]
    OtherSubject,
    #[error("the server is stopping")]
    Stopping,
    #[error("the connection has no client secret")]
    NoSecret,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    Metadata,
    Keys,
    Token,
    UserInfo,
}

impl Document {
    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "discovery document",
            Self::Keys => "key set",
            Self::Token => "token endpoint",
            Self::UserInfo => "UserInfo endpoint",
        }
    }

    pub(super) fn unreachable(self, address: &str, source: CallError) -> OidcError {
        OidcError::Unreachable { what: self, address: address.to_owned(), source }
    }
}

impl OidcError {
    pub(super) fn of_id_token(error: TokenError, token: &str) -> Self {
        let found = claim_of(&error).and_then(|claim| unverified_claim(token, claim));
        Self::IdToken { error: Box::new(error), found }
    }

    /// The element or claim that is wrong.
    pub(crate) fn element(&self) -> Option<&str> {
        match self {
            Self::Unreachable { address, .. }
            | Self::Metadata { address, .. }
            | Self::Keys { address, .. } => Some(address),
            Self::NoCode => Some("code"),
            Self::IssuerMissing | Self::OtherIssuer { .. } => Some("iss"),
            Self::Refused { .. } | Self::NotRedeemed { .. } => Some("error"),
            Self::NoIdToken => Some("id_token"),
            Self::IdToken { error, .. } => claim_of(error),
            Self::OtherSubject => Some("sub"),
            Self::TooOften
            | Self::OtherConnection
            | Self::Unreadable { .. }
            | Self::Stopping
            | Self::NoSecret
            | Self::Seal(_)
            | Self::Random(_) => None,
        }
    }

    /// What was found there.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::OtherIssuer { found } => Some(found),
            Self::Metadata { fault, .. } => match &**fault {
                MetadataFault::OtherIssuer { found } => Some(found),
                _ => None,
            },
            Self::Refused { error, .. } | Self::NotRedeemed { error, .. } => Some(error),
            Self::IdToken { found, .. } => found.as_deref(),
            _ => None,
        }
    }

    /// The rule, in a word that stays: for logs, metrics and the setup portal.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Unreachable { what: Document::Metadata, .. } => "discovery_unreachable",
            Self::Unreachable { what: Document::Keys, .. } => "keys_unreachable",
            Self::Unreachable { what: Document::Token, .. } => "token_endpoint_unreachable",
            Self::Unreachable { what: Document::UserInfo, .. } => "userinfo_unreachable",
            Self::Metadata { .. } => "discovery_invalid",
            Self::Keys { .. } => "keys_invalid",
            Self::TooOften => "fetched_too_often",
            Self::NoCode => "callback_without_code",
            Self::OtherConnection => "callback_of_other_connection",
            Self::IssuerMissing => "callback_issuer_missing",
            Self::OtherIssuer { .. } => "callback_issuer_mismatch",
            Self::Refused { .. } => "provider_refused",
            Self::NotRedeemed { .. } => "code_not_redeemed",
            Self::Unreadable { .. } => "answer_unreadable",
            Self::NoIdToken => "id_token_missing",
            Self::IdToken { error, .. } => error.code(),
            Self::OtherSubject => "userinfo_of_other_subject",
            Self::Stopping => "stopping",
            Self::NoSecret => "no_client_secret",
            Self::Seal(_) => "secrets_do_not_open",
            Self::Random(_) => "no_randomness",
        }
    }

    /// Whether it is the network's failure or ours, and not the provider's word: another try may
    /// succeed without anybody changing anything.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.is_passing(),
            Self::TooOften | Self::Stopping | Self::Seal(_) | Self::Random(_) => true,
            Self::Metadata { .. }
            | Self::Keys { .. }
            | Self::NoCode
            | Self::OtherConnection
            | Self::IssuerMissing
            | Self::OtherIssuer { .. }
            | Self::Refused { .. }
            | Self::NotRedeemed { .. }
            | Self::Unreadable { .. }
            | Self::NoSecret
            | Self::NoIdToken
            | Self::IdToken { .. }
            | Self::OtherSubject => false,
        }
    }
}

/// The claim an error is about.
fn claim_of(error: &TokenError) -> Option<&str> {
    match error {
        TokenError::ClaimMissing { claim }
        | TokenError::ClaimWrongType { claim, .. }
        | TokenError::ClaimInvalid { claim, .. } => Some(claim),
        TokenError::IssuerUntrusted { .. } => Some("iss"),
        TokenError::AudienceMismatch { .. } => Some("aud"),
        TokenError::Expired { .. } | TokenError::LifetimeTooLong { .. } => Some("exp"),
        TokenError::NotYetValid { .. } => Some("nbf"),
        TokenError::IssuedInFuture { .. } => Some("iat"),
        TokenError::TypeNotAccepted { .. } => Some("typ"),
        TokenError::AlgorithmNotAllowed { .. } => Some("alg"),
        TokenError::KeyUnknown { .. } | TokenError::KeyIdMissing { .. } => Some("kid"),
        _ => None,
    }
}

/// What a token says that was refused: to be shown, and nothing else.
fn unverified_claim(token: &str, claim: &str) -> Option<String> {
    let payload = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&payload).ok()?;
    let found = claims.get(claim)?;
    Some(shorten(&found.as_str().map_or_else(|| found.to_string(), str::to_owned)))
}

fn in_brackets(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
}
