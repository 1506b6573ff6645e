//! What we send: to be understood by others, so others read it here.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use base64ct::{Base64, Encoding};
use flate2::bufread::DeflateDecoder;
use partywall_saml::{AuthnRequest, Certificate, Signer, SignerError};
use roxmltree::Document;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::{ACS, SP, now};

const SSO: &str = "https://idp.acme.example/sso";

pub(crate) fn rsa() -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    Signer::from_pkcs8(pair.as_der().unwrap().as_ref()).unwrap()
}

pub(crate) fn p256() -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    Signer::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref()).unwrap()
}

pub(crate) fn certificate(signer: &Signer) -> Certificate {
    signer.certificate("sp", now(), now() + Duration::from_secs(60)).unwrap()
}

fn request() -> AuthnRequest<'static> {
    AuthnRequest {
        id: "_request",
        issue_instant: now(),
        destination: SSO,
        issuer: SP,
        acs_url: ACS,
        force_authn: false,
        name_id_format: Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
    }
}

/// The parameters of an address, decoded.
pub(crate) fn parameters(url: &str) -> HashMap<String, String> {
    let (_, query) = url.split_once('?').unwrap();
    let decode = |text: &str| {
        let mut pieces = text.split('%');
        let mut out = pieces.next().unwrap().as_bytes().to_vec();
        for piece in pieces {
            let (hex, rest) = piece.split_at(2);
            out.push(u8::from_str_radix(hex, 16).unwrap());
            out.extend(rest.as_bytes());
        }
        String::from_utf8(out).unwrap()
    };
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect()
}

pub(crate) fn inflated(value: &str) -> String {
    let compressed = Base64::decode_vec(value).unwrap();
    let mut out = String::new();
    DeflateDecoder::new(compressed.as_slice()).read_to_string(&mut out).unwrap();
    out
}

/// Whether the signature at the end of an address is of what stands before it.
fn redirect_is_signed(
    url: &str,
    signer: &Signer,
    algorithm: &'static dyn VerificationAlgorithm,
) -> bool {
    let (_, query) = url.split_once('?').unwrap();
    let (octets, _) = query.split_once("&Signature=").unwrap();
    let signature = Base64::decode_vec(parameters(url).get("Signature").unwrap()).unwrap();
    let certificate = certificate(signer);
    let (_, certificate) = X509Certificate::from_der(certificate.der()).unwrap();
    UnparsedPublicKey::new(algorithm, &certificate.public_key().subject_public_key.data)
        .verify(octets.as_bytes(), &signature)
        .is_ok()
}

#[test]
fn s09_a_request_says_who_asks_and_where_to_answer() {
    let url = request().redirect(None, None).unwrap();
    assert!(url.starts_with("https://idp.acme.example/sso?SAMLRequest="));
    let xml = inflated(&parameters(&url)["SAMLRequest"]);
    assert_eq!(
        xml,
        concat!(
            r#"<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol""#,
            r#" AssertionConsumerServiceURL="https://acme.partywall.example/saml/acs""#,
            r#" Destination="https://idp.acme.example/sso" ID="_request""#,
            r#" IssueInstant="2026-11-25T12:00:00Z""#,
            r#" ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Version="2.0">"#,
            r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://acme.partywall.example/saml</saml:Issuer>"#,
            r#"<samlp:NameIDPolicy AllowCreate="true" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"></samlp:NameIDPolicy>"#,
            r#"</samlp:AuthnRequest>"#,
        )
    );
    let posted = request().post(None).unwrap();
    assert_eq!(Base64::decode_vec(&posted).unwrap(), xml.as_bytes());

    let again = AuthnRequest { force_authn: true, name_id_format: None, ..request() };
    let xml = inflated(&parameters(&again.redirect(None, None).unwrap())["SAMLRequest"]);
    assert!(xml.contains(r#"ForceAuthn="true""#), "{xml}");
    assert!(xml.contains(r#"<samlp:NameIDPolicy AllowCreate="true">"#), "{xml}");
}

#[test]
fn s09_what_is_put_into_a_request_stays_text() {
    let odd = r#"https://idp.example/?a="b"&c=<d>'é"#;
    let request = AuthnRequest { destination: odd, issuer: odd, acs_url: odd, ..request() };
    let url = request.redirect(Some("a&b=c d+é"), None).unwrap();
    // The address has a query already.
    assert!(url.starts_with(&format!("{odd}&SAMLRequest=")));
    let url = url.strip_prefix(&format!("{odd}&")).unwrap();
    let parameters = parameters(&format!("?{url}"));
    assert_eq!(parameters["RelayState"], "a&b=c d+é");
    let xml = inflated(&parameters["SAMLRequest"]);
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("Destination"), Some(odd));
    assert_eq!(root.attribute("AssertionConsumerServiceURL"), Some(odd));
    assert_eq!(root.first_element_child().unwrap().text(), Some(odd));
}

#[test]
fn s14_the_signature_of_an_address_covers_what_stands_before_it() {
    for (signer, algorithm, name) in [
        (rsa(), &RSA_PKCS1_2048_8192_SHA256 as &'static dyn VerificationAlgorithm, "rsa-sha256"),
        (p256(), &ECDSA_P256_SHA256_FIXED, "ecdsa-sha256"),
    ] {
        for relay_state in [None, Some("a b")] {
            let url = request().redirect(relay_state, Some(&signer)).unwrap();
            let parameters = parameters(&url);
            let expected = format!("http://www.w3.org/2001/04/xmldsig-more#{name}");
            assert_eq!(parameters["SigAlg"], expected);
            assert_eq!(parameters.get("RelayState").map(String::as_str), relay_state);
            assert!(redirect_is_signed(&url, &signer, algorithm));
            let changed = url.replacen("SigAlg=http%3A", "SigAlg=http%3a", 1);
            assert!(!redirect_is_signed(&changed, &signer, algorithm));
            // The message itself carries none (saml-bindings 3.4.4.1).
            assert!(!inflated(&parameters["SAMLRequest"]).contains("Signature"));
        }
    }
}

#[test]
fn s14_xmlsec1_takes_the_signature_of_a_form() {
    for signer in [rsa(), p256()] {
        let posted = request().post(Some(&signer)).unwrap();
        let xml = String::from_utf8(Base64::decode_vec(&posted).unwrap()).unwrap();
        let certificate = certificate(&signer);
        let Some(verdict) = crate::support::xmlsec1(&xml, "AuthnRequest", certificate.der()) else {
            return;
        };
        assert!(verdict, "{xml}");
        let changed = xml.replacen("saml/acs", "saml/evil", 1);
        assert_ne!(changed, xml);
        let verdict = crate::support::xmlsec1(&changed, "AuthnRequest", certificate.der());
        assert_eq!(verdict, Some(false));
    }
}

#[test]
fn s07_weak_keys_sign_nothing() {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let refused = Signer::from_pkcs8(p384.to_pkcs8v1().unwrap().as_ref()).map(|_| ());
    assert_eq!(refused, Err(SignerError::Key));
    assert_eq!(Signer::from_pkcs8(b"").map(|_| ()), Err(SignerError::Key));
    assert_eq!(format!("{:?}", rsa()), "Signer(..)");
}
