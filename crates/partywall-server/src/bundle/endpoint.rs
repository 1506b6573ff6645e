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
/// newer one, waiting up to `wait` seconds for it; with a generation that there has not been yet,
/// the answer is the full bundle at once. `delta=true` with `after` allows the answer to be a delta
/// that applies to exactly that generation.
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
    let ahead = match after {
        Some(after) => control.is_behind(after).await,
        None => false,
    };
    if let Some(after) = after.filter(|_| !ahead) {
        control.wait_for_generation_after(after, Duration::from_secs(query.wait)).await;
    }
    let latest = control.generation();
    let known = !ahead && after.is_some_and(|after| latest <= after);
    if known || matches_etag(headers.get(IF_NONE_MATCH), &etag(latest)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(latest))]).into_response());
    }
    if let Some(base) = after.filter(|_| query.delta && !ahead) {
        match control.smaller_delta(base).await {
            Ok(Some(delta)) => {
                return Ok(answer(&delta, format!("\"{base}-{}\"", delta.generation)));
            }
            // Everything has changed, or there is no way from there: the whole, then.
            Ok(None) | Err(CompileError::NoSuchDelta { .. }) => {}
            Err(error) => return Err(BundleRequestError::Compile(error)),
        }
    }
    match control.bundle().await {
        Ok(bundle) => Ok(answer(&bundle, bundle.etag())),
        Err(error) => match control.inner.publisher.last_good() {
            // A database that is down is no reason for a starting enforcement point to be.
            Some(bundle) if ahead || after.is_none_or(|after| bundle.generation > after) => {
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
    /// Whether somebody has a generation that there has not been here: this control plane has lost
    /// changes, as when it was restored from a backup. Waiting for the next one would be long.
    async fn is_behind(&self, theirs: Generation) -> bool {
        if theirs <= self.generation() {
            return false;
        }
        // More likely another server on this database has told them within the last second.
        if let Err(error) = self.refresh().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "whether an enforcement point is ahead cannot be told");
            return false;
        }
        let latest = self.generation();
        if theirs > latest {
            tracing::warn!(
                %theirs, %latest,
                "an enforcement point is ahead of this control plane: restored from a backup?"
            );
        }
        theirs > latest
    }

    /// The delta from `base`, unless the full bundle is as good.
    async fn smaller_delta(
        &self,
        base: Generation,
    ) -> Result<Option<PublishedBundle>, CompileError> {
        let delta = self.bundle_delta(base).await?;
        // How large a full one is changes slowly: the last one tells.
        let full = match self.inner.publisher.last_good() {
            Some(full) => full,
            None => self.bundle().await?,
        };
        Ok((delta.bytes.len() < full.bytes.len()).then_some(delta))
    }

    /// Returns once there is a generation after `after`, after `wait`, or when the server stops; at
    /// once when too many wait already: they would take the connections that others come on.
    async fn wait_for_generation_after(&self, after: Generation, wait: Duration) {
        let Ok(_one_of_few) = self.inner.polls.try_acquire() else { return };
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
