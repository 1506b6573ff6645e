//! `[server.rates]`, `proxies` and `tenant_hosts`: how much may be asked for, who says where it comes
//! from, and which hosts name a tenant.

use partywall_server::{Proxies, Rate, Rates, TenantHosts};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::super::document::Section;

/// How much may be asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct AskedFor {
    /// By strangers from one network.
    pub(crate) network: Pace,
    /// By strangers from everywhere, for one tenant.
    pub(crate) tenant: Pace,
    /// Of the admin API, by one caller.
    pub(crate) administrator: Pace,
    /// Of SCIM, by one tenant's providers.
    pub(crate) scim: Pace,
}

/// One rate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pace {
    pub(crate) per_minute: u32,
    pub(crate) at_once: u32,
}

impl AskedFor {
    pub(super) fn read(server: &mut Section<'_, '_>) -> Self {
        let Rates { of_a_network, of_a_tenant, of_an_administrator, of_scim } = Rates::default();
        let Some(mut section) = server.section("rates", "[server.rates]") else {
            return Self {
                network: of_a_network.into(),
                tenant: of_a_tenant.into(),
                administrator: of_an_administrator.into(),
                scim: of_scim.into(),
            };
        };
        let mut rate = |key: &'static str, default: Rate| {
            let example = format!("{key} = {{ per_minute = 600, at_once = 1000 }}");
            let Some(read) = section.optional::<Pace>(key, &example) else { return default.into() };
            if let Err(error) = Rate::from(*read.get_ref()).check() {
                section.fault_at(&read.span(), key, error, format!("write `{example}`"));
            }
            read.into_inner()
        };
        let read = Self {
            network: rate("network", of_a_network),
            tenant: rate("tenant", of_a_tenant),
            administrator: rate("administrator", of_an_administrator),
            scim: rate("scim", of_scim),
        };
        section.finish();
        read
    }
}

/// The proxies that are believed.
pub(super) fn read_proxies(server: &mut Section<'_, '_>) -> Vec<String> {
    const EXAMPLE: &str = r#"proxies = ["10.0.0.0/8"]"#;
    let Some(read) = server.optional::<Vec<String>>("proxies", EXAMPLE) else { return Vec::new() };
    if let Err(error) = Proxies::of(read.get_ref().iter().map(String::as_str)) {
        server.fault_at(&read.span(), "proxies", error, format!("write `{EXAMPLE}`"));
    }
    Spanned::into_inner(read)
}

/// The hosts that name a tenant.
pub(super) fn read_tenant_hosts(server: &mut Section<'_, '_>) -> Option<String> {
    const EXAMPLE: &str = r#"tenant_hosts = "{tenant}.login.example.com""#;
    let read = server.optional::<String>("tenant_hosts", EXAMPLE)?;
    if let Err(error) = read.get_ref().parse::<TenantHosts>() {
        server.fault_at(&read.span(), "tenant_hosts", error, format!("write `{EXAMPLE}`"));
    }
    Some(read.into_inner())
}

impl From<Rate> for Pace {
    fn from(Rate { per_minute, at_once }: Rate) -> Self {
        Self { per_minute, at_once }
    }
}

impl From<Pace> for Rate {
    fn from(Pace { per_minute, at_once }: Pace) -> Self {
        Self { per_minute, at_once }
    }
}

impl From<AskedFor> for Rates {
    fn from(AskedFor { network, tenant, administrator, scim }: AskedFor) -> Self {
        Self {
            of_a_network: network.into(),
            of_a_tenant: tenant.into(),
            of_an_administrator: administrator.into(),
            of_scim: scim.into(),
        }
    }
}
