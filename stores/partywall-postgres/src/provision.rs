//! Making the database's side of the wall, over an administrator's connection.
//!
//! None of this is needed at run time. The administrator is the owner of the database with
//! `CREATEROLE` (and `CREATEDB` for [`own_database`]), and need not be superuser. Every step may
//! be run again.

use partywall::TenantId;
use postgres_protocol::password::scram_sha_256;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions,
};

use crate::{
    login::Login,
    pack::{InitOptions, Roles, migration, quote_ident, quote_literal},
    ticket::TicketKey,
};

/// Runs the [`migration`] in the database `admin` is connected to.
///
/// # Errors
///
/// What the database says.
pub async fn install(admin: &mut PgConnection, options: &InitOptions) -> Result<(), sqlx::Error> {
    // One message is one transaction.
    run(admin, format!("{LOCK}; {}", migration(options))).await
}

/// Puts a ticket key in place under this number, or replaces the one that has it.
///
/// Two may be there during a rotation: put the new one under another number, restart the
/// applications with it, then [`drop_ticket_key`] the old.
///
/// # Errors
///
/// What the database says.
pub async fn put_ticket_key(
    admin: &mut PgConnection,
    roles: &Roles,
    number: i16,
    key: &TicketKey,
) -> Result<(), sqlx::Error> {
    let mut tx = admin.begin().await?;
    run(&mut tx, format!("SET LOCAL ROLE {}", quote_ident(&roles.owner()))).await?;
    // As a parameter, so that the text of the statement says nothing.
    sqlx::query("SELECT partywall.put_key($1, $2)")
        .persistent(false)
        .bind(number)
        .bind(key.bytes())
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Takes the ticket key of this number away: tickets made with it are refused from now on.
///
/// # Errors
///
/// What the database says.
pub async fn drop_ticket_key(
    admin: &mut PgConnection,
    roles: &Roles,
    number: i16,
) -> Result<(), sqlx::Error> {
    let mut tx = admin.begin().await?;
    run(&mut tx, format!("SET LOCAL ROLE {}", quote_ident(&roles.owner()))).await?;
    run(&mut tx, format!("SELECT partywall.drop_key({number}::int2)")).await?;
    tx.commit().await
}

/// Sets the passwords of roles that are there already, such as the slots of the pack.
///
/// # Errors
///
/// What the database says.
pub async fn set_passwords<'a>(
    admin: &mut PgConnection,
    logins: impl IntoIterator<Item = &'a Login>,
) -> Result<(), sqlx::Error> {
    for login in logins {
        run(admin, set_password(login)).await?;
    }
    Ok(())
}

/// Makes a database of one tenant's own and the login that can connect to it: for bridge by
/// database, and on a server of its own for silo.
///
/// `admin` says how the administrator connects; its database is where `CREATE DATABASE` is run.
/// Tables the administrator then creates in schema `public` are the tenant's to read and write.
///
/// # Errors
///
/// What the database says.
pub async fn own_database(
    admin: &PgConnectOptions,
    database: &str,
    tenant: &TenantId,
    login: &Login,
) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect_with(admin).await?;
    let (name, role) = (quote_ident(database), quote_ident(login.role()));
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut conn)
            .await?;
    if !there {
        // A new database is open to every login of the server, and who is in it stays.
        run(&mut conn, format!("CREATE DATABASE {name} ALLOW_CONNECTIONS false")).await?;
    }
    create_login(&mut conn, login).await?;
    run(&mut conn, format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await?;
    run(&mut conn, format!("GRANT CONNECT ON DATABASE {name} TO {role}")).await?;
    run(&mut conn, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await?;
    conn.close().await?;

    let mut conn = PgConnection::connect_with(&admin.clone().database(database)).await?;
    let own = include_str!("../sql/4_own.sql")
        .replace("{tenant_lit}", &quote_literal(tenant.as_str()))
        .replace("{role}", &role);
    run(&mut conn, own).await?;
    conn.close().await
}

/// Makes a schema of one tenant's own in the database `admin` is connected to, and the login
/// that can use it and no other: for bridge by schema.
///
/// The administrator creates tables in it; the tenant may read and write them.
///
/// # Errors
///
/// What the database says.
pub async fn own_schema(
    admin: &mut PgConnection,
    schema: &str,
    login: &Login,
) -> Result<(), sqlx::Error> {
    create_login(admin, login).await?;
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut *admin).await?;
    let (name, role) = (quote_ident(schema), quote_ident(login.role()));
    let database = quote_ident(&database);
    let dml = "SELECT, INSERT, UPDATE, DELETE";
    let sql = format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO {role}; \
         REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE SCHEMA IF NOT EXISTS {name}; \
         GRANT USAGE ON SCHEMA {name} TO {role}; GRANT {dml} ON ALL TABLES IN SCHEMA {name} TO {role}; \
         ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT {dml} ON TABLES TO {role}; \
         ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT USAGE ON SEQUENCES TO {role}"
    );
    run(admin, sql).await
}

/// The statement that sets a role's password. It carries the SCRAM verifier, from which no log
/// of the server's gives the password away.
pub(crate) fn set_password(login: &Login) -> String {
    let verifier = scram_sha_256(login.password().as_bytes());
    format!("ALTER ROLE {} PASSWORD {}", quote_ident(login.role()), quote_literal(&verifier))
}

async fn create_login(admin: &mut PgConnection, login: &Login) -> Result<(), sqlx::Error> {
    let (literal, name) = (quote_literal(login.role()), quote_ident(login.role()));
    let sql = format!(
        "{LOCK}; DO $partywall$ BEGIN \
           IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN \
             CREATE ROLE {name} LOGIN; \
           END IF; \
         END $partywall$; {}",
        set_password(login)
    );
    run(admin, sql).await
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop)
}

/// Two installations at once would trip over each other's rows in the catalogue.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7239204137)";
