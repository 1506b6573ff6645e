//! The policies: what together they let through, for each command and each role.

use std::collections::BTreeSet;

use sqlx::{FromRow, postgres::types::Oid};

use super::{
    Finding, LintError, Rule, Severity,
    expression::{Columns, Judgement, judge},
    rules,
    scope::Scope,
    tables::{Table, quote},
};

/// One row policy.
#[derive(Debug, FromRow)]
pub(super) struct Policy {
    pub(super) oid: Oid,
    pub(super) table: Oid,
    /// Quoted.
    pub(super) name: String,
    /// `r`, `a`, `w`, `d`, or `*` for all.
    command: String,
    permissive: bool,
    /// Whom it is for, as written; `PUBLIC` for everyone.
    for_roles: Vec<String>,
    /// The runtime roles among them.
    applies_to: Vec<String>,
    using: Option<String>,
    check: Option<String>,
}

/// A command, and which of a policy's expressions decides about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Side {
    command: &'static str,
    code: &'static str,
    writes: bool,
}

const SIDES: [Side; 5] = [
    Side { command: "SELECT", code: "r", writes: false },
    Side { command: "INSERT", code: "a", writes: true },
    Side { command: "UPDATE", code: "w", writes: false },
    Side { command: "UPDATE", code: "w", writes: true },
    Side { command: "DELETE", code: "d", writes: false },
];

impl Policy {
    /// The expression that decides; `None` when the policy says nothing about this side.
    fn decides(&self, side: Side) -> Option<&str> {
        if self.command != "*" && self.command != side.code {
            return None;
        }
        let expression = match (side.writes, &self.check) {
            (true, Some(check)) => Some(check),
            // Without a check, what may be seen may be written.
            _ => self.using.as_ref(),
        };
        expression.map(String::as_str)
    }

    /// `public.invoices policy own_rows`.
    pub(super) fn place(&self, table: &Table) -> String {
        format!("{} policy {}", table.name, self.name)
    }

    /// Both expressions.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &str> {
        self.using.iter().chain(&self.check).map(String::as_str)
    }

    fn is_for(&self, role: Option<&str>) -> bool {
        role.is_none_or(|role| self.applies_to.iter().any(|is| is == role))
    }
}

/// All policies of the tenant tables.
pub(super) async fn read(scope: &mut Scope<'_>) -> Result<Vec<Policy>, LintError> {
    scope.ask("policies", POLICIES).await
}

pub(super) fn check(scope: &Scope<'_>, policies: &[Policy]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in scope.tables.iter().filter(|table| table.enabled) {
        let own: Vec<&Policy> =
            policies.iter().filter(|policy| policy.table == table.oid).collect();
        findings.extend(holes(scope, table, &own));
        findings.extend(roles_left_out(scope, table, &own));
        findings.extend(dead_grants(scope, table, &own));
    }
    findings
}

/// What a policy lets through past the tenant, and where.
struct Hole<'p> {
    policy: &'p Policy,
    rule: &'static Rule,
    judgement: Judgement,
    commands: Vec<&'static str>,
}

fn holes(scope: &Scope<'_>, table: &Table, policies: &[&Policy]) -> Vec<Finding> {
    let held = scope.roles.iter().filter(|role| !role.is_beyond_walls());
    let mut subjects: Vec<Option<&str>> = held.map(|role| Some(&*role.name)).collect();
    if subjects.is_empty() {
        subjects.push(None);
    }
    let mut holes: Vec<Hole<'_>> = Vec::new();
    for side in SIDES {
        for role in &subjects {
            for (policy, judgement) in let_through(table, policies, side, *role) {
                let rule = rule_for(&judgement, side);
                let known = holes
                    .iter_mut()
                    .find(|hole| hole.policy.oid == policy.oid && hole.rule.id == rule.id);
                match known {
                    Some(hole) if hole.commands.contains(&side.command) => {}
                    Some(hole) => hole.commands.push(side.command),
                    None => {
                        holes.push(Hole { policy, rule, judgement, commands: vec![side.command] });
                    }
                }
            }
        }
    }
    // Said once: what is always true when reading is when writing, too.
    let open: Vec<_> = holes
        .iter()
        .filter(|hole| hole.rule.id == rules::POLICY_TRUE.id)
        .map(|hole| hole.policy.oid)
        .collect();
    let repeats = |hole: &Hole<'_>| {
        hole.rule.id == rules::POLICY_CHECK_OPEN.id && open.contains(&hole.policy.oid)
    };
    holes.iter().filter(|hole| !repeats(hole)).map(|hole| hole.finding(table)).collect()
}

/// The policies by which rows get past the tenant; none when a RESTRICTIVE policy binds, or every
/// permissive one does.
fn let_through<'p>(
    table: &Table,
    policies: &[&'p Policy],
    side: Side,
    role: Option<&str>,
) -> Vec<(&'p Policy, Judgement)> {
    let columns = Columns { table: &table.plain, tenant: &table.column, all: &table.columns };
    let judged: Vec<_> = policies
        .iter()
        .filter(|policy| policy.is_for(role))
        .filter_map(|policy| Some((*policy, judge(policy.decides(side)?, columns))))
        .collect();
    let opened = judged.iter().any(|(policy, _)| policy.permissive);
    let binds = |judgement: &Judgement| *judgement == Judgement::Binds;
    let restricted =
        judged.iter().any(|(policy, judgement)| !policy.permissive && binds(judgement));
    if !opened || restricted {
        return Vec::new();
    }
    let narrow = judged.iter().all(|(policy, judgement)| !policy.permissive || binds(judgement));
    if narrow {
        return Vec::new();
    }
    // A RESTRICTIVE policy that was meant to be the wall and has a hole is the one to name.
    let broken = |(policy, judgement): &(&Policy, Judgement)| {
        !policy.permissive
            && !matches!(
                judgement,
                Judgement::Binds | Judgement::True | Judgement::Unrelated { .. }
            )
    };
    if judged.iter().any(broken) {
        return judged.into_iter().filter(broken).collect();
    }
    judged
        .into_iter()
        .filter(|(policy, judgement)| policy.permissive && !binds(judgement))
        .collect()
}

fn rule_for(judgement: &Judgement, side: Side) -> &'static Rule {
    match judgement {
        Judgement::True | Judgement::Binds if side.writes => &rules::POLICY_CHECK_OPEN,
        Judgement::True | Judgement::Binds => &rules::POLICY_TRUE,
        Judgement::FailsOpen(_) => &rules::POLICY_FAILS_OPEN,
        Judgement::Prefix(_) => &rules::POLICY_PREFIX,
        Judgement::Widens(_) => &rules::POLICY_WIDENS,
        Judgement::Unrelated { .. } if side.writes => &rules::POLICY_CHECK_OPEN,
        Judgement::Unrelated { .. } => &rules::POLICY_WITHOUT_TENANT,
    }
}

impl Hole<'_> {
    fn finding(&self, table: &Table) -> Finding {
        let place = self.policy.place(table);
        let (column, commands) = (&table.column, self.commands.join(", "));
        let (what, severity) = match &self.judgement {
            Judgement::True | Judgement::Binds => ("is always true".to_owned(), Severity::Error),
            Judgement::FailsOpen(part) => (
                format!("lets everything through while no tenant is set ({part})"),
                Severity::Error,
            ),
            Judgement::Prefix(part) => {
                (format!("compares only a part of {column} ({part})"), Severity::Error)
            }
            // Whoever can send SQL can satisfy it.
            Judgement::Widens(arm) if arm.contains("current_setting") => (
                format!("has a way around {column} that any session can open: {arm}"),
                Severity::Error,
            ),
            Judgement::Widens(arm) => {
                (format!("has a way around {column}: {arm}"), Severity::Warning)
            }
            Judgement::Unrelated { opaque: true } => (
                format!(
                    "does not compare {column}, and whether what it does compare keeps tenants apart cannot be seen"
                ),
                Severity::Warning,
            ),
            Judgement::Unrelated { opaque: false } => {
                (format!("does not compare {column} with the session"), Severity::Error)
            }
        };
        let clause =
            if self.rule.id == rules::POLICY_CHECK_OPEN.id { "WITH CHECK" } else { "USING" };
        Finding::of(
            self.rule,
            place,
            format!("{}: policy {} {what}; it decides {commands}", table.name, self.policy.name),
            self.fix(table, clause),
        )
        .severity(severity)
        .evidence(self.policy.written())
    }

    fn fix(&self, table: &Table, clause: &str) -> String {
        let (name, policy) = (&table.name, &self.policy.name);
        if self.rule.id == rules::POLICY_TRUE.id {
            return format!("{}; -- or DROP POLICY {policy} ON {name}", wall(table, self.policy));
        }
        format!(
            "ALTER POLICY {policy} ON {name} {clause} ({} = …); -- the whole of it, with no other arm",
            quote(&table.column)
        )
    }
}

/// A RESTRICTIVE policy beside what is there.
fn wall(table: &Table, beside: &Policy) -> String {
    let column = quote(&table.column);
    let command = if beside.command == "*" { "ALL" } else { beside.command_name() };
    format!(
        "CREATE POLICY tenant_wall ON {} AS RESTRICTIVE FOR {command} TO PUBLIC USING ({column} = …)",
        table.name
    )
}

impl Policy {
    fn command_name(&self) -> &'static str {
        SIDES.iter().find(|side| side.code == self.command).map_or("ALL", |side| side.command)
    }

    /// As the catalogue has it.
    fn written(&self) -> String {
        let kind = if self.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
        let mut text =
            format!("{kind} FOR {} TO {}", self.command_name(), self.for_roles.join(", "));
        if let Some(using) = &self.using {
            text += &format!(" USING ({using})");
        }
        if let Some(check) = &self.check {
            text += &format!(" WITH CHECK ({check})");
        }
        text
    }
}

/// A RESTRICTIVE policy that stands for some roles only.
fn roles_left_out(_scope: &Scope<'_>, table: &Table, policies: &[&Policy]) -> Vec<Finding> {
    let partial = policies.iter().filter(|policy| {
        !policy.permissive && !policy.for_roles.iter().any(|role| role == "PUBLIC")
    });
    // Beside permissive policies for the same roles only, nobody is let in whom it does not hold.
    let wider = |policy: &Policy| {
        policies
            .iter()
            .filter(|other| other.permissive)
            .any(|other| other.for_roles.iter().any(|role| !policy.for_roles.contains(role)))
    };
    partial
        .filter(|policy| wider(policy))
        .map(|policy| {
            let what = format!(
                "{}: the RESTRICTIVE policy {} holds {} only, and a permissive one lets others in",
                table.name,
                policy.name,
                policy.for_roles.join(", ")
            );
            let fix = format!("ALTER POLICY {} ON {} TO PUBLIC", policy.name, table.name);
            Finding::of(&rules::POLICY_ROLES, policy.place(table), what, fix)
                .evidence(policy.written())
        })
        .collect()
}

/// Commands a runtime role is granted and no policy admits.
fn dead_grants(scope: &Scope<'_>, table: &Table, policies: &[&Policy]) -> Vec<Finding> {
    if policies.is_empty() {
        return Vec::new(); // said by another rule
    }
    let mut findings: Vec<Finding> = Vec::new();
    for role in scope.roles.iter().filter(|role| !role.is_beyond_walls()) {
        let admitted = |code: &str| {
            policies.iter().any(|policy| {
                policy.permissive
                    && policy.is_for(Some(&role.name))
                    && (policy.command == "*" || policy.command == code)
            })
        };
        let dead = table.grants.iter().filter(|grant| {
            grant.role == role.oid
                && SIDES.iter().any(|side| side.command == grant.privilege && !admitted(side.code))
        });
        let commands: BTreeSet<&str> = dead.clone().map(|grant| &*grant.privilege).collect();
        let grantees: BTreeSet<&str> = dead.map(|grant| &*grant.grantee).collect();
        if commands.is_empty() {
            continue;
        }
        let [commands, grantees] =
            [commands, grantees].map(|names| names.into_iter().collect::<Vec<_>>().join(", "));
        let what =
            format!("{}: {} may {commands}, and no policy admits a row", table.name, role.name);
        let fix = format!("REVOKE {commands} ON {} FROM {grantees}", table.name);
        let place = format!("{} role {}", table.name, role.name);
        findings.push(Finding::of(&rules::POLICY_COMMAND, place, what, fix));
    }
    findings
}

const POLICIES: &str = r#"
SELECT p.oid, p.polrelid AS "table", quote_ident(p.polname) AS name, p.polcmd::text AS command,
       p.polpermissive AS permissive,
       ARRAY(SELECT CASE WHEN o = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(o)::text END FROM unnest(p.polroles) AS o) AS for_roles,
       ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = ANY ($3) AND EXISTS (
             SELECT FROM unnest(p.polroles) AS o WHERE o = 0 OR pg_has_role(r.oid, o, 'MEMBER'))) AS applies_to,
       pg_get_expr(p.polqual, p.polrelid) AS "using", pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
  FROM pg_policy p WHERE p.polrelid = ANY ($1) ORDER BY p.polrelid, p.polname"#;
