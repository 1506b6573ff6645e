//! The habits of well-known providers, as data. A row says what is looked for; the checks and their
//! order are the same for all.

use partywall::token::Algorithm;
use url::Url;

use crate::control::{OidcProfile, OidcProvider};

/// What a profile's providers are like.
pub(super) struct Habits {
    /// The algorithms they may sign with, unless configured otherwise.
    pub(super) algorithms: &'static [Algorithm],
    /// What is asked for beside `openid`, unless configured otherwise.
    pub(super) scopes: &'static [&'static str],
    /// Where an address comes from that was verified.
    pub(super) email: EmailRule,
    /// The claim that lists groups, unless configured otherwise.
    pub(super) groups: Option<&'static str>,
    /// Whether what was asked for is only told at the UserInfo endpoint (OIDC Core 5.4).
    pub(super) user_info: bool,
    /// A claim that tells their ID tokens from their other tokens.
    kind: Option<(&'static str, &'static str)>,
    /// What their issuers look like.
    issuer: Issuer,
}

/// Where an e-mail address is believed to have been verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EmailRule {
    /// `email`, where `email_verified` is the JSON `true` and nothing like it (I-02).
    Standard,
    /// Entra's `email` is whatever an administrator of any directory typed in (nOAuth, B-04): only
    /// what says that the domain's owner was verified counts (I-28).
    Entra,
}

#[derive(Clone, Copy)]
enum Issuer {
    /// Any but those of the providers that everybody has an account with.
    Any,
    /// `https://login.microsoftonline.com/{directory}/v2.0`
    Entra,
    /// Google's one issuer. The organisation is in `hd`.
    Google,
    /// `https://{tenant}/`: ends with a slash.
    Auth0,
    /// `https://{host}/realms/{realm}`
    Keycloak,
    /// `https://cognito-idp.{region}.amazonaws.com/{pool}`
    Cognito,
}

use Algorithm::{EdDsa, Es256, Ps256, Rs256};

static GENERIC: Habits = Habits {
    algorithms: &[Es256, EdDsa, Ps256, Rs256],
    scopes: &["profile", "email"],
    email: EmailRule::Standard,
    groups: None,
    user_info: true,
    kind: None,
    issuer: Issuer::Any,
};

static ENTRA: Habits = Habits {
    algorithms: &[Rs256],
    scopes: &["profile", "email"],
    email: EmailRule::Entra,
    groups: Some("groups"),
    // It is Microsoft Graph's, and knows less than the token.
    user_info: false,
    kind: None,
    issuer: Issuer::Entra,
};

static OKTA: Habits = Habits {
    algorithms: &[Rs256],
    scopes: &["profile", "email", "groups"],
    email: EmailRule::Standard,
    groups: Some("groups"),
    // Its ID tokens are thin where an access token comes with them.
    user_info: true,
    kind: None,
    issuer: Issuer::Any,
};

static GOOGLE: Habits = Habits {
    algorithms: &[Rs256],
    scopes: &["profile", "email"],
    email: EmailRule::Standard,
    groups: None,
    user_info: false,
    kind: None,
    issuer: Issuer::Google,
};

static AUTH0: Habits = Habits {
    algorithms: &[Rs256, Ps256],
    scopes: &["profile", "email"],
    email: EmailRule::Standard,
    groups: None,
    user_info: false,
    kind: None,
    issuer: Issuer::Auth0,
};

static KEYCLOAK: Habits = Habits {
    algorithms: &[Es256, EdDsa, Ps256, Rs256],
    scopes: &["profile", "email"],
    email: EmailRule::Standard,
    groups: Some("groups"),
    user_info: false,
    // All its tokens are of the type JWT in the header.
    kind: Some(("typ", "ID")),
    issuer: Issuer::Keycloak,
};

static COGNITO: Habits = Habits {
    algorithms: &[Rs256],
    scopes: &["profile", "email"],
    email: EmailRule::Standard,
    groups: Some("cognito:groups"),
    // There `email_verified` is a string.
    user_info: false,
    kind: Some(("token_use", "id")),
    issuer: Issuer::Cognito,
};

impl Habits {
    pub(super) fn of(profile: OidcProfile) -> &'static Self {
        match profile {
            OidcProfile::Generic => &GENERIC,
            OidcProfile::EntraId => &ENTRA,
            OidcProfile::Okta => &OKTA,
            OidcProfile::Google => &GOOGLE,
            OidcProfile::Auth0 => &AUTH0,
            OidcProfile::Keycloak => &KEYCLOAK,
            OidcProfile::Cognito => &COGNITO,
        }
    }

    /// The claims that every ID token must have, with exactly these values: of providers that many
    /// share, the part that is this tenant's (F-07).
    pub(super) fn fixed<'p>(&self, provider: &'p OidcProvider) -> Vec<(&'p str, &'p str)> {
        let kind = self.kind.into_iter();
        let share = match self.issuer {
            Issuer::Entra => entra_directory(&provider.issuer).map(|directory| ("tid", directory)),
            Issuer::Google => provider.hosted_domain.as_deref().map(|domain| ("hd", domain)),
            Issuer::Any | Issuer::Auth0 | Issuer::Keycloak | Issuer::Cognito => None,
        };
        kind.chain(share).collect()
    }
}

/// Whether a provider's settings go with its profile.
///
/// # Errors
///
/// What does not, and what to do about it.
pub(crate) fn check(provider: &OidcProvider) -> Result<(), &'static str> {
    let issuer = Habits::of(provider.profile).issuer;
    let is_google = matches!(issuer, Issuer::Google);
    if provider.hosted_domain.is_some() != is_google {
        return Err("a hosted domain belongs to the profile `google`, which needs one");
    }
    if provider.hosted_domain.as_deref().is_some_and(|domain| !is_domain(domain)) {
        return Err("the hosted domain must be a domain in lower case");
    }
    if provider.algorithms.as_ref().is_some_and(|algorithms| algorithms.is_empty()) {
        return Err("at least one algorithm must be allowed");
    }
    let url = Url::parse(&provider.issuer).map_err(|_| "the issuer cannot be read")?;
    let host = url.host_str().unwrap_or_default();
    match issuer {
        Issuer::Entra => match entra_directory(&provider.issuer) {
            Some(directory) if directory != PERSONAL_ACCOUNTS => Ok(()),
            _ => Err("the issuer must be https://login.microsoftonline.com/{directory id}/v2.0, \
                 with the directory's own id: not common, organizations or consumers"),
        },
        Issuer::Google if provider.issuer == GOOGLE_ISSUER => Ok(()),
        Issuer::Google => Err("the issuer must be https://accounts.google.com"),
        // Everybody has an account there: without its profile nobody would look whose it is.
        _ if ENTRA_HOSTS.contains(&host) || host == "sts.windows.net" => {
            Err("Microsoft's issuers need the profile `entra_id`")
        }
        _ if host == "accounts.google.com" => Err("Google's issuer needs the profile `google`"),
        Issuer::Auth0 if !provider.issuer.ends_with('/') => {
            Err("Auth0's issuers end with a slash: https://{tenant}/")
        }
        Issuer::Keycloak if !is_realm(&url) => {
            Err("Keycloak's issuers are https://{host}/realms/{realm}")
        }
        Issuer::Cognito if !(host.starts_with("cognito-idp.") && url.path().len() > 1) => {
            Err("Cognito's issuers are https://cognito-idp.{region}.amazonaws.com/{pool}")
        }
        Issuer::Any | Issuer::Auth0 | Issuer::Keycloak | Issuer::Cognito => Ok(()),
    }
}

/// The directory of an issuer of Entra ID, where it is one directory's and spelled as Entra does.
fn entra_directory(issuer: &str) -> Option<&str> {
    let (host, path) = issuer.strip_prefix("https://")?.split_once('/')?;
    let directory = path.strip_suffix("/v2.0")?;
    (ENTRA_HOSTS.contains(&host) && is_guid(directory)).then_some(directory)
}

fn is_guid(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => digit(byte),
        })
}

fn is_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (3..=253).contains(&text.len())
        && text.bytes().all(allowed)
        && text.contains('.')
        && !text.split('.').any(str::is_empty)
}

fn is_realm(url: &Url) -> bool {
    let mut segments = url.path().rsplit('/');
    matches!((segments.next(), segments.next()), (Some(realm), Some("realms")) if !realm.is_empty())
}

/// The public cloud, and those of the United States' government and of China.
const ENTRA_HOSTS: [&str; 3] =
    ["login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"];
/// The directory of everybody who has a Microsoft account.
const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const GOOGLE_ISSUER: &str = "https://accounts.google.com";
