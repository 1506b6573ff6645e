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
//! ```
//! use std::sync::Arc;
//! use partywall::SystemClock;
//! use partywall_server::{
//!     Actor, ControlPlane, DatabaseConfig, NewMachine, NewTenant, Resources, SealingKey, SecretFile,
//!     Server, ServerConfig,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let config = ServerConfig::new(
//!     DatabaseConfig::Sqlite { path: dir.join("control.db") },
//!     SealingKey::read_or_create(&SecretFile::at(dir.join("sealing.key")))?,
//!     "http://127.0.0.1:8080".parse()?,
//!     Resources::new("https://api.example.com".parse()?, []),
//! );
//! let control = ControlPlane::open(config, Arc::new(SystemClock::default())).await?;
//!
//! let operator = Actor::Operator("ada@vendor.example".to_owned());
//! let acme = NewTenant::new("acme".parse()?, "free".parse()?, Default::default());
//! let acme = control.create_tenant(&operator, acme).await?;
//! let robot = NewMachine {
//!     name: "nightly export".to_owned(),
//!     roles: ["clerk".into()].into(),
//!     scopes: ["invoices:read".parse()?].into(),
//! };
//! let robot = control.create_machine(&operator, acme.id(), robot).await?;
//! println!("{} can now POST to /token", robot.client_id);
//!
//! let router = Server::new(control).router(); // or `serve(listener, shutdown)`
//! # let _: axum::Router = router;
//! # Ok(())
//! # }
//! ```
//!
//! No enforcement point needs this crate, and none may link it: they get along with public keys.

mod admin;
mod bundle;
mod config;
mod connections;
mod control;
mod federation;
mod health;
mod http;
mod keys;
mod login;
mod mail;
mod outbound;
mod portal;
mod provider;
mod random;
mod rate;
mod scim;
mod secret;
mod server;
mod storage;

pub use bundle::{CompileError, PublishedBundle};
pub use config::{
    BundlePolicy, ConfigError, Issuer, PasswordConfig, Rates, Resource, Resources, ServerConfig,
};
pub use control::{
    ADMIN_SCOPE, Account, AccountId, AccountStatus, Actor, Administrator, AdministratorPatch,
    ApiKey, ApiKeyCredentials, ApiKeyHolder, ApiKeyId, ApiKeyStatus, Application,
    ApplicationCredentials, ApplicationId, ApplicationPatch, ApplicationStatus, AuditRecord,
    BillingReference, Branding, ClientAuthentication, ClientId, ClientSecret, Connection,
    ConnectionId, ConnectionPatch, ConnectionRules, ConnectionStatus, ControlError, ControlPlane,
    Decoy, Domain, DomainSeen, DomainStatus, Email, Grant, IdentityProvider, Intent,
    InvalidAccount, InvalidApiKey, InvalidApplication, InvalidConnection, InvalidMachine,
    InvalidPolicy, InvalidProfile, InvalidScimToken, InvalidUser, KeyStep, LockPreview, Machine,
    MachineCredentials, MachinePatch, MachineStatus, Metadata, NewApiKey, NewApplication,
    NewConnection, NewMachine, NewOperatorKey, NewScimToken, NewSetupLink, NewTenant, NewUser,
    OidcProfile, OidcProvider, OpenError, OperatorKey, OperatorKeySecret, Registration,
    SamlProvider, ScimToken, ScimTokenCredentials, ScimTokenId, Scope, SecurityRecord,
    SessionRecord, SetupLink, SetupLinkAddress, SignInMethod, SignInPolicy, SignInSettings,
    SignedDecoy, SigningKeyRecord, TENANT_ADMIN, Tenant, TenantPatch, TenantProfile,
    UpstreamMultiFactor, User, UserId, UserPatch, UserStatus,
};
pub use federation::domains::{DomainName, InvalidDomain};
pub use keys::{
    KeyError, KeyPolicy, RingError, SealError, SealingKey, SigningAlgorithm, UnknownAlgorithm,
};
pub use login::{actions::Invitation, factors::password::HasherError};
pub use mail::{InvalidMail, MailConfig, MailError};
pub use provider::TenantHosts;
pub use random::RandomError;
pub use rate::{Proxies, Rate};
pub use secret::{Secret, SecretError, SecretFile, SecretSource};
pub use server::Server;
pub use storage::{DatabaseConfig, StorageError};
