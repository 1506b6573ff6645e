//! From [`BundleContents`] to the bytes a signature is made over.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    BundleContents, BundleKey, Generation, TenantRecord,
    contents::Revocations,
    format::{
        DELTA, FULL, HEADER, MAGIC, NO_REGION, SIGNING_DOMAIN, Section, TABLE_ENTRY, VERSION,
    },
};
use crate::{DeploymentModel, Placements, TenantStatus, Timestamp};

/// What stands at the head of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct BundleHeader {
    /// This bundle's generation; only rises.
    pub generation: Generation,
    /// For a delta, the bundle it applies to.
    pub base: Option<Base>,
    /// When it was compiled.
    pub created: Timestamp,
    /// When enforcement points must stop serving from it.
    pub expires: Timestamp,
}

/// The bundle a delta applies to. Its number alone would not do: a control plane restored from a
/// backup comes by the same numbers again, and means something else by them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Base {
    /// Its generation.
    pub generation: Generation,
    /// When it was compiled.
    pub created: Timestamp,
}

/// A bundle that still lacks its signature. The control plane signs it; nothing loads it.
pub struct UnsignedBundle(Vec<u8>);

impl UnsignedBundle {
    /// Lays out `contents`, to be signed by the owner of `key`.
    ///
    /// # Errors
    ///
    /// When two tenants share an id or a slug, when there are more distinct names than the format
    /// can number, or when a full bundle names removed tenants.
    pub fn encode(
        header: &BundleHeader,
        contents: &BundleContents,
        key: &BundleKey,
    ) -> Result<Self, EncodeError> {
        if header.base.is_none() && !contents.removed.is_empty() {
            return Err(EncodeError::RemovedInFull);
        }
        if let Some(tenant) = contents.tenants.iter().find(|t| contents.removed.contains(&t.id)) {
            return Err(EncodeError::Duplicate(tenant.id.to_string()));
        }
        let mut names = Interner::default();
        let mut placements = Interner::default();
        let mut tenants: Vec<&TenantRecord> = contents.tenants.iter().collect();
        tenants.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        check_unique(&tenants)?;

        let mut tenant_section = (tenants.len() as u32).to_le_bytes().to_vec();
        for tenant in tenants {
            put_tenant(&mut tenant_section, tenant, &mut names, &mut placements)?;
        }
        let placement_section = placement_section(&placements, &mut names);
        let mut removed = (contents.removed.len() as u32).to_le_bytes().to_vec();
        contents.removed.iter().for_each(|id| put_short(&mut removed, id.as_str()));
        let issuers = serde_json::to_vec(&contents.issuers).map_err(EncodeError::Issuers)?;

        let sections = Section::ALL.map(|section| match section {
            Section::Names => name_section(&names),
            Section::Placements => placement_section.clone(),
            Section::Tenants => std::mem::take(&mut tenant_section),
            Section::Removed => std::mem::take(&mut removed),
            Section::Issuers => issuers.clone(),
            Section::Revocations => revocation_section(&contents.revocations),
        });
        Ok(Self(assemble(header, key, &sections)))
    }

    /// Signs with `sign`, which is handed the message and returns its Ed25519 signature.
    pub fn sign(mut self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        let checksum = digest(&SHA256, &self.0);
        let message = [SIGNING_DOMAIN, checksum.as_ref()].concat();
        self.0.extend_from_slice(checksum.as_ref());
        self.0.extend_from_slice(&sign(&message));
        self.0
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn into_unsigned_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Why a bundle could not be laid out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Two tenants with one id or one slug.
    #[error("two tenants are called {0}: ids and slugs are unique")]
    Duplicate(String),
    /// A full bundle lists all tenants; only a delta removes some.
    #[error("a full bundle cannot remove tenants: leave them out")]
    RemovedInFull,
    /// More than 65,534 distinct tiers and regions.
    #[error("more than 65,534 distinct names of tiers and regions")]
    TooManyNames,
    /// The issuers do not serialise.
    #[error("the issuers do not serialise")]
    Issuers(#[source] serde_json::Error),
}

fn check_unique(sorted: &[&TenantRecord]) -> Result<(), EncodeError> {
    let mut slugs: Vec<&str> = sorted.iter().map(|tenant| tenant.slug.as_str()).collect();
    slugs.sort_unstable();
    let same_id = sorted.array_windows().find(|[a, b]| a.id == b.id).map(|[a, _]| a.id.as_str());
    let same_slug = slugs.array_windows().find(|[a, b]| a == b).map(|[a, _]| *a);
    match same_id.or(same_slug) {
        Some(name) => Err(EncodeError::Duplicate(name.to_owned())),
        None => Ok(()),
    }
}

fn put_tenant(
    out: &mut Vec<u8>,
    tenant: &TenantRecord,
    names: &mut Interner<String>,
    placements: &mut Interner<Placements>,
) -> Result<(), EncodeError> {
    let mut short = |name: &str| {
        let number = u16::try_from(names.number(&name.to_owned())).ok();
        number.filter(|number| *number != NO_REGION).ok_or(EncodeError::TooManyNames)
    };
    let tier = short(tenant.tier.as_str())?;
    let region = tenant.region.as_ref().map_or(Ok(NO_REGION), |region| short(region.as_str()))?;
    out.push(tenant.id.as_str().len() as u8);
    out.push(tenant.slug.as_str().len() as u8);
    out.push(status_byte(tenant.status));
    out.push(0);
    out.extend_from_slice(&tier.to_le_bytes());
    out.extend_from_slice(&region.to_le_bytes());
    out.extend_from_slice(&placements.number(&tenant.placements).to_le_bytes());
    out.extend_from_slice(&tenant.epoch.to_le_bytes());
    out.extend_from_slice(&tenant.epoch_at.0.to_le_bytes());
    out.extend_from_slice(tenant.id.as_str().as_bytes());
    out.extend_from_slice(tenant.slug.as_str().as_bytes());
    Ok(())
}

fn status_byte(status: TenantStatus) -> u8 {
    match status {
        TenantStatus::Active => 1,
        TenantStatus::Suspended => 2,
        TenantStatus::PendingErase => 3,
    }
}

fn model_byte(model: DeploymentModel) -> u8 {
    match model {
        DeploymentModel::Silo => 1,
        DeploymentModel::Bridge => 2,
        DeploymentModel::Pool => 3,
    }
}

fn placement_section(placements: &Interner<Placements>, names: &mut Interner<String>) -> Vec<u8> {
    let mut out = (placements.values.len() as u32).to_le_bytes().to_vec();
    for set in &placements.values {
        out.extend_from_slice(&(set.0.len() as u32).to_le_bytes());
        for (store, placement) in &set.0 {
            out.extend_from_slice(&names.number(&store.as_str().to_owned()).to_le_bytes());
            out.push(model_byte(placement.model));
            let target = names.number(&placement.target.as_str().to_owned());
            out.extend_from_slice(&target.to_le_bytes());
        }
    }
    out
}

fn name_section(names: &Interner<String>) -> Vec<u8> {
    let mut out = (names.values.len() as u32).to_le_bytes().to_vec();
    names.values.iter().for_each(|name| put_short(&mut out, name));
    out
}

/// Names of ours are at most 63 bytes long, so their length fits one byte.
fn put_short(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn revocation_section(revocations: &Revocations) -> Vec<u8> {
    let mut out = Vec::new();
    for list in [&revocations.tokens, &revocations.subjects] {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        for (key, time) in list {
            out.extend_from_slice(key);
            out.extend_from_slice(&time.0.to_le_bytes());
        }
    }
    out
}

fn assemble(header: &BundleHeader, key: &BundleKey, sections: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + sections.iter().map(|s| s.len() + 24).sum::<usize>());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&if header.base.is_some() { DELTA } else { FULL }.to_le_bytes());
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    out.extend_from_slice(&header.generation.0.to_le_bytes());
    out.extend_from_slice(&header.base.map_or(0, |base| base.generation.0).to_le_bytes());
    out.extend_from_slice(&header.created.0.to_le_bytes());
    out.extend_from_slice(&header.expires.0.to_le_bytes());
    out.extend_from_slice(&header.base.map_or(0, |base| base.created.0).to_le_bytes());
    out.extend_from_slice(&key.id());
    let mut offset = (HEADER + TABLE_ENTRY * sections.len()) as u64;
    for (kind, section) in Section::ALL.iter().zip(sections) {
        out.extend_from_slice(&(*kind as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(section.len() as u64).to_le_bytes());
        offset += section.len() as u64;
    }
    sections.iter().for_each(|section| out.extend_from_slice(section));
    out
}

/// Numbers distinct values in the order they are first seen.
struct Interner<T> {
    numbers: BTreeMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Ord> Interner<T> {
    fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.numbers.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }
}
