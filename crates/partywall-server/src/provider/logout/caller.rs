//! Calling an application's address from here. Whoever registers an address must not reach through
//! us what only we can reach (OWASP SSRF): no redirects, no proxy, no address that is not public,
//! little time, and nothing of the answer but its status.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CACHE_CONTROL, CONTENT_TYPE},
    redirect,
};
use tokio::sync::OnceCell;
use url::{Host, Url};

/// A client that calls public addresses only, or any where the operator said so.
pub(crate) struct Caller {
    private_too: bool,
    /// Made at the first call: most servers never make one.
    client: OnceCell<Client>,
}

impl Caller {
    pub(crate) fn new(private_too: bool) -> Self {
        Self { private_too, client: OnceCell::new() }
    }

    /// Posts a logout token (OIDC Back-Channel Logout 2.5). Any success counts as told (2.8: 200;
    /// some frameworks answer an empty page with 204).
    pub(crate) async fn post_logout_token(&self, to: &str, token: &str) -> Result<(), CallError> {
        let url = Url::parse(to)?;
        self.check(&url)?;
        let client = self.client.get_or_try_init(async || self.build()).await?;
        // The token's alphabet needs no encoding.
        let answer = client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CACHE_CONTROL, "no-store")
            .body(format!("logout_token={token}"))
            .send()
            .await?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(CallError::Answer(status)) }
    }

    /// An address without a name is not asked of the resolver, so it is judged here.
    fn check(&self, url: &Url) -> Result<(), CallError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(CallError::NotPublic),
        };
        if self.private_too || is_public(address) { Ok(()) } else { Err(CallError::NotPublic) }
    }

    fn build(&self) -> Result<Client, reqwest::Error> {
        Client::builder()
            .user_agent("partywall")
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(Resolver { private_too: self.private_too })
            .build()
    }
}

/// Gives out only addresses that may be called: what was checked is what is connected to, so a name
/// cannot change between the two.
struct Resolver {
    private_too: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private_too = self.private_too;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may_call: Vec<SocketAddr> =
                found.filter(|address| private_too || is_public(address.ip())).collect();
            if may_call.is_empty() {
                let refused = io::Error::new(io::ErrorKind::PermissionDenied, CallError::NotPublic);
                return Err(refused.into());
            }
            Ok(Box::new(may_call.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet's (IANA special-purpose registries).
fn is_public(address: IpAddr) -> bool {
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

/// Why an application was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the address is not a public one: see `call_private_addresses`")]
    NotPublic,
    #[error("the address cannot be read")]
    Address(#[from] url::ParseError),
    #[error("the application cannot be reached")]
    Http(#[from] reqwest::Error),
    #[error("the application answered {0}")]
    Answer(StatusCode),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);

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

    #[tokio::test]
    async fn p06_a_private_address_is_refused_however_it_is_spelled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"] {
            let to = format!("http://{host}:{port}/");
            let called = Caller::new(false).post_logout_token(&to, "t").await;
            assert!(called.is_err(), "{host}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(nobody.is_err(), "somebody was called");

        // The same, where the operator allows it: somebody is.
        let call = tokio::spawn(async move {
            Caller::new(true).post_logout_token(&format!("http://127.0.0.1:{port}/"), "t").await
        });
        tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.unwrap().unwrap();
        call.abort();
    }
}
