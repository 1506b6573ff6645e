//! The SQL pack: what a database needs to be a wall, as one migration to read before running it.

use std::{fmt, str::FromStr};

use partywall::TenantId;

/// What the migration is to contain; see [`migration`].
///
/// ```
/// use partywall_postgres::{InitOptions, Table, migration};
///
/// let options = InitOptions::default().table("public.invoices".parse::<Table>()?);
/// let sql = migration(&options);
/// assert!(sql.contains(r#"SELECT partywall.protect('"public"."invoices"'::regclass"#));
/// # Ok::<(), partywall_postgres::InvalidPackName>(())
/// ```
#[derive(Clone, Debug)]
pub struct InitOptions {
    roles: Roles,
    slots: u16,
    tables: Vec<Table>,
}

impl InitOptions {
    /// The pack for the roles named here, with 16 slots and no table yet.
    pub fn new(roles: Roles) -> Self {
        Self { roles, slots: 16, tables: Vec::new() }
    }

    /// How many slot logins to create: one per backend the application's pool may hold.
    #[must_use]
    pub fn slots(mut self, slots: u16) -> Self {
        self.slots = slots;
        self
    }

    /// Puts one more existing table behind the wall.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }
}

impl Default for InitOptions {
    fn default() -> Self {
        Self::new(Roles::default())
    }
}

/// The names of the roles of one application in one cluster, all with one prefix.
///
/// Roles belong to the whole cluster, so two applications on it need two prefixes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roles {
    prefix: String,
}

impl Roles {
    /// Roles named `{prefix}_owner`, `{prefix}_data`, `{prefix}_app` and `{prefix}_slot_1` to `_n`.
    ///
    /// # Errors
    ///
    /// Unless the prefix is 1 to 40 of `a-z`, `0-9` and `_`, starting with a letter.
    pub fn with_prefix(prefix: &str) -> Result<Self, InvalidPackName> {
        let good = (1..=40).contains(&prefix.len())
            && prefix.starts_with(|c: char| c.is_ascii_lowercase())
            && prefix.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            && !prefix.starts_with("pg_");
        good.then(|| Self { prefix: prefix.to_owned() })
            .ok_or_else(|| InvalidPackName::Prefix { prefix: prefix.to_owned() })
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Owns the schema `partywall` and the ticket keys; cannot log in.
    pub fn owner(&self) -> String {
        format!("{}_owner", self.prefix)
    }

    /// Owns the walled tables; cannot log in.
    pub fn data(&self) -> String {
        format!("{}_data", self.prefix)
    }

    /// The group that holds the table grants; cannot log in.
    pub fn app(&self) -> String {
        format!("{}_app", self.prefix)
    }

    /// The login of backend slot `n`, counted from 1.
    pub fn slot(&self, n: u16) -> String {
        format!("{}_slot_{n}", self.prefix)
    }
}

impl Default for Roles {
    /// The prefix `partywall`.
    fn default() -> Self {
        Self { prefix: "partywall".to_owned() }
    }
}

/// A table and the column that names the tenant in it.
///
/// Parsed from `schema.table` or `schema.table.column`; the column is `tenant_id` by default.
/// Names are taken as the catalogue spells them, without quotes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
    /// The column that names the tenant, of type `text`, `varchar` or `uuid`.
    pub column: String,
}

impl Table {
    /// The quoted, qualified name.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

impl FromStr for Table {
    type Err = InvalidPackName;

    fn from_str(table: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPackName::Table { table: table.to_owned() };
        let mut parts = table.split('.').map(str::to_owned);
        let (Some(schema), Some(name), column, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let column = column.unwrap_or_else(|| "tenant_id".to_owned());
        let good = |name: &str| (1..=63).contains(&name.len()) && !name.contains(['\0', '"', '\n']);
        if !(good(&schema) && good(&name) && good(&column)) {
            return Err(invalid());
        }
        Ok(Self { schema, name, column })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A name the pack cannot be made with.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPackName {
    /// Not a prefix for role names.
    #[error(
        "{prefix:?} is no prefix for role names: use 1 to 40 of a-z, 0-9 and '_', starting with a letter, not with pg_"
    )]
    Prefix {
        /// What was given.
        prefix: String,
    },
    /// Not a table.
    #[error(
        "{table:?} names no table: write schema.table or schema.table.tenant_column, without quotes"
    )]
    Table {
        /// What was given.
        table: String,
    },
}

/// The migration: roles, schema `partywall`, and the tables to put behind the wall.
///
/// To be run by the owner of the database, who needs `CREATEROLE` and neither superuser rights
/// nor an extension. It may be run again: with more slots, more tables, a later version of the
/// pack. It sets no password and no key; those are set by [`crate::provision`], which speaks to
/// the database without writing secrets into a file.
pub fn migration(options: &InitOptions) -> String {
    let roles = &options.roles;
    let slots = (1..=options.slots).map(|n| quote_literal(&roles.slot(n))).collect::<Vec<_>>();
    let render = |template: &str| {
        template
            .replace("{owner}", &quote_ident(&roles.owner()))
            .replace("{data}", &quote_ident(&roles.data()))
            .replace("{app}", &quote_ident(&roles.app()))
            .replace("{owner_lit}", &quote_literal(&roles.owner()))
            .replace("{data_lit}", &quote_literal(&roles.data()))
            .replace("{app_lit}", &quote_literal(&roles.app()))
            .replace("{slots_lit}", &format!("ARRAY[{}]::text[]", slots.join(", ")))
    };
    let mut sql = String::from(
        "-- Partywall: the wall in this database. Run it as the owner of the database, in one go:\n\
         --   psql -v ON_ERROR_STOP=1 --single-transaction -f this.sql\n\n",
    );
    sql += &render(include_str!("../sql/1_roles.sql"));
    sql += "\n";
    sql += &render(include_str!("../sql/2_wall.sql"));
    for table in &options.tables {
        sql += &render(include_str!("../sql/3_table.sql"))
            .replace("{schema}", &quote_ident(&table.schema))
            .replace("{table}", &table.quoted())
            .replace("{table_lit}", &quote_literal(&table.quoted()))
            .replace("{column_lit}", &quote_literal(&table.column));
    }
    sql
}

/// The name of a tenant's own database, schema or role: `{prefix}_{tenant}`, or, where that would
/// not fit into an identifier, `{prefix}__{start of the id}_{hash of the id}`.
///
/// Tenant ids hold no `_`, so no two of these names are the same.
pub fn tenant_name(prefix: &str, tenant: &TenantId) -> String {
    let plain = format!("{prefix}_{tenant}");
    if plain.len() <= IDENT_LIMIT {
        return plain;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, tenant.as_str().as_bytes());
    let hash = digest.as_ref().iter().take(12).map(|b| format!("{b:02x}")).collect::<String>();
    let room = IDENT_LIMIT.saturating_sub(prefix.len() + "___".len() + hash.len());
    let start = tenant.as_str().get(..room).unwrap_or_default();
    format!("{prefix}__{start}_{hash}")
}

/// `NAMEDATALEN - 1`; PostgreSQL truncates longer names without an error.
const IDENT_LIMIT: usize = 63;

/// A name as an SQL identifier.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal that reads the same under any `standard_conforming_strings`.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_every_place_is_filled() {
        let options = InitOptions::new(Roles::with_prefix("shop").unwrap())
            .slots(2)
            .table("app.o'brien.org".parse().unwrap());
        let sql = migration(&options);
        assert!(
            sql.contains(
                r#"GRANT SELECT, INSERT, UPDATE, DELETE ON "app"."o'brien" TO "shop_app""#
            )
        );
        assert!(sql.contains(r#"protect('"app"."o''brien"'::regclass, 'org')"#));
        assert!(sql.contains("ARRAY['shop_slot_1', 'shop_slot_2']::text[]"));
        for place in ["{owner", "{data", "{app", "{slots", "{table", "{schema", "{column"] {
            assert!(!sql.contains(place), "{place} was not filled");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for prefix in ["", "pg_x", "9a", "A", "a-b", "a\"b", &"x".repeat(41)] {
            assert!(Roles::with_prefix(prefix).is_err(), "{prefix:?}");
        }
        assert!(Roles::with_prefix("pw_eu").is_ok());
        for table in ["", "t", "a.", ".b", "a.b.c.d", "a.\"b"] {
            assert!(table.parse::<Table>().is_err(), "{table:?}");
        }
        assert_eq!("a.b.c".parse::<Table>().unwrap().column, "c");
    }

    #[test]
    fn m14_names_of_tenants_never_meet() {
        let name = |id: &str| tenant_name("shop", &id.parse().unwrap());
        assert_eq!(name("acme"), "shop_acme");
        let (long, longer) = ("x".repeat(62), "x".repeat(63));
        assert_ne!(name(&long), name(&longer));
        assert!(name(&longer).len() <= IDENT_LIMIT);
        // What PostgreSQL would have made of it.
        assert_eq!(format!("shop_{long}")[..63], format!("shop_{longer}")[..63]);
    }

    #[test]
    fn literals_survive_backslashes() {
        assert_eq!(quote_literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(quote_literal("a'b"), "'a''b'");
    }
}
