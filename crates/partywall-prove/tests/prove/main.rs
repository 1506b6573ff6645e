//! The suite of partywall-prove, over a real PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests report by panicking, as tests do"
)]

mod badinput;
mod breaks;
mod harness;
mod lint;
mod marked;
mod objects;
mod pages;
mod planted;
mod pooler;
mod report;
mod report_history;
mod report_hostile;
mod report_schema;
mod sessions;
mod sessions_apart;
mod sessions_pooled;
mod speed;
mod stores;
mod stores_postgres;
mod stores_sqlite;
mod system;
mod worlds;
