//! An identity provider of the bench, and what it sends. Canonical by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use partywall::{Clock, SystemClock, Timestamp};
use partywall_saml::{Certificate, Connection, Settings, Signer, SpMetadata};

pub(crate) const SP: &str = "https://acme.partywall.example/saml";
pub(crate) const ACS: &str = "https://acme.partywall.example/saml/acs";
pub(crate) const REQUEST: &str = "_request";
const IDP: &str = "https://idp.acme.example/";

pub(crate) struct Idp {
    key: RsaKeyPair,
    certificate: Certificate,
    pub(crate) now: SystemTime,
}

impl Idp {
    pub(crate) fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let signer = Signer::from_pkcs8(key.as_der().unwrap().as_ref()).unwrap();
        let now = now();
        let day = Duration::from_secs(86_400);
        let certificate = signer.certificate("idp", now - day, now + day).unwrap();
        Self { key, certificate, now }
    }

    pub(crate) fn connection(&self) -> Connection {
        connection(self.certificate.clone())
    }

    pub(crate) fn certificate_base64(&self) -> String {
        let metadata = SpMetadata {
            entity_id: SP,
            acs_url: ACS,
            slo_url: None,
            signing: std::slice::from_ref(&self.certificate),
            encryption: &[],
            name_id_formats: &[],
        };
        let xml = metadata.xml();
        let (_, rest) = xml.split_once("X509Certificate>").unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    }

    /// CPU time of verifying one RSA signature.
    pub(crate) fn signature_alone(&self, rounds: usize) -> Duration {
        let mut value = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"x", &mut value).unwrap();
        let public = self.key.public_key().as_ref();
        let began = super::cpu();
        for _ in 0..rounds {
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
            key.verify(std::hint::black_box(b"x"), &value).unwrap();
        }
        (super::cpu() - began) / u32::try_from(rounds).unwrap()
    }

    /// A response with a signed assertion of about so many bytes.
    pub(crate) fn response(&self, bytes: usize) -> String {
        let mut values = String::new();
        while values.len() < bytes.saturating_sub(2_800) {
            values.push_str("<saml:AttributeValue>CN=engineering-platform,OU=groups,DC=acme,DC=example</saml:AttributeValue>");
        }
        self.signed(&values)
    }

    /// With these in the assertion's one attribute.
    fn signed(&self, values: &str) -> String {
        let at = |offset: u64| {
            let since = self.now.duration_since(UNIX_EPOCH).unwrap().as_secs();
            Timestamp(since + offset).to_rfc3339()
        };
        let (now, later) = (at(0), at(300));
        let before = format!(
            r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a" IssueInstant="{now}" Version="2.0"><saml:Issuer>{IDP}</saml:Issuer>"#
        );
        let after = format!(
            r#"<saml:Subject><saml:NameID>alice</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="{REQUEST}" NotOnOrAfter="{later}" Recipient="{ACS}"></saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{now}" NotOnOrAfter="{later}"><saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{now}" SessionIndex="_s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="groups">{values}</saml:Attribute></saml:AttributeStatement></saml:Assertion>"#
        );
        let hash = base64(digest(&SHA256, format!("{before}{after}").as_bytes()).as_ref());
        let info = format!(
            r##"<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod><ds:Reference URI="#_a"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod><ds:DigestValue>{hash}</ds:DigestValue></ds:Reference>"##
        );
        let signed = format!(
            r#"<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{info}</ds:SignedInfo>"#
        );
        let mut value = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut value)
            .unwrap();
        format!(
            r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="{ACS}" ID="_r" InResponseTo="{REQUEST}" IssueInstant="{now}" Version="2.0"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{IDP}</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status>{before}<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>{info}</ds:SignedInfo><ds:SignatureValue>{}</ds:SignatureValue></ds:Signature>{after}</samlp:Response>"#,
            base64(&value)
        )
    }
}

/// Peers ask the clock, too.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(SystemClock::default().now().0)
}

pub(crate) fn connection(certificate: Certificate) -> Connection {
    Connection::new(Settings {
        sp_entity_id: SP.to_owned(),
        acs_url: ACS.to_owned(),
        idp_entity_id: IDP.to_owned(),
        certificates: vec![certificate],
        idp_initiated: false,
        decryption_keys: Vec::new(),
        allow_cbc: false,
    })
    .unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(bytes)
}

/// As large as is taken or larger, and as much work as can be made of it.
pub(crate) fn hostile(idp: &Idp) -> Vec<(&'static str, String)> {
    let response = idp.response(0);
    let unsigned = |content: &str| {
        let extensions = format!("<samlp:Extensions>{content}</samlp:Extensions><samlp:Status>");
        response.replace("<samlp:Status>", &extensions)
    };
    let digested =
        |content: &str| response.replace("<saml:Subject>", &format!("{content}<saml:Subject>"));
    let room = 256 * 1024 - response.len() - 64;
    let fill = |part: &str| part.repeat((room / part.len()).min(16_000));
    let namespaces: String = (0..60).map(|i| format!(" xmlns:n{i}=\"u:{i}\"")).collect();
    let users: String = (0..60).map(|i| format!(" n{i}:a=\"\"")).collect();
    let attributes: String = (0..64).map(|i| format!(" a{i}=\"\"")).collect();
    let used = format!("<e{users}/>");
    let used = used.repeat(((room - namespaces.len() - 20) / used.len()).min(250));
    let ids: String = (0..9_000).map(|i| format!("<e ID=\"i{i}\"/>")).collect();
    let deep =
        |depth: usize| format!("{}{}", "<e xmlns:p=\"u:p\">".repeat(depth), "</e>".repeat(depth));
    let long = format!("u:{}", "x".repeat(100_000));
    let listed = |content: &str| {
        let names: Vec<_> = (0..32).map(|i| format!("n{i}")).collect();
        let list = format!(
            r#"<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{}"/></ds:Transform></ds:Transforms>"#,
            names.join(" ")
        );
        digested(content).replace("</ds:Transform></ds:Transforms>", &list)
    };
    let inside = format!("<e{namespaces}>{}</e>", "<f/>".repeat(15_000));
    let values = idp.signed(&fill("<saml:AttributeValue></saml:AttributeValue>"));
    let names: String =
        (0..3_000).map(|i| format!("</saml:Attribute><saml:Attribute Name=\"{i}\">")).collect();
    vec![
        ("values, signed", values),
        ("attributes, signed", idp.signed(&names)),
        (
            "text, signed",
            idp.signed(&format!(
                "<saml:AttributeValue>{}</saml:AttributeValue>",
                "&#xD;".repeat(room / 5)
            )),
        ),
        ("elements", unsigned(&fill("<e/>"))),
        ("elements, digested", digested(&fill("<e/>"))),
        ("too many elements", unsigned(&"<e/>".repeat(room / 4))),
        ("names, unsigned", unsigned(&ids)),
        ("deep", unsigned(&"<e>".repeat(room / 3))),
        ("nested", digested(&fill(&deep(60)))),
        ("attributes", digested(&format!("<e{attributes}/>").repeat(250))),
        ("too many attributes", digested(&fill(&format!("<e{attributes}/>")))),
        ("namespaces in scope", digested(&inside)),
        ("namespaces used", digested(&format!("<e{namespaces}>{used}</e>"))),
        ("namespaces listed", listed(&inside)),
        ("amplified", digested(&format!("<e xmlns:p=\"{long}\">{}</e>", "<p:f/>".repeat(15_000)))),
        ("comments", unsigned(&"<!---->".repeat(room / 7))),
        ("references", unsigned(&"&amp;".repeat(room / 5))),
        ("open quote", unsigned(&"<e a='".repeat(room / 6))),
        (
            "base64",
            response.replace(
                "<ds:SignatureValue>",
                &format!("<ds:SignatureValue>{}", "A".repeat(room)),
            ),
        ),
        ("too large", "<e/>".repeat(4_000_000)),
    ]
}
