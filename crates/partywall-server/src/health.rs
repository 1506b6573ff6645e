//! `GET /healthz`: the process answers. `GET /readyz`: it can do its work, which needs the database
//! and a key to sign with. Without them it is better left alone (L-06).

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    control::ControlPlane,
    keys::KeyError,
    storage::{StorageError, directory},
};

pub(crate) fn routes() -> Router<ControlPlane> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

async fn alive() -> Response {
    said("ok")
}

async fn ready(State(control): State<ControlPlane>) -> Result<Response, NotReady> {
    let asked = directory::current(control.inner.db.reader());
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| NotReady::DatabaseSilent)??;
    control.token_keys()?;
    if *control.inner.stopping.borrow() {
        return Err(NotReady::Stopping);
    }
    Ok(said("ready"))
}

/// Who asks has little time itself.
const PATIENCE: Duration = Duration::from_secs(2);

fn said(status: &str) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "status": status }))).into_response()
}

/// Why the server is of no use at present. For the log; who asked hears 503.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("the database does not answer")]
    DatabaseSilent,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the server was told to stop")]
    Stopping,
}

impl IntoResponse for NotReady {
    fn into_response(self) -> Response {
        tracing::warn!(error = &self as &dyn std::error::Error, "the server is not ready");
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
