//! What an operator decides about the server.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use axum::http::Uri;
use partywall::token::IssuerConfig;

use crate::{
    federation::domains::DomainName,
    keys::{KeyPolicy, SealingKey},
    mail::{InvalidMail, MailConfig},
    provider::TenantHosts,
    rate::{Proxies, Rate},
    storage::DatabaseConfig,
};

/// Everything a server needs to know before it starts. Secrets are read already.
pub struct ServerConfig {
    /// Where the state lives.
    pub database: DatabaseConfig,
    /// What private keys are sealed with in the database.
    pub sealing_key: SealingKey,
    /// The identity provider's name and address.
    pub issuer: Issuer,
    /// For whom tokens may be issued.
    pub resources: Resources,
    /// How long an access token lives: up to 24 hours.
    pub token_lifetime: Duration,
    /// How long a client may refresh its tokens, from the sign-in on: up to 400 days.
    pub refresh_lifetime: Duration,
    /// When signing keys change.
    pub keys: KeyPolicy,
    /// How long bundles may be served from.
    pub bundle: BundlePolicy,
    /// How passwords are hashed.
    pub passwords: PasswordConfig,
    /// Where mail is given up. Without it nobody can be invited or set a new password by mail.
    pub mail: Option<MailConfig>,
    /// Whether addresses may be called that are not public, and identity providers without TLS: on
    /// this machine, or in a private network. Whoever registers an application or a connection can
    /// then have requests sent there.
    pub call_private_addresses: bool,
    /// Which name servers are asked about domains that tenants claim; the system's, where there are
    /// none.
    pub dns_servers: Vec<SocketAddr>,
    /// Domains that no tenant may claim, nor any below them, beside those on our own list: anybody
    /// can have an address there.
    pub free_mail: Vec<DomainName>,
    /// Reverse proxies that are believed when they say whom they ask for.
    pub proxies: Proxies,
    /// Hosts that name a tenant, beside the issuer's own. None, where there are no such hosts.
    pub tenant_hosts: Option<TenantHosts>,
    /// How much may be asked for.
    pub rates: Rates,
    /// Other issuers whose tokens enforcement points accept.
    pub external_issuers: Vec<IssuerConfig>,
}

impl ServerConfig {
    /// The defaults around what has none: tokens of 10 minutes, ES256, no other issuers.
    pub fn new(
        database: DatabaseConfig,
        sealing_key: SealingKey,
        issuer: Issuer,
        resources: Resources,
    ) -> Self {
        Self {
            database,
            sealing_key,
            issuer,
            resources,
            token_lifetime: Duration::from_secs(10 * 60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            keys: KeyPolicy::default(),
            bundle: BundlePolicy::default(),
            passwords: PasswordConfig::default(),
            mail: None,
            call_private_addresses: false,
            dns_servers: Vec::new(),
            free_mail: Vec::new(),
            proxies: Proxies::none(),
            tenant_hosts: None,
            rates: Rates::default(),
            external_issuers: Vec::new(),
        }
    }

    /// Refuses what would make the server fail later, at the worst time.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Self { keys, bundle, token_lifetime, passwords, .. } = self;
        passwords.check()?;
        self.rates.check()?;
        if let Some(mail) = &self.mail {
            mail.check()?;
        }
        if !(Duration::from_secs(1)..=MAX_TOKEN_LIFETIME).contains(token_lifetime) {
            return Err(ConfigError::TokenLifetime { given: *token_lifetime });
        }
        if !(*token_lifetime..=MAX_REFRESH_LIFETIME).contains(&self.refresh_lifetime) {
            return Err(ConfigError::RefreshLifetime { given: self.refresh_lifetime });
        }
        // RFC 9068 leaves it open; R-02 asks for twice the longest cache life.
        if keys.publish_ahead < 2 * keys.jwks_max_age {
            return Err(ConfigError::PublishAhead {
                publish_ahead: keys.publish_ahead,
                jwks_max_age: keys.jwks_max_age,
            });
        }
        if keys.rotate_every <= keys.publish_ahead {
            return Err(ConfigError::RotateEvery {
                rotate_every: keys.rotate_every,
                publish_ahead: keys.publish_ahead,
            });
        }
        if bundle.refresh_after.is_zero() || bundle.lifetime <= bundle.refresh_after {
            return Err(ConfigError::BundleLifetime {
                lifetime: bundle.lifetime,
                refresh_after: bundle.refresh_after,
            });
        }
        Ok(())
    }
}

const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_REFRESH_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How far clocks of servers and enforcement points may be apart.
pub(crate) const CLOCKS_DISAGREE: Duration = Duration::from_secs(60);

/// How passwords are hashed (Argon2id, RFC 9106), and on how much of the machine.
#[derive(Clone, Copy, Debug)]
pub struct PasswordConfig {
    /// Memory for one hash, in KiB: 8 to 1,048,576.
    pub memory_kib: u32,
    /// Passes over it: 1 to 16.
    pub passes: u32,
    /// Lanes: 1 to 16. They run one after the other.
    pub lanes: u32,
    /// Threads that hash, and no others do: 1 to 64.
    pub threads: usize,
}

impl PasswordConfig {
    /// The most memory a hash may ask for, in KiB.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// The most passes.
    pub const MAX_PASSES: u32 = 16;
    /// The most lanes.
    pub const MAX_LANES: u32 = 16;

    /// Whether passwords can be hashed like that.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Passwords`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let sound = (8 * self.lanes.max(1)..=Self::MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=Self::MAX_PASSES).contains(&self.passes)
            && (1..=Self::MAX_LANES).contains(&self.lanes)
            && (1..=64).contains(&self.threads);
        if sound { Ok(()) } else { Err(ConfigError::Passwords) }
    }
}

impl Default for PasswordConfig {
    /// 19 MiB and two passes (OWASP Password Storage Cheat Sheet), on half of the cores.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1, threads: (cores / 2).clamp(1, 64) }
    }
}

/// How much may be asked for, of each server.
///
/// What a stranger asks for is what we do for those who have not shown who they are: sign-ins
/// begin, passwords and codes are tried, mails and codes for devices are written. A sign-in with a
/// password is two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rates {
    /// By strangers from one network: an IPv4 address, or an IPv6 /56.
    pub of_a_network: Rate,
    /// By strangers from everywhere, for one tenant, where a request names one.
    pub of_a_tenant: Rate,
    /// Of the admin API, by one administrator or operator.
    pub of_an_administrator: Rate,
    /// Of SCIM, by the identity providers of one tenant.
    pub of_scim: Rate,
}

impl Rates {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { of_a_network, of_a_tenant, of_an_administrator, of_scim } = self;
        [of_a_network, of_a_tenant, of_an_administrator, of_scim]
            .into_iter()
            .try_for_each(Rate::check)
    }
}

impl Default for Rates {
    /// 600 a minute and 1,000 at once from a network, which is a large office on Monday morning;
    /// ten times that for a tenant; 200 a second for an administrator; 100 for SCIM.
    fn default() -> Self {
        Self {
            of_a_network: Rate { per_minute: 600, at_once: 1_000 },
            of_a_tenant: Rate { per_minute: 6_000, at_once: 10_000 },
            of_an_administrator: Rate { per_minute: 12_000, at_once: 200 },
            of_scim: Rate { per_minute: 6_000, at_once: 1_000 },
        }
    }
}

/// How long bundles may be served from, and when they are made anew without a change.
#[derive(Clone, Copy, Debug)]
pub struct BundlePolicy {
    /// For how long an enforcement point may go on alone.
    pub lifetime: Duration,
    /// After how long without a change a new one is made, so that none runs out.
    pub refresh_after: Duration,
}

impl Default for BundlePolicy {
    /// 72 hours alone, which spans a weekend; made anew every hour.
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(72 * 60 * 60),
            refresh_after: Duration::from_secs(60 * 60),
        }
    }
}

/// An issuer identifier (RFC 8414 2, OIDC Discovery 4.3): an `https` URL without query, fragment
/// or trailing slash. `http` is for loopback addresses only.
///
/// Compared as text, byte by byte: it is the exact prefix of every address it publishes (O-08).
///
/// ```
/// use partywall_server::Issuer;
///
/// assert!("https://login.example.com/idp".parse::<Issuer>().is_ok());
/// assert!("http://127.0.0.1:8080".parse::<Issuer>().is_ok());
/// assert!("http://login.example.com".parse::<Issuer>().is_err());
/// assert!("https://login.example.com/".parse::<Issuer>().is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    url: String,
    path_at: usize,
}

impl Issuer {
    /// The identifier, as in `iss`.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Its origin (RFC 6454): scheme, host and port, as browsers write it.
    pub(crate) fn origin(&self) -> String {
        url::Url::parse(&self.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }

    /// The host it is on, for people to read.
    pub(crate) fn host(&self) -> &str {
        let authority = self.url.get(..self.path_at).and_then(|url| url.split("://").nth(1));
        authority.unwrap_or_default()
    }

    /// The path under which the provider answers: empty, or with a leading slash and no trailing
    /// one.
    pub(crate) fn path(&self) -> &str {
        self.url.get(self.path_at..).unwrap_or_default()
    }
}

impl FromStr for Issuer {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let refused = || ConfigError::Issuer { given: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused());
        };
        let loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        let secure = scheme == "https" || (scheme == "http" && loopback);
        let path_at = scheme.len() + "://".len() + authority.as_str().len();
        let path = url.get(path_at..).ok_or_else(refused)?;
        let plain = |segment: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
        };
        let path_is_plain = path.is_empty()
            || path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain));
        let no_user = !authority.as_str().contains('@');
        let one_spelling = url.bytes().take(path_at).all(|b| !b.is_ascii_uppercase());
        if secure && no_user && one_spelling && path_is_plain {
            Ok(Self { url: url.to_owned(), path_at })
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// A protected resource, as a token's audience: an absolute URI without fragment (RFC 8707 2).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Resource(String);

impl Resource {
    /// The URI, as in `aud`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Resource {
    type Err = ConfigError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let refused = || ConfigError::Resource { given: uri.to_owned() };
        let (scheme, rest) = uri.split_once(':').ok_or_else(refused)?;
        let scheme_is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let visible = rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if scheme_is_one && visible && !rest.is_empty() && uri.len() <= 255 {
            Ok(Self(uri.to_owned()))
        } else {
            Err(refused())
        }
    }
}

/// The resources tokens may be issued for.
#[derive(Clone, Debug)]
pub struct Resources {
    default: Resource,
    others: Vec<Resource>,
}

impl Resources {
    /// `default` is the audience of a token whose request names no resource.
    pub fn new(default: Resource, others: impl IntoIterator<Item = Resource>) -> Self {
        Self { default, others: others.into_iter().collect() }
    }

    /// The audience where none was asked for.
    pub fn default_resource(&self) -> &Resource {
        &self.default
    }

    /// Every resource's name.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = std::iter::once(&self.default).chain(&self.others);
        all.map(|resource| resource.as_str().to_owned()).collect()
    }

    /// These and one more, which the server itself is.
    pub(crate) fn and(mut self, own: Resource) -> Self {
        if self.named(own.as_str()).is_none() {
            self.others.push(own);
        }
        self
    }

    /// The resource of exactly that name, if there is one.
    pub(crate) fn named(&self, uri: &str) -> Option<&Resource> {
        std::iter::once(&self.default).chain(&self.others).find(|resource| resource.as_str() == uri)
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not an issuer identifier.
    #[error(
        "issuer {given:?}: expected https://host/path in lower case, without query, fragment or trailing slash (http for loopback addresses only)"
    )]
    Issuer {
        /// What was given.
        given: String,
    },
    /// Not a resource.
    #[error(
        "resource {given:?}: expected an absolute URI without fragment, such as https://api.example.com"
    )]
    Resource {
        /// What was given.
        given: String,
    },
    /// Mail cannot be sent like that.
    #[error(transparent)]
    Mail(#[from] InvalidMail),
    /// Passwords cannot be hashed like that.
    #[error(
        "passwords: expected memory of 8 KiB a lane to 1 GiB, 1 to 16 passes, 1 to 16 lanes, 1 to 64 threads"
    )]
    Passwords,
    /// Not a proxy's address.
    #[error("proxy {given:?}: expected an address, or a prefix such as 10.0.0.0/8")]
    Proxy {
        /// What was given.
        given: String,
    },
    /// Not a pattern of hosts.
    #[error(
        "tenant hosts {given:?}: expected one host with {{tenant}} in its first label, such as {{tenant}}.login.example.com"
    )]
    TenantHosts {
        /// What was given.
        given: String,
    },
    /// Nobody, or everybody at once.
    #[error("expected 1 to 60,000,000 a minute, and 1 to 1,000,000 at once")]
    Rate,
    /// Tokens would live too long, or not at all.
    #[error("token lifetime {given:?}: expected between one second and 24 hours")]
    TokenLifetime {
        /// What was given.
        given: Duration,
    },
    /// Refresh tokens would live too long, or shorter than what they refresh.
    #[error("refresh lifetime {given:?}: expected between a token's lifetime and 400 days")]
    RefreshLifetime {
        /// What was given.
        given: Duration,
    },
    /// A key would sign before everybody knows it.
    #[error(
        "keys are published {publish_ahead:?} ahead and key sets cached for {jwks_max_age:?}: publish at least twice that long ahead"
    )]
    PublishAhead {
        /// How long ahead.
        publish_ahead: Duration,
        /// How long cached.
        jwks_max_age: Duration,
    },
    /// Keys would be replaced before they sign.
    #[error(
        "keys rotate every {rotate_every:?} and are published {publish_ahead:?} ahead: rotate less often"
    )]
    RotateEvery {
        /// How often.
        rotate_every: Duration,
        /// How long ahead.
        publish_ahead: Duration,
    },
    /// Bundles would run out before they are made anew.
    #[error(
        "bundles live {lifetime:?} and are made anew after {refresh_after:?}: they must live longer than that"
    )]
    BundleLifetime {
        /// How long.
        lifetime: Duration,
        /// After how long.
        refresh_after: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o08_an_issuer_has_one_spelling() {
        for refused in [
            "",
            "login.example.com",
            "https://",
            "http://login.example.com",
            "https://a/?x",
            "https://a/",
            "https://a/b/",
            "https://a/b#c",
            "https://user@a",
            "https://A.example",
            "https://a//b",
            "https://a/../b",
            "https://a/%2e",
            "HTTPS://a",
            "ftp://a",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(refused.parse::<Issuer>().is_err(), "{refused:?} is an issuer");
        }
        let path = |issuer: &str| issuer.parse::<Issuer>().unwrap().path().to_owned();
        assert_eq!(path("https://login.example.com"), "");
        assert_eq!(path("https://login.example.com:8443/idp/eu"), "/idp/eu");
        assert_eq!(path("http://[::1]:80"), "");
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for refused in ["", "api", "/api", "https:", "https://a#b", "https://a b", "1http://a"] {
            assert!(refused.parse::<Resource>().is_err(), "{refused:?} is a resource");
        }
        assert!("https://api.example.com/v1".parse::<Resource>().is_ok());
        assert!("urn:example:invoices".parse::<Resource>().is_ok());
    }
}
