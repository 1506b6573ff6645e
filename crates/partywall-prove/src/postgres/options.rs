//! What somebody may tell a run beside the address.

use std::str::FromStr;

use super::access::Address;

/// How a run goes about it. The default needs nothing but an address.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Attack these schemas only; with none, all that are not the server's own.
    pub schemas: Vec<String>,
    /// The role the application runs as; with none, the connection's own or the only fitting one.
    pub role: Option<String>,
    /// The settings that say which tenant it is; with none, those the row policies read.
    pub settings: Vec<Setting>,
    /// The columns that name the tenant; with none, those the row policies compare, or a guess.
    pub tenant_columns: Vec<TenantColumn>,
    /// The tables that are the same for every tenant, as `table` or `schema.table`.
    pub shared: Vec<String>,
    /// Two tenants that exist; with none, two are made up, and undone.
    pub tenants: Option<[String; 2]>,
    /// Who the two tenants' sessions are, where that is not the tenant itself: `{user}` in a
    /// setting, in the setting up and in values; the tenants' roles, where each has one.
    pub users: Option<[String; 2]>,
    /// Values for columns that no value can be made up for.
    pub values: Vec<Value>,
    /// SQL that is run before everything else, by the connection's own role, for each tenant;
    /// `{tenant}` and `{user}` in it are the tenant and its user.
    pub setup: Option<String>,
    /// The key that tickets are made with, for a wall of ours whose key table cannot be read.
    pub ticket_key: Option<Vec<u8>>,
    /// The pooler that the application goes through, where the address of the run is another.
    pub pooler: Option<Address>,
    /// What the attacker can do.
    pub adversary: Adversary,
    /// Writes nothing at all: reads across between two existing tenants.
    pub read_only: bool,
    /// Goes ahead although it looks like production. Everything is rolled back all the same.
    pub even_in_production: bool,
}

/// What the attacker can do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Adversary {
    /// Run SQL of its own in its own session, as after an SQL injection. A tenant named by a setting
    /// that anybody may set does not survive this.
    #[default]
    SqlInjection,
    /// Send any value to statements that are the application's; the context is out of its hands.
    Parameters,
}

/// A setting that says which tenant it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// `app.current_tenant`.
    pub name: String,
    /// What it is set to, with `{tenant}` for the tenant or `{user}` for one of its users:
    /// `{tenant}`, `{"sub": "{user}"}`.
    pub template: String,
}

/// A column that names the tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TenantColumn {
    /// `table` or `schema.table`; `*` for every table that has the column.
    pub table: String,
    /// The column.
    pub column: String,
}

/// A value for a column, as an SQL expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// `table` or `schema.table`.
    pub table: String,
    /// The column.
    pub column: String,
    /// The expression; `{tenant}` and `{user}` in it are the tenant and its user.
    pub expression: String,
}

/// An option that says nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{written:?} is not {expected}")]
pub struct InvalidOption {
    /// What was written.
    pub written: String,
    /// What should have been.
    pub expected: &'static str,
}

impl FromStr for Setting {
    type Err = InvalidOption;

    /// `NAME` or `NAME=TEMPLATE`.
    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (name, template) = written.split_once('=').unwrap_or((written, "{tenant}"));
        let says_who = template.contains("{tenant}") || template.contains("{user}");
        if name.is_empty() || !says_who {
            let expected = "NAME or NAME=TEMPLATE with {tenant} or {user} in it: app.tenant";
            return Err(InvalidOption { written: written.to_owned(), expected });
        }
        Ok(Self { name: name.to_owned(), template: template.to_owned() })
    }
}

impl FromStr for TenantColumn {
    type Err = InvalidOption;

    /// `[SCHEMA.]TABLE:COLUMN`, or `COLUMN` alone for every table that has it.
    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (table, column) = written.rsplit_once(':').unwrap_or(("*", written));
        if table.is_empty() || column.is_empty() {
            let expected = "[SCHEMA.]TABLE:COLUMN or COLUMN";
            return Err(InvalidOption { written: written.to_owned(), expected });
        }
        Ok(Self { table: table.to_owned(), column: column.to_owned() })
    }
}

impl FromStr for Value {
    type Err = InvalidOption;

    /// `[SCHEMA.]TABLE.COLUMN=EXPRESSION`.
    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let expected = "[SCHEMA.]TABLE.COLUMN=EXPRESSION: public.orders.status='open'";
        let invalid = || InvalidOption { written: written.to_owned(), expected };
        let (place, expression) = written.split_once('=').ok_or_else(invalid)?;
        let (table, column) = place.rsplit_once('.').ok_or_else(invalid)?;
        if table.is_empty() || column.is_empty() || expression.trim().is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            table: table.to_owned(),
            column: column.to_owned(),
            expression: expression.to_owned(),
        })
    }
}

/// Whether `pattern` (`table`, `schema.table` or `*`) names the relation.
pub(crate) fn names(pattern: &str, schema: &str, name: &str) -> bool {
    pattern == "*"
        || pattern == name
        || pattern.split_once('.').is_some_and(|(s, n)| s == schema && n == name)
}
