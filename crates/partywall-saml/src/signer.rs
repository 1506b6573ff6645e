//! Our own key: what we ask of identity providers is signed with it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use thiserror::Error;

use crate::certificate::Certificate;
use crate::self_signed::{self, Subject};

/// A key that signs requests and logout messages: RSA of 2048 bits and more, or ECDSA on P-256.
#[derive(Clone)]
pub struct Signer(Arc<Key>);

enum Key {
    Rsa(RsaKeyPair),
    /// As XML Signature wants it, and as X.509 does.
    P256(EcdsaKeyPair, EcdsaKeyPair),
}

/// Why nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Not a key that can sign here.
    #[error("the signing key must be RSA of 2048 to 8192 bits or ECDSA on P-256, in PKCS#8")]
    Key,
    /// The cryptographic library failed.
    #[error("the signing key could not be used")]
    Signing,
    /// The certificate would end before it begins, or its name is empty or longer than 64
    /// characters.
    #[error("a certificate needs a name of 1 to 64 characters, and an end after its beginning")]
    Certificate,
}

impl Signer {
    /// Reads a private key from the DER of PKCS#8.
    ///
    /// # Errors
    /// [`SignerError::Key`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignerError> {
        let ec = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok();
        let rsa = || RsaKeyPair::from_pkcs8(der).ok().filter(|k| k.public_modulus_len() >= 256);
        let key = match (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P256_SHA256_ASN1_SIGNING))
        {
            (Some(fixed), Some(asn1)) => Key::P256(fixed, asn1),
            _ => Key::Rsa(rsa().ok_or(SignerError::Key)?),
        };
        Ok(Self(Arc::new(key)))
    }

    /// A certificate of this key, made by itself, for identity providers to import.
    ///
    /// Nobody is asked to believe what it says: it carries the key, and its end reminds of
    /// changing it.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn certificate(
        &self,
        common_name: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Certificate, SignerError> {
        let subject = Subject { common_name, not_before, not_after };
        let der = self_signed::certificate(self, &subject)?;
        Certificate::from_der(&der).map_err(|_| SignerError::Certificate)
    }

    /// The identifier of what [`sign`](Self::sign) makes (RFC 6931, section 2.3).
    pub(crate) fn algorithm(&self) -> &'static str {
        match *self.0 {
            Key::Rsa(_) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Key::P256(..) => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        }
    }

    /// Signs as XML Signature wants it: an ECDSA signature is two numbers of one length.
    pub(crate) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &*self.0 {
            Key::Rsa(key) => rsa(key, octets),
            Key::P256(fixed, _) => ecdsa(fixed, octets),
        }
    }

    /// Signs as X.509 wants it.
    pub(crate) fn sign_asn1(&self, octets: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &*self.0 {
            Key::Rsa(key) => rsa(key, octets),
            Key::P256(_, asn1) => ecdsa(asn1, octets),
        }
    }

    pub(crate) fn is_rsa(&self) -> bool {
        matches!(*self.0, Key::Rsa(_))
    }

    /// As `subjectPublicKey` holds it.
    pub(crate) fn public_key(&self) -> &[u8] {
        match &*self.0 {
            Key::Rsa(key) => key.public_key().as_ref(),
            Key::P256(key, _) => key.public_key().as_ref(),
        }
    }
}

fn rsa(key: &RsaKeyPair, octets: &[u8]) -> Result<Vec<u8>, SignerError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature)
        .map_err(|_| SignerError::Signing)?;
    Ok(signature)
}

fn ecdsa(key: &EcdsaKeyPair, octets: &[u8]) -> Result<Vec<u8>, SignerError> {
    let signature = key.sign(&SystemRandom::new(), octets).map_err(|_| SignerError::Signing)?;
    Ok(signature.as_ref().to_vec())
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}
