//! Signed records of runs: one file each, to be checked without a network.
//!
//! ```text
//! partywall.prove.record/1
//! number 17
//! previous 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
//! key d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a
//! report 5321
//! {
//!   "format": "partywall.prove/1",
//!   …
//! }
//! signature 92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da…
//! ```
//!
//! The last line is an Ed25519 signature (RFC 8032) over every byte above it, as the bytes are
//! stored; nothing is put into another form before. The first line keeps such a signature apart
//! from any other that the same key may have made. `previous` is the SHA-256 of the whole record
//! before, `report` the length of the JSON in bytes.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{
    hex::{Digest, PublicKey, from_hex, to_hex},
    json::{ReadError, read},
};
use crate::Run;

const FIRST_LINE: &str = "partywall.prove.record/1";
const SIGNATURE_LINE: usize = "signature ".len() + 128 + "\n".len();

/// The private key of whoever runs the proof.
pub struct SigningKey(Ed25519KeyPair);

/// A seed was not 32 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an Ed25519 signing key is a file of exactly 32 random bytes")]
pub struct InvalidSeed;

impl SigningKey {
    /// From the 32 random bytes it is kept as (RFC 8032, 5.1.5).
    ///
    /// # Errors
    ///
    /// When they are not 32.
    pub fn from_seed(seed: &[u8]) -> Result<Self, InvalidSeed> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| InvalidSeed)
    }

    /// The key others check its signatures with.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        let bytes = self.0.public_key().as_ref();
        key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        PublicKey(key)
    }

    /// Signs a JSON report as record `number`, after the record of digest `previous`.
    pub fn sign(&self, number: u64, previous: &Digest, report: &str) -> Vec<u8> {
        let key = self.public();
        let length = report.len();
        let mut record = format!(
            "{FIRST_LINE}\nnumber {number}\nprevious {previous}\nkey {key}\nreport {length}\n\
             {report}"
        )
        .into_bytes();
        let signature = to_hex(self.0.sign(&record).as_ref());
        record.extend_from_slice(format!("signature {signature}\n").as_bytes());
        record
    }
}

/// A record as it was found: what it says of itself, believed by nobody yet.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedRecord<'f> {
    number: u64,
    previous: Digest,
    key: PublicKey,
    signed: &'f [u8],
    report: &'f [u8],
    signature: [u8; 64],
    digest: Digest,
}

/// A record whose signature was checked against a key the verifier chose.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its place in the history, from 1.
    pub number: u64,
    /// The digest of the record before it.
    pub previous: Digest,
    /// Its own.
    pub digest: Digest,
    /// The run it is a record of.
    pub run: Run,
}

impl<'f> UnverifiedRecord<'f> {
    /// Takes a file apart. There is exactly one way to write a record.
    ///
    /// # Errors
    ///
    /// When it is no record, or only part of one.
    pub fn parse(file: &'f [u8]) -> Result<Self, RecordError> {
        Self::parts(file).ok_or(RecordError::Malformed)
    }

    /// The key it claims to be signed with. Whoever made the file could write any.
    pub fn unverified_key(&self) -> PublicKey {
        self.key
    }

    /// Checks the signature, and that the report in it does not contradict itself.
    ///
    /// # Errors
    ///
    /// When it is signed by another key, was changed since, or holds no good report.
    pub fn verify(self, key: &PublicKey) -> Result<Record, RecordError> {
        if self.key != *key {
            return Err(RecordError::OtherKey { claimed: self.key, wanted: *key });
        }
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(self.signed, &self.signature)
            .map_err(|_| RecordError::Signature)?;
        let run = read(self.report).map_err(RecordError::Report)?;
        let Self { number, previous, digest, .. } = self;
        Ok(Record { number, previous, digest, run })
    }

    fn parts(file: &'f [u8]) -> Option<Self> {
        let (signed, last) = file.split_at_checked(file.len().checked_sub(SIGNATURE_LINE)?)?;
        let last = std::str::from_utf8(last).ok()?;
        let signature = from_hex(last.strip_prefix("signature ")?.strip_suffix('\n')?)?;
        let (first, rest) = line(signed)?;
        let (number, rest) = line(rest)?;
        let (previous, rest) = line(rest)?;
        let (key, rest) = line(rest)?;
        let (length, report) = line(rest)?;
        let length = canonical(length.strip_prefix("report ")?)?;
        let whole = first == FIRST_LINE && u64::try_from(report.len()).ok()? == length;
        whole.then_some(Self {
            number: canonical(number.strip_prefix("number ")?)?,
            previous: previous.strip_prefix("previous ")?.parse().ok()?,
            key: key.strip_prefix("key ")?.parse().ok()?,
            signed,
            report,
            signature,
            digest: Digest::of(file),
        })
    }
}

/// The first line, without its end, and what follows it.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((std::str::from_utf8(line).ok()?, rest.get(1..)?))
}

/// A number as we write it, and in no other way.
fn canonical(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Why a record proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is no record, or not a whole one.
    #[error("not a signed record of `partywall prove`, or only part of one")]
    Malformed,
    /// It says itself that another key signed it.
    #[error("claims the key {claimed}, and not the one it is checked with, {wanted}")]
    OtherKey {
        /// The key it claims.
        claimed: PublicKey,
        /// The key it was checked with.
        wanted: PublicKey,
    },
    /// The signature is not of these bytes by this key.
    #[error("the signature does not match: it was changed after signing, or another key signed it")]
    Signature,
    /// What was signed is no good report.
    #[error("signed, and yet no good report: {0}")]
    Report(#[source] ReadError),
}
