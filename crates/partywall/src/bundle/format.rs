//! The file, byte by byte. All numbers are little-endian.
//!
//! ```text
//!   0  magic        8  "PWBNDL\r\n": a text-mode copy does not survive it
//!   8  version      2  1
//!  10  kind         2  1 full, 2 delta
//!  12  sections     4  how many
//!  16  generation   8  only rises
//!  24  base         8  the generation a delta applies to; 0 in a full bundle
//!  32  created      8  seconds since 1970-01-01 UTC
//!  40  expires      8  not served from later than this
//!  48  base created 8  when the generation a delta applies to was compiled; 0 in a full bundle
//!  56  key id      16  first half of the signing key's SHA-256
//!  72  section table  n × { kind 4, zero 4, offset 8, length 8 }, ascending and without gaps
//!      sections
//!      checksum    32  SHA-256 of everything above
//!      signature   64  Ed25519 over SIGNING_DOMAIN and the checksum
//! ```
//!
//! Sections: interned names, distinct sets of placements, tenants sorted by id, ids removed (in a
//! delta), issuers (JSON), revocations. A tenant is a head of [`TENANT_HEAD`] bytes followed by its
//! id and its slug, read in place.

use super::BundleError;

pub(super) const MAGIC: [u8; 8] = *b"PWBNDL\r\n";
pub(super) const VERSION: u16 = 1;
pub(super) const FULL: u16 = 1;
pub(super) const DELTA: u16 = 2;
pub(super) const HEADER: usize = 72;
pub(super) const TABLE_ENTRY: usize = 24;
pub(super) const CHECKSUM: usize = 32;
pub(super) const SIGNATURE: usize = 64;
pub(super) const TRAILER: usize = CHECKSUM + SIGNATURE;

/// What the signature is over, before the checksum: no other artefact of ours begins like this.
pub(super) const SIGNING_DOMAIN: &[u8] = b"partywall bundle v1\0";

/// The largest file an enforcement point looks at: some 30 million tenants.
pub(super) const MAX_FILE: usize = 3 << 30;

/// id length 1, slug length 1, status 1, zero 1, tier 2, region 2, placements 4, epoch 4, epoch_at 8.
pub(super) const TENANT_HEAD: usize = 24;
/// A tenant without a region.
pub(super) const NO_REGION: u16 = u16::MAX;

/// The sections, in the order they stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(super) enum Section {
    Names = 1,
    Placements = 2,
    Tenants = 3,
    Removed = 4,
    Issuers = 5,
    Revocations = 6,
}

impl Section {
    pub(super) const ALL: [Self; 6] = [
        Self::Names,
        Self::Placements,
        Self::Tenants,
        Self::Removed,
        Self::Issuers,
        Self::Revocations,
    ];
}

/// Reads numbers and slices off the front of some bytes; running out is [`BundleError::Malformed`].
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(super) fn malformed(&self) -> BundleError {
        BundleError::Malformed { what: self.what }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], BundleError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BundleError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, BundleError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BundleError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BundleError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text with its length in one byte before it.
    pub(super) fn short_text(&mut self) -> Result<&'a str, BundleError> {
        let len = self.u8()?.into();
        std::str::from_utf8(self.take(len)?).map_err(|_| self.malformed())
    }

    /// Everything has been read.
    pub(super) fn end(self) -> Result<(), BundleError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
