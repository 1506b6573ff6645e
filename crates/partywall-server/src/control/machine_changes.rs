//! Machines through their lives, within one tenant.

use std::{collections::BTreeSet, time::Duration};

use partywall::{Role, TenantId};
use serde::Deserialize;
use serde_json::json;

use super::{
    Actor, ClientId, ControlError, ControlPlane, InvalidMachine, Machine, MachineCredentials,
    MachineStatus, Scope, machine::roles_are_sound, user::check_name,
};
use crate::storage::{AuditEvent, machines};

/// What to change of a machine; what is not said stays.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachinePatch {
    /// What people call it: up to 128 characters.
    #[serde(default)]
    pub name: Option<String>,
    /// What it may be inside its tenant: up to 32 roles.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub roles: Option<BTreeSet<Role>>,
    /// What its tokens may be asked to carry: up to 64 scopes.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub scopes: Option<BTreeSet<Scope>>,
}

impl MachinePatch {
    /// What creating refuses, changing refuses (B-16).
    fn check(&self) -> Result<(), InvalidMachine> {
        self.name.as_deref().map_or(Ok(()), check_name).map_err(|_| InvalidMachine::Name)?;
        if !self.roles.as_ref().is_none_or(roles_are_sound) {
            return Err(InvalidMachine::Roles);
        }
        if self.scopes.as_ref().is_none_or(|scopes| scopes.len() <= 64) {
            Ok(())
        } else {
            Err(InvalidMachine::Scopes)
        }
    }
}

impl ControlPlane {
    /// The machine of that id, if it is that tenant's.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn machine_of(
        &self,
        tenant: &TenantId,
        client: &ClientId,
    ) -> Result<Option<Machine>, ControlError> {
        Ok(machines::find_in(self.inner.db.reader(), tenant, client).await?)
    }

    /// Changes a machine of `tenant`, if `expected` holds of what it is now. One that loses a role
    /// or a scope loses the access tokens it has.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownMachine`], [`ControlError::MachineRevoked`],
    /// [`ControlError::Conflict`] when `expected` does not hold, and [`ControlError::Machine`].
    pub async fn update_machine(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        client: &ClientId,
        patch: MachinePatch,
        expected: impl FnOnce(&Machine) -> bool + Send,
    ) -> Result<Machine, ControlError> {
        patch.check()?;
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let unknown = || ControlError::UnknownMachine { client: client.clone() };
        let before = machines::find_in(change.rows(), tenant, client).await?.ok_or_else(unknown)?;
        if !expected(&before) {
            return Err(ControlError::Conflict);
        }
        if before.status == MachineStatus::Revoked {
            return Err(ControlError::MachineRevoked { client: client.clone() });
        }
        let mut machine = before.clone();
        let MachinePatch { name, roles, scopes } = patch;
        machine.name = name.unwrap_or(machine.name);
        machine.roles = roles.unwrap_or(machine.roles);
        machine.scopes = scopes.unwrap_or(machine.scopes);
        machine.changed_at = now;
        machines::update(change.rows(), &machine).await?;
        let loses =
            !before.roles.is_subset(&machine.roles) || !before.scopes.is_subset(&machine.scopes);
        if loses {
            self.refuse_tokens_of(change.rows(), tenant, client.as_str(), now).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "machine.update",
            detail: json!({
                "client_id": client, "name": machine.name, "roles": machine.roles,
                "scopes": machine.scopes, "roles_before": before.roles,
                "scopes_before": before.scopes,
            }),
        };
        self.commit(change, event).await?;
        Ok(machine)
    }

    /// As [`rotate_machine_secret`](Self::rotate_machine_secret), of a machine of `tenant` only.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownMachine`] and [`ControlError::MachineRevoked`].
    pub async fn rotate_secret_of_machine(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        client: &ClientId,
        overlap: Duration,
    ) -> Result<MachineCredentials, ControlError> {
        // A machine never changes its tenant, so what is found here is what is rotated.
        if self.machine_of(tenant, client).await?.is_none() {
            return Err(ControlError::UnknownMachine { client: client.clone() });
        }
        self.rotate_machine_secret(actor, client, overlap).await
    }

    /// As [`revoke_machine`](Self::revoke_machine), of a machine of `tenant` only, if `expected`
    /// holds of what it is now.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownMachine`], [`ControlError::MachineRevoked`], and
    /// [`ControlError::Conflict`] when `expected` does not hold.
    pub async fn revoke_machine_of(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        client: &ClientId,
        expected: impl FnOnce(&Machine) -> bool + Send,
    ) -> Result<(), ControlError> {
        let machine = self.machine_of(tenant, client).await?;
        let unknown = || ControlError::UnknownMachine { client: client.clone() };
        if !expected(&machine.ok_or_else(unknown)?) {
            return Err(ControlError::Conflict);
        }
        // Nothing a change in between could make of it would be lost: it ends.
        self.revoke_machine(actor, client).await
    }
}
