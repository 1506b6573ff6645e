//! Partywall's control plane and identity provider: the only holder of private keys.
//!
//! ```text
//! change ─► rows + audit event + generation (one transaction) ─► signed bundle ─► enforcement points
//! client credentials ─► machine ─► its one tenant ─► access token (RFC 9068)
//! ```
//!
//! - [`ControlPlane`] keeps tenants, machines, keys and revocations, in SQLite or PostgreSQL.
//! - [`Server`] answers over HTTP: discovery, key set, token endpoint, bundle.
//!
//! No enforcement point needs this crate, and none may link it: they get along with public keys.

mod bundle;
mod config;
mod control;
mod http;
mod keys;
mod provider;
mod random;
mod secret;
mod server;
mod storage;

pub use bundle::{CompileError, PublishedBundle};
pub use config::{BundlePolicy, ConfigError, Issuer, Resource, Resources, ServerConfig};
pub use control::{
    Actor, Administrator, AuditRecord, BillingReference, ClientId, ClientSecret, ControlError,
    ControlPlane, InvalidMachine, InvalidProfile, Machine, MachineCredentials, MachineStatus,
    Metadata, NewMachine, NewTenant, OpenError, Scope, Tenant, TenantProfile,
};
pub use keys::{
    KeyError, KeyPolicy, RingError, SealError, SealingKey, SigningAlgorithm, UnknownAlgorithm,
};
pub use random::RandomError;
pub use secret::{Secret, SecretError, SecretFile, SecretSource};
pub use server::Server;
pub use storage::{DatabaseConfig, StorageError};
