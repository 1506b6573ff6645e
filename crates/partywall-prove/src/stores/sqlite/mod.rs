//! The attacks on the embedded wall: SQL in the attacker's own session, and files.
//!
//! Written from the file format's documentation: a table `t` of the application is
//! `partywall_t_t` in the file, with the tenant in `tenant_id`.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use partywall::{DeploymentModel, Placement, Scoped, Store, Target, TenantContext, TenantId};
use partywall_sqlite::{Error, Schema, Sqlite, TenantTransaction, types::Value};
use rusqlite::{Connection, OpenFlags};

use super::{Besieged, Holding, Mistake, Pair};
use crate::{Attack, Log, Observation};

pub(super) mod attacks;
mod moves;

/// The crate.
pub const CRATE: &str = "partywall-sqlite";
/// The attacks only it can suffer.
pub const ATTACKS: &[&Attack] = &[
    &attacks::AROUND,
    &attacks::WRITE,
    &attacks::FILES,
    &attacks::SETTINGS,
    &attacks::SCHEMA,
    &attacks::SHADOW,
    &attacks::REACH_OUT,
    &attacks::TRANSACTION,
    &attacks::RESIDUE,
];

/// A handle to SQLite that takes any statement. [`TenantTransaction`] is one; the suite's naive
/// twins are others.
pub trait SqliteHandle: Send {
    /// Runs one statement and gives every row of its answer, each value with its column's name.
    ///
    /// # Errors
    ///
    /// What its refusal amounts to.
    fn ask(
        &mut self,
        sql: &str,
    ) -> impl Future<Output = Result<Vec<Vec<(String, Value)>>, Observation>> + Send;

    /// What it means that a store of such handles could not be opened.
    fn refusal(error: &(dyn std::error::Error + 'static)) -> Observation;
}

/// A store of SQLite files under siege, with what its operator knows: the tables and the files.
pub struct SqliteSiege<S: Store> {
    store: S,
    tables: Vec<String>,
    directories: BTreeMap<Target, PathBuf>,
    remake: Option<Box<Remake<S>>>,
    /// Where links for misdirected placements are; they go with this.
    astray: Mutex<Vec<tempfile::TempDir>>,
}

/// Puts the same store together over other directories, under another name or not.
type Remake<S> =
    dyn Fn(Option<&str>, &BTreeMap<Target, PathBuf>) -> Result<S, String> + Send + Sync;

impl SqliteSiege<Sqlite> {
    /// The store whose targets are these directories, with the tables of `schema`.
    pub fn new(store: Sqlite, schema: &Schema, directories: BTreeMap<Target, PathBuf>) -> Self {
        let tables = schema.tables().map(str::to_owned).collect();
        let (name, schema) = (store.name().clone(), schema.clone());
        let remake = move |other: Option<&str>, directories: &BTreeMap<Target, PathBuf>| {
            let name = match other {
                Some(other) => other.parse().map_err(|error| format!("{error}"))?,
                None => name.clone(),
            };
            let mut builder = Sqlite::builder(name, schema.clone());
            for (target, directory) in directories {
                builder = builder.target(target.clone(), directory);
            }
            Ok(builder.build())
        };
        Self::of(store, tables, directories).remade_by(remake)
    }
}

impl<S: Store> SqliteSiege<S> {
    /// Any store over SQLite files, laid out as [`Sqlite`] lays them out.
    pub fn of(store: S, tables: Vec<String>, directories: BTreeMap<Target, PathBuf>) -> Self {
        Self { store, tables, directories, remake: None, astray: Mutex::default() }
    }

    /// Says how the store is put together, so that mistakes can be made in it.
    #[must_use]
    pub fn remade_by(
        mut self,
        remake: impl Fn(Option<&str>, &BTreeMap<Target, PathBuf>) -> Result<S, String>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.remake = Some(Box::new(remake));
        self
    }

    /// The file a tenant's rows are in.
    fn file(&self, tenant: &TenantId, at: &Placement) -> Option<PathBuf> {
        Some(self.directories.get(&at.target)?.join(file_name(tenant, at.model)))
    }

    /// A directory where the attacker's file is a link to the victim's. A link and not a copy:
    /// nobody's data is moved.
    fn led_astray(
        &self,
        (attacker, at): (&TenantContext, &Placement),
        (victim, to): (&TenantContext, &Placement),
    ) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("no link to another's file: {error}");
        let theirs = self.file(victim.tenant(), to).ok_or("the target has no directory")?;
        let directory = tempfile::tempdir().map_err(failed)?;
        let link = directory.path().join(file_name(attacker.tenant(), at.model));
        let theirs = fs::canonicalize(theirs).map_err(failed)?;
        std::os::unix::fs::symlink(theirs, link).map_err(failed)?;
        let path = directory.path().to_owned();
        self.astray.lock().unwrap_or_else(PoisonError::into_inner).push(directory);
        Ok(path)
    }

    /// Whether the tenant has a row of its own, in its own file, with `marker` in a column.
    pub(super) fn owns(&self, own: &TenantContext, holding: &Holding) -> Result<bool, String> {
        let at = own.placement(&self.store).ok_or("not placed")?;
        let file = self.file(own.tenant(), at).ok_or("the target has no directory")?;
        let answer = || -> rusqlite::Result<bool> {
            let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let table = format!("partywall_t_{}", holding.table);
            let there: bool = db.query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)",
                [&table],
                |row| row.get(0),
            )?;
            let table = quoted(if there { &table } else { &holding.table });
            let mut statement = db.prepare(&format!("SELECT * FROM {table} LIMIT 0"))?;
            let columns: Vec<String> = statement.column_names().into_iter().map(quoted).collect();
            let has_tenant = columns.iter().any(|column| column == "\"tenant_id\"");
            drop(statement.query(())?);
            let whose = if has_tenant { "tenant_id = ?2" } else { "?2 = ?2" };
            let any: Vec<String> = columns.iter().map(|column| format!("{column} IS ?1")).collect();
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE {whose} AND ({}))",
                any.join(" OR ")
            );
            db.query_row(&sql, [&holding.marker, own.tenant().as_str()], |row| row.get(0))
        };
        answer().map_err(|error| error.to_string())
    }
}

impl<S> Besieged for SqliteSiege<S>
where
    S: Store,
    S::Handle: SqliteHandle,
{
    const CRATE: &'static str = CRATE;
    const ATTACKS: &'static [&'static Attack] = ATTACKS;
    type Store = S;

    fn store(&self) -> &S {
        &self.store
    }

    fn mistaken(&self, mistake: &Mistake<'_>) -> Option<Result<S, String>> {
        let remake = self.remake.as_ref()?;
        let mut directories = self.directories.clone();
        match *mistake {
            Mistake::Swapped { at, to } => {
                let theirs = directories.get(to)?.clone();
                directories.insert(at.clone(), theirs);
            }
            Mistake::Misdirected { attacker, victim } => {
                let directory = match self.led_astray(attacker, victim) {
                    Ok(directory) => directory,
                    Err(why) => return Some(Err(why)),
                };
                directories.insert(attacker.1.target.clone(), directory);
            }
            Mistake::NoTarget => directories.clear(),
            Mistake::OtherName => return Some(remake(Some(super::NOWHERE), &directories)),
        }
        Some(remake(None, &directories))
    }

    fn refusal(error: &S::Error) -> Observation {
        <S::Handle as SqliteHandle>::refusal(error)
    }

    async fn holdings(&self, own: &TenantContext) -> Result<Vec<Holding>, String> {
        let mut handle = own.open(&self.store).await.map_err(|error| error.to_string())?;
        let mut holdings = Vec::new();
        for table in &self.tables {
            let sql = format!("SELECT * FROM {} LIMIT 1", quoted(table));
            let rows = handle.ask(&sql).await.map_err(|seen| seen.text().to_owned())?;
            holdings.extend(rows.first().map(|row| holding(table, row)));
        }
        Ok(holdings)
    }

    async fn look(&self, handle: &mut Scoped<S>, holding: &Holding) -> Observation {
        match handle.ask(&holding.query).await {
            Ok(rows) if rows.is_empty() => Observation::nothing("0 rows"),
            Ok(_) => Observation::reached(format!("1 row of {}", holding.table)),
            Err(seen) => seen,
        }
    }

    fn owns_alike(&self, own: &TenantContext, holding: &Holding) -> Result<bool, String> {
        // Numbers and short texts are alike by chance.
        if holding.marker.is_empty() { Ok(true) } else { self.owns(own, holding) }
    }

    async fn siege(&self, pair: &Pair<'_>, log: &mut Log<'_>) {
        moves::make_all(self, pair, log).await;
    }
}

impl<S: Store> SqliteSiege<S> {
    /// The victim's file, as the attacker would name it.
    fn victims_file(&self, pair: &Pair<'_>) -> Option<PathBuf> {
        self.file(pair.victim.context.tenant(), pair.victim_at)
    }
}

impl SqliteHandle for TenantTransaction {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<(String, Value)>>, Observation> {
        let answer = self.query(sql, (), |row| {
            let names = row.as_ref().column_names().into_iter().map(str::to_owned);
            let named = names.enumerate().map(|(n, name)| Ok((name, row.get::<_, Value>(n)?)));
            named.collect::<Result<Vec<_>, _>>()
        });
        answer.await.map_err(|error| judge(&error))
    }

    fn refusal(error: &(dyn std::error::Error + 'static)) -> Observation {
        match error.downcast_ref::<Error>() {
            Some(error) => judge(error),
            None => Observation::unclear(error.to_string()),
        }
    }
}

/// What an error of the store amounts to.
fn judge(error: &Error) -> Observation {
    let said = error.to_string();
    match error {
        Error::Refused { .. }
        | Error::ReservedName { .. }
        | Error::ForeignRow { .. }
        | Error::Unwitnessed { .. }
        | Error::UnknownTarget { .. }
        | Error::NotProvisioned { .. }
        | Error::WrongFile { .. }
        | Error::DirectoryTaken { .. }
        | Error::ForeignFile { .. }
        | Error::SchemaDiffers { .. } => Observation::refused(said),
        Error::Sqlite(error) => plain(error),
        _ => Observation::unclear(said),
    }
}

/// What an error of SQLite itself amounts to.
pub fn plain(error: &rusqlite::Error) -> Observation {
    let said = error.to_string();
    // A statement that names what is not there, or what SQLite can do to nobody.
    let dead_end = [
        "no such ",
        "cannot ",
        "syntax error",
        "Multiple statements",
        "has no column",
        "may not be modified",
    ];
    // SQLITE_CANTOPEN_SYMLINK: a link was not followed.
    let symlink = error.sqlite_error().is_some_and(|error| error.extended_code == 1550);
    if said.contains("not authorized") || said.contains("prohibited") || symlink {
        Observation::refused(said)
    } else if dead_end.iter().any(|word| said.contains(word)) {
        Observation::nothing(said)
    } else {
        Observation::unclear(said)
    }
}

/// The file of a tenant's rows, in its target's directory.
fn file_name(tenant: &TenantId, model: DeploymentModel) -> String {
    match model {
        DeploymentModel::Pool => "pool.sqlite3".to_owned(),
        DeploymentModel::Bridge => format!("bridge-{tenant}.sqlite3"),
        DeploymentModel::Silo => "silo.sqlite3".to_owned(),
    }
}

/// The very row, by everything that stands in it.
fn holding(table: &str, row: &[(String, Value)]) -> Holding {
    let same: Vec<String> = row
        .iter()
        .map(|(column, value)| format!("{} IS {}", quoted(column), literal(value)))
        .collect();
    let texts = row.iter().filter_map(|(_, value)| match value {
        Value::Text(text) if text.chars().count() >= LEAST_MARKER => Some(text),
        _ => None,
    });
    Holding {
        table: table.to_owned(),
        query: format!("SELECT 1 FROM {} WHERE {}", quoted(table), same.join(" AND ")),
        marker: texts.max_by_key(|text| text.len()).cloned().unwrap_or_default(),
    }
}

/// Shorter texts turn up by chance.
const LEAST_MARKER: usize = 6;

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{hex}'")
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A path for a statement that would make a file, and whether one was made.
struct NewFile(tempfile::TempDir);

impl NewFile {
    fn nowhere() -> Result<Self, String> {
        tempfile::tempdir().map(Self).map_err(|error| format!("no temporary directory: {error}"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("made.sqlite3")
    }

    fn was_made(&self) -> bool {
        Path::exists(&self.path())
    }
}
