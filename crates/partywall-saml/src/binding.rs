//! How messages travel: HTTP-Redirect and HTTP-POST (saml-bindings 3.4 and 3.5).

use std::fmt;
use std::io::Write;

use base64ct::{Base64, Encoding};
use flate2::Compression;
use flate2::write::DeflateEncoder;

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

pub(crate) fn deflate(message: &[u8]) -> Vec<u8> {
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
