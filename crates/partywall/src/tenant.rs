//! Who owns the data: [`TenantId`], [`Slug`], [`Tier`], [`TenantStatus`].

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A tenant: one customer organisation of the SaaS.
///
/// Opaque, immutable and never reused. Parsed, never assembled: 1 to 63 of `a`–`z`, `0`–`9` and
/// `-`, starting and ending with a letter or a digit. There is one spelling per tenant: no upper
/// case, no Unicode, no NUL, so an id can be compared as bytes and used as a key as it is (T-15).
///
/// A person reads a tenant's [`Slug`]; programs, tokens and rows carry the id.
///
/// ```
/// use partywall::TenantId;
///
/// let id: TenantId = "acme-7f3k".parse()?;
/// assert_eq!(id.as_str(), "acme-7f3k");
/// assert!("Acme".parse::<TenantId>().is_err());
/// assert!("../acme".parse::<TenantId>().is_err());
/// assert!("public".parse::<TenantId>().is_err(), "reserved");
/// # Ok::<(), partywall::InvalidName>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The id as it appears in tokens, tickets and rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidName;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        check_name("tenant id", id)?;
        if RESERVED.contains(&id) {
            return Err(InvalidName { kind: "tenant id", why: NameFault::Reserved });
        }
        Ok(Self(id.into()))
    }
}

/// A tenant's readable name in hosts and paths. An alias: it may change, the id may not.
///
/// The same alphabet as a [`TenantId`], so that it is one DNS label.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(Arc<str>);

impl Slug {
    /// The slug as written in a host or a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = InvalidName;

    fn from_str(slug: &str) -> Result<Self, Self::Err> {
        check_name("slug", slug)?;
        Ok(Self(slug.into()))
    }
}

/// What a tenant pays for, by the vendor's own name for it (`free`, `enterprise`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tier(Arc<str>);

impl Tier {
    /// The vendor's name for the tier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tier {
    type Err = InvalidName;

    fn from_str(tier: &str) -> Result<Self, Self::Err> {
        check_name("tier", tier)?;
        Ok(Self(tier.into()))
    }
}

/// Where a tenant is in its life with the vendor. Only [`Active`](Self::Active) is served.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// May be served.
    Active,
    /// Known, and not to be served until an operator says so.
    Suspended,
    /// On its way out: not served, its data about to be erased.
    PendingErase,
}

/// A text was not a name of the kind asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a {kind}: {why}")]
pub struct InvalidName {
    kind: &'static str,
    why: NameFault,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum NameFault {
    #[error("expected 1 to 63 characters")]
    Length,
    #[error("expected only a-z, 0-9 and '-'")]
    Alphabet,
    #[error("expected a letter or a digit at both ends")]
    Ends,
    #[error("this name is reserved")]
    Reserved,
}

/// Ids that would read as "everybody", "nobody" or a store's own namespace.
const RESERVED: &[&str] = &[
    "admin",
    "all",
    "any",
    "default",
    "global",
    "main",
    "none",
    "null",
    "operator",
    "partywall",
    "pool",
    "postgres",
    "public",
    "root",
    "shared",
    "system",
    "template0",
    "template1",
    "tenant",
    "undefined",
];

/// The alphabet every name of ours shares; see [`TenantId`].
pub(crate) fn check_name(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    let fault = |why| Err(InvalidName { kind, why });
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > TenantId::MAX_LEN {
        return fault(NameFault::Length);
    }
    if !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return fault(NameFault::Alphabet);
    }
    if bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-') {
        return fault(NameFault::Ends);
    }
    Ok(())
}

/// The traits every parsed name shares: `TryFrom<String>`, `Into<String>`, `Display`.
macro_rules! parsed_name {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                name.parse()
            }
        }

        /// So that maps keyed by the name can be asked by its text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}
pub(crate) use parsed_name;

parsed_name!(TenantId, Slug, Tier);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t15_no_alias_of_a_tenant_parses() {
        for hostile in [
            "",
            "Acme",
            "ACME",
            "acme ",
            " acme",
            "acme\0",
            "acme\n",
            "acme/",
            "../acme",
            "acme.",
            "acme_2",
            "аcme",
            "ａcme",
            "acme\u{301}",
            "acme%00",
            "a'; DROP",
            "-acme",
            "acme-",
            "acme*",
            "${acme}",
            &"x".repeat(64),
        ] {
            assert!(hostile.parse::<TenantId>().is_err(), "{hostile:?} parsed");
        }
        // The control: the honest spelling does.
        assert_eq!("acme".parse::<TenantId>().unwrap().as_str(), "acme");
        assert!("x".repeat(63).parse::<TenantId>().is_ok());
    }

    #[test]
    fn t15_reserved_ids_are_refused_as_ids_and_fine_inside_one() {
        assert!(RESERVED.iter().all(|id| id.parse::<TenantId>().is_err()));
        assert!("public-2".parse::<TenantId>().is_ok());
    }

    proptest! {
        #[test]
        fn t15_what_parses_has_one_spelling(id in "\\PC{0,70}") {
            if let Ok(parsed) = id.parse::<TenantId>() {
                prop_assert_eq!(parsed.as_str(), &id);
                prop_assert_eq!(id.to_lowercase(), id.clone());
                prop_assert!(id.is_ascii());
            }
        }

        #[test]
        fn t15_serde_goes_through_the_parser(id in "[a-zA-Z0-9-]{0,70}") {
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<TenantId>(&json).is_ok(), id.parse::<TenantId>().is_ok());
        }
    }
}
