//! `/tenants/{tenant}/setup-links`: links to the setup portal. There is no list of them: a link's
//! address is told once, to whoever made it (I-34).

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer,
    body::{Body, created, done},
    caller::Within,
    path::Ids,
};
use crate::control::{ConnectionId, ControlPlane, Intent, NewSetupLink};

/// A link, and its address, which is shown here and never again.
#[derive(Serialize, ToSchema)]
#[schema(as = SetupLink)]
pub(super) struct LinkView {
    /// What it is revoked by; no secret.
    id: String,
    intent: Intent,
    /// The connection it sets up, or the id that it will have.
    #[schema(value_type = String)]
    connection: ConnectionId,
    /// Seconds since 1970-01-01 UTC.
    expires_at: u64,
    /// What to give to whoever is to set it up. Missing where this is the repetition of an answer.
    setup_url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LinkPath {
    link: String,
}

pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Body(new): Body<NewSetupLink>,
) -> Answer {
    within.has_stepped_up(&control)?;
    let made = control.create_setup_link(&within.actor(), within.tenant(), new).await?;
    let view = LinkView {
        id: made.link.id.clone(),
        intent: made.link.intent,
        connection: made.link.connection,
        expires_at: made.link.expires_at.0,
        setup_url: Some(made.url.expose().clone()),
    };
    Ok(created(&made.link.id, &view))
}

pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(LinkPath { link }): Ids<LinkPath>,
) -> Answer {
    control.revoke_setup_link(&within.actor(), within.tenant(), &link).await?;
    Ok(done())
}
