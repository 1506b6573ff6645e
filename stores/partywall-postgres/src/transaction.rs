//! The handle an application works with: a transaction of one tenant.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use partywall::TenantId;
use sqlx::PgConnection;

use crate::{
    error::PostgresError,
    pool::{Lease, Pool, Session},
    ticket::{Binder, TicketKey, Window},
    wire::{self, DriverError, Wire as _},
};

/// A transaction that reaches one tenant's rows, and a [`PgConnection`] to everything that takes
/// one.
///
/// Ends by [`Scoped::commit`](partywall::Scoped::commit); dropping it undoes it. A nested
/// `begin()` of sqlx is a savepoint.
///
/// ```no_run
/// # use partywall::Scoped;
/// # use partywall_postgres::Postgres;
/// # async fn f(mut db: Scoped<Postgres>) -> Result<(), Box<dyn std::error::Error>> {
/// let unpaid: i64 = sqlx::query_scalar("SELECT count(*) FROM invoices WHERE NOT paid")
///     .fetch_one(db.conn())
///     .await?; // this tenant's
/// db.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct TenantTransaction {
    lease: Lease<PgConnection>,
    tenant: TenantId,
}

impl TenantTransaction {
    /// The connection, for `.execute(db.conn())`.
    pub fn conn(&mut self) -> &mut PgConnection {
        self
    }

    /// The tenant whose rows it reaches.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Begins a transaction and binds it to the tenant.
    pub(crate) async fn begin(
        pool: &Pool<PgConnection>,
        tenant: &TenantId,
        binding: Binding<'_>,
        options: BeginOptions,
    ) -> Result<Self, PostgresError> {
        loop {
            let mut lease = pool.acquire(tenant).await?;
            let reused = lease.reused();
            let begun = match lease.session() {
                Ok(session) => session.begin(tenant, binding, options).await,
                Err(error) => Err(error),
            };
            match begun {
                Ok(()) => return Ok(Self { lease, tenant: tenant.clone() }),
                // The server went away while the session was idle. A new one will say so itself.
                Err(error) if reused && error.code().is_none() => lease.discard(),
                Err(source) => {
                    return Err(PostgresError::Begin { target: pool.target().clone(), source });
                }
            }
        }
    }

    pub(crate) async fn commit(mut self) -> Result<(), PostgresError> {
        let target = self.lease.target().clone();
        let committed = match self.lease.session() {
            Ok(session) => session.commit().await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(true) => {
                self.lease.committed();
                Ok(())
            }
            Ok(false) => {
                self.lease.discard();
                Err(PostgresError::Exchanged { target })
            }
            Err(source) => Err(PostgresError::Commit { target, source }),
        }
    }
}

/// How a transaction is told its tenant.
#[derive(Clone, Copy)]
pub(crate) enum Binding<'a> {
    /// By a ticket for a window around now: one round trip.
    Ticket { key: &'a TicketKey, slack: Duration },
    /// By a ticket for exactly this transaction: two round trips.
    Strict { key: &'a TicketKey },
    /// Not at all: the login is the tenant's own.
    Login,
}

/// What `BEGIN` is to say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BeginOptions {
    pub(crate) serializable: bool,
    pub(crate) read_only: bool,
}

impl BeginOptions {
    fn statement(self) -> &'static str {
        match (self.serializable, self.read_only) {
            (false, false) => "BEGIN",
            (true, false) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            (false, true) => "BEGIN READ ONLY",
            (true, true) => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        }
    }
}

impl Session<PgConnection> {
    async fn begin(
        &mut self,
        tenant: &TenantId,
        binding: Binding<'_>,
        options: BeginOptions,
    ) -> Result<(), DriverError> {
        let begin = options.statement();
        // Until the driver counts the transaction, the cleaner must be told of it.
        self.challenged = true;
        let message = match binding {
            Binding::Login => begin.to_owned(),
            Binding::Ticket { key, slack } => {
                let window = Window::around(self.clock.now(), slack);
                format!("{begin}; {}", key.mint(tenant, self.pid, window).bind_statement())
            }
            Binding::Strict { key } => {
                let challenge = format!("{begin}; {}", Binder::CHALLENGE);
                let answer = self.wire.ask(challenge).await?;
                let [pid, start] = answer.as_slice() else { return Err(DriverError::OutOfStep) };
                let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else {
                    return Err(DriverError::OutOfStep);
                };
                self.pid = pid;
                key.mint(tenant, pid, Window::exactly(start)).bind_statement()
            }
        };
        wire::begin(&mut self.wire, message).await?;
        self.challenged = false;
        Ok(())
    }

    /// Commits; `false` when this is not the connection the transaction was begun on.
    ///
    /// `COMMIT` of a failed transaction answers `ROLLBACK` and no error, so a statement before it
    /// in the same message fails first. The chained transaction is for the driver, which counts
    /// one as open and rolls it back when the session is tidied, off the request's path.
    async fn commit(&mut self) -> Result<bool, DriverError> {
        wire::release_savepoints(&mut self.wire).await?;
        let answer = self.wire.ask(COMMIT.to_owned()).await?;
        Ok(answer.first().is_some_and(|pid| *pid == self.pid.to_string()))
    }
}

const COMMIT: &str = "SELECT pg_catalog.pg_backend_pid(); COMMIT AND CHAIN";

impl Deref for TenantTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.lease.wire()
    }
}

impl DerefMut for TenantTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.lease.wire_mut()
    }
}

impl fmt::Debug for TenantTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantTransaction").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
