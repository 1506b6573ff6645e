//! What must hold before the first tenant is served (T-05), asked of the database itself.

use std::fmt;

use partywall::Target;
use sqlx::PgConnection;

use crate::{
    error::PostgresError,
    questions::QUESTIONS,
    store::{Checked, Postgres},
    ticket::{TicketKey, Window},
    wire::Wire as _,
};

/// Something about a database that is not as the wall needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Whether it may be served all the same.
    pub severity: Severity,
    /// What was found, with names.
    pub what: String,
    /// The statement, or the step, that puts it right.
    pub fix: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Weakens the wall, or lets a tenant learn that something exists.
    Warning,
    /// One tenant could reach another's rows: not served.
    Refusal,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  fix: {}", self.what, self.fix)
    }
}

/// A database that must not be served, and everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// What was found.
    #[error("the database at {target} does not hold the wall:{}", listed(.findings))]
    Findings {
        /// Where.
        target: Target,
        /// All of it, refusals first.
        findings: Vec<Finding>,
    },
    /// It could not be asked.
    #[error("the database at {target} could not be checked: {source}")]
    Unreachable {
        /// Where.
        target: Target,
        /// Why.
        #[source]
        source: Box<PostgresError>,
    },
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n- {finding}")).collect()
}

impl Postgres {
    /// Asks every pool database whether the wall stands, and returns what is merely weak.
    ///
    /// Bridge and silo databases are walled by their logins, which are asked when they connect.
    ///
    /// # Errors
    ///
    /// [`Unfit`] at the first target where it does not: a runtime role that is superuser, has
    /// BYPASSRLS, owns what it should not, may create or make temporary tables; a table with a
    /// tenant column and no forced row policy of ours; another key.
    pub async fn verify(&self) -> Result<Vec<Finding>, Unfit> {
        let mut weak = Vec::new();
        for checked in self.pools() {
            let mut findings = check(&checked).await.map_err(|source| Unfit::Unreachable {
                target: checked.target.clone(),
                source: Box::new(source),
            })?;
            findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            if findings.iter().any(|finding| finding.severity == Severity::Refusal) {
                return Err(Unfit::Findings { target: checked.target.clone(), findings });
            }
            for finding in &findings {
                tracing::warn!(db.target = %checked.target, fix = finding.fix, "{}", finding.what);
            }
            weak.extend(findings);
        }
        Ok(weak)
    }
}

async fn check(checked: &Checked<'_>) -> Result<Vec<Finding>, PostgresError> {
    let Checked { target, sessions, key, tenant_columns, roles } = checked;
    // Nobody's id: the check needs a session, not a tenant.
    let nobody = "wall-check".parse().map_err(|_| PostgresError::Closed)?;
    let mut lease = match sessions.acquire(&nobody).await {
        Err(error @ PostgresError::TooPowerful { .. }) => return Ok(vec![too_powerful(&error)]),
        acquired => acquired?,
    };
    let begin_failed = |source| PostgresError::Begin { target: (*target).clone(), source };
    let mut findings = Vec::new();
    if let Ok(session) = lease.session() {
        // Whatever happens below, the cleaner ends the transaction.
        session.challenged = true;
    }
    let conn = lease.wire_mut();
    // One transaction, so that a pooler keeps giving us the same server session.
    conn.ask("BEGIN READ ONLY".to_owned()).await.map_err(begin_failed)?;
    let version: i32 = ask_one(conn, "SELECT current_setting('server_version_num')::int4")
        .await
        .map_err(begin_failed)?;
    findings.extend(version_finding(version));
    for question in QUESTIONS {
        let mut query = sqlx::query_as::<_, (String, String)>(question.sql).persistent(false);
        query = query.bind(roles);
        if question.sql.contains("$2") {
            query = query.bind(*tenant_columns);
        }
        let rows = query.fetch_all(&mut *conn).await.map_err(|e| begin_failed(e.into()))?;
        findings.extend(rows.into_iter().map(|(what, fix)| Finding {
            severity: question.severity,
            what,
            fix,
        }));
    }
    conn.ask("ROLLBACK".to_owned()).await.map_err(begin_failed)?;
    // The functions themselves, tried out; without them there is nothing to try.
    if !findings.iter().any(|finding| finding.what.starts_with(NOT_INSTALLED)) {
        findings.extend(try_ticket(conn, key, &nobody).await.map_err(begin_failed)?);
    }
    if let Ok(session) = lease.session() {
        // Nothing is open: ending it once more would have the server warn.
        session.challenged = false;
    }
    Ok(findings)
}

/// The bound transaction of nobody sees nobody's id, and the unbound one sees an error.
async fn try_ticket(
    conn: &mut PgConnection,
    key: &TicketKey,
    nobody: &partywall::TenantId,
) -> Result<Option<Finding>, crate::wire::DriverError> {
    let refusal = |what: &str, fix: &str| Finding {
        severity: Severity::Refusal,
        what: what.to_owned(),
        fix: fix.to_owned(),
    };
    let unbound = conn.ask("SELECT partywall.tenant_id()".to_owned()).await;
    if unbound.is_ok() {
        return Ok(Some(refusal(
            "partywall.tenant_id() answers in a transaction nobody bound",
            "run the migration of `partywall postgres init` again",
        )));
    }
    let answer = conn.ask(format!("BEGIN; {}", crate::ticket::Binder::CHALLENGE)).await?;
    let [pid, start] = answer.as_slice() else { return Err(crate::wire::DriverError::OutOfStep) };
    let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else {
        return Err(crate::wire::DriverError::OutOfStep);
    };
    let bind = key.mint(nobody, pid, Window::exactly(start)).bind_statement();
    let bound = conn.ask(format!("{bind}; SELECT partywall.tenant_id()")).await;
    conn.ask("ROLLBACK".to_owned()).await?;
    match bound {
        Ok(answer) if answer.first().is_some_and(|t| t == nobody.as_str()) => Ok(None),
        Ok(_) | Err(_) => Ok(Some(refusal(
            "the ticket key of this process is not in the database",
            "put it there with provision::put_ticket_key (SELECT partywall.put_key(..) as the owner role), or correct the secret",
        ))),
    }
}

async fn ask_one(
    conn: &mut PgConnection,
    sql: &'static str,
) -> Result<i32, crate::wire::DriverError> {
    Ok(sqlx::query_scalar(sql).persistent(false).fetch_one(conn).await?)
}

/// Such a role is refused by the pool itself, before it can be asked anything.
fn too_powerful(error: &PostgresError) -> Finding {
    let said = error.to_string();
    let (what, fix) = said.split_once(": ALTER").unwrap_or((&said, ""));
    Finding { severity: Severity::Refusal, what: what.to_owned(), fix: format!("ALTER{fix}") }
}

fn version_finding(number: i32) -> Option<Finding> {
    let (major, minor) = (number / 10_000, number % 10_000);
    if major < 14 {
        return Some(Finding {
            severity: Severity::Refusal,
            what: format!("the server is PostgreSQL {major}, which the wall does not work on"),
            fix: "upgrade the server to version 14 or later".to_owned(),
        });
    }
    let floor = FLOORS.iter().find(|(known, _)| *known == major)?.1;
    (minor < floor).then(|| Finding {
        severity: Severity::Warning,
        what: format!("PostgreSQL {major}.{minor} has known holes in row level security (CVE-2025-8713 and before)"),
        fix: format!("upgrade the server to {major}.{floor} or later"),
    })
}

/// The first minor release without the known ways past row level security (B-50).
const FLOORS: &[(i32, i32)] = &[(14, 19), (15, 14), (16, 10), (17, 6)];

/// How the first of the [`QUESTIONS`] begins its answer.
const NOT_INSTALLED: &str = "the wall is not installed";
