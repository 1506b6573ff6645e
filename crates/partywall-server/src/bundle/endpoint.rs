//! `GET /bundle` and `GET /bundle/key`: what enforcement points fetch.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use partywall::bundle::Generation;
use serde::Deserialize;

use super::{CompileError, PublishedBundle, etag};
use crate::{control::ControlPlane, http::matches_etag};

pub(crate) fn routes() -> Router<ControlPlane> {
    Router::new().route("/bundle", get(bundle)).route("/bundle/key", get(key))
}

/// How a bundle is asked for.
///
/// Without parameters: the latest full bundle. `after=<generation>` answers 304 until there is a
/// newer one, waiting up to `wait` seconds for it. `delta=true` with `after` allows the answer to
/// be a delta that applies to exactly that generation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BundleQuery {
    after: Option<u64>,
    wait: u64,
    delta: bool,
}

async fn bundle(
    State(control): State<ControlPlane>,
    headers: HeaderMap,
    query: Result<Query<BundleQuery>, QueryRejection>,
) -> Result<Response, BundleRequestError> {
    let Query(query) = query.map_err(BundleRequestError::Query)?;
    let after = query.after.map(Generation);
    if query.wait > MAX_WAIT || (after.is_none() && (query.wait > 0 || query.delta)) {
        return Err(BundleRequestError::Wait);
    }
    if let Some(after) = after {
        control.wait_for_generation_after(after, Duration::from_secs(query.wait)).await;
    }
    let latest = control.generation();
    let known = after.is_some_and(|after| latest <= after);
    if known || matches_etag(headers.get(IF_NONE_MATCH), &etag(latest)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(latest))]).into_response());
    }
    if let Some(base) = after.filter(|_| query.delta) {
        match control.bundle_delta(base).await {
            Ok(delta) => return Ok(answer(&delta, format!("\"{base}-{}\"", delta.generation))),
            // From nothing, or from a future that was lost with a database: the whole, then.
            Err(CompileError::NoSuchDelta { .. }) => {}
            Err(error) => return Err(BundleRequestError::Compile(error)),
        }
    }
    match control.bundle().await {
        Ok(bundle) => Ok(answer(&bundle, bundle.etag())),
        Err(error) => match control.inner.publisher.last_good() {
            // A database that is down is no reason for a starting enforcement point to be.
            Some(bundle) if after.is_none_or(|after| bundle.generation > after) => {
                tracing::error!(%error, generation = %bundle.generation, "no newer bundle: serving the last good one");
                Ok(answer(&bundle, bundle.etag()))
            }
            _ => Err(BundleRequestError::Compile(error)),
        },
    }
}

async fn key(State(control): State<ControlPlane>) -> Response {
    Json(control.inner.bundle_signer.jwk()).into_response()
}

impl ControlPlane {
    /// Returns once there is a generation after `after`, after `wait`, or when the server stops.
    async fn wait_for_generation_after(&self, after: Generation, wait: Duration) {
        let mut generation = self.inner.generation.subscribe();
        let mut stopping = self.inner.stopping.subscribe();
        tokio::select! {
            _ = generation.wait_for(|latest| *latest > after) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn answer(bundle: &PublishedBundle, etag: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        // Kept by whoever likes, and asked for again each time.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, [(ETAG, etag)], bundle.bytes.clone()).into_response()
}

/// The longest a request may wait, in seconds.
const MAX_WAIT: u64 = 30;

/// Why no bundle was sent.
#[derive(Debug, thiserror::Error)]
enum BundleRequestError {
    #[error("the query is not understood")]
    Query(#[source] QueryRejection),
    #[error("wait is at most 30 seconds, and wait and delta need after")]
    Wait,
    #[error(transparent)]
    Compile(CompileError),
}

impl IntoResponse for BundleRequestError {
    fn into_response(self) -> Response {
        match self {
            Self::Query(_) | Self::Wait => {
                let help = "expected after=<generation>, wait=<seconds, at most 30> and delta=<true|false>; wait and delta need after";
                let body =
                    serde_json::json!({ "error": "invalid_request", "error_description": help });
                (StatusCode::BAD_REQUEST, Json(body)).into_response()
            }
            Self::Compile(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no bundle can be compiled"
                );
                (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response()
            }
        }
    }
}
