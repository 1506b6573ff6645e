//! `Idempotency-Key`: a POST whose answer was lost can be sent again and is done once. The same key
//! with the same request is answered as the first was; with another it is refused.
//!
//! What was made is in the answer again, its secret is not: secrets are kept nowhere.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, ETAG, LOCATION},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ApiError, caller::Caller};
use crate::{
    control::ControlPlane,
    storage::single_use::{self, Drawer, Kind},
};

/// What is remembered of a request.
#[derive(Deserialize, Serialize)]
struct Remembered {
    /// Tells this request from another.
    request: String,
    /// Missing while it is under way.
    answer: Option<Answered>,
}

#[derive(Deserialize, Serialize)]
struct Answered {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    body: Value,
}

pub(super) async fn answer_once(
    State(control): State<ControlPlane>,
    request: Request,
    next: Next,
) -> Response {
    let key = request.headers().get(KEY).cloned();
    match key {
        Some(key) if request.method() == Method::POST => {
            match once(&control, &key, request, next).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            }
        }
        Some(_) | None => next.run(request).await,
    }
}

async fn once(
    control: &ControlPlane,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let key = key.to_str().ok().filter(|key| (1..=128).contains(&key.len())).ok_or_else(|| {
        ApiError::Malformed("Idempotency-Key: expected 1 to 128 visible ASCII characters".into())
    })?;
    let caller = request.extensions().get::<Caller>().cloned().ok_or(ApiError::Unauthenticated)?;
    let path = request.uri().to_string();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| ApiError::TooLarge)?;
    let this = fingerprint(&path, &body);

    let drawer = match caller.own_tenant() {
        Some(tenant) => Drawer::of(Kind::Idempotency, tenant),
        None => Drawer::before_any_tenant(Kind::Idempotency),
    };
    let value = format!("{}\0{key}", caller.key());
    let now = control.now();
    let claim = Remembered { request: this.clone(), answer: None };
    let db = &control.inner.db;
    let first = {
        let write = db.single().await;
        single_use::put(write.db(), drawer, &value, &claim, now, REMEMBERED_FOR).await?
    };
    if !first {
        let before = single_use::peek::<Remembered>(db.reader(), drawer, &value, now).await?;
        return match before {
            Some(before) if before.request != this => Err(ApiError::OtherRequest),
            Some(Remembered { answer: Some(answer), .. }) => Ok(answer.again()),
            Some(Remembered { answer: None, .. }) | None => Err(ApiError::UnderWay),
        };
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    if !parts.status.is_success() {
        // Nothing was done: the key may be used for the request put right.
        let write = db.single().await;
        single_use::forget(write.db(), drawer, &value).await?;
        return Ok(Response::from_parts(parts, body));
    }
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let header = |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let answer = Answered {
        status: parts.status.as_u16(),
        etag: header(ETAG),
        location: header(LOCATION),
        body: without_secret(&body),
    };
    let done = Remembered { request: this, answer: Some(answer) };
    let remembered = {
        let write = db.single().await;
        single_use::amend(write.db(), drawer, &value, &done, now).await
    };
    if let Err(error) = remembered {
        // It is done; only a repetition will not be told how it went.
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "an answer could not be kept for its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

impl Answered {
    fn again(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = match self.body {
            Value::Null => status.into_response(),
            body => (status, axum::Json(body)).into_response(),
        };
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let known = [(ETAG, self.etag), (LOCATION, self.location)];
        for (name, value) in known {
            if let Some(value) = value.as_deref().and_then(text) {
                response.headers_mut().insert(name, value);
            }
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// The members of answers that are told once: clients' secrets, and addresses that let people in.
const SECRETS: [&str; 2] = ["secret", "setup_url"];

fn without_secret(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    for name in SECRETS {
        if let Some(secret) = body.get_mut(name) {
            *secret = Value::Null;
        }
    }
    body
}

fn fingerprint(path: &str, body: &Bytes) -> String {
    let mut request = path.as_bytes().to_vec();
    request.push(0);
    request.extend_from_slice(body);
    digest(&SHA256, &request).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
const MAX_BODY: usize = crate::http::MAX_BODY;
