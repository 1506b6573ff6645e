//! The verifier of access tokens, and of every other artefact we sign.
//!
//! Verifying an [`AccessToken`] asks, in this order, and stops at the first no:
//!
//! 1. Is it of a size and shape we read at all? (At most 16 KiB, three parts, canonical base64url.
//!    Five parts would be an encrypted token and are refused unread.)
//! 2. Is the header strict JSON, without a demand we do not understand and without a key of its
//!    own?
//! 3. Is the payload strict JSON? Of it, only `iss` is looked at: it selects the issuer, byte by
//!    byte. Nothing else is believed before step 6.
//! 4. Is `typ` one of that issuer's access tokens?
//! 5. Has *that issuer* a key of this `kid`, for this very `alg`? Key and algorithm come from the
//!    configuration; the header can only agree.
//! 6. Is the signature that key's?
//! 7. Is every claim there, of its type, and right: audience, times, exactly one tenant, a person
//!    or a machine?
//!
//! What an issuer's tokens look like is data ([`Profile`], [`IssuerConfig`]); the order is not.
//!
//! A signing key is only ever made with the feature `sign`, which an enforcement point does not
//! need.

use aws_lc_rs::digest::{SHA256, digest};

use crate::Timestamp;
use claims::Claims;
pub(crate) use claims::VerifiedClaims;
pub(crate) use issuer::KeyFingerprint;
use jws::CompactJws;

pub use algorithm::Algorithm;
pub use artefact::{ArtefactRules, verify_artefact};
pub use assertion::{Asserted, AssertionRules, verify_assertion};
pub use claims::TokenFacts;
pub use error::TokenError;
pub use id_token::{IdToken, IdTokenRules, verify_id_token};
pub use issuer::{
    ClaimPath, ClaimRule, IssuerConfig, IssuerError, IssuerFault, KeySource, TrustedIssuers,
};
pub use json::JsonFault;
pub use jwk::{KeySet, KeySetError, SkipReason, SkippedKey};
pub use profile::Profile;
pub use proof::{DpopProof, ProofError, Proven, ProvenRequest};
#[cfg(feature = "http")]
pub use refresh::{KeyRefresher, RefreshError};
#[cfg(feature = "sign")]
pub use sign::{SignError, SigningKey};

mod algorithm;
mod artefact;
mod assertion;
mod claims;
mod error;
mod id_token;
mod issuer;
mod json;
mod jwk;
mod jws;
mod profile;
mod proof;
#[cfg(feature = "http")]
mod refresh;
#[cfg(feature = "sign")]
mod sign;
#[cfg(test)]
mod vectors;

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;

/// A bearer token as it came off the wire. Nothing can be read from it: it can only be verified.
///
/// ```compile_fail,E0277
/// # let token = partywall::AccessToken::new("a.b.c");
/// println!("{token:?}"); // a token in a log is a token in other hands
/// ```
pub struct AccessToken<'a> {
    text: &'a str,
    proof: Option<Possession<'a>>,
}

/// What shows that a token's sender holds the key it is bound to.
#[derive(Clone, Copy)]
struct Possession<'a> {
    proof: DpopProof<'a>,
    method: &'a str,
    uri: &'a str,
}

impl<'a> AccessToken<'a> {
    /// Takes a bearer token. One that is bound to a key is refused without a
    /// [proof](Self::with_proof).
    pub fn new(token: &'a str) -> Self {
        Self { text: token, proof: None }
    }

    /// The token with the proof that its sender holds its key (RFC 9449 7.1), which must be for
    /// this method and this address (`https://host/path`, as the client knows it). A token that is
    /// bound to no key is refused with one.
    #[must_use]
    pub fn with_proof(self, proof: DpopProof<'a>, method: &'a str, uri: &'a str) -> Self {
        Self { proof: Some(Possession { proof, method, uri }), ..self }
    }

    /// Takes the token out of the value of an `Authorization` header (RFC 6750 2.1): the scheme
    /// `Bearer` in any case (RFC 9110 11.1), spaces, and exactly one credential.
    ///
    /// # Errors
    ///
    /// [`TokenError::Missing`] when the header is of another scheme, [`TokenError::Malformed`] when
    /// it is not, and [`TokenError::TooLarge`] before anything is done with a token of that size.
    pub fn from_header(value: &'a [u8]) -> Result<Self, TokenError> {
        Self::of_scheme(b"bearer", value)
    }

    /// The same of the scheme `DPoP` (RFC 9449 7.1). The token wants a
    /// [proof](Self::with_proof).
    ///
    /// # Errors
    ///
    /// As [`from_header`](Self::from_header).
    pub fn from_dpop_header(value: &'a [u8]) -> Result<Self, TokenError> {
        Self::of_scheme(b"dpop", value)
    }

    fn of_scheme(name: &[u8], value: &'a [u8]) -> Result<Self, TokenError> {
        let rest = match value.split_at_checked(name.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(name) => rest,
            _ => return Err(TokenError::Missing),
        };
        let malformed = |what| Err(TokenError::Malformed { what });
        let token = match rest {
            [] => return malformed("nothing follows the scheme"),
            [b' ', ..] => rest.trim_ascii_start(),
            // `Bearerish` is another scheme; anything else after the name is no separator.
            [next, ..] if next.is_ascii_alphanumeric() => return Err(TokenError::Missing),
            _ => return malformed("one space must follow the scheme"),
        };
        if token.is_empty() {
            return malformed("nothing follows the scheme");
        }
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::TooLarge { bytes: token.len() });
        }
        // RFC 9110 11.2, token68.
        let unpadded = token.len() - token.iter().rev().take_while(|byte| **byte == b'=').count();
        let is_token68 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        if !token.iter().take(unpadded).all(is_token68) {
            return malformed("expected one token of letters, digits and -._~+/");
        }
        match std::str::from_utf8(token) {
            Ok(token) => Ok(Self::new(token)),
            Err(_) => malformed("expected ASCII"),
        }
    }

    /// Refuses what is longer than any token that is read, before it is worth a hash (J-14).
    pub(crate) fn check_length(&self) -> Result<(), TokenError> {
        let bytes = self.text.len();
        if bytes > MAX_TOKEN_LEN { Err(TokenError::TooLarge { bytes }) } else { Ok(()) }
    }

    /// SHA-256 of the whole token, signature included: what a cache may know it by.
    pub(crate) fn digest(&self) -> [u8; 32] {
        digest(&SHA256, self.text.as_bytes()).as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// What the token proves, if all of the module's checks hold at `now`.
    ///
    /// # Errors
    ///
    /// The check that does not.
    pub(crate) fn verify(
        &self,
        issuers: &TrustedIssuers,
        now: Timestamp,
    ) -> Result<VerifiedClaims, TokenError> {
        verify(self.text, issuers, now)
    }

    /// Whether its sender holds the key the token is bound to, where it is bound to one: then what
    /// the proof proved, which must not have been seen before.
    pub(crate) fn check_possession(
        &self,
        bound_to: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Proven>, TokenError> {
        let Possession { proof, method, uri } = match (self.proof, bound_to) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(TokenError::ProofRequired),
            (Some(_), None) => return Err(TokenError::NotBound),
            (Some(possession), Some(_)) => possession,
        };
        let request = ProvenRequest { method, uri, access_token: Some(self.text) };
        let rejected = |error| TokenError::ProofRejected(Box::new(error));
        let proven = proof.verify(request, now).map_err(rejected)?;
        if Some(proven.key_thumbprint.as_str()) != bound_to {
            return Err(rejected(ProofError::OtherKey));
        }
        Ok(Some(proven))
    }
}

fn verify(
    token: &str,
    issuers: &TrustedIssuers,
    now: Timestamp,
) -> Result<VerifiedClaims, TokenError> {
    let jws = CompactJws::parse(token)?;
    let header = jws.header()?;
    let payload = jws.unverified_payload()?;
    let issuer = issuers.get(Claims(&payload).required_text("iss")?)?;
    let traits = issuer.rules.traits;
    let no_typ_will_do = traits.typ_optional && header.typ.is_none();
    if !no_typ_will_do && !header.is_typ(traits.typ) {
        let typ = header.typ.as_deref().map(error::excerpt);
        return Err(TokenError::TypeNotAccepted { typ });
    }
    let key = issuer.key(&header)?;
    key.verifier
        .verify_sig(jws.signing_input(), jws.signature())
        .map_err(|_| TokenError::SignatureInvalid)?;
    VerifiedClaims::read(&payload, &issuer.rules, key, now)
}
