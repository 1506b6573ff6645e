//! The attacks on each store crate, through its own handles.

use crate::Attack;

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = &[];
