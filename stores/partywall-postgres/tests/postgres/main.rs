//! The PostgreSQL wall against real servers: started from the binaries on this machine, or
//! skipped aloud where there are none (never in CI).

mod check;
mod local;
mod own;
mod pooler;
mod residue;
mod standby;
mod store;
mod support;
mod ticket;
