//! The application's roles: what they are, may become, own, and start with.

use sqlx::FromRow;

use super::{
    Finding, LintError, Rule, Severity,
    context::Context,
    rules,
    scope::{Role, Scope},
    tables::quote,
};

pub(super) async fn check(
    scope: &mut Scope<'_>,
    context: &Context,
) -> Result<Vec<Finding>, LintError> {
    let mut findings: Vec<Finding> = scope.roles.iter().filter_map(bypasses).collect();
    let powers: Vec<(String, String, String)> = scope.ask("roles", POWERS).await?;
    findings.extend(powers.into_iter().map(|(role, power, so)| {
        let severity = if power == "CREATEDB" { Severity::Warning } else { Severity::Error };
        let what = format!("role {role} has {power}: it {so}");
        let fix = format!("ALTER ROLE {role} NO{power}");
        of_role(&rules::ROLE_POWERS, &role, what, fix).severity(severity)
    }));
    let stronger: Vec<Stronger> = scope.ask("memberships", BECOMES).await?;
    findings.extend(stronger.iter().map(Stronger::finding));
    let owned: Vec<(String, String, bool)> = scope.ask("owners", OWNS).await?;
    findings.extend(owned.into_iter().map(|(role, object, walls)| {
        let what = format!("role {role} owns {object}");
        let fix = format!("ALTER {object} OWNER TO a role that nobody logs in as");
        let place = format!("{object} owner {role}");
        let severity = if walls { Severity::Error } else { Severity::Warning };
        Finding::of(&rules::ROLE_OWNS, place, what, fix).severity(severity)
    }));
    let settings: Vec<Setting> = scope.ask("role settings", SETTINGS).await?;
    findings.extend(settings.iter().filter_map(|setting| setting.finding(context)));
    findings.extend(passwords(scope).await?);
    Ok(findings)
}

fn of_role(rule: &'static Rule, role: &str, what: String, fix: String) -> Finding {
    Finding::of(rule, format!("role {role}"), what, fix)
}

fn bypasses(role: &Role) -> Option<Finding> {
    let (power, undo) = match role {
        Role { superuser: true, .. } => ("is superuser", "NOSUPERUSER"),
        Role { bypasses: true, .. } => ("has BYPASSRLS", "NOBYPASSRLS"),
        _ => return None,
    };
    let name = quote(&role.name);
    let what = format!("role {name} {power}: no row security holds it, forced or not");
    Some(of_role(&rules::ROLE_BYPASSES, &name, what, format!("ALTER ROLE {name} {undo}")))
}

/// A role that a runtime role may become.
#[derive(Debug, FromRow)]
struct Stronger {
    role: String,
    other: String,
    /// In which way it is stronger.
    because: String,
    /// It reads or changes rows by that.
    reaches_rows: bool,
    /// Who was made its member: the role, or one that it is a member of in turn.
    members: String,
}

impl Stronger {
    fn finding(&self) -> Finding {
        let Self { role, other, because, members, .. } = self;
        let severity = if self.reaches_rows { Severity::Error } else { Severity::Warning };
        let what = format!("role {role} may become {other}, which {because}");
        let fix = format!("REVOKE {other} FROM {members}");
        let place = format!("role {role} member of {other}");
        Finding::of(&rules::ROLE_BECOMES, place, what, fix).severity(severity)
    }
}

/// What is set for a role, a database, or a role in a database.
#[derive(Debug, FromRow)]
struct Setting {
    /// As ALTER takes it: `ROLE app`, `DATABASE shop`, `ROLE app IN DATABASE shop`.
    subject: String,
    name: String,
    value: String,
    /// A schema in the value in which a runtime role may create.
    writable_schema: Option<String>,
}

impl Setting {
    fn finding(&self, context: &Context) -> Option<Finding> {
        let Self { subject, name, value, .. } = self;
        let off = matches!(&*value.to_ascii_lowercase(), "off" | "false" | "no" | "0");
        let (severity, so) = match &*name.to_ascii_lowercase() {
            name if context.reads(name) || name.starts_with("partywall.") => (
                Severity::Error,
                "whoever forgets to say which tenant it is, is this one".to_owned(),
            ),
            "row_security" if off => (
                Severity::Warning,
                "statements fail instead of being filtered, as for a dump".to_owned(),
            ),
            "session_replication_role" if !value.eq_ignore_ascii_case("origin") => {
                (Severity::Error, "triggers and foreign keys do not fire".to_owned())
            }
            "role" => (Severity::Warning, "every session starts as another role".to_owned()),
            "search_path" => (
                Severity::Warning,
                format!("the application may create in {}", self.writable_schema.as_ref()?),
            ),
            "standard_conforming_strings" if off => (
                Severity::Warning,
                "a backslash ends strings that were escaped by the standard".to_owned(),
            ),
            "backslash_quote" if value == "on" => (
                Severity::Warning,
                "quotes can be escaped in ways drivers do not expect".to_owned(),
            ),
            "debug_print_plan" | "debug_print_rewritten" | "debug_print_parse" if !off => (
                Severity::Warning,
                "plans, with what is secret in them, are written out".to_owned(),
            ),
            "session_preload_libraries" | "local_preload_libraries" if !value.is_empty() => {
                (Severity::Warning, "foreign code is loaded into every session".to_owned())
            }
            _ => return None,
        };
        let what = format!("{subject} starts with {name} = {value}: {so}");
        let fix = format!("ALTER {subject} RESET {}", name);
        let place = format!("{} {name}", subject.to_lowercase());
        Some(Finding::of(&rules::ROLE_SETTING, place, what, fix).severity(severity))
    }
}

/// Passwords are in `pg_authid`, which superusers read.
async fn passwords(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let (may_look,): (bool,) =
        scope.one("pg_authid", "SELECT has_table_privilege('pg_authid', 'SELECT')").await?;
    if !may_look {
        scope.note(
            "passwords",
            "how they are stored is seen by superusers only, and was not looked at",
        );
        return Ok(Vec::new());
    }
    let weak: Vec<(String,)> = scope
        .ask(
            "passwords",
            "SELECT quote_ident(rolname) FROM pg_authid
              WHERE oid = ANY ($3) AND rolpassword LIKE 'md5%' ORDER BY 1",
        )
        .await?;
    Ok(weak
        .into_iter()
        .map(|(role,)| {
            let what = format!("the password of role {role} is stored as MD5");
            let fix = format!("SET password_encryption = 'scram-sha-256'; \\password {role}");
            of_role(&rules::ROLE_PASSWORD, &role, what, fix)
        })
        .collect())
}

const POWERS: &str = "
SELECT quote_ident(r.rolname), p.power, p.so
  FROM pg_roles r CROSS JOIN LATERAL (VALUES
       (r.rolcreaterole, 'CREATEROLE', 'makes and grants roles'),
       (r.rolreplication, 'REPLICATION', 'reads every row as it is written'),
       (r.rolcreatedb, 'CREATEDB', 'creates databases')) AS p(has, power, so)
 WHERE r.oid = ANY ($3) AND p.has ORDER BY 1, 2";

/// From PostgreSQL 16 on, being a member no longer means that one may become it.
const BECOMES: &str = "
SELECT quote_ident(r.rolname) AS role, quote_ident(g.rolname) AS other,
       CASE WHEN g.rolsuper THEN 'is superuser' WHEN g.rolbypassrls THEN 'has BYPASSRLS'
            WHEN own.names IS NOT NULL THEN 'owns ' || own.names
            WHEN g.rolcreaterole THEN 'makes and grants roles' WHEN g.rolreplication THEN 'reads every row as it is written'
            WHEN g.oid = ANY ($3) THEN 'another session of the application logs in as'
            ELSE p.because END AS because,
       g.rolsuper OR g.rolbypassrls OR own.names IS NOT NULL OR g.rolcreaterole OR g.rolreplication
         OR g.oid = ANY ($3) OR coalesce(p.reaches, false) AS reaches_rows,
       coalesce((SELECT string_agg(DISTINCT quote_ident(pg_get_userbyid(m.member)::text), ', ') FROM pg_auth_members m
                  WHERE m.roleid = g.oid AND pg_has_role(r.oid, m.member, 'MEMBER')), quote_ident(r.rolname)) AS members
  FROM pg_roles r JOIN pg_roles g ON g.oid <> r.oid
   AND CASE WHEN current_setting('server_version_num')::int < 160000 THEN pg_has_role(r.oid, g.oid, 'MEMBER')
            ELSE pg_has_role(r.oid, g.oid, 'USAGE') OR pg_has_role(r.oid, g.oid, 'SET') END
  LEFT JOIN LATERAL (
       SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY 1) AS names
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = ANY ($1) AND c.relowner = g.oid) AS own ON true
  LEFT JOIN (VALUES
       ('pg_read_all_data', true, 'reads every table, view and sequence'),
       ('pg_write_all_data', true, 'writes every table'),
       ('pg_read_server_files', true, 'reads the server''s files, the tables'' among them'),
       ('pg_write_server_files', true, 'writes the server''s files'),
       ('pg_execute_server_program', true, 'runs programs on the server'),
       ('pg_database_owner', true, 'is the owner of the database'),
       ('pg_maintain', false, 'locks and rewrites every table'),
       ('pg_create_subscription', false, 'connects the server to others'),
       ('pg_monitor', false, 'sees every session''s statements'),
       ('pg_read_all_stats', false, 'sees every session''s statements'),
       ('pg_read_all_settings', false, 'sees every setting'),
       ('pg_stat_scan_tables', false, 'locks and scans tables'),
       ('pg_signal_backend', false, 'ends other sessions'),
       ('pg_signal_autovacuum_worker', false, 'ends vacuuming'),
       ('pg_checkpoint', false, 'makes the server write everything out')) AS p(name, reaches, because) ON p.name = g.rolname
 WHERE r.oid = ANY ($3)
   AND (g.rolsuper OR g.rolbypassrls OR g.rolcreaterole OR g.rolreplication OR own.names IS NOT NULL
     OR g.oid = ANY ($3) OR p.name IS NOT NULL)
 ORDER BY 1, 2";

/// Written as ALTER takes them; the last column says whether a wall is made of it.
const OWNS: &str = "
SELECT quote_ident(pg_get_userbyid(o.owner)::text), o.object, o.walls FROM (
  SELECT c.relowner AS owner,
         CASE c.relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'S' THEN 'SEQUENCE '
                        WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END || format('%I.%I', n.nspname, c.relname) AS object,
         c.oid = ANY ($1) AS walls
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.oid = ANY ($4)
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
   UNION ALL
  SELECT n.nspowner, 'SCHEMA ' || quote_ident(n.nspname), EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1) AND c.relnamespace = n.oid)
    FROM pg_namespace n WHERE n.nspname !~ '^pg_'
   UNION ALL
  SELECT d.datdba, 'DATABASE ' || quote_ident(d.datname), true FROM pg_database d WHERE d.datname = current_database()
   UNION ALL
  SELECT f.proowner, 'FUNCTION ' || format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
         EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid)
    FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') AS o
 WHERE o.owner = ANY ($3) ORDER BY 1, 2";

const SETTINGS: &str = "
SELECT CASE WHEN s.setrole = 0 THEN 'DATABASE ' || quote_ident(current_database())
            WHEN s.setdatabase = 0 THEN 'ROLE ' || quote_ident(pg_get_userbyid(s.setrole)::text)
            ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), current_database()) END AS subject,
       split_part(c.entry, '=', 1) AS name, substr(c.entry, strpos(c.entry, '=') + 1) AS value,
       (SELECT n.nspname::text FROM pg_namespace n JOIN pg_roles r ON r.oid = ANY ($3) AND has_schema_privilege(r.oid, n.oid, 'CREATE')
         WHERE n.nspname !~ '^pg_' AND n.nspname = ANY (regexp_split_to_array(replace(substr(c.entry, strpos(c.entry, '=') + 1), '\"', ''), '\\s*,\\s*'))
         LIMIT 1) AS writable_schema
  FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c(entry)
 WHERE (s.setrole = 0 OR s.setrole = ANY ($3))
   AND (s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY 1, 2";
