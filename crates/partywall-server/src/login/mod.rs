//! Signing people in: what they showed, and the one gate that decides whether it lets them in.

pub(crate) use admit::{Admitted, AdmittedPrincipal, Entry, Path, Refusal, admit, admit_machine};
pub(crate) use proof::{Amr, Proof};

mod admit;
pub(crate) mod factors;
mod proof;
pub(crate) mod session;
