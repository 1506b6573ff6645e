//! S-12, I-24: what is encrypted is decrypted, and believed no more for it.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, EncryptingKey, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
};
use base64ct::{Base64, Encoding};
use partywall_saml::{
    Assertion, Connection, ConnectionError, DecryptionKey, Refused, Rule, Settings,
};
use std::sync::LazyLock;

use crate::support::{ACME, ASSERTION, OTHER, RESPONSE, around, expected, unsigned};

const GCM_128: &str = "http://www.w3.org/2009/xmlenc11#aes128-gcm";
const GCM_256: &str = "http://www.w3.org/2009/xmlenc11#aes256-gcm";
const CBC_128: &str = "http://www.w3.org/2001/04/xmlenc#aes128-cbc";
const CBC_256: &str = "http://www.w3.org/2001/04/xmlenc#aes256-cbc";
const MGF1P: &str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";
const OAEP: &str = "http://www.w3.org/2009/xmlenc11#rsa-oaep";
const DIGEST_SHA1: &str = r#"<d:DigestMethod xmlns:d="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"></d:DigestMethod>"#;
const DIGEST_SHA256: &str = r#"<d:DigestMethod xmlns:d="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></d:DigestMethod>"#;
const DIGEST_SHA512: &str = r#"<d:DigestMethod xmlns:d="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2001/04/xmlenc#sha512"></d:DigestMethod>"#;
const MGF_SHA256: &str = r#"<e:MGF xmlns:e="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"></e:MGF>"#;

static OURS: LazyLock<PrivateDecryptingKey> = LazyLock::new(rsa);
static NEXT: LazyLock<PrivateDecryptingKey> = LazyLock::new(rsa);

fn rsa() -> PrivateDecryptingKey {
    PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap()
}

fn key(key: &PrivateDecryptingKey) -> DecryptionKey {
    DecryptionKey::from_pkcs8(key.as_der().unwrap().as_ref()).unwrap()
}

/// How identity providers encrypt, and how they had better not.
#[derive(Clone)]
struct Encrypting {
    to: &'static PrivateDecryptingKey,
    transport: &'static str,
    /// Below the method of the key transport.
    parameters: String,
    cipher: &'static str,
    /// The key beside the data, or in its `KeyInfo`.
    beside: bool,
    /// Of the sealed octets, which bit to flip.
    flip: Option<usize>,
}

impl Default for Encrypting {
    fn default() -> Self {
        Self {
            to: &OURS,
            transport: MGF1P,
            parameters: DIGEST_SHA1.to_owned(),
            cipher: GCM_256,
            beside: false,
            flip: None,
        }
    }
}

impl Encrypting {
    fn assertion(&self, plain: &str) -> String {
        let key = if self.cipher.contains("128") { &[7; 16][..] } else { &[7; 32] };
        let mut data = seal(self.cipher, key, plain.as_bytes());
        if let Some(bit) = self.flip {
            *data.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        }
        self.element(&Base64::encode_string(&self.wrap(key)), &Base64::encode_string(&data))
    }

    fn wrap(&self, key: &[u8]) -> Vec<u8> {
        let public = self.to.public_key();
        let mut out = vec![0; public.key_size_bytes()];
        if self.transport.ends_with("rsa-1_5") {
            let public = Pkcs1PublicEncryptingKey::new(public).unwrap();
            return public.encrypt(key, &mut out).unwrap().to_vec();
        }
        let algorithm: &'static OaepAlgorithm = match &self.parameters {
            p if p.contains("sha256") => &OAEP_SHA256_MGF1SHA256,
            p if p.contains("sha512") => &OAEP_SHA512_MGF1SHA512,
            _ => &OAEP_SHA1_MGF1SHA1,
        };
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        public.encrypt(algorithm, key, &mut out, None).unwrap().to_vec()
    }

    fn element(&self, key: &str, data: &str) -> String {
        let Self { transport, parameters, cipher, .. } = self;
        let key = format!(
            r#"<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}">{parameters}</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>{key}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>"#
        );
        let (inside, beside) = if self.beside {
            (
                r##"<ds:RetrievalMethod URI="#_k"></ds:RetrievalMethod>"##.to_owned(),
                key.replacen(
                    "<xenc:EncryptedKey>",
                    r#"<xenc:EncryptedKey xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">"#,
                    1,
                ),
            )
        } else {
            (key, String::new())
        };
        format!(
            r#"<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="{cipher}"></xenc:EncryptionMethod><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{inside}</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{data}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>{beside}</saml:EncryptedAssertion>"#
        )
    }
}

fn seal(cipher: &str, key: &[u8], plain: &[u8]) -> Vec<u8> {
    if cipher.contains("gcm") {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let sealing = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key([9; 12]);
        sealing.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).unwrap();
        return [&[9; 12], &body[..]].concat();
    }
    let vector = EncryptionContext::Iv128(FixedLength::from([9; 16]));
    let mut body = plain.to_vec();
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let sealing = UnboundCipherKey::new(algorithm, key).unwrap();
    let sealing = PaddedBlockEncryptingKey::cbc_pkcs7(sealing).unwrap();
    sealing.less_safe_encrypt(&mut body, vector).unwrap();
    [&[9; 16], &body[..]].concat()
}

fn settings() -> Settings {
    Settings { decryption_keys: vec![key(&OURS)], ..ACME.settings() }
}

fn verify_with(settings: Settings, response: &str) -> Result<Assertion, Refused> {
    Connection::new(settings).unwrap().verify(response.as_bytes(), &expected())
}

fn verify(response: &str) -> Result<Assertion, Refused> {
    verify_with(settings(), response)
}

fn rule(response: &str) -> Option<Rule> {
    verify(response).err().map(|refused| refused.rule())
}

/// Alice's assertion, signed.
fn signed() -> String {
    ACME.sign(ASSERTION)
}

#[test]
fn s12_what_is_signed_inside_is_believed() {
    for encrypting in [
        Encrypting::default(),
        Encrypting { cipher: GCM_128, beside: true, ..Encrypting::default() },
        Encrypting { parameters: String::new(), ..Encrypting::default() },
        Encrypting { transport: OAEP, parameters: String::new(), ..Encrypting::default() },
        Encrypting {
            transport: OAEP,
            parameters: format!("{DIGEST_SHA256}{MGF_SHA256}"),
            ..Encrypting::default()
        },
    ] {
        let response = around(&encrypting.assertion(&signed()));
        let assertion = verify(&response).unwrap();
        assert_eq!(assertion.name_id().value, "alice");
        assert_eq!(assertion.id(), "_a");
        // The response around it may be signed as well.
        let response = RESPONSE.replace("{assertion}", &encrypting.assertion(&signed()));
        assert_eq!(rule(&ACME.sign(&response)), None);
    }
}

#[test]
fn s12_b43_what_is_not_signed_inside_needs_a_signature_around() {
    let encrypted = Encrypting::default().assertion(&unsigned(ASSERTION));
    let response = RESPONSE.replace("{assertion}", &encrypted);
    assert_eq!(verify(&ACME.sign(&response)).unwrap().name_id().value, "alice");
    // GitHub Enterprise CVE-2024-9487: encrypting is something anybody can do.
    assert_eq!(rule(&around(&encrypted)), Some(Rule::Unsigned));
    assert_eq!(rule(&OTHER.sign(&response)), Some(Rule::Signature));
    // Another assertion, put in after the response was signed.
    let mallory = Encrypting::default().assertion(&unsigned(ASSERTION).replace("alice", "mallory"));
    let swapped = ACME.sign(&response).replace(&encrypted, &mallory);
    assert_eq!(rule(&swapped), Some(Rule::Digest));
}

#[test]
fn s12_a_bad_signature_inside_is_not_made_good_by_one_around() {
    for (inside, expected) in [
        (signed().replace("alice", "mallory"), Rule::Digest),
        (OTHER.sign(ASSERTION), Rule::Signature),
    ] {
        let encrypted = Encrypting::default().assertion(&inside);
        assert_eq!(rule(&around(&encrypted)), Some(expected));
        let response = RESPONSE.replace("{assertion}", &encrypted);
        assert_eq!(rule(&ACME.sign(&response)), Some(expected));
    }
    // Signed before it was encrypted: those bytes are no longer there.
    let response = ACME.sign(&RESPONSE.replace("{assertion}", &unsigned(ASSERTION)));
    let encrypted = Encrypting::default().assertion(&unsigned(ASSERTION));
    let replaced = response.replace(&unsigned(ASSERTION), &encrypted);
    assert_eq!(rule(&replaced), Some(Rule::Digest));
}

#[test]
fn s12_the_rules_hold_inside_as_well() {
    for (from, to, expected) in [
        ("https://acme.partywall.example/saml<", "https://other.example/<", Rule::Audience),
        ("_request", "_other", Rule::InResponseTo),
        (">alice<", "><!-- -->alice<", Rule::Decryption),
        // What is nested is not the one assertion, nor what carries the signature.
        (
            "<saml:Subject>",
            "<saml:Advice><saml:Assertion></saml:Assertion></saml:Advice><saml:Subject>",
            Rule::Decryption,
        ),
    ] {
        let inside = ACME.sign(&ASSERTION.replace(from, to));
        let response = around(&Encrypting::default().assertion(&inside));
        assert_eq!(rule(&response), Some(expected), "{to}");
    }
    let wrapped = unsigned(ASSERTION).replace("alice", "mallory").replace(
        "</saml:Assertion>",
        &format!("{}</saml:Assertion>", signed().replace("alice", "bob")),
    );
    assert_eq!(rule(&around(&Encrypting::default().assertion(&wrapped))), Some(Rule::Decryption));
}

#[test]
fn s02_an_encrypted_assertion_is_the_only_one() {
    let encrypted = Encrypting::default().assertion(&signed());
    for both in [
        format!("{encrypted}{encrypted}"),
        format!("{encrypted}{}", unsigned(ASSERTION)),
        format!("{}{encrypted}", signed()),
        // Nor are there two inside.
    ] {
        assert_eq!(rule(&around(&both)), Some(Rule::OneAssertion));
    }
    let two = format!("{}{}", signed(), unsigned(ASSERTION));
    assert_eq!(rule(&around(&Encrypting::default().assertion(&two))), Some(Rule::Decryption));
}

#[test]
fn s12_whatever_fails_from_the_key_to_the_text_looks_the_same() {
    let plain = signed();
    let length = plain.len() * 8;
    let cbc = Encrypting { cipher: CBC_256, ..Encrypting::default() };
    let refused = |encrypting: Encrypting, plain: &str| {
        let settings = Settings { allow_cbc: true, ..settings() };
        verify_with(settings, &around(&encrypting.assertion(plain))).unwrap_err()
    };
    let uniform = refused(Encrypting { to: &NEXT, ..Encrypting::default() }, &plain);
    assert_eq!(
        uniform.to_string(),
        "EncryptedAssertion: could not be decrypted with our keys, or is no assertion: \
         compare the certificates"
    );
    for (encrypting, plain) in [
        (Encrypting { to: &NEXT, ..cbc.clone() }, plain.as_str()),
        // The nonce, the text and the tag.
        (Encrypting { flip: Some(3), ..Encrypting::default() }, &plain),
        (Encrypting { flip: Some(12 * 8 + 3), ..Encrypting::default() }, &plain),
        (Encrypting { flip: Some(12 * 8 + length + 3), ..Encrypting::default() }, &plain),
        // No longer UTF-8, or not XML.
        (Encrypting { flip: Some(16 * 8 + 7), ..cbc.clone() }, &plain),
        (Encrypting { flip: Some(0), ..cbc.clone() }, &plain),
        (Encrypting::default(), "no XML"),
        (Encrypting::default(), ""),
        (Encrypting::default(), "<a></a>"),
        (cbc.clone(), ""),
        (cbc.clone(), "<a></a>"),
    ] {
        assert_eq!(refused(encrypting, plain), uniform);
    }
    // The padding itself, by a cipher that adds none.
    for padding in [0u8, 17, 255] {
        let mut body = [b"<a></a>........".as_slice(), &[padding]].concat();
        let sealing = UnboundCipherKey::new(&AES_256, &[7; 32]).unwrap();
        let sealing = EncryptingKey::cbc(sealing).unwrap();
        let vector = EncryptionContext::Iv128(FixedLength::from([9; 16]));
        sealing.less_safe_encrypt(&mut body, vector).unwrap();
        let data = Base64::encode_string(&[&[9; 16], &body[..]].concat());
        let response = around(&cbc.element(&Base64::encode_string(&cbc.wrap(&[7; 32])), &data));
        let settings = Settings { allow_cbc: true, ..settings() };
        assert_eq!(verify_with(settings, &response).unwrap_err(), uniform);
    }
    for data in ["AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        for kind in [&cbc, &Encrypting::default()] {
            let response =
                around(&kind.element(&Base64::encode_string(&kind.wrap(&[7; 32])), data));
            let settings = Settings { allow_cbc: true, ..settings() };
            assert_eq!(verify_with(settings, &response).unwrap_err(), uniform);
        }
    }
    // A content key of another length than the cipher's.
    let kind = Encrypting::default();
    let data = Base64::encode_string(&seal(GCM_256, &[7; 32], plain.as_bytes()));
    let response = around(&kind.element(&Base64::encode_string(&kind.wrap(&[7; 16])), &data));
    assert_eq!(verify(&response).unwrap_err(), uniform);
}

#[test]
fn s12_cbc_is_for_connections_that_ask_for_it() {
    for cipher in [CBC_128, CBC_256] {
        let encrypting = Encrypting { cipher, ..Encrypting::default() };
        let response = around(&encrypting.assertion(&signed()));
        let refused = verify(&response).unwrap_err();
        assert_eq!(refused.rule(), Rule::EncryptionAlgorithm);
        assert_eq!(refused.value(), Some(cipher));
        let allowed = Settings { allow_cbc: true, ..settings() };
        assert!(verify_with(allowed.clone(), &response).is_ok());
        // What is changed on its way stands in a signature, which CBC is not.
        let unsigned = around(&encrypting.assertion(&unsigned(ASSERTION)));
        assert_eq!(verify_with(allowed, &unsigned).unwrap_err().rule(), Rule::Unsigned);
    }
}

#[test]
fn s12_other_algorithms_are_refused() {
    let mixed = format!("{DIGEST_SHA256}{MGF_SHA256}").replace("mgf1sha256", "mgf1sha1");
    for encrypting in [
        Encrypting {
            transport: "http://www.w3.org/2001/04/xmlenc#rsa-1_5",
            parameters: String::new(),
            ..Encrypting::default()
        },
        Encrypting { parameters: DIGEST_SHA512.to_owned(), ..Encrypting::default() },
        Encrypting { parameters: DIGEST_SHA256.to_owned(), ..Encrypting::default() },
        Encrypting { transport: OAEP, parameters: mixed, ..Encrypting::default() },
        Encrypting {
            parameters: "<xenc:OAEPparams>AAAA</xenc:OAEPparams>".to_owned(),
            ..Encrypting::default()
        },
        Encrypting { transport: "", ..Encrypting::default() },
        Encrypting {
            cipher: "http://www.w3.org/2009/xmlenc11#aes192-gcm",
            ..Encrypting::default()
        },
        Encrypting {
            cipher: "http://www.w3.org/2001/04/xmlenc#tripledes-cbc",
            ..Encrypting::default()
        },
    ] {
        let data = Base64::encode_string(&seal(GCM_256, &[7; 32], signed().as_bytes()));
        let key = Base64::encode_string(&encrypting.wrap(&[7; 32]));
        let response = around(&encrypting.element(&key, &data));
        let found = rule(&response);
        assert_eq!(found, Some(Rule::EncryptionAlgorithm), "{}", encrypting.transport);
    }
    let response = around(&Encrypting::default().assertion(&signed()));
    assert_eq!(rule(&response), None);
    let content = response.replace("xmlenc#Element", "xmlenc#Content");
    assert_eq!(rule(&content), Some(Rule::EncryptionAlgorithm));
}

#[test]
fn s12_there_is_one_encrypted_key_in_its_place() {
    let inside = Encrypting::default();
    let response = around(&inside.assertion(&signed()));
    let (_, rest) = response.split_once("<xenc:EncryptedKey>").unwrap();
    let (key, _) = rest.split_once("</xenc:EncryptedKey>").unwrap();
    let key = format!("<xenc:EncryptedKey>{key}</xenc:EncryptedKey>");
    let declared = key.replacen(
        "<xenc:EncryptedKey>",
        r#"<xenc:EncryptedKey xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">"#,
        1,
    );
    assert_eq!(rule(&response), None);
    for (from, to) in [
        (key.as_str(), String::new()),
        (&key, format!("{key}{key}")),
        ("</saml:EncryptedAssertion>", format!("{declared}</saml:EncryptedAssertion>")),
        (&key, format!("<ds:X>{key}</ds:X>")),
        (&key, key.replace("xenc:EncryptedKey", "saml:EncryptedKey")),
    ] {
        let changed = response.replacen(from, &to, 1);
        assert_eq!(rule(&changed), Some(Rule::EncryptedKey), "{}", to.len());
    }
}

#[test]
fn i11_two_of_our_keys_are_good_at_a_time() {
    let with = |keys: &[&PrivateDecryptingKey]| Settings {
        decryption_keys: keys.iter().map(|k| key(k)).collect(),
        ..ACME.settings()
    };
    let old = around(&Encrypting::default().assertion(&signed()));
    let new = around(&Encrypting { to: &NEXT, ..Encrypting::default() }.assertion(&signed()));
    for response in [&old, &new] {
        assert!(verify_with(with(&[&OURS, &NEXT]), response).is_ok());
    }
    assert!(verify_with(with(&[&OURS]), &old).is_ok());
    assert_eq!(verify_with(with(&[&OURS]), &new).unwrap_err().rule(), Rule::Decryption);
    assert_eq!(verify_with(with(&[]), &old).unwrap_err().rule(), Rule::Encrypted);
    assert!(matches!(
        Connection::new(with(&[&OURS, &OURS, &OURS])),
        Err(ConnectionError::TooManyDecryptionKeys)
    ));
    // A key is no reason to refuse what is not encrypted.
    assert!(verify(&around(&signed())).is_ok());
}

#[test]
fn s12_a_key_that_decrypts_nothing_is_no_decryption_key() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    assert!(DecryptionKey::from_pkcs8(ec.to_pkcs8v1().unwrap().as_ref()).is_err());
    assert!(DecryptionKey::from_pkcs8(b"").is_err());
    assert_eq!(format!("{:?}", key(&OURS)), "DecryptionKey(..)");
}

/// What `xmlsec1` encrypts to us, we decrypt.
#[test]
fn s12_what_xmlsec1_encrypts_is_decrypted() {
    let allowed = Settings { allow_cbc: true, ..settings() };
    for (cipher, session_key) in
        [(GCM_128, "aes-128"), (GCM_256, "aes-256"), (CBC_128, "aes-128"), (CBC_256, "aes-256")]
    {
        let template = format!(
            r#"<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">
<xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{MGF1P}"/>
<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>
<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"#
        );
        let Some(encrypted) = crate::support::xmlsec1_encrypt(
            &template,
            &signed(),
            OURS.public_key().as_der().unwrap().as_ref(),
            session_key,
        ) else {
            return;
        };
        let (_, encrypted) = encrypted.split_once("?>").unwrap();
        let response = around(&format!(
            r#"<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{encrypted}</saml:EncryptedAssertion>"#
        ));
        let assertion = verify_with(allowed.clone(), &response).unwrap();
        assert_eq!(assertion.name_id().value, "alice", "{cipher}");
    }
}
