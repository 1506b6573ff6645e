//! The attacks on a PostgreSQL database, walled by us or by hand, and the lint for what no attack
//! shows.
//!
//! [`prove`] reads the catalogues, finds out from the row policies what a session sets to be a
//! tenant, writes a row of two made-up tenants into every table *as the application's role*, attacks
//! as each of them, and rolls everything back.

use crate::Attack;

mod access;
mod attacks;
mod breaks;
mod caution;
mod discover;
mod ground;
pub mod lint;
mod one_session;
mod options;
mod prove;
mod remedy;
mod role;
mod schema;
mod schemas;
pub mod sql;
mod stage;
mod tenancy;
mod tenants;
mod ticket;
mod values;

pub use access::Address;
pub use breaks::{Broken, Fall, break_walls, exit as exit_of_breaks};
pub use caution::Caution;
pub use ground::{Ground, Row, Unseeded};
pub use one_session::OneSession;
pub use options::{Adversary, InvalidOption, Options, Setting, TenantColumn, Value};
pub use prove::{CannotRun, prove};
pub(crate) use remedy::of as remedy;
pub use schema::{Class, Column, ForeignKey, Grants, Kind, Relation, Schema};
pub use stage::{Answer, Done, Gone, Refusal, Session, Stage, Who, copy_out, send};
pub use tenancy::{Assume, Context, Tenancy, Tenant};
pub use ticket::TicketMaker;

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = attacks::CATALOGUE;
