//! `/tenants/{tenant}/users`.

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
    precondition::IfMatch,
};
use crate::control::{ControlPlane, Metadata, NewUser, User, UserId, UserPatch, UserStatus};

/// A user: a member of one tenant. Nothing here says what else the same person is (I-35).
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    /// Its id, and the `sub` of its tokens.
    #[schema(value_type = String)]
    id: UserId,
    email: String,
    name: String,
    status: UserStatus,
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Whether it may come in past the tenant's lock to its own identity provider.
    break_glass: bool,
    /// Seconds since 1970-01-01 UTC.
    created_at: u64,
    changed_at: u64,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            email: user.email.as_str().to_owned(),
            name: user.name.clone(),
            status: user.status,
            roles: user.roles.clone(),
            metadata: user.metadata.clone(),
            break_glass: user.break_glass,
            created_at: user.created_at.0,
            changed_at: user.changed_at.0,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct UserPath {
    pub(super) user: UserId,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    page: Page<UserId>,
) -> Answer {
    let users = control.list_users(within.tenant(), page.after.as_ref(), page.limit).await?;
    let key = |user: &User| user.id.to_string();
    Ok(shown(&Listed::of(users, page.limit, key, |user| UserView::from(user))))
}

/// Asks somebody in, by mail where mail is set up. The link is its addressee's alone (I-34): whoever
/// else had it could become them.
pub(super) async fn create(
    State(control): State<ControlPlane>,
    within: Within,
    Body(new): Body<NewUser>,
) -> Answer {
    within.may_grant(&new.roles)?;
    let user = control.create_user(&within.actor(), within.tenant(), new).await?;
    if control.inner.post.is_some() {
        control.invite(&within.actor(), within.tenant(), &user.id).await?;
    }
    Ok(created(user.id.as_str(), &UserView::from(&user)))
}

pub(super) async fn get(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
) -> Answer {
    let user = control.user(within.tenant(), &user).await?.ok_or(ApiError::NotFound)?;
    Ok(tagged(&UserView::from(&user)))
}

pub(super) async fn update(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
    read: IfMatch,
    Body(patch): Body<UserPatch>,
) -> Answer {
    if within.own_user() == Some(&user) && patch.touches_authorization() {
        return Err(OWN);
    }
    within.may_grant(patch.roles.as_ref().unwrap_or(&BTreeSet::new()))?;
    let expected = |user: &User| read.is(&UserView::from(user));
    let user =
        control.update_user(&within.actor(), within.tenant(), &user, patch, expected).await?;
    Ok(tagged(&UserView::from(&user)))
}

pub(super) async fn delete(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
    read: IfMatch,
) -> Answer {
    if within.own_user() == Some(&user) {
        return Err(OWN);
    }
    let expected = |user: &User| read.is(&UserView::from(user));
    control.delete_user(&within.actor(), within.tenant(), &user, expected).await?;
    Ok(done())
}

/// Writes the invitation again.
pub(super) async fn invite(
    State(control): State<ControlPlane>,
    within: Within,
    Ids(UserPath { user }): Ids<UserPath>,
) -> Answer {
    // 404 first: whether mail is set up is no reason to learn of a user.
    control.user(within.tenant(), &user).await?.ok_or(ApiError::NotFound)?;
    if control.inner.post.is_none() {
        return Err(ApiError::NoMail);
    }
    control.invite(&within.actor(), within.tenant(), &user).await?;
    Ok(done())
}

/// B-23: not even an administrator writes what authorization reads of themselves.
const OWN: ApiError = ApiError::Forbidden(
    "nobody changes their own roles, status or metadata: ask another administrator",
);
