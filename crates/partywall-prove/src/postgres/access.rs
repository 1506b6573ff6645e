//! The way to a database: connecting, and what to do when that fails.

use std::{str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{prove::CannotRun, stage::Session};

/// How long a server may take to say hello. What listens there may be no PostgreSQL at all, and
/// wait for us to speak first.
const HELLO: Duration = Duration::from_secs(10);

/// Limits on what a statement may take and wait for, unless the address or the role sets its own.
const LIMITS: [(&str, &str); 2] = [("statement_timeout", "10s"), ("lock_timeout", "2s")];

/// The way to a database, and back to it for attacks that need a connection of their own.
#[derive(Clone, Debug)]
pub struct Address(PgConnectOptions);

impl Address {
    /// Reads `postgres://…`; what it leaves out comes from the usual `PG*` variables.
    ///
    /// # Errors
    ///
    /// When it is no such address.
    pub fn parse(url: &str) -> Result<Self, CannotRun> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let why = "it begins with something else".into();
            return Err(CannotRun::Address(sqlx::Error::Configuration(why)));
        }
        let options = PgConnectOptions::from_str(url).map_err(CannotRun::Address)?;
        Ok(Self::from_options(options))
    }

    /// An address from a driver's own options.
    pub fn from_options(options: PgConnectOptions) -> Self {
        Self(options.application_name("partywall prove").disable_statement_logging())
    }

    /// Without the password: `postgres://app@db.internal:5432/shop`.
    pub fn shown(&self) -> String {
        let database = self.0.get_database().unwrap_or("");
        let host = match self.0.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.0.get_host(), self.0.get_port()),
        };
        format!("postgres://{}@{host}/{database}", self.0.get_username())
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.0
    }

    pub(crate) fn host(&self) -> &str {
        self.0.get_host()
    }

    pub(crate) fn database(&self) -> &str {
        self.0.get_database().unwrap_or("")
    }

    /// A connection of its own, with limits on what a statement may take: ten seconds, two of them
    /// waiting for a lock, unless the address says otherwise (`?options=-c statement_timeout=…`).
    ///
    /// # Errors
    ///
    /// When there is no way in.
    pub async fn connect(&self) -> Result<Session, CannotRun> {
        let mut session = self.connect_bare().await?;
        // Compiling a plan over hundreds of partitions takes longer than all that is asked of them.
        session.send("SET jit = off").await?;
        // SHOW and SET alone: a hostile search path can stand in for any function or operator.
        for (name, limit) in LIMITS {
            if session.send(&format!("SHOW {name}")).await?.first() == Some("0") {
                session.send(&format!("SET {name} = '{limit}'")).await?;
            }
        }
        Ok(session)
    }

    /// A connection of its own on which nothing was set.
    ///
    /// # Errors
    ///
    /// When there is no way in.
    pub(crate) async fn connect_bare(&self) -> Result<Session, CannotRun> {
        let hello = tokio::time::timeout(HELLO, PgConnection::connect_with(&self.0)).await;
        let conn = hello
            .map_err(|_| CannotRun::NoHello { seconds: HELLO.as_secs() })?
            .map_err(CannotRun::NoAccess)?;
        Ok(Session::new(conn))
    }
}

/// What to do about a connection that did not come about.
pub(crate) fn remedy(error: &sqlx::Error) -> &'static str {
    let code = error.as_database_error().and_then(|said| said.code());
    match (code.as_deref(), error) {
        (Some("28P01"), _) => "give the right password with PGPASSWORD or ~/.pgpass",
        (Some("28000"), _) => {
            "pg_hba.conf lets this role, host or database in no such way, or the role may not log in: \
             add a line for it, use sslmode=require where TLS is asked for, or connect as another role"
        }
        (Some("3D000"), _) => {
            "there is no such database: name one that exists (psql -l lists them)"
        }
        (Some("42501"), _) => "let the role in: GRANT CONNECT ON DATABASE … TO …",
        (Some("53300"), _) => {
            "the server has no connection to spare: try again, or raise its limit"
        }
        (Some("57P03"), _) => "the server is starting or stopping: try again",
        (Some(_), _) => "see what the server says",
        (None, sqlx::Error::Tls(_)) => {
            "the two do not agree on TLS: set sslmode=disable, require or verify-full in the address, \
             with sslrootcert=FILE for a certificate of your own"
        }
        (None, sqlx::Error::Io(_)) => {
            "see that PostgreSQL runs there, on that port, and that the way is open"
        }
        (None, _) => "what answers there may not be PostgreSQL: check host and port",
    }
}
