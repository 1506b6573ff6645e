//! A small SaaS that sends invoices. Read [`handlers`]: that is the whole idea.
//!
//! There is no tenant id anywhere in its SQL. A handler that names a `Scoped<…>` store in its
//! arguments gets a transaction that reaches the caller's tenant and nobody else's; forgetting a
//! `WHERE` shows the caller more of its own rows, and never anyone's.
//!
//! It runs on PostgreSQL and on the embedded store alike: [`Ledger`] is the one place that knows
//! which.

mod error;
mod handlers;
mod jobs;
mod ledger;
mod postgres;
mod sqlite;

use axum::{
    Router,
    extract::FromRef,
    routing::{get, post},
};
use partywall::Partywall;

pub use error::AppError;
pub use jobs::{ReminderWorker, Reminders};
pub use ledger::{Invoice, Ledger, NewInvoice};

/// The tables, for each store the sample runs on.
pub mod schema {
    /// In a database of the tenant's own (bridge, silo).
    pub const POSTGRES_OWN: &str = include_str!("../sql/postgres_own.sql");
    /// In the database tenants share (pool); `partywall.protect` comes after it.
    pub const POSTGRES_SHARED: &str = include_str!("../sql/postgres_shared.sql");

    pub use crate::sqlite::schema as sqlite;
}

/// What the handlers share.
#[derive(Clone)]
pub struct App<S> {
    store: S,
    reminders: Reminders,
}

impl<S> App<S> {
    /// Invoices kept in `store`; reminders are put into the queue `reminders`.
    pub fn new(store: S, reminders: Reminders) -> Self {
        Self { store, reminders }
    }
}

// A handler asks for `Scoped<S>`, and axum looks here for the `S` to open.
macro_rules! open_from_app {
    ($($store:ty),+) => {$(
        impl FromRef<App<$store>> for $store {
            fn from_ref(app: &App<$store>) -> Self {
                app.store.clone()
            }
        }
    )+};
}
open_from_app!(partywall_postgres::Postgres, partywall_sqlite::Sqlite);

impl<S> FromRef<App<S>> for Reminders {
    fn from_ref(app: &App<S>) -> Self {
        app.reminders.clone()
    }
}

/// The routes: every one of them behind the wall, except the health check.
pub fn router<S>(wall: &Partywall, app: App<S>) -> Router
where
    S: Ledger + FromRef<App<S>>,
{
    Router::new()
        .route("/invoices", get(handlers::list::<S>).post(handlers::create::<S>))
        .route("/invoices/{id}", get(handlers::read::<S>))
        .route("/invoices/{id}/payment", post(handlers::pay::<S>))
        .route("/invoices/{id}/reminder", post(handlers::remind::<S>))
        .layer(wall.layer())
        .route("/healthz", get(async || "ok"))
        .with_state(app)
}
