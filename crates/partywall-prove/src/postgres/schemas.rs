//! A schema per tenant: schemas with the same tables, each reached by a role of the tenant's own, or
//! all by one role whose search path alone decides.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    discover::{Policies, is_usual},
    options::Options,
    prove::CannotRun,
    role::Me,
    schema::{Class, Schema, text},
    sql::literal,
    stage::Session,
    tenancy::{Assume, Context, Tenancy, Tenant},
};
use crate::Log;

/// The schemas that look like one another, when each seems to be a tenant's.
pub(crate) fn alike(schema: &Schema, policies: &Policies, options: &Options) -> Vec<String> {
    let mut tables: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for relation in schema.relations.iter().filter(|relation| relation.is_table()) {
        tables.entry(&relation.schema).or_default().insert(&relation.name);
    }
    let told = options
        .tenants
        .as_ref()
        .is_some_and(|tenants| tenants.iter().all(|tenant| tables.contains_key(tenant.as_str())));
    let other_ways = !options.settings.is_empty()
        || !options.tenant_columns.is_empty()
        || !policies.settings().is_empty()
        || policies.go_by_role();
    if other_ways && !told {
        return Vec::new();
    }
    let like = |name: &str| -> Vec<String> {
        let Some(own) = tables.get(name) else { return Vec::new() };
        // More than half of the tables of both: one may have been forgotten somewhere.
        let resembles = |other: &BTreeSet<&str>| {
            5 * own.intersection(other).count() > 3 * own.union(other).count()
        };
        let found = tables.iter().filter(|(_, other)| resembles(other));
        found.map(|(name, _)| (*name).to_owned()).collect()
    };
    if let (true, Some([a, b])) = (told, &options.tenants) {
        let mut group = like(a);
        if !group.contains(b) {
            group.push(b.clone());
        }
        return group;
    }
    let group = tables.keys().map(|name| like(name)).max_by_key(Vec::len).unwrap_or_default();
    let named_in_a_column = schema
        .relations
        .iter()
        .filter(|relation| group.contains(&relation.schema))
        .any(|relation| relation.columns.iter().any(|column| is_usual(&column.name)));
    if group.len() < 2 || named_in_a_column { Vec::new() } else { group }
}

/// Gives each of two schemas to its tenant, and leaves the rest of the group out.
pub(crate) fn divide(
    schema: &mut Schema,
    group: &[String],
    options: &Options,
    log: &mut Log<'_>,
) -> Result<[String; 2], CannotRun> {
    let pair = match (&options.tenants, group) {
        (Some(pair), _) => pair.clone(),
        (None, [a, b, ..]) => [a.clone(), b.clone()],
        (None, _) => return Err(CannotRun::NoTenants),
    };
    let [a, b] = &pair;
    log.note(
        "schemas",
        format!(
            "{} schemas have the same tables, so each is taken for a tenant; {a} and {b} attack each other (say otherwise with --tenants A,B, or --tenant-column when the tenant is named in a column)",
            group.len()
        ),
    );
    schema
        .relations
        .retain(|relation| pair.contains(&relation.schema) || !group.contains(&relation.schema));
    for relation in &mut schema.relations {
        if pair.contains(&relation.schema) {
            relation.class = Class::Schema(relation.schema.clone());
        }
    }
    Ok(pair)
}

/// Who the tenants of two schemas are.
pub(crate) async fn tenancy(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    group: &[String],
    pair: &[String; 2],
    options: &Options,
    log: &mut Log<'_>,
) -> Result<(Tenancy, [Tenant; 2]), CannotRun> {
    let roles = match &options.users {
        Some(roles) => roles.clone(),
        None => roles_of(session, me, schema, group, pair).await?,
    };
    let tenant = |n: usize, role: Option<&String>| Tenant {
        id: pair.get(n).cloned().unwrap_or_default(),
        role: role.cloned(),
        schema: pair.get(n).cloned(),
    };
    let [a, b] = &roles;
    if a == b {
        log.note(
            "role",
            format!("{a} works in every tenant's schema, so only the search path tells them apart"),
        );
        let tenancy = Tenancy::new(me.assume(a), Context::Schemas);
        return Ok((tenancy, [tenant(0, None), tenant(1, None)]));
    }
    // A login that changes into the tenants' roles stays what it is.
    let assume = if me.superuser { Assume::Session(a.clone()) } else { Assume::Already };
    Ok((Tenancy::new(assume, Context::Schemas), [tenant(0, Some(a)), tenant(1, Some(b))]))
}

/// For each of the two schemas, the role that works in it and in the fewest others.
async fn roles_of(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    group: &[String],
    pair: &[String; 2],
) -> Result<[String; 2], CannotRun> {
    let mut found: Vec<String> = Vec::new();
    for name in pair {
        let asked = ROLES
            .replace("{group}", &list(group))
            .replace("{schema}", &literal(name))
            .replace("{can_become}", me.can_become(schema.version));
        let rows = session.all(&asked).await?;
        let role = rows.first().map(|row| text(row, 0));
        found.push(role.ok_or_else(|| CannotRun::NoRole {
            found: format!("{} can become no role that works in schema {name}", me.name),
        })?);
    }
    <[String; 2]>::try_from(found).map_err(|_| CannotRun::NoTenants)
}

/// Who works in a schema and can be become; those who work in the fewest others first.
const ROLES: &str = "
    SELECT r.rolname
      FROM pg_catalog.pg_roles r,
           LATERAL (SELECT count(*) AS reach FROM pg_catalog.pg_namespace n
                     WHERE n.nspname IN ({group}) AND has_schema_privilege(r.oid, n.oid, 'USAGE')) AS may
     WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_' AND {can_become}
       AND EXISTS (SELECT FROM pg_catalog.pg_namespace n
                     JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relkind IN ('r', 'p')
                    WHERE n.nspname = {schema} AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                      AND has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT'))
     ORDER BY may.reach, r.rolname = {schema} DESC, r.rolcanlogin DESC, r.rolname";

/// The tenants' roles that reach into other tenants' schemas, of the whole group: the two that
/// attack each other are not the only ones there are.
pub(crate) async fn strays(
    session: &mut Session,
    group: &[String],
) -> Result<Vec<(String, String)>, CannotRun> {
    let rows = session.all(&STRAYS.replace("{group}", &list(group))).await?;
    Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
}

/// A role that works in more than one schema of the group and not in all of them is a tenant's that
/// strays; one that works in all is the application's or the operator's.
const STRAYS: &str = "
    WITH reach AS (
      SELECT r.rolname, n.nspname
        FROM pg_catalog.pg_roles r, pg_catalog.pg_namespace n
       WHERE n.nspname IN ({group}) AND NOT r.rolsuper AND r.rolname !~ '^pg_'
         AND has_schema_privilege(r.oid, n.oid, 'USAGE')
         AND EXISTS (SELECT FROM pg_catalog.pg_class t
                      WHERE t.relnamespace = n.oid AND t.relkind IN ('r', 'p', 'v', 'm')
                        AND has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE')))
    SELECT rolname, string_agg(nspname, ', ' ORDER BY nspname) FROM reach GROUP BY rolname
    HAVING count(*) > 1 AND count(*) < (SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname IN ({group}))";

fn list(names: &[String]) -> String {
    names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}
