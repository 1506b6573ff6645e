//! Why a tenant could not be served.

use std::time::Duration;

use partywall::{DeploymentModel, StoreName, Target, TenantId};

use crate::{login::NoCredentials, wire::DriverError};

/// Why a handle could not be had, or a commit not be promised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The placement names a target this process does not know. Never a default (M-14).
    #[error(
        "tenant {tenant} is placed at {target}, which store {store} does not have: add the target to the configuration, or correct the placement"
    )]
    UnknownTarget {
        /// The store.
        store: StoreName,
        /// The tenant.
        tenant: TenantId,
        /// The target it is placed at.
        target: Target,
    },
    /// The placement and the configuration disagree about the model.
    #[error(
        "tenant {tenant} is placed as {placed} at {target}, which store {store} has as {configured}: correct one of them"
    )]
    OtherModel {
        /// The store.
        store: StoreName,
        /// The tenant.
        tenant: TenantId,
        /// The target.
        target: Target,
        /// What the placement says.
        placed: DeploymentModel,
        /// What the configuration says.
        configured: DeploymentModel,
    },
    /// The placement sends a tenant into another's silo (M-12).
    #[error(
        "tenant {tenant} is placed at {target}, which is another tenant's silo: correct the placement"
    )]
    ForeignSilo {
        /// The tenant that was sent there.
        tenant: TenantId,
        /// The silo.
        target: Target,
    },
    /// Every session was in use for too long.
    #[error(
        "no session at {target} became free in {waited:?}: more slots, or shorter transactions"
    )]
    PoolTimedOut {
        /// The target.
        target: Target,
        /// How long was waited.
        waited: Duration,
    },
    /// The tenant has no login of its own.
    #[error("at {target}: {source}")]
    Credentials {
        /// The target.
        target: Target,
        /// What the source said.
        source: NoCredentials,
    },
    /// The server could not be reached, or did not let the role in.
    #[error("role {role} could not connect to database {database} at {target}: {source}")]
    Connect {
        /// The target.
        target: Target,
        /// The role.
        role: String,
        /// The database.
        database: String,
        /// What the driver said.
        source: DriverError,
    },
    /// A pooler stands between us and the server, and the target is configured without one.
    #[error(
        "a connection pooler stands between this process and {target}: configure the target as behind a pooler (strict mode)"
    )]
    PoolerInBetween {
        /// The target.
        target: Target,
    },
    /// The role could step over any wall: superuser, BYPASSRLS, CREATEROLE or REPLICATION (T-05).
    #[error(
        "role {role} at {target} is superuser, or has BYPASSRLS, CREATEROLE or REPLICATION, and no wall holds it: ALTER ROLE \"{role}\" NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION"
    )]
    TooPowerful {
        /// The target.
        target: Target,
        /// The role.
        role: String,
    },
    /// The transaction could not be begun and bound.
    #[error("no transaction at {target}: {source}")]
    Begin {
        /// The target.
        target: Target,
        /// What the driver said.
        source: DriverError,
    },
    /// The commit failed, or its answer was lost: the writes may not be lasting.
    #[error("the commit at {target} is not certain: {source}")]
    Commit {
        /// The target.
        target: Target,
        /// What the driver said.
        source: DriverError,
    },
    /// A single flight failed; nothing of it was kept.
    #[error("at {target}: {source}")]
    Flight {
        /// The target.
        target: Target,
        /// What the driver said.
        source: DriverError,
    },
    /// No single flights leave from here.
    #[error(
        "{target} has no single flights: they need a pool target in direct mode with flight slots"
    )]
    NoFlights {
        /// The target.
        target: Target,
    },
    /// The handle no longer holds the connection it was given: somebody swapped it.
    #[error(
        "the handle's connection at {target} was exchanged for another: use the handle as it is"
    )]
    Exchanged {
        /// The target.
        target: Target,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
