//! The signed file from which an enforcement point decides alone.
//!
//! The control plane compiles tenants, issuers and revocations into one file and signs it; any
//! web server, object store or CDN carries it; an enforcement point checks it once and from then
//! on asks nobody (M-06). A [`Bundle`] is immutable and is shared, not copied: a request pins the
//! one it started with.
//!
//! [`format`] describes the bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, ParsedPublicKey},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use contents::{BundleContents, Revocations, TenantRecord};
pub use encode::{Base, BundleHeader, EncodeError, UnsignedBundle};
pub(crate) use keeper::Keeper;
pub use keeper::{BundleFiles, Fault, KeeperError, LoadError, Loaded};

#[cfg(feature = "http")]
pub use source::HttpBundleSource;
#[cfg(feature = "tokio")]
pub use source::{BundleSource, FileBundleSource, SourceError};

use crate::{
    Placement, Placements, Region, Slug, StoreName, TenantId, TenantStatus, Tier, Timestamp,
    token::IssuerConfig,
};
use parse::{Layer, Record};

mod contents;
mod encode;
mod format;
mod index;
mod keeper;
mod parse;
#[cfg(feature = "tokio")]
mod source;

/// Counts the changes of the directory of tenants. Only rises; a bundle that would lower it is
/// refused.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A bundle as it came off the wire or the disk. Nothing can be read from it:
/// [`SignedBundle::check`] is the only way in.
pub struct SignedBundle(Bytes);

impl SignedBundle {
    /// Takes the bytes of a bundle file.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// Checks a full bundle's form, checksum, signature and every record.
    ///
    /// # Errors
    ///
    /// See [`BundleError`]; whatever was loaded before stays in force.
    pub fn check(self, trust: &BundleTrust) -> Result<Bundle, BundleError> {
        let layer = Layer::check(self.0, trust)?;
        match layer.header.base {
            None => Ok(Bundle::full(layer)),
            Some(base) => {
                Err(BundleError::WrongBase { base: base.generation, have: Generation(0) })
            }
        }
    }

    /// Checks a delta and lays it over the bundle it was made for.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and [`BundleError::WrongBase`] when `onto` is another generation.
    pub fn check_onto(self, onto: &Bundle, trust: &BundleTrust) -> Result<Bundle, BundleError> {
        let bundle = self.check_newer_or_same(onto, trust)?;
        if bundle.generation() > onto.generation() {
            return Ok(bundle);
        }
        Err(BundleError::NotNewer { generation: bundle.generation(), have: onto.generation() })
    }

    /// As [`check_onto`](Self::check_onto), and takes the full bundle of the generation in force,
    /// too: it says in one piece what `onto` may say in many.
    pub(crate) fn check_newer_or_same(
        self,
        onto: &Bundle,
        trust: &BundleTrust,
    ) -> Result<Bundle, BundleError> {
        let layer = Layer::check(self.0, trust)?;
        let BundleHeader { generation, created, .. } = layer.header;
        match layer.header.base {
            Some(base) if base == onto.as_base() => onto.overlaid(layer),
            Some(base) => {
                Err(BundleError::WrongBase { base: base.generation, have: onto.generation() })
            }
            None if generation > onto.generation() => Ok(Bundle::full(layer)),
            None if onto.as_base() == (Base { generation, created }) => Ok(Bundle::full(layer)),
            None => Err(BundleError::NotNewer { generation, have: onto.generation() }),
        }
    }
}

/// What the control plane last said: whom to serve, whom to trust, where data lives.
///
/// Made by [`SignedBundle::check`] and nothing else:
///
/// ```compile_fail,E0451
/// # fn forge() -> partywall::bundle::Bundle {
/// partywall::bundle::Bundle { base: todo!(), overlay: todo!() } // the fields are private
/// # }
/// ```
pub struct Bundle {
    base: Arc<Layer>,
    overlay: Overlay,
}

/// What deltas changed since the full bundle.
#[derive(Clone, Default)]
struct Overlay {
    latest: Option<Arc<Layer>>,
    tenants: BTreeMap<TenantId, Option<Arc<Layer>>>,
    slugs: BTreeMap<Slug, TenantId>,
}

impl Bundle {
    fn full(layer: Layer) -> Self {
        Self { base: Arc::new(layer), overlay: Overlay::default() }
    }

    /// Builds a bundle that nobody signed.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unsigned(
        header: &BundleHeader,
        contents: &BundleContents,
    ) -> Result<Self, UnsignedError> {
        let key = BundleKey::from_ed25519([0; 32]);
        let bytes = match key {
            Ok(key) => UnsignedBundle::encode(header, contents, &key)?.into_unsigned_bytes(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self::full(Layer::unsigned(bytes.into())?))
    }

    /// This bundle's generation.
    pub fn generation(&self) -> Generation {
        self.latest().header.generation
    }

    /// When the control plane compiled it.
    pub fn created(&self) -> Timestamp {
        self.latest().header.created
    }

    /// From when on it must not be served from.
    pub fn expires(&self) -> Timestamp {
        self.latest().header.expires
    }

    /// This bundle, as a delta names it.
    fn as_base(&self) -> Base {
        Base { generation: self.generation(), created: self.created() }
    }

    /// Whether the latest of it came as a delta.
    pub(crate) fn is_delta(&self) -> bool {
        self.latest().header.base.is_some()
    }

    /// How many tenants it knows, whatever their status.
    pub fn tenant_count(&self) -> usize {
        if self.overlay.tenants.is_empty() {
            return self.base.tenant_count();
        }
        self.tenants().count()
    }

    /// The tenant of that id.
    pub fn tenant(&self, id: &TenantId) -> Option<TenantEntry<'_>> {
        let layer = match self.overlay.tenants.get(id) {
            Some(changed) => changed.as_ref()?,
            None => &self.base,
        };
        layer.tenant(id.as_str()).map(TenantEntry)
    }

    /// The tenant that goes by that alias now.
    pub fn tenant_by_slug(&self, slug: &Slug) -> Option<TenantEntry<'_>> {
        if let Some(id) = self.overlay.slugs.get(slug) {
            return self.tenant(id);
        }
        let found = self.base.tenant_by_slug(slug.as_str())?;
        let changed = self.overlay.tenants.contains_key(found.id());
        // A changed tenant's slug stands in the overlay; what the base says of it is the past.
        (!changed).then_some(TenantEntry(found))
    }

    /// Every tenant, in no particular order.
    pub fn tenants(&self) -> impl Iterator<Item = TenantEntry<'_>> {
        let unchanged =
            self.base.tenants().filter(|record| !self.overlay.tenants.contains_key(record.id()));
        let changed =
            self.overlay.tenants.iter().filter_map(|(id, layer)| {
                layer.as_ref().and_then(|layer| layer.tenant(id.as_str()))
            });
        unchanged.chain(changed).map(TenantEntry)
    }

    /// Whose tokens to accept.
    pub fn issuers(&self) -> &[IssuerConfig] {
        &self.latest().issuers
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.latest().revocations
    }

    fn latest(&self) -> &Layer {
        self.overlay.latest.as_deref().unwrap_or(&self.base)
    }

    /// This bundle with `delta` laid over it.
    fn overlaid(&self, delta: Layer) -> Result<Self, BundleError> {
        let delta = Arc::new(delta);
        let mut overlay = self.overlay.clone();
        let touched: BTreeSet<TenantId> = delta
            .tenants()
            .filter_map(|record| record.id().parse().ok())
            .chain(delta.removed.iter().cloned())
            .collect();
        overlay.slugs.retain(|_, id| !touched.contains(id));
        overlay.tenants.extend(delta.removed.iter().map(|id| (id.clone(), None)));
        for record in delta.tenants() {
            let (Ok(id), Ok(slug)) = (record.id().parse::<TenantId>(), record.slug().parse())
            else {
                return Err(BundleError::Malformed { what: "a tenant of the delta" });
            };
            overlay.tenants.insert(id.clone(), Some(Arc::clone(&delta)));
            // Whoever else the overlay still has under that slug has not given it up.
            if overlay.slugs.insert(slug, id).is_some() {
                return Err(SLUG_TAKEN);
            }
        }
        overlay.latest = Some(Arc::clone(&delta));
        let overlaid = Self { base: Arc::clone(&self.base), overlay };
        overlaid.check_slugs(&delta)?;
        Ok(overlaid)
    }

    /// A delta's slugs must not be those of tenants it leaves alone.
    fn check_slugs(&self, delta: &Layer) -> Result<(), BundleError> {
        let stolen = delta.tenants().any(|record| {
            let owner = self.base.tenant_by_slug(record.slug());
            owner.is_some_and(|owner| {
                owner.id() != record.id() && !self.overlay.tenants.contains_key(owner.id())
            })
        });
        if stolen { Err(SLUG_TAKEN) } else { Ok(()) }
    }
}

const SLUG_TAKEN: BundleError = BundleError::Malformed { what: "slugs: one is another tenant's" };

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

/// What a bundle says of one tenant.
#[derive(Clone, Copy)]
pub struct TenantEntry<'b>(Record<'b>);

impl<'b> TenantEntry<'b> {
    /// The id, as text.
    pub fn id(&self) -> &'b str {
        self.0.id()
    }

    /// The alias, as text.
    pub fn slug(&self) -> &'b str {
        self.0.slug()
    }

    /// Whether to serve it.
    pub fn status(&self) -> TenantStatus {
        self.0.status()
    }

    /// What it pays for.
    pub fn tier(&self) -> Option<&'b Tier> {
        self.0.tier()
    }

    /// Where in the world its data belongs.
    pub fn region(&self) -> Option<&'b Region> {
        self.0.region()
    }

    /// Where its data lives in `store`.
    pub fn placement(&self, store: &StoreName) -> Option<&'b Placement> {
        self.placements()?.get(store)
    }

    /// Where its data lives, per store.
    pub fn placements(&self) -> Option<&'b Placements> {
        self.0.placements()
    }

    /// How often all of its tokens were revoked at once.
    pub fn epoch(&self) -> u32 {
        self.0.epoch()
    }

    /// When that last happened.
    pub fn epoch_at(&self) -> Timestamp {
        self.0.epoch_at()
    }
}

/// The public half of a key that signs bundles (Ed25519, RFC 8032).
#[derive(Clone)]
pub struct BundleKey {
    public: [u8; 32],
    parsed: Arc<ParsedPublicKey>,
}

impl BundleKey {
    /// Takes the 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    ///
    /// When they are none.
    pub fn from_ed25519(public: [u8; 32]) -> Result<Self, BundleError> {
        let parsed = ParsedPublicKey::new(&ED25519, public).map_err(|_| BundleError::BadKey)?;
        Ok(Self { public, parsed: Arc::new(parsed) })
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.public
    }

    /// What a bundle's header calls the key: the first half of its SHA-256.
    pub(crate) fn id(&self) -> [u8; 16] {
        digest(&SHA256, &self.public).as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Display for BundleKey {
    /// Lower-case hexadecimal, as [`FromStr`](std::str::FromStr) reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleKey({self})")
    }
}

impl std::str::FromStr for BundleKey {
    type Err = BundleError;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        let mut public = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(BundleError::BadKey);
        }
        for (byte, pair) in public.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BundleError::BadKey)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BundleError::BadKey)?;
        }
        Self::from_ed25519(public)
    }
}

/// The keys an enforcement point accepts bundles from: one, or two while the key changes.
#[derive(Clone, Debug, Default)]
pub struct BundleTrust(Vec<BundleKey>);

impl BundleTrust {
    fn key(&self, id: &[u8; 16]) -> Option<&BundleKey> {
        self.0.iter().find(|key| key.id() == *id)
    }
}

impl FromIterator<BundleKey> for BundleTrust {
    fn from_iter<I: IntoIterator<Item = BundleKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl From<BundleKey> for BundleTrust {
    fn from(key: BundleKey) -> Self {
        Self(vec![key])
    }
}

/// Why a bundle was not taken. What was in force before stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It does not begin like a bundle.
    #[error("this is not a bundle: fetch it from the control plane's /bundle, byte for byte")]
    NotABundle,
    /// It ends too early.
    #[error("the bundle is cut short: fetch it again")]
    Truncated,
    /// It is larger than anything we would load.
    #[error("the bundle has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
        /// The largest allowed, in bytes.
        limit: usize,
    },
    /// It was written by a newer control plane.
    #[error("the bundle has format version {version}, this program reads version 1: upgrade it")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// Its bytes were damaged on the way.
    #[error("the bundle is damaged (its checksum is wrong): fetch it again")]
    Checksum,
    /// It is signed by a key this enforcement point does not trust.
    #[error(
        "the bundle is signed by a key that is not trusted here ({}…): pin the control plane's bundle key",
        hex4(key_id)
    )]
    ForeignKey {
        /// The id of the key, from the header.
        key_id: [u8; 16],
    },
    /// Its signature is wrong.
    #[error("the bundle's signature is wrong")]
    Signature,
    /// Its signature is right and what it says makes no sense.
    #[error(
        "the bundle is signed but malformed, in {what}: the control plane that made it is faulty"
    )]
    Malformed {
        /// The part at fault.
        what: &'static str,
    },
    /// Its issuers do not parse.
    #[error("the bundle's issuers do not parse")]
    Issuers(#[source] serde_json::Error),
    /// Its issuers cannot be used.
    #[error("the bundle's issuers cannot be used")]
    UnusableIssuers(#[source] crate::token::IssuerError),
    /// It is no newer than what is in force: a replay, or a control plane restored from a backup.
    #[error(
        "the bundle has generation {generation}, and {have} is in force: generations only rise"
    )]
    NotNewer {
        /// Its generation.
        generation: Generation,
        /// The generation in force.
        have: Generation,
    },
    /// A delta made for another generation.
    #[error(
        "the delta applies to generation {base}, and {have} is in force: fetch the full bundle"
    )]
    WrongBase {
        /// The generation it applies to.
        base: Generation,
        /// The generation in force.
        have: Generation,
    },
    /// Its time is over.
    #[error("the bundle expired at {expires:?}")]
    Expired {
        /// When, in seconds since 1970-01-01 UTC.
        expires: Timestamp,
    },
    /// 32 bytes that are no Ed25519 public key.
    #[error("not an Ed25519 public key: expected 64 hexadecimal digits")]
    BadKey,
}

impl BundleError {
    /// A word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotABundle => "not_a_bundle",
            Self::Truncated => "truncated",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::Checksum => "checksum",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Signature => "signature",
            Self::Malformed { .. } => "malformed",
            Self::Issuers(_) => "issuers",
            Self::UnusableIssuers(_) => "unusable_issuers",
            Self::NotNewer { .. } => "not_newer",
            Self::WrongBase { .. } => "wrong_base",
            Self::Expired { .. } => "expired",
            Self::BadKey => "bad_key",
        }
    }
}

fn hex4(id: &[u8; 16]) -> String {
    id.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a bundle for tests could not be built.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, thiserror::Error)]
pub enum UnsignedError {
    /// Its contents cannot be laid out.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What was laid out does not read.
    #[error(transparent)]
    Read(#[from] BundleError),
}

#[cfg(test)]
mod tests;
