//! Single logout with a tenant's SAML provider (saml-profiles 4.4): ended there, a session ends
//! here; ended here, its provider is told, and the browser comes back. Nobody is signed out by a
//! message that the connection's provider did not sign for us, now, for the first time (S-14).

use std::time::Duration;

use axum::response::Response;
use partywall_saml::{
    ExpectedLogout, LogoutRequest, LogoutResponse, LogoutStatus, NameId, Received,
    VerifiedLogoutRequest,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{FederationError, UpstreamSession, address::Addresses, away::Departure, saml};
use crate::{
    control::{
        Connection, ConnectionId, ConnectionStatus, ControlPlane, IdentityProvider, SamlProvider,
        THE_SERVER,
    },
    federation::secrets::Secrets,
    login::{SIGNED_OUT, page},
    provider::At,
    random,
    storage::{
        AuditEvent, connections,
        security_events::{self, SecurityEvent},
        sessions::{self, TenantSession},
        single_use::{self, Drawer, Kind},
    },
};

/// A logout message, and what came with it.
pub(super) struct Came<'c> {
    pub(super) message: Received<'c>,
    pub(super) relay_state: Option<&'c str>,
}

/// Somebody who was sent to their provider to be signed out there, too.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Leaving {
    connection: ConnectionId,
    request: String,
    /// Where they go on: an address of ours, or one an application has registered (I-26).
    back: String,
}

/// The provider says that somebody has signed out there.
pub(super) async fn asked(
    control: &ControlPlane,
    connection: &Connection,
    provider: &SamlProvider,
    came: &Came<'_>,
) -> Result<Response, FederationError> {
    let now = control.now();
    let addresses = Addresses::of(control, connection);
    let keys = Secrets::open(&control.inner.config.sealing_key, connection)?;
    if connection.status != ConnectionStatus::Active {
        return Err(FederationError::Settings("it ends nothing".to_owned()));
    }
    let verifier = saml::verifier(control, connection, provider, &keys)?;
    let expected = ExpectedLogout { slo_url: &addresses.slo(), now: saml::time(now) };
    let request = verifier.verify_logout_request(&came.message, &expected).map_err(Box::new)?;
    let until = request.usable_until().duration_since(saml::time(now)).unwrap_or_default();
    let seen = format!("{} logout {}", connection.id, request.id());
    let drawer = Drawer::of(Kind::Assertion, &connection.tenant);
    let write = control.inner.db.single().await;
    let lasts = until + Duration::from_secs(60);
    if !single_use::put(write.db(), drawer, &seen, &(), now, lasts).await? {
        return Err(FederationError::Replayed { id: request.id().to_owned() });
    }
    drop(write);
    end(control, connection, &request).await?;
    // saml-core 3.7.3.2: that there was no session any more is no failure.
    let destination = provider.slo_redirect.as_deref().or(provider.slo_post.as_deref());
    // Ended it has; the provider has registered no address to hear of it at.
    let Some(destination) = destination else {
        let done = format!("{}{SIGNED_OUT}", At::shared(control).issuer());
        return Ok(page::see_other(&done, &[]));
    };
    let response = LogoutResponse {
        id: &format!("r{}", random::opaque_id(&control.inner.random)?),
        issue_instant: saml::time(now),
        destination,
        issuer: &addresses.metadata(),
        in_response_to: request.id(),
        status: LogoutStatus::Success,
    };
    let signer = keys.signer()?;
    let departure = if provider.slo_redirect.is_some() {
        Departure::Redirect(response.redirect(came.relay_state, &signer)?)
    } else {
        let state = came.relay_state.map(|state| ("RelayState".to_owned(), state.to_owned()));
        let message = ("SAMLResponse".to_owned(), response.post(&signer)?);
        Departure::Post {
            action: destination.to_owned(),
            fields: std::iter::once(message).chain(state).collect(),
        }
    };
    Ok(page::on_to(control, &At::shared(control), &connection.name, &departure, false))
}

/// Ends the sessions a request is about, with all that began in them, in one change.
async fn end(
    control: &ControlPlane,
    connection: &Connection,
    request: &VerifiedLogoutRequest,
) -> Result<(), FederationError> {
    let (tenant, now) = (&connection.tenant, control.now());
    let about = |upstream: &UpstreamSession| {
        name_in(upstream).is_some_and(|(name, index)| request.is_about(&name, index.as_deref()))
    };
    // However many there are to be looked through: no change of others waits for it.
    let mut live =
        sessions::live_through(control.inner.db.reader(), tenant, &connection.id, now).await?;
    live.retain(|(_, upstream)| about(upstream));
    if live.is_empty() {
        return Ok(());
    }
    let change = control.inner.db.change(now).await?;
    let mut ended = Vec::new();
    for (session, _) in live {
        if control.end_session(change.rows(), tenant, &session.sid, now).await? {
            ended.push(session);
        }
    }
    for session in &ended {
        let event = SecurityEvent {
            tenant: Some(tenant),
            event: "session.single_logout",
            outcome: "success",
            subject: Some(session.user.as_str()),
            client: None,
            detail: json!({ "connection": connection.id, "sid": session.sid }),
        };
        security_events::record(change.rows(), &event, now).await?;
    }
    if ended.is_empty() {
        return Ok(());
    }
    let sids: Vec<&str> = ended.iter().map(|session| session.sid.as_str()).collect();
    let event = AuditEvent {
        actor: &THE_SERVER,
        tenant: Some(tenant),
        action: "session.single_logout",
        detail: json!({ "connection": connection.id, "sids": sids }),
    };
    control.commit(change, event).await?;
    Ok(())
}

/// The name and the index by which the provider ends a session.
fn name_in(upstream: &UpstreamSession) -> Option<(NameId, Option<String>)> {
    let UpstreamSession::Saml { name_id, format, name_qualifier, sp_name_qualifier, session_index } =
        upstream
    else {
        return None;
    };
    let mut name = NameId::new(name_id.clone());
    name.format.clone_from(format);
    name.name_qualifier.clone_from(name_qualifier);
    name.sp_name_qualifier.clone_from(sp_name_qualifier);
    Some((name, session_index.clone()))
}

/// The way to the provider of a session that ends here, so that it ends there, too; from there the
/// browser goes on to `back`. Nothing, where the session has no such provider: whatever becomes of
/// it there, it has ended here.
pub(crate) async fn onward(
    control: &ControlPlane,
    ended: &TenantSession,
    back: &str,
) -> Result<Option<(String, Departure)>, FederationError> {
    let Some(id) = ended.proof.connection.as_deref().and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    let (db, now) = (control.inner.db.reader(), control.now());
    let Some(connection) = connections::find(db, &ended.tenant, &id).await? else {
        return Ok(None);
    };
    let IdentityProvider::Saml(provider) = &connection.provider else { return Ok(None) };
    let upstream = sessions::upstream_of(db, &ended.tenant, &ended.sid).await?;
    let destination = provider.slo_redirect.as_deref().or(provider.slo_post.as_deref());
    let (Some(destination), Some((name, index))) =
        (destination, upstream.as_ref().and_then(name_in))
    else {
        return Ok(None);
    };
    let addresses = Addresses::of(control, &connection);
    let keys = Secrets::open(&control.inner.config.sealing_key, &connection)?;
    let request = LogoutRequest {
        id: &format!("r{}", random::opaque_id(&control.inner.random)?),
        issue_instant: saml::time(now),
        destination,
        issuer: &addresses.metadata(),
        name_id: &name,
        session_index: index.as_deref(),
    };
    let state = single_use::draw(&control.inner.random)?;
    let leaving = Leaving {
        connection: connection.id.clone(),
        request: request.id.to_owned(),
        back: back.to_owned(),
    };
    let drawer = Drawer::of(Kind::Logout, &ended.tenant);
    let write = control.inner.db.single().await;
    let lasts = Duration::from_secs(10 * 60);
    single_use::put(write.db(), drawer, state.expose(), &leaving, now, lasts).await?;
    drop(write);
    let signer = keys.signer()?;
    let by = if provider.slo_redirect.is_some() {
        Departure::Redirect(request.redirect(Some(state.expose()), &signer)?)
    } else {
        Departure::Post {
            action: destination.to_owned(),
            fields: vec![
                ("SAMLRequest".to_owned(), request.post(&signer)?),
                ("RelayState".to_owned(), state.expose().to_owned()),
            ],
        }
    };
    Ok(Some((connection.name, by)))
}

/// The provider answers: the browser goes on to where it was going.
pub(super) async fn answered(
    control: &ControlPlane,
    connection: &Connection,
    provider: &SamlProvider,
    came: &Came<'_>,
) -> Result<Response, FederationError> {
    let now = control.now();
    let state = came.relay_state.ok_or(FederationError::NotAway)?;
    let drawer = Drawer::of(Kind::Logout, &connection.tenant);
    let write = control.inner.db.single().await;
    let redeemed = single_use::redeem::<Leaving>(write.db(), drawer, state, now).await?;
    drop(write);
    let leaving = redeemed
        .first()
        .filter(|leaving| leaving.connection == connection.id)
        .ok_or(FederationError::NotAway)?;
    let keys = Secrets::open(&control.inner.config.sealing_key, connection)?;
    let verifier = saml::verifier(control, connection, provider, &keys)?;
    let slo_url = Addresses::of(control, connection).slo();
    let expected = ExpectedLogout { slo_url: &slo_url, now: saml::time(now) };
    let verified = verifier.verify_logout_response(&came.message, &expected, &leaving.request);
    let response = verified.map_err(Box::new)?;
    if !response.is_complete() {
        tracing::warn!(
            tenant.id = %connection.tenant, connection.id = %connection.id,
            status = response.status(), "the provider has not ended all of its session"
        );
    }
    Ok(page::see_other(&leaving.back, &[]))
}
