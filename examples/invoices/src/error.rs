//! What can go wrong, and what the caller is told of it.

use std::error::Error;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use partywall::axum::{OpenRejection, Problem};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// There is no such invoice, or it is another tenant's: the caller cannot tell.
    #[error("no such invoice")]
    NotFound,
    /// The caller may see it and may not do this.
    #[error("not allowed")]
    Forbidden,
    /// It has been paid.
    #[error("already paid")]
    AlreadyPaid,
    /// The body says something an invoice cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field at fault.
        field: &'static str,
        /// What it should be.
        problem: &'static str,
    },
    /// The store could not be opened; the log says why.
    #[error(transparent)]
    Open(#[from] OpenRejection),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// The reminder could not be queued.
    #[error("the queue is full or closed")]
    Queue,
}

impl AppError {
    /// Wraps a store's error.
    pub fn store(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Store(Box::new(error))
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Open(rejection) => return rejection.into_response(),
            Self::NotFound => Problem::not_found(),
            Self::Forbidden => Problem::of(StatusCode::FORBIDDEN),
            Self::AlreadyPaid => Problem::of(StatusCode::CONFLICT),
            // Only what the caller itself sent is spoken of.
            Self::Invalid { field, problem } => {
                Problem::of(StatusCode::UNPROCESSABLE_ENTITY).detail(format!("{field}: {problem}"))
            }
            Self::Store(source) => {
                tracing::error!(error = source.as_ref() as &dyn Error, "the store failed");
                Problem::of(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Queue => Problem::of(StatusCode::SERVICE_UNAVAILABLE),
        };
        problem.into_response()
    }
}
