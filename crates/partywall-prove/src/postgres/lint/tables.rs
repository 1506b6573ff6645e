//! The tables: which of them hold tenants' rows, and whether row security stands before them.

use sqlx::{FromRow, postgres::types::Oid};

use super::{Finding, LintError, Options, Severity, expression, rules, scope::Scope};
use crate::postgres::options::names;

/// A table the application may have to do with.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Table {
    pub(super) oid: Oid,
    pub(super) schema: String,
    /// As the catalogue spells it.
    pub(super) plain: String,
    /// Qualified and quoted.
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) enabled: bool,
    pub(super) forced: bool,
    /// The table it is a partition or child of.
    pub(super) parent: Option<Oid>,
    pub(super) columns: Vec<String>,
    pub(super) nullable: Vec<String>,
    /// Its policies' expressions, for guessing.
    expressions: Vec<String>,
    policies: i64,
    /// Tables its foreign keys refer to.
    refers_to: Vec<Oid>,
    /// The logins that are not superuser and reach it by a grant.
    pub(super) reached_by: Vec<String>,
    /// The column that names the tenant, as the catalogue spells it. Filled in by [`find`].
    #[sqlx(skip)]
    pub(super) column: String,
    #[sqlx(skip)]
    pub(super) guessed: Option<String>,
    /// What the runtime roles may do with it. Filled in with the roles.
    #[sqlx(skip)]
    pub(super) grants: Vec<Grant>,
}

/// A right of a runtime role on a table.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Grant {
    table: Oid,
    pub(super) role: Oid,
    /// `SELECT`, `TRUNCATE`.
    pub(super) privilege: String,
    /// Who was granted it: a role, quoted, or `PUBLIC`.
    pub(super) grantee: String,
    /// The column, when it is for one only.
    pub(super) column: Option<String>,
}

impl Table {
    fn is_named(&self, written: &str) -> bool {
        written == "*"
            || written == self.plain
            || written == self.name
            || written.split_once('.') == Some((&*self.schema, &*self.plain))
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|is| is == column)
    }

    fn is_compared(&self, column: &str) -> bool {
        self.expressions.iter().any(|text| expression::compares(text, &self.plain, column))
    }
}

/// Names that name a tenant wherever they stand.
const PLAIN: [&str; 8] = [
    "tenant_id",
    "org_id",
    "organization_id",
    "organisation_id",
    "workspace_id",
    "account_id",
    "company_id",
    "tenant",
];
/// Names that may as well be a tenant's own data: taken where a policy compares them.
const CAREFUL: [&str; 3] = ["customer_id", "team_id", "user_id"];

/// Finds the tenant tables and those nobody declared.
pub(super) async fn find(
    scope: &mut Scope<'_>,
    options: &Options,
) -> Result<(Vec<Table>, Vec<Table>), LintError> {
    let mut tables: Vec<Table> = scope.ask("tables", TABLES).await?;
    let missing = |kind, name: &str| LintError::NotThere { kind, name: name.to_owned() };
    let others: Vec<(String, String)> = scope.ask("views", OTHERS).await?;
    for written in &options.shared {
        // What an attack may be told to be everybody's, views and foreign tables, is no table here.
        let known = tables.iter().any(|table| table.is_named(written))
            || others.iter().any(|(schema, name)| names(written, schema, name));
        if !known {
            return Err(missing("table", written));
        }
    }
    for named in &options.tenant_columns {
        let mut found = false;
        for table in tables.iter_mut().filter(|table| table.is_named(&named.table)) {
            if table.has(&named.column) {
                table.column.clone_from(&named.column);
            } else if named.table != "*" {
                return Err(missing("column", &format!("{}:{}", table.name, named.column)));
            }
            found = true;
        }
        if !found {
            return Err(missing("table", &named.table));
        }
    }
    tables.retain(|table| !options.shared.iter().any(|shared| table.is_named(shared)));
    for table in tables.iter_mut().filter(|table| table.column.is_empty()) {
        guess(table);
    }
    inherit(&mut tables);
    Ok(tables.into_iter().partition(|table| !table.column.is_empty()))
}

fn guess(table: &mut Table) {
    let present =
        |names: &[&str]| names.iter().find(|name| table.has(name)).map(|name| (*name).to_owned());
    let compared = |name: &&&str| table.has(name) && table.is_compared(name);
    let named_and_compared = PLAIN.iter().find(compared).map(|name| (*name).to_owned());
    let (column, why) = if let Some(column) = named_and_compared {
        (column, None)
    } else if let Some(column) = CAREFUL.iter().find(compared) {
        ((*column).to_owned(), Some("because a policy compares it".to_owned()))
    } else if let Some(column) = table.columns.iter().find(|column| table.is_compared(column)) {
        (column.clone(), Some("because a policy compares it".to_owned()))
    } else if let Some(column) = present(&PLAIN) {
        (column, Some("by its name".to_owned()))
    } else {
        return;
    };
    (table.column, table.guessed) = (column, why);
}

/// A partition or child has its parent's tenant column.
fn inherit(tables: &mut [Table]) {
    loop {
        let known: Vec<_> = tables.iter().map(|table| (table.oid, table.column.clone())).collect();
        let mut changed = false;
        for table in tables.iter_mut().filter(|table| table.parent.is_some()) {
            let parent = known.iter().find(|(oid, _)| Some(*oid) == table.parent);
            if let Some((_, column)) = parent
                && !column.is_empty()
                && (table.column.is_empty() || table.guessed.is_some())
                && table.has(column)
            {
                (table.column, table.guessed) = (column.clone(), None);
                changed |= !known.contains(&(table.oid, column.clone()));
            }
        }
        if !changed {
            return;
        }
    }
}

pub(super) fn check(scope: &Scope<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        scope.tables.iter().flat_map(|table| tenant_table(scope, table)).collect();
    findings.extend(scope.undeclared.iter().filter_map(|table| undeclared(scope, table)));
    findings
}

fn tenant_table(scope: &Scope<'_>, table: &Table) -> Vec<Finding> {
    let Table { name, column, owner, .. } = table;
    let mut findings = Vec::new();
    let quoted = quote(column);
    if let Some(why) = &table.guessed {
        let what = format!("{name}: {column} is taken for the tenant column {why}");
        let fix = format!("say so with --tenant-column {name}:{column}, or --shared {name}");
        findings.push(Finding::of(&rules::GUESSED_COLUMN, name, what, fix));
    }
    // Whether a partition can be reached at all is a question of its grants.
    if table.parent.is_none() {
        if table.nullable.contains(column) {
            let what = format!("{name}.{column} may be NULL");
            let fix = format!("ALTER TABLE {name} ALTER COLUMN {quoted} SET NOT NULL");
            findings.push(Finding::of(&rules::NULLABLE_TENANT, name, what, fix));
        }
        findings.extend(row_security(scope, table));
    }
    if table.enabled && table.policies == 0 && table.parent.is_none() {
        let what =
            format!("{name} has row security and no policy: nobody but its owner sees a row");
        let fix = format!(
            "CREATE POLICY tenant ON {name} USING ({quoted} = …) WITH CHECK ({quoted} = …); -- or as `partywall postgres init --table {}.{}:{column}` writes it",
            table.schema, table.plain
        );
        findings.push(
            Finding::of(&rules::NO_POLICY, name, what, fix).evidence(format!("owner {owner}")),
        );
    }
    findings
}

fn row_security(scope: &Scope<'_>, table: &Table) -> Option<Finding> {
    let Table { name, owner, .. } = table;
    let owned_by_application = scope.roles.iter().any(|role| role.name == *owner);
    if !table.enabled {
        let reach = table.reached_by.join(", ");
        let (severity, who) = if reach.is_empty() && !owned_by_application {
            (Severity::Warning, "no login has a grant on it yet".to_owned())
        } else {
            (
                Severity::Error,
                format!("reached by {}", if reach.is_empty() { owner } else { &reach }),
            )
        };
        let what = format!("{name} has a tenant column and no row security; {who}");
        let fix = format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
        return Some(Finding::of(&rules::ROW_SECURITY_OFF, name, what, fix).severity(severity));
    }
    if table.forced {
        return None;
    }
    let (severity, who) = if owned_by_application {
        (Severity::Error, ", and the application logs in as the owner")
    } else {
        (Severity::Warning, "")
    };
    let what = format!("{name}: row security does not hold its owner, {owner}{who}");
    let fix = format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY");
    Some(Finding::of(&rules::ROW_SECURITY_NOT_FORCED, name, what, fix).severity(severity))
}

fn undeclared(scope: &Scope<'_>, table: &Table) -> Option<Finding> {
    let Table { name, reached_by, .. } = table;
    if reached_by.is_empty() {
        return None;
    }
    let parents: Vec<_> =
        table.refers_to.iter().filter_map(|oid| scope.table(*oid)).map(|t| &*t.name).collect();
    let child = if parents.is_empty() {
        String::new()
    } else {
        format!("; it refers to {}, whose wall does not cover it", parents.join(", "))
    };
    let what = format!(
        "{name} has no tenant column, is not declared shared, and is reached by {}{child}",
        reached_by.join(", ")
    );
    let fix = format!(
        "declare it with --shared {name}, name its column with --tenant-column {name}:COLUMN, or give it one"
    );
    Some(Finding::of(&rules::UNDECLARED_TABLE, name, what, fix))
}

/// What the runtime roles may do with the tenant tables. What an owner may is another matter.
pub(super) async fn read_grants(scope: &mut Scope<'_>) -> Result<(), LintError> {
    let grants: Vec<Grant> = scope.ask("grants", GRANTS).await?;
    for table in &mut scope.tables {
        table.grants = grants.iter().filter(|grant| grant.table == table.oid).cloned().collect();
    }
    Ok(())
}

/// A name as an SQL identifier, quoted where it must be.
pub(super) fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

const OTHERS: &str = "
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm', 'f') AND n.oid = ANY ($4)";

const TABLES: &str = "
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS plain,
       format('%I.%I', n.nspname, c.relname) AS name, pg_get_userbyid(c.relowner)::text AS owner,
       c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
       (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS parent,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull) AS nullable,
       ARRAY(SELECT e.text FROM pg_policy p CROSS JOIN LATERAL (VALUES
                   (pg_get_expr(p.polqual, p.polrelid)), (pg_get_expr(p.polwithcheck, p.polrelid))) AS e(text)
              WHERE p.polrelid = c.oid AND e.text IS NOT NULL) AS expressions,
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
       ARRAY(SELECT f.confrelid FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f') AS refers_to,
       ARRAY(SELECT DISTINCT r.rolname::text FROM pg_roles r
              WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname !~ '^pg_'
                AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER')
                AND (EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
                              WHERE a.grantee <> c.relowner AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER')))
                  OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) AS a
                              WHERE t.attrelid = c.oid AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))))
                AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
                             WHERE a.privilege_type = 'USAGE' AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER')))
              ORDER BY 1) AS reached_by
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.oid = ANY ($4)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 4";

const GRANTS: &str = "
SELECT c.oid AS \"table\", r.oid AS role, a.privilege_type AS privilege, a.\"column\",
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END AS grantee
  FROM pg_class c
 CROSS JOIN LATERAL (
       SELECT x.grantee, x.privilege_type, NULL::text AS \"column\"
         FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
        UNION ALL
       SELECT x.grantee, x.privilege_type, t.attname::text
         FROM pg_attribute t, aclexplode(t.attacl) AS x WHERE t.attrelid = c.oid AND NOT t.attisdropped) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 WHERE c.oid = ANY ($1) AND a.grantee <> c.relowner
 ORDER BY 1, 2, 3, 4";
