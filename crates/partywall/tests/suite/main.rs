//! The crate as its users see it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod adapter;
mod carry;
mod http;
mod kept;
mod observed;
mod possession;
mod servers;
mod source;
mod wall;
