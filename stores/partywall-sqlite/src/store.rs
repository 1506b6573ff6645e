//! The store: targets, connections, and whose they are.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use partywall::{Placement, Store, StoreName, Target, TenantId, TenantScope, Transactional};
use rusqlite::Connection;

use crate::{
    Error, Schema, TenantTransaction,
    file::{FileIdentity, Place, identity},
    wall::{prepare_own, raise},
    watch::Watch,
};

/// SQLite behind the wall. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

impl Sqlite {
    /// A store of that name with these tables, and no target yet.
    pub fn builder(name: StoreName, schema: Schema) -> SqliteBuilder {
        SqliteBuilder {
            name,
            schema: Arc::new(schema),
            targets: BTreeMap::new(),
            locking: Locking::OnWrite,
            busy_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            idle_connections: 64,
        }
    }

    /// Makes the file for a tenant at a placement, or brings it forward to the schema's last step.
    /// May be repeated. Nothing else makes files: opening a tenant that was not provisioned is an
    /// error (M-14).
    ///
    /// # Errors
    ///
    /// [`Error::WrongFile`] when the file is another tenant's, [`Error::DirectoryTaken`] when a
    /// silo would share its directory, and whatever SQLite or the system says.
    pub async fn provision(&self, tenant: &TenantId, placement: &Placement) -> Result<(), Error> {
        let (place, shared) = (self.shared.place(tenant, placement)?, Arc::clone(&self.shared));
        blocking(tenant, move || {
            if let Some(directory) = place.path.parent() {
                let io = |source| Error::Io { path: directory.to_owned(), source };
                fs::create_dir_all(directory).map_err(io)?;
            }
            let place = shared.place(&place.tenant, &place.placement)?;
            place.provision(&shared.schema, shared.busy_timeout)
        })
        .await
    }
}

impl Store for Sqlite {
    type Handle = TenantTransaction;
    type Error = Error;

    fn name(&self) -> &StoreName {
        &self.shared.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<TenantTransaction, Error> {
        let place = self.shared.place(scope.tenant(), scope.placement())?;
        let shared = Arc::clone(&self.shared);
        let opened = move || {
            let walled = shared.check_out(place)?;
            Ok(TenantTransaction::new(walled, shared))
        };
        blocking(scope.tenant(), opened).await
    }
}

impl Transactional for Sqlite {
    async fn commit(handle: TenantTransaction) -> Result<(), Error> {
        handle.commit().await
    }
}

/// Says where the targets are, and how patient the store is.
#[derive(Clone, Debug)]
pub struct SqliteBuilder {
    name: StoreName,
    schema: Arc<Schema>,
    targets: BTreeMap<Target, PathBuf>,
    locking: Locking,
    busy_timeout: Duration,
    statement_timeout: Duration,
    idle_connections: usize,
}

impl SqliteBuilder {
    /// Puts a target's files into `directory`.
    #[must_use]
    pub fn target(mut self, target: Target, directory: impl Into<PathBuf>) -> Self {
        self.targets.insert(target, directory.into());
        self
    }

    /// When a transaction takes the file's one write lock; [`Locking::OnWrite`] unless said.
    #[must_use]
    pub fn locking(mut self, locking: Locking) -> Self {
        self.locking = locking;
        self
    }

    /// How long a transaction waits for another one's lock; 5 seconds unless said.
    #[must_use]
    pub fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// How long one statement may run; 5 seconds unless said.
    #[must_use]
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = limit;
        self
    }

    /// How many connections are kept between transactions, over all tenants; 64 unless said. One
    /// is kept for its tenant only.
    #[must_use]
    pub fn idle_connections(mut self, most: usize) -> Self {
        self.idle_connections = most;
        self
    }

    /// The store. Touches no file.
    pub fn build(self) -> Sqlite {
        let Self {
            name,
            schema,
            targets,
            locking,
            busy_timeout,
            statement_timeout,
            idle_connections,
        } = self;
        let idle = Mutex::new(VecDeque::new());
        let shared = Shared {
            name,
            schema,
            targets,
            locking,
            busy_timeout,
            statement_timeout,
            idle_connections,
            idle,
        };
        Sqlite { shared: Arc::new(shared) }
    }
}

/// When a transaction takes the write lock. SQLite has one per file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Locking {
    /// At its first write. Readers never wait; a transaction that read before another one
    /// committed, and now wants to write, gets [`Error::Busy`] and starts again.
    OnWrite,
    /// At once. Transactions on one file run one after another, readers too, and none that began
    /// has to start again.
    OnOpen,
}

/// What handles share with their store.
#[derive(Debug)]
pub(crate) struct Shared {
    name: StoreName,
    schema: Arc<Schema>,
    targets: BTreeMap<Target, PathBuf>,
    locking: Locking,
    busy_timeout: Duration,
    statement_timeout: Duration,
    idle_connections: usize,
    /// The latest used stands last.
    idle: Mutex<VecDeque<Walled>>,
}

impl Shared {
    fn place(&self, tenant: &TenantId, placement: &Placement) -> Result<Place, Error> {
        let target = &placement.target;
        let directory = self
            .targets
            .get(target)
            .ok_or_else(|| Error::UnknownTarget { target: target.clone() })?;
        // A link to the directory is the operator's business; one to a file inside it is not.
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
        Ok(Place::new(&directory, tenant, placement))
    }

    /// A connection of this tenant's, with a transaction begun on it.
    fn check_out(&self, place: Place) -> Result<Walled, Error> {
        let walled = match self.idle_for(&place) {
            Some(walled) => walled,
            None => self.connect(place)?,
        };
        walled.begin(self.locking, &self.schema)?;
        Ok(walled)
    }

    fn connect(&self, place: Place) -> Result<Walled, Error> {
        let file = identity(&place.path);
        let db = place.open(&self.schema, self.busy_timeout)?;
        let watch = raise(&db, &self.schema, &place.tenant)?;
        Ok(Walled { db, watch, place, file, statement_timeout: self.statement_timeout })
    }

    /// A connection serves one tenant all its life: temporary objects, `last_insert_rowid()`, and
    /// whatever else SQLite keeps per connection never reach another. Kept ones are worth it: open,
    /// one read and drop take 0.1 ms, and 1.1 ms with a connection of its own (debug build).
    fn idle_for(&self, place: &Place) -> Option<Walled> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(|walled| walled.place == *place)?;
        let walled = idle.remove(at)?;
        drop(idle);
        (walled.file.is_some() && walled.file == identity(&place.path)).then_some(walled)
    }

    /// Keeps a connection whose transaction is over for its tenant's next one.
    pub(crate) fn keep(&self, walled: Walled) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(walled);
        let surplus = (idle.len() > self.idle_connections).then(|| idle.pop_front());
        drop(idle);
        drop(surplus); // closing a file takes a while: not under the lock
    }
}

/// A connection with the wall up.
#[derive(Debug)]
pub(crate) struct Walled {
    pub(crate) db: Connection,
    pub(crate) watch: Arc<Watch>,
    pub(crate) statement_timeout: Duration,
    place: Place,
    file: Option<FileIdentity>,
}

impl Walled {
    fn begin(&self, locking: Locking, schema: &Schema) -> Result<(), Error> {
        let begin = match locking {
            Locking::OnWrite => "BEGIN DEFERRED",
            Locking::OnOpen => "BEGIN IMMEDIATE",
        };
        self.watch.as_wall(|| {
            // Before BEGIN: a transaction that has read nothing yet may wait for the lock.
            self.place.check_inscription(&self.db)?;
            self.place.check_rows(&self.db, schema)?;
            self.speak(begin)
        })
    }

    pub(crate) fn commit(&self) -> Result<(), Error> {
        self.watch.as_wall(|| self.speak("COMMIT"))
    }

    pub(crate) fn rollback(&self) -> Result<(), Error> {
        self.watch.as_wall(|| self.speak("ROLLBACK"))
    }

    /// `INSERT OR ROLLBACK`, and some failures, end a transaction without asking anybody.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.db.is_autocommit()
    }

    fn speak(&self, sql: &str) -> Result<(), Error> {
        self.watch.start(Duration::MAX);
        let done = prepare_own(&self.db, sql).and_then(|mut statement| statement.raw_execute());
        self.watch.stop();
        done.map(drop)
            .map_err(|error| Error::of_statement(&self.watch, self.statement_timeout, error))
    }
}

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    tenant: &TenantId,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Closed { tenant: tenant.clone() }))
}
