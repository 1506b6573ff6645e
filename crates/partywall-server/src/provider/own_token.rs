//! Access tokens of ours that are brought back to us: to UserInfo, to be exchanged, to be looked
//! into. Judged here as strictly as at an enforcement point, with what we know now in place of a
//! bundle.

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{
    TenantId,
    token::{
        IssuerConfig, IssuerError, KeySource, Profile, TokenError, TokenFacts, TrustedIssuers,
    },
};

use super::at::At;
use crate::{
    control::ControlPlane,
    keys::KeyError,
    storage::{StorageError, revocations, sign_in_policies},
};

/// What `token` proves, if this issuer made it, it has not expired and it was not revoked: whatever
/// resource it is for. Whether its tenant and its principal are still admitted is for the gate to
/// say, and whether its sender holds the key it is [bound to](TokenFacts::bound_to) for the caller.
pub(crate) async fn verify(
    control: &ControlPlane,
    at: &At,
    token: &str,
) -> Result<TokenFacts, OwnTokenError> {
    let facts = issuers(control, at)?.examine(token, control.now())?;
    // B-02: of a tenant that has one, its own issuer speaks alone, whatever was signed before or by
    // whom.
    if at.tenant().is_none()
        && sign_in_policies::of(control.inner.db.reader(), &facts.tenant).await?.own_issuer
    {
        return Err(OwnTokenError::OtherIssuer);
    }
    if is_revoked(control, at, &facts).await? {
        return Err(OwnTokenError::Revoked);
    }
    Ok(facts)
}

/// The tenant a token names, to know whom to ask about it. Nothing else of it is read.
pub(crate) fn unverified_tenant(token: &str) -> Option<TenantId> {
    #[derive(serde::Deserialize)]
    struct Named {
        tid: TenantId,
    }
    let payload = token.split('.').nth(1)?;
    let payload = Base64UrlUnpadded::decode_vec(payload).ok()?;
    serde_json::from_slice::<Named>(&payload).ok().map(|named| named.tid)
}

/// This issuer alone, and every resource there is.
fn issuers(control: &ControlPlane, at: &At) -> Result<TrustedIssuers, OwnTokenError> {
    let keys = at.keys(control)?;
    let jwks = serde_json::from_slice(keys.jwks()).map_err(|_| KeyError::NoActiveKey)?;
    let mut own = IssuerConfig::new(at.issuer(), Profile::Partywall, KeySource::Inline(jwks));
    own.audience = control.inner.config.resources.names();
    own.tenants = at.tenant().cloned().map(|tenant| [tenant].into());
    Ok(TrustedIssuers::compile(&[own], &[])?)
}

async fn is_revoked(
    control: &ControlPlane,
    at: &At,
    facts: &TokenFacts,
) -> Result<bool, StorageError> {
    let named = revocations::PresentedToken {
        issuer: at.issuer(),
        tenant: facts.tenant.as_str(),
        jti: facts.jti.as_deref().unwrap_or_default(),
        subject: facts.subject.as_str(),
        actor: facts.actor.as_ref().map(|actor| actor.as_str()),
        issued_at: facts.issued_at,
    };
    revocations::refuses(control.inner.db.reader(), &named).await
}

/// Why a token is not, or no longer, one of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnTokenError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token's tenant has an issuer of its own")]
    OtherIssuer,
    #[error("the token was revoked")]
    Revoked,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the own issuer cannot be compiled")]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl OwnTokenError {
    /// Whether the fault is the token's, and not ours.
    pub(crate) fn is_the_tokens(&self) -> bool {
        match self {
            Self::Token(_) | Self::OtherIssuer | Self::Revoked => true,
            Self::Key(_) | Self::Issuer(_) | Self::Storage(_) => false,
        }
    }
}
