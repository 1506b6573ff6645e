//! `/tenants/{tenant}/users/{user}/sessions`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer,
    body::{done, shown},
    caller::Within,
    paging::{Listed, Page},
    path::Ids,
    users::UserPath,
};
use crate::control::{ControlPlane, SessionRecord, UserId};

/// A sign-in of a user, in one browser.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionView {
    /// Its name, as in tokens' `sid`. It lets nobody in.
    id: String,
    /// How (RFC 8176).
    amr: Vec<String>,
    /// Seconds since 1970-01-01 UTC.
    auth_time: u64,
    created_at: u64,
    expires_at: u64,
    /// What the browser called itself.
    user_agent: String,
}

impl From<&SessionRecord> for SessionView {
    fn from(session: &SessionRecord) -> Self {
        Self {
            id: session.sid.clone(),
            amr: session.amr.clone(),
            auth_time: session.auth_time.0,
            created_at: session.created_at.0,
            expires_at: session.expires_at.0,
            user_agent: session.user_agent.clone(),
        }
    }
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
    page: Page<String>,
) -> Answer {
    let (tenant, after) = (within.tenant(), page.after.as_deref());
    let sessions = control.list_sessions(tenant, &user, after, page.limit).await?;
    let key = |session: &SessionRecord| session.sid.clone();
    Ok(shown(&Listed::of(sessions, page.limit, key, |session| SessionView::from(session))))
}

/// Ends all of them, with every grant and access token of the user.
pub(super) async fn revoke_all(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
) -> Answer {
    control.revoke_all_sessions(&within.actor(), within.tenant(), &user).await?;
    Ok(done())
}

#[derive(Deserialize)]
pub(super) struct SessionPath {
    user: UserId,
    session: String,
}

/// Ends one, with the grants that began in it.
pub(super) async fn revoke(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(SessionPath { user, session }): Ids<SessionPath>,
) -> Answer {
    control.revoke_session(&within.actor(), within.tenant(), &user, &session).await?;
    Ok(done())
}
