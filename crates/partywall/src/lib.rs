//! The wall between your tenants.
//!
//! ```text
//! signed token ─► TenantContext ─► authorization ─► placement ─► Scoped<Store>
//! ```

mod clock;
mod placement;
mod principal;
mod store;
mod tenant;

pub use clock::{Clock, FixedClock, SystemClock, Timestamp};
pub use placement::{DeploymentModel, Placement, Placements, Region, StoreName, Target};
pub use principal::{InvalidSubject, Principal, Role, SubjectId};
pub use store::{OpenError, Scoped, Store, TenantScope, Transactional};
pub use tenant::{InvalidName, Slug, TenantId, TenantStatus, Tier};
