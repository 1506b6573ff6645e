//! The control plane and the identity provider, asked as others ask them: over HTTP and through
//! the Rust interface, on SQLite and on PostgreSQL.

#[cfg(test)]
mod administration;
#[cfg(test)]
mod alone;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod metadata;
#[cfg(test)]
#[expect(dead_code, reason = "the unit tests use the rest")]
mod name_server;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod portal;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod scim;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod state;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod token;
