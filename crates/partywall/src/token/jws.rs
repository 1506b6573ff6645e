//! The compact serialisation of a signed token (RFC 7515 7.1): its shape and its header, before
//! any key is known.

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{
    Algorithm, MAX_TOKEN_LEN, TokenError,
    error::excerpt,
    json::{Json, JsonFault, Object},
};

/// The longest header, in bytes. Ours has about 80.
const MAX_HEADER_LEN: usize = 4096;
/// The longest `kid` ever looked up, in bytes.
const MAX_KID_LEN: usize = 255;

/// A token taken apart. Nothing in it is believed yet.
pub(super) struct CompactJws<'t> {
    signing_input: &'t [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> CompactJws<'t> {
    /// Checks size and shape, in that order, before anything is allocated.
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::TooLarge { bytes: token.len() });
        }
        let mut dots =
            token.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        let (first, second) = match [dots.next(), dots.next(), dots.next(), dots.next()] {
            [Some(first), Some(second), None, None] => (first, second),
            [Some(_), Some(_), Some(_), Some(_)] if dots.next().is_none() => {
                return Err(TokenError::Encrypted);
            }
            _ => return Err(TokenError::NotCompact),
        };
        let part = |from: usize, to: usize| token.get(from..to).unwrap_or_default();
        let signing_input = part(0, second).as_bytes();
        let header = decode("header", part(0, first))?;
        if header.len() > MAX_HEADER_LEN {
            return Err(TokenError::BadEncoding { part: "header" });
        }
        let payload = decode("payload", part(first + 1, second))?;
        let signature = decode("signature", part(second + 1, token.len()))?;
        Ok(Self { signing_input, header, payload, signature })
    }

    /// Reads the header strictly.
    pub(super) fn header(&self) -> Result<Header<'_>, TokenError> {
        Ok(self.header_and(KeyPlace::Configured)?.0)
    }

    /// Reads the header strictly, and the key it brings where its kind brings one.
    pub(super) fn header_and(
        &self,
        key: KeyPlace,
    ) -> Result<(Header<'_>, Option<Json<'_>>), TokenError> {
        let mut header = Object::parse(&self.header).map_err(in_part("header"))?;
        let jwk = match key {
            KeyPlace::Configured => None,
            KeyPlace::Header => header.take("jwk"),
        };
        Ok((Header::read(&header)?, jwk))
    }

    /// Reads the payload strictly. Until [`signature`](Self::signature) was checked over
    /// [`signing_input`](Self::signing_input), only its `iss` may be looked at.
    pub(super) fn unverified_payload(&self) -> Result<Object<'_>, TokenError> {
        Object::parse(&self.payload).map_err(in_part("payload"))
    }

    /// The bytes the payload was read from.
    pub(super) fn payload_bytes(&self) -> &[u8] {
        &self.payload
    }

    /// What the signature is over.
    pub(super) fn signing_input(&self) -> &'t [u8] {
        self.signing_input
    }

    /// The signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Where the key of a kind of token is.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyPlace {
    /// Where we are configured to look; a header that brings one is refused.
    Configured,
    /// In the header: a proof of possession is of whatever key it brings (RFC 9449 4.2).
    Header,
}

/// What a header may say.
pub(super) struct Header<'a> {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<Cow<'a, str>>,
    pub(super) typ: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    fn read(header: &Object<'a>) -> Result<Self, TokenError> {
        // RFC 7515 4.1.11: what is critical must be understood, and nothing critical is. RFC 7797
        // would change what is signed; `enc` and `zip` belong to encryption.
        for name in ["crit", "b64", "enc", "zip"] {
            if header.get(name).is_some() {
                return Err(TokenError::CriticalHeader { name });
            }
        }
        // RFC 8725 3.10. No issuer of access tokens sends these; who does is trying.
        for name in ["jku", "jwk", "x5u", "x5c"] {
            if header.get(name).is_some() {
                return Err(TokenError::KeyInHeader { name });
            }
        }
        let alg = text(header, "alg")?.ok_or(TokenError::BadHeader { name: "alg" })?;
        let alg = Algorithm::from_name(&alg)
            .ok_or_else(|| TokenError::AlgorithmNotAllowed { alg: excerpt(&alg) })?;
        let kid = text(header, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID_LEN) {
            return Err(TokenError::BadHeader { name: "kid" });
        }
        Ok(Self { alg, kid, typ: text(header, "typ")? })
    }

    /// Whether `typ` is one of `accepted`: compared as media types, without regard to case and
    /// with or without `application/` (RFC 7515 4.1.9, RFC 9068 4).
    pub(super) fn is_typ(&self, accepted: &[&str]) -> bool {
        let Some(typ) = self.typ.as_deref() else { return false };
        const PREFIX: &str = "application/";
        let bare = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, bare)) if prefix.eq_ignore_ascii_case(PREFIX) => bare,
            _ => typ,
        };
        accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(bare))
    }
}

fn text<'a>(header: &Object<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::BadHeader { name }),
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    let bytes = Base64UrlUnpadded::decode_vec(text);
    bytes.ok().filter(|bytes| !bytes.is_empty()).ok_or(TokenError::BadEncoding { part })
}

fn in_part(part: &'static str) -> impl Fn(JsonFault) -> TokenError {
    move |fault| TokenError::BadJson { part, fault }
}
