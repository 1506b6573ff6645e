//! PostgreSQL behind Partywall: pool with an unforgeable tenant context, bridge and silo.

#[cfg(feature = "local")]
pub mod local;
mod pack;

pub use pack::{InitOptions, InvalidPackName, Roles, Table, migration};
