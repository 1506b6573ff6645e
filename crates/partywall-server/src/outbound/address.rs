//! Which addresses may be called (OWASP SSRF): judged where a name has become an address, and what
//! was judged is what is connected to, so that a name cannot change between the two.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::CallError;

/// What an operator allows to be called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Also addresses of this machine and of private networks, and `http`.
    pub(super) private_too: bool,
}

impl Reach {
    /// Reads an address that somebody registers: `https`, a host, no user, no fragment. One without
    /// a name is not asked of a resolver, so it is judged here.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn check(self, url: &str) -> Result<Url, CallError> {
        let url = Url::parse(url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.private_too => {}
            _ => return Err(CallError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(CallError::Decorated);
        }
        // Below 1024 there are no identity providers, and all the services that speak first.
        if !self.private_too && url.port().is_some_and(|port| port < 1024) {
            return Err(CallError::Port);
        }
        self.check_host(&url)?;
        Ok(url)
    }

    pub(crate) fn check_host(self, url: &Url) -> Result<(), CallError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(NotPublic.into()),
        };
        if self.admits(address) { Ok(()) } else { Err(NotPublic.into()) }
    }

    fn admits(self, address: IpAddr) -> bool {
        self.private_too || is_public(address)
    }
}

/// The address is one of this machine's, of a private network's, or of no network's.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the address is not a public one: see `call_private_addresses`")]
pub(crate) struct NotPublic;

/// Gives out only addresses that may be called.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) reach: Reach,
    pub(super) names: Arc<dyn Names>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { reach, names } = self.clone();
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?.into_iter();
            let may_call: Vec<SocketAddr> = found
                .filter(|address| reach.admits(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if may_call.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(may_call.into_iter()) as Addrs)
        })
    }
}

/// Who knows names' addresses.
pub(super) trait Names: Send + Sync {
    fn look_up<'n>(&'n self, name: &'n str) -> Answer<'n>;
}

pub(super) type Answer<'n> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'n>>;

/// The resolver that the system is configured with. The system's own would hold a thread for every
/// name that a slow server is asked for, and the threads are everybody's.
impl Names for TokioResolver {
    fn look_up<'n>(&'n self, name: &'n str) -> Answer<'n> {
        Box::pin(async move {
            let found = self.lookup_ip(name).await.map_err(io::Error::other)?;
            Ok(found.iter().collect())
        })
    }
}

/// Whether an address is one of the public internet's (IANA special-purpose registries).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..] // RFC 6598, behind a carrier's NAT
            | [169, 254, ..] // link-local: clouds keep their secrets there
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..] // multicast, reserved, broadcast
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4 in other clothes: mapped, translated (RFC 6052), 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // 2001::/23 (Teredo, benchmarks, ORCHID) and documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p06_only_public_addresses_are_called() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
