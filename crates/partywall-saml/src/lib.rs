//! SAML 2.0 for a service provider that believes as little as it can.
//!
//! ```text
//! bytes ─► limits ─► one parse ─► places ─► exclusive C14N ─► signature ─► the signed bytes
//!                                                                            │ parsed again
//!                                                       Assertion ◄─ rules ◄─┘
//! ```
//!
//! [`Connection::verify`] is the one way in for a person and [`Assertion`] the one way out. Who it
//! is is read only from the canonical bytes whose digest was verified, never from the message around
//! them, so that there is nothing to wrap. Anything unusual is [`Refused`], with the rule and the
//! element for the connection's administrator.
//!
//! Logout messages go the same way ([`Connection::verify_logout_request`]). What we send is made by
//! [`AuthnRequest`], [`LogoutRequest`] and [`LogoutResponse`], signed by a [`Signer`]; trust is set
//! up with [`SpMetadata`], ours, and [`IdpMetadata`], theirs, whose [`Trust`] says what it would
//! change.
//!
//! No network, no clock, no storage: what a verdict depends on is passed in, and whether an
//! assertion was used before is for the caller to remember ([`Assertion::usable_until`]).

mod assertion;
mod binding;
mod canonical;
mod certificate;
mod connection;
mod decrypt;
mod instant;
mod limits;
mod logout;
mod metadata;
mod query;
mod refused;
mod request;
mod response;
mod rules;
mod self_signed;
mod signature;
mod signer;
mod write;
mod xml;

pub use assertion::{Assertion, Attribute, NameId};
pub use binding::Binding;
pub use certificate::{Certificate, CertificateError};
pub use connection::{Connection, ConnectionError, Settings};
pub use decrypt::{DecryptionKey, DecryptionKeyError};
pub use logout::{
    ExpectedLogout, LogoutRequest, LogoutResponse, LogoutStatus, Received, VerifiedLogoutRequest,
    VerifiedLogoutResponse,
};
pub use metadata::{
    Change, ChangeKind, Endpoint, IdpMetadata, Import, MetadataError, SpMetadata, Trust, Trusted,
};
pub use refused::{Refused, Rule};
pub use request::AuthnRequest;
pub use response::Expected;
pub use signer::{Signer, SignerError};
