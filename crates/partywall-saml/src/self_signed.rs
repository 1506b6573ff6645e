//! A certificate that a key makes of itself: X.509 v3 (RFC 5280), as little of it as will do.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};

use crate::instant;
use crate::signer::{Signer, SignerError};

/// What the certificate says.
pub(crate) struct Subject<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const NULL: &[u8] = &[5, 0];
/// Object identifiers, encoded: rsaEncryption, sha256WithRSAEncryption, ecPublicKey, prime256v1,
/// ecdsa-with-SHA256, commonName, basicConstraints.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_SHA256: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const EC: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ECDSA_SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
const BASIC_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 0x13];

/// The DER of it.
pub(crate) fn certificate(signer: &Signer, subject: &Subject<'_>) -> Result<Vec<u8>, SignerError> {
    let Subject { common_name, not_before, not_after } = *subject;
    // RFC 5280, appendix A.1: ub-common-name.
    if !(1..=64).contains(&common_name.chars().count()) || not_before >= not_after {
        return Err(SignerError::Certificate);
    }
    let (key_algorithm, algorithm) = if signer.is_rsa() {
        (der(SEQUENCE, &[RSA, NULL]), der(SEQUENCE, &[RSA_SHA256, NULL]))
    } else {
        (der(SEQUENCE, &[EC, P256]), der(SEQUENCE, &[ECDSA_SHA256]))
    };
    let name = der(SEQUENCE, &[COMMON_NAME, &der(0x0c, &[common_name.as_bytes()])]);
    let name = der(SEQUENCE, &[&der(SET, &[&name])]);
    // Critical, and of no certificate authority.
    let constraints =
        der(SEQUENCE, &[BASIC_CONSTRAINTS, &[1, 1, 0xff], &der(4, &[&der(SEQUENCE, &[])])]);
    let signed = der(
        SEQUENCE,
        &[
            &der(0xa0, &[&[2, 1, 2]]),
            &serial(signer, subject),
            &algorithm,
            &name,
            &der(SEQUENCE, &[&time(not_before), &time(not_after)]),
            &name,
            &der(SEQUENCE, &[&key_algorithm, &bits(signer.public_key())]),
            &der(0xa3, &[&der(SEQUENCE, &[&constraints])]),
        ],
    );
    let signature = bits(&signer.sign_asn1(&signed)?);
    Ok(der(SEQUENCE, &[&signed, &algorithm, &signature]))
}

/// Another one for every key and beginning: 16 octets, positive.
fn serial(signer: &Signer, subject: &Subject<'_>) -> Vec<u8> {
    let of = [signer.public_key(), instant::format(subject.not_before).as_bytes()].concat();
    let digest = digest(&SHA256, &of);
    let rest = digest.as_ref().get(..15).unwrap_or_default();
    der(2, &[&[0x4a], rest])
}

/// RFC 5280, section 4.1.2.5: two digits of the year until 2049, then four.
fn time(time: SystemTime) -> Vec<u8> {
    let digits: String =
        instant::format(time).chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
    if digits.as_str() < "2050" {
        return der(0x17, &[digits.get(2..).unwrap_or_default().as_bytes()]);
    }
    der(0x18, &[digits.as_bytes()])
}

fn bits(octets: &[u8]) -> Vec<u8> {
    der(3, &[&[0], octets])
}

/// A tag, the length and the contents. Nothing here is longer than a `u32` can say.
fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = u32::try_from(contents.len()).unwrap_or(u32::MAX).to_be_bytes();
    let significant = length.iter().skip_while(|b| **b == 0).copied();
    let mut out = vec![tag];
    match significant.clone().count() {
        0 => out.push(0),
        1 if contents.len() < 128 => out.extend(significant),
        count => {
            // At most 4.
            out.push(0x80 | u8::try_from(count).unwrap_or(4));
            out.extend(significant);
        }
    }
    out.extend(contents);
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };
    use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

    use super::*;
    use crate::write::tests::signers;

    fn second(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn i11_a_key_certifies_itself() {
        // Before and after 2050, where times are written differently.
        for (from, until) in [(1_795_608_000, 1_890_216_000), (2_524_607_999, 2_524_608_000)] {
            for signer in signers() {
                let certificate = signer
                    .certificate("Partywall: Acme & Söhne", second(from), second(until))
                    .unwrap();
                assert_eq!(certificate.subject(), "CN=Partywall: Acme & Söhne");
                assert_eq!(certificate.not_before(), second(from));
                assert_eq!(certificate.not_after(), second(until));

                let (rest, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
                assert!(rest.is_empty());
                assert_eq!(parsed.version(), X509Version::V3);
                assert_eq!(parsed.issuer(), parsed.subject());
                assert!(!parsed.is_ca());
                let algorithm: &'static dyn VerificationAlgorithm = if signer.is_rsa() {
                    &RSA_PKCS1_2048_8192_SHA256
                } else {
                    &ECDSA_P256_SHA256_ASN1
                };
                let key = &parsed.public_key().subject_public_key.data;
                assert_eq!(&**key, signer.public_key());
                UnparsedPublicKey::new(algorithm, key)
                    .verify(parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
                    .unwrap();
            }
        }
    }

    #[test]
    fn i11_each_certificate_has_a_number_of_its_own() {
        let [rsa, ec] = signers();
        let serial = |signer: &Signer, from| {
            let certificate = signer.certificate("sp", second(from), second(10)).unwrap();
            let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
            parsed.raw_serial().to_vec()
        };
        assert_eq!(serial(&rsa, 0), serial(&rsa, 0));
        assert_ne!(serial(&rsa, 0), serial(&rsa, 1));
        assert_ne!(serial(&rsa, 0), serial(&ec, 0));
    }

    #[test]
    fn i11_a_certificate_without_a_name_or_a_life_is_not_made() {
        let [signer, _] = signers();
        let certificate =
            |name: &str, until| signer.certificate(name, second(5), second(until)).err();
        assert_eq!(certificate("a", 6), None);
        assert_eq!(certificate("", 6), Some(SignerError::Certificate));
        assert_eq!(certificate(&"a".repeat(64), 6), None);
        assert_eq!(certificate(&"a".repeat(65), 6), Some(SignerError::Certificate));
        assert_eq!(certificate("a", 5), Some(SignerError::Certificate));
    }
}
