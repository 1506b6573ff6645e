//! `/tenants/{tenant}/api-keys`.

use std::collections::BTreeSet;

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
};
use crate::control::{ApiKey, ApiKeyHolder, ApiKeyId, ControlPlane, NewApiKey, Scope};

/// An API key. Its text is not part of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct ApiKeyView {
    #[schema(value_type = String)]
    id: ApiKeyId,
    /// The user or machine it acts as.
    holder: String,
    name: String,
    /// `active` or `revoked`.
    status: &'static str,
    /// The only roles of its holder that its tokens have; all of them where it says nothing.
    #[schema(value_type = Option<Vec<String>>)]
    roles: Option<BTreeSet<Role>>,
    #[schema(value_type = Vec<String>)]
    scopes: BTreeSet<Scope>,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    expires_at: u64,
    used_at: Option<u64>,
}

impl From<&ApiKey> for ApiKeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.clone(),
            holder: key.holder.as_str().to_owned(),
            name: key.name.clone(),
            status: key.status.as_str(),
            roles: key.roles.clone(),
            scopes: key.scopes.clone(),
            created_at: key.created_at.0,
            expires_at: key.expires_at.0,
            used_at: key.used_at.map(|at| at.0),
        }
    }
}

/// An API key that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyCredentials)]
pub(super) struct ApiKeyCredentialsView {
    #[schema(value_type = String)]
    id: ApiKeyId,
    /// Shown here and never again; missing where this is the repetition of an answer.
    secret: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ApiKeyPath {
    key: ApiKeyId,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<ApiKeyId>,
) -> Answer {
    let (tenant, after) = (within.tenant(), page.after.as_ref());
    let keys = control.list_api_keys(tenant, None, after, page.limit).await?;
    let key = |key: &ApiKey| key.id.to_string();
    Ok(shown(&Listed::of(keys, page.limit, key, |key| ApiKeyView::from(key))))
}

/// For a machine of the tenant, or for the caller. A key for another person would be a way to act
/// as them that they do not see (P-02).
pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Body(new): Body<NewApiKey>,
) -> Answer {
    if let ApiKeyHolder::User(user) = &new.holder
        && within.own_user() != Some(user)
    {
        // 404 before 403: whether there is such a user is for its own tenant to know.
        control.user(within.tenant(), user).await?.ok_or(ApiError::NotFound)?;
        return Err(ApiError::Forbidden("a person's API keys are made by that person"));
    }
    let made = control.create_api_key(&within.actor(), within.tenant(), new).await?;
    let secret = Some(made.text.expose().clone());
    let view = ApiKeyCredentialsView { id: made.key.id.clone(), secret };
    Ok(created(made.key.id.as_str(), &view))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ApiKeyPath { key }): Ids<ApiKeyPath>,
) -> Answer {
    let key = control.api_key(within.tenant(), &key).await?.ok_or(ApiError::NotFound)?;
    Ok(tagged(&ApiKeyView::from(&key)))
}

pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ApiKeyPath { key }): Ids<ApiKeyPath>,
) -> Answer {
    control.revoke_api_key(&within.actor(), within.tenant(), &key).await?;
    Ok(done())
}
