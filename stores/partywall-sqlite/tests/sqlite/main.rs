//! The embedded wall, attacked through its public door: a tenant with full SQL in its session.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests report by panicking, as tests do"
)]

mod attacks;
mod durable;
mod handles;
mod isolation;
mod placement;
mod support;
