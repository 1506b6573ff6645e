//! A connection of either driver, as the pool sees it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Database, PgConnection, Postgres,
    Row as _, SqlSafeStr as _, postgres::PgConnectOptions,
};
use sqlx_core::transaction::TransactionManager as _;

use crate::login::Login;

/// Everything a connection is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) server: &'a PgConnectOptions,
    pub(crate) database: &'a str,
    pub(crate) login: &'a Login,
    /// Empty behind a pooler, which takes no start-up options.
    pub(crate) pins: &'a [(&'static str, String)],
    /// Whether statements may be prepared by name: not behind a pooler.
    pub(crate) named_statements: bool,
}

/// What the pool does with a connection.
pub(crate) trait Wire: Sized + Send + 'static {
    /// Opens one.
    fn open(opening: Opening<'_>) -> impl Future<Output = Result<Self, DriverError>> + Send;

    /// The server's major version, as it said when it let us in; 0 when it did not.
    fn server_major(&self) -> u32;

    /// Sends one message of any number of statements, and returns the last row, as text.
    ///
    /// Returns only when the server is ready for the next message.
    fn ask(&mut self, sql: String)
    -> impl Future<Output = Result<Vec<String>, DriverError>> + Send;

    /// Undoes what the driver believes to be an open transaction, and reads every answer that is
    /// still on its way.
    fn settle(&mut self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Sends what ends the transaction a commit chained on, and does not wait for the answer, which
    /// is read before that of the next message.
    fn end_chained(&mut self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Forgets statements the driver prepared.
    fn forget_statements(&mut self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Says goodbye.
    fn close(self) -> impl Future<Output = ()> + Send;
}

type Transactions = <Postgres as Database>::TransactionManager;

impl Wire for PgConnection {
    async fn open(opening: Opening<'_>) -> Result<Self, DriverError> {
        let mut options = opening
            .server
            .clone()
            .database(opening.database)
            .username(opening.login.role())
            .password(opening.login.password())
            .application_name("partywall")
            .options(opening.pins.iter().map(|(name, value)| (*name, value.as_str())))
            .disable_statement_logging();
        if !opening.named_statements {
            options = options.statement_cache_capacity(0).extra_float_digits(None);
        }
        Ok(Self::connect_with(&options).await?)
    }

    fn server_major(&self) -> u32 {
        self.server_version_num().unwrap_or_default() / 10_000
    }

    async fn ask(&mut self, sql: String) -> Result<Vec<String>, DriverError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self).await?;
        let Some(row) = rows.last() else { return Ok(Vec::new()) };
        let text = |n| row.try_get_unchecked::<Option<String>, _>(n).map(Option::unwrap_or_default);
        Ok((0..row.len()).map(text).collect::<Result<_, _>>()?)
    }

    async fn settle(&mut self) -> Result<(), DriverError> {
        while Transactions::get_transaction_depth(self) > 0 {
            Transactions::start_rollback(self);
        }
        Ok(self.ping().await?)
    }

    async fn end_chained(&mut self) -> Result<(), DriverError> {
        while Transactions::get_transaction_depth(self) > 0 {
            Transactions::start_rollback(self);
        }
        // Polled once: the message is small enough to be written whole, and the reading is left.
        let mut flush = pin!(self.flush());
        match poll_fn(|cx| Poll::Ready(flush.as_mut().poll(cx))).await {
            Poll::Ready(flushed) => Ok(flushed?),
            Poll::Pending => Ok(()),
        }
    }

    async fn forget_statements(&mut self) -> Result<(), DriverError> {
        Ok(self.clear_cached_statements().await?)
    }

    async fn close(self) {
        let _closed_either_way =
            tokio::time::timeout(Duration::from_secs(1), sqlx::Connection::close(self)).await;
    }
}

/// Begins what the driver takes for a transaction, by a message of our own, in one round trip.
///
/// From then on sqlx makes a nested `begin()` a savepoint.
pub(crate) async fn begin(conn: &mut PgConnection, sql: String) -> Result<(), DriverError> {
    Ok(Transactions::begin(conn, Some(AssertSqlSafe(sql).into_sql_str())).await?)
}

/// Releases savepoints the application left open, so that a commit is one.
///
/// A nested `begin()` that fails or is cancelled makes the driver roll the whole transaction back.
/// Whatever is open then, if anything, is not what was begun here, and is not to be committed.
pub(crate) async fn release_savepoints(conn: &mut PgConnection) -> Result<(), DriverError> {
    while Transactions::get_transaction_depth(conn) > 1 {
        Transactions::commit(conn).await?;
    }
    match Transactions::get_transaction_depth(conn) {
        1 => Ok(()),
        _ => Err(DriverError::OutOfStep),
    }
}

/// What one of the drivers said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// sqlx.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// tokio-postgres, on the single-flight path.
    #[error("{}", flight_message(.0))]
    Flight(#[from] tokio_postgres::Error),
    /// The single-flight driver has no TLS, and the target asks for it.
    #[error("the target asks for TLS, which single flights do not have: use transactions there")]
    FlightWithoutTls,
    /// The answers did not match the questions; the connection was closed.
    #[error("the connection was out of step with the server and was closed: try again")]
    OutOfStep,
    /// The login's backend before this one goes on, although it was told to end.
    #[error("backend {pid} of this login does not end: nobody is served by the login until it has")]
    StillAtWork {
        /// The backend's process id.
        pid: i32,
    },
    /// No answer in time.
    #[error("no answer from the server in {limit:?}")]
    TimedOut {
        /// How long was waited.
        limit: Duration,
    },
}

impl DriverError {
    /// The SQLSTATE, when the server answered with one.
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Sqlx(error) => Some(error.as_database_error()?.code()?.into_owned()),
            Self::Flight(error) => Some(error.code()?.code().to_owned()),
            Self::FlightWithoutTls
            | Self::OutOfStep
            | Self::StillAtWork { .. }
            | Self::TimedOut { .. } => None,
        }
    }
}

/// tokio-postgres says "db error" and keeps the server's words as the source.
fn flight_message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}
