//! Logging in: what is asked and put right before a session serves anybody.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use crate::{
    login::Login,
    pack::quote_ident,
    pool::{Logins, Pins, Place, PoolParts},
    ticket::ServerClock,
    wire::{DriverError, Opening, Wire},
};

/// How to log in, once more if need be.
pub(crate) struct Door<'a> {
    pub(crate) parts: &'a PoolParts,
    pub(crate) login: &'a Login,
    pub(crate) place: &'a Place,
    /// The server's major version as last seen, 0 before that.
    pub(crate) major: &'a AtomicU32,
}

/// A connection that answered.
pub(crate) struct Greeted<W> {
    pub(crate) wire: W,
    pub(crate) pid: i32,
    pub(crate) clock: ServerClock,
    /// The start-up options arrived: there is no pooler in between, or none is feared.
    pub(crate) straight: bool,
    /// No wall holds this role.
    pub(crate) too_powerful: bool,
}

impl Door<'_> {
    pub(crate) async fn open<W: Wire>(&self) -> Result<W, DriverError> {
        let known = self.major.load(Ordering::Relaxed);
        let wire: W = self.open_as(known).await?;
        let major = wire.server_major();
        if major == known || matches!(self.parts.settings, Pins::ThroughPooler) {
            return Ok(wire);
        }
        // The first time, or after an upgrade: now it is known which settings there are to pin.
        self.major.store(major, Ordering::Relaxed);
        wire.close().await;
        self.open_as(major).await
    }

    async fn open_as<W: Wire>(&self, major: u32) -> Result<W, DriverError> {
        let (pins, named_statements) = match &self.parts.settings {
            Pins::Direct(settings) => {
                let mut pins = settings.pins(major);
                pins.push(("partywall.start", START_MARK.to_owned()));
                if let Some(schema) = &self.place.schema {
                    pins.push(("search_path", quote_ident(schema)));
                }
                (pins, true)
            }
            Pins::ThroughPooler => (Vec::new(), false),
        };
        let opening = Opening {
            server: &self.parts.server,
            database: &self.place.database,
            login: self.login,
            pins: &pins,
            named_statements,
        };
        W::open(opening).await
    }

    /// Learns pid and clock, ends what an abandoned connection left at work, and takes back what
    /// somebody made the role remember.
    pub(crate) async fn settle_in<W: Wire>(
        &self,
        mut wire: W,
        leftover: Option<i32>,
    ) -> Result<Greeted<W>, DriverError> {
        if let Some(pid) = leftover {
            let ended = wire.ask(format!("{END_LEFTOVER}{pid}")).await?;
            // No row: it is gone. Whoever read its statements meanwhile would be another tenant.
            if ended.first().is_some_and(|ended| ended != "t") {
                return Err(DriverError::StillAtWork { pid });
            }
        }
        if matches!(self.parts.logins, Logins::Slots { .. })
            && matches!(self.parts.settings, Pins::Direct(_))
            && wire.ask(POISONED.to_owned()).await?.first().is_some_and(|n| n != "0")
        {
            tracing::warn!(
                db.role = self.login.role(),
                "a tenant's statement changed the role's own settings; reset"
            );
            match wire.ask(UNPOISON.to_owned()).await {
                // A standby remembers what its primary does; ours is pinned all the same.
                Err(error) if error.code().as_deref() == Some("25006") => {}
                reset => drop(reset?),
            }
            // What was remembered is in this session; the next one is free of it.
            wire.close().await;
            wire = self.open().await?;
        }
        let greeting = greet(&mut wire, "").await?;
        let straight = match self.parts.settings {
            Pins::Direct(_) => greeting.mark == START_MARK,
            Pins::ThroughPooler => true,
        };
        let too_powerful =
            wire.ask(TOO_POWERFUL.to_owned()).await?.first().is_none_or(|n| n != "0");
        Ok(Greeted { wire, pid: greeting.pid, clock: greeting.clock, straight, too_powerful })
    }

    /// Sets the slot's password again through the control login.
    pub(crate) async fn restore_password<W: Wire>(
        &self,
        control: Option<&Login>,
    ) -> Result<(), DriverError> {
        let Some(control) = control else { return Ok(()) };
        tracing::warn!(
            db.role = self.login.role(),
            "the role's password was changed; setting it again"
        );
        let door = Door { login: control, ..*self };
        let mut wire = door.open::<W>().await?;
        wire.ask(crate::provision::set_password(self.login)).await?;
        wire.close().await;
        Ok(())
    }
}

pub(crate) struct Greeting {
    pub(crate) pid: i32,
    pub(crate) clock: ServerClock,
    mark: String,
}

/// Runs `first`, then asks for pid, clock and our mark, with a number that must come back: the
/// proof that this is the answer to this question.
///
/// Asked inside a transaction somebody left open, it fails: a scrub would be undone with that.
pub(crate) async fn greet<W: Wire>(wire: &mut W, first: &str) -> Result<Greeting, DriverError> {
    let mut nonce = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| DriverError::OutOfStep)?;
    let nonce = u64::from_be_bytes(nonce).to_string();
    let separator = if first.is_empty() { "" } else { "; " };
    let question = format!("{first}{separator}{GREETING}, '{nonce}'");
    let asked = Instant::now();
    let answer = wire.ask(question).await?;
    let answered = Instant::now();
    let [pid, clock, mark, alone, echo] = answer.as_slice() else {
        return Err(DriverError::OutOfStep);
    };
    let ours = *echo == nonce && alone == "t";
    let (Ok(pid), Ok(clock), true) = (pid.parse(), clock.parse(), ours) else {
        return Err(DriverError::OutOfStep);
    };
    Ok(Greeting { pid, clock: ServerClock::read(clock, asked, answered), mark: mark.clone() })
}

/// A message outside a transaction is one of its own, which began when the message came.
const GREETING: &str = "SELECT pg_catalog.pg_backend_pid(), \
    (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8 - 946684800000000, \
    pg_catalog.current_setting('partywall.start', true), \
    pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.=) pg_catalog.statement_timestamp()";
const START_MARK: &str = "straight";
const END_LEFTOVER: &str = "SELECT pg_catalog.pg_terminate_backend(pid, 5000) FROM pg_catalog.pg_stat_activity \
    WHERE usename OPERATOR(pg_catalog.=) current_user AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
    AND pid OPERATOR(pg_catalog.=) ";
const POISONED: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_db_role_setting s \
    JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
    WHERE r.rolname OPERATOR(pg_catalog.=) session_user";
const TOO_POWERFUL: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles \
    WHERE rolname OPERATOR(pg_catalog.=) session_user \
    AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)";
const UNPOISON: &str = "DO $$ BEGIN EXECUTE pg_catalog.format('ALTER ROLE CURRENT_USER IN DATABASE %I RESET ALL', \
    pg_catalog.current_database()); EXECUTE 'ALTER ROLE CURRENT_USER RESET ALL'; END $$";
