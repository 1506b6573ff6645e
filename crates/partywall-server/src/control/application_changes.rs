//! Applications through their lives. Whose an application is, is part of every question: a
//! tenant's, or, without one, the vendor's.

use std::time::Duration;

use partywall::TenantId;
use sea_orm::ConnectionTrait;
use serde::Deserialize;
use serde_json::json;

use super::{
    Actor, Application, ApplicationCredentials, ApplicationId, ApplicationStatus,
    ClientAuthentication, ClientSecret, ControlError, ControlPlane, NewApplication, Registration,
    SecretHash, tenant::MAX_PAGE,
};
use crate::storage::{AuditEvent, applications};

/// What to change of an application; what is not said stays. How it authenticates never changes.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationPatch {
    /// What people are shown: up to 128 characters.
    #[serde(default)]
    pub name: Option<String>,
    /// Its public keys, as a JWKS, for `private_key_jwt`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<serde_json::Value>,
    /// Everything else, as a whole.
    #[serde(default)]
    pub registration: Option<Registration>,
}

impl ControlPlane {
    /// The application of that id, if it is that tenant's, or the vendor's where none is named.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn application_of(
        &self,
        tenant: Option<&TenantId>,
        client: &ApplicationId,
    ) -> Result<Option<Application>, ControlError> {
        Ok(applications::find_in(self.inner.db.reader(), tenant, client).await?)
    }

    /// Up to `limit` (at most 1,000) applications of a tenant, or of the vendor, by ascending id,
    /// from the one behind `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_applications(
        &self,
        tenant: Option<&TenantId>,
        after: Option<&ApplicationId>,
        limit: u32,
    ) -> Result<Vec<Application>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(applications::page(self.inner.db.reader(), tenant, after, limit).await?)
    }

    /// Changes an application, if `expected` holds of what it is now. Everything creating one
    /// checks is checked of the whole again (B-16).
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownApplication`], [`ControlError::ApplicationRevoked`],
    /// [`ControlError::Conflict`] when `expected` does not hold, and [`ControlError::Application`].
    pub async fn update_application(
        &self,
        actor: &Actor,
        tenant: Option<&TenantId>,
        client: &ApplicationId,
        patch: ApplicationPatch,
        expected: impl FnOnce(&Application) -> bool + Send,
    ) -> Result<Application, ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let mut application = self.application_in(change.rows(), tenant, client, expected).await?;
        let ApplicationPatch { name, jwks, registration } = patch;
        let whole = NewApplication {
            name: name.unwrap_or(application.name),
            authentication: application.authentication,
            jwks: jwks.or(application.jwks),
            registration: registration.unwrap_or(application.registration),
        };
        whole.check()?;
        let NewApplication { name, authentication: _, jwks, registration } = whole;
        application.name = name;
        application.jwks = jwks;
        application.registration = registration;
        application.changed_at = now;
        application.version += 1;
        applications::update(change.rows(), &application).await?;
        let event = AuditEvent {
            actor,
            tenant,
            action: "application.update",
            detail: json!({
                "client_id": client, "name": application.name,
                "registration": application.registration,
            }),
        };
        self.commit(change, event).await?;
        Ok(application)
    }

    /// Gives an application a new secret. The one it had stays good for `overlap` (I-36).
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownApplication`], [`ControlError::ApplicationRevoked`], and
    /// [`ControlError::NoSecret`] when it does not authenticate with one.
    pub async fn rotate_application_secret(
        &self,
        actor: &Actor,
        tenant: Option<&TenantId>,
        client: &ApplicationId,
        overlap: Duration,
    ) -> Result<ApplicationCredentials, ControlError> {
        let now = self.now();
        let secret = ClientSecret::draw(&self.inner.random)?;
        let hash = SecretHash::of(client.as_str(), secret.expose());
        let change = self.inner.db.change(now).await?;
        let application = self.application_in(change.rows(), tenant, client, |_| true).await?;
        if application.authentication != ClientAuthentication::ClientSecret {
            return Err(ControlError::NoSecret { client: client.clone() });
        }
        applications::rotate_secret(change.rows(), tenant, client, &hash, now + overlap, now)
            .await?;
        let event = AuditEvent {
            actor,
            tenant,
            action: "application.rotate_secret",
            detail: json!({ "client_id": client, "overlap_seconds": overlap.as_secs() }),
        };
        self.commit(change, event).await?;
        Ok(ApplicationCredentials { client_id: client.clone(), secret: Some(secret) })
    }

    /// Ends an application for good, if `expected` holds of what it is now: its secrets and its
    /// refresh tokens. The access tokens issued to it live out their ten minutes.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownApplication`], [`ControlError::ApplicationRevoked`], and
    /// [`ControlError::Conflict`] when `expected` does not hold.
    pub async fn revoke_application(
        &self,
        actor: &Actor,
        tenant: Option<&TenantId>,
        client: &ApplicationId,
        expected: impl FnOnce(&Application) -> bool + Send,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        self.application_in(change.rows(), tenant, client, expected).await?;
        applications::revoke(change.rows(), tenant, client, now).await?;
        let event = AuditEvent {
            actor,
            tenant,
            action: "application.revoke",
            detail: json!({ "client_id": client }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    async fn application_in(
        &self,
        db: &impl ConnectionTrait,
        tenant: Option<&TenantId>,
        client: &ApplicationId,
        expected: impl FnOnce(&Application) -> bool + Send,
    ) -> Result<Application, ControlError> {
        let unknown = || ControlError::UnknownApplication { client: client.clone() };
        let application = applications::find_in(db, tenant, client).await?.ok_or_else(unknown)?;
        if !expected(&application) {
            return Err(ControlError::Conflict);
        }
        if application.status == ApplicationStatus::Revoked {
            return Err(ControlError::ApplicationRevoked { client: client.clone() });
        }
        Ok(application)
    }
}
