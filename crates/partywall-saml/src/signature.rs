//! An enveloped XML signature, in the one shape SAML gives it (saml-core 5.4).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64ct::{Base64, Encoding};
use roxmltree::Node;

use crate::canonical::{EXCLUSIVE, Prefixes, canonical};
use crate::certificate::{Certificate, SignatureAlgorithm};
use crate::refused::{Refused, Rule};
use crate::xml::{self, DS, at, at_attribute};

pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// The canonical bytes of an element whose signature one of the connection's keys made.
///
/// Made by [`verify`] alone. What is believed is read from these bytes, not from the message.
pub(crate) struct Signed(String);

impl Signed {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Verifies `signature`, a child of `element`, with the connection's certificates.
///
/// `KeyInfo` is not looked at (S-07).
pub(crate) fn verify(
    text: &str,
    element: Node<'_, '_>,
    signature: Node<'_, '_>,
    certificates: &[Certificate],
) -> Result<Signed, Refused> {
    let parts = xml::elements(signature)?;
    let (info, value) = match parts.as_slice() {
        [info, value] => (*info, *value),
        [info, value, key] if xml::is(*key, DS, "KeyInfo") => (*info, *value),
        _ => return Err(at(signature, Rule::Unexpected)),
    };
    expect(info, "SignedInfo")?;
    expect(value, "SignatureValue")?;
    let info = SignedInfo::read(info, element)?;

    let octets = canonical(text, element, Some(signature.id()), &info.transform)?;
    let digest = digest::digest(info.digest, octets.as_bytes());
    verify_slices_are_equal(digest.as_ref(), &info.value).map_err(|_| at(element, Rule::Digest))?;

    let signed = canonical(text, info.element, None, &info.method)?;
    let value = base64(value)?;
    by_one_of(certificates, info.algorithm, signed.as_bytes(), &value)
        .map_err(|rule| at(signature, rule))?;
    Ok(Signed(octets))
}

/// Verifies a signature that stands beside what it signs, in a query.
pub(crate) fn verify_detached(
    certificates: &[Certificate],
    algorithm: SignatureAlgorithm,
    octets: &[u8],
    value: &[u8],
) -> Result<(), Refused> {
    by_one_of(certificates, algorithm, octets, value)
        .map_err(|rule| Refused::new(rule, "Signature"))
}

/// Whether one of the connection's keys made this signature.
fn by_one_of(
    certificates: &[Certificate],
    algorithm: SignatureAlgorithm,
    octets: &[u8],
    value: &[u8],
) -> Result<(), Rule> {
    let mut answers =
        certificates.iter().filter_map(|c| c.verifies(algorithm, octets, value)).peekable();
    if answers.peek().is_none() {
        return Err(Rule::SignatureAlgorithm);
    }
    if !answers.any(|verified| verified) {
        return Err(Rule::Signature);
    }
    Ok(())
}

struct SignedInfo<'a, 'i> {
    element: Node<'a, 'i>,
    method: Prefixes,
    algorithm: SignatureAlgorithm,
    transform: Prefixes,
    digest: &'static digest::Algorithm,
    value: Vec<u8>,
}

impl<'a, 'i> SignedInfo<'a, 'i> {
    /// Reads it, if it is about `parent`, the element that holds the signature.
    fn read(element: Node<'a, 'i>, parent: Node<'_, '_>) -> Result<Self, Refused> {
        let parts = xml::elements(element)?;
        let [method, algorithm, reference] = parts.as_slice() else {
            return Err(at(element, Rule::Unexpected));
        };
        expect(*method, "CanonicalizationMethod")?;
        expect(*algorithm, "SignatureMethod")?;
        expect(*reference, "Reference")?;

        // S-03. An empty URI is the whole document, which is not what saml-core 5.4.2 asks for.
        let id = xml::required(parent, "ID")?;
        let uri = xml::required(*reference, "URI")?;
        if uri.strip_prefix('#') != Some(id) {
            return Err(at_attribute(*reference, "URI", Rule::Reference).found(uri));
        }

        let parts = xml::elements(*reference)?;
        let [transforms, digest, value] = parts.as_slice() else {
            return Err(at(*reference, Rule::Unexpected));
        };
        expect(*transforms, "Transforms")?;
        expect(*digest, "DigestMethod")?;
        expect(*value, "DigestValue")?;

        Ok(Self {
            element,
            method: Prefixes::of(*method)?,
            algorithm: signature_algorithm(*algorithm)?,
            transform: transform(*transforms)?,
            digest: digest_algorithm(*digest)?,
            value: base64(*value)?,
        })
    }
}

/// S-04: enveloped-signature, then exclusive C14N.
fn transform(transforms: Node<'_, '_>) -> Result<Prefixes, Refused> {
    let parts = xml::elements(transforms)?;
    let [enveloped, exclusive] = parts.as_slice() else {
        return Err(at(transforms, Rule::Transform));
    };
    for (transform, algorithm) in [(*enveloped, ENVELOPED), (*exclusive, EXCLUSIVE)] {
        expect(transform, "Transform")?;
        let found = xml::required(transform, "Algorithm")?;
        if found != algorithm {
            return Err(at(transform, Rule::Transform).found(found));
        }
    }
    if !xml::elements(*enveloped)?.is_empty() {
        return Err(at(*enveloped, Rule::Transform));
    }
    Prefixes::of(*exclusive)
}

fn signature_algorithm(method: Node<'_, '_>) -> Result<SignatureAlgorithm, Refused> {
    let found = xml::required(method, "Algorithm")?;
    if !xml::elements(method)?.is_empty() {
        return Err(at(method, Rule::Unexpected));
    }
    SignatureAlgorithm::of(found).ok_or_else(|| at(method, Rule::SignatureAlgorithm).found(found))
}

fn digest_algorithm(method: Node<'_, '_>) -> Result<&'static digest::Algorithm, Refused> {
    let found = xml::required(method, "Algorithm")?;
    if !xml::elements(method)?.is_empty() {
        return Err(at(method, Rule::Unexpected));
    }
    Ok(match found {
        "http://www.w3.org/2001/04/xmlenc#sha256" => &SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#sha384" => &SHA384,
        "http://www.w3.org/2001/04/xmlenc#sha512" => &SHA512,
        _ => return Err(at(method, Rule::DigestAlgorithm).found(found)),
    })
}

/// S-05: plain text and not empty. XML Schema lets white space stand in base64.
pub(crate) fn base64(element: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    let text: String = xml::value(element)?.split_ascii_whitespace().collect();
    match Base64::decode_vec(&text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(at(element, Rule::Base64)),
    }
}

fn expect(element: Node<'_, '_>, name: &str) -> Result<(), Refused> {
    if xml::is(element, DS, name) {
        return Ok(());
    }
    Err(at(element, Rule::Unexpected))
}
