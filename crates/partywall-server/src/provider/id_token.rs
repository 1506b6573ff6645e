//! ID tokens (OIDC Core 2): what an application is told about the sign-in. They open nothing: their
//! `typ` is not an access token's, their audience is the application, and no enforcement point
//! takes one (J-10).

use std::time::Duration;

use aws_lc_rs::digest;
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{
    TenantId,
    token::{Algorithm, ArtefactRules, KeySet, KeySetError, TokenError, verify_artefact},
};
use serde::{Deserialize, Serialize};

use super::{at::At, authorize::RequestedClaims, issue::IssueError, user_claims};
use crate::{
    control::{ControlPlane, UserId},
    keys::KeyError,
    login::{Admitted, Amr},
    storage::StorageError,
};

/// An ID token to be issued.
pub(crate) struct IdToken<'i> {
    pub(crate) admitted: &'i Admitted,
    pub(crate) client_id: &'i str,
    pub(crate) sid: Option<&'i str>,
    pub(crate) nonce: Option<&'i str>,
    /// The access token it comes with, for `at_hash`.
    pub(crate) access_token: &'i str,
    pub(crate) claims: &'i RequestedClaims,
}

/// Signs it. `None` for a machine, which nobody signed in.
pub(crate) async fn sign(
    control: &ControlPlane,
    at: &At,
    token: &IdToken<'_>,
) -> Result<Option<String>, IdTokenError> {
    let admitted = token.admitted;
    let Some((user, proof)) = admitted.user() else { return Ok(None) };
    at.may_speak_for(admitted)?;
    let keys = at.keys(control)?;
    let (now, lifetime) = (control.now(), control.policy().token_lifetime());
    let db = control.inner.db.reader();
    let claims = IdTokenClaims {
        iss: at.issuer(),
        sub: user.id.as_str(),
        aud: token.client_id,
        iat: now.0,
        exp: (now + lifetime).0,
        auth_time: proof.auth_time.0,
        nonce: token.nonce,
        acr: proof.acr(),
        amr: proof.amr(),
        at_hash: half_hash(keys.algorithm(), token.access_token),
        sid: token.sid,
        tid: admitted.tenant(),
        user: user_claims::about(db, user, &token.claims.id_token).await?,
    };
    Ok(Some(keys.sign_jws(TYP, &claims)?))
}

/// OIDC Core 2, 3.1.3.6; `sid` as in OIDC Back-Channel Logout 2.1; and of ours the one tenant.
#[derive(Serialize)]
struct IdTokenClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    iat: u64,
    exp: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'c str>,
    acr: &'static str,
    amr: Vec<Amr>,
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'c str>,
    tid: &'c TenantId,
    #[serde(flatten)]
    user: user_claims::UserClaims<'c>,
}

/// OIDC Core 3.1.3.6: the left half of a hash by the algorithm's own hash function. Ed25519's is
/// SHA-512, all others' SHA-256.
fn half_hash(algorithm: Algorithm, token: &str) -> String {
    let function = match algorithm {
        Algorithm::EdDsa => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let hash = digest::digest(function, token.as_bytes());
    let hash = hash.as_ref();
    Base64UrlUnpadded::encode_string(hash.get(..hash.len() / 2).unwrap_or_default())
}

/// Whom an ID token that we issued once was about.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hint {
    #[serde(rename = "sub")]
    pub(crate) user: UserId,
    #[serde(rename = "tid")]
    pub(crate) tenant: TenantId,
    /// The application it was for.
    #[serde(rename = "aud")]
    pub(crate) client: String,
}

/// Verifies an ID token that is brought back (`id_token_hint`, OIDC Core 3.1.2.1, OIDC RP-Initiated
/// Logout 2): by our keys, of this issuer, for `client` where the request names one. It may have
/// expired: it is no credential, and says who was signed in, not who is.
pub(crate) fn verify_hint(
    control: &ControlPlane,
    at: &At,
    hint: &str,
    client: Option<&str>,
) -> Result<Hint, HintError> {
    // Which time to judge it by, and for whom it says it is. Neither is believed before the
    // signature is right, and then both are what we once wrote.
    let claimed = Claimed::read(hint).ok_or(HintError::Malformed)?;
    let issued = partywall::Timestamp(claimed.iat);
    if issued > control.now() {
        return Err(HintError::Malformed);
    }
    let keys = at.keys(control)?;
    let keys = KeySet::parse(keys.jwks())?;
    let rules = ArtefactRules {
        typ: TYP,
        issuer: at.issuer(),
        audience: client.unwrap_or(&claimed.aud),
        max_lifetime: MAX_LIFETIME,
    };
    Ok(verify_artefact(hint, &keys, &rules, issued)?)
}

/// What a hint says of itself, unverified.
#[derive(Deserialize)]
struct Claimed {
    iat: u64,
    aud: String,
}

impl Claimed {
    fn read(hint: &str) -> Option<Self> {
        if hint.len() > MAX_HINT {
            return None;
        }
        let payload = Base64UrlUnpadded::decode_vec(hint.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&payload).ok()
    }
}

/// RFC 7519 5.1: what every OpenID Connect client expects. An access token's is `at+jwt`.
pub(crate) const TYP: &str = "JWT";
const MAX_HINT: usize = 8 * 1024;
/// As long as an access token's may be at the most.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no ID token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdTokenError {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why an `id_token_hint` is none of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HintError {
    #[error("id_token_hint does not read as an ID token")]
    Malformed,
    #[error("id_token_hint is not an ID token of this issuer")]
    NotOurs(#[from] TokenError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the own key set cannot be read")]
    KeySet(#[from] KeySetError),
}

impl HintError {
    /// `None` where the fault is ours.
    pub(crate) fn answer(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Malformed | Self::NotOurs(_) => Some((
                "invalid_request",
                "id_token_hint is not an ID token that this issuer made for this client",
            )),
            Self::Key(_) | Self::KeySet(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o09_at_hash_is_the_left_half_of_the_algorithms_own_hash() {
        // OpenID Connect Core A.3: the access token of its example and the hash.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(half_hash(Algorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(half_hash(Algorithm::Es256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(half_hash(Algorithm::EdDsa, token).len(), 43);
    }
}
