//! Refusals, as RFC 7644 section 3.12 words them.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::MEDIA_TYPE;
use crate::{control::ControlError, rate::TooFast, storage::StorageError};

/// Why a SCIM request was refused. `detail` tells the tenant's administrator what to change; it
/// says nothing of what the connection does not own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScimError {
    /// The filter does not read, compares what cannot be compared, or is too large.
    #[error("{0}")]
    InvalidFilter(String),
    /// A PATCH path does not read, or names no attribute.
    #[error("{0}")]
    InvalidPath(String),
    /// The body is not what the operation takes.
    #[error("{0}")]
    InvalidSyntax(String),
    /// A value is missing, or is not of its attribute's type.
    #[error("{0}")]
    InvalidValue(String),
    /// An attribute that is not the client's to write.
    #[error("{0}")]
    Mutability(String),
    /// A PATCH path selects no value, and says too little to make one.
    #[error("{0}")]
    NoTarget(String),
    /// Another user has it.
    #[error("another user of the tenant has this {0}")]
    Uniqueness(&'static str),
    /// More than is answered or done at once.
    #[error("{0}")]
    TooMuch(String),
    /// No bearer token, or none that opens this address.
    #[error("a bearer token for this connection is needed")]
    Unauthorized,
    /// The connection or its tenant is not in use.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The tenant's last administrator would be gone.
    #[error(
        "this would take away the tenant's last active administrator: let there be another one first"
    )]
    LastAdministrator,
    /// Nothing of this connection's has that id.
    #[error("there is no such resource")]
    NotFound,
    /// The method is not for this address.
    #[error("this method is not for this address")]
    Method,
    /// `If-Match` names another version.
    #[error("the resource has changed since: read it again")]
    Precondition,
    /// The body is neither `application/scim+json` nor `application/json`.
    #[error("expected application/scim+json or application/json")]
    MediaType,
    /// More operations than are done at once (RFC 7644 3.7.4).
    #[error("a bulk request has up to {} operations", super::bulk::MAX_OPERATIONS)]
    BulkTooLarge,
    /// The body is larger than anything read here.
    #[error("the body is larger than {} bytes", super::MAX_BODY)]
    TooLarge,
    /// What SCIM knows and this server does not.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// The tenant asks faster than it may.
    #[error("{0}")]
    TooFast(#[from] TooFast),
    /// Inside; the log says more.
    #[error("something went wrong here")]
    Inside(#[source] Box<ControlError>),
}

impl ScimError {
    /// The HTTP status and RFC 7644's `scimType` (table 9).
    pub(crate) fn status(&self) -> (StatusCode, Option<&'static str>) {
        match self {
            Self::InvalidFilter(_) => (StatusCode::BAD_REQUEST, Some("invalidFilter")),
            Self::InvalidPath(_) => (StatusCode::BAD_REQUEST, Some("invalidPath")),
            Self::InvalidSyntax(_) => (StatusCode::BAD_REQUEST, Some("invalidSyntax")),
            Self::InvalidValue(_) => (StatusCode::BAD_REQUEST, Some("invalidValue")),
            Self::Mutability(_) => (StatusCode::BAD_REQUEST, Some("mutability")),
            Self::NoTarget(_) => (StatusCode::BAD_REQUEST, Some("noTarget")),
            Self::TooMuch(_) => (StatusCode::BAD_REQUEST, Some("tooMany")),
            Self::Uniqueness(_) => (StatusCode::CONFLICT, Some("uniqueness")),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, None),
            Self::Forbidden(_) | Self::LastAdministrator => (StatusCode::FORBIDDEN, None),
            Self::NotFound => (StatusCode::NOT_FOUND, None),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, None),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            Self::TooLarge | Self::BulkTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::NotImplemented(_) => (StatusCode::NOT_IMPLEMENTED, None),
            Self::TooFast(_) => (StatusCode::TOO_MANY_REQUESTS, None),
            Self::Inside(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        }
    }

    /// Says in the log why somebody was refused.
    pub(crate) fn log(&self) {
        if let Self::Inside(source) = self {
            let source: &(dyn std::error::Error + 'static) = &**source;
            tracing::error!(error = source, "a SCIM request failed");
        } else {
            tracing::info!(event = "scim.refused", reason = %self);
        }
    }

    /// RFC 7644 3.12.
    pub(crate) fn body(&self) -> serde_json::Value {
        let (status, scim_type) = self.status();
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.as_str(),
            "detail": self.to_string(),
        });
        if let (Some(scim_type), Some(body)) = (scim_type, body.as_object_mut()) {
            body.insert("scimType".to_owned(), scim_type.into());
        }
        body
    }
}

impl From<ControlError> for ScimError {
    fn from(error: ControlError) -> Self {
        Self::Inside(Box::new(error))
    }
}

impl From<StorageError> for ScimError {
    fn from(error: StorageError) -> Self {
        Self::from(ControlError::from(error))
    }
}

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let (status, _) = self.status();
        self.log();
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        let mut response = (status, [kind], self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::TooFast(fast) = self {
            headers.insert(header::RETRY_AFTER, fast.retry_after().as_secs().into());
        }
        response
    }
}
