//! What somebody showed at a sign-in. It lets nobody in: [`admit`](super::admit) does.

use std::collections::BTreeSet;

use partywall::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::SignInMethod;

/// One way of showing who one is, as `amr` names it (RFC 8176 2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Amr {
    /// A password.
    #[serde(rename = "pwd")]
    Password,
    /// A time-based code.
    #[serde(rename = "otp")]
    Totp,
    /// A recovery code, in place of a time-based one. Not registered; `rcv` is ours.
    #[serde(rename = "rcv")]
    RecoveryCode,
    /// A passkey, which is a key in somebody's hand.
    #[serde(rename = "pop")]
    Passkey,
    /// That the passkey's authenticator verified its user: by a PIN, a finger, a face.
    #[serde(rename = "user")]
    UserVerified,
    /// The tenant's own identity provider says so. Not registered; `fed` is ours.
    #[serde(rename = "fed")]
    Federated,
    /// Two factors or more: added by [`Proof::amr`], and accepted from a tenant's own provider.
    #[serde(rename = "mfa")]
    MultiFactor,
}

impl Amr {
    /// The way a token's `amr` names; `None` for a name of others.
    pub(crate) fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
}

/// What was shown, when, and to whom.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Proof {
    shown: BTreeSet<Amr>,
    /// The latest of the factors.
    pub(crate) auth_time: Timestamp,
    /// Through which of the tenant's own identity providers; with factors kept here otherwise.
    pub(crate) connection: Option<String>,
}

impl Proof {
    /// By factors kept here.
    pub(crate) fn of(shown: impl IntoIterator<Item = Amr>, auth_time: Timestamp) -> Self {
        Self { shown: shown.into_iter().collect(), auth_time, connection: None }
    }

    /// The same, with one more factor.
    pub(crate) fn and(mut self, factor: Amr, auth_time: Timestamp) -> Self {
        self.shown.insert(factor);
        self.auth_time = self.auth_time.max(auth_time);
        self
    }

    /// What a token's `amr` says.
    pub(crate) fn amr(&self) -> Vec<Amr> {
        let mut amr = self.shown.clone();
        if self.is_multi_factor() {
            amr.insert(Amr::MultiFactor);
        }
        amr.into_iter().collect()
    }

    /// Whether two factors were shown at this very sign-in (I-15): a password and a code, or a
    /// passkey whose user was verified.
    pub(crate) fn is_multi_factor(&self) -> bool {
        let has = |amr| self.shown.contains(&amr);
        let second = has(Amr::Totp) || has(Amr::RecoveryCode) || has(Amr::Passkey);
        (has(Amr::Password) && second)
            || (has(Amr::Passkey) && has(Amr::UserVerified))
            || (has(Amr::Federated) && has(Amr::MultiFactor))
    }

    /// Whether more was shown than a password, which whoever has read over a shoulder has.
    pub(crate) fn is_more_than_a_password(&self) -> bool {
        self.shown.iter().any(|amr| match amr {
            Amr::Totp | Amr::RecoveryCode | Amr::Passkey => true,
            Amr::Password | Amr::UserVerified | Amr::Federated | Amr::MultiFactor => false,
        })
    }

    /// The first factors kept here that were shown.
    pub(crate) fn methods(&self) -> impl Iterator<Item = SignInMethod> {
        self.shown.iter().filter_map(|amr| match amr {
            Amr::Password => Some(SignInMethod::Password),
            Amr::Passkey => Some(SignInMethod::Passkey),
            Amr::Totp
            | Amr::RecoveryCode
            | Amr::UserVerified
            | Amr::Federated
            | Amr::MultiFactor => None,
        })
    }

    /// The authentication context class (OIDC Core 2): `phr` for phishing-resistant (OpenID
    /// Connect EAP ACR values), else ours.
    pub(crate) fn acr(&self) -> &'static str {
        if self.shown.contains(&Amr::Passkey) && self.shown.contains(&Amr::UserVerified) {
            "phr"
        } else if self.is_multi_factor() {
            ACR_MULTI
        } else {
            ACR_SINGLE
        }
    }

    /// Whether it is at least as good as `acr`. One we do not know is met by nothing.
    pub(crate) fn meets(&self, acr: &str) -> bool {
        let rank = |acr: &str| ACR_VALUES.iter().position(|known| *known == acr);
        match (rank(acr), rank(self.acr())) {
            (Some(wanted), Some(shown)) => shown >= wanted,
            _ => false,
        }
    }
}

pub(crate) const ACR_SINGLE: &str = "urn:partywall:acr:1fa";
pub(crate) const ACR_MULTI: &str = "urn:partywall:acr:2fa";
/// From the weakest to the strongest.
pub(crate) const ACR_VALUES: [&str; 3] = [ACR_SINGLE, ACR_MULTI, "phr"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i15_two_factors_are_what_was_shown_and_not_what_somebody_has() {
        let of = |amr: &[Amr]| Proof::of(amr.iter().copied(), Timestamp(1));
        for (shown, multi, acr) in [
            (&[Amr::Password][..], false, ACR_SINGLE),
            (&[Amr::Password, Amr::Totp], true, ACR_MULTI),
            (&[Amr::Password, Amr::RecoveryCode], true, ACR_MULTI),
            (&[Amr::Totp], false, ACR_SINGLE),
            (&[Amr::Passkey], false, ACR_SINGLE),
            (&[Amr::Passkey, Amr::UserVerified], true, "phr"),
            (&[Amr::Federated], false, ACR_SINGLE),
            (&[Amr::Federated, Amr::MultiFactor], true, ACR_MULTI),
        ] {
            assert_eq!((of(shown).is_multi_factor(), of(shown).acr()), (multi, acr), "{shown:?}");
        }
        assert!(of(&[Amr::Password, Amr::Totp]).meets(ACR_SINGLE));
        assert!(!of(&[Amr::Password]).meets(ACR_MULTI));
        assert!(!of(&[Amr::Passkey, Amr::UserVerified]).meets("urn:unknown"));
    }
}
