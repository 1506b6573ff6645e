//! `/tenants/{tenant}/sign-in-policy` and `/tenants/{tenant}/branding`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Answer,
    body::{Body, shown, tagged},
    caller::Within,
    precondition::IfMatch,
};
use crate::control::{Branding, ControlPlane, SignInPolicy, SignInSettings, UserId};

/// Who a policy would lock out.
#[derive(Serialize, ToSchema)]
#[schema(as = LockPreview)]
pub(super) struct PreviewView {
    /// How many users can come in now, or were asked to.
    users: u64,
    /// How many of them could not.
    locked_out: u64,
    /// The first 100 of those.
    #[schema(value_type = Vec<String>)]
    first_locked_out: Vec<UserId>,
    /// Who may come in past a lock to the tenant's own identity provider: up to 100.
    #[schema(value_type = Vec<String>)]
    break_glass: Vec<UserId>,
}

pub(super) async fn get_policy(State(control): State<ControlPlane>, within: Within) -> Answer {
    Ok(tagged(&control.sign_in_settings(within.tenant()).await?.policy))
}

pub(super) async fn put_policy(
    State(control): State<ControlPlane>,
    within: Within,
    read: IfMatch,
    Body(policy): Body<SignInPolicy>,
) -> Answer {
    let (actor, tenant) = (within.actor(), within.tenant());
    let expected = |settings: &SignInSettings| read.is(&settings.policy);
    Ok(tagged(&control.set_sign_in_policy(&actor, tenant, policy, expected).await?.policy))
}

/// Says who a policy would lock out, and sets nothing (I-13).
pub(super) async fn preview(
    State(control): State<ControlPlane>,
    within: Within,
    Body(policy): Body<SignInPolicy>,
) -> Answer {
    let preview = control.preview_lock(within.tenant(), &policy).await?;
    Ok(shown(&PreviewView {
        users: preview.users,
        locked_out: preview.locked_out,
        first_locked_out: preview.first_locked_out,
        break_glass: preview.break_glass,
    }))
}

pub(super) async fn get_branding(State(control): State<ControlPlane>, within: Within) -> Answer {
    Ok(tagged(&control.sign_in_settings(within.tenant()).await?.branding))
}

pub(super) async fn put_branding(
    State(control): State<ControlPlane>,
    within: Within,
    read: IfMatch,
    Body(branding): Body<Branding>,
) -> Answer {
    let (actor, tenant) = (within.actor(), within.tenant());
    let expected = |settings: &SignInSettings| read.is(&settings.branding);
    Ok(tagged(&control.set_branding(&actor, tenant, branding, expected).await?.branding))
}
