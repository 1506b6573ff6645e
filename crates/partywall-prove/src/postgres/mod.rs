//! The attacks on a PostgreSQL database, walled by us or by hand, and the lint for what no attack
//! shows.

use crate::Attack;

pub mod lint;

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = &[];
