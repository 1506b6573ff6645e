//! `xmlsec1` as second opinion on every signature here.
//!
//! It is asked whether the first signature it finds is good, by the connection's key. Whatever we
//! accept, it must accept. What it accepts and we refuse is listed with the reason.

use std::fs;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};
use partywall_saml::Rule;

use crate::support::{
    ACME, ASSERTION, EXCLUSIVE, Idp, RESPONSE, Signing, around, expected, rule, unsigned, verify,
    xmlsec1,
};
use crate::wrapping::attacks;

const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";
const ENC: &str = "http://www.w3.org/2001/04/xmlenc#";

fn accepts(response: &str, idp: &Idp) -> Option<bool> {
    xmlsec1(response, "Response", &idp.certificate)
}

#[test]
fn s07_what_we_accept_xmlsec1_accepts() {
    let whole = RESPONSE.replace("{assertion}", &unsigned(ASSERTION));
    let both = RESPONSE.replace("{assertion}", &ACME.sign(ASSERTION));
    let mut good = vec![around(&ACME.sign(ASSERTION)), ACME.sign(&whole), ACME.sign(&both)];
    for (signature, digest) in [("384", format!("{MORE}sha384")), ("512", format!("{ENC}sha512"))] {
        let signing = Signing::with(&format!("{MORE}rsa-sha{signature}"), &digest);
        good.push(around(&ACME.sign_as(ASSERTION, &signing)));
    }
    for response in &good {
        assert!(verify(response).is_ok());
        let Some(accepted) = accepts(response, &ACME) else { return };
        assert!(accepted, "{response}");
        assert_eq!(accepts(&response.replace("alice", "mallory"), &ACME), Some(false));
    }
    for (idp, size) in [(Idp::p256(), "256"), (Idp::p384(), "384"), (Idp::p521(), "512")] {
        let signing = Signing::with(&format!("{MORE}ecdsa-sha{size}"), &format!("{ENC}sha256"));
        let response = around(&idp.sign_as(ASSERTION, &signing));
        assert!(idp.connection().verify(response.as_bytes(), &expected()).is_ok());
        assert_eq!(accepts(&response, &idp), Some(true), "ecdsa-sha{size}");
    }
}

/// Attacks whose first signature is good: `xmlsec1` says no more than that, and what it is about is
/// for the caller to find out. This is what wrapping lives on.
const GOOD_AS_A_SIGNATURE: &[(&str, &str)] = &[
    ("xsw2", "good, of another element than the one that is read"),
    ("wrap-extensions-response", "good, of another element than the one that is read"),
    ("xsw3", "good, of another element than the one that is read"),
    ("xsw3-after", "good, of another element than the one that is read"),
    ("xsw4", "good, of another element than the one that is read"),
    ("xsw5", "good, of another element than the one that is read"),
    ("xsw7", "good, of another element than the one that is read"),
    ("wrap-status", "good, of another element than the one that is read"),
    ("wrap-extensions", "good, of another element than the one that is read"),
    ("wrap-advice", "good, of another element than the one that is read"),
    ("wrap-attribute-value", "good, of another element than the one that is read"),
    ("wrap-sameid-other-case", "good, of another element than the one that is read"),
    ("wrap-other-namespace", "good, of another element than the one that is read"),
    ("wrap-signature-moved", "good, of another element than the one that is read"),
    ("sha1", "SHA-1 is no digest any more"),
    ("transform-xpath", "the subject is not part of what was signed"),
    ("comment-in-nameid", "the form leaves comments out, and a reader stops at them"),
    ("ref-empty", "the whole document, in a signature that stands in the assertion"),
    ("digestvalue-comment", "a reader stops at the comment"),
    ("doctype", "good, and may define what another parser reads"),
    ("processing-instruction", "good, and not for what is between the signed parts"),
    ("pi-signed", "signed like that, and read only as far as it"),
    ("c14n-with-comments-elsewhere", "good, in a form whose readers stop at comments"),
    ("signed-inside-encrypted", "good, where only ciphertext belongs"),
    ("proto-wrong-recipient", "good, and sent to another"),
    ("proto-sc-expired", "good, and too old"),
    ("proto-wrong-audience", "good, and meant for another"),
];

#[test]
fn s01_what_xmlsec1_accepts_and_we_refuse_has_its_reason() {
    let mut accepted = Vec::new();
    for attack in attacks() {
        let Some(good) = accepts(&attack.response, &ACME) else { return };
        if good {
            accepted.push(attack.name);
        }
    }
    let expected: Vec<_> = GOOD_AS_A_SIGNATURE.iter().map(|(name, _)| *name).collect();
    assert_eq!(accepted, expected);
}

/// What `xmlsec1` signs, however the message is written, we accept.
#[test]
fn s01_what_xmlsec1_signs_we_accept() {
    if Command::new("xmlsec1").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let listed =
        format!(r#"<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="xs samlp nobody"/>"#);
    let namespaces = RESPONSE.replace(
        "<samlp:Response ",
        "<samlp:Response xmlns:xs='http://www.w3.org/2001/XMLSchema' xmlns=\"urn:unused\" ",
    );
    let indented =
        |text: &str| text.replace("><saml", ">\n  <saml").replace("></saml", ">\n</saml");
    let typed = ASSERTION.replace(
        "<saml:AttributeValue>",
        "<saml:AttributeValue xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'  xsi:type = \"xs:string\">",
    );
    let default = ASSERTION
        .replace("saml:", "")
        .replace("xmlns:saml=", "xmlns=")
        .replace("<Assertion ", "<Assertion  xmlns:unused='urn:u' ");
    for (name, response, assertion) in [
        ("as it is", RESPONSE, ASSERTION.to_owned()),
        ("prefixes around", &namespaces, typed),
        ("indented", &namespaces, indented(ASSERTION)),
        ("by default", &namespaces, default),
        ("self-closing", RESPONSE, ASSERTION.replace("></saml:SubjectConfirmationData>", "\n/>")),
        ("references", RESPONSE, ASSERTION.replace(">alice<", ">&#x61;lice<")),
    ] {
        for list in ["", &listed] {
            let template = template("#_a", list);
            let unsigned = response
                .replace("{signature}", "")
                .replace("{assertion}", &assertion.replacen("{signature}", &template, 1));
            let signed = sign(&unsigned);
            assert_eq!(verify(&signed).unwrap().name_id().value, "alice", "{name}");
            assert_eq!(rule(&signed.replace("lice<", "licf<")), Some(Rule::Digest), "{name}");

            let template = self::template("#_r", list);
            let unsigned = response
                .replace("{assertion}", &assertion.replacen("{signature}", "", 1))
                .replacen("{signature}", &template, 1);
            let signed = sign(&unsigned);
            assert_eq!(verify(&signed).unwrap().name_id().value, "alice", "{name}, whole");
        }
    }
}

fn template(uri: &str, list: &str) -> String {
    format!(
        r#"<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo>
  <CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>
  <SignatureMethod Algorithm="{MORE}rsa-sha256"/><Reference URI="{uri}"><Transforms>
  <Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
  <Transform Algorithm="{EXCLUSIVE}">{list}</Transform></Transforms>
  <DigestMethod Algorithm="{ENC}sha256"/><DigestValue/></Reference></SignedInfo>
  <SignatureValue/></Signature>"#
    )
}

fn sign(template: &str) -> String {
    let folder = std::env::temp_dir().join(format!("partywall-xmlsec1-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (message, key) = (folder.join("message.xml"), folder.join("key.pem"));
    fs::write(&message, template).unwrap();
    let pem = Base64::encode_string(&ACME.private_key());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    fs::write(&key, pem).unwrap();
    let output = Command::new("xmlsec1")
        .args(["--sign", "--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:Response"])
        .args(["--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion"])
        .arg("--privkey-pem")
        .arg(&key)
        .arg(&message)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
