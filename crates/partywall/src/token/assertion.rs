//! Assertions by which clients authenticate (RFC 7523 3): the same checks as for every token
//! (CVE-2026-11800), under the client's own keys.

use std::time::Duration;

use super::{KeySet, TokenError, claims::Claims, error::excerpt, jws::CompactJws};
use crate::Timestamp;

/// What a client's assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct AssertionRules<'a> {
    /// The client, as in `iss` and `sub`.
    pub client: &'a str,
    /// Who we are: `aud` must be exactly one of these, as a string.
    pub audiences: &'a [&'a str],
    /// How long before its end an assertion may be made.
    pub max_lifetime: Duration,
}

/// What a good assertion leaves to be looked up: whether its id was seen before.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Asserted {
    /// Its id, up to 255 bytes.
    pub id: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// How far the client's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);

/// Checks a client's assertion. That its id was not used before is the caller's to look up.
///
/// # Errors
///
/// The check that refuses it.
pub fn verify_assertion(
    assertion: &str,
    keys: &KeySet,
    rules: &AssertionRules<'_>,
    now: Timestamp,
) -> Result<Asserted, TokenError> {
    let jws = CompactJws::parse(assertion)?;
    let header = jws.header()?;
    // Clients have sent `JWT` or nothing for a decade; no kind of ours is called either.
    if header.typ.is_some() && !header.is_typ(&["JWT", "client-authentication+jwt"]) {
        let typ = header.typ.as_deref().map(excerpt);
        return Err(TokenError::TypeNotAccepted { typ });
    }
    let (_, verifier) = keys.choose(&header, rules.client)?;
    verifier
        .verify_sig(jws.signing_input(), jws.signature())
        .map_err(|_| TokenError::SignatureInvalid)?;

    let payload = jws.unverified_payload()?;
    let claims = Claims(&payload);
    for name in ["iss", "sub"] {
        if claims.required_text(name)? != rules.client {
            return Err(TokenError::invalid(name, "it is not the client"));
        }
    }
    // One string: an assertion that is good at two places can be carried from one to the other.
    let audience = claims.required_text("aud")?;
    if !rules.audiences.contains(&audience) {
        return Err(TokenError::AudienceMismatch { found: excerpt(audience) });
    }
    let expires_at = claims.short_life(LEEWAY, rules.max_lifetime, now)?;
    let id = claims.required_text("jti")?;
    if id.len() > 255 {
        return Err(TokenError::invalid("jti", "it is too long"));
    }
    Ok(Asserted { id: id.to_owned(), expires_at })
}
