//! What a provider's claims say, once they are known to be its own. Only what is read here is ever
//! taken from them (F-09).

use partywall::token::IdToken;
use serde_json::{Map, Value};

use super::profile::{EmailRule, Habits};
use crate::{
    control::OidcProvider,
    federation::{UnverifiedEmail, Upstream, UpstreamSession},
};

/// Claims by their names.
pub(super) type Claims = Map<String, Value>;

pub(super) fn upstream(
    provider: &OidcProvider,
    id_token: &IdToken,
    user_info: Option<&Claims>,
) -> Upstream {
    let habits = Habits::of(provider.profile);
    // What the token says was signed; the other is asked where the token is silent.
    let sources = || std::iter::once(&id_token.claims).chain(user_info);
    let email = sources().find_map(|claims| email(claims, provider, habits.email));
    let verified = email.as_ref().filter(|email| email.said_to_be_verified);
    // Entra's SCIM client calls people by their object id, its tokens by one of their own.
    let object_id = text(&id_token.claims, "oid").filter(|_| habits.email == EmailRule::Entra);
    let provisioned_as = [
        Some(id_token.subject.clone()),
        object_id.map(str::to_owned),
        verified.map(|email| email.address.to_string()),
    ];
    let groups = provider.groups_claim.as_deref().or(habits.groups);
    Upstream {
        issuer: provider.issuer.clone(),
        subject: id_token.subject.clone(),
        login: sources()
            .find_map(|claims| visible(text(claims, "preferred_username")?))
            .unwrap_or_else(|| id_token.subject.clone()),
        provisioned_as: provisioned_as.into_iter().flatten().collect(),
        email,
        name: sources().find_map(|claims| name(claims, provider.name_claim.as_deref())),
        groups: groups
            .and_then(|claim| sources().find_map(|claims| list(claims, claim)))
            .unwrap_or_default(),
        multi_factor: list(&id_token.claims, "amr")
            .is_some_and(|methods| methods.iter().any(|method| method == "mfa")),
        auth_time: id_token.auth_time,
        ends_at: None,
        session: text(&id_token.claims, "sid")
            .map(|sid| UpstreamSession::Oidc { sid: sid.to_owned() }),
    }
}

/// An address and whether it was verified, from one and the same source: `email_verified` speaks of
/// the `email` beside it and of no other.
fn email(claims: &Claims, provider: &OidcProvider, rule: EmailRule) -> Option<UnverifiedEmail> {
    let said = |address: &str, said_to_be_verified| {
        let address = address.parse().ok()?;
        Some(UnverifiedEmail { address, said_to_be_verified })
    };
    let is_true = |name: &str| claims.get(name) == Some(&Value::Bool(true));
    if let Some(other) = provider.email_claim.as_deref() {
        return said(text(claims, other)?, false);
    }
    match rule {
        EmailRule::Standard => said(text(claims, "email")?, is_true("email_verified")),
        EmailRule::Entra => {
            let verified = ["verified_primary_email", "verified_secondary_email"];
            let verified =
                verified.iter().find_map(|claim| list(claims, claim)?.into_iter().next());
            match verified {
                Some(address) => said(&address, true),
                None if is_true("xms_edov") => said(text(claims, "email")?, true),
                None => None,
            }
        }
    }
}

fn name(claims: &Claims, configured: Option<&str>) -> Option<String> {
    let found = match configured {
        Some(claim) => text(claims, claim)?.to_owned(),
        None => match text(claims, "name") {
            Some(name) => name.to_owned(),
            None => {
                let parts = ["given_name", "family_name"].map(|part| text(claims, part));
                parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
        },
    };
    visible(&found)
}

fn visible(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Strings in a list, or one. What is no string is nobody's name.
fn list(claims: &Claims, name: &str) -> Option<Vec<String>> {
    match claims.get(name)? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => Some(
            many.iter().filter_map(Value::as_str).take(MAX_LISTED).map(str::to_owned).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

const MAX_NAME: usize = 200;
const MAX_LISTED: usize = 2_000;
