//! How messages travel: HTTP-Redirect and HTTP-POST (saml-bindings 3.4 and 3.5).

use std::fmt;
use std::io::{BufRead, Read, Write};

use base64ct::{Base64, Encoding};
use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::certificate::SignatureAlgorithm;
use crate::limits;
use crate::refused::{Refused, Rule};
use crate::signer::{Signer, SignerError};
use crate::write::Unsigned;

/// A way for a message through the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// In the query of an address.
    Redirect,
    /// In a form.
    Post,
}

impl Binding {
    /// By its identifier; others are not spoken here.
    #[must_use]
    pub fn of(identifier: &str) -> Option<Self> {
        [Self::Redirect, Self::Post].into_iter().find(|binding| binding.identifier() == identifier)
    }

    /// The identifier saml-bindings gives it.
    #[must_use]
    pub fn identifier(self) -> &'static str {
        match self {
            Self::Redirect => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
            Self::Post => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redirect => "HTTP-Redirect",
            Self::Post => "HTTP-POST",
        })
    }
}

/// The parameter of what asks.
pub(crate) const REQUEST: &str = "SAMLRequest";
/// The parameter of what answers.
pub(crate) const RESPONSE: &str = "SAMLResponse";

/// The address to send the browser to: with the message in it, and the signature over the octets
/// as they stand there (saml-bindings 3.4.4.1).
pub(crate) fn redirect(
    destination: &str,
    parameter: &str,
    message: &Unsigned,
    relay_state: Option<&str>,
    signer: Option<&Signer>,
) -> Result<String, SignerError> {
    let mut query = parameter.to_owned();
    query.push('=');
    query.push_str(&percent(&Base64::encode_string(&deflate(message.text().as_bytes()))));
    if let Some(relay_state) = relay_state {
        query.push_str("&RelayState=");
        query.push_str(&percent(relay_state));
    }
    if let Some(signer) = signer {
        query.push_str("&SigAlg=");
        query.push_str(&percent(signer.algorithm()));
        let signature = signer.sign(query.as_bytes())?;
        query.push_str("&Signature=");
        query.push_str(&percent(&Base64::encode_string(&signature)));
    }
    let joint = if destination.contains('?') { '&' } else { '?' };
    Ok(format!("{destination}{joint}{query}"))
}

/// The value of the form's field.
pub(crate) fn post(message: &Unsigned, signer: Option<&Signer>) -> Result<String, SignerError> {
    let text = match signer {
        Some(signer) => message.signed(signer)?,
        None => message.text(),
    };
    Ok(Base64::encode_string(text.as_bytes()))
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(message);
    encoder.finish().unwrap_or_default()
}

/// RFC 3986: all but the unreserved characters.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A message in a query, and the signature that came with it, not yet verified.
pub(crate) struct Query {
    /// The message, still compressed.
    pub(crate) message: Vec<u8>,
    pub(crate) algorithm: SignatureAlgorithm,
    /// What is signed: as it was sent, in the order saml-bindings 3.4.4.1 gives it.
    pub(crate) octets: String,
    pub(crate) signature: Vec<u8>,
}

impl Query {
    /// Reads the message in `parameter`. Parameters that are not SAML's may stand beside it.
    pub(crate) fn read(query: &str, parameter: &'static str) -> Result<Self, Refused> {
        // Base64, percent-encoded at worst, with room for the rest.
        if query.len() > 4 * limits::BYTES {
            return Err(Refused::new(Rule::Size, "query"));
        }
        let mut found: Vec<(&str, &str)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Whoever decodes names reads another parameter here than was signed.
            if name.contains(['%', '+']) || found.iter().any(|(known, _)| *known == name) {
                return Err(Refused::new(Rule::Parameter, "query").found(name));
            }
            found.push((name, value));
        }
        let raw =
            |name: &str| found.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let missing = |name: &'static str| Refused::new(Rule::Missing, name);

        let other = if parameter == REQUEST { RESPONSE } else { REQUEST };
        if raw(other).is_some() {
            return Err(Refused::new(Rule::Parameter, "query").found(other));
        }
        if let Some(encoding) = raw("SAMLEncoding")
            && decoded(encoding, "SAMLEncoding")? != DEFLATE
        {
            return Err(Refused::new(Rule::Deflate, "SAMLEncoding").found(encoding));
        }
        let message = raw(parameter).ok_or_else(|| missing(parameter))?;
        let (Some(algorithm), Some(signature)) = (raw("SigAlg"), raw("Signature")) else {
            return Err(Refused::new(Rule::Unsigned, "query"));
        };
        let relay_state = raw("RelayState").map(|raw| format!("&RelayState={raw}"));
        let octets =
            format!("{parameter}={message}{}&SigAlg={algorithm}", relay_state.unwrap_or_default());
        let name = decoded(algorithm, "SigAlg")?;
        Ok(Self {
            message: base64(message, parameter)?,
            algorithm: SignatureAlgorithm::of(&name)
                .ok_or_else(|| Refused::new(Rule::SignatureAlgorithm, "SigAlg").found(&name))?,
            octets,
            signature: base64(signature, "Signature")?,
        })
    }
}

const DEFLATE: &str = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE";

/// Saml-bindings 3.4.4.1: without line breaks or other white space.
fn base64(value: &str, name: &'static str) -> Result<Vec<u8>, Refused> {
    match Base64::decode_vec(&decoded(value, name)?) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Refused::new(Rule::Base64, name)),
    }
}

/// Percent-encoding undone, and `+` for a space.
fn decoded(value: &str, name: &'static str) -> Result<String, Refused> {
    let refused = || Refused::new(Rule::Encoding, name);
    let mut out = Vec::with_capacity(value.len());
    let mut pieces = value.split('%');
    out.extend(pieces.next().unwrap_or_default().bytes());
    for piece in pieces {
        let (hex, rest) = piece.split_at_checked(2).ok_or_else(refused)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused());
        }
        out.push(u8::from_str_radix(hex, 16).map_err(|_| refused())?);
        out.extend(rest.bytes());
    }
    String::from_utf8(out).map_err(|_| refused())
}

/// Inflates a message, never to more than a message may have (S-13).
pub(crate) fn inflate(compressed: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut rest = compressed;
    let message = inflate_from(&mut rest)?;
    // Nothing may follow that some readers see and others don't.
    if !rest.is_empty() {
        return Err(Refused::new(Rule::Deflate, "document"));
    }
    Ok(message)
}

fn inflate_from(compressed: impl BufRead) -> Result<Vec<u8>, Refused> {
    let most = u64::try_from(limits::BYTES).unwrap_or(u64::MAX);
    let mut message = Vec::new();
    if DeflateDecoder::new(compressed).take(most + 1).read_to_end(&mut message).is_err() {
        return Err(Refused::new(Rule::Deflate, "document"));
    }
    if message.len() > limits::BYTES {
        return Err(Refused::new(Rule::Size, "document"));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    #[test]
    fn s13_a_bomb_costs_no_more_than_a_message() {
        // A gigabyte of nothing, in a megabyte: one block again and again, and the last one.
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        encoder.flush().unwrap();
        let bomb = [encoder.get_ref().repeat(1024), vec![1, 0, 0, 0xff, 0xff]].concat();
        assert!(bomb.len() < 2 << 20);
        assert_eq!(inflate(&bomb).unwrap_err().rule(), Rule::Size);
        // It is left where it exceeds the limit: of the megabyte, next to nothing is read.
        let mut reader = BufReader::with_capacity(1024, Cursor::new(&bomb));
        assert!(inflate_from(&mut reader).is_err());
        assert!(reader.get_ref().position() < 16 << 10);
    }

    #[test]
    fn s13_what_fits_is_inflated_and_nothing_may_follow() {
        for length in [0, 1, limits::BYTES] {
            let message = vec![b'x'; length];
            assert_eq!(inflate(&deflate(&message)), Ok(message));
        }
        let longer = deflate(&vec![b'x'; limits::BYTES + 1]);
        assert_eq!(inflate(&longer).unwrap_err().rule(), Rule::Size);
        let followed = [deflate(b"<a/>"), b"more".to_vec()].concat();
        assert_eq!(inflate(&followed).unwrap_err().rule(), Rule::Deflate);
        assert_eq!(inflate(b"\xff\xff\xff").unwrap_err().rule(), Rule::Deflate);
    }
}
