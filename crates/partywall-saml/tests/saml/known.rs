//! Holes other software had, each by its number in our requirements (B-13 to B-48): the attacks
//! that go with them, and that each is refused while a careless verifier falls for it.

use partywall_saml::{Connection, ConnectionError, Rule};

use crate::naive::believes;
use crate::support::{
    ACME, ASSERTION, ENVELOPED, IDP, OTHER, RESPONSE, Signing, around, expected, transforms,
    unsigned, verify,
};
use crate::wrapping::{Attack, attack, attacks, forged};

/// Another reading of the same bytes.
pub(crate) fn read_otherwise() -> Vec<Attack> {
    let alice = ACME.sign(ASSERTION);
    let evil = unsigned(&forged());
    let entity = format!("<!DOCTYPE a [<!ENTITY more '{}'>]>", evil.replace('\'', "&#39;"));
    let long = ASSERTION.replace("alice", "mallory.example.test");
    let cut =
        |with: &str| ACME.sign(&long).replace("mallory.example", &format!("mallory{with}.example"));
    let instructed = long.replace("mallory.example", "mallory<?cut here?>.example");
    let with_comments = Signing {
        transforms: transforms(&[ENVELOPED, "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"]),
        ..Signing::default()
    };
    let commented = long.replace("mallory.example", "mallory<!-- -->.example");
    let two_names =
        evil.replace("<saml:Assertion ", "<saml:Assertion xmlns:p=\"urn:p\" p:ID=\"_a\" ");
    let extended = |response: String| {
        response.replace(
            "<samlp:Status>",
            &format!("<samlp:Extensions>{alice}</samlp:Extensions><samlp:Status>"),
        )
    };
    vec![
        // B-40: a scanner sees one assertion where a parser that knows entities sees two.
        attack(
            "roundtrip-doctype",
            Rule::Doctype,
            format!("{entity}{}", around(&format!("&more;{alice}"))),
        ),
        // B-46: rewritten on its way, and signed like that.
        attack("pi-in-nameid", Rule::ProcessingInstruction, around(&cut("<?cut here?>"))),
        attack("pi-signed", Rule::ProcessingInstruction, around(&ACME.sign(&instructed))),
        // B-41, xml-crypto #586: comments are part of what was signed, and of no name.
        attack(
            "c14n-with-comments",
            Rule::Comment,
            around(&ACME.sign_as(&commented, &with_comments)),
        ),
        attack(
            "c14n-with-comments-elsewhere",
            Rule::Transform,
            around(&ACME.sign_as(&forged(), &with_comments)),
        ),
        // B-45: one more attribute of that name.
        attack("attr-pollution", Rule::UniqueId, extended(around(&two_names))),
        attack(
            "attr-pollution-xml-id",
            Rule::UniqueId,
            extended(around(&evil.replace("ID=\"_f\"", "ID=\"_f\" xml:id=\"_a\""))),
        ),
    ]
}

/// A second half of a signature, in a place where somebody looks.
pub(crate) fn signed_in_part() -> Vec<Attack> {
    let good = ACME.signature(ASSERTION, &Signing::default());
    let info = |signature: &str| {
        let (_, rest) = signature.split_once("<ds:SignedInfo>").unwrap();
        format!("<ds:SignedInfo>{}</ds:SignedInfo>", rest.split_once("</ds:SignedInfo>").unwrap().0)
    };
    let good_info = info(&good);
    let evil_info = info(&OTHER.signature(&forged(), &Signing::default()));
    let both = |infos: String| {
        around(&forged().replacen("{signature}", &good.replace(&good_info, &infos), 1))
    };
    let renamed = evil_info
        .replace("<ds:", "<x:")
        .replace("</ds:", "</x:")
        .replace("<x:SignedInfo>", "<x:SignedInfo xmlns:x=\"urn:x\">");
    let in_key_info = good
        .replace("</ds:Signature>", &format!("<ds:KeyInfo>{renamed}</ds:KeyInfo></ds:Signature>"));
    let in_object = good
        .replace("</ds:Signature>", &format!("<ds:Object>{evil_info}</ds:Object></ds:Signature>"));
    vec![
        // B-41, CVE-2025-29774.
        attack("two-signedinfo", Rule::Unexpected, both(format!("{good_info}{evil_info}"))),
        attack("two-signedinfo-first", Rule::Unexpected, both(format!("{evil_info}{good_info}"))),
        attack(
            "two-signedinfo-object",
            Rule::SignaturePlace,
            around(&forged().replacen("{signature}", &in_object, 1)),
        ),
        // B-45: the same local name in another namespace.
        attack(
            "ns-confusion-localname",
            Rule::SignaturePlace,
            both(format!("{renamed}{good_info}")),
        ),
        attack(
            "ns-confusion-keyinfo",
            Rule::SignaturePlace,
            around(&forged().replacen("{signature}", &in_key_info, 1)),
        ),
    ]
}

/// Signed by an identity provider, and not for this: B-17, B-27.
pub(crate) fn said_elsewhere() -> Vec<Attack> {
    let to = |from: &str, to: &str| {
        let assertion = forged();
        assert!(assertion.contains(from), "{from}");
        around(&ACME.sign(&assertion.replace(from, to)))
    };
    let theirs = forged().replace(IDP, "https://idp.other.example/");
    let encrypted = r#"<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{}</saml:EncryptedAssertion>"#;
    vec![
        attack("other-tenants-idp", Rule::Signature, around(&OTHER.sign(&forged()))),
        attack("other-tenants-idp-response", Rule::Signature, {
            OTHER.sign(&RESPONSE.replace("{assertion}", &unsigned(&forged())))
        }),
        attack("other-tenants-idp-issuer", Rule::Signature, around(&OTHER.sign(&theirs))),
        attack("signed-inside-encrypted", Rule::OneAssertion, {
            around(&encrypted.replace("{}", &ACME.sign(&forged())))
        }),
        attack(
            "proto-wrong-recipient",
            Rule::SubjectConfirmation,
            to(
                r#"Recipient="https://acme.partywall.example/saml/acs""#,
                r#"Recipient="https://globex.partywall.example/saml/acs""#,
            ),
        ),
        attack(
            "proto-sc-expired",
            Rule::NotOnOrAfter,
            to(
                r#"NotOnOrAfter="2026-11-25T12:05:00Z" Recipient"#,
                r#"NotOnOrAfter="2026-11-25T11:50:00Z" Recipient"#,
            ),
        ),
        attack(
            "proto-wrong-audience",
            Rule::Audience,
            to("<saml:Audience>https://acme.", "<saml:Audience>https://globex."),
        ),
    ]
}

/// Each of these is there, lets Mallory in with the careless verifier, and not with ours.
fn refuses(names: &[&str]) {
    let all = attacks();
    for name in names {
        let chosen = || all.iter().filter(|attack| attack.name == *name);
        assert_eq!(chosen().count(), 1, "{name}");
        for attack in chosen() {
            let names = believes(&attack.response, &[&ACME.certificate, &OTHER.certificate]);
            assert!(names.contains("mallory"), "{name}");
            let verdict = verify(&attack.response);
            assert_eq!(verdict.err().map(|refused| refused.rule()), Some(attack.rule), "{name}");
        }
    }
    assert!(verify(&around(&ACME.sign(ASSERTION))).is_ok(), "the control");
}

#[test]
fn b13_without_a_key_there_is_no_connection() {
    let mut settings = ACME.settings();
    settings.certificates.clear();
    assert!(matches!(Connection::new(settings), Err(ConnectionError::NoCertificate)));
    // Nor does any setting take a response that nobody signed.
    let mut settings = ACME.settings();
    settings.idp_initiated = true;
    settings.allow_cbc = true;
    let connection = Connection::new(settings).unwrap();
    let nobodys = around(&unsigned(ASSERTION));
    let verdict = connection.verify(nobodys.as_bytes(), &expected());
    assert_eq!(verdict.err().map(|refused| refused.rule()), Some(Rule::Unsigned));
    assert!(connection.verify(around(&ACME.sign(ASSERTION)).as_bytes(), &expected()).is_ok());
}

#[test]
fn b17_what_is_said_to_another_tenant_is_not_said_to_us() {
    refuses(&["proto-wrong-recipient", "proto-sc-expired", "proto-wrong-audience"]);
}

#[test]
fn b19_authentik_cve_2026_47201_wrapping() {
    refuses(&["xsw1", "xsw2", "xsw3", "xsw4", "xsw5", "xsw6", "xsw7", "xsw8"]);
}

#[test]
fn b27_anothers_identity_provider_speaks_for_nobody_here() {
    refuses(&[
        "other-tenants-idp",
        "other-tenants-idp-response",
        "other-tenants-idp-issuer",
        "attacker-key-embedded-cert",
    ]);
}

#[test]
fn b40_ruby_saml_cve_2024_45409_2025_25291_2025_66567() {
    refuses(&[
        "wrap-status",
        "roundtrip-doctype",
        "digest-of-empty-string",
        "doctype",
        "wrap-sameid",
    ]);
}

#[test]
fn b41_xml_crypto_cve_2025_29774_2025_29775_issue_586() {
    refuses(&[
        "two-signedinfo",
        "two-signedinfo-first",
        "two-signedinfo-object",
        "two-references",
        "digestvalue-comment",
        "c14n-with-comments",
        "c14n-with-comments-elsewhere",
    ]);
}

#[test]
fn b42_samlify_node_saml_cve_2025_47949_2025_54419_only_verified_bytes() {
    refuses(&[
        "wrap-extensions",
        "wrap-extensions-response",
        "wrap-advice",
        "wrap-attribute-value",
        "wrap-other-namespace",
        "wrap-signature-moved",
        "transform-xpath",
    ]);
}

#[test]
fn b43_github_cve_2024_6800_2025_23369_wrapping_and_entities() {
    refuses(&[
        "xsw8",
        "roundtrip-doctype",
        "wrap-sameid-other-case",
        "wrap-sameid-response",
        "signed-inside-encrypted",
    ]);
}

#[test]
fn b44_crewjam_cve_2022_41912_lasso_cve_2021_28091_a_second_assertion() {
    refuses(&["xsw3", "xsw3-after", "xsw5"]);
}

#[test]
fn b45_the_fragile_lock() {
    refuses(&[
        "attr-pollution",
        "attr-pollution-xml-id",
        "ns-confusion-localname",
        "ns-confusion-keyinfo",
        "void-c14n",
        "digest-of-empty-string",
    ]);
}

#[test]
fn b46_processing_instructions() {
    refuses(&["pi-in-nameid", "pi-signed", "processing-instruction"]);
}

#[test]
fn b47_artifact_keeper_the_last_assertion_does_not_win() {
    refuses(&["xsw3", "xsw3-after", "xsw4", "xsw6"]);
}

#[test]
fn b48_cve_2017_11428_a_name_is_not_cut_at_a_comment() {
    refuses(&["comment-in-nameid"]);
}
