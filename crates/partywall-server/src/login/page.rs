//! Pages for people: how they look, and what browsers are told about them. No page is kept by
//! anybody, framed by anybody, or runs a script that is not ours (O-19, P-03).

use askama::Template;
use aws_lc_rs::rand::SecureRandom;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
            SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
        },
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use partywall::TenantId;
use url::Url;

use super::assets;
use crate::{
    control::{Branding, ControlPlane},
    federation::{away::Departure, slo},
    http::PAGE,
    provider::At,
    random,
    storage::{StorageError, sessions::TenantSession, sign_in_policies, tenants},
};

/// How a page looks: the house's, or a tenant's.
pub(crate) struct Look {
    /// Where the style sheet is.
    pub(crate) style: String,
    /// Where the script for passkeys is.
    pub(crate) script: String,
    /// Where the script is that sends a page's form.
    pub(crate) send: String,
    /// Where a new password is asked for.
    pub(crate) forgot: String,
    /// What allows the one inline style, if there is one. New on every page.
    pub(crate) nonce: String,
    /// The tenant's name for people.
    pub(crate) tenant: Option<String>,
    pub(crate) logo: Option<String>,
    pub(crate) colours: Option<Colours>,
    /// Where the page's forms may lead, beside here: what `form-action` says.
    leads_to: Option<String>,
}

/// A tenant's colour, and which of black and white can be read on it.
pub(crate) struct Colours {
    pub(crate) accent: String,
    pub(crate) on_accent: &'static str,
}

impl Look {
    /// The house's own.
    pub(crate) fn plain(control: &ControlPlane, at: &At) -> Self {
        Self::with(&control.inner.random, at)
    }

    fn with(random: &dyn SecureRandom, at: &At) -> Self {
        Self {
            style: assets::style_address(at),
            script: assets::script_address(at),
            send: assets::send_address(at),
            forgot: format!("{}/forgot", at.issuer()),
            // Without one the inline style is not allowed, which is all that is lost.
            nonce: random::opaque_id(random).unwrap_or_default(),
            tenant: None,
            logo: None,
            colours: None,
            leads_to: None,
        }
    }

    /// A tenant's, before anybody has signed in: what it has set for the world to see, and nothing
    /// else. A tenant that has set nothing looks like one there is not.
    pub(crate) async fn in_front_of(
        control: &ControlPlane,
        at: &At,
        tenant: Option<&TenantId>,
    ) -> Result<Self, StorageError> {
        let look = Self::plain(control, at);
        let Some(tenant) = tenant else { return Ok(look) };
        let settings = sign_in_policies::of(control.inner.db.reader(), tenant).await?;
        Ok(look.dressed(settings.branding))
    }

    /// A tenant's, for somebody who is known to be a member.
    pub(crate) async fn inside(
        control: &ControlPlane,
        at: &At,
        tenant: &TenantId,
    ) -> Result<Self, StorageError> {
        let mut look = Self::in_front_of(control, at, Some(tenant)).await?;
        if look.tenant.is_none() {
            let found = tenants::find(control.inner.db.reader(), tenant).await?;
            look.tenant = found.map(|tenant| tenant.record.slug.to_string());
        }
        Ok(look)
    }

    fn dressed(mut self, branding: Branding) -> Self {
        self.colours = branding.accent.as_deref().and_then(Colours::around);
        self.tenant = branding.display_name;
        // Checked when it was set; whatever it is now, it is no way out of the policy.
        self.logo = branding.logo_uri.filter(|uri| origin_of(uri).is_some());
        self
    }

    /// Lets the page's forms end at an application. Browsers hold redirects after a form against
    /// `form-action`, too, and the application may send them on: see decision 0014.
    pub(crate) fn leading_to(mut self, redirect_uri: &str) -> Self {
        self.leads_to = form_target(redirect_uri);
        self
    }

    fn policy(&self) -> Option<HeaderValue> {
        let mut policy = String::from("default-src 'none'; style-src 'self'");
        if self.colours.is_some() {
            policy.push_str(&format!(" 'nonce-{}'", self.nonce));
        }
        policy.push_str("; script-src 'self'; connect-src 'self'");
        if let Some(origin) = self.logo.as_deref().and_then(origin_of) {
            policy.push_str(&format!("; img-src {origin}"));
        }
        policy.push_str("; form-action 'self'");
        if let Some(target) = &self.leads_to {
            policy.push_str(&format!(" {target}"));
        }
        policy.push_str("; frame-ancestors 'none'; base-uri 'none'");
        HeaderValue::from_str(&policy).ok()
    }
}

impl Colours {
    /// Around `#rrggbb`. Of black and white one has a contrast of at least 4.58 to any colour
    /// (WCAG 2.2, 1.4.3 asks for 4.5).
    fn around(accent: &str) -> Option<Self> {
        let digits = accent.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let channel = |at: usize| {
            let value = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
            let value = f64::from(value) / 255.0;
            Some(if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            })
        };
        // WCAG 2.2, "relative luminance".
        let luminance = 0.2126 * channel(0)? + 0.7152 * channel(2)? + 0.0722 * channel(4)?;
        let with_black = (luminance + 0.05) / 0.05;
        let with_white = 1.05 / (luminance + 0.05);
        let on_accent = if with_black > with_white { "#000000" } else { "#ffffff" };
        Some(Self { accent: accent.to_owned(), on_accent })
    }
}

/// The origin of an `https` address, for a policy to name.
fn origin_of(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(|url| url.scheme() == "https")?;
    Some(url.origin().ascii_serialization())
}

/// What `form-action` has to allow for a registered address.
fn form_target(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    let target = match url.scheme() {
        // Any: an application may well send people on to another of its hosts.
        "https" => "https:".to_owned(),
        // A policy cannot name an IPv6 address (CSP 3, 2.3.1).
        "http" if url.host_str().is_some_and(|host| host.starts_with('[')) => "http:".to_owned(),
        "http" => url.origin().ascii_serialization(),
        // A native application's own (RFC 8252 7.1).
        own => format!("{own}:"),
    };
    Some(target)
}

/// The last parameter in the path. Before it may be the tenant whose own issuer was asked, which
/// is [`At`]'s to read.
pub(super) struct Last(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Last {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|_| StatusCode::NOT_FOUND)?;
        let last = parameters.iter().last().map(|(_, value)| value.to_owned());
        last.map(Self).ok_or(StatusCode::NOT_FOUND)
    }
}

/// A page.
pub(crate) fn page(status: StatusCode, look: &Look, page: &impl Template) -> Response {
    let (Ok(body), Some(policy)) = (page.render(), look.policy()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(PAGE)),
        (CONTENT_SECURITY_POLICY, policy),
        // `no-referrer` would make browsers send `Origin: null` with our own forms (Fetch 3.1).
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (status, headers, ALWAYS, body).into_response()
}

/// Sends the browser to a page of ours, by `303`: a form with a password may have led here, and
/// nothing of it goes on (RFC 9700 4.12).
pub(crate) fn see_other(location: &str, set_cookies: &[HeaderValue]) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, location)], ALWAYS).into_response();
    with_cookies(&mut response, set_cookies);
    response
}

/// Adds cookies to an answer.
pub(crate) fn with_cookies(response: &mut Response, set_cookies: &[HeaderValue]) {
    for cookie in set_cookies {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
}

/// On the way to somebody else's page. A page, and no redirect: a form of ours led here, and what it
/// may lead to is ours alone (`form-action`).
#[derive(Template)]
#[template(path = "away.html")]
struct OnTo<'p> {
    look: &'p Look,
    to: &'p str,
    by: &'p Departure,
    /// Whether another way of signing in is offered.
    signing_in: bool,
}

/// Sends the browser on to a tenant's own provider.
pub(crate) fn on_to(
    control: &ControlPlane,
    at: &At,
    to: &str,
    by: &Departure,
    signing_in: bool,
) -> Response {
    let look = Look::plain(control, at);
    let look = &match by {
        Departure::Redirect(_) => look,
        Departure::Post { action, .. } => look.leading_to(action),
    };
    page(StatusCode::OK, look, &OnTo { look, to, by, signing_in })
}

/// Sends a browser that was signed out on to `back`: by way of the tenant's own provider, where the
/// session came from there and it wants to hear of its end. It has ended here, whatever becomes of
/// it there.
pub(crate) async fn signed_out(
    control: &ControlPlane,
    at: &At,
    ended: Option<&TenantSession>,
    back: &str,
    set_cookies: &[HeaderValue],
) -> Response {
    let onward = match ended {
        Some(ended) => slo::onward(control, ended, back).await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "a provider is not told that somebody signed out");
            None
        }),
        None => None,
    };
    let mut response = match onward {
        Some((to, by)) => on_to(control, at, &to, &by, false),
        None => see_other(back, &[]),
    };
    with_cookies(&mut response, set_cookies);
    response
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'p> {
    look: &'p Look,
    heading: &'p str,
    told: &'p str,
}

/// A page that says why there is no other.
pub(crate) fn problem(
    control: &ControlPlane,
    at: &At,
    status: StatusCode,
    heading: &str,
    told: &str,
) -> Response {
    let look = Look::plain(control, at);
    page(status, &look, &Problem { look: &look, heading, told })
}

const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    // For browsers that do not know `frame-ancestors`.
    (HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_has_an_ink_that_can_be_read_on_it() {
        for (accent, ink) in [
            ("#000000", "#ffffff"),
            ("#ffffff", "#000000"),
            ("#ffcc00", "#000000"),
            ("#1f4f8f", "#ffffff"),
        ] {
            assert_eq!(Colours::around(accent).unwrap().on_accent, ink, "{accent}");
        }
        for not_one in ["red", "#fff", "#12345g", "#1234567", "#é2345"] {
            assert!(Colours::around(not_one).is_none(), "{not_one}");
        }
    }

    #[test]
    fn o19_forms_lead_to_what_was_registered_and_nowhere_else() {
        let target = |uri| form_target(uri);
        assert_eq!(target("https://app.test/cb").as_deref(), Some("https:"));
        assert_eq!(target("http://127.0.0.1:8080/cb").as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(target("http://[::1]:8080/cb").as_deref(), Some("http:"));
        assert_eq!(target("com.example.app:/cb").as_deref(), Some("com.example.app:"));
        assert_eq!(target("nothing"), None);
    }
}
