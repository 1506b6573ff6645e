//! Files: what they are called, whose they are, and that they are what they say.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use partywall::{DeploymentModel, Placement, TenantId};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::{
    Error, Schema,
    names::base,
    schema::{catalogue, run_step},
    wall::{harden, prepare_own},
};

/// One tenant's place in a target's directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) tenant: TenantId,
    pub(crate) placement: Placement,
    pub(crate) path: PathBuf,
}

impl Place {
    /// A tenant's id is 1 to 63 of `a-z0-9-`, so the name is one path component, no two tenants
    /// share one, and no file system's upper and lower case can make them.
    pub(crate) fn new(directory: &Path, tenant: &TenantId, placement: &Placement) -> Self {
        let file = match placement.model {
            DeploymentModel::Pool => POOL.to_owned(),
            DeploymentModel::Bridge => format!("bridge-{tenant}.sqlite3"),
            DeploymentModel::Silo => SILO.to_owned(),
        };
        let (tenant, placement) = (tenant.clone(), placement.clone());
        Self { tenant, placement, path: directory.join(file) }
    }

    /// Opens the file, which must exist and say that it is this place's.
    pub(crate) fn open(&self, schema: &Schema, busy: Duration) -> Result<Connection, Error> {
        if !self.path.is_file() {
            return Err(Error::NotProvisioned {
                tenant: self.tenant.clone(),
                placement: self.placement.clone(),
                path: self.path.clone(),
            });
        }
        let db = self.connect(busy)?;
        self.check_inscription(&db)?;
        let (found, wanted) = (user_version(&db)?, version_of(schema));
        let path = || self.path.clone();
        if found != wanted {
            return Err(Error::SchemaVersion { path: path(), found, wanted });
        }
        if catalogue(&db)? != schema.catalogue {
            return Err(Error::SchemaDiffers { path: path() });
        }
        Ok(db)
    }

    /// Makes the file, or brings it forward to the last step of the schema. What was killed half
    /// way is finished by the next call.
    pub(crate) fn provision(&self, schema: &Schema, busy: Duration) -> Result<(), Error> {
        self.check_directory()?;
        make_file(&self.path).map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let db = self.connect(busy)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")?;
        if is_blank(&db)? {
            self.inscribe(&db)?;
        }
        self.check_inscription(&db)?;
        let (found, wanted) = (user_version(&db)?, version_of(schema));
        let path = || self.path.clone();
        let done = usize::try_from(found).unwrap_or(usize::MAX);
        let Some(steps) = schema.steps().get(done..) else {
            return Err(Error::SchemaVersion { path: path(), found, wanted });
        };
        for step in steps {
            run_step(&db, step)?;
        }
        let dangling: Option<String> = db
            .query_row("SELECT \"table\" FROM pragma_foreign_key_check", (), |row| row.get(0))
            .optional()?;
        if let Some(table) = dangling {
            return Err(Error::DanglingKeys { path: path(), table });
        }
        db.pragma_update(None, "user_version", wanted)?;
        if catalogue(&db)? != schema.catalogue {
            return Err(Error::SchemaDiffers { path: path() });
        }
        db.execute_batch("COMMIT")?;
        Ok(())
    }

    /// The file's inscription, read again before every transaction.
    pub(crate) fn check_inscription(&self, db: &Connection) -> Result<(), Error> {
        if application_id(db)? != APPLICATION_ID {
            return Err(Error::ForeignFile { path: self.path.clone() });
        }
        let found = prepare_own(db, "SELECT tenant, model FROM main.partywall_inscription")?
            .query_row((), |row| Ok(Inscription { tenant: row.get(0)?, model: row.get(1)? }))?;
        if found == self.inscription() {
            return Ok(());
        }
        tracing::error!(
            tenant.id = %self.tenant, path = %self.path.display(), %found, decision = "deny",
            "a file is inscribed to somebody else"
        );
        Err(Error::WrongFile {
            tenant: self.tenant.clone(),
            path: self.path.clone(),
            found: found.to_string(),
        })
    }

    /// In a file of the tenant's own, a row that is not the tenant's was planted (M-21). The key
    /// leads with the tenant, so this looks at the two ends of an index.
    pub(crate) fn check_rows(&self, db: &Connection, schema: &Schema) -> Result<(), Error> {
        if self.placement.model == DeploymentModel::Pool {
            return Ok(());
        }
        for table in schema.tables() {
            let ends = format!(
                "SELECT tenant_id FROM main.{0} WHERE tenant_id < ?1
                 UNION ALL SELECT tenant_id FROM main.{0} WHERE tenant_id > ?1 LIMIT 1",
                base(table),
            );
            let planted: Option<rusqlite::types::Value> = prepare_own(db, &ends)?
                .query_row([self.tenant.as_str()], |row| row.get(0))
                .optional()?;
            if let Some(owner) = planted {
                let owner = match owner {
                    rusqlite::types::Value::Text(id) => id,
                    other => format!("a value of type {}", other.data_type()),
                };
                let foreign = crate::watch::Foreign { table: table.to_owned(), owner };
                return Err(Error::foreign_row(&self.tenant, foreign));
            }
        }
        Ok(())
    }

    fn connect(&self, busy: Duration) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(busy)?;
        harden(&db)?;
        Ok(db)
    }

    fn inscription(&self) -> Inscription {
        let own = self.placement.model != DeploymentModel::Pool;
        Inscription {
            tenant: own.then(|| self.tenant.to_string()),
            model: self.placement.model.to_string(),
        }
    }

    fn inscribe(&self, db: &Connection) -> Result<(), Error> {
        let Inscription { tenant, model } = self.inscription();
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.execute_batch("CREATE TABLE partywall_inscription (tenant TEXT, model TEXT NOT NULL)")?;
        db.execute("INSERT INTO partywall_inscription VALUES (?1, ?2)", (tenant, model))?;
        Ok(())
    }

    /// A silo's directory holds the silo and nothing else.
    fn check_directory(&self) -> Result<(), Error> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        let io = |source| Error::Io { path: directory.to_owned(), source };
        let silo = self.placement.model == DeploymentModel::Silo;
        for entry in fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let is_store = path.extension().is_some_and(|extension| extension == "sqlite3");
            if is_store && silo != (path.file_name() == Some(SILO.as_ref())) {
                return Err(Error::DirectoryTaken { model: self.placement.model, path });
            }
        }
        Ok(())
    }
}

/// Whose a file is, as it says itself.
#[derive(Debug, Eq, PartialEq)]
struct Inscription {
    tenant: Option<String>,
    model: String,
}

impl fmt::Display for Inscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "the {} of tenant {tenant}", self.model),
            None => write!(f, "a {}", self.model),
        }
    }
}

/// Makes a directory, and those above it that are missing, for nobody but the process's own user.
/// One that is there is the operator's, as it is.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes an empty file, unless there is one, that only the process's own user may read. SQLite
/// gives what it puts beside it (`-wal`, `-shm`) the same mode.
fn make_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Which file is behind a path, so that a connection is not kept on a file that was moved away.
pub(crate) fn identity(path: &Path) -> Option<FileIdentity> {
    let metadata = fs::symlink_metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        metadata.created().ok()
    }
}

#[cfg(unix)]
pub(crate) type FileIdentity = (u64, u64);
#[cfg(not(unix))]
pub(crate) type FileIdentity = std::time::SystemTime;

fn is_blank(db: &Connection) -> rusqlite::Result<bool> {
    let objects: i64 =
        db.query_row("SELECT count(*) FROM main.sqlite_schema", (), |row| row.get(0))?;
    Ok(objects == 0 && application_id(db)? == 0)
}

fn application_id(db: &Connection) -> rusqlite::Result<i64> {
    prepare_own(db, "PRAGMA main.application_id")?.query_row((), |row| row.get(0))
}

fn user_version(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA main.user_version", (), |row| row.get(0))
}

fn version_of(schema: &Schema) -> i64 {
    i64::try_from(schema.steps().len()).unwrap_or(i64::MAX)
}

const POOL: &str = "pool.sqlite3";
const SILO: &str = "silo.sqlite3";

/// `PWLL`, in the file's header.
const APPLICATION_ID: i64 = 0x5057_4c4c;
