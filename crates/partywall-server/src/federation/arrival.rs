//! Somebody has come back from their tenant's provider, which vouches for them. A provider's form
//! brings no cookies of ours (`SameSite=Lax`), so what it said waits here until the browser has
//! come by itself and shown that it is the one that left (O-21).

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Complaint, FederationError, Upstream, away::Errand};
use crate::{
    control::{ConnectionId, ControlPlane},
    login::binding::Binding,
    secret::Secret,
    storage::{
        StorageError,
        single_use::{self, Drawer, Kind},
    },
};

/// Somebody who has come back.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Arrival {
    pub(crate) connection: ConnectionId,
    /// What they were away for; nothing, for somebody whom their provider sent unasked.
    pub(crate) errand: Option<Errand>,
    /// The browser they left in. Unasked, any may be it.
    pub(crate) browser: Option<Binding>,
    pub(crate) left_at: Option<Timestamp>,
    pub(crate) said: Said,
    /// For a trial: what was sent, as text.
    #[serde(default)]
    pub(crate) sent: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Said {
    Upstream(Box<Upstream>),
    /// Only for a trial: everybody else is told at once that it did not work.
    Refused(Complaint),
}

impl Arrival {
    /// Keeps it; returns the name it is called for by: `{tenant}.{256 bits}`.
    pub(super) async fn keep(
        &self,
        control: &ControlPlane,
        tenant: &TenantId,
    ) -> Result<Secret<String>, FederationError> {
        let secret = single_use::draw(&control.inner.random)?;
        let drawer = Drawer::of(Kind::Arrival, tenant);
        let write = control.inner.db.single().await;
        let (db, now) = (write.db(), control.now());
        single_use::put(db, drawer, secret.expose(), self, now, WAITS).await?;
        Ok(Secret::new(format!("{tenant}.{}", secret.expose())))
    }

    /// Takes it, once.
    pub(crate) async fn take(
        control: &ControlPlane,
        name: &str,
    ) -> Result<Option<(TenantId, Self)>, StorageError> {
        let Some((tenant, secret)) = name.split_once('.') else { return Ok(None) };
        let Ok(tenant) = tenant.parse::<TenantId>() else { return Ok(None) };
        let drawer = Drawer::of(Kind::Arrival, &tenant);
        let write = control.inner.db.single().await;
        let redeemed =
            single_use::redeem::<Self>(write.db(), drawer, secret, control.now()).await?;
        Ok(redeemed.first().map(|arrival| (tenant, arrival)))
    }
}

/// A redirect away.
const WAITS: Duration = Duration::from_secs(120);
