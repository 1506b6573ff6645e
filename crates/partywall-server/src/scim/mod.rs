//! SCIM 2.0 (RFC 7643, RFC 7644): how a tenant's identity provider says who its users are, below
//! `/scim/{tenant}/{connection}/v2`, one connection at a time.
//!
//! [`ScimCaller`](caller::ScimCaller) is one connection of one tenant and can be made of nothing but a
//! good token of theirs. Whatever another connection described, and whoever came otherwise, is as
//! absent as what never was (I-29).

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::IntoResponse,
    routing::{any, get, post},
};
use partywall::TenantId;

use crate::control::{ConnectionId, ControlPlane};
use error::ScimError;

mod bulk;
mod caller;
mod discovery;
mod ending;
mod error;
mod filter;
mod groups;
mod patch;
mod path;
mod projection;
mod resource;
mod respond;
mod schema;
mod search;
mod users;

/// The endpoints, under the issuer's path.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = format!("{}{PATH}/{{tenant}}/{{connection}}/v2", control.inner.config.issuer.path());
    let at = |path: &str| format!("{base}{path}");
    let absent = || any(async || ScimError::NotFound.into_response());
    Router::new()
        .route(&at("/ServiceProviderConfig"), get(discovery::config))
        .route(&at("/ResourceTypes"), get(discovery::resource_types))
        .route(&at("/ResourceTypes/{id}"), get(discovery::one_resource_type))
        .route(&at("/Schemas"), get(discovery::schemas))
        .route(&at("/Schemas/{id}"), get(discovery::one_schema))
        .route(&at("/Users"), get(search::list_users).post(users::post))
        .route(&at("/Users/.search"), post(search::search_users))
        .route(
            &at("/Users/{id}"),
            get(users::get).put(users::put).patch(users::patch).delete(users::delete),
        )
        .route(&at("/Groups"), get(search::list_groups).post(groups::post))
        .route(&at("/Groups/.search"), post(search::search_groups))
        .route(
            &at("/Groups/{id}"),
            get(groups::get).put(groups::put).patch(groups::patch).delete(groups::delete),
        )
        .route(&at("/.search"), post(search::search_all))
        .route(&at("/Bulk"), post(bulk::post))
        .route(
            &at("/Me"),
            // A connection is nobody in particular (RFC 7644 3.11).
            any(async || ScimError::NotImplemented("a connection is no user").into_response()),
        )
        .route(&base, absent())
        .route(&at("/"), absent())
        .route(&at("/{*elsewhere}"), absent())
        .method_not_allowed_fallback(async || ScimError::Method.into_response())
        .route_layer(from_fn_with_state(caller::Gate::new(control), caller::authenticate))
}

/// Where a connection's users and groups are.
pub(crate) fn base_url(
    control: &ControlPlane,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> String {
    format!("{}{PATH}/{tenant}/{connection}/v2", control.inner.config.issuer.as_str())
}

/// Under the issuer's path.
const PATH: &str = "/scim";
/// RFC 7644 section 3.1.
pub(crate) const MEDIA_TYPE: &str = "application/scim+json";
/// Nothing larger is read, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
