//! Many rows in one statement, where `COPY FROM` is refused because of row level security.

use crate::pack::quote_ident;

/// Builds `INSERT … SELECT … FROM unnest(…)`: every column is one array parameter.
///
/// The tenant is proved once per statement, not once per row as a column default would have it,
/// which makes it six times as fast.
///
/// ```
/// use partywall_postgres::BulkInsert;
///
/// let insert = BulkInsert::into_table("notes").column("body", "text").column("stars", "int4");
/// assert_eq!(
///     insert.sql(),
///     r#"INSERT INTO "notes" ("tenant_id", "body", "stars") SELECT t.id, r.* FROM (SELECT partywall.tenant_id() AS id OFFSET 0) AS t, unnest($1::text[], $2::int4[]) AS r"#
/// );
/// ```
///
/// To be run with one array per column, in their order:
///
/// ```no_run
/// # use partywall_postgres::{BulkInsert, TenantTransaction};
/// # async fn f(db: &mut TenantTransaction, insert: BulkInsert) -> Result<(), sqlx::Error> {
/// let (bodies, stars) = (vec!["a", "b"], vec![1, 5]);
/// sqlx::query(sqlx::AssertSqlSafe(insert.sql())).bind(bodies).bind(stars).execute(db.conn()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BulkInsert {
    table: String,
    tenant_column: String,
    proof: &'static str,
    columns: Vec<(String, &'static str)>,
}

impl BulkInsert {
    /// Into a table found by the `search_path`, whose tenant column is `tenant_id` of type `text`.
    pub fn into_table(name: &str) -> Self {
        let tenant_column = quote_ident("tenant_id");
        let proof = "partywall.tenant_id()";
        Self { table: quote_ident(name), tenant_column, proof, columns: Vec::new() }
    }

    /// Into a table of this schema.
    #[must_use]
    pub fn in_schema(mut self, schema: &str) -> Self {
        self.table = format!("{}.{}", quote_ident(schema), self.table);
        self
    }

    /// Says that the tenant column has another name.
    #[must_use]
    pub fn tenant_column(mut self, name: &str) -> Self {
        self.tenant_column = quote_ident(name);
        self
    }

    /// Says that the tenant column is of type `uuid`.
    #[must_use]
    pub fn tenant_is_uuid(mut self) -> Self {
        self.proof = "partywall.tenant_uuid()";
        self
    }

    /// Adds a column; `element` is its type in SQL, such as `int8`.
    #[must_use]
    pub fn column(mut self, name: &str, element: &'static str) -> Self {
        self.columns.push((quote_ident(name), element));
        self
    }

    /// The statement.
    pub fn sql(&self) -> String {
        let names: String = self.columns.iter().map(|(name, _)| format!(", {name}")).collect();
        let arrays: Vec<_> = self
            .columns
            .iter()
            .zip(1..)
            .map(|((_, element), n)| format!("${n}::{element}[]"))
            .collect();
        let Self { table, tenant_column, proof, .. } = self;
        format!(
            "INSERT INTO {table} ({tenant_column}{names}) SELECT t.id, r.* \
             FROM (SELECT {proof} AS id OFFSET 0) AS t, unnest({}) AS r",
            arrays.join(", ")
        )
    }
}
