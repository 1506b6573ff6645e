//! What leaves the tables: replication, foreign servers, extensions, statistics, event triggers.

use super::{Finding, LintError, Severity, rules, scope::Scope};

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let mut findings = Vec::new();
    let published: Vec<(String, String, bool)> = scope.ask("publications", PUBLICATIONS).await?;
    findings.extend(published.into_iter().map(|(publication, tables, everything)| {
        let what = format!("publication {publication} carries {tables} to whoever subscribes");
        let fix = if everything {
            format!("DROP PUBLICATION {publication}; -- and publish what no tenant is in")
        } else {
            format!("ALTER PUBLICATION {publication} DROP TABLE {tables}")
        };
        Finding::of(&rules::PUBLICATION, format!("publication {publication}"), what, fix)
    }));
    let slots: Vec<(String, String, bool)> = scope.ask("replication slots", SLOTS).await?;
    findings.extend(slots.into_iter().map(|(slot, plugin, active)| {
        let state = if active { "in use" } else { "not in use: it keeps every change until read" };
        let what = format!("logical replication slot {slot} ({plugin}) is {state}");
        let fix = format!("know who reads it, or SELECT pg_drop_replication_slot('{slot}')");
        Finding::of(&rules::REPLICATION_SLOT, format!("slot {slot}"), what, fix)
    }));
    let foreign: Vec<(String, String, String)> =
        scope.ask("foreign tables", FOREIGN_TABLES).await?;
    findings.extend(foreign.into_iter().map(|(table, server, grantees)| {
        let what = format!("{table} is on server {server} and can be reached by {grantees}: no row security exists for it");
        let fix = format!("REVOKE ALL ON {table} FROM {grantees}");
        Finding::of(&rules::FOREIGN_TABLE, table, what, fix)
    }));
    findings.extend(reaches_out(scope).await?);
    let languages: Vec<(String, String)> = scope.ask("languages", LANGUAGES).await?;
    findings.extend(languages.into_iter().map(|(language, grantees)| {
        let what = format!("{grantees} may run code in {language}, whose globals the next tenant on the connection finds");
        let fix = format!("REVOKE USAGE ON LANGUAGE {language} FROM {grantees}");
        Finding::of(&rules::LANGUAGE, format!("language {language}"), what, fix)
    }));
    let statistics: Vec<(String, String, bool)> = scope.ask("statistics", STATISTICS).await?;
    findings.extend(statistics.into_iter().map(|(view, grantees, values)| {
        let (severity, shows) = if values {
            (Severity::Error, "samples of every tenant's values")
        } else {
            (
                Severity::Warning,
                "the statements of all sessions of one login, other tenants' among them",
            )
        };
        let what = format!("{grantees} may read {view}: {shows}");
        let fix = format!("REVOKE ALL ON {view} FROM {grantees}");
        Finding::of(&rules::STATISTICS, view, what, fix).severity(severity)
    }));
    let triggers: Vec<(String, String, String)> =
        scope.ask("event triggers", EVENT_TRIGGERS).await?;
    findings.extend(triggers.into_iter().map(|(trigger, function, owner)| {
        let what =
            format!("event trigger {trigger} runs {function}, which {owner} owns and may replace");
        let fix = format!("ALTER FUNCTION {function} OWNER TO a role that nobody logs in as");
        Finding::of(&rules::EVENT_TRIGGER, format!("event trigger {trigger}"), what, fix)
    }));
    Ok(findings)
}

async fn reaches_out(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let extensions: Vec<(String, String)> = scope.ask("extensions", EXTENSIONS).await?;
    let mut findings: Vec<Finding> = extensions
        .into_iter()
        .map(|(extension, callers)| {
            let what = format!(
                "{callers} may call functions of {extension}, which reach out of the database"
            );
            let fix = format!(
                "DROP EXTENSION {extension}; -- or revoke EXECUTE on its functions from PUBLIC"
            );
            Finding::of(&rules::REACHES_OUT, format!("extension {extension}"), what, fix)
        })
        .collect();
    let servers: Vec<(String, String, bool)> = scope.ask("foreign servers", SERVERS).await?;
    findings.extend(servers.into_iter().map(|(server, grantees, mapped)| {
        let mapping = if mapped { ", and there is a user mapping for it" } else { "" };
        let what = format!(
            "{grantees} may use server {server}{mapping}: at its other end every tenant is one user"
        );
        let fix = format!("REVOKE USAGE ON FOREIGN SERVER {server} FROM {grantees}");
        Finding::of(&rules::REACHES_OUT, format!("server {server}"), what, fix)
    }));
    Ok(findings)
}

const PUBLICATIONS: &str = "
SELECT quote_ident(p.pubname), string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname), b.puballtables
  FROM pg_publication_tables p JOIN pg_publication b ON b.pubname = p.pubname
  JOIN pg_namespace n ON n.nspname = p.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
 WHERE c.oid = ANY ($1) GROUP BY 1, 3 ORDER BY 1";

const SLOTS: &str = "
SELECT slot_name::text, coalesce(plugin, '')::text, active FROM pg_replication_slots
 WHERE slot_type = 'logical' AND database = current_database() ORDER BY 1";

const FOREIGN_TABLES: &str = "
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(s.srvname), g.grantees
  FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace AND n.oid = ANY ($4)
  JOIN pg_foreign_server s ON s.oid = f.ftserver
 CROSS JOIN LATERAL (
       SELECT string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', ') AS grantees
         FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
         JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))) AS g
 WHERE g.grantees IS NOT NULL ORDER BY 1";

const EXTENSIONS: &str = "
SELECT quote_ident(e.extname), string_agg(DISTINCT quote_ident(r.rolname), ', ')
  FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
   AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_proc f ON f.oid = d.objid AND f.prorettype NOT IN ('fdw_handler'::regtype, 'void'::regtype, 'language_handler'::regtype, 'trigger'::regtype)
  JOIN pg_namespace n ON n.oid = f.pronamespace
  JOIN pg_roles r ON r.oid = ANY ($3) AND has_function_privilege(r.oid, f.oid, 'EXECUTE') AND has_schema_privilege(r.oid, n.oid, 'USAGE')
 WHERE e.extname IN ('dblink', 'http', 'pg_net', 'pg_cron', 'aws_s3', 'aws_lambda', 'adminpack', 'plsh',
                     'pg_background', 'pg_curl', 'file_fdw', 'pageinspect', 'pg_dirtyread')
 GROUP BY 1 ORDER BY 1";

const SERVERS: &str = "
SELECT quote_ident(s.srvname), string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', '),
       bool_or(EXISTS (SELECT FROM pg_user_mappings m WHERE m.srvid = s.oid AND (m.umuser = 0 OR m.umuser = ANY ($3))))
  FROM pg_foreign_server s CROSS JOIN LATERAL aclexplode(coalesce(s.srvacl, acldefault('S', s.srvowner))) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 GROUP BY 1 ORDER BY 1";

const LANGUAGES: &str = "
SELECT quote_ident(l.lanname), string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', ')
  FROM pg_language l CROSS JOIN LATERAL aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 WHERE l.lanpltrusted AND l.lanname NOT IN ('internal', 'c', 'sql', 'plpgsql') GROUP BY 1 ORDER BY 1";

const STATISTICS: &str = "
SELECT format('%I.%I', n.nspname, c.relname), string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', '),
       c.relname IN ('pg_statistic', 'pg_statistic_ext_data')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
  JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
 WHERE a.privilege_type = 'SELECT'
   AND (n.nspname = 'pg_catalog' AND c.relname IN ('pg_statistic', 'pg_statistic_ext_data')
     OR c.relname = 'pg_stat_statements' AND EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements'))
 GROUP BY 1, 3 ORDER BY 1";

const EVENT_TRIGGERS: &str = "
SELECT quote_ident(e.evtname), format('%I.%I()', n.nspname, f.proname), quote_ident(o.rolname)
  FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid JOIN pg_namespace n ON n.oid = f.pronamespace
  JOIN pg_roles o ON o.oid = f.proowner AND NOT o.rolsuper
 WHERE EXISTS (SELECT FROM pg_roles r WHERE r.oid = ANY ($3) AND pg_has_role(r.oid, o.oid, 'MEMBER')) ORDER BY 1";
