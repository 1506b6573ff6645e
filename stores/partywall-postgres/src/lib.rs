#![doc = include_str!("../README.md")]

mod bulk;
mod check;
mod door;
mod error;
mod flight;
#[cfg(feature = "local")]
pub mod local;
mod login;
mod pack;
mod pool;
pub mod provision;
mod questions;
mod session;
mod store;
mod targets;
mod ticket;
mod transaction;
mod wire;

pub use bulk::BulkInsert;
pub use check::{Finding, Severity, Unfit};
pub use error::PostgresError;
pub use flight::{Flight, SingleFlight};
pub use login::{CredentialSource, DerivedLogins, Login, NoCredentials};
pub use pack::{InitOptions, InvalidPackName, Roles, Table, migration, tenant_name};
pub use session::{SCRUB, SessionSettings};
pub use store::{BuildError, ConnectError, Postgres, PostgresBuilder, SessionCount};
pub use targets::{BridgeTarget, PoolTarget, SiloTarget};
pub use ticket::{Backend, Binder, TicketKey, TicketKeyLength};
pub use transaction::TenantTransaction;
pub use wire::DriverError;
