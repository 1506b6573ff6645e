//! The two tenants of a run: made up, so that their ids begin alike, or named.

use std::collections::BTreeMap;

use aws_lc_rs::rand;

use super::{
    options::{Options, Setting},
    prove::CannotRun,
    role::Me,
    schema::{Class, Schema, text},
    sql::ident,
    stage::{Answer, Session},
    tenancy::{Assume, Context, Tenancy, Tenant},
    values,
};
use crate::Log;

/// Two tenants that are values in a column, of the type the tenant columns have.
pub(crate) fn named_in_columns(
    schema: &Schema,
    options: &Options,
) -> Result<[Tenant; 2], CannotRun> {
    if let Some([a, b]) = &options.tenants {
        return Ok([Tenant::named(a), Tenant::named(b)]);
    }
    if options.read_only {
        return Err(CannotRun::NoTenants);
    }
    let types: Vec<String> = schema
        .tenant_relations()
        .filter(|relation| matches!(relation.class, Class::Tenant(_)))
        .filter_map(|relation| {
            Some(values::base_of(schema, &relation.tenant_column()?.type_name).0)
        })
        .collect();
    let is = |names: &[&str]| types.iter().any(|name| names.contains(&name.as_str()));
    let random = random()?;
    let [a, b] = if is(&["uuid"]) {
        uuids(random)
    } else if is(&["integer", "bigint", "numeric"]) {
        let stem = 1_000_000 + random % 100_000_000;
        [stem.to_string(), format!("{stem}1")]
    } else if is(&["smallint"]) {
        let stem = 2_000 + random % 1_000;
        [stem.to_string(), format!("{stem}1")]
    } else {
        let stem = format!("pw{:08x}", random & 0xffff_ffff);
        // What a `varchar(8)` holds, the last letter being the other tenant's.
        let room = types.iter().filter_map(|name| values::name_and_length(name).1).min();
        let stem: String = stem.chars().take(room.map_or(10, |room| room.max(2) - 1)).collect();
        [stem.clone(), format!("{stem}1")]
    };
    Ok([Tenant::named(a), Tenant::named(b)])
}

/// The same but for the last letter.
fn uuids(random: u64) -> [String; 2] {
    let stem = format!("{:08x}-0000-4000-8000-{:011x}", random >> 32, random & 0xfff_ffff_ffff);
    [format!("{stem}1"), format!("{stem}2")]
}

/// Who the tenants' sessions are, where a text asks for `{user}`: as told, or made up.
pub(crate) fn users(
    options: &Options,
    settings: &[Setting],
    tenants: &[Tenant; 2],
) -> Result<BTreeMap<String, String>, CannotRun> {
    let texts = settings.iter().map(|setting| &setting.template);
    let texts = texts.chain(&options.setup).chain(options.values.iter().map(|v| &v.expression));
    let users = match &options.users {
        Some(users) => users.clone(),
        None if texts.into_iter().any(|text| text.contains("{user}")) => uuids(random()?),
        None => return Ok(BTreeMap::new()),
    };
    Ok(tenants.iter().map(|tenant| tenant.id.clone()).zip(users).collect())
}

/// Two tenants that are roles: as told, two that are there, or two that are made up and undone.
pub(crate) async fn roles(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<(Tenancy, [Tenant; 2]), CannotRun> {
    let pair = match options.users.as_ref().or(options.tenants.as_ref()) {
        Some(pair) => pair.clone(),
        None => find_or_make(session, me, schema, options, log).await?,
    };
    let ids = options.tenants.as_ref().unwrap_or(&pair).clone();
    let [a, b] = pair.clone();
    let assume = match me.assume(&a) {
        by_superuser @ Assume::Session(_) => by_superuser,
        _ => Assume::Already,
    };
    let [id_a, id_b] = ids;
    let tenant = |id, role| Tenant { id, role: Some(role), schema: None };
    let tenancy = Tenancy::new(assume, Context::Roles);
    Ok((tenancy, [tenant(id_a, a), tenant(id_b, b)]))
}

async fn find_or_make(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<[String; 2], CannotRun> {
    let tables: Vec<String> = schema.tenant_relations().map(|r| r.oid.to_string()).collect();
    let asked = ROLES
        .replace("{tables}", &tables.join(", "))
        .replace("{can_become}", me.can_become(schema.version));
    let rows = session.all(&asked).await?;
    let of = |logs_in: &str| -> Vec<String> {
        rows.iter().filter(|row| text(row, 1) == logs_in).map(|row| text(row, 0)).collect()
    };
    let said = |[a, b]: &[String; 2], how: &str| {
        format!(
            "each tenant has a role of its own; {a} and {b}, {how}, attack each other (say otherwise with --tenants A,B)"
        )
    };
    if let [a, b, ..] = of("t").as_slice() {
        let pair = [a.clone(), b.clone()];
        log.note("role", said(&pair, "which are there"));
        return Ok(pair);
    }
    match of("f").first() {
        Some(group) if me.makes_roles && !options.read_only => {
            let pair = make(session, me, schema.version, group).await?;
            log.note("role", said(&pair, &format!("made up as members of {group}")));
            Ok(pair)
        }
        _ => Err(CannotRun::OneTenant { role: me.name.clone() }),
    }
}

/// Roles that work on tenants' tables, and whether they may log in.
const ROLES: &str = "
    SELECT r.rolname, r.rolcanlogin
      FROM pg_catalog.pg_roles r,
           LATERAL (SELECT count(*) FILTER (WHERE has_any_column_privilege(r.oid, t.oid, 'SELECT')) AS reads,
                           bool_or(t.relowner = r.oid) AS owns
                      FROM pg_catalog.pg_class t WHERE t.oid IN ({tables})) AS may
     WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_' AND {can_become}
       AND may.reads > 0 AND NOT may.owns
     ORDER BY may.reads DESC, r.rolname";

/// Makes two members of `group`; the transaction takes them away again.
async fn make(
    session: &mut Session,
    me: &Me,
    version: i32,
    group: &str,
) -> Result<[String; 2], CannotRun> {
    let stem = format!("pw{:08x}", random()? & 0xffff_ffff);
    let pair = [stem.clone(), format!("{stem}1")];
    let mut sql = String::new();
    if version >= 160_000 {
        // Who makes a role is its administrator from 16 on, and no member of it.
        sql.push_str("SET LOCAL createrole_self_grant = 'set, inherit'; ");
    }
    for role in &pair {
        sql.push_str(&format!("CREATE ROLE {0}; GRANT {1} TO {0}; ", ident(role), ident(group)));
        if !me.superuser && version < 160_000 {
            sql.push_str(&format!("GRANT {} TO CURRENT_USER; ", ident(role)));
        }
    }
    match session.send(&sql).await? {
        Answer::Done(_) => Ok(pair),
        Answer::Refused(why) => {
            Err(CannotRun::NotThatRole { role: group.to_owned(), why: why.to_string() })
        }
    }
}

pub(crate) fn random() -> Result<u64, CannotRun> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| CannotRun::NoRandomness)?;
    Ok(u64::from_be_bytes(bytes))
}
