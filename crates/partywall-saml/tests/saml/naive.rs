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

/// Everyone some careless reader would let in with this response.
pub(crate) fn believes(response: &str, certificate: &[u8]) -> BTreeSet<String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let Ok(document) = Document::parse_with_options(response, options) else {
        return BTreeSet::new();
    };
    let mut signatures = document.descendants().filter(|n| n.has_tag_name((DS, "Signature")));
    if !signatures.any(|signature| good(response, &document, signature, certificate)) {
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

fn good(text: &str, document: &Document<'_>, signature: Node<'_, '_>, certificate: &[u8]) -> bool {
    let find = |name| signature.descendants().find(|n| n.has_tag_name((DS, name)));
    let (Some(info), Some(reference)) = (find("SignedInfo"), find("Reference")) else {
        return false;
    };
    let bytes = |name| {
        let all = find(name)?.descendants().filter(|n| n.is_text());
        let text: String = all.filter_map(|n| n.text()).collect();
        Base64::decode_vec(&text).ok()
    };
    let (Some(value), Some(expected)) = (bytes("SignatureValue"), bytes("DigestValue")) else {
        return false;
    };

    let signed = slice(text, info).replacen(
        "<ds:SignedInfo>",
        &format!("<ds:SignedInfo xmlns:ds=\"{DS}\">"),
        1,
    );
    let signed = without_comments(&signed);
    let algorithm =
        find("SignatureMethod").and_then(|n| n.attribute("Algorithm")).unwrap_or_default();
    let embedded = bytes("X509Certificate").unwrap_or_default();
    let authentic = if algorithm.contains("hmac") {
        let key = hmac::Key::new(hmac::HMAC_SHA256, certificate);
        hmac::verify(&key, signed.as_bytes(), &value).is_ok()
    } else {
        [certificate, &embedded].into_iter().any(|certificate| {
            X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
                let key = &certificate.public_key().subject_public_key.data;
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                    .verify(signed.as_bytes(), &value)
                    .is_ok()
            })
        })
    };

    let uri = reference.attribute("URI").unwrap_or_default();
    let inside = slice(text, signature);
    let transformed = slice(text, find("Transforms").unwrap_or(info));
    let targets = document.descendants().filter(|n| {
        n.is_element()
            && match uri.strip_prefix('#') {
                Some(id) => n.attribute("ID") == Some(id),
                None => *n == document.root_element(),
            }
    });
    authentic
        && targets.into_iter().any(|target| {
            let mut octets = without_comments(&slice(text, target).replacen(inside, "", 1));
            // The library has no canonical form for this, and goes on with nothing.
            if octets.contains("xmlns:relative=\"here\"") {
                octets.clear();
            }
            // An XPath transform may leave out whatever it names.
            if transformed.contains("REC-xpath") {
                octets = without_subject(&octets);
            }
            // The library that knows SHA-1 as well.
            [&digest::SHA256, &digest::SHA1_FOR_LEGACY_USE_ONLY]
                .iter()
                .any(|a| digest::digest(a, octets.as_bytes()).as_ref() == expected)
        })
}

fn slice<'a>(text: &'a str, node: Node<'_, '_>) -> &'a str {
    &text[node.range()]
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once("-->").map_or("", |(_, rest)| rest))
}

/// What is left when the subject is transformed away.
pub(crate) fn without_subject(text: &str) -> String {
    let (before, rest) = text.split_once("<saml:Subject>").unwrap_or((text, ""));
    let (_, after) = rest.split_once("</saml:Subject>").unwrap_or(("", ""));
    format!("{before}{after}")
}
