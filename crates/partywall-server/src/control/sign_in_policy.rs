//! What a tenant asks of whoever enters, and how its pages look.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A tenant's sign-in policy, set by its administrators.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignInPolicy {
    /// How its members may sign in with us. Its own identity provider is no matter of this.
    #[schema(value_type = Vec<SignInMethod>)]
    pub methods: BTreeSet<SignInMethod>,
    /// Whether two factors must have been shown, at this very sign-in (I-15).
    pub mfa_required: bool,
    /// Locked to its own identity provider: every factor kept here is refused, and every way to
    /// recover one, but for break-glass users (I-13).
    pub sso_only: bool,
    /// How long a sign-in lasts, in seconds: 5 minutes to 90 days.
    pub session_seconds: u32,
    /// How long it lasts without use, in seconds: at most `session_seconds`.
    pub idle_seconds: u32,
}

impl Default for SignInPolicy {
    /// Password or passkey, one factor is enough, 7 days, 24 hours without use.
    fn default() -> Self {
        Self {
            methods: [SignInMethod::Password, SignInMethod::Passkey].into(),
            mfa_required: false,
            sso_only: false,
            session_seconds: 7 * 24 * 3600,
            idle_seconds: 24 * 3600,
        }
    }
}

impl SignInPolicy {
    /// Refuses what would let nobody in, or for ever.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        if self.methods.is_empty() && !self.sso_only {
            return Err(InvalidPolicy::NoMethod);
        }
        if !(MIN_SESSION..=MAX_SESSION).contains(&self.session_seconds) {
            return Err(InvalidPolicy::Session);
        }
        if !(MIN_SESSION..=self.session_seconds).contains(&self.idle_seconds) {
            return Err(InvalidPolicy::Idle);
        }
        Ok(())
    }
}

const MIN_SESSION: u32 = 5 * 60;
const MAX_SESSION: u32 = 90 * 24 * 3600;

/// A first factor kept here.
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
#[serde(rename_all = "snake_case")]
pub enum SignInMethod {
    /// A password.
    Password,
    /// A passkey (WebAuthn).
    Passkey,
}

/// How a tenant's pages look.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Branding {
    /// What it is called on its pages; its slug, where it says nothing.
    pub display_name: Option<String>,
    /// Its logo: an `https` address, or none.
    pub logo_uri: Option<String>,
    /// The colour of its buttons, `#rrggbb`.
    pub accent: Option<String>,
}

impl Branding {
    /// Refuses what could break a page or reach out of one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let name = |name: &String| {
            (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control)
        };
        let logo = |uri: &String| {
            uri.len() <= 512
                && url::Url::parse(uri).is_ok_and(|url| {
                    url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
                })
                && uri.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>;,".contains(&b))
        };
        let accent = |colour: &String| {
            colour.len() == 7
                && colour
                    .strip_prefix('#')
                    .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        if !self.display_name.iter().all(name) {
            return Err(InvalidPolicy::DisplayName);
        }
        if !self.logo_uri.iter().all(logo) {
            return Err(InvalidPolicy::Logo);
        }
        if self.accent.iter().all(accent) { Ok(()) } else { Err(InvalidPolicy::Accent) }
    }
}

/// Why a sign-in policy or a branding was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// Nobody could come in.
    #[error("methods: at least one, or set sso_only")]
    NoMethod,
    /// Too short or too long.
    #[error("session_seconds: expected 300 to 7776000 (5 minutes to 90 days)")]
    Session,
    /// Too short or too long.
    #[error("idle_seconds: expected 300 up to session_seconds")]
    Idle,
    /// Not a name.
    #[error("display_name: expected 1 to 64 characters without control characters")]
    DisplayName,
    /// Not an address of a picture.
    #[error("logo_uri: expected an https address of at most 512 characters")]
    Logo,
    /// Not a colour.
    #[error("accent: expected #rrggbb")]
    Accent,
}
