//! What no attack shows: the lint of a schema.
//!
//! Reads catalogues only, in a transaction that is rolled back, on any schema of PostgreSQL 13 or
//! later, whoever built its walls. Where a catalogue may not be read, the report says what was
//! left out.
//!
//! ```text
//! options ─► scope (tenant tables, runtime roles) ─► checks, one file per subject ─► report
//! ```

mod code;
mod context;
mod declared;
mod expression;
mod finding;
mod grants;
mod indexes;
mod keys;
mod outside;
pub mod pgrls;
mod policies;
mod report;
mod roles;
pub mod rules;
mod scope;
mod server;
mod tables;
mod tokens;

use sqlx::{Connection as _, PgConnection};

pub use declared::{StoreKind, application_only};
pub use finding::{Finding, Severity};
pub use report::{LintReport, RuntimeRole, TenantTable};
pub use rules::Rule;

use super::{Address, TenantColumn};
use crate::Exception;
use scope::Scope;

/// What to look at, and what is known about it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these schemas; all but the system's when empty.
    pub schemas: Vec<String>,
    /// The roles the application logs in as; guessed when empty.
    pub roles: Vec<String>,
    /// Tables and the column that names the tenant in them; the others' are guessed.
    pub tenant_columns: Vec<TenantColumn>,
    /// Tables that hold nothing of any tenant: `table` or `schema.table`.
    pub shared: Vec<String>,
    /// What is accepted, and why.
    pub ignore: Vec<Exception>,
    /// What another tool found, to be reported beside ours: see [`pgrls::import`].
    pub imported: Vec<Finding>,
}

/// Why a schema could not be looked at. Never a reason to think it is sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// There is no way in.
    #[error("cannot connect: {0}")]
    NoAccess(#[source] sqlx::Error),
    /// Something that was named is not there.
    #[error("there is no {kind} {name}: correct the name, or lint the database that has it")]
    NotThere {
        /// `schema`, `table`, `column`, `role`.
        kind: &'static str,
        /// What was named.
        name: String,
    },
    /// Older than the lint knows.
    #[error("the server is PostgreSQL {major}, older than the lint knows: it reads 13 and later")]
    TooOld {
        /// Its major version.
        major: i32,
    },
    /// The server did not answer a question.
    #[error("the catalogue could not be asked about {about}: {source}")]
    Unanswered {
        /// What was asked.
        about: &'static str,
        /// Its answer.
        #[source]
        source: sqlx::Error,
    },
    /// Not the JSON that `pgrls lint --format json` writes.
    #[error("these are no findings of pgrls: {source}; write them with `pgrls lint --format json`")]
    NotPgrls {
        /// Where it went wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Looks at the database of `connection`, and changes nothing in it.
///
/// # Errors
///
/// [`LintError`] when something named in `options` is not there, or the server does not answer.
pub async fn lint(
    connection: &mut PgConnection,
    options: &Options,
) -> Result<LintReport, LintError> {
    // By the simple protocol, all of it, so that nothing is left on a pooler's connection.
    let begun = sqlx::raw_sql(BEGIN).execute(&mut *connection).await;
    let looked = match begun {
        Ok(_) => look(connection, options).await,
        Err(source) => Err(LintError::Unanswered { about: "anything", source }),
    };
    let ended = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
    match (looked, ended) {
        (Ok(report), Err(error)) => {
            tracing::warn!(%error, "the lint's transaction was not rolled back; closing");
            Ok(report)
        }
        (looked, _) => looked,
    }
}

/// Connects, looks, disconnects; see [`lint`].
///
/// # Errors
///
/// As [`lint`], and when there is no way in.
pub async fn lint_at(address: &Address, options: &Options) -> Result<LintReport, LintError> {
    let mut connection =
        PgConnection::connect_with(address.options()).await.map_err(LintError::NoAccess)?;
    let report = lint(&mut connection, options).await;
    let _ = connection.close().await; // said goodbye or not, it is done
    report
}

/// One snapshot for all questions; names and expressions are written out with their schemas; and
/// nobody waits for us, nor we for a lock.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = pg_catalog;
    SET LOCAL statement_timeout = '60s';
    SET LOCAL lock_timeout = '5s'";

async fn look(connection: &mut PgConnection, options: &Options) -> Result<LintReport, LintError> {
    let mut scope = Scope::read(connection, options).await?;
    let mut findings = tables::check(&scope);
    let policies = policies::read(&mut scope).await?;
    findings.extend(policies::check(&scope, &policies));
    let context = context::read(&mut scope, &policies).await?;
    findings.extend(context.check());
    findings.extend(code::check(&mut scope).await?);
    findings.extend(grants::check(&mut scope).await?);
    findings.extend(keys::check(&mut scope).await?);
    findings.extend(indexes::check(&mut scope).await?);
    findings.extend(roles::check(&mut scope, &context).await?);
    findings.extend(outside::check(&mut scope).await?);
    findings.extend(server::check(&mut scope).await?);
    findings.extend(options.imported.iter().cloned());
    Ok(scope.report(findings, &options.ignore))
}
