//! The command line, as the binary that people run.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test cannot do without ends the test"
)]

mod admin;
mod check;
mod harness;
mod lint;
mod postgres;
mod prove_reports;
mod prove_verify;
mod saml;
mod serve;
mod usage;
mod verify;
