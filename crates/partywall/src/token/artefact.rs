//! Everything we sign that is not an access token: envelopes, invitations, resets, logout tokens,
//! state. Each kind has its own `typ` and goes through the same checks (J-10, I-08).

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{KeySet, TokenError, claims::Claims, error::excerpt, jws::CompactJws};
use crate::{TenantId, Timestamp};

/// What a consumer of one kind of artefact accepts. All of it is required.
#[derive(Clone, Copy, Debug)]
pub struct ArtefactRules<'a> {
    /// The kind: the header's `typ`, for instance `partywall-job+jwt`. Kinds exclude one another,
    /// and an access token's `at+jwt` is none of them.
    pub typ: &'a str,
    /// The one issuer, byte by byte.
    pub issuer: &'a str,
    /// The one audience.
    pub audience: &'a str,
    /// The longest life an artefact of this kind may have.
    pub max_lifetime: Duration,
}

/// How far the issuer's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);

/// Verifies an artefact of ours as strictly as an access token, and only then reads its claims.
///
/// Always required: `iss`, `aud`, `exp`, `iat`, and the tenant in `tid`.
///
/// # Errors
///
/// The check that refuses it.
pub fn verify_artefact<T: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    rules: &ArtefactRules<'_>,
    now: Timestamp,
) -> Result<T, TokenError> {
    let jws = CompactJws::parse(token)?;
    let header = jws.header()?;
    if is_access_token_type(rules.typ) || !header.is_typ(&[rules.typ]) {
        let typ = header.typ.as_deref().map(excerpt);
        return Err(TokenError::TypeNotAccepted { typ });
    }
    let payload = jws.unverified_payload()?;
    let claims = Claims(&payload);
    let issuer = claims.required_text("iss")?;
    if issuer != rules.issuer {
        return Err(TokenError::IssuerUntrusted { issuer: excerpt(issuer) });
    }
    let key_id_missing = || TokenError::KeyIdMissing { issuer: rules.issuer.into() };
    let kid = header.kid.as_deref().ok_or_else(key_id_missing)?;
    let unknown = || TokenError::KeyUnknown { issuer: rules.issuer.into(), kid: kid.to_owned() };
    let named = keys.keys().iter().find(|key| key.kid.as_deref() == Some(kid));
    let key = named.ok_or_else(unknown)?;
    // Our own keys always say what they are for; one that does not is not ours.
    let [(pinned, verifier)] = key.verifiers.as_slice() else { return Err(unknown()) };
    if *pinned != header.alg {
        let (alg, pinned) = (header.alg, *pinned);
        return Err(TokenError::AlgorithmMismatch { alg, pinned, kid: key.kid.clone() });
    }
    verifier
        .verify_sig(jws.signing_input(), jws.signature())
        .map_err(|_| TokenError::SignatureInvalid)?;

    claims.audience("aud", &[rules.audience.to_owned()])?;
    claims.times(LEEWAY, rules.max_lifetime, now)?;
    let tenant = claims.required_text("tid")?;
    tenant
        .parse::<TenantId>()
        .map_err(|_| TokenError::TenantInvalid { tenant: excerpt(tenant) })?;
    serde_json::from_slice(jws.payload_bytes())
        .map_err(|_| TokenError::invalid("payload", "it lacks what its kind must have"))
}

/// Whether `typ` is an access token's, in any spelling.
pub(super) fn is_access_token_type(typ: &str) -> bool {
    let bare = typ.rsplit('/').next().unwrap_or(typ);
    bare.eq_ignore_ascii_case("at+jwt")
}
