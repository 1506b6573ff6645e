//! Signature wrapping and its relatives, each with a signature that is really good.

use base64ct::{Base64, Encoding};
use partywall_saml::Rule;

use crate::known;
use crate::naive::{believes, without_subject};
use crate::support::{
    ACME, ASSERTION, ENVELOPED, EXCLUSIVE, Idp, OTHER, RESPONSE, Signing, around, rule, transforms,
    unsigned, verify,
};

/// A response that lets the wrong person in with whoever is careless.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) response: String,
    pub(crate) rule: Rule,
}

pub(crate) fn attack(name: &'static str, rule: Rule, response: impl Into<String>) -> Attack {
    Attack { name, response: response.into(), rule }
}

/// Mallory's assertion, which nobody signed, and which has an ID of its own.
pub(crate) fn forged() -> String {
    ASSERTION.replace("alice", "mallory").replace("\"_a\"", "\"_f\"")
}

/// Alice's, signed; its signature alone; and Alice's without it.
fn original() -> (String, String, String) {
    let signature = ACME.signature(ASSERTION, &Signing::default());
    let signed = ASSERTION.replacen("{signature}", &signature, 1);
    (signed, signature, unsigned(ASSERTION))
}

/// Before the closing tag of the outermost element.
fn append(element: &str, more: &str) -> String {
    let end = element.rfind("</").unwrap();
    format!("{}{more}{}", &element[..end], &element[end..])
}

/// In a signature, as an `Object`.
fn with_object(signature: &str, content: &str) -> String {
    append(signature, &format!("<ds:Object>{content}</ds:Object>"))
}

/// The response is signed, and stands somewhere else than its signature.
fn wrapped_responses() -> Vec<Attack> {
    let whole = RESPONSE.replace("{assertion}", &unsigned(ASSERTION));
    let signature = ACME.signature(&whole, &Signing::default());
    let original = unsigned(&whole);
    let evil =
        whole.replace("alice", "mallory").replace("\"_r\"", "\"_e\"").replace("\"_a\"", "\"_f\"");
    let placed = |what: &str| evil.replacen("{signature}", what, 1);
    let same_id = whole.replace("alice", "mallory").replace("\"_a\"", "\"_f\"");
    vec![
        attack("xsw1", Rule::Unexpected, placed(&with_object(&signature, &original))),
        attack("xsw2", Rule::Unexpected, placed(&format!("{original}{signature}"))),
        attack(
            "wrap-extensions-response",
            Rule::Unexpected,
            placed(&format!("{signature}<samlp:Extensions>{original}</samlp:Extensions>")),
        ),
        attack(
            "wrap-sameid-response",
            Rule::UniqueId,
            same_id.replacen(
                "{signature}",
                &format!("{signature}<samlp:Extensions>{original}</samlp:Extensions>"),
                1,
            ),
        ),
    ]
}

/// The assertion is signed, and another one is offered.
fn wrapped_assertions() -> Vec<Attack> {
    let (signed, signature, bare) = original();
    let forged = forged();
    let evil = unsigned(&forged);
    let with_signature = forged.replacen("{signature}", &signature, 1);
    let with_original = forged.replacen("{signature}", &append(&signature, &bare), 1);
    let in_object = forged.replacen("{signature}", &with_object(&signature, &bare), 1);
    let in_status = around(&evil).replace(
        "</samlp:Status>",
        &format!("<samlp:StatusDetail>{signed}</samlp:StatusDetail></samlp:Status>"),
    );
    let in_extensions = around(&evil).replace(
        "<samlp:Status>",
        &format!("<samlp:Extensions>{signed}</samlp:Extensions><samlp:Status>"),
    );
    let evil_in_extensions = around(&signed).replace(
        "<samlp:Status>",
        &format!("<samlp:Extensions>{evil}</samlp:Extensions><samlp:Status>"),
    );
    let in_advice = around(&append(&evil, &format!("<saml:Advice>{signed}</saml:Advice>")));
    let in_value = around(&append(
        &evil,
        &format!(
            "<saml:AttributeStatement><saml:Attribute Name=\"x\"><saml:AttributeValue>{signed}</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"
        ),
    ));
    let same_id = evil.replace("\"_f\"", "\"_a\"");
    let other_case = evil.replace(" ID=\"_f\"", " ID=\"_f\" Id=\"_a\"");
    let renamed = evil
        .replace("urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:1.0:assertion");
    let moved = around(&evil).replace(
        "<samlp:Status>",
        &format!("<samlp:Extensions>{signature}{bare}</samlp:Extensions><samlp:Status>"),
    );
    vec![
        attack("xsw3", Rule::OneAssertion, around(&format!("{evil}{signed}"))),
        attack("xsw3-after", Rule::OneAssertion, around(&format!("{signed}{evil}"))),
        attack("xsw4", Rule::OneAssertion, around(&append(&evil, &signed))),
        attack("xsw5", Rule::OneAssertion, around(&format!("{with_signature}{bare}"))),
        attack("xsw6", Rule::OneAssertion, around(&with_original)),
        attack("xsw7", Rule::OneAssertion, evil_in_extensions),
        attack("xsw8", Rule::OneAssertion, around(&in_object)),
        attack("wrap-status", Rule::OneAssertion, in_status),
        attack("wrap-extensions", Rule::OneAssertion, in_extensions),
        attack("wrap-advice", Rule::OneAssertion, in_advice),
        attack("wrap-attribute-value", Rule::OneAssertion, in_value),
        attack("wrap-sameid", Rule::UniqueId, around(&format!("{same_id}{signed}"))),
        attack("wrap-sameid-other-case", Rule::UniqueId, around(&format!("{other_case}{signed}"))),
        attack("wrap-other-namespace", Rule::OneAssertion, around(&format!("{renamed}{signed}"))),
        attack("wrap-signature-moved", Rule::SignaturePlace, moved),
    ]
}

/// Signatures of Mallory's assertion that must count for nothing.
fn counterfeit() -> Vec<Attack> {
    let forged = forged();
    let signed = |idp: &Idp, signing: &Signing| around(&idp.sign_as(&forged, signing));
    let hmac = Signing::with(
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
        "http://www.w3.org/2001/04/xmlenc#sha256",
    );
    let sha1 = Signing::with(
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "http://www.w3.org/2000/09/xmldsig#sha1",
    );
    let embedded = Signing {
        after: format!(
            "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
            Base64::encode_string(&OTHER.certificate)
        ),
        ..Signing::default()
    };
    vec![
        attack("attacker-key-embedded-cert", Rule::Signature, signed(&OTHER, &embedded)),
        attack("hmac-confusion", Rule::SignatureAlgorithm, signed(&ACME, &hmac)),
        attack("sha1", Rule::DigestAlgorithm, signed(&ACME, &sha1)),
    ]
}

/// What the identity provider signed is not what a reader sees.
fn signed_otherwise() -> Vec<Attack> {
    let void = forged().replace(
        "<saml:AuthnStatement ",
        "<saml:AuthnStatement xmlns:relative=\"here\" relative:x=\"\" ",
    );
    let nothing = Signing { octets: Some(String::new()), ..Signing::default() };
    let void_unused =
        forged().replace("<saml:AuthnStatement ", "<saml:AuthnStatement xmlns:relative=\"here\" ");
    let without = Signing {
        octets: Some(without_subject(&unsigned(&forged()))),
        transforms: format!(
            r#"{}<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>not(ancestor-or-self::saml:Subject)</ds:XPath></ds:Transform>{}"#,
            transforms(&[ENVELOPED]),
            transforms(&[EXCLUSIVE])
        ),
        ..Signing::default()
    };
    let long = ASSERTION.replace("alice", "mallory.example.test");
    let commented = ACME.sign(&long).replace("mallory.example", "mallory<!-- -->.example");
    let everything = Signing {
        uri: Some(String::new()),
        octets: Some(unsigned(&around(&unsigned(&forged())))),
        ..Signing::default()
    };
    let everything = ACME.signature(&forged(), &everything);
    let twice = Signing {
        more_references: r##"<ds:Reference URI="#_r"></ds:Reference>"##.to_owned(),
        ..Signing::default()
    };
    let digest = |response: &str| {
        let (before, rest) = response.split_once("<ds:DigestValue>").unwrap();
        format!("{before}<ds:DigestValue><!-- -->{rest}")
    };
    let mallory = ACME.sign(&forged());
    vec![
        attack("void-c14n", Rule::NamespaceUri, around(&ACME.sign_as(&void, &nothing))),
        attack(
            "digest-of-empty-string",
            Rule::Digest,
            around(&ACME.sign_as(&void_unused, &nothing)),
        ),
        attack("transform-xpath", Rule::Transform, around(&ACME.sign_as(&forged(), &without))),
        attack("comment-in-nameid", Rule::Comment, around(&commented)),
        attack(
            "ref-empty",
            Rule::Reference,
            around(&forged().replacen("{signature}", &everything, 1)),
        ),
        attack("two-references", Rule::Unexpected, around(&ACME.sign_as(&forged(), &twice))),
        attack("digestvalue-comment", Rule::Comment, around(&digest(&mallory))),
        attack("doctype", Rule::Doctype, format!("<!DOCTYPE Response>{}", around(&mallory))),
        attack(
            "processing-instruction",
            Rule::ProcessingInstruction,
            format!("<?a b?>{}", around(&mallory)),
        ),
    ]
}

pub(crate) fn attacks() -> Vec<Attack> {
    let mut all = wrapped_responses();
    all.extend(wrapped_assertions());
    all.extend(counterfeit());
    all.extend(signed_otherwise());
    all.extend(known::read_otherwise());
    all.extend(known::signed_in_part());
    all.extend(known::said_elsewhere());
    all
}

#[test]
fn s01_s02_s03_every_attack_is_refused_by_its_rule() {
    for attack in attacks() {
        assert_eq!(rule(&attack.response), Some(attack.rule), "{}", attack.name);
    }
}

#[test]
fn s01_a_careless_verifier_falls_for_every_attack() {
    assert_eq!(attacks().len(), 50);
    for attack in attacks() {
        let names = believes(&attack.response, &[&ACME.certificate, &OTHER.certificate]);
        assert!(names.contains("mallory"), "{}: {names:?}", attack.name);
    }
}

#[test]
fn s01_whoever_is_signed_gets_in_and_nobody_else() {
    let (signed, ..) = original();
    let response = around(&signed);
    assert_eq!(verify(&response).unwrap().name_id().value, "alice");
    assert_eq!(
        believes(&response, &[&ACME.certificate, &OTHER.certificate]),
        ["alice".to_owned()].into()
    );

    let changed = response.replace(">alice<", ">mallory<");
    assert_eq!(rule(&changed), Some(Rule::Digest));
    assert!(believes(&changed, &[&ACME.certificate, &OTHER.certificate]).is_empty());
}

#[test]
fn s01_a_response_that_is_signed_speaks_for_its_assertion() {
    let whole = RESPONSE.replace("{assertion}", &unsigned(ASSERTION));
    assert_eq!(verify(&ACME.sign(&whole)).unwrap().name_id().value, "alice");

    let both = RESPONSE.replacen("{assertion}", &ACME.sign(ASSERTION), 1);
    let both = ACME.sign(&both);
    assert_eq!(verify(&both).unwrap().name_id().value, "alice");
    // Each signature counts by itself.
    let (before, after) = both.rsplit_once("<ds:SignatureValue>").unwrap();
    let broken = format!("{before}<ds:SignatureValue>AAAA{}", &after[4..]);
    assert!(matches!(rule(&broken), Some(Rule::Digest | Rule::Signature)));

    let inner_by_other = RESPONSE.replacen("{assertion}", &OTHER.sign(ASSERTION), 1);
    assert_eq!(rule(&ACME.sign(&inner_by_other)), Some(Rule::Signature));

    assert_eq!(rule(&around(&unsigned(ASSERTION))), Some(Rule::Unsigned));
}
