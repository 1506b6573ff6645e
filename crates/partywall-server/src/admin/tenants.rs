//! `/tenants`: the operator's, and each administrator's own.

use axum::{extract::State, response::Response};
use partywall::{Placements, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer, ApiError,
    body::{Body, created, done, shown, tagged},
    caller::{Caller, Operator, Within},
    paging::{Listed, Page},
    precondition::IfMatch,
};
use crate::{
    ControlError,
    control::{
        Administrator, AdministratorPatch, BillingReference, ControlPlane, Metadata, NewTenant,
        Tenant, TenantPatch,
    },
};

/// A tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(super) struct TenantView {
    #[schema(value_type = String)]
    id: TenantId,
    slug: String,
    /// `active`, `suspended`, `pending_erase`.
    #[schema(value_type = String)]
    status: partywall::TenantStatus,
    tier: String,
    region: Option<String>,
    #[schema(value_type = Object)]
    placements: Placements,
    /// Tokens of an earlier epoch are refused.
    epoch: u32,
    #[schema(value_type = Vec<String>)]
    administrators: Vec<Administrator>,
    #[schema(value_type = Option<String>)]
    billing_reference: Option<BillingReference>,
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    changed_at: u64,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        let (record, profile) = (&tenant.record, &tenant.profile);
        Self {
            id: record.id.clone(),
            slug: record.slug.as_str().to_owned(),
            status: record.status,
            tier: record.tier.as_str().to_owned(),
            region: record.region.as_ref().map(|region| region.as_str().to_owned()),
            placements: record.placements.clone(),
            epoch: record.epoch,
            administrators: profile.administrators.clone(),
            billing_reference: profile.billing_reference.clone(),
            metadata: profile.metadata.clone(),
            created_at: tenant.created_at.0,
            changed_at: tenant.changed_at.0,
        }
    }
}

/// All of them for operators; for an administrator, their own.
pub(super) async fn list(
    State(control): State<ControlPlane>,
    caller: Caller,
    page: Page<TenantId>,
) -> Answer {
    let tenants = match caller.own_tenant() {
        None => control.list_tenants(page.after.as_ref(), page.limit).await?,
        Some(own) if page.after.as_ref().is_none_or(|after| after < own) => {
            control.tenant(own).await?.into_iter().collect()
        }
        Some(_) => Vec::new(),
    };
    let key = |tenant: &Tenant| tenant.id().to_string();
    Ok(shown(&Listed::of(tenants, page.limit, key, |tenant| TenantView::from(tenant))))
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    operator: Operator,
    Body(new): Body<NewTenant>,
) -> Answer {
    let tenant = control.create_tenant(operator.actor(), new).await?;
    Ok(created(tenant.id().as_str(), &TenantView::from(&tenant)))
}

pub(super) async fn get(State(control): State<ControlPlane>, within: Within) -> Answer {
    let tenant = control.tenant(within.tenant()).await?.ok_or(ApiError::NotFound)?;
    Ok(tagged(&TenantView::from(&tenant)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    within: Within,
    operator: Operator,
    read: IfMatch,
    Body(patch): Body<TenantPatch>,
) -> Answer {
    alter(&control, &within, operator.actor(), &read, patch).await
}

/// What an administrator may change of their own tenant.
pub(super) async fn update_profile(
    State(control): State<ControlPlane>,
    within: Within,
    read: IfMatch,
    Body(patch): Body<AdministratorPatch>,
) -> Answer {
    alter(&control, &within, &within.actor(), &read, patch.into()).await
}

async fn alter(
    control: &ControlPlane,
    within: &Within,
    actor: &crate::Actor,
    read: &IfMatch,
    patch: TenantPatch,
) -> Result<Response, ApiError> {
    let expected = |tenant: &Tenant| read.is(&TenantView::from(tenant));
    let tenant = control.update_tenant(actor, within.tenant(), patch, expected).await?;
    Ok(tagged(&TenantView::from(&tenant)))
}

/// Erases what is pending erasure.
pub(super) async fn erase(
    State(control): State<ControlPlane>,
    within: Within,
    operator: Operator,
    read: IfMatch,
) -> Answer {
    let tenant = control.tenant(within.tenant()).await?.ok_or(ApiError::NotFound)?;
    if !read.is(&TenantView::from(&tenant)) {
        return Err(ControlError::Conflict.into());
    }
    control.erase_tenant(operator.actor(), within.tenant()).await?;
    Ok(done())
}

/// Whether a tenant is to have an issuer of its own.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewIssuer {
    /// A tenant with a silo always has.
    own: bool,
}

/// Who issues a tenant's tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct IssuerView {
    /// As in `iss`; its metadata is below it.
    issuer: String,
    own: bool,
}

/// Tokens of the issuer before are refused from the next bundle on.
pub(super) async fn put_issuer(
    State(control): State<ControlPlane>,
    within: Within,
    operator: Operator,
    Body(NewIssuer { own }): Body<NewIssuer>,
) -> Answer {
    control.set_own_issuer(operator.actor(), within.tenant(), own).await?;
    let issuer = control.tenant_issuer(within.tenant()).await?;
    Ok(shown(&IssuerView { issuer, own }))
}

/// Refuses every token issued for the tenant so far.
pub(super) async fn bump_epoch(State(control): State<ControlPlane>, within: Within) -> Answer {
    let tenant = control.bump_epoch(&within.actor(), within.tenant()).await?;
    Ok(tagged(&TenantView::from(&tenant)))
}
