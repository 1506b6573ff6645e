//! `/tenants/{tenant}/users/{user}/memberships`: what else the same person is. For operators only:
//! to a tenant's administrator, each user is only that (I-35).

use axum::extract::State;
use partywall::TenantId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Answer, ApiError,
    body::shown,
    caller::{Operator, Within},
    paging::{Listed, Page},
    path::Ids,
    users::UserPath,
};
use crate::control::{ControlPlane, User, UserId, UserStatus};

/// A user that is the same person.
#[derive(Serialize, ToSchema)]
#[schema(as = Membership)]
pub(super) struct MembershipView {
    #[schema(value_type = String)]
    tenant: TenantId,
    #[schema(value_type = String)]
    user: UserId,
    email: String,
    status: UserStatus,
}

pub(super) async fn list(
    State(control): State<ControlPlane>,
    within: Within,
    _: Operator,
    Ids(UserPath { user }): Ids<UserPath>,
    page: Page<TenantId>,
) -> Answer {
    let user = control.user(within.tenant(), &user).await?.ok_or(ApiError::NotFound)?;
    let same = match &user.account {
        Some(account) => control.list_memberships(account, page.after.as_ref(), page.limit).await?,
        // Without an account it is nobody else.
        None if page.after.is_none() => vec![user],
        None => Vec::new(),
    };
    let key = |user: &User| user.tenant.to_string();
    let view = |user: &User| MembershipView {
        tenant: user.tenant.clone(),
        user: user.id.clone(),
        email: user.email.as_str().to_owned(),
        status: user.status,
    };
    Ok(shown(&Listed::of(same, page.limit, key, view)))
}
