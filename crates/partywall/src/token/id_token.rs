//! ID tokens of identity providers whose client we are (OIDC Core 3.1.3.7): the same checks as for
//! every token (CVE-2026-11800), under the provider's keys.

use std::time::Duration;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, SHA512, digest},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::{Algorithm, KeySet, TokenError, claims::Claims, error::excerpt, jws::CompactJws};
use crate::Timestamp;

/// What an ID token must say.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenRules<'a> {
    /// The one issuer, byte by byte.
    pub issuer: &'a str,
    /// Who we are to it.
    pub client: &'a str,
    /// The algorithms it may sign with.
    pub algorithms: &'a [Algorithm],
    /// What we sent with the request.
    pub nonce: &'a str,
    /// Claims that must have exactly this value, for instance `tid`: they tell the tenants of one
    /// issuer apart, and its ID tokens from its other tokens.
    pub fixed: &'a [(&'a str, &'a str)],
    /// Since when the person must have shown who they are, where we asked for it: `max_age` before
    /// the request.
    pub shown_since: Option<Timestamp>,
    /// The access token that came with it: where there is an `at_hash`, it is of this one.
    pub access_token: Option<&'a str>,
}

/// What a good ID token says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IdToken {
    /// Who it is about: unique within the issuer, up to 255 bytes.
    pub subject: String,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When the person showed who they are, where it says so.
    pub auth_time: Option<Timestamp>,
    /// All its claims. None occurs twice at any depth.
    pub claims: Map<String, Value>,
}

/// How far the provider's clock may be off.
const LEEWAY: Duration = Duration::from_secs(60);
/// How old a token may be that has just come from the token endpoint. Some are made when the person
/// signs in, and wait as long as the code.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Nothing depends on how long one lives: it is read once, when it is new.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// OIDC Core 2.
const MAX_SUBJECT: usize = 255;

/// Checks an ID token that came from the provider's token endpoint.
///
/// # Errors
///
/// The check that refuses it.
pub fn verify_id_token(
    token: &str,
    keys: &KeySet,
    rules: &IdTokenRules<'_>,
    now: Timestamp,
) -> Result<IdToken, TokenError> {
    let jws = CompactJws::parse(token)?;
    let header = jws.header()?;
    // Providers have sent `JWT` or nothing since before there were types. An access token and a
    // logout token say what they are (RFC 9068 2.1, OIDC Back-Channel Logout 2.4).
    if header.typ.is_some() && !header.is_typ(&["JWT"]) {
        let typ = header.typ.as_deref().map(excerpt);
        return Err(TokenError::TypeNotAccepted { typ });
    }
    // Steps 7 and 8: what is registered for the connection, never what the header would like.
    if !rules.algorithms.contains(&header.alg) {
        return Err(TokenError::AlgorithmNotAllowed { alg: header.alg.name().to_owned() });
    }
    let payload = jws.unverified_payload()?;
    let claims = Claims(&payload);
    // Step 2. First, so that a token of somebody else is not looked up among these keys.
    let issuer = claims.required_text("iss")?;
    if issuer != rules.issuer {
        return Err(TokenError::IssuerUntrusted { issuer: excerpt(issuer) });
    }
    // Step 6.
    let (_, verifier) = keys.choose(&header, rules.issuer)?;
    verifier
        .verify_sig(jws.signing_input(), jws.signature())
        .map_err(|_| TokenError::SignatureInvalid)?;

    check_audience(&claims, rules.client)?;
    // Steps 9 and 10.
    let times = claims.times(LEEWAY, MAX_LIFETIME, now)?;
    if times.issued_at + MAX_AGE + LEEWAY < now {
        return Err(TokenError::invalid("iat", "it was made too long ago for a new one"));
    }
    // Step 11.
    let nonce = claims.required_text("nonce")?;
    if verify_slices_are_equal(nonce.as_bytes(), rules.nonce.as_bytes()).is_err() {
        return Err(TokenError::invalid("nonce", "it is not the one of this sign-in"));
    }
    if payload.get("events").is_some() {
        return Err(TokenError::invalid("events", "it belongs to another kind of token"));
    }
    for (name, value) in rules.fixed {
        check_fixed(&claims, name, value)?;
    }
    if let Some(access_token) = rules.access_token {
        check_access_token(&claims, header.alg, access_token)?;
    }
    let auth_time = claims.auth_time()?;
    check_auth_time(auth_time, rules.shown_since, now)?;
    let subject = claims.required_text("sub")?;
    if subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
        return Err(TokenError::invalid("sub", "expected 1 to 255 visible characters"));
    }
    let subject = subject.to_owned();
    let claims = serde_json::from_slice(jws.payload_bytes())
        .map_err(|_| TokenError::invalid("payload", "it is not an object"))?;
    Ok(IdToken { subject, expires_at: times.expires_at, auth_time, claims })
}

/// Steps 3 to 5. Nobody but us is a trusted audience: a token for several is only taken where it
/// says that it was made for us.
fn check_audience(claims: &Claims<'_>, client: &str) -> Result<(), TokenError> {
    let audience = claims.audience("aud", &[client.to_owned()])?;
    match claims.text("azp")? {
        Some(party) if party != client => {
            Err(TokenError::invalid("azp", "it was made for another client"))
        }
        None if audience.len() > 1 => Err(TokenError::missing("azp")),
        _ => Ok(()),
    }
}

fn check_fixed(claims: &Claims<'_>, name: &str, value: &str) -> Result<(), TokenError> {
    use super::json::Json;

    let name = || std::borrow::Cow::Owned(name.to_owned());
    match claims.0.get(&name()) {
        None => Err(TokenError::missing(name())),
        Some(Json::String(found)) if found == value => Ok(()),
        Some(Json::String(_)) => {
            Err(TokenError::invalid(name(), "it is not what this connection requires"))
        }
        Some(_) => Err(TokenError::wrong_type(name(), "a string")),
    }
}

/// Step "Access Token Validation" (OIDC Core 3.1.3.8): the left half of the hash that goes with the
/// signature, which for Ed25519 is SHA-512.
fn check_access_token(
    claims: &Claims<'_>,
    algorithm: Algorithm,
    access_token: &str,
) -> Result<(), TokenError> {
    let Some(at_hash) = claims.text("at_hash")? else { return Ok(()) };
    let hash = match algorithm {
        Algorithm::EdDsa => digest(&SHA512, access_token.as_bytes()),
        Algorithm::Es256 | Algorithm::Ps256 | Algorithm::Rs256 => {
            digest(&SHA256, access_token.as_bytes())
        }
    };
    let half = hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default();
    if at_hash != Base64UrlUnpadded::encode_string(half) {
        return Err(TokenError::invalid("at_hash", "it is of another access token"));
    }
    Ok(())
}

/// Step 13.
fn check_auth_time(
    auth_time: Option<Timestamp>,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), TokenError> {
    if auth_time.is_some_and(|shown| shown > now + LEEWAY) {
        return Err(TokenError::invalid("auth_time", "it is in the future"));
    }
    let Some(since) = since else { return Ok(()) };
    let shown = auth_time.ok_or_else(|| TokenError::missing("auth_time"))?;
    if shown + LEEWAY < since {
        return Err(TokenError::invalid("auth_time", "it is longer ago than was asked for"));
    }
    Ok(())
}
