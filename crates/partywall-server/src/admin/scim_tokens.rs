//! `/tenants/{tenant}/connections/{connection}/scim-tokens`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer,
    body::{Body, created, done, shown},
    caller::Within,
    path::Ids,
};
use crate::control::{ConnectionId, ControlPlane, NewScimToken, ScimToken, ScimTokenId};

/// A SCIM token. Its text is not part of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ScimToken)]
pub(super) struct ScimTokenView {
    #[schema(value_type = String)]
    id: ScimTokenId,
    #[schema(value_type = String)]
    connection: ConnectionId,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    expires_at: u64,
    used_at: Option<u64>,
}

impl From<&ScimToken> for ScimTokenView {
    fn from(token: &ScimToken) -> Self {
        Self {
            id: token.id.clone(),
            connection: token.connection.clone(),
            created_at: token.created_at.0,
            expires_at: token.expires_at.0,
            used_at: token.used_at.map(|at| at.0),
        }
    }
}

/// The SCIM tokens of a connection: two at most.
#[derive(Serialize, ToSchema)]
#[schema(as = ScimTokens)]
pub(super) struct ScimTokensView {
    items: Vec<ScimTokenView>,
}

/// A SCIM token that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = ScimTokenCredentials)]
pub(super) struct ScimTokenCredentialsView {
    #[schema(value_type = String)]
    id: ScimTokenId,
    /// Where the identity provider sends its requests.
    base_url: String,
    /// Shown here and never again; missing where this is the repetition of an answer.
    secret: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ConnectionPath {
    connection: ConnectionId,
}

#[derive(Deserialize)]
pub(super) struct ScimTokenPath {
    connection: ConnectionId,
    scim_token: ScimTokenId,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
) -> Answer {
    let tokens = control.list_scim_tokens(within.tenant(), &connection).await?;
    Ok(shown(&ScimTokensView { items: tokens.iter().map(ScimTokenView::from).collect() }))
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ConnectionPath { connection }): Ids<ConnectionPath>,
    Body(new): Body<NewScimToken>,
) -> Answer {
    within.has_stepped_up(&control)?;
    let (actor, tenant) = (within.actor(), within.tenant());
    let made = control.create_scim_token(&actor, tenant, &connection, new).await?;
    let view = ScimTokenCredentialsView {
        id: made.token.id.clone(),
        base_url: crate::scim::base_url(&control, tenant, &connection),
        secret: Some(made.text.expose().clone()),
    };
    Ok(created(made.token.id.as_str(), &view))
}

pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(ScimTokenPath { connection, scim_token }): Ids<ScimTokenPath>,
) -> Answer {
    control.revoke_scim_token(&within.actor(), within.tenant(), &connection, &scim_token).await?;
    Ok(done())
}
