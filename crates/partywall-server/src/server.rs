//! The server: the control plane's endpoints on a listener, and its chores beside them.

use std::{future::Future, io, time::Duration};

use axum::Router;
use tokio::net::TcpListener;

use crate::{bundle, connections, control::ControlPlane, http::guard, provider};

/// Serves a [`ControlPlane`] over HTTP.
pub struct Server {
    control: ControlPlane,
}

impl Server {
    /// Serves `control`.
    pub fn new(control: ControlPlane) -> Self {
        Self { control }
    }

    /// All endpoints, for one listener.
    pub fn router(&self) -> Router {
        self.provider_router().merge(self.bundle_router())
    }

    /// The identity provider's endpoints: for everybody.
    pub fn provider_router(&self) -> Router {
        let routes = provider::routes(&self.control).with_state(self.control.clone());
        guard(routes, Duration::from_secs(10))
    }

    /// The bundle's endpoints: for enforcement points. A bundle lists every tenant by name, so
    /// where the provider faces the internet this belongs on a listener that does not.
    pub fn bundle_router(&self) -> Router {
        let routes = bundle::routes().with_state(self.control.clone());
        guard(routes, Duration::from_secs(60))
    }

    /// Serves all endpoints on `listener` until `shutdown` completes, then gives requests under
    /// way ten seconds to finish. Meanwhile keys are rotated, bundles kept fresh, and changes by
    /// other servers on the same database noticed.
    ///
    /// # Errors
    ///
    /// When the listener has refused to accept for a minute.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let stopping = self.control.inner.stopping.clone();
        let chores = tokio::spawn(do_chores(self.control.clone()));
        // Long polls answer at once instead of being waited for.
        let served = connections::serve(listener, self.router(), shutdown, move || {
            stopping.send_replace(true);
        });
        let served = served.await;
        chores.abort();
        served
    }
}

/// A chore that fails is tried again; what was in force stays so.
async fn do_chores(control: ControlPlane) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_upkeep = 0;
    loop {
        second.tick().await;
        if let Err(error) = control.refresh().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "changes of other servers cannot be read");
        }
        if since_upkeep == 0 {
            if let Err(error) = control.rotate_keys().await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the signing keys cannot be turned");
            }
            if let Err(error) = control.keep_bundle_fresh().await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the bundle cannot be made anew");
            }
        }
        since_upkeep = (since_upkeep + 1) % UPKEEP_EVERY;
    }
}

/// Seconds between looks at keys and bundles.
const UPKEEP_EVERY: u32 = 10;
