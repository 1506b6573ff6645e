//! The attacks on a running system: its tokens, its hints, its interface, its jobs.

use crate::Attack;

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = &[];
