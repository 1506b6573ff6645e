//! The keys: what is unique, and what refers to what, across tenants.

use sqlx::FromRow;

use super::{Finding, LintError, Severity, rules, scope::Scope, tables::quote};

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let unique: Vec<Unique> = scope.ask("unique keys", UNIQUE).await?;
    let foreign: Vec<Foreign> = scope.ask("foreign keys", FOREIGN).await?;
    let findings = unique.iter().filter_map(Unique::finding);
    Ok(findings.chain(foreign.iter().map(Foreign::finding)).collect())
}

/// A primary key, unique constraint or index, or exclusion constraint.
#[derive(Debug, FromRow)]
struct Unique {
    table: String,
    index: String,
    tenant: String,
    /// `primary key`, `unique constraint`, `unique index`, `exclusion constraint`.
    kind: String,
    definition: String,
    has_tenant: bool,
    tenant_first: bool,
    /// Its only column is a uuid or an identity that tenants do not choose.
    made_up: bool,
    columns: Vec<String>,
}

impl Unique {
    fn finding(&self) -> Option<Finding> {
        let Self { table, index, kind, tenant, .. } = self;
        let place = format!("{table} {index}");
        if self.has_tenant && self.tenant_first {
            return None;
        }
        let tenant = quote(tenant);
        let others = self.columns.iter().filter(|column| **column != tenant);
        let columns: Vec<&str> = [&*tenant].into_iter().chain(others.map(|c| &**c)).collect();
        let columns = columns.join(", ");
        let fix = match &**kind {
            "primary key" => {
                format!("ALTER TABLE {table} DROP CONSTRAINT {index}, ADD PRIMARY KEY ({columns})")
            }
            "unique constraint" => {
                format!("ALTER TABLE {table} DROP CONSTRAINT {index}, ADD UNIQUE ({columns})")
            }
            "exclusion constraint" => format!(
                "ALTER TABLE {table} DROP CONSTRAINT {index}, and add it again with {tenant} WITH = in front (btree_gist)"
            ),
            _ => format!(
                "DROP INDEX {}.{index}; CREATE UNIQUE INDEX {index} ON {table} ({columns})",
                table.split('.').next().unwrap_or_default()
            ),
        };
        let finding = if self.has_tenant {
            let what = format!("{table}: the {kind} {index} does not begin with {tenant}");
            Finding::of(&rules::TENANT_NOT_FIRST, place, what, fix)
        } else {
            let severity = if self.made_up { Severity::Note } else { Severity::Warning };
            let chosen = if self.made_up { "; its values are not chosen by tenants" } else { "" };
            let what = format!("{table}: the {kind} {index} spans all tenants{chosen}");
            Finding::of(&rules::UNIQUE_WITHOUT_TENANT, place, what, fix).severity(severity)
        };
        Some(finding.evidence(&self.definition))
    }
}

/// A foreign key between tenant tables that does not carry the tenant over.
#[derive(Debug, FromRow)]
struct Foreign {
    table: String,
    name: String,
    parent: String,
    tenant: String,
    parent_tenant: String,
    columns: String,
    parent_columns: String,
    /// `CASCADE`, `SET NULL`, `SET DEFAULT`: what it does to others' rows.
    on_delete: Option<String>,
    on_update: Option<String>,
}

impl Foreign {
    fn finding(&self) -> Finding {
        let Self { table, name, parent, columns, parent_columns, .. } = self;
        let actions: Vec<String> = [("DELETE", &self.on_delete), ("UPDATE", &self.on_update)]
            .into_iter()
            .filter_map(|(when, action)| Some(format!(" ON {when} {}", action.as_ref()?)))
            .collect();
        let actions = actions.concat();
        let (severity, so) = if actions.is_empty() {
            (Severity::Warning, "it tells whether another tenant's row exists".to_owned())
        } else {
            (
                Severity::Error,
                format!("with{actions} one tenant's statement changes another's rows"),
            )
        };
        let (tenant, parent_tenant) = (quote(&self.tenant), quote(&self.parent_tenant));
        let what = format!("{table}: {name} refers to {parent} without the tenant: {so}");
        let fix = format!(
            "ALTER TABLE {parent} ADD UNIQUE ({parent_tenant}, {parent_columns}); ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} FOREIGN KEY ({tenant}, {columns}) REFERENCES {parent} ({parent_tenant}, {parent_columns}){actions}"
        );
        Finding::of(&rules::FOREIGN_KEY_WITHOUT_TENANT, format!("{table} {name}"), what, fix)
            .severity(severity)
            .evidence(format!("({columns}) REFERENCES {parent} ({parent_columns}){actions}"))
    }
}

/// Partitions repeat their parent's keys, and are left out.
const UNIQUE: &str = "
WITH t AS (SELECT * FROM unnest($1::oid[], $2::text[]) AS t(rel, tenant))
SELECT format('%I.%I', n.nspname, c.relname) AS \"table\", quote_ident(ic.relname) AS index, t.tenant,
       CASE WHEN i.indisprimary THEN 'primary key' WHEN k.contype = 'u' THEN 'unique constraint'
            WHEN k.contype = 'x' THEN 'exclusion constraint' ELSE 'unique index' END AS kind,
       coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(i.indexrelid)) AS definition,
       EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS x(num, at)
                WHERE x.num = ta.attnum AND x.at <= i.indnkeyatts
                  AND (k.contype IS DISTINCT FROM 'x' OR (SELECT o.oprname FROM pg_operator o WHERE o.oid = k.conexclop[x.at]) = '=')) AS has_tenant,
       i.indkey[0] = ta.attnum AS tenant_first,
       i.indnkeyatts = 1 AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0]
                                        AND (a.atttypid = 'uuid'::regtype OR a.attidentity = 'a')) AS made_up,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, g, true) FROM generate_series(1, i.indnkeyatts) AS g) AS columns
  FROM t JOIN pg_class c ON c.oid = t.rel JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute ta ON ta.attrelid = c.oid AND ta.attname = t.tenant
  JOIN pg_index i ON i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion) JOIN pg_class ic ON ic.oid = i.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
 WHERE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
 ORDER BY 1, 2";

const FOREIGN: &str = "
WITH t AS (SELECT * FROM unnest($1::oid[], $2::text[]) AS t(rel, tenant)),
action(code, name) AS (VALUES ('c'::\"char\", 'CASCADE'), ('n', 'SET NULL'), ('d', 'SET DEFAULT'))
SELECT format('%I.%I', n.nspname, c.relname) AS \"table\", quote_ident(k.conname) AS name,
       format('%I.%I', pn.nspname, p.relname) AS parent, t.tenant, u.tenant AS parent_tenant,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY x.at) FROM unnest(k.conkey) WITH ORDINALITY AS x(num, at)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num) AS columns,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY x.at) FROM unnest(k.confkey) WITH ORDINALITY AS x(num, at)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.num) AS parent_columns,
       (SELECT name FROM action WHERE code = k.confdeltype) AS on_delete,
       (SELECT name FROM action WHERE code = k.confupdtype) AS on_update
  FROM pg_constraint k
  JOIN t ON t.rel = k.conrelid JOIN pg_class c ON c.oid = t.rel JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN t AS u ON u.rel = k.confrelid JOIN pg_class p ON p.oid = u.rel JOIN pg_namespace pn ON pn.oid = p.relnamespace
  JOIN pg_attribute ta ON ta.attrelid = t.rel AND ta.attname = t.tenant
  JOIN pg_attribute ua ON ua.attrelid = u.rel AND ua.attname = u.tenant
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND NOT EXISTS (SELECT FROM generate_subscripts(k.conkey, 1) AS i
                    WHERE k.conkey[i] = ta.attnum AND k.confkey[i] = ua.attnum)
 ORDER BY 1, 2";
