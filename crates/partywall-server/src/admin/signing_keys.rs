//! `/signing-keys`: the operator's.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer,
    body::{done, shown},
    caller::Operator,
    path::Ids,
};
use crate::control::{ControlPlane, SigningKeyRecord};

/// A key that signs tokens, or did, or will.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
pub(super) struct KeyView {
    kid: String,
    algorithm: &'static str,
    /// `published`, `active`, `retired`.
    state: &'static str,
    /// Seconds since 1970-01-01 UTC.
    published_at: u64,
    activated_at: Option<u64>,
    retired_at: Option<u64>,
}

impl From<&SigningKeyRecord> for KeyView {
    fn from(key: &SigningKeyRecord) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str(),
            state: key.state,
            published_at: key.published_at.0,
            activated_at: key.activated_at.map(|at| at.0),
            retired_at: key.retired_at.map(|at| at.0),
        }
    }
}

/// The keys there are: a handful.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeys)]
pub(super) struct KeysView {
    items: Vec<KeyView>,
}

async fn all(control: &ControlPlane) -> Answer {
    let keys = control.list_signing_keys().await?;
    Ok(shown(&KeysView { items: keys.iter().map(KeyView::from).collect() }))
}

pub(super) async fn list(State(control): State<ControlPlane>, _: Operator) -> Answer {
    all(&control).await
}

/// Publishes the next one now. It signs once everybody can know it.
pub(super) async fn rotate(State(control): State<ControlPlane>, operator: Operator) -> Answer {
    control.begin_key_rotation(operator.actor()).await?;
    all(&control).await
}

#[derive(Deserialize)]
pub(super) struct KeyPath {
    key: String,
}

/// Takes one out of use at once.
pub(super) async fn withdraw(
    State(control): State<ControlPlane>,
    operator: Operator,
    Ids(KeyPath { key }): Ids<KeyPath>,
) -> Answer {
    control.withdraw_signing_key(operator.actor(), &key).await?;
    Ok(done())
}
