//! Bodies in and out: `application/scim+json` (RFC 7644 section 3.1).

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{MEDIA_TYPE, ending::Receipt, error::ScimError};
use crate::{admin::etag, http::matches_etag};

/// A request's body: one JSON object.
pub(super) struct Body(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ScimError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ScimError> {
        let json = |value: &HeaderValue| {
            let essence = value.to_str().ok().and_then(|value| value.split(';').next());
            let is =
                |kind| essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(kind));
            is(MEDIA_TYPE) || is("application/json")
        };
        if !request.headers().get(CONTENT_TYPE).is_some_and(json) {
            return Err(ScimError::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|_| ScimError::TooLarge)?;
        let read = serde_json::from_slice(&bytes);
        let malformed = |_| ScimError::InvalidSyntax("expected a JSON object".to_owned());
        read.map(Self).map_err(malformed)
    }
}

/// A resource as it is answered with: whole, and known by a version.
#[derive(Clone, Debug)]
pub(super) struct Representation {
    pub(super) resource: Map<String, Value>,
    pub(super) location: String,
    /// Changes with anything in it.
    pub(super) version: String,
    /// What was ended for it to become so.
    pub(super) receipt: Option<Receipt>,
}

impl Representation {
    /// Of a resource whose `meta` lacks its version.
    pub(super) fn of(resource: Map<String, Value>) -> Self {
        let version = format!("W/{}", etag(&resource));
        Self::with_version(resource, version)
    }

    /// As [`of`](Self::of), known by that version.
    pub(super) fn with_version(mut resource: Map<String, Value>, version: String) -> Self {
        let meta = resource.get_mut("meta").and_then(Value::as_object_mut);
        let location = meta.as_ref().and_then(|meta| meta.get("location")?.as_str());
        let location = location.unwrap_or_default().to_owned();
        if let Some(meta) = meta {
            meta.insert("version".to_owned(), version.clone().into());
        }
        Self { resource, location, version, receipt: None }
    }

    /// Refuses who has read another version (RFC 7644 3.14). Without `If-Match` nothing is refused.
    pub(super) fn expect(&self, if_match: Option<&str>) -> Result<(), ScimError> {
        let strong = self.version.trim_start_matches("W/");
        let is = |tag: &str| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == strong;
        if if_match.is_none_or(|tags| tags.split(',').any(is)) {
            Ok(())
        } else {
            Err(ScimError::Precondition)
        }
    }

    /// What somebody gets who has this version already.
    pub(super) fn unless_known(&self, headers: &HeaderMap) -> Option<Response> {
        let strong = self.version.trim_start_matches("W/");
        let known = matches_etag(headers.get(IF_NONE_MATCH), strong);
        known.then(|| tagged(StatusCode::NOT_MODIFIED.into_response(), &self.version))
    }

    /// The answer, with `resource` in place of the whole where less was asked for.
    pub(super) fn answer(&self, status: StatusCode, resource: Map<String, Value>) -> Response {
        let mut response = tagged(json_of(status, &Value::Object(resource)), &self.version);
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            response.headers_mut().insert(LOCATION, location);
        }
        with_receipt(response, self.receipt.as_ref())
    }
}

/// What the caller has read.
pub(super) fn if_match(headers: &HeaderMap) -> Option<&str> {
    headers.get(IF_MATCH).map(|value| value.to_str().unwrap_or_default())
}

/// Something to look at.
pub(super) fn shown(value: Value) -> Response {
    json_of(StatusCode::OK, &value)
}

/// A list that is whole.
pub(super) fn list_of(resources: Vec<Value>) -> Response {
    shown(list(resources.len() as u64, 1, resources))
}

/// RFC 7644 3.4.2.
pub(super) fn list(total: u64, start: u64, resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

/// An answer with what was ended for it.
pub(super) fn with_receipt(mut response: Response, receipt: Option<&Receipt>) -> Response {
    let value = receipt.and_then(|receipt| HeaderValue::from_str(&receipt.as_field()).ok());
    if let Some(value) = value {
        response.headers_mut().insert(RECEIPT, value);
    }
    response
}

/// Done, and nothing to say of it.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// What a deactivation or a deletion ended (I-31). A field of the answer and no attribute: strict
/// clients refuse what the schema does not say, and no schema describes one answer.
const RECEIPT: HeaderName = HeaderName::from_static("partywall-receipt");

fn json_of(status: StatusCode, value: &Value) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, value.to_string()).into_response()
}

fn tagged(mut response: Response, version: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(version) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
