//! I-11, I-23: what is given away and taken in when trust is set up.

use base64ct::{Base64, Encoding};
use partywall_saml::{
    Binding, CertificateError, Change, ChangeKind, Endpoint, IdpMetadata, Import, MetadataError,
    SpMetadata, Trust, Trusted,
};
use roxmltree::Document;

use crate::request::{certificate, p256, rsa};
use crate::support::{ACME, ACS, DS, IDP, OTHER, SP, now};

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

/// An identity provider's metadata, with these key descriptors.
fn idp(keys: &str) -> String {
    format!(
        r#"<md:EntityDescriptor xmlns:md="{MD}" entityID="{IDP}"><!-- made by hand --><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol urn:oasis:names:tc:SAML:2.0:protocol">{keys}<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.acme.example/slo" ResponseLocation="https://idp.acme.example/slo/done"/><md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="http://idp.acme.example/soap"/><md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.acme.example/sso"/><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.acme.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>"#
    )
}

fn key(purpose: &str, certificate: &[u8]) -> String {
    let certificate = Base64::encode_string(certificate);
    format!(
        r#"<md:KeyDescriptor{purpose}><ds:KeyInfo xmlns:ds="{DS}"><ds:KeyName>k</ds:KeyName><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"#
    )
}

fn acme() -> String {
    idp(&key(" use=\"signing\"", &ACME.certificate))
}

fn read(document: &str) -> Result<IdpMetadata, MetadataError> {
    IdpMetadata::read(document.as_bytes(), &Import::default())
}

#[test]
fn s08_an_identity_providers_metadata_is_read() {
    let metadata = read(&acme()).unwrap();
    assert_eq!(metadata.entity_id, IDP);
    assert_eq!(metadata.certificates, [ACME.trusted()]);
    let at = |binding| Endpoint {
        binding,
        location: "https://idp.acme.example/sso".to_owned(),
        response_location: None,
    };
    assert_eq!(metadata.sso, [at(Binding::Redirect), at(Binding::Post)]);
    let [slo] = metadata.slo.as_slice() else { panic!("SOAP is not spoken") };
    assert_eq!(slo.location, "https://idp.acme.example/slo");
    assert_eq!(slo.response_location.as_deref(), Some("https://idp.acme.example/slo/done"));
    assert!(!metadata.wants_signed_requests);
    assert_eq!(metadata.name_id_formats, ["urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"]);
    assert_eq!(metadata.valid_until, None);

    for (value, wants) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let document = acme().replace(
            "<md:IDPSSODescriptor ",
            &format!(r#"<md:IDPSSODescriptor WantAuthnRequestsSigned="{value}" "#),
        );
        assert_eq!(read(&document).unwrap().wants_signed_requests, wants);
    }
    // Of the role and what is around it, the earliest.
    let until = acme()
        .replace(" entityID", r#" validUntil="2026-11-26T12:00:00Z" entityID"#)
        .replace(" protocolSupport", r#" validUntil="2026-11-25T12:00:00Z" protocolSupport"#);
    assert_eq!(read(&until).unwrap().valid_until, Some(now()));
}

/// B-13: an absent key usage once turned verification off (Keycloak CVE-2026-16443).
#[test]
fn b13_a_key_without_a_purpose_is_for_signing_too() {
    let other = key("", &OTHER.certificate);
    assert_eq!(read(&idp(&other)).unwrap().certificates, [OTHER.trusted()]);
    let both = format!("{}{other}", key(" use=\"signing\"", &ACME.certificate));
    assert_eq!(read(&idp(&both)).unwrap().certificates, [ACME.trusted(), OTHER.trusted()]);
    let twice = format!("{other}{}", key(" use=\"signing\"", &OTHER.certificate));
    assert_eq!(read(&idp(&twice)).unwrap().certificates, [OTHER.trusted()]);
}

#[test]
fn s08_without_a_signing_key_there_is_nothing_to_trust() {
    let encryption = key(" use=\"encryption\"", &ACME.certificate);
    let nameless = format!(
        r#"<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:KeyName>k</ds:KeyName></ds:KeyInfo></md:KeyDescriptor>"#
    );
    for keys in ["", &encryption, &nameless, r#"<md:KeyDescriptor use="signing"/>"#] {
        assert_eq!(read(&idp(keys)), Err(MetadataError::NoSigningKey), "{keys}");
    }
    // An encryption key beside it is no signing key.
    let both = format!("{}{encryption}", key(" use=\"signing\"", &OTHER.certificate));
    assert_eq!(read(&idp(&both)).unwrap().certificates, [OTHER.trusted()]);
    let empty = key(" use=\"signing\"", b"");
    assert!(matches!(read(&idp(&empty)), Err(MetadataError::Certificate(_))));
    let chain = key(" use=\"signing\"", &ACME.certificate).replace(
        "</ds:X509Data>",
        &format!(
            "<ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data>",
            Base64::encode_string(&OTHER.certificate)
        ),
    );
    assert_eq!(read(&idp(&chain)), Err(MetadataError::SeveralCertificates));
    let odd = key(" use=\"none\"", &ACME.certificate);
    assert!(matches!(read(&idp(&odd)), Err(MetadataError::Refused(_))));
}

#[test]
fn s07_weak_keys_are_not_trusted() {
    use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    let weak = crate::support::rsa_certificate(128);
    assert!(matches!(
        read(&idp(&key("", &weak))),
        Err(MetadataError::Certificate(CertificateError::Key))
    ));
    assert!(read(&idp(&key("", &crate::support::rsa_certificate(256)))).is_ok());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256K1_SHA256_ASN1_SIGNING).unwrap();
    let other = crate::support::ec_certificate("2b8104000a", pair.public_key().as_ref());
    assert!(matches!(
        read(&idp(&key("", &other))),
        Err(MetadataError::Certificate(CertificateError::Key))
    ));
}

#[test]
fn i23_of_several_identity_providers_one_is_named() {
    let second = acme().replace(IDP, "https://idp.other.example/");
    let service = format!(
        r#"<md:EntityDescriptor xmlns:md="{MD}" entityID="sp"><md:SPSSODescriptor/></md:EntityDescriptor>"#
    );
    let saml1 = acme().replace(" urn:oasis:names:tc:SAML:2.0:protocol\"", "\"");
    let group = |entities: &[&str]| {
        format!(
            r#"<md:EntitiesDescriptor xmlns:md="{MD}" validUntil="2026-11-25T12:00:00Z"><md:EntitiesDescriptor>{}</md:EntitiesDescriptor></md:EntitiesDescriptor>"#,
            entities.concat()
        )
    };
    let named = |document: &str, entity_id| {
        let import = Import { entity_id: Some(entity_id), ..Import::default() };
        IdpMetadata::read(document.as_bytes(), &import)
    };
    let one = read(&group(&[&service, &acme()])).unwrap();
    assert_eq!((one.entity_id.as_str(), one.valid_until), (IDP, Some(now())));
    let both = group(&[&acme(), &second]);
    let several =
        MetadataError::Several(vec![IDP.to_owned(), "https://idp.other.example/".to_owned()]);
    assert_eq!(read(&both), Err(several));
    assert_eq!(named(&both, IDP).unwrap().entity_id, IDP);
    let missing = Err(MetadataError::NotFound(Some("x".to_owned())));
    assert_eq!(named(&both, "x"), missing);
    assert_eq!(named(&acme(), "x"), missing);
    for none in [&service, &saml1, &group(&[])] {
        assert_eq!(read(none), Err(MetadataError::NotFound(None)));
    }
    let twice = group(&[&acme(), &acme()]);
    assert!(matches!(named(&twice, IDP), Err(MetadataError::Several(_))));
    let (_, rest) = acme_role();
    let two_roles =
        acme().replace("</md:EntityDescriptor>", &format!("{rest}</md:EntityDescriptor>"));
    assert!(matches!(read(&two_roles), Err(MetadataError::Refused(_))));
    assert!(matches!(read("<a/>"), Err(MetadataError::Refused(_))));
    for id in ["", " a", &"a".repeat(1025)] {
        let document = acme().replace(&format!("\"{IDP}\""), &format!("\"{id}\""));
        assert_eq!(read(&document), Err(MetadataError::EntityId));
    }
}

fn acme_role() -> (String, String) {
    let document = acme();
    let (before, role) = document.split_once("<md:IDPSSODescriptor").unwrap();
    let (role, _) = role.split_once("</md:EntityDescriptor>").unwrap();
    (before.to_owned(), format!("<md:IDPSSODescriptor{role}"))
}

#[test]
fn i26_people_are_sent_to_https_addresses() {
    for (from, to) in [
        ("https://idp.acme.example/sso", "http://idp.acme.example/sso"),
        ("https://idp.acme.example/slo\"", "http://idp.acme.example/slo\""),
        ("https://idp.acme.example/slo/done", "http://idp.acme.example/slo/done"),
    ] {
        let plain = acme().replace(from, to);
        assert!(matches!(read(&plain), Err(MetadataError::Url(_))), "{to}");
        let import = Import { allow_http: true, ..Import::default() };
        assert!(IdpMetadata::read(plain.as_bytes(), &import).is_ok(), "{to}");
        let script = acme().replace(from, "javascript:alert(1)");
        let refused = IdpMetadata::read(script.as_bytes(), &import);
        assert!(refused.is_err(), "{to}");
    }
    let soap = "urn:oasis:names:tc:SAML:2.0:bindings:SOAP";
    let nowhere = acme()
        .replace("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect", soap)
        .replace("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST", soap);
    assert_eq!(read(&nowhere), Err(MetadataError::NoSingleSignOn));
}

#[test]
fn s06_metadata_keeps_to_the_limits() {
    for document in [
        format!("<!DOCTYPE a>{}", acme()),
        acme().replace("made by hand", &"x".repeat(256 * 1024)),
        acme().replace(":persistent<", "<!-- -->:persistent<"),
    ] {
        assert!(matches!(read(&document), Err(MetadataError::Refused(_))));
    }
}

fn changes(old: &Trust, new: &Trust) -> Vec<(ChangeKind, String)> {
    old.diff(new).into_iter().map(|change| (change.kind, change.to_string())).collect()
}

#[test]
fn i23_what_would_be_trusted_is_said() {
    use ChangeKind::{Added, Kept, Removed};

    let first = Trust::from(&read(&acme()).unwrap());
    let all = changes(&Trust::default(), &first);
    assert!(all.iter().all(|(kind, _)| *kind == Added));
    let sentences: Vec<_> = all.iter().map(|(_, sentence)| sentence.as_str()).collect();
    assert_eq!(sentences.len(), 5);
    assert_eq!(sentences[0], "Sign-ins by \"https://idp.acme.example/\" will be accepted.");
    assert_eq!(
        sentences[1],
        format!(
            "Sign-ins signed with the key of \"CN=idp\" will be accepted: certificate SHA-256 {}, \
             valid until 2040-01-01T00:00:00Z.",
            ACME.trusted().fingerprint_text()
        )
    );
    assert_eq!(
        sentences[2],
        "People will be sent to https://idp.acme.example/sso (HTTP-Redirect) to sign in."
    );
    assert_eq!(
        sentences[4],
        "Logout messages will be sent to https://idp.acme.example/slo (HTTP-Redirect), answers \
         to https://idp.acme.example/slo/done."
    );
    assert!(changes(&first, &first).iter().all(|(kind, _)| *kind == Kept));

    // A second key comes, and the first goes.
    let keys = |list: &[&[u8]]| {
        let keys: String = list.iter().map(|certificate| key("", certificate)).collect();
        Trust::from(&read(&idp(&keys)).unwrap())
    };
    let kinds = |old: &Trust, new: &Trust| {
        let is_key = |change: &Change| matches!(change.trusted, Trusted::Certificate(_));
        old.diff(new).into_iter().filter(is_key).map(|change| change.kind).collect::<Vec<_>>()
    };
    let both = keys(&[&ACME.certificate, &OTHER.certificate]);
    let second = keys(&[&OTHER.certificate]);
    assert_eq!(kinds(&first, &both), [Kept, Added]);
    assert_eq!(kinds(&both, &second), [Kept, Removed]);
    assert_eq!(kinds(&first, &second), [Added, Removed]);
}

#[test]
fn i04_another_identity_provider_is_told_from_a_change_of_keys() {
    let trust = |entity_id: &str, list: &[&[u8]]| {
        let keys: String = list.iter().map(|certificate| key("", certificate)).collect();
        Trust::from(&read(&idp(&keys).replace(IDP, entity_id)).unwrap())
    };
    let old = trust(IDP, &[&ACME.certificate]);
    assert!(old.is_continued_by(&trust(IDP, &[&ACME.certificate, &OTHER.certificate])));
    assert!(!old.is_continued_by(&trust(IDP, &[&OTHER.certificate])));
    assert!(!old.is_continued_by(&trust("https://idp.other.example/", &[&ACME.certificate])));
    assert!(!Trust::default().is_continued_by(&old));
    assert!(!Trust::default().is_continued_by(&Trust::default()));

    // The same key in a new certificate is the same trust.
    let signer = rsa();
    let certificate = |days: u64| {
        let until = now() + std::time::Duration::from_secs(days * 86_400);
        signer.certificate("idp", now(), until).unwrap()
    };
    let (before, after) = (certificate(1), certificate(2));
    assert_ne!(before.fingerprint(), after.fingerprint());
    let (before, after) = (trust(IDP, &[before.der()]), trust(IDP, &[after.der()]));
    assert!(before.is_continued_by(&after));
    let kept = before.diff(&after);
    assert!(kept.iter().all(|change| change.kind == ChangeKind::Kept), "{kept:?}");
}
