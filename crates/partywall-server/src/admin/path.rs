//! Ids in addresses. What reads as none names nothing: it is not found.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::ApiError;

/// The parameters of an address, read as `T`'s members.
pub(super) struct Ids<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| ApiError::NotFound)?;
        let members = params.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        serde_json::from_value(serde_json::Value::Object(members))
            .map(Self)
            .map_err(|_| ApiError::NotFound)
    }
}
