//! May this identity act for its tenant, as of this bundle? One function answers for tokens, for
//! tokens remembered, and for jobs (I-12).

use std::sync::Arc;

use crate::{
    Identity, Principal, TenantContext, TenantId, TenantStatus, Timestamp, bundle::Bundle,
    context::Credential, token::TokenError,
};

/// Lets `credential` in, or says why not.
pub(crate) fn admit(
    credential: Arc<Credential>,
    bundle: Arc<Bundle>,
    now: Timestamp,
) -> Result<TenantContext, Refusal> {
    check(&credential.identity, &bundle, now)?;
    Ok(TenantContext::new(credential, bundle))
}

/// The checks of [`admit`].
pub(crate) fn check(identity: &Identity, bundle: &Bundle, now: Timestamp) -> Result<(), Refusal> {
    if now >= bundle.expires() {
        return Err(Refusal::BundleStale { expired: bundle.expires() });
    }
    let who = || (identity.tenant.clone(), identity.principal.clone());
    let Some(tenant) = bundle.tenant(&identity.tenant) else {
        let (tenant, principal) = who();
        return Err(Refusal::TenantUnknown { tenant, principal });
    };
    if tenant.status() != TenantStatus::Active {
        let (status, (tenant, principal)) = (tenant.status(), who());
        return Err(Refusal::TenantNotActive { tenant, principal, status });
    }
    // A token that carries no epoch of ours must be younger than the last one's beginning.
    let outdated = match identity.tenant_epoch {
        Some(epoch) => epoch < tenant.epoch(),
        None => tenant.epoch() > 0 && identity.issued_at <= tenant.epoch_at(),
    };
    if outdated {
        let (tenant, principal) = who();
        return Err(Refusal::EpochPassed { tenant, principal });
    }
    let revocations = bundle.revocations();
    let token = identity.token_id.as_deref();
    let subjects = [Some(identity.principal.subject()), identity.actor.as_ref()];
    // What an issuer puts before a dot names the grant that all of a family's tokens are of.
    let family = token.and_then(|jti| jti.split_once('.')).map(|(family, _)| family);
    let mut names = [token, family].into_iter().flatten();
    if names.any(|jti| revocations.refuses_token(&identity.issuer, jti))
        || subjects.into_iter().flatten().any(|subject| {
            revocations.refuses_subject(&identity.tenant, subject, identity.issued_at)
        })
    {
        let (tenant, principal) = who();
        return Err(Refusal::Revoked { tenant, principal });
    }
    Ok(())
}

/// Why a request was not let in. Written for the operator's log; the caller only learns that its
/// token does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The credential itself does not hold.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It holds, for a tenant nobody here knows.
    #[error("tenant {tenant} is not in the bundle: create it, or check the issuer's tenant claim")]
    TenantUnknown {
        /// The tenant the credential names.
        tenant: TenantId,
        /// Who acts for it.
        principal: Principal,
    },
    /// The tenant is not to be served.
    #[error("tenant {tenant} is {status:?}: an operator can reactivate it")]
    TenantNotActive {
        /// The tenant.
        tenant: TenantId,
        /// Who acts for it.
        principal: Principal,
        /// Its status.
        status: TenantStatus,
    },
    /// All of the tenant's tokens of that age were revoked.
    #[error("the token is from before tenant {tenant}'s tokens were revoked: sign in again")]
    EpochPassed {
        /// The tenant.
        tenant: TenantId,
        /// Who acts for it.
        principal: Principal,
    },
    /// This token, its principal or its actor was revoked.
    #[error("the token, its principal or its actor was revoked in tenant {tenant}")]
    Revoked {
        /// The tenant.
        tenant: TenantId,
        /// Who acts for it.
        principal: Principal,
    },
    /// The enforcement point is another tenant's silo.
    #[error(
        "tenant {tenant} is not served here: this enforcement point is pinned to another tenant"
    )]
    PinnedElsewhere {
        /// The tenant the credential names.
        tenant: TenantId,
        /// Who acts for it.
        principal: Principal,
    },
    /// The enforcement point has not heard from the control plane for too long.
    #[error("the bundle expired at {expired:?}: this enforcement point has lost its control plane")]
    BundleStale {
        /// When, in seconds since 1970-01-01 UTC.
        expired: Timestamp,
    },
    /// The enforcement point has no bundle yet.
    #[error("no bundle has been loaded yet: is the control plane reachable, and its key pinned?")]
    NoBundle,
}

impl Refusal {
    /// A word for metrics, logs and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::TenantUnknown { .. } => "tenant_unknown",
            Self::TenantNotActive { .. } => "tenant_not_active",
            Self::EpochPassed { .. } => "epoch_passed",
            Self::Revoked { .. } => "revoked",
            Self::PinnedElsewhere { .. } => "pinned_elsewhere",
            Self::BundleStale { .. } => "bundle_stale",
            Self::NoBundle => "no_bundle",
        }
    }

    /// The tenant the credential proved, where it held that far: for the log.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::TenantUnknown { tenant, .. }
            | Self::TenantNotActive { tenant, .. }
            | Self::EpochPassed { tenant, .. }
            | Self::Revoked { tenant, .. }
            | Self::PinnedElsewhere { tenant, .. } => Some(tenant),
            Self::Token(_) | Self::BundleStale { .. } | Self::NoBundle => None,
        }
    }

    /// Who acts, where that was known: for the log.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::TenantUnknown { principal, .. }
            | Self::TenantNotActive { principal, .. }
            | Self::EpochPassed { principal, .. }
            | Self::Revoked { principal, .. }
            | Self::PinnedElsewhere { principal, .. } => Some(principal),
            Self::Token(_) | Self::BundleStale { .. } | Self::NoBundle => None,
        }
    }

    /// Whether the fault is ours rather than the credential's: 503 and not 401.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::BundleStale { .. } | Self::NoBundle)
            || matches!(self, Self::Token(error) if error.is_unavailable())
    }
}
