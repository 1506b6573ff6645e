//! The admin REST API, under the issuer's path: `/admin/v1`. One file per resource.
//!
//! Two kinds of callers. A *tenant's administrator* shows an access token for this API and reaches
//! the tenant its token names: [`caller::Within`] can be made for no other, and every question about a
//! tenant's things needs one (I-32, P-01). An *operator* shows an operator key.
//!
//! Routes and the OpenAPI document are made of one table ([`endpoint::all`]): what is routed
//! is documented, and what is documented is driven by tests with another tenant's ids.

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{any, get},
};

use crate::control::ControlPlane;
pub(crate) use precondition::etag;
use problem::ApiError;
pub(crate) use problem::Problem;

mod api_keys;
mod applications;
mod body;
mod caller;
mod connections;
mod domains;
mod endpoint;
mod idempotency;
mod machines;
mod memberships;
mod openapi;
mod paging;
mod path;
mod precondition;
mod problem;
#[cfg(test)]
mod robot;
mod scim_tokens;
mod sessions;
mod setup_links;
mod sign_in;
mod signing_keys;
mod tenants;
mod trail;
mod users;

/// The endpoints, under the issuer's path.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let gate = caller::Gate::new(control.clone());
    let prefix = format!("{}{PATH}", control.inner.config.issuer.path());
    let mut api = Router::new();
    for endpoint in endpoint::all() {
        api = api.route(&format!("{prefix}{}", endpoint.path), endpoint.handler);
    }
    api.route_layer(from_fn_with_state(control.clone(), idempotency::answer_once))
        .route_layer(from_fn_with_state(gate, caller::authenticate))
        // Whoever asks may know what could be asked.
        .route(&format!("{prefix}/openapi.json"), get(openapi::handler))
        .method_not_allowed_fallback(async || ApiError::Method.into_response())
        .route(
            &format!("{prefix}/{{*elsewhere}}"),
            any(async || ApiError::NotFound.into_response()),
        )
}

/// Where the API is, under the issuer's path.
pub(crate) const PATH: &str = "/admin/v1";

/// The resource that tokens for this API name as their audience.
pub(crate) fn audience(issuer: &str) -> String {
    format!("{issuer}/admin")
}

/// What every handler answers with.
type Answer = Result<Response, ApiError>;
