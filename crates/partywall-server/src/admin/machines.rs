//! `/tenants/{tenant}/machines`: clients that act for their tenant by themselves (I-36).

use std::{collections::BTreeSet, time::Duration};

use axum::extract::State;
use partywall::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer, ApiError,
    body::{Body, created, done, shown, tagged},
    caller::Within,
    paging::{Listed, Page},
    path::Ids,
    precondition::IfMatch,
};
use crate::control::{
    ClientId, ControlPlane, Machine, MachinePatch, MachineStatus, NewMachine, Scope,
};

/// A machine. Its secrets are not part of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Machine)]
pub(super) struct MachineView {
    /// What it signs in as, and the `sub` of its tokens.
    #[schema(value_type = String)]
    client_id: ClientId,
    name: String,
    /// `active` or `revoked`.
    status: &'static str,
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    #[schema(value_type = Vec<String>)]
    scopes: BTreeSet<Scope>,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    changed_at: u64,
}

impl From<&Machine> for MachineView {
    fn from(machine: &Machine) -> Self {
        Self {
            client_id: machine.client_id.clone(),
            name: machine.name.clone(),
            status: match machine.status {
                MachineStatus::Active => "active",
                MachineStatus::Revoked => "revoked",
            },
            roles: machine.roles.clone(),
            scopes: machine.scopes.clone(),
            created_at: machine.created_at.0,
            changed_at: machine.changed_at.0,
        }
    }
}

/// A client's id, and its secret, which is shown here and never again.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientCredentials)]
pub(super) struct CredentialsView {
    pub(super) client_id: String,
    /// Missing for a client that authenticates without one, and where this is the repetition of an
    /// answer.
    pub(super) secret: Option<String>,
}

/// How a secret is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how long the old one stays good, in seconds: at most 30 days.
    #[serde(default)]
    overlap_seconds: u32,
}

impl Rotation {
    pub(super) fn overlap(&self) -> Result<Duration, ApiError> {
        if self.overlap_seconds <= 30 * 24 * 3600 {
            Ok(Duration::from_secs(self.overlap_seconds.into()))
        } else {
            Err(ApiError::Malformed("overlap_seconds: expected at most 2592000".to_owned()))
        }
    }
}

#[derive(Deserialize)]
pub(super) struct MachinePath {
    machine: ClientId,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<ClientId>,
) -> Answer {
    let machines = control.list_machines(within.tenant(), page.after.as_ref(), page.limit).await?;
    let key = |machine: &Machine| machine.client_id.to_string();
    Ok(shown(&Listed::of(machines, page.limit, key, |machine| MachineView::from(machine))))
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Body(new): Body<NewMachine>,
) -> Answer {
    within.may_grant(&new.roles)?;
    let made = control.create_machine(&within.actor(), within.tenant(), new).await?;
    let (client_id, secret) = (made.client_id.to_string(), made.secret.expose().to_owned());
    Ok(created(&client_id.clone(), &CredentialsView { client_id, secret: Some(secret) }))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(MachinePath { machine }): Ids<MachinePath>,
) -> Answer {
    let machine = control.machine_of(within.tenant(), &machine).await?;
    Ok(tagged(&MachineView::from(&machine.ok_or(ApiError::NotFound)?)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(MachinePath { machine }): Ids<MachinePath>,
    read: IfMatch,
    Body(patch): Body<MachinePatch>,
) -> Answer {
    if within.own_machine() == Some(&machine) && (patch.roles.is_some() || patch.scopes.is_some()) {
        return Err(ApiError::Forbidden("no machine changes its own roles or scopes"));
    }
    within.may_grant(patch.roles.as_ref().unwrap_or(&BTreeSet::new()))?;
    let expected = |machine: &Machine| read.is(&MachineView::from(machine));
    let machine =
        control.update_machine(&within.actor(), within.tenant(), &machine, patch, expected).await?;
    Ok(tagged(&MachineView::from(&machine)))
}

pub(super) async fn rotate(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(MachinePath { machine }): Ids<MachinePath>,
    Body(rotation): Body<Rotation>,
) -> Answer {
    let (actor, overlap) = (within.actor(), rotation.overlap()?);
    let made = control.rotate_secret_of_machine(&actor, within.tenant(), &machine, overlap).await?;
    let (client_id, secret) = (made.client_id.to_string(), made.secret.expose().to_owned());
    Ok(shown(&CredentialsView { client_id, secret: Some(secret) }))
}

pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(MachinePath { machine }): Ids<MachinePath>,
    read: IfMatch,
) -> Answer {
    let expected = |machine: &Machine| read.is(&MachineView::from(machine));
    control.revoke_machine_of(&within.actor(), within.tenant(), &machine, expected).await?;
    Ok(done())
}
