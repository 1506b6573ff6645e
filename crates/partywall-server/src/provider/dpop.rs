//! Proofs of possession (RFC 9449): a client shows the key its tokens are to be bound to, or are.
//!
//! No server nonce is asked for (RFC 9449 8): a proof is good for a minute, once.

use axum::http::{HeaderMap, HeaderName};
use partywall::token::{DpopProof, ProofError, ProvenRequest};

use super::oauth_error::OAuthError;
use crate::{
    control::{Application, ControlPlane},
    storage::{
        StorageError,
        single_use::{self, Drawer, Kind},
    },
};

/// The request an endpoint of ours got.
pub(crate) struct At<'a> {
    pub(crate) method: &'static str,
    /// The endpoint's published address.
    pub(crate) uri: &'a str,
}

/// The thumbprint of the key a request proves possession of; `None` where it brings no proof. A
/// proof is good once, on any server of this database.
pub(crate) async fn proven_key(
    control: &ControlPlane,
    headers: &HeaderMap,
    at: At<'_>,
    access_token: Option<&str>,
) -> Result<Option<String>, DpopError> {
    let mut proofs = headers.get_all(DPOP).iter();
    let proof = match (proofs.next(), proofs.next()) {
        (None, _) => return Ok(None),
        (Some(proof), None) => proof.to_str().map_err(|_| DpopError::NotOne)?,
        // RFC 9449 4.3, step 1.
        (Some(_), Some(_)) => return Err(DpopError::NotOne),
    };
    let now = control.now();
    let request = ProvenRequest { method: at.method, uri: at.uri, access_token };
    let proven = DpopProof::new(proof).verify(request, now)?;
    let id = format!("{} {}", proven.key_thumbprint, proven.proof_id);
    let drawer = Drawer::before_any_tenant(Kind::DpopProof);
    let write = control.inner.db.single().await;
    // RFC 9449 11.1. Kept for as long as the proof would be taken, so the drawer stays small.
    if !single_use::put(write.db(), drawer, &id, &(), now, 2 * DpopProof::WINDOW).await? {
        return Err(ProofError::Replayed.into());
    }
    Ok(Some(proven.key_thumbprint))
}

/// Refuses an application that must bind its tokens and brought no proof (RFC 9449 5.2).
pub(crate) fn check_required(
    application: &Application,
    proven: Option<&str>,
) -> Result<(), DpopError> {
    match (application.registration.requires_dpop, proven) {
        (true, None) => Err(DpopError::Required),
        (true, Some(_)) | (false, _) => Ok(()),
    }
}

/// RFC 9449 4.1.
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What a proof may be signed with (RFC 9449 5.1).
pub(super) const ALGORITHMS: [&str; 5] = ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"];

/// Why a proof, or its absence, was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DpopError {
    #[error("there must be one DPoP header of visible ASCII")]
    NotOne,
    #[error("the client registered to bind its tokens, and brought no proof")]
    Required,
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl DpopError {
    /// RFC 9449 5. `None` where the fault is ours.
    pub(crate) fn answer(&self) -> Option<OAuthError> {
        let description = match self {
            Self::NotOne => "send exactly one DPoP header",
            Self::Required => "this client must send a DPoP proof",
            Self::Proof(ProofError::Method | ProofError::Address) => {
                "the DPoP proof is for another request: check htm and htu"
            }
            Self::Proof(ProofError::Age { .. }) => {
                "the DPoP proof is too old or too new: check iat and the clock"
            }
            Self::Proof(ProofError::Replayed) => "the DPoP proof was used before",
            Self::Proof(_) => "the DPoP proof does not hold",
            Self::Storage(_) => return None,
        };
        Some(OAuthError::bad_request("invalid_dpop_proof", description))
    }
}
