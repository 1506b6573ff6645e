//! A message that came in the query of an address (saml-bindings 3.4.4.1).

use std::io::{BufRead, Read};

use base64ct::{Base64, Encoding};
use flate2::bufread::DeflateDecoder;

use crate::binding::{REQUEST, RESPONSE};
use crate::certificate::SignatureAlgorithm;
use crate::limits;
use crate::refused::{Refused, Rule};

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
            let unclear = found.len() >= PARAMETERS || name.contains(['%', '+']);
            if unclear || found.iter().any(|(known, _)| *known == name) {
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

/// How many parameters a query may have: five are SAML's.
const PARAMETERS: usize = 32;
const DEFLATE: &str = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE";

/// Saml-bindings 3.4.4.1: without line breaks or other white space.
fn base64(value: &str, name: &'static str) -> Result<Vec<u8>, Refused> {
    match Base64::decode_vec(&decoded(value, name)?) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Refused::new(Rule::Base64, name)),
    }
}

/// Percent-encoding undone. A `+` stays one: nothing here has spaces, and base64 has it.
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
    use std::io::{BufReader, Cursor, Write};

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;
    use crate::binding::deflate;

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
