//! What can go wrong between a scope and a row.

use std::{path::PathBuf, time::Duration};

use partywall::{DeploymentModel, Placement, Target, TenantId};
use rusqlite::ErrorCode;

use crate::watch::{Foreign, Watch};

/// Why the store refused, or could not.
///
/// Written for the operator's log: the tenant learns that its request failed, and no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The placement names a target this process was not given a directory for.
    #[error("target {target} of the SQLite store is not configured here: give it a directory")]
    UnknownTarget {
        /// The target.
        target: Target,
    },
    /// There is no file at the placement. Opening never makes one (M-14).
    #[error("tenant {tenant} has no file for {placement} ({path}): provision it there")]
    NotProvisioned {
        /// The tenant.
        tenant: TenantId,
        /// Where it should be.
        placement: Placement,
        /// The missing file.
        path: PathBuf,
    },
    /// The file says that it belongs to somebody else, or is shared otherwise (M-14).
    #[error(
        "{path} was made for {found} and tenant {tenant} was about to be given it: \
         files or placements were swapped, put them back"
    )]
    WrongFile {
        /// The tenant that asked.
        tenant: TenantId,
        /// The file.
        path: PathBuf,
        /// What its inscription says.
        found: String,
    },
    /// A silo's directory is its tenant's own; a shared directory takes no silo.
    #[error("{path} is in the way of a {model}: give a silo a directory of its own")]
    DirectoryTaken {
        /// The model that was asked for.
        model: DeploymentModel,
        /// What lies there already.
        path: PathBuf,
    },
    /// The file is not one of ours.
    #[error("{path} is not a Partywall file: look what it is before you move it away")]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// The file's tables are not the ones of the schema.
    #[error(
        "{path} is at schema step {found}, the program at {wanted}: \
         provision the tenant to bring it forward"
    )]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The step the file is at.
        found: i64,
        /// The step the program expects.
        wanted: i64,
    },
    /// The steps agree, and what they made does not: a released step was edited, or somebody
    /// changed the file by hand.
    #[error("{path} has other tables, indexes, views or triggers than its schema steps make")]
    SchemaDiffers {
        /// The file.
        path: PathBuf,
    },
    /// A step leaves foreign keys that point nowhere.
    #[error("{path}: a schema step leaves rows of {table} without the rows they refer to")]
    DanglingKeys {
        /// The file.
        path: PathBuf,
        /// The table with such rows.
        table: String,
    },
    /// The tenant's SQL asked for something outside its wall.
    #[error("tenant {tenant} may not {what}: it reaches its own tables, under their plain names")]
    Refused {
        /// The tenant.
        tenant: TenantId,
        /// What the statement asked for.
        what: String,
    },
    /// The tenant's SQL contains a name the wall keeps for itself.
    #[error("tenant {tenant}: SQL may not contain `partywall_`; bind it as a value instead")]
    ReservedName {
        /// The tenant.
        tenant: TenantId,
    },
    /// A row of another tenant came up (M-21). The whole call failed and the handle is closed.
    #[error(
        "a row of {table} that belongs to {owner:?} came up for tenant {tenant}: \
         nothing was returned; find out how it got there"
    )]
    ForeignRow {
        /// The tenant that would have got it.
        tenant: TenantId,
        /// The table it is in.
        table: String,
        /// Whose it says it is.
        owner: String,
    },
    /// A view gives out rows without looking at whose they are (M-21).
    #[error("tenant {tenant}: rows of {view} come out without a check; nothing was returned")]
    Unwitnessed {
        /// The tenant.
        tenant: TenantId,
        /// The view that does not check.
        view: String,
    },
    /// The statement had its time.
    #[error("tenant {tenant}: a statement ran longer than {limit:?} and was stopped")]
    TimedOut {
        /// The tenant.
        tenant: TenantId,
        /// How long it may run.
        limit: Duration,
    },
    /// Another transaction holds the file, or changed it since this one first read. Nothing was
    /// written; the whole transaction can be tried again.
    #[error("tenant {tenant}: the file is busy with another transaction; try this one again")]
    Busy {
        /// The tenant.
        tenant: TenantId,
    },
    /// [`query_one`](crate::TenantTransaction::query_one) found none.
    #[error("tenant {tenant}: the query found no row")]
    NoRow {
        /// The tenant.
        tenant: TenantId,
    },
    /// One row was asked for and several are there.
    #[error("tenant {tenant}: the query found more than one row")]
    TooManyRows {
        /// The tenant.
        tenant: TenantId,
    },
    /// The transaction is over: a statement rolled it back, was cancelled, or met a foreign row.
    #[error(
        "tenant {tenant}: this transaction is over, rolled back by a statement before this one"
    )]
    Closed {
        /// The tenant.
        tenant: TenantId,
    },
    /// A directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tenant's SQL is wrong, or breaks a constraint, or the disk failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Error {
    /// Whether the same transaction may well succeed when tried again.
    pub fn is_transient(&self) -> bool {
        let busy = [Some(ErrorCode::DatabaseBusy), Some(ErrorCode::DatabaseLocked)];
        matches!(self, Self::Busy { .. })
            || matches!(self, Self::Sqlite(error) if busy.contains(&error.sqlite_error_code()))
    }

    /// Whether a UNIQUE, CHECK, NOT NULL or foreign key of the tenant's own tables said no.
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Sqlite(error)
            if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }

    pub(crate) fn foreign_row(tenant: &TenantId, Foreign { table, owner }: Foreign) -> Self {
        tracing::error!(
            tenant.id = %tenant, table, row.owner = owner, decision = "deny",
            "a row of another tenant came up"
        );
        Self::ForeignRow { tenant: tenant.clone(), table, owner }
    }

    pub(crate) fn refused(tenant: &TenantId, what: String) -> Self {
        tracing::warn!(
            tenant.id = %tenant, what, decision = "deny",
            "a statement asked for something outside its wall"
        );
        Self::Refused { tenant: tenant.clone(), what }
    }

    /// What SQLite's error means, given what the watch saw.
    pub(crate) fn of_statement(watch: &Watch, limit: Duration, error: rusqlite::Error) -> Self {
        let tenant = watch.tenant();
        let mut last = watch.last();
        if let Some(foreign) = last.foreign.take() {
            return Self::foreign_row(tenant, foreign);
        }
        if let Some(what) = last.denied.take() {
            return Self::refused(tenant, what);
        }
        let tenant = tenant.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::TimedOut { tenant, limit },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { tenant },
            _ => Self::Sqlite(error),
        }
    }
}
