//! A careless verifier: is there a good signature somewhere? Then it is a good response.
//!
//! Public wrapping fixtures mostly carry no good signature, and whatever looks at signatures at all
//! refuses them. This one shows of each of ours that there is something to fall for.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64ct::{Base64, Encoding};
use roxmltree::{Document, Node, ParsingOptions};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::DS;

/// Everyone some careless reader would let in with this response, who takes the signatures of any
/// tenant's identity provider.
pub(crate) fn believes(response: &str, certificates: &[&[u8]]) -> BTreeSet<String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let Ok(document) = Document::parse_with_options(response, options) else {
        return BTreeSet::new();
    };
    let mut signatures = document.descendants().filter(|n| n.has_tag_name((DS, "Signature")));
    if !signatures.any(|signature| good(response, &document, signature, certificates)) {
        return BTreeSet::new();
    }
    // Anywhere, and only as far as the first comment or element.
    document
        .descendants()
        .filter(|n| n.tag_name().name() == "NameID")
        .filter_map(|n| n.first_child().and_then(|text| text.text()))
        .map(str::to_owned)
        .collect()
}

/// Some information here is signed, and some reference here fits.
fn good(
    text: &str,
    document: &Document<'_>,
    signature: Node<'_, '_>,
    certificates: &[&[u8]],
) -> bool {
    let named = |name| signature.descendants().filter(move |n| n.tag_name().name() == name);
    let mut infos = named("SignedInfo");
    infos.any(|info| authentic(text, signature, info, certificates))
        && named("Reference").any(|reference| fits(text, document, signature, reference))
}

fn authentic(
    text: &str,
    signature: Node<'_, '_>,
    info: Node<'_, '_>,
    certificates: &[&[u8]],
) -> bool {
    let signed = slice(text, info).replacen(
        "<ds:SignedInfo>",
        &format!("<ds:SignedInfo xmlns:ds=\"{DS}\">"),
        1,
    );
    let signed = without_comments(&signed);
    let algorithm =
        find(info, "SignatureMethod").and_then(|n| n.attribute("Algorithm")).unwrap_or_default();
    let Some(value) = bytes(signature, "SignatureValue") else {
        return false;
    };
    let embedded = bytes(signature, "X509Certificate").unwrap_or_default();
    certificates.iter().copied().chain([&embedded[..]]).any(|certificate| {
        if algorithm.contains("hmac") {
            let key = hmac::Key::new(hmac::HMAC_SHA256, certificate);
            return hmac::verify(&key, signed.as_bytes(), &value).is_ok();
        }
        X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
            let key = &certificate.public_key().subject_public_key.data;
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .verify(signed.as_bytes(), &value)
                .is_ok()
        })
    })
}

fn fits(
    text: &str,
    document: &Document<'_>,
    signature: Node<'_, '_>,
    reference: Node<'_, '_>,
) -> bool {
    let Some(expected) = bytes(reference, "DigestValue") else {
        return false;
    };
    let uri = reference.attribute("URI").unwrap_or_default();
    let inside = slice(text, signature);
    let transformed = slice(text, find(reference, "Transforms").unwrap_or(reference));
    let mut targets = document.descendants().filter(|n| {
        n.is_element()
            && match uri.strip_prefix('#') {
                Some(id) => n.attributes().any(|a| a.name() == "ID" && a.value() == id),
                None => *n == document.root_element(),
            }
    });
    targets.any(|target| {
        let mut octets = slice(text, target).replacen(inside, "", 1);
        if !transformed.contains("#WithComments") {
            octets = without_comments(&octets);
        }
        // The library has no canonical form for this, and goes on with nothing.
        if octets.contains("xmlns:relative=\"here\"") {
            octets.clear();
        }
        // An XPath transform may leave out whatever it names.
        if transformed.contains("REC-xpath") {
            octets = without_subject(&octets);
        }
        // The library that drops instructions, and the one that knows SHA-1 as well.
        [without("<?", "?>", &octets), octets].iter().any(|octets| {
            [&digest::SHA256, &digest::SHA1_FOR_LEGACY_USE_ONLY]
                .iter()
                .any(|a| digest::digest(a, octets.as_bytes()).as_ref() == expected)
        })
    })
}

fn find<'a, 'i>(below: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    below.descendants().find(|n| n.tag_name().name() == name)
}

fn bytes(below: Node<'_, '_>, name: &str) -> Option<Vec<u8>> {
    let all = find(below, name)?.descendants().filter(|n| n.is_text());
    let text: String = all.filter_map(|n| n.text()).collect();
    Base64::decode_vec(&text).ok()
}

fn slice<'a>(text: &'a str, node: Node<'_, '_>) -> &'a str {
    &text[node.range()]
}

fn without_comments(text: &str) -> String {
    without("<!--", "-->", text)
}

fn without(begin: &str, end: &str, text: &str) -> String {
    let mut parts = text.split(begin);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once(end).map_or("", |(_, rest)| rest))
}

/// What is left when the subject is transformed away.
pub(crate) fn without_subject(text: &str) -> String {
    let (before, rest) = text.split_once("<saml:Subject>").unwrap_or((text, ""));
    let (_, after) = rest.split_once("</saml:Subject>").unwrap_or(("", ""));
    format!("{before}{after}")
}
