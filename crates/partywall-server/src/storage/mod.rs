//! Where the control plane remembers: SQLite in one file by default, PostgreSQL by URL. One
//! migration set and one query layer for both.
//!
//! Nothing changes except through a [`Change`]: the rows, the audit event and the generation are
//! written in one transaction, so that none of them can be there without the others. What has been
//! committed has reached the disk.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use partywall::{Timestamp, bundle::Generation};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    IsolationLevel, SqlErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use crate::secret::Secret;
pub(crate) use audit::AuditEvent;
use only::Only;
use single_statements::{OpenFile, SingleStatements};

pub(crate) mod accounts;
#[cfg(test)]
#[path = "../../tests/server/alone.rs"]
pub(crate) mod alone;
pub(crate) mod api_keys;
pub(crate) mod applications;
pub(crate) mod audit;
#[cfg(test)]
pub(crate) mod catalogue;
pub(crate) mod connections;
pub(crate) mod consents;
#[cfg(test)]
#[path = "../../tests/server/databases.rs"]
pub(crate) mod databases;
pub(crate) mod directory;
pub(crate) mod domains;
pub(crate) mod erasure;
pub(crate) mod external_identities;
pub(crate) mod grants;
pub(crate) mod machines;
mod migration;
mod only;
pub(crate) mod operator_keys;
pub(crate) mod outgoing_logouts;
pub(crate) mod outgoing_mail;
pub(crate) mod passkeys;
pub(crate) mod passwords;
pub(crate) mod policy;
pub(crate) mod recovery_codes;
pub(crate) mod revocations;
pub(crate) mod scim_groups;
pub(crate) mod scim_tokens;
pub(crate) mod scim_users;
pub(crate) mod security_events;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod setup_links;
pub(crate) mod sign_in_policies;
pub(crate) mod signing_keys;
mod single_statements;
pub(crate) mod single_use;
pub(crate) mod sweep;
pub(crate) mod tenants;
pub(crate) mod totp_secrets;
pub(crate) mod users;
#[cfg(test)]
mod walls;

/// Where the control plane's state lives.
#[derive(Clone)]
pub enum DatabaseConfig {
    /// One SQLite file, made when missing, readable by its owner only.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A PostgreSQL database. Several servers may share it.
    Postgres {
        /// `postgres://user:password@host/database`, with `sslmode` and other libpq options.
        url: Secret<String>,
    },
}

/// The control plane's database.
pub(crate) struct Database {
    connection: DatabaseConnection,
    statements: SingleStatements,
    /// SQLite has one writer at a time; waiting here is fairer than its busy handler.
    writing: Mutex<()>,
}

impl Database {
    /// Connects, and brings the tables up to date.
    pub(crate) async fn open(config: &DatabaseConfig) -> Result<Self, StorageError> {
        let connection = match config {
            DatabaseConfig::Sqlite { path } => open_sqlite(path.clone()).await?,
            DatabaseConfig::Postgres { url } => open_postgres(url).await?,
        };
        let migrating = connection.begin().await?;
        if migrating.get_database_backend() == DbBackend::Postgres {
            // Of several servers that start at once, one migrates and the others wait.
            migrating.execute_unprepared("SELECT pg_advisory_xact_lock(5070413265)").await?;
        }
        migration::Migrator::up(&migrating, None).await?;
        migrating.commit().await?;
        #[cfg(test)]
        let connection = walls::watched(connection);
        let statements = match config {
            DatabaseConfig::Sqlite { path } => {
                let options = sqlite_options(path, SqliteConnectOptions::new());
                let file = OpenFile::new(options.disable_statement_logging());
                SingleStatements::Sqlite(Box::new(file))
            }
            DatabaseConfig::Postgres { .. } => SingleStatements::Postgres(connection.clone()),
        };
        Ok(Self { connection, statements, writing: Mutex::new(()) })
    }

    /// For single reads.
    pub(crate) fn reader(&self) -> &SingleStatements {
        &self.statements
    }

    /// One unchanging view, for reads that must agree with each other.
    pub(crate) async fn snapshot(&self) -> Result<DatabaseTransaction, StorageError> {
        let isolation_level = match self.connection.get_database_backend() {
            DbBackend::Postgres => Some(IsolationLevel::RepeatableRead),
            // A deferred transaction in WAL mode already is a snapshot.
            _ => None,
        };
        let options = TransactionOptions { isolation_level, ..Default::default() };
        Ok(self.connection.begin_with_options(options).await?)
    }

    /// For single statements that write what enforcement points are not told of.
    ///
    /// One statement is a transaction of its own; it has reached the disk when it returns.
    pub(crate) async fn single(&self) -> Single<'_> {
        Single { statements: &self.statements, _one_writer: self.one_writer().await }
    }

    /// Begins a transaction that writes what enforcement points are not told of: sessions, grants,
    /// values good for one use. Unlike a [`change`](Self::change) it takes no generation, so on
    /// PostgreSQL any number of them run side by side (I-41).
    pub(crate) async fn write(&self) -> Result<Write<'_>, StorageError> {
        let one_writer = self.one_writer().await;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = self.connection.begin_with_options(options).await?;
        Ok(Write { transaction, _one_writer: one_writer })
    }

    async fn one_writer(&self) -> Option<MutexGuard<'_, ()>> {
        match self.connection.get_database_backend() {
            DbBackend::Sqlite => Some(self.writing.lock().await),
            _ => None,
        }
    }

    /// Begins a change at the next generation.
    ///
    /// Changes are serialised from here to their commit, so generations commit in order: whoever
    /// sees generation *n* sees everything up to *n*.
    pub(crate) async fn change(&self, now: Timestamp) -> Result<Change<'_>, StorageError> {
        let one_writer = self.writing.lock().await;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = self.connection.begin_with_options(options).await?;
        let generation = directory::advance(&transaction, now).await?;
        Ok(Change { transaction, generation, now, _one_writer: one_writer })
    }
}

/// A change under way. Dropped without [`commit`](Self::commit), it never happened.
pub(crate) struct Change<'d> {
    transaction: DatabaseTransaction,
    generation: Generation,
    now: Timestamp,
    _one_writer: MutexGuard<'d, ()>,
}

impl Change<'_> {
    /// Where the change's rows are written.
    pub(crate) fn rows(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// The generation the change leads to.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Makes the change last, together with the event that accounts for it.
    pub(crate) async fn commit(self, event: AuditEvent<'_>) -> Result<Generation, StorageError> {
        audit::append(&self.transaction, event, self.now, self.generation).await?;
        self.transaction.commit().await?;
        Ok(self.generation)
    }
}

/// The right to write with single statements.
pub(crate) struct Single<'d> {
    statements: &'d SingleStatements,
    _one_writer: Option<MutexGuard<'d, ()>>,
}

impl Single<'_> {
    /// Where to write.
    pub(crate) fn db(&self) -> &SingleStatements {
        self.statements
    }
}

/// A transaction under way. Dropped without [`commit`](Self::commit), it never happened.
pub(crate) struct Write<'d> {
    transaction: DatabaseTransaction,
    _one_writer: Option<MutexGuard<'d, ()>>,
}

impl Write<'_> {
    /// Where to write.
    pub(crate) fn rows(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// Makes it last.
    pub(crate) async fn commit(self) -> Result<(), StorageError> {
        Ok(self.transaction.commit().await?)
    }
}

async fn open_sqlite(path: PathBuf) -> Result<DatabaseConnection, StorageError> {
    let failed = |source| StorageError::File { path: path.clone(), source };
    own_file(&path).map_err(failed)?;
    let file = path.clone();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .sqlx_logging(false)
        .min_connections(1)
        .max_connections(4)
        // A file does not hang up: asking first whether it is there doubles the work.
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(move |options| sqlite_options(&file, options));
    Ok(sea_orm::Database::connect(options).await?)
}

fn sqlite_options(file: &Path, options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .in_memory(false)
        .shared_cache(false)
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit returns once it is on the disk, not when it is on its way.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted is overwritten: a retired key leaves no trace in the file.
        .pragma("secure_delete", "ON")
        .busy_timeout(Duration::from_secs(5))
}

/// Makes the file before SQLite would, so that it and its log never are anyone else's to read.
fn own_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

async fn open_postgres(url: &Secret<String>) -> Result<DatabaseConnection, StorageError> {
    let mut options = ConnectOptions::new(url.expose().clone());
    options
        .sqlx_logging(false)
        .max_connections(16)
        // Asking whether a server is there is a round trip of its own, before each statement
        // (I-41). One that was there a second ago is believed to be there.
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .acquire_timeout(Duration::from_secs(5))
        .map_sqlx_postgres_opts(|options| options.options([("synchronous_commit", "on")]));
    Ok(sea_orm::Database::connect(options).await?)
}

/// Why the database did not answer, or answered what cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The file could not be made or opened.
    #[error("the control plane's database {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused, or could not be reached.
    #[error("the control plane's database failed")]
    Database(#[source] Box<DbErr>),
    /// A row was there already.
    #[error("the control plane's database already has that row")]
    Duplicate,
    /// A row reads as nothing this program writes.
    #[error(
        "table {table}, row {row}: column {column} is not readable: was it written by hand or by a newer version?"
    )]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// The column.
        column: &'static str,
    },
}

impl From<DbErr> for StorageError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Duplicate,
            _ => Self::Database(Box::new(error)),
        }
    }
}

/// Both databases count in signed 64 bits; ours never reach that far.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back from [`signed`]. What is below zero was not written by us and reads as zero.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use sea_orm::Statement;

    use super::*;

    #[test]
    fn m03_every_unit_test_passes_on_postgres_too() {
        databases::run_all_again(&["on_postgres_too", "sqlite"]);
    }

    async fn pragma(db: &impl ConnectionTrait, name: &str) -> String {
        let asked = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {name}"));
        let row = db.query_one_raw(asked).await.unwrap().unwrap();
        row.try_get_by_index::<String>(0)
            .or_else(|_| row.try_get_by_index::<i32>(0).map(|n| n.to_string()))
            .unwrap()
    }

    #[tokio::test]
    async fn r12_sqlite_acknowledges_what_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let config = DatabaseConfig::Sqlite { path: dir.path().join("control.db") };
        let db = Database::open(&config).await.unwrap();
        let snapshot = db.snapshot().await.unwrap();
        let on_both = async |name: &str| {
            let single = pragma(db.reader(), name).await;
            assert_eq!(pragma(&snapshot, name).await, single, "{name}: as in transactions");
            single
        };
        assert_eq!(on_both("journal_mode").await, "wal");
        assert_eq!(on_both("synchronous").await, "2", "2 is FULL");
        assert_eq!(on_both("foreign_keys").await, "1");
        assert_eq!(on_both("secure_delete").await, "1");
    }

    #[tokio::test]
    async fn r12_a_change_that_is_dropped_never_happened() {
        let dir = tempfile::tempdir().unwrap();
        let config = DatabaseConfig::Sqlite { path: dir.path().join("control.db") };
        let db = Database::open(&config).await.unwrap();
        let change = db.change(Timestamp(1)).await.unwrap();
        assert_eq!(change.generation(), Generation(1));
        settings::set(change.rows(), "x", vec![1]).await.unwrap();
        drop(change);
        assert_eq!(settings::get(db.reader(), "x").await.unwrap(), None);
        assert_eq!(directory::current(db.reader()).await.unwrap().0, Generation(0));

        let change = db.change(Timestamp(2)).await.unwrap();
        settings::set(change.rows(), "x", vec![1]).await.unwrap();
        let event = AuditEvent {
            actor: &crate::control::Actor::System("test"),
            tenant: None,
            action: "test.change",
            detail: serde_json::json!({}),
        };
        assert_eq!(change.commit(event).await.unwrap(), Generation(1));
        assert_eq!(settings::get(db.reader(), "x").await.unwrap(), Some(vec![1]));
    }
}
