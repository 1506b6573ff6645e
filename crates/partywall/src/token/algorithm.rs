//! The signature algorithms a token may use: asymmetric ones only.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

/// A signature algorithm (RFC 7518 3.1, RFC 8037 3.1).
///
/// There is no `none` and no HMAC to switch on: an allow-list can only choose among these.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, the signature being `r ‖ s` of 64 bytes.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519, which is also written `Ed25519` (RFC 9864 2.2).
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Ps256, Self::Rs256];

    /// The name in a header's or a key's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of exactly that name (RFC 7515 4.1.1: case-sensitive). With the only curve
    /// there is here, `EdDSA` and its successor `Ed25519` (RFC 9864 2.2) are the same.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &ED25519,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_has_its_registered_names_and_no_others() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDsa));
        for other in ["", "none", "HS256", "es256", "ed25519", "Ed448", "ESP256", "ES384"] {
            assert_eq!(Algorithm::from_name(other), None, "{other}");
        }
    }
}
