//! `If-Match` (RFC 9110 13.1.1, RFC 6585 3): nobody changes what they have not read.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::FromRequestParts,
    http::{header::IF_MATCH, request::Parts},
};
use serde::Serialize;

use super::ApiError;

/// What a representation is known by: changes with anything in it.
pub(crate) fn etag(view: &impl Serialize) -> String {
    let text = serde_json::to_vec(view).unwrap_or_default();
    let hash = digest(&SHA256, &text);
    let tag: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{tag}\"")
}

/// What the caller has read. Missing, the request is refused.
pub(super) struct IfMatch(String);

impl IfMatch {
    /// Whether the caller has read this, or does not care (strong comparison).
    pub(super) fn is(&self, view: &impl Serialize) -> bool {
        let tag = etag(view);
        self.0.trim() == "*" || self.0.split(',').any(|read| read.trim() == tag)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let sent = parts.headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
        sent.map(|sent| Self(sent.to_owned())).ok_or(ApiError::NoPrecondition)
    }
}
