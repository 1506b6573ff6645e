//! Proof by trying: the attacks on every wall between tenants, and what came of them.
//!
//! ```text
//! attack ─► observation ┐
//! control ──────────────┴─► verdict ─► trial ─► run ─► report
//! ```
//!
//! The attacker is always a fully authenticated user of *another tenant*, and unless told otherwise
//! has SQL injection inside its own session. An attack that was refused proves nothing alone: the
//! same statement must succeed for the one who may ([`Control`]), or the verdict is *undecided*.
//!
//! This crate is written apart from the walls it attacks. It shares no policy text, no SQL and no
//! key building with the store crates, so that a mistake in one is not hidden by the same mistake
//! in the other.

mod attack;
mod declared;
mod log;
pub mod postgres;
pub mod report;
mod run;
pub mod stores;
pub mod system;
mod trial;
mod verdict;

pub use attack::{Attack, Layer, Weight, catalogue};
pub use declared::{absent, not_attacked, undeclared};
pub use log::{Exception, InvalidException, Log, Progress, Silent};
pub use run::{Exit, Run, Subject};
pub use trial::{Draft, Note, Trial};
pub use verdict::{Control, Observation, Verdict};
