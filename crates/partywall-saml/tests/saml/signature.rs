//! S-03, S-04, S-05, S-07: one shape of signature, by the connection's keys.

use partywall_saml::{Connection, Rule};

use crate::support::{
    ACME, ASSERTION, ENVELOPED, EXCLUSIVE, Idp, OTHER, Signing, around, expected, rule, transforms,
};

const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";
const ENC: &str = "http://www.w3.org/2001/04/xmlenc#";

fn signed(signing: &Signing) -> String {
    around(&ACME.sign_as(ASSERTION, signing))
}

#[test]
fn s07_sha2_with_rsa_or_ecdsa_is_taken() {
    for (signature, digest) in [
        ("rsa-sha256", format!("{ENC}sha256")),
        ("rsa-sha384", format!("{MORE}sha384")),
        ("rsa-sha512", format!("{ENC}sha512")),
    ] {
        let signing = Signing::with(&format!("{MORE}{signature}"), &digest);
        assert_eq!(rule(&signed(&signing)), None, "{signature}");
    }
    for (idp, signature) in [
        (Idp::p256(), "ecdsa-sha256"),
        (Idp::p384(), "ecdsa-sha384"),
        (Idp::p521(), "ecdsa-sha512"),
    ] {
        let signing = Signing::with(&format!("{MORE}{signature}"), &format!("{ENC}sha256"));
        let response = around(&idp.sign_as(ASSERTION, &signing));
        let verdict = idp.connection().verify(response.as_bytes(), &expected());
        assert!(verdict.is_ok(), "{signature}: {verdict:?}");
        let verdict = Idp::p256().connection().verify(response.as_bytes(), &expected());
        assert!(verdict.is_err(), "{signature}");
    }
}

#[test]
fn s07_other_algorithms_are_refused() {
    let sha256 = format!("{ENC}sha256");
    for algorithm in [
        "http://www.w3.org/2000/09/xmldsig#rsa-sha1".to_owned(),
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1".to_owned(),
        "http://www.w3.org/2000/09/xmldsig#dsa-sha1".to_owned(),
        "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1".to_owned(),
        format!("{MORE}hmac-sha256"),
        format!("{MORE}rsa-md5"),
        // Known, but not of this key.
        format!("{MORE}ecdsa-sha256"),
        String::new(),
    ] {
        let found = rule(&signed(&Signing::with(&algorithm, &sha256)));
        assert_eq!(found, Some(Rule::SignatureAlgorithm), "{algorithm}");
    }
    for digest in ["http://www.w3.org/2000/09/xmldsig#sha1", ""] {
        let found = rule(&signed(&Signing::with(&format!("{MORE}rsa-sha256"), digest)));
        assert_eq!(found, Some(Rule::DigestAlgorithm), "{digest}");
    }
}

#[test]
fn s07_either_of_two_certificates_is_enough_and_no_other_counts() {
    let by_acme = around(&ACME.sign(ASSERTION));
    let by_other = around(&OTHER.sign(ASSERTION));
    let mut settings = OTHER.settings();
    settings.certificates.push(ACME.trusted());
    let both = Connection::new(settings).unwrap();
    assert!(both.verify(by_acme.as_bytes(), &expected()).is_ok());
    assert!(both.verify(by_other.as_bytes(), &expected()).is_ok());
    assert_eq!(rule(&by_other), Some(Rule::Signature));
    // B-13: what `KeyInfo` says, well-formed or not, changes nothing.
    let signing = Signing {
        after: "<ds:KeyInfo><ds:KeyName>x</ds:KeyName></ds:KeyInfo>".to_owned(),
        ..Signing::default()
    };
    assert_eq!(rule(&signed(&signing)), None);
}

#[test]
fn s04_other_transforms_are_refused() {
    let base64 = "http://www.w3.org/2000/09/xmldsig#base64";
    let inclusive = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
    let comments = "http://www.w3.org/2001/10/xml-exc-c14n#WithComments";
    for list in [
        &[][..],
        &[ENVELOPED],
        &[EXCLUSIVE],
        &[EXCLUSIVE, ENVELOPED],
        &[ENVELOPED, ENVELOPED, EXCLUSIVE],
        &[ENVELOPED, EXCLUSIVE, EXCLUSIVE],
        &[ENVELOPED, inclusive],
        &[ENVELOPED, comments],
        &[ENVELOPED, base64],
        &["http://www.w3.org/TR/1999/REC-xslt-19991116", EXCLUSIVE],
        &["http://www.w3.org/2002/06/xmldsig-filter2", EXCLUSIVE],
    ] {
        let signing = Signing { transforms: transforms(list), ..Signing::default() };
        assert_eq!(rule(&signed(&signing)), Some(Rule::Transform), "{list:?}");
    }
    for canonicalization in [inclusive, comments, ""] {
        let signing =
            Signing { canonicalization: canonicalization.to_owned(), ..Signing::default() };
        let found = rule(&signed(&signing));
        assert_eq!(found, Some(Rule::Canonicalization), "{canonicalization}");
    }
}

#[test]
fn s04_a_prefix_list_is_honoured_and_default_is_not() {
    let listed = |prefixes: &str| {
        // Its own element is in the namespace of exclusive C14N.
        let list = format!(
            r#"<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{prefixes}"></ec:InclusiveNamespaces>"#
        );
        let exclusive = transforms(&[EXCLUSIVE])
            .replace("></ds:Transform>", &format!(">{list}</ds:Transform>"));
        Signing {
            transforms: format!("{}{exclusive}", transforms(&[ENVELOPED])),
            ..Signing::default()
        }
    };
    // `xs` is declared and used in a value only: the list makes it part of what is signed.
    let with = ASSERTION.replace(
        "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID",
        "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" ID",
    );
    let response = |prefixes| around(&ACME.sign_as(&with, &listed(prefixes)));
    assert_eq!(rule(&response("xs saml absent")), None);
    assert_eq!(rule(&response("saml")), Some(Rule::Digest));
    assert_eq!(rule(&response("xs #default")), Some(Rule::Canonicalization));
}

#[test]
fn s05_what_is_in_base64_is_nothing_else() {
    let response = around(&ACME.sign(ASSERTION));
    let value = |name: &str, change: &dyn Fn(&str) -> String| {
        let (before, rest) = response.split_once(&format!("<ds:{name}>")).unwrap();
        let (value, after) = rest.split_once(&format!("</ds:{name}>")).unwrap();
        rule(&format!("{before}<ds:{name}>{}</ds:{name}>{after}", change(value)))
    };
    for name in ["DigestValue", "SignatureValue"] {
        assert_eq!(value(name, &|v| v.to_owned()), None);
        assert_eq!(value(name, &|_| String::new()), Some(Rule::Base64), "{name}");
        assert_eq!(value(name, &|_| " \n".to_owned()), Some(Rule::Base64), "{name}");
        assert_eq!(value(name, &|v| format!("{v}!")), Some(Rule::Base64), "{name}");
        assert_eq!(value(name, &|v| format!("<!-- -->{v}")), Some(Rule::Comment), "{name}");
        assert_eq!(value(name, &|v| format!("<a/>{v}")), Some(Rule::Unexpected), "{name}");
    }
    // White space in the signature's value is signed by nobody and changes nothing.
    assert_eq!(value("SignatureValue", &|v| format!("\n{v}\n")), None);
}

#[test]
fn s03_the_reference_is_to_the_parent_by_its_id() {
    for uri in ["", "#", "#_b", "_a", "#xpointer(id('_a'))", "#_a ", "https://idp.acme.example/#_a"]
    {
        let signing = Signing { uri: Some(uri.to_owned()), ..Signing::default() };
        assert_eq!(rule(&signed(&signing)), Some(Rule::Reference), "{uri}");
    }
    let two = ASSERTION.replacen(
        "{signature}",
        &format!("{}{{signature}}", ACME.signature(ASSERTION, &Signing::default())),
        1,
    );
    assert_eq!(rule(&around(&ACME.sign(&two))), Some(Rule::Unexpected));
}

#[test]
fn s03_a_signature_has_one_signed_info_and_no_objects() {
    let response = around(&ACME.sign(ASSERTION));
    let (before, rest) = response.split_once("<ds:SignedInfo>").unwrap();
    let (info, after) = rest.split_once("</ds:SignedInfo>").unwrap();
    let info = format!("<ds:SignedInfo>{info}</ds:SignedInfo>");
    assert_eq!(rule(&format!("{before}{info}{info}{after}")), Some(Rule::Unexpected));
    for more in
        ["<ds:Object></ds:Object>", "<ds:KeyInfo></ds:KeyInfo><ds:KeyInfo></ds:KeyInfo>", "text"]
    {
        let response = response.replace("</ds:Signature>", &format!("{more}</ds:Signature>"));
        assert_eq!(rule(&response), Some(Rule::Unexpected), "{more}");
    }
}
