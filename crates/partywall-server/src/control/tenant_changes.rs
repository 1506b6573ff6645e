//! What operators and a tenant's own administrators change of a tenant. Two types: what an
//! administrator may not write, it has no field for (M-03).

use partywall::{Placements, Region, TenantId, TenantStatus, Tier};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{
    Actor, Administrator, BillingReference, ControlError, ControlPlane, InvalidProfile, Metadata,
    NewTenant, Tenant,
};

/// What an operator changes of a tenant; what is not said stays, `null` takes away.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantPatch {
    /// Whether it is served: `active`, `suspended`, `pending_erase`.
    #[schema(value_type = Option<String>)]
    pub status: Option<TenantStatus>,
    /// What it pays for.
    #[schema(value_type = Option<String>)]
    pub tier: Option<Tier>,
    /// Where in the world its data belongs.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Option<Region>>,
    /// Where its data lives from now on, per store. Moves nothing.
    #[schema(value_type = Option<Object>)]
    pub placements: Option<Placements>,
    /// Whom to write to.
    #[schema(value_type = Option<Vec<String>>)]
    pub administrators: Option<Vec<Administrator>>,
    /// The tenant, as the vendor's billing knows it.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub billing_reference: Option<Option<BillingReference>>,
    /// Whatever else the vendor wants to remember, in place of what there was.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

/// What a tenant's own administrator changes of it.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdministratorPatch {
    /// Whom to write to.
    #[schema(value_type = Option<Vec<String>>)]
    pub administrators: Option<Vec<Administrator>>,
}

impl From<AdministratorPatch> for TenantPatch {
    fn from(patch: AdministratorPatch) -> Self {
        let AdministratorPatch { administrators } = patch;
        Self { administrators, ..Self::default() }
    }
}

/// A member that is there, `null` or not; one that is not is left to `default` (RFC 7396 1).
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl ControlPlane {
    /// Changes a tenant, if `expected` holds of what it is now.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], [`ControlError::Conflict`] when `expected` does not hold,
    /// and [`ControlError::Profile`].
    pub async fn update_tenant(
        &self,
        actor: &Actor,
        id: &TenantId,
        patch: TenantPatch,
        expected: impl FnOnce(&Tenant) -> bool + Send,
    ) -> Result<Tenant, ControlError> {
        let too_many = |all: &Vec<Administrator>| all.len() > NewTenant::MAX_ADMINISTRATORS;
        if patch.administrators.as_ref().is_some_and(too_many) {
            return Err(InvalidProfile::TooManyAdministrators.into());
        }
        self.alter_tenant(actor, id, "tenant.update", |tenant| {
            if !expected(tenant) {
                return Err(ControlError::Conflict);
            }
            let TenantPatch { status, tier, region, placements, .. } = patch;
            let (record, profile) = (&mut tenant.record, &mut tenant.profile);
            let before = (record.status, record.tier.clone());
            record.status = status.unwrap_or(record.status);
            record.tier = tier.unwrap_or_else(|| record.tier.clone());
            record.region = region.unwrap_or_else(|| record.region.clone());
            record.placements = placements.unwrap_or_else(|| record.placements.clone());
            let administrators_changed = patch.administrators.is_some();
            if let Some(administrators) = patch.administrators {
                profile.administrators = administrators;
            }
            if let Some(reference) = patch.billing_reference {
                profile.billing_reference = reference;
            }
            if let Some(metadata) = patch.metadata {
                profile.metadata = metadata;
            }
            Ok(json!({
                "status": record.status, "status_before": before.0,
                "tier": record.tier, "tier_before": before.1,
                "placements": record.placements,
                "administrators_changed": administrators_changed,
            }))
        })
        .await
    }
}
