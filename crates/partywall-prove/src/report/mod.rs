//! Reports of a run.
