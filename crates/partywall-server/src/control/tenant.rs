//! Tenants: made, changed, suspended, erased.

use std::time::Duration;

use partywall::{
    Placements, Region, Slug, TenantId, TenantStatus, Tier, Timestamp,
    bundle::{Generation, TenantRecord},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Actor, ControlError, ControlPlane, own_issuer};
use crate::{
    random,
    storage::{AuditEvent, StorageError, erasure, sessions, tenants},
};

impl ControlPlane {
    /// Makes a tenant, under a new id that no tenant ever had. It is active at once.
    ///
    /// # Errors
    ///
    /// [`ControlError::SlugTaken`] when another tenant goes by that slug.
    pub async fn create_tenant(
        &self,
        actor: &Actor,
        new: NewTenant,
    ) -> Result<Tenant, ControlError> {
        let slug = new.slug.clone();
        if slug.as_str().strip_prefix(ID_PREFIX).is_some_and(random::is_opaque_id) {
            // Whoever looks a tenant up by either name must never find two.
            return Err(ControlError::SlugLikeId { slug });
        }
        if new.administrators.len() > NewTenant::MAX_ADMINISTRATORS {
            return Err(InvalidProfile::TooManyAdministrators.into());
        }
        let now = self.now();
        let id = new_tenant_id(&self.inner.random)?;
        let change = self.inner.db.change(now).await?;
        let tenant = new.into_tenant(id, now, change.generation());
        match tenants::insert(change.rows(), &tenant).await {
            Err(StorageError::Duplicate) => return Err(ControlError::SlugTaken { slug }),
            inserted => inserted?,
        }
        if own_issuer::in_a_silo(&tenant.record.placements) {
            self.give_own_issuer(change.rows(), tenant.id(), now).await?;
        }
        let record = &tenant.record;
        let event = AuditEvent {
            actor,
            tenant: Some(&record.id),
            action: "tenant.create",
            detail: json!({ "slug": record.slug, "tier": record.tier, "placements": record.placements }),
        };
        self.commit(change, event).await?;
        Ok(tenant)
    }

    /// The tenant that goes by `new.slug`, made as `new` says when there is none. One that is
    /// there already is returned as it is.
    ///
    /// # Errors
    ///
    /// As [`create_tenant`](Self::create_tenant).
    pub async fn ensure_tenant(
        &self,
        actor: &Actor,
        new: NewTenant,
    ) -> Result<Tenant, ControlError> {
        let slug = new.slug.clone();
        if let Some(tenant) = self.tenant_by_slug(&slug).await? {
            return Ok(tenant);
        }
        match self.create_tenant(actor, new).await {
            // Somebody else was quicker.
            Err(ControlError::SlugTaken { slug }) => {
                let tenant = self.tenant_by_slug(&slug).await?;
                tenant.ok_or(ControlError::SlugTaken { slug })
            }
            created => created,
        }
    }

    /// The tenant of that id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, ControlError> {
        Ok(tenants::find(self.inner.db.reader(), id).await?)
    }

    /// The tenant that goes by that slug now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn tenant_by_slug(&self, slug: &Slug) -> Result<Option<Tenant>, ControlError> {
        Ok(tenants::find_by_slug(self.inner.db.reader(), slug).await?)
    }

    /// Up to `limit` (at most 1,000) tenants by ascending id, from the one behind `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_tenants(
        &self,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<Tenant>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(tenants::page(self.inner.db.reader(), after, limit).await?)
    }

    /// Sets whether a tenant is served. Its machines get no tokens while it is not.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`].
    pub async fn set_status(
        &self,
        actor: &Actor,
        id: &TenantId,
        status: TenantStatus,
    ) -> Result<Tenant, ControlError> {
        self.alter_tenant(actor, id, "tenant.set_status", |tenant| {
            let before = std::mem::replace(&mut tenant.record.status, status);
            Ok(json!({ "from": before, "to": status }))
        })
        .await
    }

    /// Says where the tenant's data lives from now on. Moves nothing.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`].
    pub async fn set_placements(
        &self,
        actor: &Actor,
        id: &TenantId,
        placements: Placements,
    ) -> Result<Tenant, ControlError> {
        self.alter_tenant(actor, id, "tenant.set_placements", |tenant| {
            let detail = json!({ "from": tenant.record.placements, "to": placements });
            tenant.record.placements = placements;
            Ok(detail)
        })
        .await
    }

    /// Refuses every token issued for the tenant so far.
    ///
    /// A token of ours says which epoch it is from. Of another issuer's token only the issue time
    /// tells, and that issuer's clock may be up to 30 seconds ahead: what it issues in the coming
    /// 30 seconds is refused, too, so whoever signs in there at once may have to do so again.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`].
    pub async fn bump_epoch(&self, actor: &Actor, id: &TenantId) -> Result<Tenant, ControlError> {
        let now = self.now();
        self.alter_tenant(actor, id, "tenant.bump_epoch", |tenant| {
            let record = &mut tenant.record;
            let next = record.epoch.checked_add(1);
            record.epoch =
                next.ok_or_else(|| ControlError::EpochsUsedUp { tenant: record.id.clone() })?;
            record.epoch_at = now + CLOCK_AHEAD;
            Ok(json!({ "epoch": record.epoch }))
        })
        .await
    }

    /// Forgets a tenant that is pending erasure: its users, clients, sessions, policies, its slug
    /// and everything known of it, and the accounts that were its users and nobody else. Its id stays taken for ever. The tenant's data in the stores is not this method's
    /// business.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotPendingErase`] when the tenant has any other status.
    pub async fn erase_tenant(&self, actor: &Actor, id: &TenantId) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let tenant = tenants::find(change.rows(), id).await?;
        let tenant = tenant.ok_or_else(|| ControlError::UnknownTenant { tenant: id.clone() })?;
        if tenant.record.status != TenantStatus::PendingErase {
            return Err(ControlError::NotPendingErase { tenant: id.clone() });
        }
        erasure::tenant(change.rows(), id).await?;
        tenants::leave_tombstone(change.rows(), id, now, change.generation()).await?;
        let action = "tenant.erase";
        self.commit(change, AuditEvent { actor, tenant: Some(id), action, detail: json!({}) })
            .await?;
        Ok(())
    }

    /// Changes a tenant, and accounts for it with what `alter` returns.
    pub(super) async fn alter_tenant(
        &self,
        actor: &Actor,
        id: &TenantId,
        action: &'static str,
        alter: impl FnOnce(&mut Tenant) -> Result<Value, ControlError>,
    ) -> Result<Tenant, ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let tenant = tenants::find(change.rows(), id).await?;
        let mut tenant =
            tenant.ok_or_else(|| ControlError::UnknownTenant { tenant: id.clone() })?;
        let before = tenant.record.status;
        let detail = alter(&mut tenant)?;
        tenant.changed_at = now;
        tenant.generation = change.generation();
        tenants::update(change.rows(), &tenant).await?;
        if before == TenantStatus::Active && tenant.record.status != before {
            // Its grants sleep while it does (decision 0019).
            sessions::end_all_of_tenant(change.rows(), id, now).await?;
        }
        if own_issuer::in_a_silo(&tenant.record.placements) {
            self.give_own_issuer(change.rows(), id, now).await?;
        }
        self.commit(change, AuditEvent { actor, tenant: Some(id), action, detail }).await?;
        Ok(tenant)
    }
}

/// A tenant as the control plane knows it (M-03).
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// What enforcement points know of it, too.
    pub record: TenantRecord,
    /// What only the vendor's staff and the tenant's administrators see.
    pub profile: TenantProfile,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// The generation of that change.
    pub generation: Generation,
}

impl Tenant {
    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.record.id
    }
}

/// What is said of a tenant that is no enforcement point's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantProfile {
    /// Whom to write to; at most [`NewTenant::MAX_ADMINISTRATORS`].
    pub administrators: Vec<Administrator>,
    /// The tenant, as the vendor's billing knows it.
    pub billing_reference: Option<BillingReference>,
    /// Whatever else the vendor wants to remember.
    pub metadata: Metadata,
}

/// What to say of a tenant to be made. Id, status and epoch are not for the caller to choose.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its readable name.
    #[schema(value_type = String)]
    pub slug: Slug,
    /// What it pays for.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// Where in the world its data belongs.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub region: Option<Region>,
    /// Where its data lives, per store.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub placements: Placements,
    /// Whom to write to.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub administrators: Vec<Administrator>,
    /// The tenant, as the vendor's billing knows it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub billing_reference: Option<BillingReference>,
    /// Whatever else the vendor wants to remember.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Metadata,
}

impl NewTenant {
    /// How many administrators a tenant may name.
    pub const MAX_ADMINISTRATORS: usize = 32;

    /// A tenant without profile or region.
    pub fn new(slug: Slug, tier: Tier, placements: Placements) -> Self {
        Self {
            slug,
            tier,
            region: None,
            placements,
            administrators: Vec::new(),
            billing_reference: None,
            metadata: Metadata::default(),
        }
    }

    fn into_tenant(self, id: TenantId, now: Timestamp, generation: Generation) -> Tenant {
        Tenant {
            record: TenantRecord {
                id,
                slug: self.slug,
                status: TenantStatus::Active,
                tier: self.tier,
                region: self.region,
                epoch: 0,
                epoch_at: Timestamp(0),
                placements: self.placements,
            },
            profile: TenantProfile {
                administrators: self.administrators,
                billing_reference: self.billing_reference,
                metadata: self.metadata,
            },
            created_at: now,
            changed_at: now,
            generation,
        }
    }
}

/// Someone who speaks for the tenant: an address to write to, not a sign-in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Administrator(String);

/// The tenant's account in the vendor's billing: up to 255 visible characters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BillingReference(String);

/// A JSON object of at most 4 KiB for the vendor's own use. Partywall reads nothing from it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// The largest size, in bytes of compact JSON.
    pub const MAX_BYTES: usize = 4 * 1024;

    /// The object.
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl TryFrom<Map<String, Value>> for Metadata {
    type Error = InvalidProfile;

    fn try_from(object: Map<String, Value>) -> Result<Self, Self::Error> {
        let text = serde_json::to_string(&object).map_err(|_| InvalidProfile::Metadata)?;
        // PostgreSQL's text holds no NUL, and nothing of ours needs one.
        if text.len() > Self::MAX_BYTES || text.contains("\\u0000") {
            return Err(InvalidProfile::Metadata);
        }
        Ok(Self(object))
    }
}

impl TryFrom<String> for Administrator {
    type Error = InvalidProfile;

    fn try_from(address: String) -> Result<Self, Self::Error> {
        let looks_right = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        let visible = address.chars().all(|c| !c.is_control() && !c.is_whitespace());
        let fits = address.len() <= 254;
        if looks_right && visible && fits {
            Ok(Self(address))
        } else {
            Err(InvalidProfile::Administrator)
        }
    }
}

impl TryFrom<String> for BillingReference {
    type Error = InvalidProfile;

    fn try_from(reference: String) -> Result<Self, Self::Error> {
        let visible = reference.bytes().all(|b| b.is_ascii_graphic());
        let fits = (1..=255).contains(&reference.len());
        if visible && fits { Ok(Self(reference)) } else { Err(InvalidProfile::BillingReference) }
    }
}

impl From<Administrator> for String {
    fn from(administrator: Administrator) -> Self {
        administrator.0
    }
}

impl From<BillingReference> for String {
    fn from(reference: BillingReference) -> Self {
        reference.0
    }
}

/// Why something said of a tenant was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProfile {
    /// Not an address.
    #[error("not an administrator's address: expected name@domain of at most 254 characters")]
    Administrator,
    /// Too many addresses.
    #[error("too many administrators: at most 32")]
    TooManyAdministrators,
    /// Not a reference.
    #[error("not a billing reference: expected 1 to 255 visible ASCII characters")]
    BillingReference,
    /// Too large, or not storable.
    #[error("not metadata: expected a JSON object of at most 4096 bytes without NUL characters")]
    Metadata,
}

/// How far an issuer's clock may be ahead: the most leeway that an issuer can be given (J-11).
const CLOCK_AHEAD: Duration = Duration::from_secs(30);
const ID_PREFIX: &str = "t-";
pub(super) const MAX_PAGE: u32 = 1_000;

fn new_tenant_id(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<TenantId, ControlError> {
    let id = format!("{ID_PREFIX}{}", random::opaque_id(random)?);
    // 28 characters of the alphabet, none of them reserved: it always parses.
    id.parse().map_err(|_| ControlError::Random(random::RandomError))
}
