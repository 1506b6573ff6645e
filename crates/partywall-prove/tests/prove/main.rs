//! The suite of partywall-prove, over a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod stores;
mod stores_sqlite;
