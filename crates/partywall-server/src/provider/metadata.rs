//! `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`.

use axum::{
    Json,
    extract::State,
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{jwks, token};
use crate::control::ControlPlane;

/// Both addresses answer the same. Of the members OIDC Discovery requires, those that describe
/// signing people in are missing until people can sign in.
pub(super) async fn handler(State(control): State<ControlPlane>) -> Response {
    let config = &control.inner.config;
    let issuer = config.issuer.as_str();
    let max_age = format!("public, max-age={}", config.keys.jwks_max_age.as_secs());
    let metadata = Metadata {
        issuer,
        token_endpoint: format!("{issuer}{}", token::PATH),
        jwks_uri: format!("{issuer}{}", jwks::PATH),
        response_types_supported: [],
        grant_types_supported: token::GRANT_TYPES,
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
    };
    ([(CACHE_CONTROL, max_age)], Json(metadata)).into_response()
}

/// RFC 8414 2.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    jwks_uri: String,
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 2],
}
