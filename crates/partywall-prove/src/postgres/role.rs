//! Finding the role the application runs as.

use super::{
    discover::Policies,
    options::Options,
    prove::CannotRun,
    schema::{Schema, text},
    stage::{Answer, Session, Who},
    tenancy::{Assume, Context, Tenancy},
};
use crate::Log;

/// The connection's own role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Me {
    /// Its name.
    pub name: String,
    /// A superuser.
    pub superuser: bool,
    /// Has BYPASSRLS.
    pub bypasses: bool,
    /// May make roles.
    pub makes_roles: bool,
}

impl Me {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, CannotRun> {
        let own = session
            .all("SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = session_user")
            .await?;
        let yes = |row: &sqlx::postgres::PgRow, n| text(row, n) == "t";
        let own = own.first().map(|row| Self {
            name: text(row, 0),
            superuser: yes(row, 1),
            bypasses: yes(row, 2),
            makes_roles: yes(row, 1) || yes(row, 3),
        });
        Ok(own.unwrap_or_default())
    }

    /// How this one becomes `role`.
    pub(crate) fn assume(&self, role: &str) -> Assume {
        if role == self.name {
            Assume::Already
        } else if self.superuser {
            Assume::Session(role.to_owned())
        } else {
            Assume::Role(role.to_owned())
        }
    }

    /// A condition on `r`, a row of `pg_roles`: whether this one can become it.
    pub(crate) fn can_become(&self, version: i32) -> &'static str {
        match (self.superuser, version >= 160_000) {
            (true, _) => "true",
            (false, true) => "pg_catalog.pg_has_role(session_user, r.oid, 'SET')",
            (false, false) => "pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')",
        }
    }
}

/// How to become the application's role: it is the connection's own unless that is too powerful
/// to be held by any wall, or has no rights but those of the roles it changes into.
pub(crate) async fn assume(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    policies: &Policies,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<Assume, CannotRun> {
    if let Some(role) = &options.role {
        return named(session, me, role).await;
    }
    let owns = schema.tenant_relations().any(|relation| relation.owner == me.name);
    let candidates = candidates(session, me, schema, policies).await?;
    let has_rights = candidates.contains(&me.name);
    if !me.superuser && !me.bypasses && !owns && has_rights {
        return Ok(Assume::Already);
    }
    let what = if me.superuser {
        format!("{} is a superuser, whom no wall holds", me.name)
    } else if me.bypasses || owns {
        format!("{} owns the tables or bypasses row security", me.name)
    } else {
        format!("{} itself has no rights to these tables", me.name)
    };
    match candidates.first() {
        Some(role) => {
            log.note(
                "role",
                format!("{what}, so the attacks run as {role}; say otherwise with --role"),
            );
            Ok(me.assume(role))
        }
        None if me.superuser => Err(CannotRun::NoRole {
            found: format!("{what}, and no other role may read these tables"),
        }),
        // An application may well run as this one: FORCE holds an owner, and nothing the other.
        None => Ok(Assume::Already),
    }
}

async fn named(session: &mut Session, me: &Me, role: &str) -> Result<Assume, CannotRun> {
    let assume = me.assume(role);
    let enter = Tenancy::new(assume.clone(), Context::Nothing).enter(Who::Nobody, None);
    let tried = session.send(&format!("SAVEPOINT partywall_role; {enter}")).await?;
    session.send("ROLLBACK TO SAVEPOINT partywall_role").await?;
    match tried {
        Answer::Done(_) => Ok(assume),
        Answer::Refused(refusal) => {
            Err(CannotRun::NotThatRole { role: role.to_owned(), why: refusal.to_string() })
        }
    }
}

/// The roles an application may run as, those most policies are for first.
async fn candidates(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    policies: &Policies,
) -> Result<Vec<String>, CannotRun> {
    let tables: Vec<String> =
        schema.tenant_relations().map(|relation| relation.oid.to_string()).collect();
    let asked = CANDIDATES
        .replace("{tables}", &tables.join(", "))
        .replace("{can_become}", me.can_become(schema.version));
    let mut names: Vec<String> =
        session.all(&asked).await?.iter().map(|row| text(row, 0)).collect();
    names.sort_by_key(|name| std::cmp::Reverse(policies.count_for(name)));
    Ok(names)
}

/// Roles that may work on tenants' tables and are held by walls, those with the most rights first;
/// of those with the same, one that may log in. An owner that may log in comes last: applications
/// that run as one are why there is FORCE.
const CANDIDATES: &str = "
    SELECT r.rolname
      FROM pg_catalog.pg_roles r,
           LATERAL (SELECT count(*) FILTER (WHERE has_table_privilege(r.oid, t.oid, 'SELECT')
                                               OR has_any_column_privilege(r.oid, t.oid, 'SELECT')) AS reads,
                           count(*) FILTER (WHERE has_table_privilege(r.oid, t.oid, 'INSERT')
                                               OR has_table_privilege(r.oid, t.oid, 'UPDATE')) AS writes,
                           bool_or(t.relowner = r.oid) AS owns
                      FROM pg_catalog.pg_class t WHERE t.oid IN ({tables})
                       AND has_schema_privilege(r.oid, t.relnamespace, 'USAGE')) AS may
     WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_' AND {can_become}
       AND may.reads + may.writes > 0 AND (r.rolcanlogin OR NOT may.owns)
     ORDER BY may.owns, may.reads + may.writes DESC, r.rolcanlogin DESC, r.rolname";

/// The search path a session of `role` begins with: the role's own setting, the database's, or what
/// this connection began with.
pub(crate) async fn search_path(
    session: &mut Session,
    role: &str,
    began_with: &str,
) -> Result<String, CannotRun> {
    let asked = format!(
        "SELECT substr(c, 13) FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) c
          WHERE c LIKE 'search\\_path=%'
            AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
            AND (s.setrole = 0 OR s.setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {}))
          ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1",
        super::sql::literal(role)
    );
    let found = session.send(&asked).await?;
    Ok(found.first().unwrap_or(began_with).to_owned())
}

/// Other roles that the application's login can change into and that reach tenants' tables: the
/// visitor's beside the user's.
pub(crate) async fn beside(
    session: &mut Session,
    me: &Me,
    schema: &Schema,
    role: &str,
) -> Result<Vec<String>, CannotRun> {
    let tables: Vec<String> =
        schema.tenant_relations().map(|relation| relation.oid.to_string()).collect();
    let asked = format!(
        "SELECT DISTINCT r.rolname FROM pg_catalog.pg_auth_members mine
           JOIN pg_catalog.pg_roles login ON login.oid = mine.member
           JOIN pg_catalog.pg_auth_members theirs ON theirs.member = mine.member
           JOIN pg_catalog.pg_roles r ON r.oid = theirs.roleid
          WHERE mine.roleid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})
            AND login.rolcanlogin AND NOT login.rolsuper
            AND r.oid <> mine.roleid AND NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_'
            AND {}
            AND EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.oid IN ({})
                           AND has_schema_privilege(r.oid, t.relnamespace, 'USAGE')
                           AND has_any_column_privilege(r.oid, t.oid, 'SELECT') AND t.relowner <> r.oid)
          ORDER BY 1",
        super::sql::literal(role),
        me.can_become(schema.version),
        tables.join(", ")
    );
    Ok(session.all(&asked).await?.iter().map(|row| text(row, 0)).collect())
}
