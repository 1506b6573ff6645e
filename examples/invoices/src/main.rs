//! The sample on PostgreSQL, as it would run in production: everything it must know comes from the
//! environment, and [`partywall up`](https://docs.rs/partywall) runs it without any of that.

use std::{error::Error, sync::Arc};

use invoices::{App, Reminders, router};
use partywall::{
    Partywall, SystemClock,
    bundle::HttpBundleSource,
    token::{Algorithm, SigningKey},
};
use partywall_postgres::{DerivedLogins, PoolTarget, Postgres, Roles, TicketKey};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The enforcement point: who may come in. It starts from its last bundle when the control
    // plane is down, and keeps up with it when it is not.
    let wall = Partywall::builder()
        .audience(env("INVOICES_AUDIENCE")?)
        .trust(env("PARTYWALL_BUNDLE_KEY")?.parse()?)
        .state_dir(env("INVOICES_STATE_DIR")?)
        .build()?;
    let source = HttpBundleSource::new(env("PARTYWALL_BUNDLE_URL")?)?;
    let upkeep = wall.clone();
    tokio::spawn(async move { upkeep.run(&source).await });

    // The store: what a tenant reaches. `connect` refuses a database where the wall does not stand.
    let server: PgConnectOptions = env("DATABASE_URL")?.parse()?;
    let database = server.get_database().unwrap_or("invoices").to_owned();
    let key = TicketKey::from_bytes(&std::fs::read(env("TICKET_KEY_FILE")?)?)?;
    let logins = DerivedLogins::new("invoices", &std::fs::read(env("LOGIN_SECRET_FILE")?)?);
    let slots = logins.for_slots(&Roles::default(), 8);
    let pool = PoolTarget::new(server, database, key).slots(slots);
    let store = Postgres::builder("main".parse()?).pool("shared".parse()?, pool).connect().await?;

    let clock = Arc::new(SystemClock::default());
    let (reminders, worker) = Reminders::open(SigningKey::generate(Algorithm::EdDsa)?, clock)?;
    tokio::spawn(worker.run(wall.clone(), store.clone()));

    let listener = TcpListener::bind(env("INVOICES_LISTEN")?).await?;
    axum::serve(listener, router(&wall, App::new(store, reminders))).await?;
    Ok(())
}

fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("set {name}: examples/invoices/README.md says to what"))
}
