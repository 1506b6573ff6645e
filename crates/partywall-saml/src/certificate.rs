//! The certificates a connection trusts, of which only the key counts.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64ct::{Base64, Encoding};
use thiserror::Error;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, Oid,
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// A certificate of an identity provider, taken for the key in it.
///
/// Its names, issuer and dates decide nothing (saml-metadata 2.6.1 leaves them to agreement):
/// whoever set the connection up trusts this key. The dates are there to warn about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    kind: Kind,
    key: Vec<u8>,
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Neither PEM nor the base64 of DER, or more than one certificate.
    #[error("not one certificate in PEM, or in base64 as SAML metadata has it")]
    Encoding,
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// A key no signature will be taken from.
    #[error("the key must be RSA of 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521")]
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let info = certificate.public_key();
        let kind = match info.parsed().map_err(|_| CertificateError::Malformed)? {
            PublicKey::RSA(rsa) if info.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION => {
                if !(2048..=8192).contains(&rsa.key_size()) {
                    return Err(CertificateError::Key);
                }
                Kind::Rsa
            }
            PublicKey::EC(_) if info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => {
                let curve = info.algorithm.parameters.as_ref();
                let curve: Oid<'_> =
                    curve.and_then(|any| any.as_oid().ok()).ok_or(CertificateError::Key)?;
                match curve {
                    c if c == OID_EC_P256 => Kind::P256,
                    c if c == OID_NIST_EC_P384 => Kind::P384,
                    c if c == OID_NIST_EC_P521 => Kind::P521,
                    _ => return Err(CertificateError::Key),
                }
            }
            _ => return Err(CertificateError::Key),
        };
        let time = |time: ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Ok(Self {
            der: der.to_vec(),
            kind,
            key: info.subject_public_key.data.to_vec(),
            subject: certificate.subject().to_string(),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
        })
    }

    /// Reads PEM, or bare base64 as `ds:X509Certificate` holds it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_text(text: &str) -> Result<Self, CertificateError> {
        let text = text.trim();
        let body = match text.strip_prefix("-----BEGIN CERTIFICATE-----") {
            Some(rest) => {
                rest.strip_suffix("-----END CERTIFICATE-----").ok_or(CertificateError::Encoding)?
            }
            None => text,
        };
        let body: String = body.split_ascii_whitespace().collect();
        let der = Base64::decode_vec(&body).map_err(|_| CertificateError::Encoding)?;
        Self::from_der(&der)
    }

    /// The DER it was read from.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 digest of the DER, by which people compare certificates.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, &self.der).as_ref());
        fingerprint
    }

    /// The fingerprint as it is shown: pairs of hexadecimal digits, with colons between.
    #[must_use]
    pub fn fingerprint_text(&self) -> String {
        self.fingerprint().map(|byte| format!("{byte:02X}")).join(":")
    }

    /// Whom it says it belongs to. Anybody can write anything there: to be shown, not believed.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether both carry the same key, which is all that is trusted.
    #[must_use]
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.key == other.key
    }

    /// When the certificate says it begins. Signatures are taken before, too.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the certificate says it ends. Signatures are taken afterwards, too.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the key made this signature with `algorithm`; `None` if it is no key for it.
    pub(crate) fn verifies(
        &self,
        algorithm: SignatureAlgorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        use SignatureAlgorithm as Algorithm;
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (Kind::Rsa, Algorithm::RsaSha256) => &RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, Algorithm::RsaSha384) => &RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, Algorithm::RsaSha512) => &RSA_PKCS1_2048_8192_SHA512,
            (Kind::P256, Algorithm::EcdsaSha256) => &ECDSA_P256_SHA256_FIXED,
            (Kind::P384, Algorithm::EcdsaSha384) => &ECDSA_P384_SHA384_FIXED,
            (Kind::P521, Algorithm::EcdsaSha512) => &ECDSA_P521_SHA512_FIXED,
            _ => return None,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.key);
        Some(key.verify(signed, signature).is_ok())
    }
}

/// S-07: what a signature may be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
}

impl SignatureAlgorithm {
    /// By its identifier (RFC 6931, section 2.3).
    pub(crate) fn of(identifier: &str) -> Option<Self> {
        let name = identifier.strip_prefix("http://www.w3.org/2001/04/xmldsig-more#")?;
        Some(match name {
            "rsa-sha256" => Self::RsaSha256,
            "rsa-sha384" => Self::RsaSha384,
            "rsa-sha512" => Self::RsaSha512,
            "ecdsa-sha256" => Self::EcdsaSha256,
            "ecdsa-sha384" => Self::EcdsaSha384,
            "ecdsa-sha512" => Self::EcdsaSha512,
            _ => return None,
        })
    }
}
