//! Where single statements run: each a transaction of its own.

use std::sync::{Mutex, PoisonError};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, Values,
};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Sqlite,
    query::Query,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Runs single statements, many side by side.
pub(crate) enum SingleStatements {
    Sqlite(Box<OpenFile>),
    Postgres(DatabaseConnection),
}

/// An SQLite file, opened a few times.
///
/// sqlx's pool asks of a connection that comes back whether it is alive, and SQLite's connections
/// live on threads of their own: two switches of thread to ask, where the statement itself took two.
/// A file does not hang up, so nobody asks here.
pub(crate) struct OpenFile {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<SqliteConnection>>,
    room: Semaphore,
}

/// So many statements at once.
const CONNECTIONS: usize = 4;

impl OpenFile {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, idle: Mutex::default(), room: Semaphore::new(CONNECTIONS) }
    }

    async fn take(&self) -> Result<Taken<'_>, sqlx::Error> {
        let room = self.room.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Taken { file: self, connection, _room: room })
    }
}

/// A connection in use. Whoever stops waiting for its statement drops it, and another is opened
/// instead: it may not be done yet.
struct Taken<'f> {
    file: &'f OpenFile,
    connection: SqliteConnection,
    _room: SemaphorePermit<'f>,
}

impl Taken<'_> {
    /// Gives it back, its statement done or refused.
    fn give_back_after<T>(self, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(done, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.file.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
        }
        done
    }
}

fn query(statement: Statement) -> Query<'static, Sqlite, SqlxValues> {
    #[cfg(test)]
    super::walls::check(&statement.sql);
    let values = statement.values.unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn refused(error: sqlx::Error) -> RuntimeErr {
    RuntimeErr::SqlxError(error.into())
}

impl OpenFile {
    async fn rows(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let ran = async {
            let mut taken = self.take().await?;
            let rows = query(statement).fetch_all(&mut taken.connection).await;
            taken.give_back_after(rows)
        };
        let rows = ran.await.map_err(|error| DbErr::Query(refused(error)))?;
        Ok(rows.into_iter().map(QueryResult::from).collect())
    }

    async fn run(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let ran = async {
            let mut taken = self.take().await?;
            let done = query(statement).execute(&mut taken.connection).await;
            taken.give_back_after(done)
        };
        ran.await.map(ExecResult::from).map_err(|error| DbErr::Exec(refused(error)))
    }
}

#[sea_orm::prelude::async_trait::async_trait]
impl ConnectionTrait for SingleStatements {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(file) => file.run(statement).await,
            Self::Postgres(connection) => connection.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(file) => file.run(Statement::from_string(DbBackend::Sqlite, sql)).await,
            Self::Postgres(connection) => connection.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(file) => Ok(file.rows(statement).await?.into_iter().next()),
            Self::Postgres(connection) => connection.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(file) => file.rows(statement).await,
            Self::Postgres(connection) => connection.query_all_raw(statement).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;

    fn sql(text: &str) -> Statement {
        Statement::from_string(DbBackend::Sqlite, text)
    }

    fn file(dir: &std::path::Path) -> OpenFile {
        let options = SqliteConnectOptions::new();
        OpenFile::new(options.filename(dir.join("file.db")).create_if_missing(true))
    }

    fn idle(file: &OpenFile) -> usize {
        file.idle.lock().unwrap().len()
    }

    #[tokio::test]
    async fn i41_more_statements_than_connections_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::sync::Arc::new(file(dir.path()));
        let mut all = tokio::task::JoinSet::new();
        for number in 0..50_i64 {
            let file = file.clone();
            all.spawn(async move {
                let rows = file.rows(sql(&format!("SELECT {number}"))).await.unwrap();
                assert_eq!(rows[0].try_get_by_index::<i64>(0).unwrap(), number);
            });
        }
        all.join_all().await;
        assert!((1..=CONNECTIONS).contains(&idle(&file)), "all came back");
    }

    #[tokio::test]
    async fn i41_a_connection_comes_back_from_what_is_refused_and_not_from_what_nobody_waits_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        file.run(sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")).await.unwrap();
        file.run(sql("INSERT INTO t VALUES (1)")).await.unwrap();
        let error = file.run(sql("INSERT INTO t VALUES (1)")).await.unwrap_err();
        assert!(matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))));
        assert_eq!(idle(&file), 1, "the control");

        const LONG: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c \
                            WHERE n < 100000) SELECT count(*) FROM c";
        {
            let mut waiting = pin!(file.rows(sql(LONG)));
            let polled = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(idle(&file), 0, "it may not be done yet");
        assert_eq!(file.rows(sql("SELECT id FROM t")).await.unwrap().len(), 1, "another is opened");
        assert_eq!(file.room.available_permits(), CONNECTIONS);
    }
}
