//! What a tenant's statement may ask for, decided by SQLite's authorizer while it is prepared.
//! What is not named here is denied.

use std::sync::Arc;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::{
    Schema,
    names::{RESERVED, Verb, WITNESS, base, guard, inner, trigger},
    watch::Watch,
};

pub(crate) struct Authorizer {
    schema: Arc<Schema>,
    watch: Arc<Watch>,
}

impl Authorizer {
    pub(crate) fn new(schema: Arc<Schema>, watch: Arc<Watch>) -> Self {
        Self { schema, watch }
    }

    pub(crate) fn decide(&self, asked: AuthContext<'_>) -> Authorization {
        if self.watch.is_wall() || self.allows(&asked) {
            return Authorization::Allow;
        }
        self.watch.last().denied.get_or_insert_with(|| describe(&asked));
        Authorization::Deny
    }

    fn allows(&self, asked: &AuthContext<'_>) -> bool {
        let by = asked.accessor;
        let by_the_wall = by.is_some_and(|name| name.starts_with(RESERVED));
        match (asked.action, asked.database_name) {
            // Reading something is its own question; savepoints end inside our transaction.
            (AuthAction::Select | AuthAction::Recursive | AuthAction::Savepoint { .. }, _) => true,

            (AuthAction::Function { function_name }, _) if by_the_wall => {
                if let (WITNESS, Some(view)) = (function_name, by) {
                    self.watch.last().witnessed.push(view.to_owned());
                }
                true
            }
            (AuthAction::Function { function_name }, _) => FUNCTIONS.contains(&function_name),

            (AuthAction::Read { table_name, .. }, Some("temp")) => {
                self.schema.contains(table_name)
                    || by
                        .is_some_and(|view| self.schema.contains(view) && inner(view) == table_name)
            }
            (AuthAction::Read { table_name, .. }, Some("main")) => {
                self.may_read_main(table_name, by) || TABLE_FUNCTIONS.contains(&table_name)
            }

            (AuthAction::Insert { table_name }, database) => {
                self.may_change(Verb::Insert, table_name, database, by)
            }
            (AuthAction::Update { table_name, .. }, database) => {
                self.may_change(Verb::Update, table_name, database, by)
            }
            (AuthAction::Delete { table_name }, database) => {
                self.may_change(Verb::Delete, table_name, database, by)
            }

            // BEGIN, COMMIT, ROLLBACK, ATTACH, PRAGMA, CREATE, DROP, ALTER, ANALYZE, REINDEX,
            // and whatever SQLite will think of next.
            _ => false,
        }
    }

    /// A base table gives its rows to its own inner view, and its keys to our triggers: those
    /// look up foreign keys in other tables.
    fn may_read_main(&self, table: &str, by: Option<&str>) -> bool {
        let Some(by) = by else { return false };
        let reads = |walled: &crate::schema::Table| {
            base(&walled.name) == table && inner(&walled.name) == by
        };
        if self.schema.walled().any(reads) {
            self.watch.last().read.push(by.to_owned());
            return true;
        }
        self.schema.walled().any(|walled| base(&walled.name) == table)
            && self.schema.walled().any(|walled| is_trigger_of(&walled.name, by))
    }

    /// The tenant changes the outer view; only the view's trigger changes the base table.
    fn may_change(
        &self,
        verb: Verb,
        table: &str,
        database: Option<&str>,
        by: Option<&str>,
    ) -> bool {
        match (database, by) {
            (Some("temp"), None) => self.schema.contains(table),
            (Some("main"), Some(by)) => self
                .schema
                .walled()
                .any(|walled| base(&walled.name) == table && trigger(verb, &walled.name) == by),
            _ => false,
        }
    }
}

fn is_trigger_of(table: &str, name: &str) -> bool {
    Verb::ALL.into_iter().any(|verb| name == trigger(verb, table) || name == guard(verb, table))
}

/// What was asked for, in words for the operator's log.
fn describe(asked: &AuthContext<'_>) -> String {
    let mut what = match asked.action {
        AuthAction::Read { table_name, column_name: "" } => {
            format!("read {table_name}")
        }
        AuthAction::Read { table_name, column_name } => format!("read {table_name}.{column_name}"),
        AuthAction::Insert { table_name } => format!("insert into {table_name}"),
        AuthAction::Update { table_name, .. } => format!("update {table_name}"),
        AuthAction::Delete { table_name } => format!("delete from {table_name}"),
        AuthAction::Function { function_name } => format!("call {function_name}()"),
        AuthAction::Pragma { pragma_name, .. } => format!("PRAGMA {pragma_name}"),
        AuthAction::Attach { .. } => "ATTACH or VACUUM INTO a file".to_owned(),
        AuthAction::Transaction { operation } => format!("{operation:?} a transaction"),
        other => {
            let debug = format!("{other:?}");
            debug.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        }
    };
    if let Some(by) = asked.accessor {
        what.push_str(&format!(" (through {by})"));
    }
    what
}

/// Table-valued functions that see their arguments only.
pub(crate) const TABLE_FUNCTIONS: &[&str] = &["json_each", "json_tree"];

/// Functions that see their arguments only, or the clock. Missing on purpose: `load_extension`,
/// `fts3_tokenizer`, `readfile` and the like reach outside; `changes`, `total_changes` and
/// `last_insert_rowid` tell about other statements; `sqlite_*` tell about the build; anything a
/// virtual table module brings along.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "soundex",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];
