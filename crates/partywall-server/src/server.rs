//! The server: the control plane's endpoints on a listener, and its chores beside them.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::{
    admin, bundle,
    connections::{self, Service},
    control::ControlPlane,
    federation, health,
    http::{guard, guard_with},
    login, portal,
    provider::{self, logout::Telling},
    scim, storage,
};

/// Serves a [`ControlPlane`] over HTTP.
pub struct Server {
    control: ControlPlane,
    metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

impl Server {
    /// Serves `control`.
    pub fn new(control: ControlPlane) -> Self {
        Self { control, metrics: None }
    }

    /// Answers `GET /metrics` with what `render` says, in Prometheus' text format, where the
    /// bundle has a listener of its own ([`serve_apart`](Self::serve_apart)) and nowhere else.
    #[must_use]
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// All endpoints but the metrics, for one listener.
    pub fn router(&self) -> Router {
        self.provider_router()
            .merge(self.admin_router())
            .merge(self.scim_router())
            .merge(self.bundle_router())
            .merge(self.health_router())
    }

    /// What load balancers ask.
    fn health_router(&self) -> Router {
        let routes = health::routes().with_state(self.control.clone());
        guard(routes, &self.control, Duration::from_secs(10))
    }

    /// What those ask who watch over the server.
    fn metrics_router(&self) -> Router {
        let Some(render) = self.metrics.clone() else { return Router::new() };
        let answer = move || async move {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()).into_response()
        };
        let routes = Router::new().route("/metrics", get(answer));
        guard(routes, &self.control, Duration::from_secs(10))
    }

    /// The admin API's endpoints: for operators and for tenants' administrators, each of whom
    /// shows who they are.
    pub fn admin_router(&self) -> Router {
        let routes = admin::routes(&self.control).with_state(self.control.clone());
        guard(routes, &self.control, Duration::from_secs(10))
    }

    /// The identity provider's endpoints: for everybody.
    pub fn provider_router(&self) -> Router {
        let routes = provider::routes(&self.control)
            .merge(login::routes(&self.control))
            .with_state(self.control.clone());
        let federation = federation::routes(&self.control).with_state(self.control.clone());
        // An assertion, in base64 and escaped, is larger than anything of ours.
        let federation = guard_with(federation, &self.control, Duration::from_secs(10), 768 * 1024);
        let portal = portal::routes(&self.control).with_state(self.control.clone());
        // An identity provider's metadata is, too.
        let portal = guard_with(portal, &self.control, Duration::from_secs(10), portal::MAX_BODY);
        guard(routes, &self.control, Duration::from_secs(10)).merge(federation).merge(portal)
    }

    /// The SCIM endpoints: for tenants' own identity providers, each of which shows a token of its
    /// connection.
    pub fn scim_router(&self) -> Router {
        let routes = scim::routes(&self.control).with_state(self.control.clone());
        guard_with(routes, &self.control, Duration::from_secs(30), scim::MAX_BODY)
    }

    /// The bundle's endpoints: for enforcement points. A bundle lists every tenant by name, so
    /// where the provider faces the internet this belongs on a listener that does not.
    pub fn bundle_router(&self) -> Router {
        let routes = bundle::routes().with_state(self.control.clone());
        guard(routes, &self.control, Duration::from_secs(60))
    }

    /// Serves all endpoints on `listener` until `shutdown` completes, then gives requests under
    /// way ten seconds to finish. Meanwhile keys are rotated, bundles kept fresh, and changes by
    /// other servers on the same database noticed.
    ///
    /// There are no more connections at once than the process may open files, less some for
    /// itself.
    ///
    /// # Errors
    ///
    /// When the listener is broken. That there are no files left, for one, is waited for.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = self.router();
        let all = Service { listener, router, connections: connections::at_most() };
        let stopping = self.control.inner.stopping.clone();
        let chores = tokio::spawn(do_chores(self.control));
        // Long polls answer at once instead of being waited for.
        let served = connections::serve(all, shutdown, move || {
            stopping.send_replace(true);
        });
        let served = served.await;
        chores.abort();
        served
    }

    /// As [`serve`](Self::serve), with the bundle's endpoints, and the metrics, on
    /// `bundle_listener` and nowhere else: a bundle lists every tenant by name. Half of the connections are for either, so that
    /// no flood on one keeps anybody from the other.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve), of either listener.
    pub async fn serve_apart(
        self,
        listener: TcpListener,
        bundle_listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let connections = (connections::at_most() / 2).max(1);
        let public = self
            .provider_router()
            .merge(self.admin_router())
            .merge(self.scim_router())
            .merge(self.health_router());
        let provider = Service { listener, router: public, connections };
        let inside = self.bundle_router().merge(self.metrics_router()).merge(self.health_router());
        let bundle = Service { listener: bundle_listener, router: inside, connections };
        let stopping = self.control.inner.stopping.clone();
        let stopped = || {
            let mut stopping = stopping.subscribe();
            async move {
                // The sender lives in the control plane, which the routers have.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            }
        };
        let chores = tokio::spawn(do_chores(self.control.clone()));
        let (provider_stopped, bundle_stopped) = (stopped(), stopped());
        let asked = tokio::spawn(async move {
            shutdown.await;
            stopping.send_replace(true);
        });
        let served = tokio::try_join!(
            connections::serve(provider, provider_stopped, || {}),
            connections::serve(bundle, bundle_stopped, || {}),
        );
        asked.abort();
        chores.abort();
        served.map(|((), ())| ())
    }
}

/// A chore that fails is tried again; what was in force stays so. Deliveries wait for others'
/// servers and must not let anything else wait.
async fn do_chores(control: ControlPlane) {
    tokio::join!(
        keep_up(control.clone()),
        deliver(control.clone()),
        look_at_domains(control.clone()),
        warn_of_expiry(control.clone()),
        tell_logouts(control),
    );
}

async fn deliver(control: ControlPlane) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        if let Err(error) = control.send_due_mail().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "mail that is due cannot be sent");
        }
    }
}

async fn warn_of_expiry(control: ControlPlane) {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    hour.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        hour.tick().await;
        if let Err(error) = control.warn_of_expiry().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "certificates that run out cannot be looked for");
        }
    }
}

async fn look_at_domains(control: ControlPlane) {
    let mut look = tokio::time::interval(Duration::from_secs(10));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Err(error) = control.look_at_due_domains().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "domains that are due cannot be looked at");
        }
    }
}

async fn tell_logouts(control: ControlPlane) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut telling = Telling::default();
    loop {
        second.tick().await;
        if let Err(error) = telling.begin(&control).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "logouts that are due cannot be told");
        }
    }
}

async fn keep_up(control: ControlPlane) {
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
            if let Err(error) = storage::sweep::sweep(&control.inner.db, control.now()).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "what has run out cannot be swept away");
            }
        }
        since_upkeep = (since_upkeep + 1) % UPKEEP_EVERY;
    }
}

/// Seconds between looks at keys, bundles and what has run out.
const UPKEEP_EVERY: u32 = 10;
