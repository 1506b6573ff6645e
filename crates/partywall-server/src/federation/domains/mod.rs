//! Proved domains: which organisation an address belongs to, as DNS says it (F-03, I-17).
//!
//! A tenant *claims* a domain and gets a value to publish in DNS. Once the value has been seen
//! there the domain is *proved*: people with an address at it may be sent to the tenant's own
//! identity provider. A domain is proved for one tenant at most; it is looked at again every day,
//! and a proof that is gone for a week is a proof no longer.

mod free_mail;
mod name;
#[cfg(test)]
#[path = "../../../tests/server/name_server.rs"]
pub(crate) mod name_server;
mod resolver;

pub use name::{DomainName, InvalidDomain};
pub(crate) use resolver::{Resolver, Seen};

/// What stands before a claim's token in the record: other services' values are told from ours.
const VALUE_PREFIX: &str = "partywall-domain-verification=";

/// The whole value of the record that proves a domain.
pub(crate) fn value_of(token: &str) -> String {
    format!("{VALUE_PREFIX}{token}")
}
