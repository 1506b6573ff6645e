//! Who provisions: a connection of a tenant, shown by a token of its own (I-29, C-04).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use partywall::{TenantId, TenantStatus};

use super::{base_url, error::ScimError};
use crate::{
    control::{
        Actor, Connection, ConnectionId, ConnectionStatus, ControlPlane, PresentedScimToken,
        ScimToken,
    },
    rate::{Meter, Network},
    storage::{connections, scim_tokens, tenants},
};

/// A connection of one tenant that showed a good token. Made by [`authenticate`] and by nothing
/// else; every question about users and groups takes one.
#[derive(Clone, Debug)]
pub(crate) struct ScimCaller {
    connection: Arc<Connection>,
    base: Arc<str>,
}

impl ScimCaller {
    pub(super) fn tenant(&self) -> &TenantId {
        &self.connection.tenant
    }

    pub(super) fn connection(&self) -> &ConnectionId {
        &self.connection.id
    }

    /// The connection as it is in a change, whatever happened since the token was looked at.
    pub(super) async fn still(
        &self,
        db: &impl sea_orm::ConnectionTrait,
    ) -> Result<Connection, ScimError> {
        let found = connections::find(db, self.tenant(), self.connection()).await?;
        found.filter(serves).ok_or(ScimError::Forbidden("the connection is not active"))
    }

    /// As the audit trail names it.
    pub(super) fn actor(&self) -> Actor {
        let Connection { tenant, id, .. } = &*self.connection;
        Actor::Connection { tenant: tenant.clone(), connection: id.clone() }
    }

    /// Where everything of this connection is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }
}

impl<S: Sync> FromRequestParts<S> for ScimCaller {
    type Rejection = ScimError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ScimError> {
        parts.extensions.get().cloned().ok_or(ScimError::Unauthorized)
    }
}

/// What stands before every endpoint.
#[derive(Clone)]
pub(super) struct Gate {
    control: ControlPlane,
    pace: Arc<Meter>,
}

impl Gate {
    pub(super) fn new(control: &ControlPlane) -> Self {
        let pace = Meter::new(control.inner.config.rates.of_scim, 1 << 14);
        Self { control: control.clone(), pace: Arc::new(pace) }
    }
}

/// Finds out which connection asks, or refuses.
pub(super) async fn authenticate(
    State(gate): State<Gate>,
    network: Network,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&gate, network, &params, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

async fn identify(
    gate: &Gate,
    network: Network,
    params: &RawPathParams,
    headers: &HeaderMap,
) -> Result<ScimCaller, ScimError> {
    let control = &gate.control;
    let Some(token) = authenticated(control, params, headers).await? else {
        control.inner.strangers.draw(network, None)?;
        return Err(ScimError::Unauthorized);
    };
    // A tenant's haste is no other tenant's (I-38).
    gate.pace.draw(&token.tenant)?;
    let db = control.inner.db.reader();
    let tenant = tenants::find(db, &token.tenant).await?;
    if tenant.is_none_or(|tenant| tenant.record.status != TenantStatus::Active) {
        return Err(ScimError::Forbidden("the tenant is not active"));
    }
    let connection = connections::find(db, &token.tenant, &token.connection).await?;
    let connection = connection.ok_or(ScimError::Unauthorized)?;
    if !serves(&connection) {
        return Err(ScimError::Forbidden("the connection is not active"));
    }
    let base = base_url(control, &token.tenant, &token.connection).into();
    Ok(ScimCaller { connection: Arc::new(connection), base })
}

/// F-04: whatever is not active is refused, here as everywhere.
fn serves(connection: &Connection) -> bool {
    connection.status == ConnectionStatus::Active
}

/// The token that was shown, if it is one, good, and of the connection the address names. One that
/// never was, one of another connection and one whose secret is wrong look the same from outside.
async fn authenticated(
    control: &ControlPlane,
    params: &RawPathParams,
    headers: &HeaderMap,
) -> Result<Option<ScimToken>, ScimError> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (sent.next(), sent.next()) else { return Ok(None) };
    let credential = header.to_str().ok().and_then(|header| header.split_once(' '));
    let credential = credential.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let presented = credential.and_then(|(_, text)| PresentedScimToken::read(text.trim()));
    let Some(presented) = presented else { return Ok(None) };
    let named = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let (tenant, connection) = (presented.tenant.as_str(), presented.connection.as_str());
    let here = named("tenant") == Some(tenant) && named("connection") == Some(connection);
    let now = control.now();
    let (db, PresentedScimToken { tenant, connection, id, .. }) =
        (control.inner.db.reader(), &presented);
    let candidate = scim_tokens::candidate(db, tenant, connection, id, now).await?;
    let is_one = presented.is(candidate.as_ref().map(|(_, hash)| hash.as_slice()));
    let Some((token, _)) = candidate.filter(|_| is_one && here) else { return Ok(None) };
    if token.used_at.is_none_or(|used| used + NOTED_EVERY <= now) {
        let write = control.inner.db.single().await;
        scim_tokens::note_use(write.db(), &token, now).await?;
    }
    Ok(Some(token))
}

/// How often a token's last use is written down.
const NOTED_EVERY: Duration = Duration::from_secs(3600);
