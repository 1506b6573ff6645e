//! Pages to read beside the reference.
//!
//! - [`tokens`]: how access tokens have been forged and confused in the field, what this verifier
//!   does about each way, and the test that shows it.

pub mod tokens;
