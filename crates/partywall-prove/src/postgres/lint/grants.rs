//! The grants: rights that row security does not cover, and rights that open what comes next.

use sqlx::FromRow;

use super::{
    Finding, LintError, Severity, rules,
    scope::Scope,
    tables::{Grant, Table, quote},
};

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let mut findings: Vec<Finding> = scope.tables.iter().flat_map(on_table).collect();
    let sequences: Vec<Sequence> = scope.ask("sequences", SEQUENCES).await?;
    findings.extend(sequences.iter().map(Sequence::finding));
    let defaults: Vec<Default> = scope.ask("default privileges", DEFAULTS).await?;
    findings.extend(defaults.iter().map(Default::finding));
    let creating: Vec<(String, String, String)> = scope.ask("rights to create", CREATING).await?;
    findings.extend(creating.into_iter().map(|(object, right, grantee)| {
        let may = if right == "TEMPORARY" { "create temporary tables in" } else { "create in" };
        let what = format!("{grantee} may {may} {object}");
        let fix = format!("REVOKE {right} ON {object} FROM {grantee}");
        Finding::of(&rules::CREATE_RIGHTS, format!("{object} {right}"), what, fix)
    }));
    Ok(findings)
}

fn on_table(table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let whole = distinct(table, |grant| grant.column.is_none());
    if table.parent.is_some() {
        findings.extend(partition(table));
    }
    for (grantee, privileges) in &whole {
        if table.parent.is_none() && grantee == "PUBLIC" {
            let what = format!("{}: PUBLIC may {}", table.name, privileges.join(", "));
            let fix = format!("REVOKE ALL ON {} FROM PUBLIC", table.name);
            findings.push(Finding::of(&rules::GRANT_PUBLIC, &table.name, what, fix));
        }
    }
    for privilege in ["TRUNCATE", "TRIGGER", "REFERENCES", "MAINTAIN"] {
        let holders = distinct(table, |grant| grant.privilege == privilege);
        let Some((severity, so)) = past_rows(privilege).filter(|_| !holders.is_empty()) else {
            continue;
        };
        let holders: Vec<_> = holders.iter().map(|(grantee, _)| &**grantee).collect();
        let holders = holders.join(", ");
        let what = format!("{}: {privilege} is granted to {holders}, {so}", table.name);
        let fix = format!("REVOKE {privilege} ON {} FROM {holders}", table.name);
        let place = format!("{} {privilege}", table.name);
        findings.push(Finding::of(&rules::GRANT_PAST_ROWS, place, what, fix).severity(severity));
    }
    let columns: Vec<&Grant> = table.grants.iter().filter(|grant| grant.column.is_some()).collect();
    if let Some(first) = columns.first() {
        let mut listed: Vec<String> = columns
            .iter()
            .map(|grant| {
                let column = grant.column.as_deref().map(quote).unwrap_or_default();
                format!("{} ({column}) to {}", grant.privilege, grant.grantee)
            })
            .collect();
        listed.dedup();
        let what = format!("{}: rights on single columns: {}", table.name, listed.join(", "));
        let fix = format!(
            "REVOKE ALL ON {} FROM {}; -- and grant what is needed on the table",
            table.name, first.grantee
        );
        findings.push(Finding::of(&rules::GRANT_COLUMN, &table.name, what, fix));
    }
    findings
}

fn partition(table: &Table) -> Option<Finding> {
    let reached = distinct(table, |grant| {
        matches!(&*grant.privilege, "SELECT" | "INSERT" | "UPDATE" | "DELETE")
    });
    if reached.is_empty() {
        return None;
    }
    let grantees: Vec<_> = reached.iter().map(|(grantee, _)| &**grantee).collect();
    let grantees = grantees.join(", ");
    let (severity, wall) = if table.enabled {
        (Severity::Warning, "behind a wall of its own, which must be kept like its parent's")
    } else {
        (Severity::Error, "and it has no row security")
    };
    let what = format!("{} can be reached past its parent by {grantees}, {wall}", table.name);
    let fix = format!("REVOKE ALL ON {} FROM {grantees}", table.name);
    Some(Finding::of(&rules::GRANT_PARTITION, &table.name, what, fix).severity(severity))
}

/// Who has which of the table's grants, each once.
fn distinct(table: &Table, wanted: impl Fn(&Grant) -> bool) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for grant in table.grants.iter().filter(|grant| wanted(grant)) {
        let at = found.iter_mut().find(|(grantee, _)| *grantee == grant.grantee);
        match at {
            Some((_, privileges)) if privileges.contains(&grant.privilege) => {}
            Some((_, privileges)) => privileges.push(grant.privilege.clone()),
            None => found.push((grant.grantee.clone(), vec![grant.privilege.clone()])),
        }
    }
    found
}

fn past_rows(privilege: &str) -> Option<(Severity, &'static str)> {
    Some(match privilege {
        "TRUNCATE" => (Severity::Error, "which empties it for every tenant"),
        "TRIGGER" => (Severity::Error, "which runs its code in other tenants' statements"),
        "REFERENCES" => (Severity::Warning, "which asks of any key whether it exists"),
        "MAINTAIN" => (Severity::Warning, "which locks and rewrites it for every tenant"),
        _ => return None,
    })
}

/// A sequence a runtime role may use.
#[derive(Debug, FromRow)]
struct Sequence {
    name: String,
    /// The table and column it counts for.
    of: Option<String>,
    rights: String,
    grantees: String,
}

impl Sequence {
    fn finding(&self) -> Finding {
        let Self { name, of, rights, grantees } = self;
        let of = of.as_ref().map(|of| format!(" (of {of})")).unwrap_or_default();
        let what =
            format!("{grantees} holds {rights} on {name}{of}: it counts what all tenants write");
        let fix = format!(
            "REVOKE {rights} ON SEQUENCE {name} FROM {grantees}; -- with uuid keys, or the column GENERATED ALWAYS AS IDENTITY, which needs no grant"
        );
        Finding::of(&rules::GRANT_SEQUENCE, name, what, fix)
    }
}

/// Rights that objects will be granted when they are made.
#[derive(Debug, FromRow)]
struct Default {
    maker: String,
    schema: Option<String>,
    kind: String,
    rights: String,
    grantee: String,
}

impl Default {
    fn finding(&self) -> Finding {
        let Self { maker, schema, kind, rights, grantee } = self;
        let within = schema.as_ref().map(|name| format!(" IN SCHEMA {name}")).unwrap_or_default();
        let what = format!(
            "{kind} that {maker} makes{} are granted to {grantee} at once ({rights}), before they have a wall",
            within.to_lowercase()
        );
        let fix = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {maker}{within} REVOKE {rights} ON {kind} FROM {grantee}"
        );
        let place = format!("default {kind} of {maker}{} for {grantee}", within.to_lowercase());
        Finding::of(&rules::DEFAULT_PRIVILEGES, place, what, fix)
    }
}

const SEQUENCES: &str = "
SELECT format('%I.%I', n.nspname, s.relname) AS name, o.of,
       string_agg(DISTINCT a.privilege_type, ', ') AS rights,
       string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', ') AS grantees
  FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace
  LEFT JOIN LATERAL (
       SELECT d.refobjid AS rel, format('%I.%I.%I', tn.nspname, t.relname, c.attname) AS of
         FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
         JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        LIMIT 1) AS o ON true
 CROSS JOIN LATERAL aclexplode(coalesce(s.relacl, acldefault('s', s.relowner))) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 WHERE s.relkind = 'S' AND n.oid = ANY ($4) AND a.grantee <> s.relowner AND (o.rel IS NULL OR o.rel = ANY ($1))
 GROUP BY 1, 2 ORDER BY 1";

const DEFAULTS: &str = "
SELECT quote_ident(pg_get_userbyid(d.defaclrole)::text) AS maker, quote_ident(n.nspname) AS schema,
       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END AS kind,
       string_agg(DISTINCT a.privilege_type, ', ') AS rights,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END AS grantee
  FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
 CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
 WHERE d.defaclobjtype IN ('r', 'S') AND a.grantee <> d.defaclrole
   AND (a.grantee = 0 OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = ANY ($3) AND pg_has_role(r.oid, a.grantee, 'MEMBER')))
 GROUP BY 1, 2, 3, 5 ORDER BY 1, 2, 3, 5";

/// Objects written as REVOKE takes them. A role that owns the object is another matter.
const CREATING: &str = "
SELECT DISTINCT o.object, a.privilege_type,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END
  FROM (SELECT 'DATABASE ' || quote_ident(datname) AS object, datdba AS owner, coalesce(datacl, acldefault('d', datdba)) AS acl
          FROM pg_database WHERE datname = current_database()
         UNION ALL
        SELECT 'SCHEMA ' || quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner))
          FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema') AS o
 CROSS JOIN LATERAL aclexplode(o.acl) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 WHERE a.privilege_type IN ('CREATE', 'TEMPORARY') AND a.grantee <> o.owner ORDER BY 1, 2, 3";
