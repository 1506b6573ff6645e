//! Whose network a request came from, as far as addresses tell.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, HeaderName, request::Parts},
};

use crate::config::ConfigError;

/// Reverse proxies that are believed when they say whom they ask for, by address or by prefix:
/// `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxies(Vec<Prefix>);

impl Proxies {
    /// No proxy is believed.
    pub fn none() -> Self {
        Self::default()
    }

    /// These are.
    ///
    /// ```
    /// use partywall_server::Proxies;
    ///
    /// assert!(Proxies::of(["10.0.0.0/8", "2001:db8::1"]).is_ok());
    /// assert!(Proxies::of(["10.0.0.1/8"]).is_err()); // which of the two is meant?
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Proxy`] for what is neither an address nor a prefix.
    pub fn of<'p>(prefixes: impl IntoIterator<Item = &'p str>) -> Result<Self, ConfigError> {
        prefixes.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn have(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.has(address))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    fn has(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.bits) == masked(self.address, self.bits)
    }
}

impl FromStr for Prefix {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = || ConfigError::Proxy { given: text.to_owned() };
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), str::parse).map_err(|_| refused())?;
        let whole = bits <= longest && masked(address, bits) == bits_of(address);
        if whole { Ok(Self { address, bits }) } else { Err(refused()) }
    }
}

/// An address's bits, left-aligned.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Its first `bits` bits.
fn masked(address: IpAddr, bits: u32) -> u128 {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or_default();
    bits_of(address) & mask
}

/// Where a request came from: an IPv4 address, or the /56 of an IPv6 address, which is what a site
/// is given (RFC 6177). Unknown behind a proxy that nobody named.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Network(Option<IpAddr>);

impl Network {
    /// Of the connection's peer, and of what proxies on the way said.
    pub(crate) fn of(extensions: &Extensions, headers: &HeaderMap, proxies: &Proxies) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return Self(None) };
        if proxies.have(peer) {
            return Self(forwarded_for(headers, proxies).map(site));
        }
        // Without a proxy to name there is one all the same, if the peer is next door: whoever
        // listens to the internet has its peers there.
        let next_door = proxies.is_empty() && is_private(peer);
        Self((!next_door).then(|| site(peer)))
    }

    pub(crate) fn is_known(self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(IpAddr::V6(site)) => write!(f, "{site}/{SITE}"),
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Put there by [`guard`](crate::http::guard).
impl<S: Sync> FromRequestParts<S> for Network {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// The last address in `X-Forwarded-For` that is no proxy of ours: each proxy adds whom it was asked
/// by at the end, and what stands before that anybody may have written.
fn forwarded_for(headers: &HeaderMap, proxies: &Proxies) -> Option<IpAddr> {
    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");
    let lines: Vec<_> = headers.get_all(NAME).iter().collect();
    for line in lines.into_iter().rev() {
        for entry in line.to_str().ok()?.rsplit(',') {
            let entry = entry.trim();
            let with_port = || entry.parse().map(|address: SocketAddr| address.ip());
            let address = entry.parse::<IpAddr>().or_else(|_| with_port()).ok()?.to_canonical();
            if !proxies.have(address) {
                return Some(address);
            }
        }
    }
    None
}

fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(_) => Ipv6Addr::from_bits(masked(address, SITE)).into(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

const SITE: u32 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let proxies = Proxies::of(proxies.iter().copied()).unwrap();
        Network::of(&extensions, &headers, &proxies).to_string()
    }

    #[test]
    fn i38_nobody_says_for_themselves_where_they_come_from() {
        for (peer, forwarded, proxies, expected) in [
            // Nobody is believed.
            ("192.0.2.1", &["198.51.100.7"][..], &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], &["10.0.0.0/8"], "192.0.2.1"),
            // A proxy is, about whom it was asked by, and about nothing before.
            ("10.1.2.3", &["198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.1.2.3", &["203.0.113.5, 198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.1.2.3", &["203.0.113.5", "198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.1.2.3", &["198.51.100.7, 10.9.9.9"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.1.2.3", &["198.51.100.7:5000"], &["10.0.0.0/8"], "198.51.100.7"),
            ("::ffff:10.1.2.3", &["[2001:db8:1:2ff::9]:5"], &["10.0.0.0/8"], "2001:db8:1:200::/56"),
            // What it says means nothing.
            ("10.1.2.3", &["198.51.100.7, nonsense"], &["10.0.0.0/8"], "unknown"),
            ("10.1.2.3", &[], &["10.0.0.0/8"], "unknown"),
            // A proxy that nobody named.
            ("10.1.2.3", &["198.51.100.7"], &[], "unknown"),
            ("127.0.0.1", &[], &[], "unknown"),
            ("10.1.2.3", &["198.51.100.7"], &["127.0.0.1"], "10.1.2.3"),
            // A site has many addresses.
            ("2001:db8:0:1ff::1", &[], &[], "2001:db8:0:100::/56"),
        ] {
            let found = network(peer, forwarded, proxies);
            assert_eq!(found, expected, "{peer} {forwarded:?} {proxies:?}");
        }
    }

    #[test]
    fn i38_a_prefix_has_one_spelling() {
        for refused in
            ["", "proxy", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "::1/129", "10.0.0.0/-1"]
        {
            assert!(Proxies::of([refused]).is_err(), "{refused:?} names a proxy");
        }
        let all = Proxies::of(["0.0.0.0/0"]).unwrap();
        assert!(all.have("203.0.113.9".parse().unwrap()));
        assert!(!all.have("2001:db8::1".parse().unwrap()));
    }
}
