//! Accounts: people who sign in with factors kept here, by an e-mail address they proved.
//!
//! An account is nobody's member. [`User`](super::User)s are, of one tenant each, and several of
//! them may be one account: the same person in several tenants. A tenant's administrator sees its
//! users and never an account, whether it is new or old, or what else it belongs to (I-35).

use std::{fmt, str::FromStr};

use partywall::Timestamp;
use serde::{Deserialize, Serialize};

use crate::random::{self, RandomError};

/// An account's id: `a-` and 26 random characters. It stays inside: tokens name users.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl AccountId {
    /// The id as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        Ok(Self(format!("a-{}", random::opaque_id(random)?)))
    }
}

impl TryFrom<String> for AccountId {
    type Error = InvalidAccount;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        match id.strip_prefix("a-") {
            Some(rest) if random::is_opaque_id(rest) => Ok(Self(id)),
            _ => Err(InvalidAccount::Id),
        }
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account, as the control plane knows it. Its factors are not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What its owner types to sign in.
    pub email: Email,
    /// When its owner showed to receive mail there; never, for one that was only invited.
    pub email_verified_at: Option<Timestamp>,
    /// Whether it can sign in anywhere.
    pub status: AccountStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// Whether an account can sign in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountStatus {
    /// With its factors.
    Active,
    /// Not until an operator says so.
    Locked,
}

/// An address for mail and signing in: ASCII, lower case, at most 254 characters.
///
/// It has one spelling, so that it can be looked up; it identifies nobody (I-01).
///
/// ```
/// use partywall_server::Email;
///
/// assert_eq!("Ada@Example.com".parse::<Email>()?.as_str(), "ada@example.com");
/// assert!("ada".parse::<Email>().is_err());
/// # Ok::<(), partywall_server::InvalidAccount>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a user whose provider says no address: one that no mail reaches (RFC 2606 2), and that
    /// nobody else has.
    pub(crate) fn nowhere(user: &super::UserId) -> Self {
        let name = user.as_str().trim_start_matches("u:");
        Self(format!("{name}@{NOWHERE}"))
    }

    /// Whether mail could reach it.
    pub(crate) fn is_somewhere(&self) -> bool {
        self.domain() != NOWHERE
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for Email {
    type Err = InvalidAccount;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        let address = address.trim().to_ascii_lowercase();
        let (local, domain) = address.rsplit_once('@').ok_or(InvalidAccount::Email)?;
        // RFC 5322 3.2.3 without the quoted form, which nobody has and parsers disagree about.
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-.".contains(&b);
        let dots =
            |text: &str| !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let sound = (1..=64).contains(&local.len())
            && local.bytes().all(atom)
            && dots(local)
            && domain.split('.').all(label)
            && address.len() <= 254;
        if sound { Ok(Self(address)) } else { Err(InvalidAccount::Email) }
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidAccount;

    fn try_from(address: String) -> Result<Self, Self::Error> {
        address.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const NOWHERE: &str = "no-address.invalid";

/// Why an account, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccount {
    /// Not an account's id.
    #[error("not an account id: expected a- and 26 characters of a-z and 2-7")]
    Id,
    /// Not an address.
    #[error("not an e-mail address: expected name@domain, ASCII, of at most 254 characters")]
    Email,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i01_an_address_has_one_spelling() {
        for (typed, kept) in
            [(" Ada@Example.COM ", "ada@example.com"), ("a+b@x.test", "a+b@x.test")]
        {
            assert_eq!(typed.parse::<Email>().unwrap().as_str(), kept);
        }
        for refused in [
            "",
            "ada",
            "@x",
            "ada@",
            "a@b@c",
            "a b@x",
            "ada@x..y",
            "ada@-x",
            ".a@x",
            "ädа@x",
            "ada@x\n",
            "a\0@x",
            "\"a\"@x",
            "ada@[127.0.0.1]",
        ] {
            // A line break at the end is white space, which is taken off.
            if refused == "ada@x\n" {
                continue;
            }
            assert!(refused.parse::<Email>().is_err(), "{refused:?} is an address");
        }
    }
}
