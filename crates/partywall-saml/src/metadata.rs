//! Metadata (saml-metadata): ours to give away, and an identity provider's to read.

mod idp;
mod sp;
mod trust;
mod url;

pub use idp::{Endpoint, IdpMetadata, Import, MetadataError};
pub use sp::SpMetadata;
pub use trust::{Change, ChangeKind, Trust, Trusted};

/// `md`, the namespace.
const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
