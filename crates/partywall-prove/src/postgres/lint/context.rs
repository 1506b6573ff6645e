//! Where policies learn who the tenant is: settings, functions, other tables.

use sqlx::{FromRow, postgres::types::Oid};

use super::{
    Finding, LintError, Severity, policies::Policy, rules, scope::Scope, tables::Table, tokens,
};

/// What the policies go by.
#[derive(Debug)]
pub(super) struct Context {
    settings: Vec<Setting>,
    functions: Vec<Function>,
    lookups: Vec<Lookup>,
    user_claims: Vec<(String, String)>,
    /// Policies that compare the role although there is one for all tenants, and that role.
    one_login: Vec<(String, String)>,
}

/// A setting that policies read, and which ones.
#[derive(Debug)]
struct Setting {
    name: String,
    read_by: Vec<String>,
    /// A table to show the remedy on: schema, name, tenant column.
    example: [String; 3],
}

/// A function that policies call.
#[derive(Debug, FromRow)]
struct Function {
    policy: Oid,
    /// With the types of its arguments.
    name: String,
    immutable: bool,
    body: String,
}

/// A table that policies look things up in.
#[derive(Debug, FromRow)]
struct Lookup {
    place: String,
    table: String,
    /// The runtime roles that may write it, and how.
    written_by: String,
    walled: bool,
}

impl Function {
    fn reads_session(&self) -> bool {
        let body = self.body.to_ascii_lowercase();
        ["current_setting", "current_user", "session_user", "current_role"]
            .iter()
            .any(|name| body.contains(name))
    }

    /// It proves what the setting says, with a key the session cannot have.
    fn proves(&self) -> bool {
        let body = self.body.to_ascii_lowercase();
        ["sha256(", "hmac(", "verify("].iter().any(|name| body.contains(name))
    }
}

impl Context {
    /// Whether policies take the tenant from this setting.
    pub(super) fn reads(&self, setting: &str) -> bool {
        self.settings.iter().any(|read| read.name.eq_ignore_ascii_case(setting))
    }

    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.settings.iter().map(Setting::finding).collect();
        let frozen = self.functions.iter().filter(|f| f.immutable && f.reads_session());
        let mut seen = Vec::new();
        for function in frozen {
            if seen.contains(&&function.name) {
                continue;
            }
            seen.push(&function.name);
            let name = &function.name;
            let what =
                format!("{name} reads the session, is declared IMMUTABLE, and policies call it");
            let fix = format!("ALTER FUNCTION {name} STABLE");
            findings.push(Finding::of(
                &rules::CONTEXT_IMMUTABLE,
                format!("function {name}"),
                what,
                fix,
            ));
        }
        findings.extend(self.lookups.iter().filter(|l| !l.walled).map(Lookup::finding));
        findings.extend(self.user_claims.iter().map(|(place, expression)| {
            let what = format!("{place} goes by user_metadata, which users write themselves");
            let fix = "take the tenant from app_metadata, or from a table the user cannot write";
            Finding::of(&rules::CONTEXT_SETTABLE, place, what, fix)
                .severity(Severity::Error)
                .evidence(expression)
        }));
        findings.extend(self.one_login.iter().map(|(place, role)| {
            let what = format!(
                "{place} goes by the role, and the application has one for all tenants: {role}"
            );
            let fix = "give each tenant a login of its own (and name them with --role), or bind the tenant with a ticket: partywall postgres init";
            Finding::of(&rules::POLICY_WITHOUT_TENANT, place, what, fix)
                .severity(Severity::Warning)
        }));
        findings
    }
}

impl Setting {
    fn finding(&self) -> Finding {
        let Self { name, read_by, example: [schema, table, column] } = self;
        let what = format!(
            "policies take the tenant from {name}, which every session may set: it stops a forgotten WHERE, and is worth nothing against injected SQL"
        );
        let fix = format!(
            "bind the tenant with a ticket: partywall postgres init --table {schema}.{table}:{column}"
        );
        Finding::of(&rules::CONTEXT_SETTABLE, format!("setting {name}"), what, fix)
            .evidence(format!("read by {}", read_by.join("; ")))
    }
}

impl Lookup {
    fn finding(&self) -> Finding {
        let Self { place, table, written_by, .. } = self;
        let what = format!(
            "{place} looks things up in {table}, which has no row security, and {written_by}"
        );
        let fix = format!(
            "take the right to write it from the application, or ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY and give it a policy"
        );
        Finding::of(&rules::POLICY_LOOKUP, place, what, fix)
    }
}

/// Follows what the policies read, one function deep.
pub(super) async fn read(scope: &mut Scope<'_>, policies: &[Policy]) -> Result<Context, LintError> {
    let functions: Vec<Function> = scope.ask("functions in policies", FUNCTIONS).await?;
    let lookups = scope.ask("tables in policies", LOOKUPS).await?;
    let mut settings: Vec<Setting> = Vec::new();
    let (mut user_claims, mut one_login) = (Vec::new(), Vec::new());
    let only_role = match &scope.roles[..] {
        [role] => Some(role.name.clone()),
        _ => None,
    };
    for policy in policies {
        let Some(table) = scope.table(policy.table) else { continue };
        let place = policy.place(table);
        let called = functions.iter().filter(|f| f.policy == policy.oid && !f.proves());
        let texts: Vec<&str> = policy.expressions().chain(called.map(|f| &*f.body)).collect();
        for name in texts.iter().flat_map(|text| tokens::settings(text)) {
            add(&mut settings, name, &place, table);
        }
        let claims = policy.expressions().find(|text| text.contains("user_metadata"));
        user_claims.extend(claims.map(|text| (place.clone(), text.to_owned())));
        if let Some(role) = &only_role
            && policy.expressions().any(tokens::reads_role)
        {
            one_login.push((place, role.clone()));
        }
    }
    Ok(Context { settings, functions, lookups, user_claims, one_login })
}

fn add(settings: &mut Vec<Setting>, name: String, place: &str, table: &Table) {
    match settings.iter_mut().find(|setting| setting.name == name) {
        Some(setting) if setting.read_by.iter().any(|is| is == place) => {}
        Some(setting) => setting.read_by.push(place.to_owned()),
        None => {
            let example = [&table.schema, &table.plain, &table.column].map(String::clone);
            settings.push(Setting { name, read_by: vec![place.to_owned()], example });
        }
    }
}

/// Functions of the system itself are pinned, and stand in no dependency.
const FUNCTIONS: &str = "
SELECT p.oid AS policy, format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)) AS name,
       f.provolatile = 'i' AS immutable,
       CASE WHEN f.prokind IN ('f', 'p') THEN pg_get_functiondef(f.oid) ELSE '' END AS body
  FROM pg_policy p
  JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass
  JOIN pg_proc f ON f.oid = d.refobjid
  JOIN pg_namespace n ON n.oid = f.pronamespace
 WHERE p.polrelid = ANY ($1) ORDER BY 2, 1";

const LOOKUPS: &str = "
SELECT DISTINCT format('%s policy %I', format('%I.%I', tn.nspname, t.relname), p.polname) AS place,
       format('%I.%I', n.nspname, c.relname) AS \"table\",
       w.written_by, c.relrowsecurity AS walled
  FROM pg_policy p
  JOIN pg_class t ON t.oid = p.polrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
   AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> p.polrelid
  JOIN pg_class c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p')
  JOIN pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
       SELECT string_agg(DISTINCT format('%I may %s', r.rolname, a.privilege_type), ', ') AS written_by
         FROM pg_roles r, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
        WHERE r.oid = ANY ($3) AND (a.grantee = 0 OR pg_has_role(r.oid, a.grantee, 'MEMBER'))
          AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')) AS w
 WHERE p.polrelid = ANY ($1) AND w.written_by IS NOT NULL";
