//! The attacks on a running system: its tokens, its hints, its interface, its jobs.
//!
//! ```text
//! tenants ─► tokens ─► plant as each ─► attack as each the others ─► re-read as the owner
//! ```
//!
//! [`System::prove`] needs an address, at least two tenants and the application's routes. Nothing
//! but HTTP goes between it and the system; what only the issuer can make comes through
//! [`Issuer`].

mod api;
mod assign;
mod canary;
mod catalogue;
mod chance;
mod client;
mod compare;
mod endpoint;
mod estate;
mod forge;
mod ground;
mod hints;
mod job;
pub mod openapi;
mod reach;
mod route;
mod tenant;
mod tokens;

use std::time::Duration;

pub use endpoint::TokenEndpoint;
pub use job::{Job, JobGate, JobOutcome, prove_jobs};
pub use route::{InvalidRoute, Route};
pub use tenant::{Decoy, Issuer, IssuerError, Tenant, Token};

pub(crate) use catalogue::CATALOGUE;

use self::{client::Client, estate::Estate, ground::Ground};
use crate::{Layer, Log};

/// A running system, as far as it must be known to be attacked.
#[derive(Clone, Debug)]
pub struct System {
    /// Where the application is: `https://api.example.com`, or with the path all routes begin with.
    pub address: String,
    /// At least two tenants.
    pub tenants: Vec<Tenant>,
    /// The application's interface.
    pub routes: Vec<Route>,
    /// The issuer's public key set (RFC 7517 5): for tokens signed with a public key as a secret.
    pub keys: Option<serde_json::Value>,
    /// How far to go.
    pub options: Options,
}

/// How far to go.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to try: [`Layer::Token`], [`Layer::Hint`], [`Layer::Http`]. All three unless told.
    pub layers: Vec<Layer>,
    /// Who attacks whom.
    pub pairs: Pairs,
    /// Whether to plant, change and delete. Without, only ids given or listed are read.
    pub writes: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a revocation may take to arrive: a revoked token is tried again until then.
    pub settle: Duration,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// Headers that name a tenant in this system, beside the usual ones.
    pub headers: Vec<String>,
    /// The domain whose subdomains are tenants, if any.
    pub domain: Option<String>,
}

/// Who attacks whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pairs {
    /// Each tenant every other one: n × (n − 1) pairs.
    All,
    /// Each tenant the next one, and the last the first: n pairs, for a quick look.
    Ring,
}

impl Pairs {
    /// Whether, of `count`, the one at `attacker` attacks the one at `victim`.
    fn hold(self, count: usize, attacker: usize, victim: usize) -> bool {
        match self {
            Self::All => attacker != victim,
            Self::Ring => (attacker + 1) % count == victim,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layers: vec![Layer::Token, Layer::Hint, Layer::Http],
            pairs: Pairs::All,
            writes: true,
            timeout: Duration::from_secs(10),
            settle: Duration::from_secs(10),
            tenant_claim: "tid".to_owned(),
            headers: Vec::new(),
            domain: None,
        }
    }
}

impl System {
    /// A system with the usual options.
    pub fn new(address: impl Into<String>, tenants: Vec<Tenant>, routes: Vec<Route>) -> Self {
        let (address, options) = (address.into(), Options::default());
        Self { address, tenants, routes, keys: None, options }
    }

    /// Attacks all of it, as each tenant each other one.
    ///
    /// # Errors
    ///
    /// When there is nothing to begin with: no two tenants, no tokens, no usable address. What goes
    /// wrong later is an undecided trial.
    pub async fn prove<I: Issuer>(&self, issuer: &I, log: &mut Log<'_>) -> Result<(), SystemError> {
        if self.tenants.len() < 2 {
            return Err(SystemError::TooFewTenants { given: self.tenants.len() });
        }
        let client = Client::new(&self.address, self.options.timeout)?;
        let ground = Ground::new(client, &self.routes, &self.options, self.keys.as_ref());
        let mut estates = Vec::new();
        for tenant in &self.tenants {
            let token = issuer
                .token(&tenant.id)
                .await
                .map_err(|source| SystemError::Token { tenant: tenant.id.clone(), source })?;
            let mut estate = Estate::new(tenant.clone(), token);
            ground.settle(&mut estate, log).await;
            estates.push(estate);
        }
        let tries = |layer| self.options.layers.contains(&layer);
        if let Some(first) = estates.first_mut().filter(|_| tries(Layer::Token)) {
            tokens::without_any(&ground, first, log).await;
        }
        let count = estates.len();
        for at in (0..count).filter(|_| tries(Layer::Token)) {
            // The verifier does not know who asks: one attacker for each victim is enough.
            if let (Some(attacker), Some(victim)) = (estates.get(at), estates.get((at + 1) % count))
            {
                tokens::attack(&ground, attacker, victim, issuer, log).await;
            }
        }
        let pairs = (0..count).flat_map(|a| (0..count).map(move |v| (a, v)));
        for (attacker, victim) in pairs.filter(|(a, v)| self.options.pairs.hold(count, *a, *v)) {
            // Tokens are short-lived and runs are not.
            for at in [attacker, victim] {
                if let Some(estate) = estates.get_mut(at)
                    && let Ok(token) = issuer.token(&estate.tenant.id).await
                {
                    estate.token = token;
                }
            }
            let Ok([attacker, victim]) = estates.get_disjoint_mut([attacker, victim]) else {
                continue;
            };
            log.begin(&format!("{} against {}", attacker.name(), victim.name()));
            if tries(Layer::Hint) {
                hints::attack(&ground, attacker, victim, log).await;
            }
            if tries(Layer::Http) {
                if self.options.writes {
                    assign::attack(&ground, attacker, victim, log).await;
                }
                api::attack(&ground, attacker, victim, log).await;
            }
        }
        for estate in &mut estates {
            let left = estate.clear(&ground.client, &self.routes).await;
            if left > 0 {
                let text = format!(
                    "{left} things planted for {} are left: no DELETE route removes them; their \
                     texts begin with `{}`",
                    estate.name(),
                    estate.marker(),
                );
                log.note(self.address.as_str(), text);
            }
        }
        Ok(())
    }
}

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// An attack needs an attacker and a victim.
    #[error("{given} tenants are given, and an attack needs two: name another")]
    TooFewTenants {
        /// How many were given.
        given: usize,
    },
    /// The address is none.
    #[error("{address:?} is no address of a system: write https://host[:port][/path]")]
    Address {
        /// What was given.
        address: String,
    },
    /// A tenant's own token is not to be had.
    #[error("no token of tenant {tenant} is to be had")]
    Token {
        /// The tenant.
        tenant: partywall::TenantId,
        /// Why.
        #[source]
        source: IssuerError,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m01_everyone_attacks_everyone_or_in_a_ring() {
        let of = |pairs: Pairs| {
            let all = (0..3).flat_map(|a| (0..3).map(move |v| (a, v)));
            all.filter(|(a, v)| pairs.hold(3, *a, *v)).collect::<Vec<_>>()
        };
        assert_eq!(of(Pairs::All), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(of(Pairs::Ring), [(0, 1), (1, 2), (2, 0)]);
    }
}
