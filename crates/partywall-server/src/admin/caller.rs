//! Who asks, and what they may touch.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{HeaderMap, Method, Uri, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use partywall::{Role, TenantId, TenantStatus, Timestamp, token::TokenFacts};
use serde_json::json;

use super::{ApiError, audience};
use crate::{
    control::{
        ADMIN_SCOPE, Actor, ClientId, ControlError, ControlPlane, MachineStatus, UserId,
        UserStatus, administers,
    },
    http::RequestId,
    provider::{
        At,
        dpop::{self, DpopError},
        own_token::{self, OwnTokenError},
    },
    rate::Meter,
    storage::{
        StorageError, machines,
        security_events::{self, SecurityEvent},
        tenants,
        users::{self, Who},
    },
};

/// Who sent a request, shown by what it carried and looked up just now.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The vendor's staff.
    Operator(String),
    /// A tenant's administrator.
    Administrator(OwnTenant),
}

/// The one tenant of an administrator: made of a verified token and of nothing else.
#[derive(Clone, Debug)]
pub(super) struct OwnTenant {
    tenant: TenantId,
    who: Principal,
    roles: BTreeSet<Role>,
    /// When they last showed who they are; a machine does with each token.
    shown_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Principal {
    User(UserId),
    Machine(ClientId),
}

impl Caller {
    /// Names the caller among all callers.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Operator(name) => format!("operator {name}"),
            Self::Administrator(own) => format!("{} {}", own.tenant, own.subject()),
        }
    }

    /// The one tenant it is of, if it is of one.
    pub(super) fn own_tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Operator(_) => None,
            Self::Administrator(own) => Some(&own.tenant),
        }
    }

    fn actor(&self) -> Actor {
        match self {
            Self::Operator(name) => Actor::Operator(name.clone()),
            Self::Administrator(OwnTenant { tenant, who, .. }) => match who {
                Principal::User(user) => {
                    Actor::TenantAdministrator { tenant: tenant.clone(), user: user.clone() }
                }
                Principal::Machine(client) => {
                    Actor::Machine { tenant: tenant.clone(), client: client.clone() }
                }
            },
        }
    }
}

impl OwnTenant {
    fn subject(&self) -> &str {
        match &self.who {
            Principal::User(user) => user.as_str(),
            Principal::Machine(client) => client.as_str(),
        }
    }
}

/// One tenant, and somebody who may administer it: for an administrator the token's own, whatever
/// the address says; for an operator the one the address names.
pub(super) struct Within {
    tenant: TenantId,
    caller: Caller,
}

impl Within {
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// The caller's own user, if it is one of this tenant.
    pub(super) fn own_user(&self) -> Option<&UserId> {
        match &self.caller {
            Caller::Administrator(OwnTenant { who: Principal::User(user), .. }) => Some(user),
            Caller::Administrator(_) | Caller::Operator(_) => None,
        }
    }

    /// The caller's own machine, if it is one of this tenant.
    pub(super) fn own_machine(&self) -> Option<&ClientId> {
        match &self.caller {
            Caller::Administrator(OwnTenant { who: Principal::Machine(client), .. }) => {
                Some(client)
            }
            Caller::Administrator(_) | Caller::Operator(_) => None,
        }
    }

    /// Refuses whoever has not shown who they are in the last five minutes, before something that
    /// decides who is who (P-03, I-33). A token is no better than what it was issued for.
    pub(super) fn has_stepped_up(&self, control: &ControlPlane) -> Result<(), ApiError> {
        match &self.caller {
            Caller::Operator(_) => Ok(()),
            Caller::Administrator(OwnTenant { shown_at: Some(at), .. })
                if *at + STEP_UP_LASTS > control.now() =>
            {
                Ok(())
            }
            Caller::Administrator(_) => Err(ApiError::StepUp),
        }
    }

    /// Refuses to let a caller give away what is not theirs to give (P-02).
    pub(super) fn may_grant(&self, granted: &BTreeSet<Role>) -> Result<(), ApiError> {
        match &self.caller {
            Caller::Operator(_) => Ok(()),
            Caller::Administrator(own) if may_grant(&own.roles, granted) => Ok(()),
            Caller::Administrator(_) => Err(ApiError::Forbidden("nobody grants a role they lack")),
        }
    }
}

/// How long ago somebody may have shown who they are.
pub(super) const STEP_UP_LASTS: Duration = Duration::from_secs(5 * 60);

/// Nobody grants a role they lack, but for a tenant's administrator, whose tenant's roles all are.
fn may_grant(own: &BTreeSet<Role>, granted: &BTreeSet<Role>) -> bool {
    administers(own) || granted.is_subset(own)
}

impl FromRequestParts<ControlPlane> for Within {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, ApiError> {
        let caller = caller_of(parts)?;
        let params = RawPathParams::from_request_parts(parts, control).await;
        let params = params.map_err(|_| ApiError::NotFound)?;
        let named = params.iter().find(|(name, _)| *name == "tenant").map(|(_, value)| value);
        let named: Option<TenantId> = named.and_then(|tenant| tenant.parse().ok());
        let tenant = match &caller {
            // Another's is not looked up: it is as absent as one that never was (T-04).
            Caller::Administrator(own) if named.as_ref() == Some(&own.tenant) => own.tenant.clone(),
            Caller::Administrator(own) => {
                note_cross_tenant(control, own, named.as_ref(), parts).await?;
                return Err(ApiError::NotFound);
            }
            Caller::Operator(_) => {
                let named = named.ok_or(ApiError::NotFound)?;
                let found = tenants::find(control.inner.db.reader(), &named).await?;
                found.ok_or(ApiError::NotFound)?.id().clone()
            }
        };
        Ok(Self { tenant, caller })
    }
}

/// A tenant's administrator named another tenant (L-01). Theirs is told, and so is the log.
async fn note_cross_tenant(
    control: &ControlPlane,
    own: &OwnTenant,
    named: Option<&TenantId>,
    parts: &Parts,
) -> Result<(), StorageError> {
    tracing::warn!(
        tenant.id = %own.tenant, principal.id = own.subject(),
        "an administrator asked for another tenant"
    );
    let detail = json!({ "method": parts.method.as_str(), "named_a_tenant": named.is_some() });
    let event = denial(own, "admin.cross_tenant", detail);
    record(control, &event, parts).await
}

fn denial<'e>(
    own: &'e OwnTenant,
    event: &'static str,
    detail: serde_json::Value,
) -> SecurityEvent<'e> {
    SecurityEvent {
        tenant: Some(&own.tenant),
        event,
        outcome: "denied",
        subject: Some(own.subject()),
        client: None,
        detail,
    }
}

async fn record(
    control: &ControlPlane,
    event: &SecurityEvent<'_>,
    parts: &Parts,
) -> Result<(), StorageError> {
    let id = parts.extensions.get::<RequestId>().map(RequestId::as_str);
    let write = control.inner.db.single().await;
    security_events::record_of_request(write.db(), event, id, control.now()).await
}

/// An operator. Whoever is none learns so only where there is something to see: an operator's
/// endpoint within a tenant asks for [`Within`] first.
pub(super) struct Operator(Actor);

impl Operator {
    pub(super) fn actor(&self) -> &Actor {
        &self.0
    }
}

impl FromRequestParts<ControlPlane> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, ApiError> {
        match caller_of(parts)? {
            caller @ Caller::Operator(_) => Ok(Self(caller.actor())),
            Caller::Administrator(own) => {
                let path = parts.extensions.get::<axum::extract::MatchedPath>();
                let path = path.map(axum::extract::MatchedPath::as_str);
                let detail = json!({ "method": parts.method.as_str(), "path": path });
                record(control, &denial(&own, "admin.forbidden", detail), parts).await?;
                Err(ApiError::Forbidden("only operators may do this"))
            }
        }
    }
}

impl FromRequestParts<ControlPlane> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ControlPlane) -> Result<Self, ApiError> {
        caller_of(parts)
    }
}

/// Put there by [`authenticate`]. Where it is missing, nobody was authenticated.
fn caller_of(parts: &Parts) -> Result<Caller, ApiError> {
    parts.extensions.get::<Caller>().cloned().ok_or(ApiError::Unauthenticated)
}

/// What stands before every endpoint.
#[derive(Clone)]
pub(super) struct Gate {
    control: ControlPlane,
    pace: Arc<Meter>,
}

impl Gate {
    pub(super) fn new(control: ControlPlane) -> Self {
        let pace = Meter::new(control.inner.config.rates.of_an_administrator, 1 << 12);
        Self { control, pace: Arc::new(pace) }
    }
}

/// Finds out who asks, or asks them to say.
pub(super) async fn authenticate(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&gate.control, request.headers(), request.method(), request.uri()).await {
        Ok(caller) => {
            if let Err(fast) = gate.pace.draw(&caller.key()) {
                return ApiError::from(fast).into_response();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => {
            tracing::warn!(reason = %refused, "a request for the admin API was refused");
            refused.into_response()
        }
    }
}

async fn identify(
    control: &ControlPlane,
    headers: &HeaderMap,
    method: &Method,
    uri: &Uri,
) -> Result<Caller, ApiError> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (sent.next(), sent.next()) else {
        return Err(ApiError::Unauthenticated);
    };
    let header = header.to_str().map_err(|_| ApiError::Unauthenticated)?;
    let (scheme, credential) = header.split_once(' ').ok_or(ApiError::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") && credential.starts_with(crate::control::OPERATOR_KEY)
    {
        let key = control.operator_by_key(credential).await?;
        return key.map(|key| Caller::Operator(key.name)).ok_or(ApiError::Unauthenticated);
    }
    let facts = verify(control, credential).await?;
    let bound_to = facts.bound_to.as_deref();
    match (scheme.to_ascii_lowercase().as_str(), bound_to) {
        ("bearer", None) => {}
        ("dpop", Some(key)) => {
            let uri = published_address(control, uri);
            let at = dpop::At { method: name_of(method), uri: &uri };
            let proven = dpop::proven_key(control, headers, at, Some(credential)).await;
            let proven = proven.map_err(|error| match error {
                DpopError::Storage(error) => error.into(),
                DpopError::NotOne | DpopError::Required | DpopError::Proof(_) => {
                    ApiError::Unauthenticated
                }
            })?;
            if proven.as_deref() != Some(key) {
                return Err(ApiError::Unauthenticated);
            }
        }
        // RFC 9449 7.1, 7.2: a bound token is no bearer token, nor the other way round.
        _ => return Err(ApiError::Unauthenticated),
    }
    administrator(control, &facts).await
}

/// The address as its caller wrote it: the issuer's own, whatever proxy stands before us.
fn published_address(control: &ControlPlane, uri: &Uri) -> String {
    let issuer = &control.inner.config.issuer;
    let host = issuer.as_str().strip_suffix(issuer.path()).unwrap_or(issuer.as_str());
    format!("{host}{}", uri.path())
}

/// The methods this API takes.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "GET",
    }
}

/// A token of ours, for this API and no other, that was not revoked.
async fn verify(control: &ControlPlane, token: &str) -> Result<TokenFacts, ApiError> {
    // The tenant it names says whose word it would be; that it is, is checked like everything else.
    let at = match own_token::unverified_tenant(token) {
        Some(tenant) => At::speaking_for(control, &tenant).await.map_err(ControlError::from)?,
        None => At::shared(control),
    };
    let facts = own_token::verify(control, &at, token).await;
    let facts = facts.map_err(|error| match error {
        OwnTokenError::Storage(error) => error.into(),
        OwnTokenError::Key(error) => error.into(),
        OwnTokenError::Token(_)
        | OwnTokenError::OtherIssuer
        | OwnTokenError::Revoked
        | OwnTokenError::Issuer(_) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a token was refused");
            ApiError::Unauthenticated
        }
    })?;
    if facts.audience == [audience(control.inner.config.issuer.as_str())] {
        Ok(facts)
    } else {
        Err(ApiError::Unauthenticated)
    }
}

/// The administrator a token speaks for, as they are now: a role or a scope taken away, a
/// suspension, a new epoch count from the next request on, whatever the token says.
async fn administrator(control: &ControlPlane, facts: &TokenFacts) -> Result<Caller, ApiError> {
    let TokenFacts { tenant, subject, .. } = facts;
    // Somebody who acts for somebody else administers nothing (P-02).
    if facts.actor.is_some() {
        return Err(ApiError::Unauthenticated);
    }
    let found = match subject.as_str().parse::<UserId>() {
        Ok(user) => user_now(control, tenant, user).await?,
        Err(_) => match subject.as_str().parse::<ClientId>() {
            Ok(client) => machine_now(control, tenant, client).await?,
            Err(_) => None,
        },
    };
    let Some((epoch, mut own)) = found else { return Err(ApiError::Unauthenticated) };
    own.shown_at = match &own.who {
        Principal::User(_) => facts.auth_time,
        Principal::Machine(_) => Some(facts.issued_at),
    };
    if facts.tenant_epoch != Some(epoch) {
        return Err(ApiError::Unauthenticated);
    }
    if !facts.scope.iter().any(|scope| scope == ADMIN_SCOPE) {
        return Err(ApiError::Scope);
    }
    // Both: what the token was given, and what is still so.
    if administers(&facts.roles) && administers(&own.roles) {
        Ok(Caller::Administrator(own))
    } else {
        Err(ApiError::Forbidden("only the tenant's administrators may do this"))
    }
}

async fn user_now(
    control: &ControlPlane,
    tenant: &TenantId,
    user: UserId,
) -> Result<Option<(u32, OwnTenant)>, StorageError> {
    let door = users::at_the_door(control.inner.db.reader(), tenant, Who::User(&user)).await?;
    let door = door.filter(|door| {
        door.tenant_is_active && door.account_is_active && door.user.status == UserStatus::Active
    });
    Ok(door.map(|door| {
        let (tenant, roles) = (door.user.tenant, door.user.roles);
        (door.tenant_epoch, OwnTenant { tenant, who: Principal::User(user), roles, shown_at: None })
    }))
}

async fn machine_now(
    control: &ControlPlane,
    tenant: &TenantId,
    client: ClientId,
) -> Result<Option<(u32, OwnTenant)>, StorageError> {
    let db = control.inner.db.reader();
    let Some(machine) = machines::find_in(db, tenant, &client).await? else { return Ok(None) };
    let Some(of) = tenants::find(db, tenant).await? else { return Ok(None) };
    let serves =
        machine.status == MachineStatus::Active && of.record.status == TenantStatus::Active;
    let (tenant, roles) = (machine.tenant, machine.roles);
    let own = OwnTenant { tenant, who: Principal::Machine(client), roles, shown_at: None };
    Ok(serves.then_some((of.record.epoch, own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p02_no_role_grants_a_role_it_lacks_but_the_tenants_administrator() {
        let roles = ["tenant-admin", "accountant", "clerk", "auditor"];
        for has in roles {
            for grants in roles {
                let own = BTreeSet::from([Role::from(has)]);
                let granted = BTreeSet::from([Role::from(grants)]);
                let expected = has == "tenant-admin" || has == grants;
                assert_eq!(may_grant(&own, &granted), expected, "{has} grants {grants}");
            }
        }
        assert!(!may_grant(&BTreeSet::new(), &BTreeSet::from([Role::from("clerk")])));
    }
}
