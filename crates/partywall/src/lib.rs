//! The wall between your tenants.
//!
//! ```text
//! signed token ─► TenantContext ─► authorization ─► placement ─► Scoped<Store>
//! ```
//!
//! This crate is the enforcement point: what a SaaS application depends on. It holds public keys
//! only, links no driver, and asks nobody on a request's path.
//!
//! - [`Partywall`] turns an [`AccessToken`] into a [`TenantContext`], deciding from the latest
//!   [signed bundle](bundle).
//! - [`TenantContext::open`] turns a [`Store`] into a [`Scoped`] handle that reaches this tenant's
//!   data and no other's.
//! - [`carry`] takes the context along into spawned work and through queues.
//! - With the feature `axum`, [`Partywall::layer`](axum) does all of this for a router.
//!
//! Each of these types can be made in one way only, so a handler that names one in its arguments
//! cannot run without what it proves.

mod admission;
#[cfg(feature = "axum")]
pub mod axum;
pub mod bundle;
pub mod carry;
mod clock;
mod context;
#[cfg(feature = "tokio")]
mod follow;
pub mod manual;
mod placement;
mod principal;
mod store;
mod tenant;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;
#[cfg(feature = "http")]
mod upkeep;
mod wall;

pub use admission::Refusal;
pub use carry::NoTenant;
pub use clock::{Clock, FixedClock, SystemClock, Timestamp};
pub use context::{Identity, TenantContext};
pub use placement::{DeploymentModel, Placement, Placements, Region, StoreName, Target};
pub use principal::{InvalidSubject, Principal, Role, SubjectId};
pub use store::{OpenError, Scoped, Store, TenantScope, Transactional};
pub use tenant::{InvalidName, Slug, TenantId, TenantStatus, Tier};
pub use token::AccessToken;
pub use wall::{BuildError, Builder, Partywall};
