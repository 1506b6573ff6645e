//! The sample's tenants: two in the pool, two in the bridge, one in a silo.

use partywall::{DeploymentModel, Placement, Placements, Slug, StoreName, Target, TenantId};
use partywall_server::{ControlPlane, MachineCredentials, NewMachine, NewTenant};
use serde_json::Value;

use super::{ACTOR, UpError};

/// A tenant of the running system, and a machine that acts for it.
pub(super) struct Served {
    pub(super) id: TenantId,
    pub(super) slug: Slug,
    pub(super) tier: &'static str,
    pub(super) placement: Placement,
    pub(super) machine: MachineCredentials,
}

/// The store the sample keeps its invoices in.
pub(super) const STORE: &str = "main";

const TENANTS: [(&str, &str, DeploymentModel); 5] = [
    ("acme", "free", DeploymentModel::Pool),
    ("globex", "free", DeploymentModel::Pool),
    ("initech", "team", DeploymentModel::Bridge),
    ("umbrella", "team", DeploymentModel::Bridge),
    ("hooli", "enterprise", DeploymentModel::Silo),
];

/// The targets of the store, per model.
pub(super) struct Targets {
    pub(super) pool: Target,
    pub(super) bridge: Target,
    pub(super) silo: Target,
}

impl Targets {
    pub(super) fn standard() -> Result<Self, UpError> {
        Ok(Self { pool: "shared".parse()?, bridge: "bridge".parse()?, silo: "hooli".parse()? })
    }

    fn of(&self, model: DeploymentModel) -> Placement {
        let target = match model {
            DeploymentModel::Pool => &self.pool,
            DeploymentModel::Bridge => &self.bridge,
            DeploymentModel::Silo => &self.silo,
        };
        Placement { model, target: target.clone() }
    }
}

/// Makes the tenants that are not there yet, and gives each one's machine a fresh secret.
pub(super) async fn ensure(control: &ControlPlane) -> Result<Vec<Served>, UpError> {
    let (targets, store): (Targets, StoreName) = (Targets::standard()?, STORE.parse()?);
    let mut tenants = Vec::new();
    for (slug, tier, model) in TENANTS {
        let slug: Slug = slug.parse()?;
        let placements = Placements::from_iter([(store.clone(), targets.of(model))]);
        let new = NewTenant::new(slug.clone(), tier.parse()?, placements);
        let tenant = control.ensure_tenant(&ACTOR, new).await?;
        let machine = NewMachine {
            name: "accounting".to_owned(),
            roles: [partywall::Role::from("accountant")].into(),
            scopes: Default::default(),
        };
        let machine = control.ensure_machine(&ACTOR, tenant.id(), machine).await?;
        let (id, placement) = (tenant.id().clone(), targets.of(model));
        tenants.push(Served { id, slug, tier, placement, machine });
    }
    Ok(tenants)
}

/// A fresh token, from the token endpoint.
pub(super) async fn token(
    http: &reqwest::Client,
    provider: &str,
    tenant: &Served,
) -> Result<String, UpError> {
    let answer = http
        .post(format!("{}/token", tenant.issuer(provider)))
        .basic_auth(tenant.basic_user(), Some(tenant.machine.secret.expose()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials")
        .send()
        .await?;
    let (status, body) = (answer.status().as_u16(), answer.text().await?);
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    match json.get("access_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None => Err(UpError::NoToken { status, body }),
    }
}

impl Served {
    /// The issuer that speaks for it: one of its own, where its data is in a silo.
    pub(super) fn issuer(&self, provider: &str) -> String {
        match self.placement.model {
            DeploymentModel::Silo => format!("{provider}/t/{}", self.slug),
            DeploymentModel::Pool | DeploymentModel::Bridge => provider.to_owned(),
        }
    }

    /// The client id as HTTP Basic wants it: encoded, for there is a colon in it (RFC 6749 2.3.1).
    pub(super) fn basic_user(&self) -> String {
        self.machine.client_id.as_str().replace(':', "%3A")
    }
}
