//! The store: targets, connections, and whose they are.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use partywall::{Placement, Store, StoreName, Target, TenantId, TenantScope, Transactional};
use rusqlite::Connection;
use tokio::sync::OwnedMutexGuard;

use crate::{
    Error, Schema, TenantTransaction,
    file::{FileIdentity, Place, identity, make_directory},
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
            locking: Locking::OnOpen,
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
                make_directory(directory).map_err(io)?;
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
        let turn = self.shared.wait_for_turn(&place).await?;
        let shared = Arc::clone(&self.shared);
        let opened = move || {
            let walled = shared.check_out(place)?;
            Ok(TenantTransaction::new(walled, shared, turn))
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

    /// When a transaction takes the file's one write lock; [`Locking::OnOpen`] unless said.
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
        let (idle, queues) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            name,
            schema,
            targets,
            locking,
            busy_timeout,
            statement_timeout,
            idle_connections,
            idle,
            queues,
        };
        Sqlite { shared: Arc::new(shared) }
    }
}

/// When a transaction takes the write lock. SQLite has one per file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Locking {
    /// At once. Transactions on one file run one after another, in the order they came, readers
    /// too; none that began has to start again. Commit, or drop the handle, before waiting for
    /// anything slow.
    OnOpen,
    /// At its first write. Readers never wait; a transaction that read before another one
    /// committed, and now wants to write, gets [`Error::Busy`] and has to start again.
    OnWrite,
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
    /// One per file, for [`Locking::OnOpen`]. Were the waiting left to SQLite, it would take the
    /// threads that the transaction waited for needs to go on.
    queues: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to be the one transaction on a file, among those of this store.
pub(crate) type Turn = Option<OwnedMutexGuard<()>>;

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

    async fn wait_for_turn(&self, place: &Place) -> Result<Turn, Error> {
        if self.locking == Locking::OnWrite {
            return Ok(None);
        }
        let turn = self.queue(&place.path).lock_owned();
        let turn = tokio::time::timeout(self.busy_timeout, turn).await;
        turn.map(Some).map_err(|_| Error::Busy { tenant: place.tenant.clone() })
    }

    fn queue(&self, file: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= MANY_QUEUES {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        Arc::clone(queues.entry(file.to_owned()).or_default())
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

/// From how many files on the queues nobody stands in are forgotten.
const MANY_QUEUES: usize = 1_024;

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    tenant: &TenantId,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Closed { tenant: tenant.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        schema::Table,
        wall::{broken, raise_with},
    };

    /// A handle of acme's with what `tenants_side` makes for views, on a pool with globex in it.
    async fn handle(
        directory: &std::path::Path,
        tenants_side: fn(&Table) -> String,
    ) -> TenantTransaction {
        let sql = "CREATE TABLE notes (tenant_id TEXT NOT NULL, id TEXT NOT NULL,
                   PRIMARY KEY (tenant_id, id))";
        let store = Sqlite::builder("main".parse().unwrap(), Schema::new(sql).unwrap())
            .target("one".parse().unwrap(), directory)
            .build();
        let (acme, pool) = ("acme".parse().unwrap(), partywall::DeploymentModel::Pool);
        let placement = Placement { model: pool, target: "one".parse().unwrap() };
        store.provision(&acme, &placement).await.unwrap();
        let shared = Arc::clone(&store.shared);
        let place = shared.place(&acme, &placement).unwrap();
        let db = place.open(&shared.schema, shared.busy_timeout).unwrap();
        db.execute_batch(
            "INSERT INTO partywall_t_notes VALUES ('acme', 'own'), ('globex', 'foreign')",
        )
        .unwrap();
        let watch = raise_with(&db, &shared.schema, &acme, tenants_side).unwrap();
        let statement_timeout = shared.statement_timeout;
        let walled = Walled { db, watch, place, file: None, statement_timeout };
        walled.begin(shared.locking, &shared.schema).unwrap();
        TenantTransaction::new(walled, shared, None)
    }

    const NOTES: &str = "SELECT id FROM notes ORDER BY id DESC";

    async fn notes(db: &mut TenantTransaction) -> Result<Vec<String>, Error> {
        db.query(NOTES, (), |row| row.get(0)).await
    }

    #[tokio::test]
    async fn m13_a_commit_is_on_the_disk_before_it_is_acknowledged() {
        // A SIGKILL cannot tell: the system still has what was written. Losing power could.
        let directory = tempfile::tempdir().unwrap();
        let db = handle(directory.path(), broken::unfiltered).await;
        let walled = db.into_walled().unwrap();
        let setting = |name: &str| -> String {
            let ask = format!("SELECT {name} || '' FROM pragma_{name}");
            walled.watch.as_wall(|| walled.db.query_row(&ask, (), |row| row.get(0))).unwrap()
        };
        assert_eq!((&*setting("journal_mode"), &*setting("synchronous")), ("wal", "2"));
    }

    #[tokio::test]
    async fn m21_a_foreign_row_fails_the_whole_call_and_closes_the_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = handle(directory.path(), broken::unfiltered).await;
        // acme's own row comes first, and is not returned either.
        let refused = notes(&mut db).await.unwrap_err();
        let Error::ForeignRow { tenant, table, owner } = &refused else { panic!("{refused}") };
        assert_eq!((tenant.as_str(), &**table, &**owner), ("acme", "notes", "globex"));
        assert!(matches!(notes(&mut db).await, Err(Error::Closed { .. })));
        assert!(matches!(db.commit().await, Err(Error::Closed { .. })));
        // The control: without the witness, too, the foreign row comes out of this view.
        let db = Connection::open(directory.path().join("pool.sqlite3")).unwrap();
        let seen: i64 = db
            .query_row("SELECT count(*) FROM partywall_t_notes WHERE id = 'foreign'", (), |r| {
                r.get(0)
            })
            .unwrap();
        assert_eq!(seen, 1);
    }

    #[tokio::test]
    async fn m21_a_foreign_row_is_caught_where_no_row_comes_back() {
        for sql in [
            "SELECT count(*) FROM notes",
            "SELECT max(id) FROM notes",
            "DELETE FROM notes",
            "UPDATE notes SET id = id || 'x'",
            "INSERT INTO notes SELECT id || 'x' FROM notes",
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM notes WHERE id = 'foreign')",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let mut db = handle(directory.path(), broken::unfiltered).await;
            let refused = db.query(sql, (), |_| Ok(())).await;
            assert!(matches!(refused, Err(Error::ForeignRow { .. })), "{sql}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn m21_a_view_without_a_witness_returns_nothing_and_closes_the_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = handle(directory.path(), broken::unwitnessed).await;
        for again in [false, true] {
            let refused = notes(&mut db).await;
            match again {
                false => assert!(matches!(refused, Err(Error::Unwitnessed { .. })), "{refused:?}"),
                true => assert!(matches!(refused, Err(Error::Closed { .. })), "{refused:?}"),
            }
        }
    }

    #[tokio::test]
    async fn m21_a_write_for_another_tenant_fails_and_closes_the_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = handle(directory.path(), broken::misdirected).await;
        assert_eq!(notes(&mut db).await.unwrap(), ["own"], "the control: reading works");
        let refused = db.execute("INSERT INTO notes VALUES ('new')", ()).await;
        assert!(matches!(refused, Err(Error::ForeignRow { .. })), "{refused:?}");
        assert!(matches!(db.commit().await, Err(Error::Closed { .. })));
    }
}
