//! Proofs of possession (RFC 9449, DPoP): that whoever sends a token also holds the key it is bound
//! to. The issuer asks for one before it binds, and enforcement points whenever the token comes.

use std::{sync::Arc, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{
    SkipReason, TokenError,
    claims::Claims,
    error::excerpt,
    jws::{CompactJws, KeyPlace},
};
use crate::Timestamp;

/// A proof as it came off the wire, in the header `DPoP`. It can only be verified.
#[derive(Clone, Copy)]
pub struct DpopProof<'a>(&'a str);

/// The request a proof must be for.
#[derive(Clone, Copy)]
pub struct ProvenRequest<'a> {
    /// Its method, as sent.
    pub method: &'a str,
    /// Its address as the client knows it: `https://host/path`. Query and fragment do not count.
    pub uri: &'a str,
    /// The access token it carries, if it carries one.
    pub access_token: Option<&'a str>,
}

/// What a proof proved.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Proven {
    /// The key, by its thumbprint (RFC 7638, SHA-256, base64url), as in `cnf.jkt`.
    pub key_thumbprint: String,
    /// The proof's own id: whoever sees it twice while it lasts sees a replay.
    pub proof_id: String,
    /// When it was made.
    pub issued_at: Timestamp,
}

impl Proven {
    /// What a proof is remembered by: its key and its id, each with its length (B-25).
    pub fn digest(&self) -> [u8; 32] {
        use aws_lc_rs::digest::{Context, SHA256};

        let mut hash = Context::new(&SHA256);
        for part in [&self.key_thumbprint, &self.proof_id] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finish().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl<'a> DpopProof<'a> {
    /// For how long a proof is good, either way: how old one may be on arrival, and how far ahead
    /// its maker's clock. Whoever remembers proofs remembers them for twice this.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// Takes the value of the one `DPoP` header.
    pub fn new(proof: &'a str) -> Self {
        Self(proof)
    }

    /// Checks a proof against the request it came with (RFC 9449 4.3). That it was not seen before
    /// is the caller's to look up.
    ///
    /// # Errors
    ///
    /// The check that does not hold.
    pub fn verify(self, request: ProvenRequest<'_>, now: Timestamp) -> Result<Proven, ProofError> {
        let jws = CompactJws::parse(self.0)?;
        // RFC 9449 4.3, steps 4 to 7: typ, an asymmetric algorithm, a public key of its own.
        let (header, key) = jws.header_with_key()?;
        if !header.is_typ(&["dpop+jwt"]) {
            let typ = header.typ.as_deref().map(excerpt);
            return Err(TokenError::TypeNotAccepted { typ }.into());
        }
        let verifier = key.verifiers.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, verifier) = verifier.ok_or(ProofError::Key(SkipReason::UnknownAlgorithm))?;
        verifier
            .verify_sig(jws.signing_input(), jws.signature())
            .map_err(|_| TokenError::SignatureInvalid)?;

        let payload = jws.unverified_payload()?;
        let claims = Claims(&payload);
        let proof_id = claims.required_text("jti")?;
        if proof_id.len() > MAX_PROOF_ID {
            return Err(TokenError::invalid("jti", "it is too long").into());
        }
        // Steps 8 and 9.
        if claims.required_text("htm")? != request.method {
            return Err(ProofError::Method);
        }
        let same = same_address(claims.required_text("htu")?, request.uri);
        if same != Some(true) {
            return Err(ProofError::Address);
        }
        // Step 11.
        let issued_at = claims.issued_at()?;
        if issued_at + Self::WINDOW < now || now + Self::WINDOW < issued_at {
            return Err(ProofError::Age { issued_at, now });
        }
        // Step 12.
        if let Some(token) = request.access_token {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            if claims.required_text("ath")? != Base64UrlUnpadded::encode_string(hash.as_ref()) {
                return Err(ProofError::OtherToken);
            }
        }
        Ok(Proven {
            key_thumbprint: Base64UrlUnpadded::encode_string(&key.thumbprint),
            proof_id: proof_id.to_owned(),
            issued_at,
        })
    }
}

/// The longest `jti` of a proof, in bytes.
const MAX_PROOF_ID: usize = 255;

impl CompactJws<'_> {
    fn header_with_key(
        &self,
    ) -> Result<(super::jws::Header<'_>, super::jwk::PublicKey), ProofError> {
        let (header, jwk) = self.header_and(KeyPlace::Header)?;
        let jwk = jwk.ok_or(TokenError::BadHeader { name: "jwk" })?;
        let key = super::jwk::PublicKey::read(&jwk).map_err(ProofError::Key)?;
        Ok((header, key))
    }
}

/// Whether two addresses are one, query and fragment aside (RFC 3986 6.2.2, 6.2.3): scheme and host
/// in any case, the scheme's own port said or not, no path or `/`, and escapes in any case. `None`
/// where one of them is no address.
fn same_address(a: &str, b: &str) -> Option<bool> {
    Some(normalised(a)? == normalised(b)?)
}

fn normalised(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, "/"),
    };
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    Some(format!("{scheme}://{authority}{}", unescaped(path)?))
}

/// A path with what need not be escaped in clear, and all other escapes in capitals.
fn unescaped(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at_checked(at)?;
        out.push_str(plain);
        let digits = escape.get(1..3).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = escape.get(3..)?;
    }
    out.push_str(rest);
    Some(out)
}

/// Why a proof was turned away.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is not a signed token of its kind.
    #[error("the DPoP proof: {0}")]
    Token(#[from] TokenError),
    /// Its key is none: private, too short, of a kind we do not know.
    #[error("the DPoP proof's key: {0}")]
    Key(SkipReason),
    /// It is for another method.
    #[error("the DPoP proof's `htm` is not this request's method")]
    Method,
    /// It is for another address.
    #[error("the DPoP proof's `htu` is not this request's address: is the public address right?")]
    Address,
    /// It was made too long ago, or is yet to be made.
    #[error("the DPoP proof was made at {}, too far from now ({})", issued_at.0, now.0)]
    Age {
        /// When it says it was made, in seconds since 1970-01-01 UTC.
        issued_at: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// It is for another access token (`ath`).
    #[error("the DPoP proof is for another access token")]
    OtherToken,
    /// It was made with another key than the token is bound to.
    #[error("the DPoP proof was made with another key than the token is bound to")]
    OtherKey,
    /// It came before.
    #[error("the DPoP proof was used before")]
    Replayed,
}

impl ProofError {
    /// A word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Key(_) => "proof_key",
            Self::Method => "proof_method",
            Self::Address => "proof_address",
            Self::Age { .. } => "proof_age",
            Self::OtherToken => "proof_of_other_token",
            Self::OtherKey => "proof_of_other_key",
            Self::Replayed => "proof_replayed",
        }
    }
}

/// What an access token is bound to (RFC 7800 3.1, RFC 9449 6.1): the thumbprint of a key.
///
/// A binding that cannot be checked here, or one beside it, is no binding to be ignored.
pub(super) fn bound_to(claims: &Claims<'_>) -> Result<Option<Arc<str>>, TokenError> {
    use super::json::Json;

    let Some(cnf) = claims.0.get("cnf") else { return Ok(None) };
    let unknown = || TokenError::invalid("cnf", "only one `jkt` can be checked here");
    let cnf = cnf.as_object().ok_or_else(unknown)?;
    match (cnf.names().count(), cnf.get("jkt")) {
        (1, Some(Json::String(jkt))) if jkt.len() == 43 => Ok(Some(jkt.as_ref().into())),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j19_an_address_has_many_spellings_and_no_other_has_one_of_them() {
        let same = |a, b| same_address(a, b) == Some(true);
        for spelled in [
            "https://api.test/v1/x",
            "HTTPS://API.test:443/v1/x",
            "https://api.test/v1/x?q=1",
            "https://api.test/v1/x#f",
            "https://api.test/v1/%78",
        ] {
            assert!(same(spelled, "https://api.test/v1/x"), "{spelled}");
        }
        assert!(same("https://api.test", "https://api.test/"));
        assert!(same("https://api.test/%c3%a4", "https://api.test/%C3%A4"));
        for other in [
            "http://api.test/v1/x",
            "https://api.test:8443/v1/x",
            "https://api.test/v1/X",
            "https://api.test/v1/x/",
            "https://api.test/v1%2Fx",
            "https://api.test.evil/v1/x",
            "https://user@api.test/v1/x",
            "api.test/v1/x",
            "https:///v1/x",
            "https://api.test/v1/%7",
            "",
        ] {
            assert!(!same(other, "https://api.test/v1/x"), "{other}");
        }
    }
}
