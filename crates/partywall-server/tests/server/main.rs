//! The control plane and the identity provider, asked as others ask them: over HTTP and through
//! the Rust interface, on SQLite and on PostgreSQL.

mod bundle;
mod crash;
mod keys;
mod metadata;
mod postgres;
mod serving;
mod state;
mod support;
mod token;
