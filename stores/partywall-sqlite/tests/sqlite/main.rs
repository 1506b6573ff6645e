//! The embedded wall, attacked through its public door: a tenant with full SQL in its session.

mod attacks;
mod durable;
mod handles;
mod isolation;
mod placement;
mod support;
