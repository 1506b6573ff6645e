//! `/tenants/{tenant}/applications`, and `/applications` for the vendor's own, which serve every
//! tenant and are the operator's.

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use partywall::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer, ApiError,
    body::{Body, created, done, shown, tagged},
    caller::{Operator, Within},
    machines::{CredentialsView, Rotation},
    paging::{Listed, Page},
    path::Ids,
    precondition::IfMatch,
};
use crate::control::{
    Actor, Application, ApplicationCredentials, ApplicationId, ApplicationPatch, ApplicationStatus,
    ClientAuthentication, ControlPlane, NewApplication, Registration,
};

/// An application. Its secrets are not part of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Application)]
pub(super) struct ApplicationView {
    #[schema(value_type = String)]
    client_id: ApplicationId,
    name: String,
    status: ApplicationStatus,
    authentication: ClientAuthentication,
    #[schema(value_type = Option<Object>)]
    jwks: Option<serde_json::Value>,
    registration: Registration,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    changed_at: u64,
}

impl From<&Application> for ApplicationView {
    fn from(application: &Application) -> Self {
        Self {
            client_id: application.client_id.clone(),
            name: application.name.clone(),
            status: application.status,
            authentication: application.authentication,
            jwks: application.jwks.clone(),
            registration: application.registration.clone(),
            created_at: application.created_at.0,
            changed_at: application.changed_at.0,
        }
    }
}

/// Whose applications an address is about: those of a tenant the caller administers, or where it
/// names none, the vendor's.
pub(super) struct Owner {
    tenant: Option<TenantId>,
    actor: Actor,
}

impl FromRequestParts<ControlPlane> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Path {
            tenant: Option<String>,
        }
        let Ids(Path { tenant }) = Ids::from_request_parts(parts, control).await?;
        if tenant.is_some() {
            let within = Within::from_request_parts(parts, control).await?;
            return Ok(Self { actor: within.actor(), tenant: Some(within.tenant().clone()) });
        }
        let operator = Operator::from_request_parts(parts, control).await?;
        Ok(Self { actor: operator.actor().clone(), tenant: None })
    }
}

#[derive(Deserialize)]
pub(super) struct ApplicationPath {
    application: ApplicationId,
}

fn credentials(made: &ApplicationCredentials) -> CredentialsView {
    CredentialsView {
        client_id: made.client_id.to_string(),
        secret: made.secret.as_ref().map(|secret| secret.expose().to_owned()),
    }
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    owner: Owner,
    page: Page<ApplicationId>,
) -> Answer {
    let (tenant, after) = (owner.tenant.as_ref(), page.after.as_ref());
    let applications = control.list_applications(tenant, after, page.limit).await?;
    let key = |application: &Application| application.client_id.to_string();
    let view = |application: &Application| ApplicationView::from(application);
    Ok(shown(&Listed::of(applications, page.limit, key, view)))
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    owner: Owner,
    Body(new): Body<NewApplication>,
) -> Answer {
    let made = control.create_application(&owner.actor, owner.tenant.as_ref(), new).await?;
    Ok(created(made.client_id.as_str(), &credentials(&made)))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    owner: Owner,
    Ids(ApplicationPath { application }): Ids<ApplicationPath>,
) -> Answer {
    let application = control.application_of(owner.tenant.as_ref(), &application).await?;
    Ok(tagged(&ApplicationView::from(&application.ok_or(ApiError::NotFound)?)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    owner: Owner,
    Ids(ApplicationPath { application }): Ids<ApplicationPath>,
    read: IfMatch,
    Body(patch): Body<ApplicationPatch>,
) -> Answer {
    let (actor, tenant) = (&owner.actor, owner.tenant.as_ref());
    let expected = |application: &Application| read.is(&ApplicationView::from(application));
    let application =
        control.update_application(actor, tenant, &application, patch, expected).await?;
    Ok(tagged(&ApplicationView::from(&application)))
}

pub(super) async fn rotate(
    State(control): State<ControlPlane>,
    owner: Owner,
    Ids(ApplicationPath { application }): Ids<ApplicationPath>,
    Body(rotation): Body<Rotation>,
) -> Answer {
    let (actor, tenant, overlap) = (&owner.actor, owner.tenant.as_ref(), rotation.overlap()?);
    let made = control.rotate_application_secret(actor, tenant, &application, overlap).await?;
    Ok(shown(&credentials(&made)))
}

pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    owner: Owner,
    Ids(ApplicationPath { application }): Ids<ApplicationPath>,
    read: IfMatch,
) -> Answer {
    let expected = |application: &Application| read.is(&ApplicationView::from(application));
    let (actor, tenant) = (&owner.actor, owner.tenant.as_ref());
    control.revoke_application(actor, tenant, &application, expected).await?;
    Ok(done())
}
