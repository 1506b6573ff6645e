//! Tokens where the control plane is at hand: good ones from its token endpoint, as anybody gets
//! them, and from the control plane itself those that nobody may accept.

use partywall::TenantId;
use partywall_prove::system::{Decoy, Issuer, IssuerError, Token, TokenEndpoint};
use partywall_server::{Actor, ControlPlane, Decoy as Defect};

/// Whoever runs the control plane.
pub(crate) struct Operator {
    endpoint: TokenEndpoint,
    control: Option<ControlPlane>,
}

/// In whose name the audit trail shows what was revoked for it.
const ACTOR: Actor = Actor::System("partywall prove");

impl Operator {
    /// Good tokens come from `endpoint`, decoys from `control`, where there is one.
    pub(crate) fn new(endpoint: TokenEndpoint, control: Option<ControlPlane>) -> Self {
        Self { endpoint, control }
    }
}

impl Issuer for Operator {
    async fn token(&self, tenant: &TenantId) -> Result<Token, IssuerError> {
        self.endpoint.token(tenant).await
    }

    async fn decoy(&self, tenant: &TenantId, decoy: Decoy) -> Result<Option<Token>, IssuerError> {
        let Some(control) = &self.control else { return Ok(None) };
        let signed = control.sign_decoy(&ACTOR, tenant, defect(decoy)).await;
        Ok(signed.map_err(IssuerError::new)?.map(|signed| Token::new(signed.token)))
    }
}

fn defect(decoy: Decoy) -> Defect {
    match decoy {
        Decoy::Expired => Defect::Expired,
        Decoy::NotYetValid => Defect::NotYetValid,
        Decoy::OtherAudience => Defect::OtherAudience,
        Decoy::OtherIssuer => Defect::OtherIssuer,
        Decoy::OtherType => Defect::OtherType,
        Decoy::Revoked => Defect::Revoked,
        Decoy::StaleEpoch => Defect::StaleEpoch,
        Decoy::Suspended => Defect::NotActive,
        Decoy::UnknownTenant => Defect::UnknownTenant,
        Decoy::TwoTenants => Defect::TwoTenants,
        Decoy::NoTenant => Defect::NoTenant,
        Decoy::RepeatedClaim => Defect::RepeatedClaim,
    }
}
