//! Tickets: what an enforcement point sets in a transaction, and `partywall.tenant_id()` proves.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use partywall::{TenantId, TenantScope};
use zeroize::Zeroizing;

/// A key that tickets are made with: 32 to 64 secret bytes, the same in the database and here.
///
/// Whoever holds it can act as every tenant of the database. There is one copy, which is wiped
/// from memory with the last clone; it has no `Debug`.
#[derive(Clone)]
pub struct TicketKey(Arc<KeyMaterial>);

struct KeyMaterial {
    bytes: Zeroizing<Vec<u8>>,
    mac: hmac::Key,
}

impl TicketKey {
    /// Takes 32 to 64 bytes from a secure source of randomness.
    ///
    /// # Errors
    ///
    /// For any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketKeyLength> {
        if !(32..=64).contains(&bytes.len()) {
            return Err(TicketKeyLength { found: bytes.len() });
        }
        let mac = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Ok(Self(Arc::new(KeyMaterial { bytes: Zeroizing::new(bytes.to_vec()), mac })))
    }

    /// The bytes, for [`crate::provision`] to hand to the database.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// A ticket: good for `tenant`, on backend `pid`, in transactions that began in `window`.
    pub(crate) fn mint(&self, tenant: &TenantId, pid: i32, window: Window) -> Ticket {
        let tenant = tenant.as_str().as_bytes();
        // A tenant id has at most 63 bytes.
        let length = u8::try_from(tenant.len()).unwrap_or(0);
        let mut body = Vec::with_capacity(17 + tenant.len() + 4);
        body.extend_from_slice(&window.not_before.to_be_bytes());
        body.extend_from_slice(&window.not_after.to_be_bytes());
        body.push(length);
        body.extend_from_slice(tenant);
        let signed = body.len();
        body.extend_from_slice(&pid.to_be_bytes());
        let mac = hmac::sign(&self.0.mac, &body);
        body.truncate(signed);

        let mut hex = String::with_capacity(2 * (mac.as_ref().len() + body.len()));
        for byte in mac.as_ref().iter().chain(&body) {
            let _infallible = write!(hex, "{byte:02x}");
        }
        Ticket(hex)
    }
}

/// A ticket key of the wrong length.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a ticket key has 32 to 64 bytes, not {found}: take them from a secure random source")]
pub struct TicketKeyLength {
    /// How many bytes were given.
    pub found: usize,
}

/// A ticket in hexadecimal: nothing in it can end an SQL literal.
pub(crate) struct Ticket(String);

impl Ticket {
    /// The statement that binds the transaction it runs in. A utility statement: it takes no
    /// snapshot, so an isolation level may still be set after it, and resolves no name.
    pub(crate) fn bind_statement(&self) -> String {
        format!("SET LOCAL partywall.ticket = '{}'", self.0)
    }
}

/// When a transaction must have begun, in microseconds since 2000-01-01 UTC by the server's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    not_before: i64,
    not_after: i64,
}

impl Window {
    /// Around a moment.
    pub(crate) fn around(moment: i64, slack: Duration) -> Self {
        let slack = i64::try_from(slack.as_micros()).unwrap_or(i64::MAX);
        Self { not_before: moment.saturating_sub(slack), not_after: moment.saturating_add(slack) }
    }

    /// One transaction only: the one that began at this very moment on this backend.
    pub(crate) fn exactly(transaction_start: i64) -> Self {
        Self { not_before: transaction_start, not_after: transaction_start }
    }
}

/// The server's clock as seen from here: one reading, carried on by the monotonic clock of this
/// machine. The two machines need not agree on the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerClock {
    reading: i64,
    read_at: Instant,
}

impl ServerClock {
    /// A reading that was taken between two moments here.
    pub(crate) fn read(reading: i64, asked: Instant, answered: Instant) -> Self {
        Self { reading, read_at: asked + answered.duration_since(asked) / 2 }
    }

    pub(crate) fn now(&self) -> i64 {
        let since = i64::try_from(self.read_at.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.reading.saturating_add(since)
    }

    pub(crate) fn age(&self) -> Duration {
        self.read_at.elapsed()
    }
}

/// Binds transactions of drivers other than sqlx: SeaORM, diesel, anything that runs SQL.
///
/// The driver's connection is wrapped in a [`Store`](partywall::Store) of your own; its `open`
/// gets the [`TenantScope`], which is what a ticket is made for and which nobody can make up.
/// In each transaction, before any other statement:
///
/// 1. run [`CHALLENGE`](Self::CHALLENGE), which answers `(int4, int8)`;
/// 2. run [`bind_statement`](Self::bind_statement) with that answer.
///
/// The ticket is good for that one transaction (strict mode), so this works behind PgBouncer and
/// RDS Proxy as well. The connection must be one whose residue cannot reach another tenant: see
/// [`SCRUB`](crate::SCRUB).
///
/// ```no_run
/// # use partywall_postgres::{Backend, Binder, TicketKey};
/// # fn run(sql: &str) -> (i32, i64) { unimplemented!() }
/// fn begin(binder: &Binder, scope: partywall::TenantScope<'_>) {
///     run("BEGIN");
///     let (pid, transaction_start) = run(Binder::CHALLENGE);
///     run(&binder.bind_statement(scope, Backend { pid, transaction_start }));
/// }
/// ```
#[derive(Clone)]
pub struct Binder {
    key: TicketKey,
}

/// What [`Binder::CHALLENGE`] answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backend {
    /// The backend's process id.
    pub pid: i32,
    /// When the transaction began, in microseconds since 2000-01-01 UTC.
    pub transaction_start: i64,
}

impl Binder {
    /// Asks the backend, inside the transaction to be bound, what the ticket must name.
    pub const CHALLENGE: &'static str = "SELECT pg_catalog.pg_backend_pid(), \
        (extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::pg_catalog.int8 - 946684800000000";

    /// Makes tickets with this key.
    pub fn new(key: TicketKey) -> Self {
        Self { key }
    }

    /// The statement that binds the transaction that answered the challenge.
    pub fn bind_statement(&self, scope: TenantScope<'_>, backend: Backend) -> String {
        let window = Window::exactly(backend.transaction_start);
        self.key.mint(scope.tenant(), backend.pid, window).bind_statement()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m18_ticket_keys_have_a_length() {
        assert_eq!(TicketKey::from_bytes(&[1; 31]).err(), Some(TicketKeyLength { found: 31 }));
        assert!(TicketKey::from_bytes(&[1; 32]).is_ok());
        assert!(TicketKey::from_bytes(&[1; 64]).is_ok());
        assert!(TicketKey::from_bytes(&[1; 65]).is_err());
    }

    #[test]
    fn m18_ticket_is_what_the_sql_reads() {
        let key = TicketKey::from_bytes(&[7; 32]).unwrap();
        let tenant = "acme".parse().unwrap();
        let ticket = key.mint(&tenant, 0x0102_0304, Window::exactly(5)).0;
        let (mac, body) = ticket.split_at(64);
        assert_eq!(body, "0000000000000005000000000000000504".to_owned() + "61636d65");
        // HMAC-SHA256(07 * 32, body | 01020304), computed by Python's hmac.
        assert_eq!(mac, PYTHON);
    }

    const PYTHON: &str = "7e7b8778f102bc5576b5929cf361a4ea28507da9f2faab5b44297987b55966e5";
}
