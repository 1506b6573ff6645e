//! What a session starts with, and how it is made new between two tenants.

use std::time::Duration;

/// Makes a session new for the next tenant, as one message outside a transaction: settings,
/// cursors WITH HOLD, LISTEN, advisory locks, `lastval()`, prepared statements, and what
/// `random()` will say, which `setseed()` decides and `DISCARD ALL` leaves decided.
///
/// `SET SESSION AUTHORIZATION` and `SET ROLE` come first, because what follows runs as whoever the
/// session is. Not `DISCARD ALL`, which does the same and may not share a message with others.
///
/// Behind PgBouncer make it the `server_reset_query`, with `server_reset_query_always = 1`.
pub const SCRUB: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; \
    SELECT pg_catalog.pg_advisory_unlock_all(), \
    pg_catalog.setseed(pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0)::pg_catalog.float8 \
    OPERATOR(pg_catalog./) 9223372036854775808::pg_catalog.float8); \
    DISCARD SEQUENCES; DISCARD TEMP; DEALLOCATE ALL";

/// Settings every session starts with, from the start-up packet.
///
/// A tenant's statements can run `ALTER ROLE CURRENT_USER SET …`, which outlives the connection
/// (P1). What the start-up packet says wins over it, and is what `RESET ALL` goes back to.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    search_path: String,
    statement_timeout: Duration,
    lock_timeout: Duration,
    idle_in_transaction_timeout: Duration,
}

impl SessionSettings {
    /// Where unqualified names are looked up, such as `app, public`; `public` by default.
    #[must_use]
    pub fn search_path(mut self, path: impl Into<String>) -> Self {
        self.search_path = path.into();
        self
    }

    /// How long one statement may take; 30 seconds by default, zero for no limit.
    #[must_use]
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = limit;
        self
    }

    /// How long a statement may wait for a lock; 10 seconds by default, zero for no limit.
    #[must_use]
    pub fn lock_timeout(mut self, limit: Duration) -> Self {
        self.lock_timeout = limit;
        self
    }

    /// How long a transaction may sit idle; 60 seconds by default, zero for no limit.
    #[must_use]
    pub fn idle_in_transaction_timeout(mut self, limit: Duration) -> Self {
        self.idle_in_transaction_timeout = limit;
        self
    }

    /// All of them. Encoding, `DateStyle` and `TimeZone` are start-up parameters of the drivers.
    /// A server refuses a connection that names a setting it does not know, hence `major`.
    pub(crate) fn pins(&self, major: u32) -> Vec<(&'static str, String)> {
        let millis = |limit: Duration| limit.as_millis().to_string();
        let mut pins = vec![
            ("search_path", self.search_path.clone()),
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_in_transaction_timeout)),
        ];
        if major >= 17 {
            pins.push(("transaction_timeout", "0".to_owned()));
        }
        pins.extend(FIXED_PINS.iter().map(|&(name, value)| (name, value.to_owned())));
        pins
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            search_path: "public".to_owned(),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            idle_in_transaction_timeout: Duration::from_secs(60),
        }
    }
}

/// Settings that change what a statement means, or whether it and the session live, at their
/// ordinary values. Every other is taken back when a session is opened.
const FIXED_PINS: &[(&str, &str)] = &[
    ("role", "none"),
    ("row_security", "on"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    ("bytea_output", "hex"),
    ("IntervalStyle", "postgres"),
    ("xmloption", "content"),
    ("client_min_messages", "notice"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("gin_fuzzy_search_limit", "0"),
    ("exit_on_error", "off"),
    ("idle_session_timeout", "0"),
    ("tcp_user_timeout", "0"),
    ("tcp_keepalives_idle", "0"),
    ("tcp_keepalives_interval", "0"),
    ("tcp_keepalives_count", "0"),
    ("check_function_bodies", "on"),
    ("default_tablespace", ""),
    ("temp_tablespaces", ""),
    ("local_preload_libraries", ""),
    ("plan_cache_mode", "auto"),
];
