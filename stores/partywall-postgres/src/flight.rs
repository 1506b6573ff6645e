//! The single flight: one statement, bound and committed, in one round trip.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use partywall::{Store, StoreName, TenantId, TenantScope};
use sqlx::postgres::PgSslMode;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage, Statement, types::ToSql};

use crate::{
    error::PostgresError,
    pool::Lease,
    store::{Mode, Postgres},
    ticket::{TicketKey, Window},
    wire::{DriverError, Opening, Wire},
};

/// A pool database for single statements: begin, bind, query and commit leave together, and the
/// answers come back together.
///
/// Its sessions are tokio-postgres's, under slots of their own
/// ([`PoolTarget::flight_slots`](crate::PoolTarget::flight_slots)), without TLS: over a Unix
/// socket or a private network. Every other need is met by [`Postgres`] itself.
///
/// ```no_run
/// # use partywall::TenantContext;
/// # use partywall_postgres::Postgres;
/// # async fn f(tenant: TenantContext, store: Postgres) -> Result<(), Box<dyn std::error::Error>> {
/// let flights = store.single_flight();
/// let mut flight = tenant.open(&flights).await?;
/// let rows = flight.query("SELECT total FROM invoices WHERE id = $1", &[&7_i64]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SingleFlight {
    store: Postgres,
}

impl Postgres {
    /// The same store, for single statements in one round trip.
    pub fn single_flight(&self) -> SingleFlight {
        SingleFlight { store: self.clone() }
    }
}

impl Store for SingleFlight {
    type Handle = Flight;
    type Error = PostgresError;

    fn name(&self) -> &StoreName {
        self.store.name()
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<Flight, PostgresError> {
        let (flights, key, mode) = self.store.flights_at(scope)?;
        let Mode::Direct { slack } = mode else {
            return Err(PostgresError::NoFlights { target: flights.target().clone() });
        };
        loop {
            let lease = flights.acquire(scope.tenant()).await?;
            if lease.wire().client.is_closed() {
                // The server went away while the session was idle.
                lease.discard();
                continue;
            }
            let (key, tenant) = (key.clone(), scope.tenant().clone());
            return Ok(Flight { lease, key, slack, tenant });
        }
    }
}

impl fmt::Debug for SingleFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("store", &self.store).finish()
    }
}

/// A session bound to one tenant, statement by statement: each is a transaction of its own.
pub struct Flight {
    lease: Lease<FlightWire>,
    key: TicketKey,
    slack: Duration,
    tenant: TenantId,
}

impl Flight {
    /// Runs one statement as the tenant, and returns its rows. It is committed when this returns.
    ///
    /// The first time a session meets a statement it is prepared, for one more round trip.
    ///
    /// # Errors
    ///
    /// What the database says; nothing is kept then.
    pub async fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let target = self.lease.target().clone();
        let flown = self.fly(sql, params).await;
        flown.map_err(|source| PostgresError::Flight { target, source })
    }

    /// The tenant whose rows it reaches.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    async fn fly(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DriverError> {
        self.lease.under_way();
        let session = self.lease.session()?;
        let (pid, now) = (session.pid, session.clock.now());
        let statement = session.wire.statement(sql).await?;
        let window = Window::around(now, self.slack);
        let bind = self.key.mint(&self.tenant, pid, window).bind_statement();
        let begin = format!("BEGIN; {bind}");
        let client = &session.wire.client;
        // Each is written to the connection when it is first polled, all before the first answer.
        let (bound, rows, committed) = tokio::join!(
            biased;
            client.batch_execute(&begin),
            client.query(&statement, params),
            client.batch_execute("COMMIT"),
        );
        bound?;
        let rows = rows?;
        committed?;
        self.lease.committed();
        Ok(rows)
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A tokio-postgres connection, the task that drives it, and what it has prepared.
pub(crate) struct FlightWire {
    client: Client,
    driver: JoinHandle<()>,
    major: u32,
    statements: HashMap<Arc<str>, Statement>,
}

impl FlightWire {
    async fn statement(&mut self, sql: &str) -> Result<Statement, DriverError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }
}

impl Drop for FlightWire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wire for FlightWire {
    async fn open(opening: Opening<'_>) -> Result<Self, DriverError> {
        let server = opening.server;
        let encrypted = matches!(
            server.get_ssl_mode(),
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
        );
        if encrypted {
            return Err(DriverError::FlightWithoutTls);
        }
        let mut config = tokio_postgres::Config::new();
        match server.get_socket() {
            Some(socket) => config.host_path(socket),
            None => config.host(server.get_host()),
        };
        config.port(server.get_port()).dbname(opening.database).user(opening.login.role());
        config.password(opening.login.password()).application_name("partywall");
        let driver_pins = [("DateStyle", "ISO, MDY"), ("TimeZone", "UTC")];
        let pins = opening.pins.iter().map(|(name, value)| (*name, value.as_str()));
        let options: Vec<_> = pins
            .chain(driver_pins)
            .map(|(name, value)| format!("-c {name}={}", escaped(value)))
            .collect();
        config.options(options.join(" "));
        let (client, connection) = config.connect(NoTls).await?;
        let said = connection.parameter("server_version").unwrap_or_default();
        let major = said.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
        // Its end is seen by whoever asks the client next.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, driver, major, statements: HashMap::new() })
    }

    fn server_major(&self) -> u32 {
        self.major
    }

    async fn ask(&mut self, sql: String) -> Result<Vec<String>, DriverError> {
        let answers = self.client.simple_query(&sql).await?;
        let rows = answers.into_iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let Some(row) = rows.last() else { return Ok(Vec::new()) };
        Ok((0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect())
    }

    /// A flight takes off whole or not at all, and the driver's task reads every answer.
    async fn settle(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// A flight chains nothing on.
    async fn end_chained(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    async fn forget_statements(&mut self) -> Result<(), DriverError> {
        self.statements.clear();
        Ok(())
    }

    async fn close(self) {
        // Dropping the client says goodbye; the task ends when that is written.
    }
}

/// A value inside the start-up option string, where a backslash escapes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// How many statements a session keeps prepared.
const STATEMENTS: usize = 100;
