//! The identity provider: one file per endpoint, with its errors, their answers and its handler. The
//! metadata names what exists and nothing else.

use axum::{
    Router,
    routing::{get, post},
};

use crate::control::ControlPlane;
pub(crate) use at::At;
pub use authorize::TenantHosts;
pub(crate) use form::{Form, FormError, decode_component};

mod at;
pub(crate) mod authorize;
mod client_auth;
mod code;
pub(crate) mod device;
pub(crate) mod dpop;
mod form;
pub(crate) mod id_token;
mod introspect;
mod issue;
mod jwks;
pub(crate) mod logout;
#[cfg(test)]
mod matrix;
mod metadata;
mod oauth_error;
pub(crate) mod own_token;
mod revoke;
pub(crate) mod scope;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod user_claims;
mod userinfo;

/// The endpoints, under the issuer's path (O-08).
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = control.inner.config.issuer.path();
    // The same endpoints twice: of the issuer all tenants share, and of those some have for
    // themselves. `At` says which one was asked.
    endpoints(base).merge(endpoints(&format!("{base}/t/{{tenant}}")))
}

fn endpoints(base: &str) -> Router<ControlPlane> {
    Router::new()
        // OIDC Discovery 4: appended to the issuer.
        .route(&format!("{base}/.well-known/openid-configuration"), get(metadata::handler))
        // RFC 8414 3: inserted between host and path.
        .route(&format!("{}{base}", at::WELL_KNOWN), get(metadata::handler))
        .route(&format!("{base}{}", jwks::PATH), get(jwks::handler))
        .route(&format!("{base}{}", authorize::PATH), get(authorize::get).post(authorize::post))
        .route(&format!("{base}{}", authorize::pushed::PATH), post(authorize::pushed::handler))
        .route(&format!("{base}{}", token::PATH), post(token::handler))
        .route(&format!("{base}{}", device::PATH), post(device::handler))
        .route(&format!("{base}{}", introspect::PATH), post(introspect::handler))
        .route(&format!("{base}{}", revoke::PATH), post(revoke::handler))
        .route(&format!("{base}{}", userinfo::PATH), get(userinfo::handler).post(userinfo::handler))
        .route(&format!("{base}{}", logout::PATH), get(logout::get).post(logout::post))
}
