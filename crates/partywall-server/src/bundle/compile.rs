//! From one snapshot of the database to signed bytes.

use std::sync::Arc;

use bytes::Bytes;
use partywall::{
    Timestamp,
    bundle::{
        Base, BundleContents, BundleHeader, BundleTrust, Generation, SignedBundle, UnsignedBundle,
    },
    token::{IssuerConfig, KeySource, Profile},
};
use sea_orm::DatabaseTransaction;

use super::{CompileError, PublishedBundle};
use crate::{
    control::{
        Inner,
        own_issuer::{own_issuer_name, own_issuers},
    },
    keys::{KeyPurpose, StoredKey, key_set},
    storage::{
        audit, directory,
        policy::{self, Policy},
        revocations, signing_keys,
        tenants::{self, DirectoryLine},
    },
};

/// The full bundle, or the delta from `base`, of the latest generation.
pub(super) async fn compile(
    inner: &Arc<Inner>,
    base: Option<Generation>,
) -> Result<PublishedBundle, CompileError> {
    let snapshot = inner.db.snapshot().await?;
    let (generation, changed_at) = directory::current(&snapshot).await?;
    let policy = policy::in_force(&snapshot).await?;
    let base = match base {
        None => None,
        Some(base) => {
            let refused = CompileError::NoSuchDelta { base, latest: generation };
            let created = audit::time_of(&snapshot, base).await?.ok_or(refused)?;
            // Whoever has a bundle that has run out takes everything anew.
            if base >= generation || created + policy.bundle_lifetime() <= changed_at {
                return Err(CompileError::NoSuchDelta { base, latest: generation });
            }
            Some(Base { generation: base, created })
        }
    };
    let mut contents = BundleContents {
        issuers: issuers(&snapshot, &policy, changed_at).await?,
        revocations: revocations::all(&snapshot, changed_at).await?,
        ..BundleContents::default()
    };
    match base {
        None => read_all_tenants(&snapshot, &mut contents).await?,
        Some(base) => read_changes(&snapshot, base.generation, &mut contents).await?,
    }
    drop(snapshot);
    // The time of the change, not of the compilation: the bytes follow from the database alone.
    let expires = changed_at + policy.bundle_lifetime();
    let header = BundleHeader { generation, base, created: changed_at, expires };
    // A million tenants take a second of computing, which is no task for a runtime's worker.
    let inner = Arc::clone(inner);
    let encoding = tokio::task::spawn_blocking(move || encode(&inner, &header, &contents));
    let bytes = encoding.await.map_err(CompileError::Interrupted)??;
    Ok(PublishedBundle { generation, bytes })
}

fn encode(
    inner: &Inner,
    header: &BundleHeader,
    contents: &BundleContents,
) -> Result<Bytes, CompileError> {
    let signer = &inner.bundle_signer;
    let unsigned = UnsignedBundle::encode(header, contents, signer.public())?;
    let bytes = Bytes::from(signer.sign(unsigned));
    if header.base.is_none() {
        // Read it back as an enforcement point will: what they all would refuse is not published.
        let trust = BundleTrust::from(signer.public().clone());
        SignedBundle::new(bytes.clone()).check(&trust).map_err(CompileError::Unreadable)?;
    }
    let generation = header.generation;
    tracing::debug!(%generation, tenants = contents.tenants.len(), "a bundle was compiled");
    Ok(bytes)
}

async fn read_all_tenants(
    snapshot: &DatabaseTransaction,
    contents: &mut BundleContents,
) -> Result<(), CompileError> {
    let mut after: Option<String> = None;
    loop {
        let page = tenants::directory_page(snapshot, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (_, line) in page {
            // A full bundle leaves out who is gone.
            if let DirectoryLine::Present(record) = line {
                contents.tenants.push(record);
            }
        }
    }
}

async fn read_changes(
    snapshot: &DatabaseTransaction,
    base: Generation,
    contents: &mut BundleContents,
) -> Result<(), CompileError> {
    // Ids end below this, so everything of the base's own generation lies before it.
    let mut after = (base, "\u{7f}".to_owned());
    loop {
        let page = tenants::changed_page(snapshot, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(last);
        for (_, line) in page {
            match line {
                DirectoryLine::Present(record) => contents.tenants.push(record),
                DirectoryLine::Erased(id) => {
                    contents.removed.insert(id);
                }
            }
        }
    }
}

/// Ourselves first, with every published key inline: an enforcement point fetches nothing.
async fn issuers(
    snapshot: &DatabaseTransaction,
    policy: &Policy,
    changed_at: Timestamp,
) -> Result<Vec<IssuerConfig>, CompileError> {
    let ours = |name: &str, keys: &[StoredKey]| {
        let source = KeySource::Inline(key_set(keys));
        let mut own = IssuerConfig::new(name, Profile::Partywall, source);
        // Nothing we signed lives longer, so nothing that claims to was signed by us.
        own.max_lifetime_seconds = u32::try_from(policy.longest_token(changed_at).as_secs())
            .unwrap_or(own.max_lifetime_seconds);
        own
    };
    let shared = signing_keys::all(snapshot, &KeyPurpose::Token).await?;
    let mut issuers = vec![ours(&policy.issuer, &shared)];
    for (slug, tenant, keys) in own_issuers(snapshot).await? {
        let mut own = ours(&own_issuer_name(&policy.issuer, &slug), &keys);
        own.tenants = Some([tenant].into());
        own.exclusive = true;
        issuers.push(own);
    }
    issuers.extend(policy.external.iter().cloned());
    Ok(issuers)
}

/// Tenants are read in pages of this many rows.
const PAGE: u64 = 5_000;
