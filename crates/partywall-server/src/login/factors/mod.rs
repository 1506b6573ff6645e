//! Factors kept here: what a person can show, and how it is checked.

pub(crate) mod passkey;
pub(crate) mod password;
pub(crate) mod pool;
pub(crate) mod recovery;
pub(crate) mod second;
pub(crate) mod totp;
pub(crate) mod tries;
