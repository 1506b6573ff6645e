//! Who the identity provider says signed in.

use std::time::SystemTime;

/// What a connection's identity provider said and signed, for us, for this request and this time.
///
/// Made by [`Connection::verify`](crate::Connection::verify) alone, from the bytes the signature
/// covers. It is good for one use: whether [`id`](Self::id) was seen before is for the caller to
/// find out (S-10).
///
/// Nothing else makes one, or changes one:
///
/// ```compile_fail
/// fn somebody_else(alice: partywall_saml::Assertion) -> partywall_saml::Assertion {
///     partywall_saml::Assertion { id: "_forged".to_owned(), ..alice }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) name_id: NameId,
    pub(crate) in_response_to: Option<String>,
    pub(crate) authn_instant: SystemTime,
    pub(crate) authn_context: Option<String>,
    pub(crate) session_index: Option<String>,
    pub(crate) session_not_on_or_after: Option<SystemTime>,
    pub(crate) usable_until: SystemTime,
    pub(crate) attributes: Vec<Attribute>,
}

/// The name an identity provider has for a person, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameId {
    /// The name itself.
    pub value: String,
    /// What kind of name, a URI (saml-core 8.3).
    pub format: Option<String>,
    /// By whom the name is given, if not by the issuer.
    pub name_qualifier: Option<String>,
    /// For whom it is given; never another service provider.
    pub sp_name_qualifier: Option<String>,
}

impl NameId {
    /// A name of no stated format, whose other parts can be set.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { value, format: None, name_qualifier: None, sp_name_qualifier: None }
    }
}

/// Something the identity provider says of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attribute {
    /// Its name, unique in the assertion.
    pub name: String,
    /// Its values, in their order.
    pub values: Vec<String>,
}

impl Assertion {
    /// The assertion's ID, to be remembered until [`usable_until`](Self::usable_until).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identity provider's entity ID.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The person.
    #[must_use]
    pub fn name_id(&self) -> &NameId {
        &self.name_id
    }

    /// The request that was answered; `None` if the identity provider began.
    #[must_use]
    pub fn in_response_to(&self) -> Option<&str> {
        self.in_response_to.as_deref()
    }

    /// When the person showed the identity provider who it is.
    #[must_use]
    pub fn authn_instant(&self) -> SystemTime {
        self.authn_instant
    }

    /// How (`AuthnContextClassRef`), if the identity provider says.
    #[must_use]
    pub fn authn_context(&self) -> Option<&str> {
        self.authn_context.as_deref()
    }

    /// The identity provider's name for the session, by which it ends it.
    #[must_use]
    pub fn session_index(&self) -> Option<&str> {
        self.session_index.as_deref()
    }

    /// When a session of this sign-in must end.
    #[must_use]
    pub fn session_not_on_or_after(&self) -> Option<SystemTime> {
        self.session_not_on_or_after
    }

    /// From when on [`Connection::verify`](crate::Connection::verify) refuses this assertion anyway.
    #[must_use]
    pub fn usable_until(&self) -> SystemTime {
        self.usable_until
    }

    /// What else is said of the person.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }
}
