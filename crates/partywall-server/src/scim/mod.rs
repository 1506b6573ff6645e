//! SCIM 2.0 (RFC 7643, RFC 7644): how a tenant's identity provider says who its users are, below
//! `/scim/{tenant}/{connection}/v2`, one connection at a time.

mod error;
mod filter;
mod patch;
mod path;
mod resource;
mod schema;

/// RFC 7644 section 3.1.
const MEDIA_TYPE: &str = "application/scim+json";
/// Nothing larger is read, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
