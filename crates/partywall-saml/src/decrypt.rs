//! An encrypted assertion (saml-core 2.3.4) and what is inside, or one refusal for all that fails.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use roxmltree::Node;
use thiserror::Error;

use crate::refused::{Refused, Rule};
use crate::signature::base64;
use crate::xml::{self, DS, at, at_attribute, attribute, is, one, optional, required};

/// `xenc`, XML Encryption's namespace.
const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
/// `xenc11`, that of its version 1.1.
const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
const ELEMENT: &str = "http://www.w3.org/2001/04/xmlenc#Element";
const SHA1: &str = "http://www.w3.org/2000/09/xmldsig#sha1";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const MGF1_SHA1: &str = "http://www.w3.org/2009/xmlenc11#mgf1sha1";
const MGF1_SHA256: &str = "http://www.w3.org/2009/xmlenc11#mgf1sha256";

/// A private key of ours, to which identity providers encrypt assertions.
#[derive(Clone)]
pub struct DecryptionKey(Arc<OaepPrivateDecryptingKey>);

/// Not a key that can be decrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the decryption key must be RSA of 2048 to 8192 bits, in PKCS#8")]
pub struct DecryptionKeyError;

impl DecryptionKey {
    /// Reads an RSA key from the DER of PKCS#8.
    ///
    /// # Errors
    /// [`DecryptionKeyError`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, DecryptionKeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| DecryptionKeyError)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| DecryptionKeyError)?;
        Ok(Self(Arc::new(key)))
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey(..)")
    }
}

/// The octets inside an `EncryptedAssertion`, by whichever of the keys fits.
///
/// Which algorithms were chosen everyone can see, and the administrator is told. From the first
/// use of a private key on there is one refusal, whatever went wrong (S-12).
pub(crate) fn assertion(
    encrypted: Node<'_, '_>,
    keys: &[DecryptionKey],
    allow_cbc: bool,
) -> Result<Vec<u8>, Refused> {
    let data = one(encrypted, XENC, "EncryptedData")?;
    if let Some(kind) = attribute(data, "Type").filter(|kind| *kind != ELEMENT) {
        return Err(at_attribute(data, "Type", Rule::EncryptionAlgorithm).found(kind));
    }
    let key = only_key(encrypted, data)?;
    let transport = key_transport(one(key, XENC, "EncryptionMethod")?)?;
    let cipher = Cipher::of(one(data, XENC, "EncryptionMethod")?, allow_cbc)?;
    let (sealed_key, sealed) = (octets(key)?, octets(data)?);

    keys.iter()
        .find_map(|key| {
            let mut content_key = vec![0; key.0.min_output_size()];
            let content_key = key.0.decrypt(transport, &sealed_key, &mut content_key, None).ok()?;
            cipher.open(content_key, sealed.clone())
        })
        .ok_or_else(|| undecryptable(encrypted))
}

/// What is said of all that fails once a private key is at work.
pub(crate) fn undecryptable(encrypted: Node<'_, '_>) -> Refused {
    at(encrypted, Rule::Decryption)
}

/// The one key, beside the data or in its `KeyInfo`. Several would be for several recipients, or
/// for trying out which one is taken.
fn only_key<'a, 'i>(encrypted: Node<'a, 'i>, data: Node<'a, 'i>) -> Result<Node<'a, 'i>, Refused> {
    let mut keys = encrypted.descendants().filter(|n| n.tag_name().name() == "EncryptedKey");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(at(encrypted, Rule::EncryptedKey));
    };
    let info = optional(data, DS, "KeyInfo")?;
    let parent = key.parent_element();
    if is(key, XENC, "EncryptedKey") && (parent == Some(encrypted) || parent == info) {
        return Ok(key);
    }
    Err(at(key, Rule::EncryptedKey))
}

/// RSA-OAEP, with one digest for both its purposes.
fn key_transport(method: Node<'_, '_>) -> Result<&'static OaepAlgorithm, Refused> {
    let algorithm = required(method, "Algorithm")?;
    for child in xml::elements(method)? {
        // Parameters would have to be agreed on.
        if !is(child, DS, "DigestMethod") && !is(child, XENC11, "MGF") {
            return Err(at(child, Rule::EncryptionAlgorithm));
        }
    }
    let named = |namespace, name| {
        optional(method, namespace, name)?.map(|child| required(child, "Algorithm")).transpose()
    };
    let digest = named(DS, "DigestMethod")?.unwrap_or(SHA1);
    let mask = named(XENC11, "MGF")?;
    let mask = match algorithm {
        "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" if mask.is_none() => MGF1_SHA1,
        "http://www.w3.org/2009/xmlenc11#rsa-oaep" => mask.unwrap_or(MGF1_SHA1),
        _ => return Err(at(method, Rule::EncryptionAlgorithm).found(algorithm)),
    };
    match (digest, mask) {
        (SHA1, MGF1_SHA1) => Ok(&OAEP_SHA1_MGF1SHA1),
        (SHA256, MGF1_SHA256) => Ok(&OAEP_SHA256_MGF1SHA256),
        _ => Err(at(method, Rule::EncryptionAlgorithm).found(&format!("{digest}, {mask}"))),
    }
}

enum Cipher {
    Gcm(&'static aws_lc_rs::aead::Algorithm),
    Cbc(&'static aws_lc_rs::cipher::Algorithm),
}

impl Cipher {
    fn of(method: Node<'_, '_>, allow_cbc: bool) -> Result<Self, Refused> {
        let algorithm = required(method, "Algorithm")?;
        if let Some(child) = xml::elements(method)?.first() {
            return Err(at(*child, Rule::EncryptionAlgorithm));
        }
        match algorithm {
            "http://www.w3.org/2009/xmlenc11#aes128-gcm" => Ok(Self::Gcm(&AES_128_GCM)),
            "http://www.w3.org/2009/xmlenc11#aes256-gcm" => Ok(Self::Gcm(&AES_256_GCM)),
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc" if allow_cbc => Ok(Self::Cbc(&AES_128)),
            "http://www.w3.org/2001/04/xmlenc#aes256-cbc" if allow_cbc => Ok(Self::Cbc(&AES_256)),
            _ => Err(at(method, Rule::EncryptionAlgorithm).found(algorithm)),
        }
    }

    /// Xmlenc 5.2.2 and xmlenc11 5.2.4: the nonce or vector stands before the rest.
    fn open(&self, key: &[u8], sealed: Vec<u8>) -> Option<Vec<u8>> {
        let mut sealed = sealed;
        match self {
            Self::Gcm(algorithm) => {
                let (nonce, body) = sealed.split_at_mut_checked(12)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
                key.open_in_place(nonce, Aad::empty(), body).ok().map(|opened| opened.to_vec())
            }
            // Nothing says that what comes out was put in: the padding is one byte (xmlenc 5.2).
            // The signature has to say so.
            Self::Cbc(algorithm) => {
                let (vector, body) = sealed.split_at_mut_checked(16)?;
                let vector = FixedLength::<16>::try_from(&*vector).ok()?;
                let key = UnboundCipherKey::new(algorithm, key).ok()?;
                let key = PaddedBlockDecryptingKey::cbc_iso10126(key).ok()?;
                let opened = key.decrypt(body, DecryptionContext::Iv128(vector)).ok();
                opened.map(|opened| opened.to_vec())
            }
        }
    }
}

fn octets(encrypted: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    base64(one(one(encrypted, XENC, "CipherData")?, XENC, "CipherValue")?)
}
