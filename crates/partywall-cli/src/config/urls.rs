//! The addresses of the web that the configuration may name.

use std::net::IpAddr;

use reqwest::Url;

/// Why a text is no public address of a service of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlFault {
    #[error("not a URL: {0}")]
    NotAUrl(String),
    #[error("not https: tokens would be taken from whoever answers on the way")]
    NotHttps,
    #[error("a URL with a user or a password in it")]
    Credentials,
    #[error("a URL with a query or a fragment (RFC 8414 2)")]
    QueryOrFragment,
}

impl UrlFault {
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::NotAUrl(_) => "write it as https://host/path",
            Self::NotHttps => "use https (http is fine for a loopback address)",
            Self::Credentials => "remove what stands before the @",
            Self::QueryOrFragment => "remove what follows the ? or the #",
        }
    }
}

/// Checks an issuer's identifier: https, or http on a loopback address; nothing after the path
/// (RFC 8414 2, RFC 9700 2.6).
pub(crate) fn check_issuer(url: &str) -> Result<(), UrlFault> {
    let parsed = check(url)?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(UrlFault::QueryOrFragment);
    }
    Ok(())
}

/// Checks an address that something trusted is fetched from.
pub(crate) fn check_source(url: &str) -> Result<(), UrlFault> {
    check(url).map(drop)
}

fn check(url: &str) -> Result<Url, UrlFault> {
    let parsed = Url::parse(url).map_err(|error| UrlFault::NotAUrl(error.to_string()))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(UrlFault::Credentials);
    }
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if is_loopback(parsed.host_str().unwrap_or_default()) => Ok(parsed),
        _ => Err(UrlFault::NotHttps),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_do_without_tls() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/eu",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/x",
            "http://localhost:8080",
        ] {
            assert!(check_issuer(good).is_ok(), "{good}");
        }
        for wrong in [
            "http://id.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://id.example.com",
            "file:///etc/passwd",
            "id.example.com",
            "",
            "https://",
            "https://a:b@id.example.com",
            "https://id.example.com?x",
            "https://id.example.com#x",
        ] {
            assert!(check_issuer(wrong).is_err(), "{wrong}");
        }
        assert!(check_source("https://id.example.com/jwks?x").is_ok());
    }
}
