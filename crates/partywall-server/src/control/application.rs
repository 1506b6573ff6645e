//! Applications: OAuth clients that sign people in. The vendor's own serve every tenant; one that
//! a tenant registered serves that tenant.

use std::{collections::BTreeSet, fmt, str::FromStr};

use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::{Actor, ClientSecret, ControlError, ControlPlane, Scope, SecretHash};
use crate::{
    random::{self, RandomError},
    storage::{AuditEvent, applications, tenants},
};

impl ControlPlane {
    /// Registers an application: of one tenant, or without one, of the vendor and for all tenants.
    /// Its secret, if it authenticates with one, is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], and [`ControlError::Application`] when it registers what
    /// none may.
    pub async fn create_application(
        &self,
        actor: &Actor,
        tenant: Option<&TenantId>,
        new: NewApplication,
    ) -> Result<ApplicationCredentials, ControlError> {
        new.check()?;
        let now = self.now();
        let client_id = ApplicationId::draw(&self.inner.random)?;
        let secret = match new.authentication {
            ClientAuthentication::ClientSecret => Some(ClientSecret::draw(&self.inner.random)?),
            ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt => None,
        };
        let hash =
            secret.as_ref().map(|secret| SecretHash::of(client_id.as_str(), secret.expose()));
        let change = self.inner.db.change(now).await?;
        if let Some(tenant) = tenant
            && tenants::find(change.rows(), tenant).await?.is_none()
        {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        let application = Application {
            client_id: client_id.clone(),
            tenant: tenant.cloned(),
            name: new.name,
            status: ApplicationStatus::Active,
            authentication: new.authentication,
            jwks: new.jwks,
            registration: new.registration,
            created_at: now,
            changed_at: now,
            version: 1,
        };
        applications::insert(change.rows(), &application, hash.as_ref()).await?;
        let event = AuditEvent {
            actor,
            tenant,
            action: "application.create",
            detail: json!({
                "client_id": client_id, "name": application.name,
                "authentication": application.authentication,
                "registration": application.registration,
            }),
        };
        self.commit(change, event).await?;
        Ok(ApplicationCredentials { client_id, secret })
    }

    /// The application of that id, whatever its status.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn application(
        &self,
        client: &ApplicationId,
    ) -> Result<Option<Application>, ControlError> {
        Ok(applications::find(self.inner.db.reader(), client).await?)
    }
}

/// An application's id, and its secret if it has one, which is not kept anywhere else.
pub struct ApplicationCredentials {
    /// What it calls itself.
    pub client_id: ApplicationId,
    /// What it shows.
    pub secret: Option<ClientSecret>,
}

/// An application's client id: `app-` and 26 random characters. It is never a `sub`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApplicationId(String);

impl ApplicationId {
    /// The id as it appears in requests.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        Ok(Self(format!("app-{}", random::opaque_id(random)?)))
    }
}

impl FromStr for ApplicationId {
    type Err = InvalidApplication;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        match id.strip_prefix("app-") {
            Some(rest) if random::is_opaque_id(rest) => Ok(Self(id.to_owned())),
            _ => Err(InvalidApplication::ClientId),
        }
    }
}

impl TryFrom<String> for ApplicationId {
    type Error = InvalidApplication;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<ApplicationId> for String {
    fn from(id: ApplicationId) -> Self {
        id.0
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An application, as the control plane knows it. Its secrets are not part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// What it calls itself in requests.
    pub client_id: ApplicationId,
    /// The one tenant whose members it signs in; all of them, for the vendor's own.
    pub tenant: Option<TenantId>,
    /// What people are shown: up to 128 characters.
    pub name: String,
    /// Whether it is served.
    pub status: ApplicationStatus,
    /// How it shows who it is.
    pub authentication: ClientAuthentication,
    /// Its public keys, as a JWKS, for `private_key_jwt`.
    pub jwks: Option<serde_json::Value>,
    /// What else it registered.
    pub registration: Registration,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}

/// Whether an application is served.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationStatus {
    /// It is.
    Active,
    /// Never again.
    Revoked,
}

/// How a client shows who it is (RFC 7591 2, `token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// It does not: a public client, which has PKCE only.
    None,
    /// A secret, by HTTP Basic or in the body.
    ClientSecret,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
}

/// What an application may be asked for (RFC 6749, RFC 8628, RFC 8693).
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    utoipa::ToSchema,
)]
pub enum Grant {
    /// Sign people in.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// Stay signed in.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// Sign people in on a device without a keyboard.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// Act on behalf of whoever it has a token of.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// What an application registers beside how it authenticates. Checked as a whole at every change,
/// by [`check`](Self::check) (B-16: what creating refuses, changing refuses).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Where codes are sent; compared as text, byte by byte (O-01).
    pub redirect_uris: Vec<String>,
    /// Where browsers may go after a logout; compared as text.
    pub post_logout_redirect_uris: Vec<String>,
    /// Where it wants to hear of ended sessions (OIDC Back-Channel Logout 2.2).
    pub backchannel_logout_uri: Option<String>,
    /// What it may ask for.
    #[schema(value_type = Vec<Grant>)]
    pub grants: BTreeSet<Grant>,
    /// What its tokens may be asked to carry.
    #[schema(value_type = Vec<String>)]
    pub scopes: BTreeSet<Scope>,
    /// Whether it is installed on the person's machine: then a loopback redirect address may name
    /// any port (RFC 8252 7.3).
    pub native: bool,
    /// Whether people are asked before their first token goes to it (O-20).
    pub asks_consent: bool,
    /// Whether it must push its requests (RFC 9126 6).
    pub requires_pushed_requests: bool,
    /// Whether its tokens must be bound to a key (RFC 9449 5.2).
    pub requires_dpop: bool,
    /// Where logout and sign-in pages send people back to; for show only.
    pub home: Option<String>,
}

impl Default for Registration {
    /// A web application of the vendor's own: codes and refresh tokens, no consent page.
    fn default() -> Self {
        Self {
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            grants: [Grant::AuthorizationCode, Grant::RefreshToken].into(),
            scopes: BTreeSet::new(),
            native: false,
            asks_consent: false,
            requires_pushed_requests: false,
            requires_dpop: false,
            home: None,
        }
    }
}

impl Registration {
    /// The most addresses of one kind, and the longest one in bytes.
    pub const MAX_URIS: usize = 32;
    /// The longest address, in bytes.
    pub const MAX_URI: usize = 1024;

    /// Refuses what no application may register.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self, authentication: ClientAuthentication) -> Result<(), InvalidApplication> {
        let redirects = &self.redirect_uris;
        if redirects.len() > Self::MAX_URIS || !redirects.iter().all(|uri| self.may_redirect(uri)) {
            return Err(InvalidApplication::RedirectUri);
        }
        let needs_redirect = self.grants.contains(&Grant::AuthorizationCode);
        if needs_redirect && redirects.is_empty() {
            return Err(InvalidApplication::RedirectUri);
        }
        let logouts = &self.post_logout_redirect_uris;
        if logouts.len() > Self::MAX_URIS || !logouts.iter().all(|uri| self.may_redirect(uri)) {
            return Err(InvalidApplication::PostLogoutUri);
        }
        let called = self.backchannel_logout_uri.iter().chain(&self.home);
        if !called.into_iter().all(|uri| web_address(uri).is_some()) {
            return Err(InvalidApplication::Address);
        }
        if self.scopes.len() > 64 {
            return Err(InvalidApplication::Scopes);
        }
        let public = authentication == ClientAuthentication::None;
        if public && self.grants.contains(&Grant::TokenExchange) {
            return Err(InvalidApplication::PublicExchange);
        }
        Ok(())
    }

    /// Whether `asked` is a registered address: the same text, and for native applications any
    /// port on a loopback address (RFC 8252 7.3).
    pub(crate) fn is_redirect_uri(&self, asked: &str) -> bool {
        self.redirect_uris.iter().any(|uri| {
            uri == asked
                || (self.native
                    && without_loopback_port(uri).is_some_and(|registered| {
                        without_loopback_port(asked).is_some_and(|asked| asked == registered)
                    }))
        })
    }

    /// `https`, or a loopback address, or for native applications a scheme of their own with a dot
    /// in it (RFC 8252 7.1).
    fn may_redirect(&self, uri: &str) -> bool {
        let own_scheme = self.native
            && uri.split_once(':').is_some_and(|(scheme, rest)| {
                scheme.contains('.')
                    && scheme
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
                    && rest.starts_with('/')
            });
        let plain =
            uri.len() <= Self::MAX_URI && uri.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        plain && (own_scheme || web_address(uri).is_some())
    }
}

/// An `https` address, or `http` on a loopback address: absolute, without user or fragment.
fn web_address(uri: &str) -> Option<Url> {
    let url = Url::parse(uri).ok()?;
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let secure = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    let clean = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let written_as_read = uri.starts_with(url.scheme()) && !uri.contains(['*', '\\']);
    (secure && clean && written_as_read && uri.len() <= Registration::MAX_URI).then_some(url)
}

/// A loopback address without its port, as text; `None` for any other.
fn without_loopback_port(uri: &str) -> Option<String> {
    let (host, rest) = ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|host| uri.strip_prefix(host).map(|rest| (host, rest)))?;
    let rest = match rest.strip_prefix(':') {
        Some(with_port) => {
            let digits = with_port.bytes().take_while(u8::is_ascii_digit).count();
            let (port, rest) = with_port.split_at_checked(digits)?;
            port.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{host}{rest}"))
}

/// What to say of an application to be made.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApplication {
    /// What people are shown.
    pub name: String,
    /// How it will show who it is.
    pub authentication: ClientAuthentication,
    /// Its public keys, as a JWKS: required for `private_key_jwt`, refused otherwise.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<serde_json::Value>,
    /// Everything else.
    #[serde(default)]
    pub registration: Registration,
}

impl NewApplication {
    pub(crate) fn check(&self) -> Result<(), InvalidApplication> {
        super::user::check_name(&self.name).map_err(|_| InvalidApplication::Name)?;
        match (self.authentication, &self.jwks) {
            (ClientAuthentication::PrivateKeyJwt, Some(jwks)) => {
                partywall::token::KeySet::parse(jwks.to_string().as_bytes())
                    .map_err(|_| InvalidApplication::Jwks)?;
            }
            (ClientAuthentication::PrivateKeyJwt, None)
            | (ClientAuthentication::None | ClientAuthentication::ClientSecret, Some(_)) => {
                return Err(InvalidApplication::Jwks);
            }
            (ClientAuthentication::None | ClientAuthentication::ClientSecret, None) => {}
        }
        self.registration.check(self.authentication)
    }
}

/// Why an application, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidApplication {
    /// Not an application's id.
    #[error("not an application's client id: expected app- and 26 characters of a-z and 2-7")]
    ClientId,
    /// Not a name.
    #[error("not a name: expected 1 to 128 characters without control characters")]
    Name,
    /// Not usable as a redirect address.
    #[error(
        "redirect_uris: expected 1 to 32 absolute https addresses (http on loopback) without fragment, user or wildcard"
    )]
    RedirectUri,
    /// Not usable as an address after logout.
    #[error(
        "post_logout_redirect_uris: expected at most 32 absolute https addresses (http on loopback) without fragment, user or wildcard"
    )]
    PostLogoutUri,
    /// Not usable as an address of its.
    #[error(
        "backchannel_logout_uri and home: expected an absolute https address (http on loopback)"
    )]
    Address,
    /// Too many scopes.
    #[error("too many scopes: at most 64")]
    Scopes,
    /// Keys missing, unusable, or too many.
    #[error("jwks: expected a key set with private_key_jwt, and none otherwise")]
    Jwks,
    /// Anybody could do it.
    #[error("a public client cannot exchange tokens: give it a secret or a key")]
    PublicExchange,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(uris: &[&str], native: bool) -> Registration {
        let redirect_uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        Registration { redirect_uris, native, ..Registration::default() }
    }

    #[test]
    fn o01_a_redirect_address_is_the_same_text_or_none() {
        let app = registered(&["https://app.example/cb?a=1"], false);
        assert!(app.is_redirect_uri("https://app.example/cb?a=1"));
        for other in [
            "https://app.example/cb",
            "https://app.example/cb?a=1&b=2",
            "https://app.example/cb?a=1#",
            "https://app.example/cb/?a=1",
            "https://app.example:443/cb?a=1",
            "https://APP.example/cb?a=1",
            "https://app.example/%63b?a=1",
            "https://app.example/cb?a=1%00",
            "https://app.example.evil/cb?a=1",
            "https://evil@app.example/cb?a=1",
            "http://app.example/cb?a=1",
            " https://app.example/cb?a=1",
        ] {
            assert!(!app.is_redirect_uri(other), "{other}");
        }
    }

    #[test]
    fn o01_only_native_applications_choose_a_loopback_port() {
        let native = registered(&["http://127.0.0.1/cb"], true);
        assert!(native.is_redirect_uri("http://127.0.0.1:49152/cb"));
        for other in [
            "http://127.0.0.1:49152/other",
            "http://127.0.0.1:49152",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1.evil/cb",
            "http://127.0.0.1:1@evil/cb",
            "http://localhost:49152/cb",
        ] {
            assert!(!native.is_redirect_uri(other), "{other}");
        }
        let web = registered(&["http://127.0.0.1/cb"], false);
        assert!(!web.is_redirect_uri("http://127.0.0.1:49152/cb"));
    }

    #[test]
    fn o01_what_cannot_be_registered() {
        let check = |uri: &str, native| {
            registered(&[uri], native).check(ClientAuthentication::ClientSecret).is_ok()
        };
        assert!(check("https://app.example/cb", false));
        assert!(check("com.example.app:/cb", true));
        for refused in [
            "http://app.example/cb",
            "https://*.example/cb",
            "https://app.example/cb#x",
            "https://user@app.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "app.example/cb",
            "https://app.example/ü",
            "com.example.app:/cb",
            "",
        ] {
            assert!(!check(refused, false), "{refused} is registered");
        }
    }
}
