//! Scopes an application's users grant (RFC 6749 3.3, OIDC Core 5.4, 11).

use std::collections::BTreeSet;

use super::issue::IssueError;
use crate::control::{Application, Grant, Scope};

pub(crate) const OPENID: &str = "openid";
pub(crate) const PROFILE: &str = "profile";
pub(crate) const EMAIL: &str = "email";
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// Those every application may ask for without having registered them.
pub(crate) const STANDARD: [&str; 4] = [OPENID, PROFILE, EMAIL, OFFLINE_ACCESS];

/// Those of OIDC Core 5.4 whose claims we have none of. Asked for, they are not granted.
const WITHOUT_CLAIMS: [&str; 2] = ["address", "phone"];

/// What is granted of `asked`: the standard scopes, and what the application registered. All it
/// registered where nothing was asked for.
pub(crate) fn for_application(
    application: &Application,
    asked: Option<&str>,
) -> Result<BTreeSet<Scope>, IssueError> {
    let registration = &application.registration;
    let Some(asked) = asked else { return Ok(registration.scopes.clone()) };
    let may_stay = registration.grants.contains(&Grant::RefreshToken);
    let mut granted = BTreeSet::new();
    for name in asked.split(' ') {
        // OIDC Core 11: offline access is ignored where it cannot be given.
        if WITHOUT_CLAIMS.contains(&name) || (name == OFFLINE_ACCESS && !may_stay) {
            continue;
        }
        let scope: Scope = name.parse().map_err(|_| IssueError::Scope)?;
        if !STANDARD.contains(&name) && !registration.scopes.contains(&scope) {
            return Err(IssueError::Scope);
        }
        granted.insert(scope);
    }
    Ok(granted)
}

pub(crate) fn has(scopes: &BTreeSet<Scope>, name: &str) -> bool {
    scopes.iter().any(|scope| scope.as_str() == name)
}
