//! SQLite behind Partywall: the embedded wall.
//!
//! The application writes SQL as if it had the database to itself. Which rows that means is
//! decided by the [`TenantContext`](partywall::TenantContext) the handle was opened with, and
//! nothing the SQL says can change it:
//!
//! ```
//! use partywall::{DeploymentModel, testing};
//! use partywall_sqlite::{Schema, Sqlite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::new(
//!     "CREATE TABLE invoices (
//!          tenant_id TEXT NOT NULL,
//!          id        TEXT NOT NULL,
//!          cents     INTEGER NOT NULL,
//!          PRIMARY KEY (tenant_id, id)
//!      ) STRICT",
//! )?;
//! let directory = tempfile::tempdir()?;
//! let store = Sqlite::builder("main".parse()?, schema)
//!     .target("local".parse()?, directory.path())
//!     .build();
//!
//! # let placements = testing::placed("main", DeploymentModel::Pool, "local");
//! # let [acme, globex] = testing::contexts(["acme", "globex"], &placements);
//! // `acme` and `globex` are contexts, from two verified tokens.
//! store.provision(acme.tenant(), acme.placement(&store).ok_or("not placed")?).await?;
//!
//! let mut db = acme.open(&store).await?;
//! db.execute("INSERT INTO invoices (id, cents) VALUES (?1, ?2)", ("i-1", 1200)).await?;
//! db.commit().await?;
//!
//! let mut db = globex.open(&store).await?;
//! let seen = db.query("SELECT id FROM invoices", (), |row| row.get::<_, String>(0)).await?;
//! assert!(seen.is_empty());
//! assert!(db.execute("PRAGMA foreign_keys = OFF", ()).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # What it is
//!
//! SQLite knows no roles and no row policies, so this is application-level enforcement (M-21): a
//! handle that cannot name another tenant's rows, and a check on what comes back.
//!
//! * **Pool**: one file, `pool.sqlite3`. Base tables carry the tenant in every key. A connection
//!   serves one tenant all its life. It gets, made from code and never from the file, a temporary
//!   view per table under the table's plain name and `INSTEAD OF` triggers that write; then
//!   SQLite's authorizer closes everything else: base tables, `ATTACH`, `PRAGMA`, the schema
//!   tables, `CREATE`/`DROP`/`ALTER`, functions and virtual tables that reach outside, `COMMIT`
//!   and `ROLLBACK`. What is not on its list is denied.
//! * **Bridge**: a file per tenant, `bridge-<tenant>.sqlite3`. **Silo**: a directory of its own
//!   with `silo.sqlite3`. The same wall stands in them, and each file says inside whose it is: a
//!   file or a placement that was swapped is refused, and so is a file in which a foreign row was
//!   planted.
//! * **On the way out**, every row that leaves a base table is shown to a witness, a function of
//!   the connection that compares the row's tenant with the connection's, byte by byte. A
//!   foreign row fails the whole call with [`Error::ForeignRow`], is logged, and closes the
//!   handle. A view that forgets the witness is noticed before it runs ([`Error::Unwitnessed`]).
//!   What triggers write is shown to the same witness.
//! * A statement has a time limit and size limits. A commit is on the disk (`WAL`,
//!   `synchronous = FULL`) before it is acknowledged.
//!
//! # What it is not
//!
//! * Whoever runs code in the process, or can open the file, has it all: the wall is in the same
//!   address space. PostgreSQL's wall is not; where PostgreSQL is available, put production pools
//!   there.
//! * There is one writer per file at a time, whatever the tenant: in a pool, one tenant's long
//!   transaction makes the others wait ([`Locking`]), and the size of the file, its free space and
//!   the time things take are everybody's.
//! * Files are made readable by the process's own user only (0600, directories 0700); who else runs
//!   under that user, or made them readable, reads them all.
//! * Nothing is encrypted; erasing a tenant from a pool leaves bytes in free pages until `VACUUM`.
//!
//! # What SQL through a view cannot do
//!
//! * `ON CONFLICT … DO UPDATE`: SQLite has no upsert on views. `INSERT OR REPLACE` and
//!   `INSERT OR IGNORE` work.
//! * `RETURNING` gives back what the statement said, not what the trigger wrote: a column left
//!   out is NULL there, also when a default was stored. Choose keys in the application.
//! * A column left out and a column set to NULL are the same to a trigger: both take the default.
//! * `changes()` and `last_insert_rowid()` are denied, being about other statements;
//!   [`execute`](TenantTransaction::execute) returns the count.
//! * Foreign keys check, and do not act: see [`SchemaError::ForeignKeyAction`].
//! * SQL may not contain `partywall_`, also not in a string: bind such a value.

mod authorizer;
mod error;
mod file;
mod handle;
mod names;
mod params;
mod schema;
mod store;
mod wall;
mod watch;

pub use error::Error;
pub use handle::TenantTransaction;
pub use params::Params;
pub use rusqlite::{Row, types};
pub use schema::{Schema, SchemaError};
pub use store::{Locking, Sqlite, SqliteBuilder};
