//! From bytes to a [`Layer`]: checked once, then read in place.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::{
    Base, BundleError, BundleHeader, BundleTrust, Generation,
    contents::{RevocationKey, Revocations},
    format::{
        CHECKSUM, DELTA, FULL, HEADER, MAGIC, MAX_FILE, NO_REGION, Reader, SIGNING_DOMAIN, Section,
        TABLE_ENTRY, TENANT_HEAD, TRAILER, VERSION,
    },
    index::Index,
};
use crate::{
    DeploymentModel, Placement, Placements, Region, StoreName, Target, TenantId, TenantStatus,
    Tier, Timestamp, token::IssuerConfig,
};

/// One file's worth: a full bundle or a delta, its records read in place.
pub(super) struct Layer {
    pub(super) header: BundleHeader,
    pub(super) issuers: Vec<IssuerConfig>,
    pub(super) revocations: Revocations,
    pub(super) removed: BTreeSet<TenantId>,
    bytes: Bytes,
    tenants: Range<usize>,
    tenant_count: usize,
    tiers: Vec<Option<Tier>>,
    regions: Vec<Option<Region>>,
    placements: Vec<Placements>,
    by_id: Index,
    by_slug: Index,
}

/// A tenant's record, read in place.
#[derive(Clone, Copy)]
pub(super) struct Record<'l> {
    layer: &'l Layer,
    head: &'l [u8; TENANT_HEAD],
    /// Bytes, which were checked to be names once: a look-up compares them and does not read them.
    id: &'l [u8],
    slug: &'l [u8],
}

impl Layer {
    /// Checks magic, version, checksum, key and signature, in that order, and then every record:
    /// a signed file may still be wrong.
    pub(super) fn check(bytes: Bytes, trust: &BundleTrust) -> Result<Self, BundleError> {
        if bytes.len() > MAX_FILE {
            return Err(BundleError::TooLarge { bytes: bytes.len(), limit: MAX_FILE });
        }
        if bytes.first_chunk() != Some(&MAGIC) {
            return Err(BundleError::NotABundle);
        }
        let signed_len = bytes.len().checked_sub(TRAILER).ok_or(BundleError::Truncated)?;
        let (signed, trailer) = bytes.split_at_checked(signed_len).ok_or(BundleError::Truncated)?;
        let (checksum, signature) =
            trailer.split_at_checked(CHECKSUM).ok_or(BundleError::Truncated)?;
        let (header, key_id, sections) = read_header(signed)?;
        if digest(&SHA256, signed).as_ref() != checksum {
            return Err(BundleError::Checksum);
        }
        let key = trust.key(&key_id).ok_or(BundleError::ForeignKey { key_id })?;
        if !key.verifies(&[SIGNING_DOMAIN, checksum].concat(), signature) {
            return Err(BundleError::Signature);
        }
        Self::read(bytes.clone(), header, sections)
    }

    /// Reads a bundle that nobody signed: for tests.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn unsigned(bytes: Bytes) -> Result<Self, BundleError> {
        let (header, _, sections) = read_header(&bytes)?;
        Self::read(bytes.clone(), header, sections)
    }

    fn read(
        bytes: Bytes,
        header: BundleHeader,
        sections: [Range<usize>; 6],
    ) -> Result<Self, BundleError> {
        let [names, placements, tenants, removed, issuers, revocations] = sections;
        let part = |range: Range<usize>| bytes.get(range).ok_or(BundleError::Truncated);
        let names = read_names(part(names)?)?;
        let placements = read_placements(part(placements)?, &names)?;
        let issuers = serde_json::from_slice(part(issuers)?).map_err(BundleError::Issuers)?;
        let revocations = read_revocations(part(revocations)?)?;
        let removed = read_removed(part(removed)?)?;
        if header.base.is_none() && !removed.is_empty() {
            return Err(BundleError::Malformed { what: "removed tenants in a full bundle" });
        }
        let mut layer = Self {
            header,
            issuers,
            revocations,
            removed,
            tiers: names.iter().map(|name| name.parse().ok()).collect(),
            regions: names.iter().map(|name| name.parse().ok()).collect(),
            placements,
            tenant_count: 0,
            by_id: Index::default(),
            by_slug: Index::default(),
            bytes: bytes.clone(),
            tenants,
        };
        layer.index_tenants()?;
        Ok(layer)
    }

    /// Walks every record once: canonical ids in ascending order, no slug twice, every number
    /// pointing at something.
    fn index_tenants(&mut self) -> Result<(), BundleError> {
        let bytes = self.bytes.clone();
        let section = bytes.get(self.tenants.clone()).ok_or(BundleError::Truncated)?;
        let mut reader = Reader::new(section, "tenants");
        let count = reader.u32()? as usize;
        if count > reader.remaining() / (TENANT_HEAD + 2) {
            return Err(reader.malformed());
        }
        let (mut by_id, mut by_slug) = (Index::with_room(count), Index::with_room(count));
        let mut previous: &[u8] = b"";
        for _ in 0..count {
            let offset = (section.len() - reader.remaining()) as u32;
            let record = Record::read(self, &mut reader)?;
            if record.id <= previous {
                return Err(BundleError::Malformed { what: "the order of tenants" });
            }
            previous = record.id;
            record.check()?;
            if self.removed.contains(record.id()) {
                return Err(BundleError::Malformed { what: "a tenant both changed and removed" });
            }
            by_id.insert(record.id(), offset);
            let taken = |at| self.record(at).is_some_and(|other| other.slug == record.slug);
            if by_slug.find(record.slug(), taken).is_some() {
                return Err(BundleError::Malformed { what: "slugs: one stands twice" });
            }
            by_slug.insert(record.slug(), offset);
        }
        reader.end()?;
        (self.by_id, self.by_slug, self.tenant_count) = (by_id, by_slug, count);
        Ok(())
    }

    pub(super) fn tenant_count(&self) -> usize {
        self.tenant_count
    }

    pub(super) fn tenant(&self, id: &str) -> Option<Record<'_>> {
        let same = |at| self.record(at).is_some_and(|found| found.id == id.as_bytes());
        self.record(self.by_id.find(id, same)?)
    }

    pub(super) fn tenant_by_slug(&self, slug: &str) -> Option<Record<'_>> {
        let same = |at| self.record(at).is_some_and(|found| found.slug == slug.as_bytes());
        self.record(self.by_slug.find(slug, same)?)
    }

    /// All records, by ascending id.
    pub(super) fn tenants(&self) -> impl Iterator<Item = Record<'_>> {
        let section = self.bytes.get(self.tenants.clone()).unwrap_or_default();
        let mut reader = Reader::new(section.get(4..).unwrap_or_default(), "tenants");
        std::iter::from_fn(move || Record::read(self, &mut reader).ok())
    }

    fn record(&self, offset: u32) -> Option<Record<'_>> {
        let from = self.tenants.start.checked_add(offset as usize)?;
        Record::read(self, &mut Reader::new(self.bytes.get(from..self.tenants.end)?, "tenants"))
            .ok()
    }
}

impl<'l> Record<'l> {
    fn read(layer: &'l Layer, reader: &mut Reader<'l>) -> Result<Self, BundleError> {
        let head: &[u8; TENANT_HEAD] =
            reader.take(TENANT_HEAD)?.first_chunk().ok_or_else(|| reader.malformed())?;
        let [id_len, slug_len, ..] = head;
        let id = reader.take((*id_len).into())?;
        let slug = reader.take((*slug_len).into())?;
        Ok(Self { layer, head, id, slug })
    }

    fn check(&self) -> Result<(), BundleError> {
        let malformed = |what| BundleError::Malformed { what };
        self.id().parse::<TenantId>().map_err(|_| malformed("a tenant's id"))?;
        self.slug().parse::<crate::Slug>().map_err(|_| malformed("a tenant's slug"))?;
        self.tier().ok_or(malformed("a tenant's tier"))?;
        if self.region_number() != NO_REGION && self.region().is_none() {
            return Err(malformed("a tenant's region"));
        }
        self.placements().ok_or(malformed("a tenant's placements"))?;
        let [_, _, 1..=3, 0, ..] = self.head else { return Err(malformed("a tenant's status")) };
        Ok(())
    }

    /// Empty, and so no tenant's, where it is not text.
    pub(super) fn id(&self) -> &'l str {
        std::str::from_utf8(self.id).unwrap_or_default()
    }

    pub(super) fn slug(&self) -> &'l str {
        std::str::from_utf8(self.slug).unwrap_or_default()
    }

    pub(super) fn status(&self) -> TenantStatus {
        match self.head {
            [_, _, 1, ..] => TenantStatus::Active,
            [_, _, 2, ..] => TenantStatus::Suspended,
            // Anything else was refused when the file was read; if it could be, it is not served.
            _ => TenantStatus::PendingErase,
        }
    }

    pub(super) fn tier(&self) -> Option<&'l Tier> {
        let number = u16::from_le_bytes(self.field(4));
        self.layer.tiers.get(usize::from(number))?.as_ref()
    }

    fn region_number(&self) -> u16 {
        u16::from_le_bytes(self.field(6))
    }

    pub(super) fn region(&self) -> Option<&'l Region> {
        self.layer.regions.get(usize::from(self.region_number()))?.as_ref()
    }

    pub(super) fn placements(&self) -> Option<&'l Placements> {
        self.layer.placements.get(u32::from_le_bytes(self.field(8)) as usize)
    }

    pub(super) fn epoch(&self) -> u32 {
        u32::from_le_bytes(self.field(12))
    }

    pub(super) fn epoch_at(&self) -> Timestamp {
        Timestamp(u64::from_le_bytes(self.field(16)))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.head.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0xff; N])
    }
}

type Header = (BundleHeader, [u8; 16], [Range<usize>; 6]);

fn read_header(signed: &[u8]) -> Result<Header, BundleError> {
    let mut reader = Reader::new(signed, "the header");
    reader.array::<8>()?;
    let version = reader.u16()?;
    if version != VERSION {
        return Err(BundleError::UnknownVersion { version });
    }
    let kind = reader.u16()?;
    let sections = reader.u32()? as usize;
    let generation = Generation(reader.u64()?);
    let base = Generation(reader.u64()?);
    let created = Timestamp(reader.u64()?);
    let expires = Timestamp(reader.u64()?);
    let base_created = Timestamp(reader.u64()?);
    let key_id = reader.array()?;
    let base = match (kind, base) {
        (FULL, Generation(0)) if base_created == Timestamp(0) => None,
        (DELTA, base) if base < generation && base_created <= created => {
            Some(Base { generation: base, created: base_created })
        }
        _ => return Err(reader.malformed()),
    };
    if sections != Section::ALL.len() || created > expires {
        return Err(reader.malformed());
    }
    let ranges = read_table(&mut reader, signed.len())?;
    Ok((BundleHeader { generation, base, created, expires }, key_id, ranges))
}

/// The sections must stand in order, without gaps or overlaps, and fill the file.
fn read_table(reader: &mut Reader<'_>, end: usize) -> Result<[Range<usize>; 6], BundleError> {
    let mut next = HEADER + TABLE_ENTRY * Section::ALL.len();
    let mut ranges = [const { 0..0 }; 6];
    for (range, section) in ranges.iter_mut().zip(Section::ALL) {
        let (kind, zero) = (reader.u32()?, reader.u32()?);
        let (offset, len) = (reader.u64()?, reader.u64()?);
        let len = usize::try_from(len).map_err(|_| BundleError::Truncated)?;
        if kind != section as u32 || zero != 0 || offset != next as u64 {
            return Err(reader.malformed());
        }
        let after = next.checked_add(len).filter(|after| *after <= end);
        let after = after.ok_or(BundleError::Truncated)?;
        *range = next..after;
        next = after;
    }
    if next == end { Ok(ranges) } else { Err(reader.malformed()) }
}

fn read_names(section: &[u8]) -> Result<Vec<Arc<str>>, BundleError> {
    let mut reader = Reader::new(section, "names");
    let count = reader.u32()?;
    let names = (0..count).map(|_| reader.short_text().map(Arc::from)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(names)
}

fn read_placements(section: &[u8], names: &[Arc<str>]) -> Result<Vec<Placements>, BundleError> {
    let mut reader = Reader::new(section, "placements");
    let mut sets = Vec::new();
    for _ in 0..reader.u32()? {
        let mut set = Placements::default();
        for _ in 0..reader.u32()? {
            let store: StoreName = named(names, reader.u32()?)?;
            let model = match reader.u8()? {
                1 => DeploymentModel::Silo,
                2 => DeploymentModel::Bridge,
                3 => DeploymentModel::Pool,
                _ => return Err(reader.malformed()),
            };
            let target: Target = named(names, reader.u32()?)?;
            if set.0.insert(store, Placement { model, target }).is_some() {
                return Err(reader.malformed());
            }
        }
        sets.push(set);
    }
    reader.end()?;
    Ok(sets)
}

fn named<T: std::str::FromStr>(names: &[Arc<str>], number: u32) -> Result<T, BundleError> {
    let name = names.get(number as usize).and_then(|name| name.parse().ok());
    name.ok_or(BundleError::Malformed { what: "placements" })
}

fn read_removed(section: &[u8]) -> Result<BTreeSet<TenantId>, BundleError> {
    let mut reader = Reader::new(section, "removed tenants");
    let mut removed = BTreeSet::new();
    for _ in 0..reader.u32()? {
        let id = reader.short_text()?.parse().map_err(|_| reader.malformed())?;
        removed.insert(id);
    }
    reader.end()?;
    Ok(removed)
}

fn read_revocations(section: &[u8]) -> Result<Revocations, BundleError> {
    let mut reader = Reader::new(section, "revocations");
    let mut revocations = Revocations::default();
    for list in [&mut revocations.tokens, &mut revocations.subjects] {
        for _ in 0..reader.u32()? {
            let key: RevocationKey = reader.array()?;
            list.insert(key, Timestamp(reader.u64()?));
        }
    }
    reader.end()?;
    Ok(revocations)
}
