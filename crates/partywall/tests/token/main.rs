//! The token verifier against everything we know tokens have been forged with.
//!
//! Each attack is paired with the honest token that differs from it in the one thing attacked, and
//! where it can be, with a verifier used the ordinary way ([`support::naive`]) that lets it in.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "helpers of tests report by panicking, as tests do"
)]

mod artefacts;
mod assertions;
mod claims;
mod envoy;
mod header;
mod id_tokens;
mod keys;
mod manual;
mod mutations;
mod profiles;
mod refresh;
mod shape;
mod support;
mod tenants;
