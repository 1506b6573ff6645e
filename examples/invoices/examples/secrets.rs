//! Puts the secrets in place that the migration leaves out: the slots' passwords, as SCRAM
//! verifiers, and the ticket key, as a bound parameter. May be run again, and after new slots must.

use std::error::Error;

use partywall_postgres::{DerivedLogins, Roles, TicketKey, provision};
use sqlx::{Connection, PgConnection};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (roles, slots) = (Roles::default(), 8);
    let key = TicketKey::from_bytes(&std::fs::read(env("TICKET_KEY_FILE")?)?)?;
    let logins = DerivedLogins::new("invoices", &std::fs::read(env("LOGIN_SECRET_FILE")?)?);

    let mut admin = PgConnection::connect(&env("ADMIN_URL")?).await?;
    provision::set_passwords(&mut admin, &logins.for_slots(&roles, slots)).await?;
    provision::put_ticket_key(&mut admin, &roles, 1, &key).await?;
    println!("{slots} slots can log in, and the wall has its key");
    Ok(())
}

fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("set {name}: examples/invoices/README.md says to what"))
}
