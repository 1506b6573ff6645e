//! The PostgreSQL wall against real servers: started from the binaries on this machine, or
//! skipped aloud where there are none (never in CI).

#[cfg(test)]
mod check;
#[cfg(test)]
mod flight;
#[cfg(test)]
mod local;
#[cfg(test)]
mod own;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod residue;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod ticket;
