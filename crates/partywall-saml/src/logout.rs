//! Single logout (saml-profiles 4.4): ended here or there, it ends on both sides.
//!
//! A message that ends sessions is authenticated like one that begins them: signed by the
//! connection's keys, for us, now (S-14).

mod message;
mod verify;

pub use message::{LogoutRequest, LogoutResponse, LogoutStatus};
pub use verify::{ExpectedLogout, Received, VerifiedLogoutRequest, VerifiedLogoutResponse};
