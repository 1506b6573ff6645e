//! Which issuer a request came to.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use partywall::TenantId;

use super::issue::IssueError;
use crate::{
    control::{ControlPlane, own_issuer::OwnIssuer},
    keys::{KeyError, RingError, TokenKeys},
    login::Admitted,
    storage::tenants,
};

/// The issuer that was asked. It speaks for itself only: its own name, its own keys, the tenants
/// that are its own.
#[derive(Clone)]
pub(crate) struct At {
    issuer: String,
    /// Whose own it is; nobody's, for the issuer all share.
    own: Option<Arc<OwnIssuer>>,
}

impl At {
    /// The issuer all tenants share.
    pub(crate) fn shared(control: &ControlPlane) -> Self {
        Self { issuer: control.inner.config.issuer.as_str().to_owned(), own: None }
    }

    /// The issuer of `{issuer}/t/{slug}`, if there is one.
    pub(crate) async fn own(control: &ControlPlane, slug: &str) -> Result<Option<Self>, RingError> {
        let own = control.own_issuer(slug).await?;
        Ok(own.map(|own| Self { issuer: own.name.clone(), own: Some(own) }))
    }

    /// The issuer that speaks for `tenant`.
    pub(crate) async fn speaking_for(
        control: &ControlPlane,
        tenant: &TenantId,
    ) -> Result<Self, RingError> {
        let found = tenants::find(control.inner.db.reader(), tenant).await?;
        let own = match found {
            Some(tenant) => Self::own(control, tenant.record.slug.as_str()).await?,
            None => None,
        };
        Ok(own.unwrap_or_else(|| Self::shared(control)))
    }

    /// Its identifier, as in `iss`, and the prefix of its addresses.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The one tenant whose own issuer it is, if it is one's.
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        self.own.as_ref().map(|own| &own.tenant)
    }

    /// The keys it signs with.
    pub(crate) fn keys(&self, control: &ControlPlane) -> Result<Arc<TokenKeys>, KeyError> {
        match &self.own {
            Some(own) => Ok(Arc::clone(&own.keys)),
            None => control.token_keys(),
        }
    }

    /// Refuses what another issuer has to say.
    pub(crate) fn may_speak_for(&self, admitted: &Admitted) -> Result<(), IssueError> {
        let speaks = match self.tenant() {
            Some(own) => own == admitted.tenant(),
            None => !admitted.own_issuer(),
        };
        if speaks {
            Ok(())
        } else {
            Err(IssueError::OtherIssuer { tenant: admitted.tenant().clone() })
        }
    }
}

impl FromRequestParts<ControlPlane> for At {
    type Rejection = NoSuchIssuer;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, NoSuchIssuer> {
        let path = parts.uri.path();
        // RFC 8414 3.1 puts its part before the issuer's path, everything else behind it.
        let path = path.strip_prefix(WELL_KNOWN).unwrap_or(path);
        let below = path.strip_prefix(control.inner.config.issuer.path()).unwrap_or(path);
        let Some(rest) = below.strip_prefix("/t/") else { return Ok(Self::shared(control)) };
        let slug = rest.split('/').next().unwrap_or_default();
        Self::own(control, slug).await.map_err(NoSuchIssuer::Ring)?.ok_or(NoSuchIssuer::Unknown)
    }
}

/// RFC 8414 3.
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// Why no issuer answers. A tenant that there is not and one without an issuer of its own look the
/// same, and as any other address where nothing is.
#[derive(Debug)]
pub(crate) enum NoSuchIssuer {
    Unknown,
    Ring(RingError),
}

impl IntoResponse for NoSuchIssuer {
    fn into_response(self) -> Response {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::Ring(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a tenant's own issuer cannot be read");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
