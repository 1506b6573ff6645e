//! The PostgreSQL wall against real servers: started from the binaries on this machine, or
//! skipped aloud where there are none (never in CI).

mod local;
mod support;
mod ticket;
