//! Lists, page by page by key: a page costs what is in it, however many came before (I-40).

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};

use super::ApiError;

/// Which page of a list.
pub(super) struct Page<K> {
    /// The last one of the page before.
    pub(super) after: Option<K>,
    pub(super) limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<String>,
    limit: Option<u32>,
}

impl<S: Send + Sync, K: FromStr> FromRequestParts<S> for Page<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let malformed = |what: &str| ApiError::Malformed(what.to_owned());
        let asked = Query::<Asked>::from_request_parts(parts, state).await;
        let Query(asked) =
            asked.map_err(|_| malformed("expected no parameters but `after` and `limit`"))?;
        let limit = asked.limit.unwrap_or(DEFAULT);
        if !(1..=LARGEST).contains(&limit) {
            return Err(malformed("limit: expected 1 to 1000"));
        }
        let after = asked.after.map(|after| after.parse()).transpose();
        let after = after.map_err(|_| malformed("after: expected `next` of the page before"))?;
        Ok(Self { after, limit })
    }
}

/// A page of a list.
#[derive(Serialize)]
pub(super) struct Listed<V> {
    items: Vec<V>,
    /// What to send as `after` for the next page; missing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<V> Listed<V> {
    /// A full page may have one behind it.
    pub(super) fn of<T>(
        all: Vec<T>,
        limit: u32,
        key: impl Fn(&T) -> String,
        view: impl Fn(&T) -> V,
    ) -> Self {
        let full = u32::try_from(all.len()).is_ok_and(|found| found >= limit);
        let next = all.last().filter(|_| full).map(key);
        Self { items: all.iter().map(view).collect(), next }
    }
}

const DEFAULT: u32 = 100;
const LARGEST: u32 = 1_000;
