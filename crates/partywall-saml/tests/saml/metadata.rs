//! I-11, I-23: what is given away and taken in when trust is set up.

use partywall_saml::SpMetadata;
use roxmltree::Document;

use crate::request::{certificate, p256, rsa};
use crate::support::{ACS, DS, SP};

const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";

#[test]
fn i11_our_metadata_has_two_keys_of_each_kind_while_they_change() {
    let signing = [certificate(&rsa()), certificate(&p256())];
    let encryption = [certificate(&rsa())];
    let metadata = SpMetadata {
        entity_id: SP,
        acs_url: ACS,
        slo_url: Some("https://acme.partywall.example/saml/slo?a=1&b"),
        signing: &signing,
        encryption: &encryption,
        name_id_formats: &["urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"],
    };
    let xml = metadata.xml();
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert!(root.has_tag_name((MD, "EntityDescriptor")));
    assert_eq!(root.attribute("entityID"), Some(SP));
    let role = root.first_element_child().unwrap();
    assert_eq!(role.attribute("AuthnRequestsSigned"), Some("true"));
    assert_eq!(role.attribute("WantAssertionsSigned"), Some("true"));
    // The schema's order.
    let names: Vec<_> =
        role.children().map(|n| (n.tag_name().name(), n.attribute("use"))).collect();
    assert_eq!(
        names,
        [
            ("KeyDescriptor", Some("signing")),
            ("KeyDescriptor", Some("signing")),
            ("KeyDescriptor", Some("encryption")),
            ("SingleLogoutService", None),
            ("SingleLogoutService", None),
            ("NameIDFormat", None),
            ("AssertionConsumerService", None),
        ]
    );
    let logout: Vec<_> = role
        .children()
        .filter(|n| n.has_tag_name((MD, "SingleLogoutService")))
        .map(|n| (n.attribute("Binding").unwrap(), n.attribute("Location").unwrap()))
        .collect();
    let slo = "https://acme.partywall.example/saml/slo?a=1&b";
    assert_eq!(
        logout,
        [
            ("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect", slo),
            ("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST", slo),
        ]
    );
    let consumer = role.last_element_child().unwrap();
    assert_eq!(consumer.attribute("Location"), Some(ACS));
    assert_eq!(
        consumer.attribute("Binding"),
        Some("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST")
    );
    let published: Vec<_> = document
        .descendants()
        .filter(|n| n.has_tag_name((DS, "X509Certificate")))
        .map(|n| partywall_saml::Certificate::from_text(n.text().unwrap()).unwrap())
        .collect();
    assert_eq!(published, [&signing[..], &encryption].concat());
}

#[test]
fn s09_metadata_without_keys_says_that_requests_are_not_signed() {
    let metadata = SpMetadata {
        entity_id: SP,
        acs_url: ACS,
        slo_url: None,
        signing: &[],
        encryption: &[],
        name_id_formats: &[],
    };
    let xml = metadata.xml();
    assert!(xml.contains(r#"AuthnRequestsSigned="false" WantAssertionsSigned="true""#), "{xml}");
    assert!(!xml.contains("KeyDescriptor"), "{xml}");
    assert!(!xml.contains("SingleLogoutService"), "{xml}");
}
