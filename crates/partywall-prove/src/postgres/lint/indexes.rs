//! The cliff: indexes that row security makes useless, beside the largest tenant's rows.

use sqlx::FromRow;

use super::{Finding, LintError, Severity, rules, scope::Scope};

/// From so many rows of one tenant on, looking at all of them is felt: about a tenth of a
/// millisecond per thousand.
const FELT: f64 = 10_000.0;

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let indexes: Vec<Index> = scope.ask("indexes", INDEXES).await?;
    Ok(indexes.iter().filter_map(Index::finding).collect())
}

/// One column or expression of an index on a walled table.
#[derive(Debug, FromRow)]
struct Index {
    table: String,
    index: String,
    /// The column or expression.
    part: String,
    class: String,
    is_pattern: bool,
    operators: Option<String>,
    functions: Option<String>,
    /// Rows of the largest tenant by the most common value of the tenant column.
    largest: Option<f64>,
    /// Rows of the whole table.
    rows: f64,
}

impl Index {
    fn finding(&self) -> Option<Finding> {
        let Self { table, index, part, class, .. } = self;
        let mut leaky: Vec<String> = Vec::new();
        leaky.extend(self.functions.clone());
        leaky.extend(self.operators.as_ref().map(|operators| format!("operators {operators}")));
        if self.is_pattern {
            leaky.push("LIKE".to_owned());
        }
        if leaky.is_empty() {
            return None;
        }
        let (severity, size) = match (self.largest, self.rows > 0.0) {
            (Some(rows), true) if rows >= FELT => {
                (Severity::Warning, rows_of("the largest tenant has about", rows))
            }
            (Some(rows), true) => (Severity::Note, rows_of("the largest tenant has about", rows)),
            (None, true) if self.rows >= FELT => (
                Severity::Warning,
                rows_of("the largest tenant is unknown, the table has about", self.rows),
            ),
            (None, true) => (Severity::Note, rows_of("the table has about", self.rows)),
            (_, false) => (Severity::Note, "the table was never analyzed".to_owned()),
        };
        let leaky = leaky.join(", ");
        let what = format!(
            "{table}: {index} is passed over behind row security for {part} ({leaky} not LEAKPROOF); {size}"
        );
        let fix = format!(
            "ALTER TABLE {table} ADD COLUMN … GENERATED ALWAYS AS (…) STORED, of a type whose operators are LEAKPROOF (bigint for numeric, text for lower()), and index (tenant, that); or move the tenant to a database of its own"
        );
        Some(
            Finding::of(&rules::INDEX_NOT_LEAKPROOF, format!("{table} {index}"), what, fix)
                .severity(severity)
                .evidence(format!("operator class {class}")),
        )
    }
}

fn rows_of(whose: &str, rows: f64) -> String {
    format!("{whose} {rows:.0} rows (estimated)")
}

/// The tenant column itself is compared by the policy, before anything else.
const INDEXES: &str = "
WITH t AS (SELECT * FROM unnest($1::oid[], $2::text[]) AS t(rel, tenant))
SELECT format('%I.%I', n.nspname, c.relname) AS \"table\", quote_ident(ic.relname) AS index, p.part, oc.opcname::text AS class,
       oc.opcname ~ 'pattern_ops$' AS is_pattern,
       (SELECT string_agg(DISTINCT o.oprname, ' ') FROM pg_amop s JOIN pg_operator o ON o.oid = s.amopopr JOIN pg_proc f ON f.oid = o.oprcode
         WHERE s.amopfamily = oc.opcfamily AND s.amoplefttype = oc.opcintype AND s.amoppurpose = 's' AND NOT f.proleakproof
           AND (am.amname NOT IN ('btree', 'hash') OR s.amoprighttype = oc.opcintype)) AS operators,
       (SELECT string_agg(DISTINCT m[1] || '()', ', ') FROM regexp_matches(p.part, '([a-z_][a-z0-9_]*)\\(', 'g') AS m
         WHERE i.indkey[p.at - 1] = 0 AND NOT EXISTS (SELECT FROM pg_proc f WHERE f.proname = m[1] AND f.proleakproof)) AS functions,
       (SELECT max(coalesce(s.most_common_freqs[1] * greatest(c.reltuples, 0),
                   CASE WHEN s.n_distinct > 0 THEN greatest(c.reltuples, 0) / s.n_distinct
                        WHEN s.n_distinct < 0 THEN -1 / s.n_distinct END))::float8
          FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = t.tenant) AS largest,
       greatest(c.reltuples, 0)::float8 AS rows
  FROM t JOIN pg_class c ON c.oid = t.rel AND c.relrowsecurity JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute ta ON ta.attrelid = c.oid AND ta.attname = t.tenant
  JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
 CROSS JOIN LATERAL (SELECT g AS at, pg_get_indexdef(i.indexrelid, g, true) AS part FROM generate_series(1, i.indnkeyatts) AS g) AS p
  JOIN pg_opclass oc ON oc.oid = i.indclass[p.at - 1]
 WHERE i.indkey[p.at - 1] <> ta.attnum AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
 ORDER BY 1, 2, p.at";
