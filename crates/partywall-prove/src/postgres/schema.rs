//! What a database consists of, as its catalogues tell anybody who may connect.

use std::collections::BTreeMap;

use sqlx::{Row as _, postgres::PgRow};

use super::{
    sql::{ident, literal},
    stage::{Gone, Session},
};

/// The relations an application can see, and what else can be attacked.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// `server_version_num`: 150013.
    pub version: i32,
    /// Tables, views and the like, parents before those that refer to them.
    pub relations: Vec<Relation>,
    /// The labels of each enum type, by the type's name.
    pub enums: BTreeMap<String, Vec<String>>,
    /// The base type and the checks of each domain, by the domain's name.
    pub domains: BTreeMap<String, (String, Vec<String>)>,
}

/// A table, a view, a materialized view, a partition or a foreign table.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its number in the catalogue.
    pub oid: u32,
    /// The schema it is in.
    pub schema: String,
    /// Its name in the schema.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The role that owns it.
    pub owner: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Whose rows it holds.
    pub class: Class,
    /// The columns of each unique key, the primary key first.
    pub keys: Vec<Vec<String>>,
    /// What it refers to.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its CHECK constraints, as the server prints them.
    pub checks: Vec<String>,
    /// The relation it is a part or a child of.
    pub parent: Option<u32>,
    /// Whether row level security is enabled, and whether it is forced on the owner.
    pub row_security: (bool, bool),
    /// What the runtime role may do with it.
    pub grants: Grants,
    /// How many rows the planner thinks there are.
    pub estimated_rows: i64,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An ordinary table, or one that is a partition.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A view.
    View,
    /// A materialized view.
    Materialized,
    /// A foreign table.
    Foreign,
}

/// Whose rows a relation holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Class {
    /// Each row is one tenant's, named in this column.
    Tenant(String),
    /// Every row is this tenant's, for the schema is.
    Schema(String),
    /// Declared to be the same for every tenant.
    Shared,
    /// Nobody has said: no column names a tenant.
    Undeclared,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` prints it.
    pub type_name: String,
    /// `pg_type.typcategory`: `S` string, `N` number, `A` array, `E` enum …
    pub category: char,
    /// Whether it must have a value.
    pub not_null: bool,
    /// Whether it gets one by itself: a default, an identity, a generated column.
    pub fills_itself: bool,
    /// Whether a statement may give it a value at all.
    pub settable: bool,
}

/// A foreign key.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Its own columns.
    pub columns: Vec<String>,
    /// The relation referred to.
    pub target: u32,
    /// The columns referred to.
    pub target_columns: Vec<String>,
    /// `pg_constraint.confdeltype`: `a` no action, `r` restrict, `c` cascade, `n` null, `d` default.
    pub on_delete: char,
    /// `pg_constraint.confupdtype`.
    pub on_update: char,
}

/// What the runtime role may do with a relation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    /// Read, all columns or some.
    pub select: bool,
    /// Add rows.
    pub insert: bool,
    /// Change rows.
    pub update: bool,
    /// Remove rows.
    pub delete: bool,
    /// Empty it.
    pub truncate: bool,
    /// Refer to it.
    pub references: bool,
    /// Put triggers on it.
    pub trigger: bool,
}

impl Grants {
    /// Whether it may read or write it at all.
    pub fn any(self) -> bool {
        self.select || self.insert || self.update || self.delete
    }
}

impl Relation {
    /// `"shop"."orders"`, for statements.
    pub fn quoted(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }

    /// `shop.orders`, for people.
    pub fn place(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The column that names the tenant.
    pub fn tenant_column(&self) -> Option<&Column> {
        match &self.class {
            Class::Tenant(column) => self.column(column),
            Class::Schema(_) | Class::Shared | Class::Undeclared => None,
        }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether rows can be put into it directly.
    pub fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table | Kind::Partitioned)
    }
}

impl Schema {
    /// The relation of that number.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }

    /// Whether rows get into it by its parent, and by the parent only. What merely inherits from a
    /// table is no partition, but a table of its own.
    pub fn is_partition(&self, relation: &Relation) -> bool {
        let parent = relation.parent.and_then(|oid| self.relation(oid));
        parent.is_some_and(|parent| parent.kind == Kind::Partitioned)
    }

    /// The relations that hold tenants' rows.
    pub fn tenant_relations(&self) -> impl Iterator<Item = &Relation> {
        let of_tenants = |class: &Class| matches!(class, Class::Tenant(_) | Class::Schema(_));
        self.relations.iter().filter(move |relation| of_tenants(&relation.class))
    }

    /// Reads the catalogues. `schemas` narrows it down; with none, every schema that is not the
    /// server's own.
    ///
    /// # Errors
    ///
    /// When the catalogues cannot be read.
    pub async fn read(session: &mut Session, schemas: &[String]) -> Result<Self, Gone> {
        let within = within(schemas);
        let version = session.send("SELECT current_setting('server_version_num')").await?;
        let version = version.first().and_then(|text| text.parse().ok()).unwrap_or_default();
        let mut schema = Self { version, ..Self::default() };
        for row in session.all(&RELATIONS.replace("{within}", &within)).await? {
            schema.relations.extend(relation(&row));
        }
        for row in session.all(&COLUMNS.replace("{within}", &within)).await? {
            let found = schema.relations.iter_mut().find(|relation| relation.oid == oid(&row, 0));
            if let Some(relation) = found {
                relation.columns.push(column(&row));
            }
        }
        for row in session.all(&CONSTRAINTS.replace("{within}", &within)).await? {
            let found = schema.relations.iter_mut().find(|relation| relation.oid == oid(&row, 0));
            if let Some(relation) = found {
                constraint(relation, &row);
            }
        }
        for row in session.all(ENUMS).await? {
            schema.enums.entry(text(&row, 0)).or_default().push(text(&row, 1));
        }
        for row in session.all(DOMAINS).await? {
            let domain = schema.domains.entry(text(&row, 0));
            let (_, checks) = domain.or_insert_with(|| (text(&row, 1), Vec::new()));
            checks.extend(Some(text(&row, 2)).filter(|check| !check.is_empty()));
        }
        schema.put_parents_first();
        Ok(schema)
    }

    /// Reads what any of `roles` may do with each relation.
    ///
    /// # Errors
    ///
    /// When the catalogues cannot be read.
    pub async fn read_grants(&mut self, session: &mut Session, roles: &[&str]) -> Result<(), Gone> {
        let names: Vec<String> = roles.iter().map(|role| literal(role)).collect();
        let asked = GRANTS.replace("{roles}", &names.join(", "));
        let grants: BTreeMap<u32, Grants> = session
            .all(&asked)
            .await?
            .iter()
            .map(|row| {
                let may = |n| text(row, n) == "t";
                let grants = Grants {
                    select: may(1),
                    insert: may(2),
                    update: may(3),
                    delete: may(4),
                    truncate: may(5),
                    references: may(6),
                    trigger: may(7),
                };
                (oid(row, 0), grants)
            })
            .collect();
        for relation in &mut self.relations {
            relation.grants = grants.get(&relation.oid).copied().unwrap_or_default();
        }
        Ok(())
    }

    /// Orders the relations so that what others refer to comes first; circles stay as they are.
    fn put_parents_first(&mut self) {
        let mut placed: Vec<Relation> = Vec::with_capacity(self.relations.len());
        let mut waiting = std::mem::take(&mut self.relations);
        while !waiting.is_empty() {
            let names: Vec<u32> = waiting.iter().map(|relation| relation.oid).collect();
            let ready = |relation: &Relation| {
                let waits = |oid: u32| oid != relation.oid && names.contains(&oid);
                !relation.foreign_keys.iter().any(|key| waits(key.target))
                    && !relation.parent.is_some_and(waits)
            };
            let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(ready);
            if now.is_empty() {
                placed.extend(later);
                break;
            }
            placed.extend(now);
            waiting = later;
        }
        self.relations = placed;
    }
}

fn within(schemas: &[String]) -> String {
    if schemas.is_empty() {
        // Ours holds the wall itself, and no tenant's rows.
        return "n.nspname !~ '^(pg_|information_schema$|partywall$)'".to_owned();
    }
    let names: Vec<String> = schemas.iter().map(|name| literal(name)).collect();
    format!("n.nspname IN ({})", names.join(", "))
}

const RELATIONS: &str = "
    SELECT c.oid, n.nspname, c.relname, c.relkind, r.rolname, c.relrowsecurity,
           c.relforcerowsecurity, greatest(c.reltuples, 0)::int8,
           (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {within}
     ORDER BY n.nspname, c.relname";

const COLUMNS: &str = "
    SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typcategory,
           a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
             OR (t.typtype = 'd' AND t.typdefault IS NOT NULL),
           a.attgenerated = '' AND a.attidentity <> 'a'
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attnum > 0 AND NOT a.attisdropped
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {within}
     ORDER BY a.attrelid, a.attnum";

/// Names are joined by a character that cannot stand in one.
const CONSTRAINTS: &str = "
    SELECT o.conrelid, o.contype, o.conname, o.confrelid, o.confdeltype, o.confupdtype,
           (SELECT string_agg(a.attname, E'\\x01' ORDER BY k.n)
              FROM unnest(o.conkey) WITH ORDINALITY k(num, n)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.num),
           (SELECT string_agg(a.attname, E'\\x01' ORDER BY k.n)
              FROM unnest(o.confkey) WITH ORDINALITY k(num, n)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.num),
           CASE WHEN o.contype = 'c' THEN pg_catalog.pg_get_constraintdef(o.oid) END
      FROM pg_catalog.pg_constraint o
      JOIN pg_catalog.pg_class c ON c.oid = o.conrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE o.contype IN ('p', 'u', 'f', 'c') AND {within}
    UNION ALL
    SELECT i.indrelid, 'u', c2.relname, 0, ' ', ' ',
           (SELECT string_agg(a.attname, E'\\x01' ORDER BY k.n)
              FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(num, n)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
             WHERE k.n <= i.indnkeyatts), NULL, NULL
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
      JOIN pg_catalog.pg_class c2 ON c2.oid = i.indexrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE i.indisunique AND i.indpred IS NULL AND 0 <> ALL (i.indkey)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.conindid = i.indexrelid
                          AND o.contype IN ('p', 'u')) AND {within}
     ORDER BY 1, 2, 3";

const ENUMS: &str = "
    SELECT pg_catalog.format_type(e.enumtypid, NULL), e.enumlabel
      FROM pg_catalog.pg_enum e ORDER BY e.enumtypid, e.enumsortorder";

const DOMAINS: &str = "
    SELECT pg_catalog.format_type(t.oid, NULL), pg_catalog.format_type(t.typbasetype, t.typtypmod),
           coalesce(pg_catalog.pg_get_constraintdef(o.oid), '')
      FROM pg_catalog.pg_type t
      LEFT JOIN pg_catalog.pg_constraint o ON o.contypid = t.oid AND o.contype = 'c'
     WHERE t.typtype = 'd'";

const GRANTS: &str = "
    SELECT c.oid,
           bool_or(has_table_privilege(r.oid, c.oid, 'SELECT') OR has_any_column_privilege(r.oid, c.oid, 'SELECT')),
           bool_or(has_table_privilege(r.oid, c.oid, 'INSERT') OR has_any_column_privilege(r.oid, c.oid, 'INSERT')),
           bool_or(has_table_privilege(r.oid, c.oid, 'UPDATE') OR has_any_column_privilege(r.oid, c.oid, 'UPDATE')),
           bool_or(has_table_privilege(r.oid, c.oid, 'DELETE')),
           bool_or(has_table_privilege(r.oid, c.oid, 'TRUNCATE')),
           bool_or(has_table_privilege(r.oid, c.oid, 'REFERENCES')),
           bool_or(has_table_privilege(r.oid, c.oid, 'TRIGGER'))
      FROM pg_catalog.pg_class c, pg_catalog.pg_roles r
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND r.rolname IN ({roles})
       AND pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
     GROUP BY c.oid";

fn relation(row: &PgRow) -> Option<Relation> {
    let kind = match text(row, 3).as_str() {
        "r" => Kind::Table,
        "p" => Kind::Partitioned,
        "v" => Kind::View,
        "m" => Kind::Materialized,
        "f" => Kind::Foreign,
        _ => return None,
    };
    Some(Relation {
        oid: oid(row, 0),
        schema: text(row, 1),
        name: text(row, 2),
        kind,
        owner: text(row, 4),
        columns: Vec::new(),
        class: Class::Undeclared,
        keys: Vec::new(),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        parent: Some(oid(row, 8)).filter(|oid| *oid != 0),
        row_security: (text(row, 5) == "t", text(row, 6) == "t"),
        grants: Grants::default(),
        estimated_rows: text(row, 7).parse().unwrap_or_default(),
    })
}

fn column(row: &PgRow) -> Column {
    Column {
        name: text(row, 1),
        type_name: text(row, 2),
        category: text(row, 3).chars().next().unwrap_or('X'),
        not_null: text(row, 4) == "t",
        fills_itself: text(row, 5) == "t",
        settable: text(row, 6) == "t",
    }
}

fn constraint(relation: &mut Relation, row: &PgRow) {
    let names = |n| text(row, n).split('\u{1}').map(str::to_owned).collect::<Vec<_>>();
    let letter = |n| text(row, n).chars().next().unwrap_or(' ');
    match letter(1) {
        // In the order of the catalogue query: c, f, p, u; so the primary key comes first.
        'p' | 'u' => relation.keys.push(names(6)),
        'c' => relation.checks.push(text(row, 8)),
        'f' => relation.foreign_keys.push(ForeignKey {
            name: text(row, 2),
            columns: names(6),
            target: oid(row, 3),
            target_columns: names(7),
            on_delete: letter(4),
            on_update: letter(5),
        }),
        _ => {}
    }
}

/// A column of a catalogue row, which the simple protocol gives as text; empty when null.
pub(crate) fn text(row: &PgRow, n: usize) -> String {
    use sqlx::ValueRef as _;
    let Ok(raw) = row.try_get_raw(n) else { return String::new() };
    if raw.is_null() { String::new() } else { raw.as_str().map(str::to_owned).unwrap_or_default() }
}

fn oid(row: &PgRow, n: usize) -> u32 {
    text(row, n).parse().unwrap_or_default()
}
