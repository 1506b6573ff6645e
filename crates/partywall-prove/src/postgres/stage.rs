//! Where attacks are made: statements run as the attacker, as the victim or as nobody, and undone.

use std::{fmt, future::Future};

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, TypeInfo as _, ValueRef as _};

use crate::Observation;

/// Who runs a statement.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Who {
    /// The tenant that attacks.
    Attacker,
    /// The tenant that is attacked; for controls.
    Victim,
    /// The application's role with no tenant set.
    Nobody,
}

impl Who {
    /// `attacker`, `victim`, `nobody`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attacker => "attacker",
            Self::Victim => "victim",
            Self::Nobody => "nobody",
        }
    }
}

/// What a statement came to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It ran.
    Done(Done),
    /// The server said no.
    Refused(Refusal),
}

/// What the last statement of a message gave.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Its first rows, in text; the rest are counted only, so memory does not grow with a table.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows there were, or were changed.
    pub count: u64,
}

/// An error the server reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// The server's words, first line.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl Refusal {
    /// `insufficient_privilege` or `invalid_authorization_specification`: the wall said no.
    pub fn is_denial(&self) -> bool {
        matches!(self.code.as_str(), "42501" | "28000")
    }

    /// A foreign key, a unique key or an exclusion constraint stopped it: all are looked at after row
    /// security, so the wall had let it through.
    pub fn is_past_the_wall(&self) -> bool {
        matches!(self.code.as_str(), "23503" | "23505" | "23P01")
    }
}

impl Answer {
    /// The first column of the first row.
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::Done(done) => done.rows.first()?.first()?.as_deref(),
            Self::Refused(_) => None,
        }
    }

    /// How many rows there were or were changed; none when it was refused.
    pub fn count(&self) -> u64 {
        match self {
            Self::Done(done) => done.count,
            Self::Refused(_) => 0,
        }
    }

    /// Judges a statement that would give or change rows of another tenant's: any row has leaked,
    /// no row is nothing, and only a denial is a refusal.
    pub fn as_attack(&self) -> Observation {
        match self {
            Self::Done(done) if done.count == 0 => Observation::nothing("0 rows"),
            Self::Done(done) => Observation::reached(done.to_string()),
            Self::Refused(refusal) if refusal.is_denial() => {
                Observation::refused(refusal.to_string())
            }
            Self::Refused(refusal) if refusal.is_past_the_wall() => Observation::reached(format!(
                "{refusal} (a constraint stopped it, after the wall had let it through)"
            )),
            Self::Refused(refusal) => Observation::unclear(refusal.to_string()),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, if self.count == 1 { "row" } else { "rows" })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) => done.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// The database cannot be asked any more: the connection is gone or the transaction is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Gone {
    /// The driver failed.
    #[error("the connection to the database failed: {0}")]
    Driver(#[source] sqlx::Error),
    /// The transaction everything happens in has ended.
    #[error(
        "the transaction of this run has ended early ({0}): nothing can be undone or trusted from here on"
    )]
    Ended(Refusal),
    /// What the run has to know cannot be read.
    #[error("the catalogues cannot be read ({refusal}): {remedy}", remedy = super::remedy(&refusal.code).unwrap_or("see what the server says"))]
    Unreadable {
        /// The server's words.
        refusal: Refusal,
    },
    /// This stage cannot run as that one.
    #[error("a statement cannot be run as {} here: {why}", who.as_str())]
    NotHere {
        /// As whom.
        who: Who,
        /// Why not.
        why: String,
    },
}

/// Runs statements as one side or the other and undoes them.
pub trait Stage: Send {
    /// Runs a message of one or more statements as `who`, and undoes everything it did. The answer
    /// is the last statement's. The message must not end the transaction.
    ///
    /// # Errors
    ///
    /// [`Gone`]; what the server refuses is an [`Answer`].
    fn attempt(&mut self, who: Who, sql: &str)
    -> impl Future<Output = Result<Answer, Gone>> + Send;

    /// `COPY … TO STDOUT` as `who`: the lines that came out, counted.
    ///
    /// # Errors
    ///
    /// As [`attempt`](Self::attempt).
    fn copy_out(
        &mut self,
        who: Who,
        sql: &str,
    ) -> impl Future<Output = Result<Answer, Gone>> + Send;

    /// What both sides are called in reports.
    fn name(&self, who: Who) -> &str;

    /// Whether a statement can be run as `who` at all.
    fn can_be(&self, who: Who) -> bool;
}

/// How many rows of an answer are kept.
const KEPT: usize = 16;

/// One connection, spoken to in the simple protocol: whole messages, everything in text.
pub struct Session {
    conn: PgConnection,
}

impl Session {
    /// Speaks over `conn`.
    pub fn new(conn: PgConnection) -> Self {
        Self { conn }
    }

    /// Sends one message; the answer is the last statement's.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn send(&mut self, sql: &str) -> Result<Answer, Gone> {
        send(&mut self.conn, sql).await
    }

    /// Every row of one query.
    ///
    /// # Errors
    ///
    /// [`Gone::Unreadable`] when the server refuses, [`Gone::Driver`] when the connection is gone.
    pub async fn all(&mut self, sql: &str) -> Result<Vec<sqlx::postgres::PgRow>, Gone> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.conn).await;
        rows.map_err(|error| match refused(error) {
            Ok(refusal) => Gone::Unreadable { refusal },
            Err(gone) => gone,
        })
    }

    /// The connection itself.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Says goodbye.
    pub async fn close(self) {
        if let Err(error) = self.conn.close().await {
            tracing::debug!(%error, "closing a connection failed");
        }
    }
}

/// Sends one message over `conn`; the answer is the last statement's.
///
/// # Errors
///
/// When the connection is gone; what the server refuses is an [`Answer`].
pub async fn send(conn: &mut PgConnection, sql: &str) -> Result<Answer, Gone> {
    let (mut last, mut current) = (Done::default(), Done::default());
    let message = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    let mut results = message.fetch_many(conn);
    loop {
        match results.try_next().await {
            Ok(Some(sqlx::Either::Left(result))) => {
                current.count = result.rows_affected();
                last = std::mem::take(&mut current);
            }
            Ok(Some(sqlx::Either::Right(row))) => {
                if current.rows.len() < KEPT {
                    current.rows.push(texts(&row));
                }
            }
            Ok(None) => return Ok(Answer::Done(last)),
            Err(error) => return refused(error).map(Answer::Refused),
        }
    }
}

fn texts(row: &sqlx::postgres::PgRow) -> Vec<Option<String>> {
    let text = |n| {
        let raw = row.try_get_raw(n).ok()?;
        let known = !raw.is_null() && !raw.type_info().is_void();
        known.then(|| raw.as_str().map(str::to_owned).unwrap_or_default())
    };
    (0..row.len()).map(text).collect()
}

/// The server's refusal, or the end.
fn refused(error: sqlx::Error) -> Result<Refusal, Gone> {
    match error.as_database_error() {
        Some(said) => {
            let code = said.code().map(|code| code.into_owned()).unwrap_or_default();
            let message = said.message().lines().next().unwrap_or_default().to_owned();
            // The server is going away, or throws us out.
            if matches!(code.as_str(), "57P01" | "57P02" | "57P03" | "25P03" | "57P05") {
                return Err(Gone::Driver(error));
            }
            Ok(Refusal { code, message })
        }
        None => Err(Gone::Driver(error)),
    }
}

/// `COPY … TO STDOUT` over `conn`: its lines, counted.
///
/// # Errors
///
/// As [`send`].
pub async fn copy_out(conn: &mut PgConnection, sql: &str) -> Result<Answer, Gone> {
    let mut lines = match conn.copy_out_raw(sql).await {
        Ok(lines) => lines,
        Err(error) => return refused(error).map(Answer::Refused),
    };
    let mut done = Done::default();
    loop {
        match lines.try_next().await {
            Ok(Some(chunk)) => {
                done.count += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
                if done.rows.len() < KEPT {
                    done.rows.push(vec![Some(String::from_utf8_lossy(&chunk).into_owned())]);
                }
            }
            Ok(None) => return Ok(Answer::Done(done)),
            Err(error) => return refused(error).map(Answer::Refused),
        }
    }
}
