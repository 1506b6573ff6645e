//! The browser that began something is the one that goes on with it (O-21): it has 256 random bits
//! in a cookie of its own, from before anybody signs in. And a form is posted from our own page.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand::SecureRandom};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::ORIGIN};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use url::Url;

use super::session::{Browser, set_cookie};
use crate::{provider::At, random::RandomError, secret::Secret, storage::single_use};

/// What a browser is recognised by, as kept here: a hash.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Binding(String);

impl Binding {
    /// The browser's, as its cookie says; if it has none that could be ours, a new one, and the
    /// cookie to set. Tabs of one browser share it.
    pub(crate) fn of_or_new(
        browser: &Browser,
        random: &dyn SecureRandom,
    ) -> Result<(Self, Option<HeaderValue>), RandomError> {
        if let Some(known) = presented(browser) {
            return Ok((Self::hashed(known.expose()), None));
        }
        let drawn = single_use::draw(random)?;
        Ok((Self::hashed(drawn.expose()), set_cookie(COOKIE_NAME, drawn.expose(), None)))
    }

    /// Whether this is the browser.
    pub(crate) fn is(&self, browser: &Browser) -> bool {
        presented(browser).is_some_and(|presented| {
            let presented = Self::hashed(presented.expose());
            verify_slices_are_equal(presented.0.as_bytes(), self.0.as_bytes()).is_ok()
        })
    }

    fn hashed(secret: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"partywall browser v1");
        hash.update(secret.as_bytes());
        Self(Base64UrlUnpadded::encode_string(hash.finish().as_ref()))
    }
}

/// The cookie's value, if it has the shape of one we set.
fn presented(browser: &Browser) -> Option<&Secret<String>> {
    let value = browser.binding()?;
    let mut bytes = [0; 32];
    let shaped = Base64UrlUnpadded::decode(value.expose(), &mut bytes).map(<[u8]>::len) == Ok(32);
    shaped.then_some(value)
}

/// Whether a form comes from a page of the issuer's own origin. What browsers say of it is
/// believed: no page can make them say otherwise (Fetch 3.1, Fetch Metadata 2.3). Who says
/// nothing is refused.
pub(crate) fn is_from_our_page(at: &At, headers: &HeaderMap) -> bool {
    let Some(ours) = Url::parse(at.issuer()).ok().map(|url| url.origin().ascii_serialization())
    else {
        return false;
    };
    let said = |name: HeaderName| headers.get_all(name).iter().collect::<Vec<_>>();
    let site = HeaderName::from_static("sec-fetch-site");
    match (said(ORIGIN).as_slice(), said(site).as_slice()) {
        ([origin], [site]) => **origin == ours && *site == "same-origin",
        ([origin], []) => **origin == ours,
        ([], [site]) => *site == "same-origin",
        _ => false,
    }
}

pub(crate) const COOKIE_NAME: &str = "__Host-partywall-browser";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[tokio::test]
    async fn p03_a_form_comes_from_our_own_page_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let at = At::shared(&crate::control::tests_support::control(dir.path()).await);
        let ours = |of: &[(&'static str, &'static str)]| is_from_our_page(&at, &headers(of));
        assert!(ours(&[("origin", "https://id.test")]));
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(ours(&[("origin", "https://id.test"), ("sec-fetch-site", "same-origin")]));
        for (origin, site) in [
            ("https://evil.test", "same-origin"),
            ("https://id.test", "cross-site"),
            ("https://id.test", "same-site"),
            ("https://id.test.evil.test", "same-origin"),
            ("http://id.test", "same-origin"),
            ("null", "same-origin"),
        ] {
            assert!(!ours(&[("origin", origin), ("sec-fetch-site", site)]), "{origin}, {site}");
        }
        assert!(!ours(&[]), "who says nothing");
        assert!(!ours(&[("sec-fetch-site", "none")]), "nobody types a POST");
    }
}
