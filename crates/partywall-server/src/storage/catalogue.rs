//! What tables there are, as the database itself lists them: for tests that must not forget one.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbBackend, Statement};

/// A column, as far as a test needs to know it to fill it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    kind: String,
    /// Whether a row must say something about it.
    pub(crate) required: bool,
}

impl Column {
    /// A value of its type, as SQL.
    pub(crate) fn some_value(&self, text: &str) -> String {
        match self.kind.as_str() {
            "boolean" => "TRUE".to_owned(),
            kind if kind.contains("int") => "1".to_owned(),
            "bytea" => format!("convert_to('{text}', 'UTF8')"),
            kind if kind.contains("blob") => format!("CAST('{text}' AS BLOB)"),
            _ => format!("'{text}'"),
        }
    }
}

/// Every table of ours with its columns. The one that counts migrations is not ours.
pub(crate) async fn tables(db: &impl ConnectionTrait) -> BTreeMap<String, Vec<Column>> {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT c.table_name || ' ' || c.column_name || ' ' || lower(c.data_type) || ' ' ||
                    CASE WHEN c.is_nullable = 'NO' AND c.is_identity = 'NO'
                              AND c.column_default IS NULL THEN 1 ELSE 0 END
             FROM information_schema.columns c JOIN information_schema.tables t
                  USING (table_schema, table_name)
             WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'
             ORDER BY c.table_name, c.ordinal_position"
        }
        _ => {
            "SELECT m.name || ' ' || c.name || ' ' || lower(c.type) || ' ' ||
                    (c.\"notnull\" = 1 AND NOT (c.pk = 1 AND lower(c.type) = 'integer'))
             FROM sqlite_master m JOIN pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid"
        }
    };
    let mut tables = BTreeMap::<String, Vec<Column>>::new();
    for line in texts(db, sql).await {
        let (table, rest) = line.split_once(' ').unwrap();
        let (name, rest) = rest.split_once(' ').unwrap();
        let (kind, required) = rest.rsplit_once(' ').unwrap();
        let column =
            Column { name: name.to_owned(), kind: kind.to_owned(), required: required == "1" };
        tables.entry(table.to_owned()).or_default().push(column);
    }
    tables.remove("seaql_migrations");
    tables
}

/// The first column of every row, which is text.
pub(crate) async fn texts(db: &impl ConnectionTrait, sql: impl Into<String>) -> Vec<String> {
    let asked = Statement::from_string(db.get_database_backend(), sql);
    let rows = db.query_all_raw(asked).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// SQL for a column's value as a literal.
pub(crate) fn quoted(db: &impl ConnectionTrait, column: &str) -> String {
    match db.get_database_backend() {
        DbBackend::Postgres => format!("quote_nullable(\"{column}\"::text)"),
        _ => format!("quote(\"{column}\")"),
    }
}
