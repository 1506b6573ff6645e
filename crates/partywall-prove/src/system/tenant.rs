//! Who attacks and who is attacked, and where their tokens come from.

use std::{collections::BTreeMap, error::Error, fmt, future::Future};

use partywall::TenantId;

/// A tenant of the running system: attacker in its turn, and victim in the others'.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id, as tokens carry it.
    pub id: TenantId,
    /// Its readable name, as hosts and paths carry it: the slug.
    pub name: String,
    /// Things of its own that are there already, by the collection or the path parameter they
    /// belong to: `/invoices` or `invoice_id`. Needed where nothing may be planted.
    pub ids: BTreeMap<String, String>,
}

impl Tenant {
    /// A tenant of which nothing is known but id and name.
    pub fn new(id: TenantId, name: impl Into<String>) -> Self {
        Self { id, name: name.into(), ids: BTreeMap::new() }
    }

    /// Names one of its things: `owning("/invoices", "0190…")`.
    #[must_use]
    pub fn owning(mut self, of: impl Into<String>, id: impl Into<String>) -> Self {
        self.ids.insert(of.into(), id.into());
        self
    }
}

/// An access token. It cannot be printed, and no report ever holds one.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes the text that goes after `Bearer`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A token signed with the real key that nobody may accept, and why not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Decoy {
    /// It expired, longer ago than any clock may be off.
    Expired,
    /// It becomes valid later.
    NotYetValid,
    /// It is for another service.
    OtherAudience,
    /// It names another issuer.
    OtherIssuer,
    /// It is of another kind: an ID token.
    OtherType,
    /// It was revoked.
    Revoked,
    /// It is from before its tenant's tokens were revoked all at once.
    StaleEpoch,
    /// Its tenant is suspended.
    Suspended,
    /// Its tenant never was.
    UnknownTenant,
    /// It names two tenants.
    TwoTenants,
    /// It names none.
    NoTenant,
    /// It names its tenant twice, first another and then its own.
    RepeatedClaim,
}

impl Decoy {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Expired,
        Self::NotYetValid,
        Self::OtherAudience,
        Self::OtherIssuer,
        Self::OtherType,
        Self::Revoked,
        Self::StaleEpoch,
        Self::Suspended,
        Self::UnknownTenant,
        Self::TwoTenants,
        Self::NoTenant,
        Self::RepeatedClaim,
    ];
}

/// Where tokens come from.
pub trait Issuer: Send + Sync {
    /// A good access token of a user or machine of `tenant`, allowed to do what its users do.
    ///
    /// # Errors
    ///
    /// When there is none to be had; without it nothing is tried.
    fn token(&self, tenant: &TenantId) -> impl Future<Output = Result<Token, IssuerError>> + Send;

    /// A token of `tenant` with that one defect, or `None` where this issuer makes no such token:
    /// the attack is then reported as not tested.
    ///
    /// # Errors
    ///
    /// When it was tried and failed; the attack is then undecided.
    fn decoy(
        &self,
        tenant: &TenantId,
        decoy: Decoy,
    ) -> impl Future<Output = Result<Option<Token>, IssuerError>> + Send;
}

/// No token was to be had.
#[derive(Debug)]
pub struct IssuerError(Box<dyn Error + Send + Sync>);

impl IssuerError {
    /// Wraps whatever was in the way. Its text stands in reports: no secrets.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for IssuerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
