//! The layer and the extractors for axum and tower.
//!
//! [`Partywall::layer`] stands before the routes and lets in requests with a good token only. A
//! handler that names a [`TenantContext`] or a [`Scoped`] store in its arguments cannot run
//! without one.

use ::axum::{
    Json,
    extract::{FromRef, FromRequestParts},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{OpenError, Partywall, Refusal, Scoped, Store, TenantContext, token::TokenError};

pub use hint::Hint;
pub use layer::{WallLayer, WallService};

mod hint;
mod layer;

impl Partywall {
    /// The layer that verifies every request's token before any handler runs.
    ///
    /// ```
    /// # use axum::{Router, routing::get};
    /// # use partywall::{Partywall, TenantContext};
    /// # fn app(wall: Partywall) -> Router {
    /// Router::new()
    ///     .route("/whoami", get(async |tenant: TenantContext| tenant.tenant().to_string()))
    ///     .layer(wall.layer())
    /// # }
    /// ```
    pub fn layer(&self) -> WallLayer {
        WallLayer::new(self.clone())
    }
}

impl<St: Sync> FromRequestParts<St> for TenantContext {
    type Rejection = NotBehindTheWall;

    async fn from_request_parts(parts: &mut Parts, _: &St) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(NotBehindTheWall)
    }
}

impl<S, St> FromRequestParts<St> for Scoped<S>
where
    S: Store + FromRef<St>,
    St: Sync,
{
    type Rejection = OpenRejection;

    async fn from_request_parts(parts: &mut Parts, state: &St) -> Result<Self, Self::Rejection> {
        Opener::<S>::from_request_parts(parts, state).await?.open().await
    }
}

/// A store about to be opened for this request's tenant.
///
/// For handlers that read a body: [`Scoped`] opens its transaction before the body has arrived,
/// and a slow sender would hold a connection; this waits until you say so.
///
/// ```
/// # use partywall::{Store, axum::{Opener, OpenRejection}};
/// async fn create<S: Store>(store: Opener<S>, body: String) -> Result<(), OpenRejection> {
///     let db = store.open().await?; // the body is here already
/// #   let _ = (db, body);
///     Ok(())
/// }
/// ```
pub struct Opener<S> {
    context: TenantContext,
    store: S,
}

impl<S: Store> Opener<S> {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// 503 to the caller, the reason to the log.
    pub async fn open(self) -> Result<Scoped<S>, OpenRejection> {
        self.context.open(&self.store).await.map_err(|error| {
            let tenant = self.context.tenant();
            tracing::error!(tenant.id = %tenant, store = %self.store.name(), error = &error as &dyn std::error::Error, "a store could not be opened");
            match error {
                OpenError::NotPlaced { .. } => OpenRejection::NotPlaced,
                OpenError::Store(_) => OpenRejection::Unavailable,
            }
        })
    }
}

impl<S, St> FromRequestParts<St> for Opener<S>
where
    S: Store + FromRef<St>,
    St: Sync,
{
    type Rejection = NotBehindTheWall;

    async fn from_request_parts(parts: &mut Parts, state: &St) -> Result<Self, Self::Rejection> {
        let context = TenantContext::from_request_parts(parts, state).await?;
        Ok(Self { context, store: S::from_ref(state) })
    }
}

/// The route stands outside [`Partywall::layer`]: nobody verified the request.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this route is not behind `wall.layer()`: no token was verified")]
pub struct NotBehindTheWall;

impl IntoResponse for NotBehindTheWall {
    fn into_response(self) -> Response {
        tracing::error!("{self}: add the layer to the router");
        Problem::of(StatusCode::INTERNAL_SERVER_ERROR).into_response()
    }
}

/// Why a handler got no store.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRejection {
    /// Nobody verified the request.
    #[error(transparent)]
    NotBehindTheWall(#[from] NotBehindTheWall),
    /// The tenant has no place in this store.
    #[error("the tenant is not placed in this store")]
    NotPlaced,
    /// The store said no, or not now.
    #[error("the store is not available")]
    Unavailable,
}

impl IntoResponse for OpenRejection {
    fn into_response(self) -> Response {
        match self {
            Self::NotBehindTheWall(rejection) => rejection.into_response(),
            Self::NotPlaced | Self::Unavailable => unavailable(),
        }
    }
}

impl IntoResponse for Refusal {
    /// RFC 6750, 3 and 3.1: a challenge without an error where there was no credential,
    /// `invalid_token` where there was one. The caller does not learn which check failed (L-05).
    fn into_response(self) -> Response {
        if self.is_unavailable() {
            return unavailable();
        }
        let challenge = match &self {
            Self::Token(TokenError::Missing) => r#"Bearer realm="partywall""#,
            Self::Token(TokenError::Malformed { .. }) => {
                r#"Bearer realm="partywall", error="invalid_request""#
            }
            // RFC 9449 7.1: which scheme would have done.
            Self::Token(TokenError::ProofRequired) => {
                r#"DPoP realm="partywall", error="invalid_token", algs="ES256 EdDSA PS256 RS256""#
            }
            Self::Token(TokenError::ProofRejected(_)) => {
                r#"DPoP realm="partywall", error="invalid_dpop_proof", algs="ES256 EdDSA PS256 RS256""#
            }
            _ => r#"Bearer realm="partywall", error="invalid_token""#,
        };
        let mut response = Problem::of(StatusCode::UNAUTHORIZED).into_response();
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}

fn unavailable() -> Response {
    let mut response = Problem::of(StatusCode::SERVICE_UNAVAILABLE).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A body for a refusal (RFC 9457), the same for every cause of one status.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Problem {
    /// What `status` says by itself, and not a word more.
    pub fn of(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { r#type: "about:blank", title, status: status.as_u16(), detail: None }
    }

    /// Adds what was wrong with what the caller itself sent; nothing else belongs here (L-05).
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What a caller gets for an object of another tenant and for one that does not exist: the
    /// same (T-04).
    pub fn not_found() -> Self {
        Self::of(StatusCode::NOT_FOUND)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (status, headers, Json(self)).into_response()
    }
}
