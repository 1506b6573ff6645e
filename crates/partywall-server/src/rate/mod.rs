//! How fast may be asked, and by whom: so that nobody's haste is everybody's wait (I-38).

use partywall::TenantId;

use crate::config::Rates;

mod meter;
mod network;

pub use meter::Rate;
pub(crate) use meter::{Meter, TooFast};
pub(crate) use network::Network;
pub use network::Proxies;

/// Counts what anybody may have us write or hash before they have shown who they are: sign-ins that
/// begin, passwords and codes that are tried, mails and codes for devices that are asked for.
pub(crate) struct Strangers {
    networks: Meter,
    tenants: Meter,
}

impl Strangers {
    pub(crate) fn new(rates: &Rates) -> Self {
        Self {
            networks: Meter::new(rates.of_a_network, 1 << 16),
            tenants: Meter::new(rates.of_a_tenant, 1 << 14),
        }
    }

    /// Counts one more. A network's storm is no tenant's, and a tenant's no other tenant's.
    pub(crate) fn draw(&self, network: Network, tenant: Option<&TenantId>) -> Result<(), TooFast> {
        // Of networks nobody can tell apart one would use up what belongs to all.
        let by_network = if network.is_known() { self.networks.draw(&network) } else { Ok(()) };
        let drawn = by_network.map_err(|fast| ("network", fast)).and_then(|()| {
            let by_tenant = tenant.map_or(Ok(()), |tenant| self.tenants.draw(tenant));
            by_tenant.map_err(|fast| ("tenant", fast))
        });
        drawn.map_err(|(of_a, fast)| {
            metrics::counter!("partywall_strangers_refused_total", "of_a" => of_a).increment(1);
            fast
        })
    }
}
