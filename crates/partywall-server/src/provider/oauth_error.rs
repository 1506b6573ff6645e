//! How an endpoint that clients call says no: RFC 6749 5.2, never stored by anyone on the way.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::rate::TooFast;

/// One of the RFCs' error codes, and a description that helps a developer and tells an attacker
/// nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
    pub(crate) retry_after: Option<Duration>,
}

impl OAuthError {
    pub(crate) fn bad_request(code: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, description, retry_after: None }
    }

    /// Too many come from there (RFC 6585 4). The code is RFC 6749 4.1.2.1's for a server that
    /// cannot answer for the moment.
    pub(crate) fn too_fast(fast: &TooFast) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "temporarily_unavailable",
            description: "too many requests at once: wait before you try again",
            retry_after: Some(fast.retry_after()),
        }
    }

    /// The client has not shown who it is.
    pub(crate) fn invalid_client(description: &'static str) -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self { status, code: "invalid_client", description, retry_after: None }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.code, "error_description": self.description }));
        let mut response = (self.status, NOT_STORED, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}

/// RFC 6749 5.1: neither tokens nor refusals are kept by anyone on the way.
pub(crate) const NOT_STORED: [(HeaderName, HeaderValue); 2] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (PRAGMA, HeaderValue::from_static("no-cache")),
];
