//! `GET /jwks`: the public halves of an issuer's signing keys (RFC 7517 5), served from memory.

use axum::{
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};

use super::at::At;
use crate::{control::ControlPlane, http::matches_etag, keys::KeyError};

pub(super) const PATH: &str = "/jwks";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    headers: HeaderMap,
) -> Result<Response, JwksError> {
    let keys = at.keys(&control).map_err(JwksError::NoKeys)?;
    let max_age = format!("public, max-age={}", control.inner.config.keys.jwks_max_age.as_secs());
    let caching = [(ETAG, keys.etag().to_owned()), (CACHE_CONTROL, max_age)];
    if matches_etag(headers.get(IF_NONE_MATCH), keys.etag()) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let content_type = [(CONTENT_TYPE, "application/jwk-set+json")];
    Ok((caching, content_type, keys.jwks().clone()).into_response())
}

/// Why there is no key set.
#[derive(Debug)]
pub(super) enum JwksError {
    NoKeys(KeyError),
}

impl IntoResponse for JwksError {
    fn into_response(self) -> Response {
        match self {
            Self::NoKeys(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no key set to serve");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
