//! What runs in another's name: views, functions, triggers, rules.

use sqlx::FromRow;

use super::{
    Finding, LintError, Rule, Severity, rules, scope::Scope, tokens::qualifies_everything,
};

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let version = scope.version;
    let mut findings = Vec::new();
    let views: Vec<View> = scope.ask("views", VIEWS).await?;
    findings.extend(views.iter().map(|view| view.finding(version)));
    let functions: Vec<Definer> = scope.ask("functions", FUNCTIONS).await?;
    findings.extend(functions.iter().flat_map(Definer::findings));
    let leakproof: Vec<(String, String)> = scope.ask("functions", LEAKPROOF).await?;
    findings.extend(leakproof.into_iter().map(|(function, callers)| {
        let what = format!("{function} is declared LEAKPROOF and can be called by {callers}");
        let fix = format!("ALTER FUNCTION {function} NOT LEAKPROOF");
        Finding::of(&rules::LEAKPROOF_FUNCTION, format!("function {function}"), what, fix)
    }));
    let triggers: Vec<Trigger> = scope.ask("triggers", TRIGGERS).await?;
    findings.extend(triggers.iter().filter_map(Trigger::finding));
    let table_rules: Vec<(String, String, String)> = scope.ask("rules", TABLE_RULES).await?;
    findings.extend(table_rules.into_iter().map(|(table, rule, definition)| {
        let what = format!("{table} has a rule, {rule}");
        let fix = format!(
            "DROP RULE {rule} ON {table}; -- its work belongs in a trigger or the application"
        );
        Finding::of(&rules::TABLE_RULE, format!("{table} rule {rule}"), what, fix)
            .evidence(definition)
    }));
    Ok(findings)
}

/// A view or materialized view over tenant tables that a runtime role may use.
#[derive(Debug, FromRow)]
struct View {
    name: String,
    materialized: bool,
    owner: String,
    /// The tenant tables it reads, however deep.
    reads: String,
    /// Of those, the ones whose row security does not hold the owner.
    unheld: Option<String>,
    owner_bypasses: bool,
    grantees: String,
}

impl View {
    fn finding(&self, version: i32) -> Finding {
        let Self { name, owner, reads, grantees, .. } = self;
        if self.materialized {
            let what =
                format!("{name} holds every tenant's rows of {reads} and is granted to {grantees}");
            let fix = format!("REVOKE ALL ON {name} FROM {grantees}");
            return Finding::of(&rules::MATERIALIZED_VIEW, name, what, fix);
        }
        let (severity, why) = match &self.unheld {
            _ if self.owner_bypasses => {
                (Severity::Error, format!("{owner} is held by no row security"))
            }
            Some(tables) => {
                (Severity::Error, format!("row security of {tables} does not hold {owner}"))
            }
            None => (Severity::Note, format!("row security holds {owner}, today")),
        };
        let what = format!("{name} reads {reads} with the rights of its owner: {why}");
        let fix = if version >= 150_000 {
            format!("ALTER VIEW {name} SET (security_invoker = true)")
        } else {
            format!(
                "ALTER VIEW {name} OWNER TO a role that is neither superuser nor BYPASSRLS, and ALTER TABLE … FORCE ROW LEVEL SECURITY on {reads} (security_invoker needs PostgreSQL 15)"
            )
        };
        Finding::of(&rules::VIEW_OWNER_RIGHTS, name, what, fix)
            .severity(severity)
            .evidence(format!("granted to {grantees}"))
    }
}

/// Whose rights a piece of code runs with, and what it may reach with them.
#[derive(Debug, FromRow)]
struct Powers {
    owner: String,
    owner_bypasses: bool,
    /// Tenant tables the owner may use and whose row security does not hold it.
    unheld: Option<String>,
    /// Tenant tables its text names.
    names: Option<String>,
    /// It builds statements, or is written in what cannot be looked into.
    opaque: bool,
}

impl Powers {
    /// How bad, and why; `None` when the owner can do no more than the policies let it.
    fn judge(&self) -> Option<(Severity, String)> {
        let Self { owner, .. } = self;
        let why = if self.owner_bypasses {
            format!("{owner} is held by no row security")
        } else {
            format!("row security of {} does not hold {owner}", self.unheld.as_ref()?)
        };
        Some(match &self.names {
            Some(tables) => (Severity::Error, format!("{why}, and it names {tables}")),
            None if self.opaque => {
                (Severity::Error, format!("{why}, and what it does cannot be read off"))
            }
            None => (Severity::Warning, why),
        })
    }
}

/// A SECURITY DEFINER function a runtime role may call.
#[derive(Debug, FromRow)]
struct Definer {
    name: String,
    callers: String,
    pinned: bool,
    body: String,
    #[sqlx(flatten)]
    powers: Powers,
}

impl Definer {
    fn findings(&self) -> Vec<Finding> {
        let Self { name, callers, powers, .. } = self;
        let place = format!("function {name}");
        let mut findings = Vec::new();
        if let Some((severity, why)) = powers.judge() {
            let what = format!("{name} is SECURITY DEFINER and can be called by {callers}: {why}");
            let fix = format!(
                "ALTER FUNCTION {name} SECURITY INVOKER; -- or give it an owner that row security holds, or REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC, {callers}"
            );
            findings.push(definer(&rules::DEFINER_FUNCTION, &place, what, fix, severity));
        }
        if !self.pinned && !qualifies_everything(&self.body) {
            let what =
                format!("{name} is SECURITY DEFINER with the search_path of whoever calls it");
            let fix = format!("ALTER FUNCTION {name} SET search_path = pg_catalog, pg_temp");
            findings.push(definer(
                &rules::DEFINER_SEARCH_PATH,
                &place,
                what,
                fix,
                Severity::Warning,
            ));
        }
        findings
    }
}

fn definer(
    rule: &'static Rule,
    place: &str,
    what: String,
    fix: String,
    severity: Severity,
) -> Finding {
    Finding::of(rule, place, what, fix).severity(severity)
}

/// A trigger on a tenant table whose function is SECURITY DEFINER.
#[derive(Debug, FromRow)]
struct Trigger {
    table: String,
    trigger: String,
    function: String,
    #[sqlx(flatten)]
    powers: Powers,
}

impl Trigger {
    fn finding(&self) -> Option<Finding> {
        let Self { table, trigger, function, powers } = self;
        let (severity, why) = powers.judge()?;
        let what =
            format!("{table}: trigger {trigger} runs {function}, which is SECURITY DEFINER: {why}");
        let fix = format!(
            "ALTER FUNCTION {function} SECURITY INVOKER; -- or give it an owner that row security holds"
        );
        let place = format!("{table} trigger {trigger}");
        Some(definer(&rules::TRIGGER_DEFINER, &place, what, fix, severity))
    }
}

/// `pg_depend` holds what a view's rule reads.
const VIEWS: &str = "
WITH RECURSIVE reads(view, rel) AS (
  SELECT w.ev_class, d.refobjid
    FROM pg_rewrite w JOIN pg_class v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
   UNION
  SELECT reads.view, d.refobjid
    FROM reads JOIN pg_rewrite w ON w.ev_class = reads.rel
    JOIN pg_class v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class)
SELECT format('%I.%I', n.nspname, v.relname) AS name, v.relkind = 'm' AS materialized, o.rolname::text AS owner,
       string_agg(DISTINCT format('%I.%I', tn.nspname, t.relname), ', ') AS reads,
       string_agg(DISTINCT format('%I.%I', tn.nspname, t.relname), ', ') FILTER (
         WHERE NOT t.relrowsecurity OR pg_has_role(o.oid, t.relowner, 'USAGE') AND NOT t.relforcerowsecurity) AS unheld,
       o.rolsuper OR o.rolbypassrls AS owner_bypasses, g.grantees
  FROM reads JOIN pg_class v ON v.oid = reads.view JOIN pg_namespace n ON n.oid = v.relnamespace
  JOIN pg_class t ON t.oid = reads.rel AND t.oid = ANY ($1) JOIN pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_roles o ON o.oid = v.relowner
 CROSS JOIN LATERAL (
       SELECT string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END, ', ') AS grantees
         FROM (SELECT x.* FROM aclexplode(coalesce(v.relacl, acldefault('r', v.relowner))) AS x
                UNION ALL SELECT x.* FROM pg_attribute t, aclexplode(t.attacl) AS x WHERE t.attrelid = v.oid) AS a
         JOIN pg_roles r ON r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))) AS g
 WHERE g.grantees IS NOT NULL
   AND (v.relkind = 'm' OR NOT EXISTS (
        SELECT FROM pg_options_to_table(v.reloptions) WHERE option_name = 'security_invoker' AND option_value::bool))
 GROUP BY v.oid, 1, 2, 3, o.rolsuper, o.rolbypassrls, g.grantees ORDER BY 1";

/// What a function's owner may reach, and what the function's text says it does. `f` is the
/// function, `o` its owner.
macro_rules! powers {
    () => {
        "o.rolname::text AS owner, o.rolsuper OR o.rolbypassrls AS owner_bypasses,
       (SELECT string_agg(format('%I.%I', tn.nspname, t.relname), ', ' ORDER BY 1)
          FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace
         WHERE t.oid = ANY ($1) AND has_any_column_privilege(o.oid, t.oid, 'SELECT, INSERT, UPDATE')
           AND (NOT t.relrowsecurity OR pg_has_role(o.oid, t.relowner, 'USAGE') AND NOT t.relforcerowsecurity)) AS unheld,
       (SELECT string_agg(format('%I.%I', tn.nspname, t.relname), ', ' ORDER BY 1)
          FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace
         WHERE t.oid = ANY ($1) AND b.body ~* ('\\m' || regexp_replace(t.relname, '\\W', '.', 'g') || '\\M')) AS names,
       l.lanname NOT IN ('sql', 'plpgsql') OR b.body ~* '\\mexecute\\M\\s*[^\\s]*[(''$]|\\mexecute\\M\\s+format' AS opaque"
    };
}

const FUNCTIONS: &str = concat!(
    "SELECT format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)) AS name,
       g.callers, coalesce(f.proconfig::text ~ '[{,\"]search_path=', false) AS pinned, b.body, ",
    powers!(),
    "
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_roles o ON o.oid = f.proowner
  JOIN pg_language l ON l.oid = f.prolang
 CROSS JOIN LATERAL (SELECT CASE WHEN f.prosrc <> '' THEN f.prosrc
                                 WHEN f.prokind IN ('f', 'p') THEN pg_get_functiondef(f.oid) ELSE '' END AS body) AS b
 CROSS JOIN LATERAL (
       SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) AS callers FROM pg_roles r
        WHERE r.oid = ANY ($3) AND EXISTS (
              SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS a
               WHERE a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
          AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
               WHERE a.privilege_type = 'USAGE' AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER')))) AS g
 WHERE f.prosecdef AND g.callers IS NOT NULL AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e')
 ORDER BY 1"
);

const LEAKPROOF: &str = "
SELECT format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)), g.callers
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
 CROSS JOIN LATERAL (
       SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) AS callers FROM pg_roles r
        WHERE r.oid = ANY ($3) AND has_function_privilege(r.oid, f.oid, 'EXECUTE')) AS g
 WHERE f.proleakproof AND g.callers IS NOT NULL AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e')
 ORDER BY 1";

const TRIGGERS: &str = concat!(
    "SELECT format('%I.%I', n.nspname, c.relname) AS \"table\", quote_ident(t.tgname) AS trigger,
       format('%I.%I()', fn.nspname, f.proname) AS function, ",
    powers!(),
    "
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid AND c.oid = ANY ($1) JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_proc f ON f.oid = t.tgfoid AND f.prosecdef JOIN pg_namespace fn ON fn.oid = f.pronamespace
  JOIN pg_roles o ON o.oid = f.proowner JOIN pg_language l ON l.oid = f.prolang
 CROSS JOIN LATERAL (SELECT f.prosrc AS body) AS b
 WHERE NOT t.tgisinternal ORDER BY 1, 2"
);

const TABLE_RULES: &str = "
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(w.rulename), pg_get_ruledef(w.oid)
  FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class AND c.oid = ANY ($1) JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE w.rulename <> '_RETURN' ORDER BY 1, 2";
