//! The attacks on the PostgreSQL store through its own handles: SQL in the attacker's transaction,
//! and, where it helps, a transaction of the victim's open at the same time.
//!
//! Whether a row is the victim's is told by where it is (server, database, table, `ctid`), so that
//! two tenants with equal rows are never mistaken for each other.

use std::error::Error;

use partywall::{DeploymentModel, Scoped, Store, TenantContext};
use partywall_postgres::{PostgresError, TenantTransaction};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, ValueRef as _};

use super::{Besieged, Holding, Mistake, Pair, general::worst};
use crate::{
    Attack, Log, Observation,
    postgres::{Answer, Gone, send, sql},
};

pub(super) mod attacks;
mod moves;
mod plan;
mod residue;
mod write;

pub use plan::{Plan, Spot, TicketMode};

/// The crate.
pub const CRATE: &str = "partywall-postgres";
/// The attacks only it can suffer.
pub const ATTACKS: &[&Attack] = &[
    &attacks::WRITE,
    &attacks::FORGED,
    &attacks::STOLEN,
    &attacks::TRANSACTION,
    &attacks::ROLE,
    &attacks::ELSEWHERE,
    &attacks::SERVER,
    &attacks::LARGE_OBJECTS,
    &attacks::PEEK,
    &attacks::RESIDUE,
    &attacks::INTERFERE,
];

/// A handle that speaks to PostgreSQL in its tenant's transaction. [`TenantTransaction`] is one;
/// the suite's naive twins are others.
pub trait PostgresHandle: Send {
    /// The connection, in the tenant's transaction.
    fn conn(&mut self) -> &mut PgConnection;

    /// What it means that a store of such handles could not be opened.
    fn refusal(error: &(dyn Error + 'static)) -> Observation;
}

/// A PostgreSQL store under siege.
pub struct PostgresSiege<S: Store> {
    store: S,
    shared: Vec<String>,
    remake: Option<Box<Remake<S>>>,
}

/// Puts the same store together with a mistake in it.
type Remake<S> = dyn Fn(&Mistake<'_>) -> Option<Result<S, String>> + Send + Sync;

impl<S: Store> PostgresSiege<S> {
    /// The store. In a pool, `shared` tables (`schema.table`) hold rows of nobody in particular.
    pub fn new(store: S, shared: Vec<String>) -> Self {
        Self { store, shared, remake: None }
    }

    /// Says how the store is put together, so that mistakes can be made in it.
    #[must_use]
    pub fn remade_by(
        mut self,
        remake: impl Fn(&Mistake<'_>) -> Option<Result<S, String>> + Send + Sync + 'static,
    ) -> Self {
        self.remake = Some(Box::new(remake));
        self
    }

    async fn holdings_in(
        &self,
        conn: &mut PgConnection,
        own: &TenantContext,
    ) -> Result<Vec<Holding>, Trouble> {
        let pooled = own.placement(&self.store).map(|at| at.model) == Some(DeploymentModel::Pool);
        let place = Place::of(conn).await?;
        let tables = if pooled { TABLES_IN_POOL } else { TABLES_OF_ONES_OWN };
        let mut holdings = Vec::new();
        for row in rows(conn, tables).await? {
            let [Some(schema), Some(table), Some(walled)] = row.as_slice() else { continue };
            if self.shared.iter().any(|shared| *shared == format!("{schema}.{table}")) {
                continue;
            }
            let name = format!("{}.{}", sql::ident(schema), sql::ident(table));
            // A table without row policies is this tenant's only where it says so itself.
            let whose = if pooled && walled == "f" {
                let id = sql::literal(own.tenant().as_str());
                format!(
                    "WHERE EXISTS (SELECT FROM pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) \
                     WHERE value = {id})"
                )
            } else {
                String::new()
            };
            let found = format!("SELECT tableoid::oid, ctid FROM {name} AS t {whose} LIMIT 1");
            let found = rows(conn, &found).await?;
            let Some([Some(oid), Some(ctid)]) = found.first().map(Vec::as_slice) else { continue };
            holdings.push(Holding {
                table: format!("{schema}.{table}"),
                query: place.query(&name, oid, ctid),
                marker: format!("{oid} {ctid}"),
            });
        }
        Ok(holdings)
    }
}

/// Tables whose rows a handle may read, and whether row policies stand before them.
const TABLES_IN_POOL: &str = "
    SELECT n.nspname, c.relname, c.relrowsecurity
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'partywall')
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    ORDER BY 1, 2 LIMIT 200";

/// The same where the schema or the database is the tenant's own.
const TABLES_OF_ONES_OWN: &str = "
    SELECT n.nspname, c.relname, c.relrowsecurity
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname = ANY (pg_catalog.current_schemas(false))
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    ORDER BY 1, 2 LIMIT 200";

impl<S> Besieged for PostgresSiege<S>
where
    S: Store,
    S::Handle: PostgresHandle,
{
    const CRATE: &'static str = CRATE;
    const ATTACKS: &'static [&'static Attack] = ATTACKS;
    type Store = S;

    fn store(&self) -> &S {
        &self.store
    }

    fn mistaken(&self, mistake: &Mistake<'_>) -> Option<Result<S, String>> {
        self.remake.as_ref()?(mistake)
    }

    fn refusal(error: &S::Error) -> Observation {
        <S::Handle as PostgresHandle>::refusal(error)
    }

    async fn holdings(&self, own: &TenantContext) -> Result<Vec<Holding>, String> {
        let mut handle = own.open(&self.store).await.map_err(|error| error.to_string())?;
        self.holdings_in(handle.conn(), own).await.map_err(|error| error.to_string())
    }

    async fn look(&self, handle: &mut Scoped<S>, holding: &Holding) -> Observation {
        look(handle.conn(), holding).await
    }

    async fn siege(&self, pair: &Pair<'_>, log: &mut Log<'_>) {
        moves::make_all(self, pair, log).await;
        log.record(residue::look_for(self, pair).await);
        log.record(moves::interfere(self, pair).await);
    }
}

/// Where a database is, told by the server itself: no two servers started in one microsecond.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    server: String,
    database: String,
}

impl Place {
    async fn of(conn: &mut PgConnection) -> Result<Self, Trouble> {
        let answer = rows(conn, &format!("SELECT {SERVER}, {DATABASE}")).await?;
        match answer.first().map(Vec::as_slice) {
            Some([Some(server), Some(database)]) => {
                Ok(Self { server: server.clone(), database: database.clone() })
            }
            _ => Err(Trouble::NoPlace),
        }
    }

    /// Counts the row of this table that is at this very place, from wherever it is asked.
    fn query(&self, table: &str, oid: &str, ctid: &str) -> String {
        let (server, database) = (sql::literal(&self.server), sql::literal(&self.database));
        format!(
            "SELECT 1 FROM {table} WHERE tableoid = {oid} AND ctid = '{ctid}' \
             AND {SERVER} = {server} AND {DATABASE} = {database}"
        )
    }
}

const SERVER: &str = "pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::text";
const DATABASE: &str = "(SELECT oid::text FROM pg_catalog.pg_database \
                        WHERE datname = pg_catalog.current_database())";

/// Why something cannot be found out.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Driver(#[from] sqlx::Error),
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("the server does not say which database this is")]
    NoPlace,
}

/// Every row of an answer, in text.
async fn rows(
    conn: &mut PgConnection,
    statement: &str,
) -> Result<Vec<Vec<Option<String>>>, Trouble> {
    let answer = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch_all(conn).await?;
    let text = |row: &sqlx::postgres::PgRow, n| {
        let raw = row.try_get_raw(n).ok().filter(|raw| !raw.is_null())?;
        raw.as_str().ok().map(str::to_owned)
    };
    Ok(answer.iter().map(|row| (0..row.len()).map(|n| text(row, n)).collect()).collect())
}

/// The same, and no rows where the server refuses; the transaction goes on.
async fn rows_or_none(
    conn: &mut PgConnection,
    statement: &str,
) -> Result<Vec<Vec<Option<String>>>, Trouble> {
    send(conn, "SAVEPOINT partywall_prove").await?;
    let answer = rows(conn, statement).await;
    send(conn, "ROLLBACK TO SAVEPOINT partywall_prove").await?;
    match answer {
        Err(Trouble::Driver(error)) if error.as_database_error().is_some() => Ok(Vec::new()),
        answer => answer,
    }
}

/// Looks for one row, and leaves the transaction as it was.
async fn look(conn: &mut PgConnection, holding: &Holding) -> Observation {
    match undone(conn, &holding.query).await {
        Ok(Answer::Done(done)) if done.count > 0 => {
            Observation::reached(format!("1 row of {}", holding.table))
        }
        Ok(answer) => judge(&answer),
        Err(gone) => Observation::unclear(gone.to_string()),
    }
}

/// The worst that comes of looking for each of them.
async fn look_for_all(conn: &mut PgConnection, holdings: &[Holding]) -> Observation {
    let mut seen = Vec::new();
    for holding in holdings {
        seen.push(look(conn, holding).await);
    }
    worst(seen).unwrap_or_else(|| Observation::nothing("there was nothing to look for"))
}

/// Runs a message behind a savepoint and undoes it; outside a transaction, just runs it.
async fn undone(conn: &mut PgConnection, message: &str) -> Result<Answer, Gone> {
    let held = matches!(send(conn, "SAVEPOINT partywall_prove").await?, Answer::Done(_));
    let answer = send(conn, message).await?;
    if held {
        send(conn, "ROLLBACK TO SAVEPOINT partywall_prove").await?;
    }
    Ok(answer)
}

/// What an answer amounts to when no row of it would be the attacker's to have.
fn judge(answer: &Answer) -> Observation {
    match answer {
        Answer::Refused(refusal) if is_dead_end(&refusal.code) => {
            Observation::nothing(refusal.to_string())
        }
        answer => answer.as_attack(),
    }
}

/// What was named is not there, or nobody can do it: no function, table, role, schema, database, no
/// transaction.
fn is_dead_end(code: &str) -> bool {
    matches!(
        code,
        "42883"
            | "42P01"
            | "42704"
            | "22023"
            | "3F000"
            | "3D000"
            | "0A000"
            | "25P01"
            | "26000"
            | "34000"
    )
}

impl PostgresHandle for TenantTransaction {
    fn conn(&mut self) -> &mut PgConnection {
        Self::conn(self)
    }

    fn refusal(error: &(dyn Error + 'static)) -> Observation {
        let said = error.to_string();
        match error.downcast_ref::<PostgresError>() {
            Some(
                PostgresError::UnknownTarget { .. }
                | PostgresError::OtherModel { .. }
                | PostgresError::ForeignSilo { .. }
                | PostgresError::Credentials { .. },
            ) => Observation::refused(said),
            // No such right, no such login, no such database: the server said so.
            Some(PostgresError::Connect { source, .. }) => match source.code().as_deref() {
                Some("42501" | "28000" | "28P01" | "3D000") => Observation::refused(said),
                _ => Observation::unclear(said),
            },
            _ => Observation::unclear(said),
        }
    }
}
