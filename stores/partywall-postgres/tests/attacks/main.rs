//! The attacks on the PostgreSQL wall.
//!
//! Tenant A (`acme`) may run any SQL inside its own transaction: the application has an injection.
//! Tenant B (`acme-2`) shares the pool with it. Every attack runs against two databases that hold
//! the same application:
//!
//! - `naive` is walled as everybody does it: a role that owns nothing, row level security, and
//!   `SET LOCAL app.tenant_id`;
//! - `walled` has Partywall's pack.
//!
//! Each test states three things: the tenants see what is theirs; the attack succeeds against the
//! usual wall, or against another control where that wall is no party to it; and it fails against
//! ours, with the SQLSTATE or the empty result that says why. What does not hold is asserted as
//! it is, in a test whose name ends in `_residual`.
//!
//! Nothing of the crate takes part but its SQL and its cluster starter: the suite mints tickets
//! by its own few lines and speaks to the server over a bare driver, so a mistake in the crate
//! cannot hide behind the same mistake here. Only in `residue` the crate's pool is run as well,
//! for what a scrub between tenants has to answer.

#[cfg(test)]
mod context;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod key;
#[cfg(test)]
mod observe;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod residue;
#[cfg(test)]
mod schema;
