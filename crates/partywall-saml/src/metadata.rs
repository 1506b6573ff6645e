//! Metadata (saml-metadata): ours to give away, and an identity provider's to read.

mod sp;

pub use sp::SpMetadata;

/// `md`, the namespace.
const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
