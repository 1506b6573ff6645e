//! What no attack shows: the lint of a schema.

mod finding;
pub mod rules;

pub use finding::{Finding, Severity};
pub use rules::Rule;
