//! Which issuer a request came to.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use partywall::TenantId;

use super::issue::IssueError;
use crate::{
    control::ControlPlane,
    keys::{KeyError, TokenKeys},
    login::Admitted,
};

/// The issuer that was asked. It speaks for itself only: its own name, its own keys, the tenants
/// that are its own.
#[derive(Clone, Debug)]
pub(crate) struct At {
    issuer: String,
}

impl At {
    /// The issuer all tenants share.
    pub(crate) fn shared(control: &ControlPlane) -> Self {
        Self { issuer: control.inner.config.issuer.as_str().to_owned() }
    }

    /// Its identifier, as in `iss`, and the prefix of its addresses.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The one tenant whose own issuer it is, if it is one's.
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        None
    }

    /// The keys it signs with.
    pub(crate) fn keys(&self, control: &ControlPlane) -> Result<Arc<TokenKeys>, KeyError> {
        control.token_keys()
    }

    /// Refuses what another issuer has to say.
    pub(crate) fn may_speak_for(&self, admitted: &Admitted) -> Result<(), IssueError> {
        if admitted.own_issuer() {
            return Err(IssueError::OtherIssuer { tenant: admitted.tenant().clone() });
        }
        Ok(())
    }
}

impl FromRequestParts<ControlPlane> for At {
    type Rejection = Infallible;

    async fn from_request_parts(
        _parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, Infallible> {
        Ok(Self::shared(control))
    }
}
