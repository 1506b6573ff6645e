//! An identity provider of the tests.
//!
//! What it signs is written in canonical form by hand, so that nothing of the crate's own
//! canonicalization is in what it is tested with.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64ct::{Base64, Encoding};
use partywall_saml::{Assertion, Certificate, Connection, Expected, Refused, Rule, Settings};

pub(crate) const SP: &str = "https://acme.partywall.example/saml";
pub(crate) const ACS: &str = "https://acme.partywall.example/saml/acs";
pub(crate) const IDP: &str = "https://idp.acme.example/";
pub(crate) const REQUEST: &str = "_request";
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";

/// 2026-11-25T12:00:00Z.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_608_000)
}

/// Alice's, issued at noon for five minutes. `{signature}` is where the signature goes.
pub(crate) const ASSERTION: &str = concat!(
    r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a" IssueInstant="2026-11-25T12:00:00Z" Version="2.0">"#,
    r#"<saml:Issuer>https://idp.acme.example/</saml:Issuer>{signature}"#,
    r#"<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID>"#,
    r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">"#,
    r#"<saml:SubjectConfirmationData InResponseTo="_request" NotOnOrAfter="2026-11-25T12:05:00Z" Recipient="https://acme.partywall.example/saml/acs"></saml:SubjectConfirmationData>"#,
    r#"</saml:SubjectConfirmation></saml:Subject>"#,
    r#"<saml:Conditions NotBefore="2026-11-25T12:00:00Z" NotOnOrAfter="2026-11-25T12:05:00Z"><saml:AudienceRestriction>"#,
    r#"<saml:Audience>https://acme.partywall.example/saml</saml:Audience></saml:AudienceRestriction></saml:Conditions>"#,
    r#"<saml:AuthnStatement AuthnInstant="2026-11-25T11:59:58Z" SessionIndex="_s"><saml:AuthnContext>"#,
    r#"<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"#,
    r#"<saml:AttributeStatement><saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue>"#,
    r#"<saml:AttributeValue>R&amp;D</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>"#,
);

/// Around `{assertion}`.
pub(crate) const RESPONSE: &str = concat!(
    r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="https://acme.partywall.example/saml/acs" ID="_r" InResponseTo="_request" IssueInstant="2026-11-25T12:00:00Z" Version="2.0">"#,
    r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.acme.example/</saml:Issuer>{signature}"#,
    r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status>"#,
    r#"{assertion}</samlp:Response>"#,
);

/// The connection's identity provider. RSA keys take long to make.
pub(crate) static ACME: LazyLock<Idp> = LazyLock::new(Idp::rsa);
/// Somebody else's.
pub(crate) static OTHER: LazyLock<Idp> = LazyLock::new(Idp::rsa);

pub(crate) struct Idp {
    key: Key,
    pub(crate) certificate: Vec<u8>,
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Idp {
    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // rsaEncryption, with NULL.
        let algorithm = [&oid("2a864886f70d010101")[..], &[5, 0]].concat();
        Self {
            certificate: certificate(&algorithm, pair.public_key().as_ref()),
            key: Key::Rsa(pair),
        }
    }

    pub(crate) fn p256() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "2a8648ce3d030107")
    }

    pub(crate) fn p384() -> Self {
        Self::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "2b81040022")
    }

    pub(crate) fn p521() -> Self {
        Self::ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "2b81040023")
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let algorithm = [oid("2a8648ce3d0201"), oid(curve)].concat();
        Self {
            certificate: certificate(&algorithm, pair.public_key().as_ref()),
            key: Key::Ec(pair),
        }
    }

    /// PKCS#8; of RSA keys only.
    pub(crate) fn private_key(&self) -> Vec<u8> {
        let Key::Rsa(pair) = &self.key else { return Vec::new() };
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        der.as_ref().to_vec()
    }

    pub(crate) fn trusted(&self) -> Certificate {
        Certificate::from_der(&self.certificate).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            sp_entity_id: SP.to_owned(),
            acs_url: ACS.to_owned(),
            idp_entity_id: IDP.to_owned(),
            certificates: vec![self.trusted()],
            idp_initiated: false,
            decryption_keys: Vec::new(),
            allow_cbc: false,
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::new(self.settings()).unwrap()
    }

    /// `element` signed as identity providers do.
    pub(crate) fn sign(&self, element: &str) -> String {
        self.sign_as(element, &Signing::default())
    }

    pub(crate) fn sign_as(&self, element: &str, signing: &Signing) -> String {
        element.replacen("{signature}", &self.signature(element, signing), 1)
    }

    /// The signature of `element`, whose place it leaves out.
    pub(crate) fn signature(&self, element: &str, signing: &Signing) -> String {
        let octets = element.replacen("{signature}", "", 1);
        let id = octets.split("ID=\"").nth(1).unwrap();
        let uri = format!("#{}", id.split('"').next().unwrap());
        let octets = signing.octets.clone().unwrap_or(octets);
        let digest = match signing.digest.as_str() {
            "http://www.w3.org/2001/04/xmlenc#sha256" => &digest::SHA256,
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => &digest::SHA384,
            "http://www.w3.org/2001/04/xmlenc#sha512" => &digest::SHA512,
            _ => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        let digest = Base64::encode_string(digest::digest(digest, octets.as_bytes()).as_ref());
        let inner = format!(
            r#"<ds:CanonicalizationMethod Algorithm="{}"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="{}"></ds:SignatureMethod><ds:Reference URI="{}"><ds:Transforms>{}</ds:Transforms><ds:DigestMethod Algorithm="{}"></ds:DigestMethod><ds:DigestValue>{}</ds:DigestValue></ds:Reference>{}"#,
            signing.canonicalization,
            signing.algorithm,
            signing.uri.clone().unwrap_or(uri),
            signing.transforms,
            signing.digest,
            signing.digest_value.clone().unwrap_or(digest),
            signing.more_references,
        );
        let info = format!(r#"<ds:SignedInfo xmlns:ds="{DS}">{inner}</ds:SignedInfo>"#);
        let value = Base64::encode_string(&self.value(&signing.algorithm, info.as_bytes()));
        format!(
            r#"<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>{inner}</ds:SignedInfo><ds:SignatureValue>{value}</ds:SignatureValue>{}</ds:Signature>"#,
            signing.after
        )
    }

    /// The signature of these octets.
    pub(crate) fn value(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        if algorithm.contains("hmac") {
            // The confusion: the public certificate as the secret.
            let key = hmac::Key::new(hmac::HMAC_SHA256, &self.certificate);
            return hmac::sign(&key, signed).as_ref().to_vec();
        }
        match &self.key {
            Key::Rsa(pair) => {
                let padding = match algorithm {
                    a if a.ends_with("sha384") => &RSA_PKCS1_SHA384,
                    a if a.ends_with("sha512") => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut value = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, signed, &mut value).unwrap();
                value
            }
            Key::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
        }
    }
}

/// How to sign, where it is not as usual.
pub(crate) struct Signing {
    pub(crate) canonicalization: String,
    pub(crate) algorithm: String,
    pub(crate) uri: Option<String>,
    pub(crate) transforms: String,
    pub(crate) digest: String,
    pub(crate) digest_value: Option<String>,
    /// What is digested in the element's place.
    pub(crate) octets: Option<String>,
    pub(crate) more_references: String,
    /// After the signature's value: `KeyInfo`, `Object`.
    pub(crate) after: String,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            canonicalization: EXCLUSIVE.to_owned(),
            algorithm: format!("{MORE}rsa-sha256"),
            uri: None,
            transforms: transforms(&[ENVELOPED, EXCLUSIVE]),
            digest: "http://www.w3.org/2001/04/xmlenc#sha256".to_owned(),
            digest_value: None,
            octets: None,
            more_references: String::new(),
            after: String::new(),
        }
    }
}

impl Signing {
    pub(crate) fn with(algorithm: &str, digest: &str) -> Self {
        Self { algorithm: algorithm.to_owned(), digest: digest.to_owned(), ..Self::default() }
    }
}

pub(crate) fn transforms(algorithms: &[&str]) -> String {
    algorithms.iter().map(|a| format!(r#"<ds:Transform Algorithm="{a}"></ds:Transform>"#)).collect()
}

/// An unsigned response around these assertions.
pub(crate) fn around(assertions: &str) -> String {
    RESPONSE.replace("{signature}", "").replace("{assertion}", assertions)
}

/// Without a signature.
pub(crate) fn unsigned(element: &str) -> String {
    element.replacen("{signature}", "", 1)
}

pub(crate) fn expected() -> Expected<'static> {
    Expected { request_id: Some(REQUEST), now: now() }
}

/// What the connection of [`ACME`] makes of a response.
pub(crate) fn verify(response: &str) -> Result<Assertion, Refused> {
    ACME.connection().verify(response.as_bytes(), &expected())
}

pub(crate) fn rule(response: &str) -> Option<Rule> {
    verify(response).err().map(|refused| refused.rule())
}

/// The certificate of an RSA key with a modulus of so many bytes.
pub(crate) fn rsa_certificate(modulus: usize) -> Vec<u8> {
    let modulus = [&[0, 0x80][..], &vec![1; modulus - 1]].concat();
    let key = der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat());
    certificate(&[&oid("2a864886f70d010101")[..], &[5, 0]].concat(), &key)
}

/// The certificate of a key on a curve.
pub(crate) fn ec_certificate(curve: &str, key: &[u8]) -> Vec<u8> {
    certificate(&[oid("2a8648ce3d0201"), oid(curve)].concat(), key)
}

/// A self-made certificate: X.509 v3, of which the signature is rubbish and the key real.
fn certificate(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = |bytes: &[u8]| der(3, &[&[0], bytes].concat());
    let signature = der(0x30, &oid("2a864886f70d01010b"));
    let common_name = der(0x30, &[oid("550403"), der(0x0c, b"idp")].concat());
    let name = der(0x30, &der(0x31, &common_name));
    let validity = [der(0x17, b"200101000000Z"), der(0x17, b"400101000000Z")].concat();
    let info = [der(0x30, algorithm), bits(key)].concat();
    let certificate = [
        der(0xa0, &der(2, &[2])),
        der(2, &[1]),
        signature.clone(),
        name.clone(),
        der(0x30, &validity),
        name,
        der(0x30, &info),
    ]
    .concat();
    der(0x30, &[der(0x30, &certificate), signature, bits(b"rubbish")].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let head = match length {
        0..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

fn oid(hex: &str) -> Vec<u8> {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    der(6, &bytes)
}

/// What `xmlsec1` makes of the signature of a message, below which it stands; `None` if there is
/// no such program, which CI does not get away with.
pub(crate) fn xmlsec1(xml: &str, root: &str, certificate: &[u8]) -> Option<bool> {
    let root = format!("urn:oasis:names:tc:SAML:2.0:protocol:{root}");
    let files = [("message.xml", xml.as_bytes()), ("certificate.der", certificate)];
    let arguments = ["--verify", "--pubkey-cert-der", "certificate.der", "--id-attr:ID", &root];
    let assertion = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion";
    let arguments = [&arguments[..], &["--id-attr:ID", assertion, "message.xml"]].concat();
    run("xmlsec1", &arguments, &files).map(|output| output.status.success())
}

/// What `xmlsec1` makes of a template and what is to be encrypted to this key; `None` as before.
pub(crate) fn xmlsec1_encrypt(
    template: &str,
    plain: &str,
    key: &[u8],
    session_key: &str,
) -> Option<String> {
    let files =
        [("template.xml", template.as_bytes()), ("plain.xml", plain.as_bytes()), ("key.der", key)];
    let arguments = ["--encrypt", "--pubkey-der", "key.der", "--session-key", session_key];
    let arguments = [&arguments[..], &["--xml-data", "plain.xml", "template.xml"]].concat();
    let output = run("xmlsec1", &arguments, &files)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What `xmllint` makes of a document by this schema; `None` as before.
pub(crate) fn xmllint(xml: &str, schema: &std::path::Path) -> Option<Result<(), String>> {
    let arguments = ["--nonet", "--noout", "--schema", schema.to_str().unwrap(), "document.xml"];
    let output = run("xmllint", &arguments, &[("document.xml", xml.as_bytes())])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(said) })
}

/// Runs a program beside these files.
fn run(program: &str, arguments: &[&str], files: &[(&str, &[u8])]) -> Option<std::process::Output> {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};

    static COUNTER: AtomicU32 = AtomicU32::new(0);

    if Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
        eprintln!("SKIPPED: {program} is not installed");
        return None;
    }
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("partywall-saml-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    for (name, content) in files {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let output = Command::new(program).args(arguments).current_dir(&directory).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    Some(output)
}

/// An RSA private key of PKCS#1 as PKCS#8 has it (RFC 5958).
pub(crate) fn pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[&oid("2a864886f70d010101")[..], &[5, 0]].concat());
    der(0x30, &[der(2, &[0]), algorithm, der(4, pkcs1)].concat())
}
