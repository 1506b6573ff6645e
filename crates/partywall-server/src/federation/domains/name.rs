//! Domain names, as they are claimed, stored and compared: one spelling each (I-19).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::Host;

use super::free_mail;
use crate::control::Email;

/// A name that an organisation can have for itself: A-labels (RFC 5890 2.3.2.1) in lower case, at
/// least two of them, without a dot at the end, and not a public suffix.
///
/// Compared as text, whole: `example.com` is neither `www.example.com` nor `badexample.com`.
///
/// ```
/// use partywall_server::DomainName;
///
/// assert_eq!("Bücher.Example".parse::<DomainName>()?.as_str(), "xn--bcher-kva.example");
/// assert!("co.uk".parse::<DomainName>().is_err());
/// # Ok::<(), partywall_server::InvalidDomain>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

impl DomainName {
    /// The name, as it is in DNS.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the record stands that proves it: at a label of its own (RFC 8552), which nobody has
    /// who may only make hosts below the domain.
    pub fn challenge_name(&self) -> String {
        format!("{CHALLENGE_LABEL}.{}", self.0)
    }

    /// The domain of an address, if it is one that can be claimed at all.
    pub(crate) fn of(email: &Email) -> Option<Self> {
        email.domain().parse().ok()
    }

    /// A name that was read from the database, where only [`FromStr`] lets it in. The list of public
    /// suffixes grows; what was proved before stays what it is.
    pub(crate) fn stored(name: &str) -> Option<Self> {
        spelling(name).ok().filter(|spelled| spelled == name).map(Self)
    }

    /// Whether everybody can have an address there: of a provider on our list, or on the
    /// operator's.
    pub(crate) fn is_free_mail(&self, denied_by_operator: &[Self]) -> bool {
        let is_or_is_below = |listed: &str| {
            self.0.strip_suffix(listed).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        free_mail::names().any(is_or_is_below)
            || denied_by_operator.iter().any(|listed| is_or_is_below(&listed.0))
    }
}

impl FromStr for DomainName {
    type Err = InvalidDomain;

    fn from_str(name: &str) -> Result<Self, InvalidDomain> {
        let name = spelling(name)?;
        // ICANN's section and the private one: below either, neighbours are strangers. The list
        // has the names of either spelling.
        if psl::suffix_str(&name) == Some(name.as_str()) {
            return Err(InvalidDomain::PublicSuffix);
        }
        Ok(Self(name))
    }
}

/// The one spelling of a name (UTS 46, as browsers read the host of an address).
fn spelling(name: &str) -> Result<String, InvalidDomain> {
    // A host's percent signs would be decoded, and its port is none of ours.
    if name.len() > 4 * MAX_LENGTH || name.contains(['%', ':', '[', ' ']) {
        return Err(InvalidDomain::Name);
    }
    let Ok(Host::Domain(name)) = Host::parse(name) else { return Err(InvalidDomain::Name) };
    let labels = name.split('.');
    let sound = name.len() <= MAX_LENGTH && labels.clone().count() >= 2 && {
        let mut labels = labels;
        labels.all(is_label)
    };
    if sound { Ok(name) } else { Err(InvalidDomain::Name) }
}

/// RFC 5890 2.3.1: letters, digits and hyphens, none of them at an end.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl TryFrom<String> for DomainName {
    type Error = InvalidDomain;

    fn try_from(name: String) -> Result<Self, InvalidDomain> {
        name.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a domain cannot be claimed, whoever asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDomain {
    /// Not a domain name.
    #[error(
        "not a domain name: expected at least two labels of letters, digits and hyphens, such as example.com, without a dot at the end"
    )]
    Name,
    /// Strangers have names below it.
    #[error(
        "anybody can have a name below that one (publicsuffix.org): claim your own, such as acme.co.uk"
    )]
    PublicSuffix,
    /// Strangers have addresses at it.
    #[error("anybody can have an address at that domain: it speaks for no organisation")]
    FreeMail,
}

const CHALLENGE_LABEL: &str = "_partywall-challenge";
/// RFC 1035 2.3.4, written with dots.
const MAX_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(name: &str) -> Result<String, InvalidDomain> {
        name.parse::<DomainName>().map(String::from)
    }

    #[test]
    fn i19_a_domain_has_one_spelling() {
        for (typed, kept) in [
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            // Decomposed, full width, and an ideographic full stop (UTS 46 4).
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("ｅｘａｍｐｌｅ.com", "example.com"),
            ("example。com", "example.com"),
            ("a.b.example.co.uk", "a.b.example.co.uk"),
            ("1.example.com", "1.example.com"),
        ] {
            assert_eq!(parsed(typed).as_deref(), Ok(kept), "{typed}");
        }
        let longest = format!("{0}.{0}.{0}.{1}.com", "a".repeat(63), "b".repeat(57));
        assert_eq!(longest.len(), 253);
        assert!(parsed(&longest).is_ok());
        for refused in [
            "",
            ".",
            "com",
            "localhost",
            "example.com.",
            ".example.com",
            "example..com",
            "-a.example.com",
            "a-.example.com",
            "*.example.com",
            "a_b.example.com",
            "_partywall-challenge.example.com",
            "ex ample.com",
            " example.com",
            "example.com\n",
            "example.com\0",
            "exa%6dple.com",
            "example.com:25",
            "user@example.com",
            "example.com/",
            "192.0.2.1",
            "0x7f.1",
            "127.1",
            "[2001:db8::1]",
            "2001:db8::1",
            "xn--a.example.com",
            "xn--.example.com",
            &format!("{}.com", "a".repeat(64)),
            &format!("c{longest}"),
        ] {
            assert_eq!(parsed(refused), Err(InvalidDomain::Name), "{refused:?}");
        }
    }

    #[test]
    fn i17_a_public_suffix_is_nobodys() {
        for suffix in [
            "co.uk",
            "com.au",
            "github.io",
            "s3.amazonaws.com",
            "herokuapp.com",
            "blogspot.com",
            "foo.ck", // *.ck
            "個人.hk",
            "xn--mk0axi.hk",
            "公司.cn",
            "xn--55qx5d.cn",
        ] {
            assert_eq!(parsed(suffix), Err(InvalidDomain::PublicSuffix), "{suffix}");
        }
        for own in ["acme.co.uk", "acme.github.io", "www.ck", "acme.個人.hk", "acme.test"] {
            assert!(parsed(own).is_ok(), "{own}");
        }
        assert!("com".parse::<DomainName>().is_err(), "a single label, listed or not");
    }

    #[test]
    fn i17_what_everybody_has_an_address_at_is_nobodys() {
        let free = |name: &str, operators: &[DomainName]| {
            name.parse::<DomainName>().unwrap().is_free_mail(operators)
        };
        for name in ["gmail.com", "GMail.com", "outlook.com", "yahoo.co.jp", "x.gmail.com"] {
            assert!(free(name, &[]), "{name}");
        }
        for name in ["example.com", "badgmail.com", "gmail.com.example.com"] {
            assert!(!free(name, &[]), "{name}");
        }
        let operators = ["club.example".parse().unwrap()];
        assert!(free("club.example", &operators) && free("a.club.example", &operators));
        assert!(!free("myclub.example", &operators));
    }

    #[test]
    fn i19_an_address_is_of_exactly_one_domain() {
        let of = |address: &str| DomainName::of(&address.parse().unwrap()).map(String::from);
        assert_eq!(of("ada@Example.com").as_deref(), Some("example.com"));
        assert_eq!(of("a@b.example.com").as_deref(), Some("b.example.com"));
        assert_eq!(of("ada@localhost"), None);
        assert_eq!(of("ada@github.io"), None);
    }

    proptest! {
        #[test]
        fn i19_what_is_kept_reads_as_itself(name in "\\PC{0,40}(\\.\\PC{1,20}){0,3}") {
            if let Ok(name) = name.parse::<DomainName>() {
                let again = name.as_str().parse::<DomainName>();
                prop_assert_eq!(again.as_ref(), Ok(&name));
                prop_assert_eq!(DomainName::stored(name.as_str()), Some(name.clone()));
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase()
                    || b.is_ascii_digit() || b == b'-' || b == b'.'));
                prop_assert!(name.as_str().contains('.') && name.as_str().len() <= 253);
            }
        }
    }
}
