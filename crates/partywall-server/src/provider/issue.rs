//! Access tokens (RFC 9068): one kind, whatever the way in (M-09). Made of what the gate admitted
//! and of nothing else.

use std::{collections::BTreeSet, time::Duration};

use partywall::{Role, TenantId, Timestamp};
use serde::Serialize;

use super::at::At;
use crate::{
    config::Resource,
    control::{ControlPlane, Scope},
    keys::KeyError,
    login::{Admitted, AdmittedPrincipal, Amr},
    random::{self, RandomError},
};

/// A token to be issued.
pub(crate) struct Issue<'i> {
    admitted: &'i Admitted,
    client_id: &'i str,
    resource: &'i Resource,
    scope: BTreeSet<&'i Scope>,
    /// Who really acts (RFC 8693 4.1).
    pub(crate) actor: Option<&'i Actor>,
    /// The key the token is bound to, by its thumbprint (RFC 9449 6.1).
    pub(crate) dpop_jkt: Option<&'i str>,
    /// The tenant's session it belongs to (OIDC Back-Channel Logout 2.1).
    pub(crate) sid: Option<&'i str>,
    /// Its id, where it must be known beforehand; drawn otherwise.
    pub(crate) jti: Option<String>,
    /// When it ends at the latest: with what it was made of.
    pub(crate) ends_at: Option<Timestamp>,
    /// Fewer of the principal's roles, for a token that may do less than its principal.
    pub(crate) roles: Option<BTreeSet<Role>>,
}

/// `act` (RFC 8693 4.1): the actor, and whom it acts for in turn.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, Serialize)]
pub(crate) struct Actor {
    pub(crate) sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<Box<Actor>>,
}

impl<'i> Issue<'i> {
    pub(crate) fn to(
        admitted: &'i Admitted,
        client_id: &'i str,
        resource: &'i Resource,
        scope: BTreeSet<&'i Scope>,
    ) -> Self {
        Self {
            admitted,
            client_id,
            resource,
            scope,
            actor: None,
            dpop_jkt: None,
            sid: None,
            jti: None,
            ends_at: None,
            roles: None,
        }
    }
}

/// An access token that was issued.
pub(crate) struct IssuedToken {
    pub(crate) text: String,
    pub(crate) lifetime: Duration,
    pub(crate) scope: Option<String>,
    /// Whether it is good only with a proof of its key (RFC 9449 5: `token_type` is `DPoP`).
    pub(crate) is_bound: bool,
}

/// Issues a token, in the name of the issuer that was asked.
pub(crate) fn access_token(
    control: &ControlPlane,
    at: &At,
    issue: &Issue<'_>,
) -> Result<IssuedToken, IssueError> {
    let admitted = issue.admitted;
    at.may_speak_for(admitted)?;
    let now = control.now();
    let lifetime = control.policy().token_lifetime();
    let lifetime = issue.ends_at.map_or(lifetime, |end| lifetime.min(end.since(now)));
    let scope = join(&issue.scope);
    let jti = match &issue.jti {
        Some(jti) => jti.clone(),
        None => random::opaque_id(&control.inner.random)?,
    };
    // What the principal is not, the token is not either.
    let roles: BTreeSet<&Role> = match &issue.roles {
        Some(fewer) => admitted.roles().intersection(fewer).collect(),
        None => admitted.roles().iter().collect(),
    };
    // A machine was not signed in by anybody at any time but now: `auth_time`, `amr` and `cid`
    // belong to people's tokens.
    let proof = match admitted.principal() {
        AdmittedPrincipal::User(_, proof) => Some(proof),
        AdmittedPrincipal::Machine { .. } => None,
    };
    let claims = AccessTokenClaims {
        iss: at.issuer(),
        sub: admitted.subject(),
        aud: issue.resource.as_str(),
        client_id: issue.client_id,
        iat: now.0,
        exp: (now + lifetime).0,
        jti: &jti,
        tid: admitted.tenant(),
        roles,
        scope: scope.as_deref(),
        tep: admitted.tenant_epoch(),
        cid: proof.and_then(|proof| proof.connection.as_deref()),
        amr: proof.map(|proof| proof.amr()),
        acr: proof.map(|proof| proof.acr()),
        auth_time: proof.map(|proof| proof.auth_time.0),
        sid: issue.sid,
        act: issue.actor,
        cnf: issue.dpop_jkt.map(|jkt| Confirmation { jkt }),
    };
    let text = at.keys(control)?.sign_access_token(&claims)?;
    tracing::info!(
        tenant.id = %admitted.tenant(), principal.id = admitted.subject(),
        client.id = issue.client_id, token.id = jti, "an access token was issued"
    );
    let to = match admitted.principal() {
        AdmittedPrincipal::User(..) => "user",
        AdmittedPrincipal::Machine { .. } => "machine",
    };
    metrics::counter!("partywall_tokens_issued_total", "principal" => to).increment(1);
    let is_bound = issue.dpop_jkt.is_some();
    Ok(IssuedToken { text, lifetime, scope, is_bound })
}

/// RFC 9068 2.2, and of ours: the tenant, its roles, and its epoch (I-05, I-06). Its size does not
/// grow with anything a principal is elsewhere.
#[derive(Serialize)]
struct AccessTokenClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    client_id: &'c str,
    iat: u64,
    exp: u64,
    jti: &'c str,
    tid: &'c TenantId,
    roles: BTreeSet<&'c Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'c str>,
    tep: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<Amr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'c Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'c>>,
}

/// RFC 7800, RFC 9449 6.1.
#[derive(Serialize)]
struct Confirmation<'c> {
    jkt: &'c str,
}

/// Everything the client may have, or exactly what it asked for of that (RFC 6749 3.3).
pub(crate) fn granted_scopes<'m>(
    asked: Option<&str>,
    allowed: &'m BTreeSet<Scope>,
) -> Result<BTreeSet<&'m Scope>, IssueError> {
    let Some(asked) = asked else { return Ok(allowed.iter().collect()) };
    let named = |name: &str| allowed.iter().find(|scope| scope.as_str() == name);
    asked.split(' ').map(|name| named(name).ok_or(IssueError::Scope)).collect()
}

/// The audience: the resource asked for if it is one of ours, the default where none was
/// (RFC 8707 2). A token is for one resource; a second `resource` is a parameter twice.
pub(crate) fn resource<'c>(
    control: &'c ControlPlane,
    asked: Option<&str>,
) -> Result<&'c Resource, IssueError> {
    let resources = &control.inner.config.resources;
    match asked {
        Some(uri) => resources.named(uri).ok_or(IssueError::Target),
        None => Ok(resources.default_resource()),
    }
}

fn join(scopes: &BTreeSet<&Scope>) -> Option<String> {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// Why no token was issued to somebody who was admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("a scope was asked for that the client may not have")]
    Scope,
    #[error("a resource was asked for that there is none of")]
    Target,
    #[error("tenant {tenant} has another issuer than the one that was asked")]
    OtherIssuer { tenant: TenantId },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl IssueError {
    /// RFC 6749 5.2, RFC 8707 2. `None` where the fault is ours.
    pub(crate) fn answer(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Scope => {
                Some(("invalid_scope", "the client may not have every scope it asked for"))
            }
            Self::Target => Some(("invalid_target", "there is no such resource")),
            Self::OtherIssuer { .. } => {
                Some(("unauthorized_client", "this tenant has an issuer of its own: ask there"))
            }
            Self::Key(_) | Self::Random(_) => None,
        }
    }
}
