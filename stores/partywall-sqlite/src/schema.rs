//! What the operator declares: ordinary `CREATE TABLE` statements, checked for walls that leak.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use rusqlite::Connection;

use crate::names::{base, quoted};

/// The tables of an application, as plain SQL in steps.
///
/// Every table carries the tenant as its first key column, and the SQL says so; the *application's*
/// SQL never does. Application code sees a view of the same name without that column.
///
/// ```
/// let schema = partywall_sqlite::Schema::new(
///     "CREATE TABLE invoices (
///          tenant_id TEXT NOT NULL,
///          id        TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
///          customer  TEXT NOT NULL,
///          cents     INTEGER NOT NULL,
///          paid      INTEGER NOT NULL DEFAULT 0,
///          PRIMARY KEY (tenant_id, id)
///      ) STRICT;
///      CREATE INDEX invoices_by_customer ON invoices (tenant_id, customer);",
/// )?
/// .then("ALTER TABLE invoices ADD COLUMN note TEXT")?;
/// assert_eq!(schema.tables().collect::<Vec<_>>(), ["invoices"]);
///
/// let leaky = partywall_sqlite::Schema::new(
///     "CREATE TABLE users (tenant_id TEXT NOT NULL, email TEXT NOT NULL UNIQUE, id TEXT NOT NULL,
///          PRIMARY KEY (tenant_id, id))",
/// );
/// assert!(leaky.is_err(), "one tenant could learn another's e-mails by inserting them");
/// # Ok::<(), partywall_sqlite::SchemaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schema {
    steps: Vec<String>,
    tables: BTreeMap<String, Table>,
    /// What the file's own catalogue must say, byte for byte.
    pub(crate) catalogue: String,
}

impl Schema {
    /// The column that holds the tenant, in every table.
    pub const TENANT_COLUMN: &'static str = "tenant_id";

    /// Reads and checks the first step: `CREATE TABLE` and `CREATE INDEX` statements.
    ///
    /// # Errors
    ///
    /// When SQLite cannot run the SQL, or when a table would leak; see [`SchemaError`].
    pub fn new(sql: impl Into<String>) -> Result<Self, SchemaError> {
        Self::checked(vec![sql.into()])
    }

    /// Adds a later step. Files behind it are brought forward by
    /// [`Sqlite::provision`](crate::Sqlite::provision); steps already released must not change.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn then(mut self, sql: impl Into<String>) -> Result<Self, SchemaError> {
        self.steps.push(sql.into());
        Self::checked(self.steps)
    }

    /// The tables' names, sorted.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    pub(crate) fn walled(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    pub(crate) fn contains(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub(crate) fn steps(&self) -> &[String] {
        &self.steps
    }

    /// Runs the steps in memory, and asks SQLite itself what came of them.
    fn checked(steps: Vec<String>) -> Result<Self, SchemaError> {
        let db = Connection::open_in_memory()?;
        for (number, step) in (1..).zip(&steps) {
            run_step(&db, step).map_err(|source| SchemaError::Sql { step: number, source })?;
        }
        check_objects(&db)?;
        let names = base_tables(&db)?;
        let mut tables = BTreeMap::new();
        for name in &names {
            tables.insert(name.clone(), check_table(&db, name, &names)?);
        }
        if tables.is_empty() {
            return Err(SchemaError::Empty);
        }
        let catalogue = catalogue(&db)?;
        Ok(Self { steps, tables, catalogue })
    }
}

/// A table behind the wall: what views and triggers are made from.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// All columns but the tenant's.
    pub(crate) columns: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) default: Option<String>,
    pub(crate) in_key: bool,
    /// Computed by SQLite: can be read, never written.
    pub(crate) generated: bool,
}

/// Runs one step on tables under the names the operator gave them, and puts them behind the wall's
/// names again. The caller holds the transaction.
pub(crate) fn run_step(db: &Connection, step: &str) -> rusqlite::Result<()> {
    for table in base_tables(db)? {
        rename(db, &base(&table), &table)?;
    }
    db.execute_batch(step)?;
    for table in plain_tables(db)? {
        rename(db, &table, &base(&table))?;
    }
    Ok(())
}

/// Everything that makes up a file's schema, in an order of its own.
pub(crate) fn catalogue(db: &Connection) -> rusqlite::Result<String> {
    let mut query = db.prepare(
        r"SELECT type, name, sql FROM main.sqlite_schema
          WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
            AND name <> 'partywall_inscription'
          ORDER BY type, name",
    )?;
    let mut rows = query.query(())?;
    let mut all = String::new();
    while let Some(row) = rows.next()? {
        let (kind, name, sql): (String, String, String) = row.try_into()?;
        let _ = writeln!(all, "{kind} {name}: {sql}");
    }
    Ok(all)
}

fn rename(db: &Connection, from: &str, to: &str) -> rusqlite::Result<()> {
    db.execute_batch(&format!("ALTER TABLE {} RENAME TO {}", quoted(from), quoted(to)))
}

/// The operator's names of the tables that are behind the wall.
fn base_tables(db: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let prefix = base("");
    let names = ordinary_tables(db)?;
    Ok(names.iter().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
}

fn plain_tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let names = ordinary_tables(db)?;
    Ok(names.into_iter().filter(|name| !name.starts_with("partywall_")).collect())
}

fn ordinary_tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare(
        r"SELECT name FROM main.sqlite_schema
          WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'
            AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name",
    )?
    .query_map((), |row| row.get(0))?
    .collect()
}

/// Views, triggers and virtual tables run with rights of their own: not behind this wall.
fn check_objects(db: &Connection) -> Result<(), SchemaError> {
    let mut query = db.prepare(
        "SELECT CASE WHEN type = 'table' THEN 'virtual table' ELSE type END, name
         FROM sqlite_schema
         WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1",
    )?;
    let mut rows = query.query(())?;
    match rows.next()? {
        Some(row) => Err(SchemaError::Unsupported { kind: row.get(0)?, name: row.get(1)? }),
        None => Ok(()),
    }
}

fn check_table(db: &Connection, name: &str, all: &BTreeSet<String>) -> Result<Table, SchemaError> {
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        || matches!(name, "json_each" | "json_tree")
    {
        return Err(SchemaError::Name { table: name.to_owned() });
    }
    let columns = check_columns(db, name)?;
    check_indexes(db, name)?;
    check_foreign_keys(db, name, all)?;
    Ok(Table { name: name.to_owned(), columns })
}

fn check_columns(db: &Connection, table: &str) -> Result<Vec<Column>, SchemaError> {
    let mut query = db.prepare(
        "SELECT name, upper(type), \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1)",
    )?;
    let mut rows = query.query((base(table),))?;
    let table = || table.to_owned();
    let (mut columns, mut tenant_seen) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let (not_null, key): (bool, u32) = (row.get(2)?, row.get(4)?);
        if name == Schema::TENANT_COLUMN {
            if kind != "TEXT" || !not_null {
                return Err(SchemaError::TenantColumn { table: table() });
            }
            if key != 1 {
                return Err(SchemaError::Key { table: table() });
            }
            tenant_seen = true;
            continue;
        }
        if key > 0 && !not_null {
            return Err(SchemaError::NullableKey { table: table(), column: name });
        }
        let generated = row.get::<_, i64>(5)? != 0;
        columns.push(Column { name, default: row.get(3)?, in_key: key > 0, generated });
    }
    match tenant_seen {
        true => Ok(columns),
        false => Err(SchemaError::TenantColumn { table: table() }),
    }
}

/// An index that does not lead with the tenant makes one tenant's scan walk another's rows, and a
/// unique one tells tenants about each other.
fn check_indexes(db: &Connection, table: &str) -> Result<(), SchemaError> {
    let mut query = db.prepare(
        "SELECT list.name, info.name, info.coll
         FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS info
         WHERE info.seqno = 0",
    )?;
    let mut rows = query.query((base(table),))?;
    while let Some(row) = rows.next()? {
        let (index, column): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let collation: String = row.get(2)?;
        if column.as_deref() != Some(Schema::TENANT_COLUMN) {
            return Err(SchemaError::Index { table: table.to_owned(), index });
        }
        if collation != "BINARY" {
            return Err(SchemaError::TenantColumn { table: table.to_owned() });
        }
    }
    Ok(())
}

fn check_foreign_keys(
    db: &Connection,
    table: &str,
    all: &BTreeSet<String>,
) -> Result<(), SchemaError> {
    let mut query = db.prepare(
        "SELECT id, \"table\", min(on_delete), min(on_update),
                max(\"from\" = ?2 AND (\"to\" = ?2 OR \"to\" IS NULL AND seq = 0))
         FROM pragma_foreign_key_list(?1) GROUP BY id",
    )?;
    let mut rows = query.query((base(table), Schema::TENANT_COLUMN))?;
    while let Some(row) = rows.next()? {
        let referenced: String = row.get(1)?;
        let parent = referenced.strip_prefix(&base("")).unwrap_or(&referenced).to_owned();
        let table = table.to_owned();
        let actions: [String; 2] = [row.get(2)?, row.get(3)?];
        if !all.contains(&parent) {
            return Err(SchemaError::UnknownParent { table, parent });
        }
        if !row.get::<_, bool>(4)? {
            return Err(SchemaError::ForeignKey { table, parent });
        }
        if let Some(action) = actions.into_iter().find(|action| action != "NO ACTION") {
            return Err(SchemaError::ForeignKeyAction { table, parent, action });
        }
    }
    Ok(())
}

/// Why tables cannot stand behind the wall.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// SQLite cannot run a step.
    #[error("schema step {step} does not run: {source}")]
    Sql {
        /// Which step, counted from 1.
        step: usize,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// SQLite cannot tell what came of the steps.
    #[error("the schema cannot be read back: {0}")]
    Catalogue(#[from] rusqlite::Error),
    /// There is nothing to protect.
    #[error("the schema has no table: add a CREATE TABLE statement")]
    Empty,
    /// A table's name has no one spelling, or is taken.
    #[error("table {table} needs a name of a-z, 0-9 and '_' that is not one of SQLite's own")]
    Name {
        /// The table.
        table: String,
    },
    /// The tenant column is missing, or compares as something else than bytes.
    #[error(
        "table {table} needs a column `tenant_id TEXT NOT NULL`, without COLLATE: \
         any other type or collation lets two tenants compare equal"
    )]
    TenantColumn {
        /// The table.
        table: String,
    },
    /// The primary key does not lead with the tenant (T-04).
    #[error(
        "table {table} needs a primary key that begins with the tenant: PRIMARY KEY (tenant_id, id)"
    )]
    Key {
        /// The table.
        table: String,
    },
    /// A key column may be NULL, so that a row could not be named.
    #[error("table {table}: key column {column} needs NOT NULL")]
    NullableKey {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// An index, or a UNIQUE, does not lead with the tenant (T-04).
    #[error(
        "table {table}: index {index} must begin with tenant_id \
         (a UNIQUE without it tells one tenant about another's rows)"
    )]
    Index {
        /// The table.
        table: String,
        /// The index, by SQLite's name for it.
        index: String,
    },
    /// A foreign key could point into another tenant.
    #[error(
        "table {table}: its foreign key to {parent} must pair tenant_id with tenant_id: \
         FOREIGN KEY (tenant_id, …) REFERENCES {parent} (tenant_id, …)"
    )]
    ForeignKey {
        /// The table.
        table: String,
        /// The table it refers to.
        parent: String,
    },
    /// A foreign key acts. SQLite runs such actions in nobody's name, where they cannot be told
    /// from the tenant's own statements.
    #[error(
        "table {table}: {action} on its foreign key to {parent} runs outside the wall: \
         leave the action out, and change the rows in the same transaction"
    )]
    ForeignKeyAction {
        /// The table.
        table: String,
        /// The table it refers to.
        parent: String,
        /// What it would do.
        action: String,
    },
    /// A foreign key refers to a table that is not in the schema.
    #[error("table {table}: its foreign key refers to {parent}, which the schema does not have")]
    UnknownParent {
        /// The table.
        table: String,
        /// The missing table.
        parent: String,
    },
    /// Something else than tables and indexes.
    #[error("{kind} {name}: only tables and indexes can stand behind this wall")]
    Unsupported {
        /// What it is.
        kind: String,
        /// Its name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUSTOMERS: &str = "CREATE TABLE customers (tenant_id TEXT NOT NULL, id TEXT NOT NULL,
        PRIMARY KEY (tenant_id, id));";

    fn refusal(sql: &str) -> String {
        Schema::new(sql).expect_err(sql).to_string()
    }

    #[test]
    fn t04_keys_that_do_not_lead_with_the_tenant_are_refused() {
        for leaky in [
            "CREATE TABLE t (tenant_id TEXT NOT NULL, id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (tenant_id TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (id, tenant_id))",
            "CREATE TABLE t (tenant_id TEXT NOT NULL, id TEXT)",
        ] {
            assert!(refusal(leaky).contains("PRIMARY KEY (tenant_id, id)"), "{leaky}");
        }
        for leaky in
            ["CREATE UNIQUE INDEX u ON customers (id)", "CREATE INDEX u ON customers (lower(id))"]
        {
            assert!(refusal(&format!("{CUSTOMERS}{leaky}")).contains("index u"), "{leaky}");
        }
        // The control: the same table with the tenant in front.
        assert!(
            Schema::new(format!("{CUSTOMERS} CREATE UNIQUE INDEX u ON customers (tenant_id, id)"))
                .is_ok()
        );
    }

    #[test]
    fn t15_tenant_columns_that_compare_two_tenants_equal_are_refused() {
        for column in [
            "tenant_id TEXT",
            "tenant_id INTEGER NOT NULL",
            "tenant_id NUMERIC NOT NULL",
            "tenant_id TEXT NOT NULL COLLATE NOCASE",
            "tenant_id TEXT NOT NULL COLLATE RTRIM",
            "tenant TEXT NOT NULL",
        ] {
            let key = column.split(' ').next().unwrap();
            let table =
                format!("CREATE TABLE t ({column}, id TEXT NOT NULL, PRIMARY KEY ({key}, id))");
            assert!(refusal(&table).contains("tenant_id TEXT NOT NULL"), "{column}");
        }
        // What NOCASE would have done: SQLite itself takes two tenants for one.
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE t (tenant_id TEXT COLLATE NOCASE); INSERT INTO t VALUES ('ACME')",
        )
        .unwrap();
        let seen: i64 = db
            .query_row("SELECT count(*) FROM t WHERE tenant_id = 'acme'", (), |r| r.get(0))
            .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn t04_foreign_keys_that_can_leave_the_tenant_are_refused() {
        let line = |fk: &str| {
            format!("{CUSTOMERS} CREATE TABLE lines (tenant_id TEXT NOT NULL, id TEXT NOT NULL, customer TEXT,
                PRIMARY KEY (tenant_id, id), FOREIGN KEY {fk})")
        };
        let crossing = "(customer, tenant_id) REFERENCES customers (tenant_id, id)";
        assert!(refusal(&line(crossing)).contains("must pair"));
        let acting = "(tenant_id, customer) REFERENCES customers (tenant_id, id) ON DELETE CASCADE";
        assert!(refusal(&line(acting)).contains("CASCADE"));
        assert!(refusal(&line("(tenant_id, customer) REFERENCES nowhere")).contains("nowhere"));
        assert!(
            Schema::new(line("(tenant_id, customer) REFERENCES customers (tenant_id, id)")).is_ok()
        );
        assert!(Schema::new(line("(tenant_id, customer) REFERENCES customers")).is_ok());
    }

    #[test]
    fn m21_what_runs_with_rights_of_its_own_is_refused() {
        for object in [
            "CREATE VIEW v AS SELECT * FROM customers",
            "CREATE TRIGGER g AFTER INSERT ON customers BEGIN DELETE FROM customers; END",
            "CREATE VIRTUAL TABLE f USING fts5(x)",
        ] {
            assert!(
                refusal(&format!("{CUSTOMERS}{object}")).contains("only tables and indexes"),
                "{object}"
            );
        }
        assert!(refusal("").contains("no table"));
        assert!(refusal("CREATE TABLE oops").contains("step 1"));
    }

    #[test]
    fn m21_steps_run_on_the_operators_names_and_end_behind_the_walls() {
        let schema = Schema::new(CUSTOMERS)
            .unwrap()
            .then("ALTER TABLE customers ADD COLUMN name TEXT NOT NULL DEFAULT 'nobody'")
            .unwrap();
        let customers = schema.walled().next().unwrap();
        assert_eq!(customers.columns.len(), 2);
        assert!(schema.catalogue.contains("partywall_t_customers"), "{}", schema.catalogue);
    }
}
