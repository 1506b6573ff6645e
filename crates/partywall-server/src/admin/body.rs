//! Bodies, read strictly: JSON, no unknown member (M-03), and answers.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{ApiError, precondition::etag};

/// A request's body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let json = |value: &HeaderValue| {
            let essence = value.to_str().ok().and_then(|value| value.split(';').next());
            essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
        };
        if !request.headers().get(CONTENT_TYPE).is_some_and(json) {
            return Err(ApiError::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|_| ApiError::TooLarge)?;
        // To the reader a list would be an object whose members it names by their order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ApiError::Malformed("expected a JSON object".to_owned()));
        }
        // The reader's words name the member and the place, and nothing of ours.
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|error| ApiError::Malformed(error.to_string()))
    }
}

/// Something that can be changed, with the tag to change it by.
pub(super) fn tagged(view: &impl Serialize) -> Response {
    let tag = etag(view);
    let mut response = shown(view);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Something to look at.
pub(super) fn shown(view: &impl Serialize) -> Response {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(view)).into_response()
}

/// Something that was made, and where it is; a path relative to the one that was asked.
pub(super) fn created(id: &str, view: &impl Serialize) -> Response {
    let mut response = tagged(view);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::from_str(id) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Done, and nothing to say of it.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Name {
        name: String,
    }

    async fn read(body: &'static str) -> Result<Body<Name>, ApiError> {
        let request = Request::post("/").header(CONTENT_TYPE, "application/json");
        Body::from_request(request.body(body.into()).unwrap(), &()).await
    }

    #[tokio::test]
    async fn m03_a_body_is_an_object() {
        assert!(read(" {\"name\": \"Ada\"}").await.is_ok_and(|body| body.0.name == "Ada"));
        for other in ["[\"Ada\"]", " [null]", "\"Ada\"", "null", "", "1"] {
            assert!(matches!(read(other).await, Err(ApiError::Malformed(_))), "{other}");
        }
    }
}
