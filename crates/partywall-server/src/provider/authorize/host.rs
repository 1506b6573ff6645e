//! A tenant chosen by the host that a browser came to: `https://acme.login.example.com/authorize` is
//! sent on to the issuer's own address with `tenant=acme`. A host selects and grants nothing (T-01):
//! what it names is checked like any other `tenant`.

use std::{convert::Infallible, fmt, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{Uri, header::HOST, request::Parts},
};
use partywall::Slug;

use super::PATH;
use crate::{
    config::{ConfigError, Issuer},
    control::ControlPlane,
    provider::Form,
};

/// Hosts that name a tenant: `{tenant}.login.example.com`, or `{tenant}-login.example.com`.
///
/// ```
/// use partywall_server::TenantHosts;
///
/// assert!("{tenant}.login.example.com".parse::<TenantHosts>().is_ok());
/// assert!("login.example.com".parse::<TenantHosts>().is_err()); // of which tenant?
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TenantHosts {
    before: String,
    after: String,
}

impl TenantHosts {
    /// The tenant that `host` names, if it names one.
    fn tenant(&self, host: &str) -> Option<Slug> {
        let host = host.to_ascii_lowercase();
        host.strip_prefix(&self.before)?.strip_suffix(&self.after)?.parse().ok()
    }
}

impl FromStr for TenantHosts {
    type Err = ConfigError;

    fn from_str(pattern: &str) -> Result<Self, ConfigError> {
        let refused = || ConfigError::TenantHosts { given: pattern.to_owned() };
        let (before, after) = pattern.split_once("{tenant}").ok_or_else(refused)?;
        let in_label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let domain = after.split_once('.').filter(|(_, domain)| !domain.is_empty());
        let sound = before.bytes().all(in_label)
            && after.bytes().all(|b| in_label(b) || b == b'.')
            && domain.is_some();
        let (before, after) = (before.to_owned(), after.to_owned());
        if sound { Ok(Self { before, after }) } else { Err(refused()) }
    }
}

impl fmt::Display for TenantHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{tenant}}{}", self.before, self.after)
    }
}

/// The tenant whose host a request came to.
pub(crate) struct AtHost(Option<Slug>);

impl AtHost {
    /// Where a browser that came to a tenant's host is sent on to.
    pub(super) fn onward(&self, issuer: &Issuer, uri: &Uri) -> Option<String> {
        let slug = self.0.as_ref()?;
        let query = uri.query().unwrap_or_default();
        let form = Form::parse(query.as_bytes()).ok();
        // Named once more, or another one: that there are two is found out there.
        let named = form.is_some_and(|form| form.get("tenant") == Some(slug.as_str()));
        let more = if named { String::new() } else { format!("&tenant={slug}") };
        Some(format!("{issuer}{PATH}?{query}{more}"))
    }
}

impl FromRequestParts<ControlPlane> for AtHost {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, Infallible> {
        let config = &control.inner.config;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        // The issuer's own host names nobody, whatever the pattern would make of it.
        let hosts = config.tenant_hosts.as_ref().filter(|_| host != config.issuer.host());
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        Ok(Self(hosts.and_then(|hosts| hosts.tenant(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t15_a_host_names_a_tenant_in_one_label() {
        let hosts: TenantHosts = "{tenant}-login.example.com".parse().unwrap();
        let tenant = |host: &str| hosts.tenant(host).map(|slug| slug.to_string());
        assert_eq!(tenant("acme-login.example.com").as_deref(), Some("acme"));
        assert_eq!(tenant("ACME-login.Example.com").as_deref(), Some("acme"));
        for other in [
            "login.example.com",
            "-login.example.com",
            "a.acme-login.example.com",
            "acme-login.example.com.evil.test",
            "acme_login.example.com",
            "",
        ] {
            assert_eq!(tenant(other), None, "{other}");
        }
        for refused in
            ["", "example.com", "{tenant}", "{tenant}.", "x.{tenant}.example.com", "{tenant}.a/b"]
        {
            assert!(refused.parse::<TenantHosts>().is_err(), "{refused}");
        }
    }
}
