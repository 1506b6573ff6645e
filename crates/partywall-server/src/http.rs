//! What every endpoint shares: request ids, generic errors, limits.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{MatchedPath, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::Instrument;

use crate::{admin::Problem, control::ControlPlane, random, rate::Network};

/// Bounds what a request may send and how long its answer may take, and makes every error that an
/// endpoint does not word itself a generic one (L-05).
pub(crate) fn guard(router: Router, control: &ControlPlane, timeout: Duration) -> Router {
    guard_with(router, control, timeout, MAX_BODY)
}

/// As [`guard`], for what is sent up to `max_body` bytes.
pub(crate) fn guard_with(
    router: Router,
    control: &ControlPlane,
    timeout: Duration,
    max_body: usize,
) -> Router {
    router
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(RequestBodyLimitLayer::new(max_body))
        .layer(from_fn(refuse_token_in_query))
        .layer(from_fn_with_state(control.clone(), answer_with_request_id))
}

/// Whether an `If-None-Match` names `etag` (RFC 9110 13.1.2, weak comparison).
pub(crate) fn matches_etag(if_none_match: Option<&HeaderValue>, etag: &str) -> bool {
    let Some(Ok(tags)) = if_none_match.map(HeaderValue::to_str) else { return false };
    tags.trim() == "*" || tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// What a request is called in the log, and in its answer.
#[derive(Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

async fn answer_with_request_id(
    State(control): State<ControlPlane>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(id) = random::opaque_id(&control.inner.random) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // The route, and never the address: nobody outside may make labels (T-12), and what stands in
    // a link out of a mail lets people in (L-02).
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let method = request.method().clone();
    let network =
        Network::of(request.extensions(), request.headers(), &control.inner.config.proxies);
    let span =
        tracing::info_span!("request", request.id = id, %method, route, client.network = %network);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(network);
    let began = std::time::Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    if status.is_client_error() {
        // Whoever refused said why, in the same span. This is said whatever they forgot (L-01).
        span.in_scope(|| tracing::info!(event = "request.refused", status = status.as_u16()));
    }
    note(route, status, began.elapsed());
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // Worded by the admin API, which has its own form of errors (RFC 9457).
        let (parts, _) = response.into_parts();
        response = problem.answer(&id);
        for name in [WWW_AUTHENTICATE, RETRY_AFTER] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        return identified(response, &id);
    }
    let status = response.status();
    // Ours are JSON, or pages for people; what the framework says by itself is neither.
    let kind = response.headers().get(CONTENT_TYPE);
    let json = kind == Some(&HeaderValue::from_static("application/json"));
    let scim = kind == Some(&HeaderValue::from_static(crate::scim::MEDIA_TYPE));
    let page = kind == Some(&HeaderValue::from_static(PAGE));
    let unworded = status.is_client_error() && !json;
    if (status.is_server_error() || unworded) && !page && !scim {
        // Whatever went wrong inside is in the log, under this id.
        let body = Json(json!({ "error": error_code(status), "request_id": id }));
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response = (parts.status, parts.headers, body).into_response();
    }
    identified(response, &id)
}

fn note(route: String, status: StatusCode, took: Duration) {
    let class = match status.as_u16() {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    };
    metrics::histogram!("partywall_http_request_seconds", "route" => route, "status" => class)
        .record(took);
}

fn identified(mut response: Response, id: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// A bearer token in an address ends up in logs, histories and referrers (O-23, RFC 9700 4.3.2).
async fn refuse_token_in_query(request: Request, next: Next) -> Response {
    let named = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        crate::provider::decode_component(name).is_some_and(|name| &*name == "access_token")
    };
    if request.uri().query().is_some_and(|query| query.split('&').any(named)) {
        let body = json!({
            "error": "invalid_request",
            "error_description": "tokens are not accepted in the query string",
        });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    next.run(request).await
}

fn error_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "content_too_large",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_client_error() => "invalid_request",
        _ => "server_error",
    }
}

/// The `Content-Type` of our pages.
pub(crate) const PAGE: &str = "text/html; charset=utf-8";
/// Nothing we read is larger, in bytes.
pub(crate) const MAX_BODY: usize = 16 * 1024;
