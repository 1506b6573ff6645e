//! Making the database's side of the wall, over an administrator's connection.
//!
//! None of this is needed at run time; the administrator is the owner of the database with
//! `CREATEROLE` (and `CREATEDB` for [`bridge_database`]), not superuser.

use postgres_protocol::password::scram_sha_256;

use crate::{
    login::Login,
    pack::{quote_ident, quote_literal},
};

/// The statement that sets a role's password. What it says is the verifier, not the password, so
/// no log of the server's holds more.
pub(crate) fn set_password(login: &Login) -> String {
    let verifier = scram_sha_256(login.password().as_bytes());
    format!("ALTER ROLE {} PASSWORD {}", quote_ident(login.role()), quote_literal(&verifier))
}
