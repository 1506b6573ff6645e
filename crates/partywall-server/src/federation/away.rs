//! Sending somebody to their tenant's provider, and knowing them when they come back. Who is away
//! is kept in the tenant's drawer under 256 random bits, which the provider gives back as `state`
//! or `RelayState`; it is good once, for the connection it was begun at and the browser it was
//! begun in (O-21, F-10).

use std::time::Duration;

use partywall::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FederationError, oidc, saml};
use crate::{
    control::{Connection, ConnectionId, ControlPlane, Email, IdentityProvider},
    login::binding::Binding,
    storage::single_use::{self, Drawer, Kind},
};

/// What somebody is away for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Errand {
    /// To sign in; the sign-in's id.
    SignIn { sign_in: String },
    /// To have what they come back as linked to the user they are here (F-02); the id of the
    /// sign-in that says which.
    Link { sign_in: String },
    /// To see what would happen. Nobody is signed in (setup portal).
    Trial { trial: String },
}

/// Somebody who is away.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Away {
    pub(crate) connection: ConnectionId,
    pub(crate) errand: Errand,
    /// The issuer they were at, and go on at.
    pub(crate) issuer: String,
    pub(crate) browser: Binding,
    pub(crate) left_at: Timestamp,
    pub(crate) begun: Begun,
}

/// What the answer is held against.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Begun {
    /// The request's id.
    Saml {
        request: String,
    },
    Oidc(oidc::Pending),
}

/// How the browser gets to the provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Departure {
    Redirect(String),
    /// A form that the page sends.
    Post {
        action: String,
        fields: Vec<(String, String)>,
    },
}

/// What the provider is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'w> {
    /// Whom to fill in.
    pub(crate) login_hint: Option<&'w Email>,
    /// Whether they must show who they are once more.
    pub(crate) again: bool,
}

/// Who sets out.
pub(crate) struct Leaving<'l> {
    pub(crate) issuer: &'l str,
    pub(crate) browser: Binding,
    pub(crate) errand: Errand,
}

/// Readies somebody's way to their tenant's provider.
///
/// # Errors
///
/// When the provider cannot be reached, or is not set up as it has to be.
pub(crate) async fn set_out(
    control: &ControlPlane,
    connection: &Connection,
    leaving: Leaving<'_>,
    wish: Wish<'_>,
) -> Result<Departure, FederationError> {
    let state = single_use::draw(&control.inner.random)?;
    let (departure, begun) = match &connection.provider {
        IdentityProvider::Saml(provider) => {
            saml::begin(control, connection, provider, state.expose(), wish)?
        }
        IdentityProvider::Oidc(provider) => {
            let (url, pending) =
                oidc::begin(control, connection, provider, state.expose(), wish).await?;
            (Departure::Redirect(url), Begun::Oidc(pending))
        }
    };
    let Leaving { issuer, browser, errand } = leaving;
    let now = control.now();
    let away = Away {
        connection: connection.id.clone(),
        errand,
        issuer: issuer.to_owned(),
        browser,
        left_at: now,
        begun,
    };
    let drawer = Drawer::of(Kind::Away, &connection.tenant);
    let write = control.inner.db.single().await;
    single_use::put(write.db(), drawer, state.expose(), &away, now, LASTS).await?;
    Ok(departure)
}

/// Who comes back with `state`, if they left through this very connection. Anybody else is as
/// unknown as nobody (I-16).
pub(crate) async fn come_back(
    control: &ControlPlane,
    connection: &Connection,
    state: &str,
) -> Result<Option<Away>, FederationError> {
    let drawer = Drawer::of(Kind::Away, &connection.tenant);
    let write = control.inner.db.single().await;
    let redeemed = single_use::redeem::<Away>(write.db(), drawer, state, control.now()).await?;
    Ok(redeemed.first().filter(|away| away.connection == connection.id))
}

/// How long somebody may be away.
const LASTS: Duration = Duration::from_secs(30 * 60);
