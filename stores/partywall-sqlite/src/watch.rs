//! What one walled connection knows about itself: shared by the authorizer, the SQL functions and
//! the progress handler that SQLite calls, and by the handle that asks afterwards.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use partywall::TenantId;
use rusqlite::types::ValueRef;

/// The tenant of a connection, and what went on while its last statement ran.
#[derive(Debug)]
pub(crate) struct Watch {
    tenant: TenantId,
    /// Whether the wall itself is speaking; then the authorizer stands back.
    ours: AtomicBool,
    born: Instant,
    /// When the running statement has had its time, in microseconds since `born`; 0 is never.
    deadline: AtomicU64,
    changed: AtomicU64,
    last: Mutex<Last>,
}

/// What the last statement did, as seen from outside of it.
#[derive(Debug, Default)]
pub(crate) struct Last {
    /// The first thing it asked for and was denied.
    pub(crate) denied: Option<String>,
    /// A row it met that is not the tenant's.
    pub(crate) foreign: Option<Foreign>,
    /// The views it reads base tables through.
    pub(crate) read: Vec<String>,
    /// The views whose rows it has looked at by the witness.
    pub(crate) witnessed: Vec<String>,
}

/// A row that is not the tenant's.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(crate) table: String,
    pub(crate) owner: String,
}

impl Watch {
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            ours: AtomicBool::new(false),
            born: Instant::now(),
            deadline: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Runs `speak` with the authorizer standing back.
    pub(crate) fn as_wall<T>(&self, speak: impl FnOnce() -> T) -> T {
        self.ours.store(true, Ordering::Relaxed);
        let said = speak();
        self.ours.store(false, Ordering::Relaxed);
        said
    }

    pub(crate) fn is_wall(&self) -> bool {
        self.ours.load(Ordering::Relaxed)
    }

    /// A statement begins, and has `limit` to end.
    pub(crate) fn start(&self, limit: Duration) {
        *self.last() = Last::default();
        self.changed.store(0, Ordering::Relaxed);
        let end = self.born.elapsed().saturating_add(limit).as_micros();
        self.deadline.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The statement ended: nobody counts its time any longer.
    pub(crate) fn stop(&self) {
        self.deadline.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_late(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != 0 && self.born.elapsed().as_micros() > u128::from(deadline)
    }

    /// Whether a row of `table` whose tenant column holds `owner` is this tenant's. Compares
    /// bytes, whatever SQLite's collation says.
    pub(crate) fn witness(&self, table: ValueRef<'_>, owner: ValueRef<'_>) -> bool {
        let own = matches!(owner, ValueRef::Text(id) if id == self.tenant.as_str().as_bytes());
        if !own {
            let table = table.as_str().unwrap_or_default().to_owned();
            let owner = match owner {
                ValueRef::Text(id) => String::from_utf8_lossy(id).into_owned(),
                other => format!("a value of type {}", other.data_type()),
            };
            self.last().foreign.get_or_insert(Foreign { table, owner });
        }
        own
    }

    pub(crate) fn count(&self, rows: u64) {
        self.changed.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub(crate) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    /// A view that gives out rows nobody has looked at (M-21).
    pub(crate) fn unwitnessed(&self) -> Option<&String> {
        self.read.iter().find(|view| !self.witnessed.contains(view))
    }
}
