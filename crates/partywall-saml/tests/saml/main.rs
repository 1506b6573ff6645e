//! Responses as they arrive, and what is believed of them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions; what fails there fails the test"
)]

mod book;
mod encryption;
mod judges;
mod known;
mod logout;
mod metadata;
mod mutation;
mod naive;
mod protocol;
mod request;
mod schema;
mod signature;
mod support;
mod vectors;
mod wrapping;
mod xml;
mod xmlsec1;
