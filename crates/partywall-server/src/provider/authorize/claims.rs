//! The `claims` parameter (OIDC Core 5.5): single claims, and how good the sign-in must be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::RequestError;
use crate::{
    control::{Scope, UserId},
    provider::{form::Form, user_claims::Claim},
};

/// Claims an ID token is to carry beside its own. What UserInfo is to carry is in the scopes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct RequestedClaims {
    pub(crate) id_token: BTreeSet<Claim>,
}

/// What the parameter says that we understand.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) claims: RequestedClaims,
    /// Scopes that carry the claims wanted of UserInfo.
    pub(super) scopes: BTreeSet<Scope>,
    /// The only user that will do.
    pub(super) subject: Option<UserId>,
    pub(super) essential_acr: Vec<String>,
}

pub(super) fn read(form: &Form<'_>) -> Result<Wanted, RequestError> {
    let Some(text) = form.get("claims") else { return Ok(Wanted::default()) };
    let malformed = || {
        RequestError::Invalid("claims must be a JSON object as in OIDC Core 5.5, up to 4096 bytes")
    };
    if text.len() > MAX_CLAIMS {
        return Err(malformed());
    }
    let asked: Asked = serde_json::from_str(text).map_err(|_| malformed())?;
    let mut wanted = Wanted::default();
    for (name, wish) in asked.id_token {
        let wish = Wish::read(wish).ok_or_else(malformed)?;
        match name.as_str() {
            "acr" if wish.essential => wanted.essential_acr = wish.values,
            "sub" => wanted.subject = subject(&wish)?,
            // OIDC Core 5.5: what is not understood is ignored.
            name => wanted.claims.id_token.extend(Claim::named(name)),
        }
    }
    for (name, wish) in asked.userinfo {
        let wish = Wish::read(wish).ok_or_else(malformed)?;
        match (name.as_str(), Claim::named(&name)) {
            ("sub", _) => wanted.subject = subject(&wish)?.or(wanted.subject),
            (_, Some(claim)) => wanted.scopes.extend(claim.scope().parse::<Scope>()),
            (_, None) => {}
        }
    }
    Ok(wanted)
}

/// OIDC Core 5.5.1: the one value that will do.
fn subject(wish: &Wish) -> Result<Option<UserId>, RequestError> {
    match wish.values.as_slice() {
        [] => Ok(None),
        [one] => {
            let user = one.parse();
            user.map(Some).map_err(|_| RequestError::Invalid("claims names no user in sub"))
        }
        _ => Err(RequestError::Invalid("claims names more than one user in sub")),
    }
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    id_token: serde_json::Map<String, Value>,
    #[serde(default)]
    userinfo: serde_json::Map<String, Value>,
}

/// How a claim is wanted: anyhow (`null`), or as an object says.
struct Wish {
    essential: bool,
    values: Vec<String>,
}

impl Wish {
    fn read(wish: Value) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            essential: bool,
            value: Option<Value>,
            values: Option<Vec<Value>>,
        }
        if wish.is_null() {
            return Some(Self { essential: false, values: Vec::new() });
        }
        let Object { essential, value, values } = serde_json::from_value(wish).ok()?;
        // Values that are no text match nothing of ours.
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let values = value.into_iter().chain(values.into_iter().flatten()).map(text).collect();
        Some(Self { essential, values })
    }
}

const MAX_CLAIMS: usize = 4096;
