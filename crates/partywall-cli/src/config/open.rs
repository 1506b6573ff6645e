//! Stores as the configuration describes them, with their secrets read: put together, and not yet
//! connected.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use partywall::{StoreName, Target};
use partywall_postgres::{
    DerivedLogins, InvalidPackName, Login, Roles, TicketKey, TicketKeyLength,
};
use partywall_prove::stores::postgres::{Plan, Spot, TicketMode as Bound};
use partywall_server::{SecretError, SecretSource as _};
use partywall_sqlite::{Schema, SchemaError, Sqlite};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{
    SecretRef,
    stores::{PostgresPlace, PostgresTarget, SqliteTarget, TicketMode, Tls},
};

/// Why a store cannot be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("stores.{store}.targets.{target}: {source}")]
    Secret { store: StoreName, target: Target, source: SecretError },
    #[error("stores.{store}.targets.{target}: the password is not UTF-8")]
    NotUtf8 { store: StoreName, target: Target },
    #[error("stores.{store}.targets.{target}: {source}")]
    TicketKey { store: StoreName, target: Target, source: TicketKeyLength },
    #[error("stores.{store}.targets.{target}: {source}")]
    Prefix { store: StoreName, target: Target, source: InvalidPackName },
    #[error("stores.{store}.schema: {}: {source}", path.display())]
    Unreadable { store: StoreName, path: PathBuf, source: std::io::Error },
    #[error("stores.{store}.schema: {source}")]
    Schema { store: StoreName, source: SchemaError },
    #[error(
        "stores.{store}: an SQLite store is opened by the application's tables: add \
         `schema = [\"schema.sql\"]`, a file for each step"
    )]
    NoSchema { store: StoreName },
}

/// A PostgreSQL store, described to its builder.
pub(crate) fn postgres(
    store: &StoreName,
    targets: &BTreeMap<Target, PostgresTarget>,
) -> Result<Plan, OpenStoreError> {
    let mut spots = BTreeMap::new();
    for (target, described) in targets {
        spots.insert(target.clone(), spot(store, target, described)?);
    }
    Ok(Plan { name: store.clone(), targets: spots })
}

fn spot(
    store: &StoreName,
    target: &Target,
    described: &PostgresTarget,
) -> Result<Spot, OpenStoreError> {
    let (named, at) = (|| store.clone(), || target.clone());
    let read = |secret: &SecretRef| {
        let read = secret.read();
        read.map_err(|source| OpenStoreError::Secret { store: named(), target: at(), source })
    };
    let server = server(&described.address, described.tls);
    Ok(match &described.place {
        PostgresPlace::Pool(pool) => {
            let prefix = |source| OpenStoreError::Prefix { store: named(), target: at(), source };
            let roles = Roles::with_prefix(&pool.prefix).map_err(prefix)?;
            let logins = DerivedLogins::new(&*pool.prefix, read(&pool.logins)?.expose());
            let key = TicketKey::from_bytes(read(&pool.ticket_key)?.expose());
            let wrong = |source| OpenStoreError::TicketKey { store: named(), target: at(), source };
            Spot::Pool {
                server,
                database: pool.database.clone(),
                key: key.map_err(wrong)?,
                slots: logins.for_slots(&roles, pool.slots),
                mode: match pool.mode {
                    TicketMode::Direct => Bound::Direct,
                    TicketMode::Strict => Bound::Strict,
                    TicketMode::Pooler => Bound::Pooler,
                },
            }
        }
        PostgresPlace::Bridge(bridge) => Spot::Bridge {
            server,
            database: bridge.database.clone(),
            prefix: bridge.prefix.clone(),
            logins: Arc::new(DerivedLogins::new(&*bridge.prefix, read(&bridge.logins)?.expose())),
        },
        PostgresPlace::Silo(silo) => {
            let password = read(&silo.password)?;
            let text = std::str::from_utf8(password.expose())
                .map_err(|_| OpenStoreError::NotUtf8 { store: named(), target: at() })?;
            Spot::Silo {
                tenant: silo.tenant.clone(),
                server,
                database: silo.database.clone(),
                // A file ends in a line feed; a password does not.
                login: Login::new(&*silo.role, text.trim_end_matches(['\r', '\n'])),
            }
        }
    })
}

/// `host:port`, `[v6]:port` or a directory, checked when the configuration was read.
fn server(address: &str, tls: Tls) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass().ssl_mode(match tls {
        Tls::Disable => PgSslMode::Disable,
        Tls::VerifyCa => PgSslMode::VerifyCa,
        Tls::VerifyFull => PgSslMode::VerifyFull,
    });
    match address.rsplit_once(':') {
        Some((host, port)) if !address.starts_with('/') => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            options.host(host).port(port.parse().unwrap_or(5432))
        }
        _ => options.socket(address),
    }
}

/// An SQLite store, with its tables and its directories.
pub(crate) struct OpenedSqlite {
    pub(crate) store: Sqlite,
    pub(crate) schema: Schema,
    pub(crate) directories: BTreeMap<Target, PathBuf>,
}

/// An SQLite store, whose tables are made by the steps in these files.
pub(crate) fn sqlite(
    store: &StoreName,
    steps: &[PathBuf],
    targets: &BTreeMap<Target, SqliteTarget>,
) -> Result<OpenedSqlite, OpenStoreError> {
    let mut schema: Option<Schema> = None;
    for path in steps {
        let unreadable = |source| OpenStoreError::Unreadable {
            store: store.clone(),
            path: path.clone(),
            source,
        };
        let sql = fs::read_to_string(path).map_err(unreadable)?;
        let wrong = |source| OpenStoreError::Schema { store: store.clone(), source };
        schema = Some(match schema {
            None => Schema::new(sql).map_err(wrong)?,
            Some(before) => before.then(sql).map_err(wrong)?,
        });
    }
    let schema = schema.ok_or_else(|| OpenStoreError::NoSchema { store: store.clone() })?;
    let mut builder = Sqlite::builder(store.clone(), schema.clone());
    let mut directories = BTreeMap::new();
    for (target, described) in targets {
        builder = builder.target(target.clone(), &described.directory);
        directories.insert(target.clone(), described.directory.clone());
    }
    Ok(OpenedSqlite { store: builder.build(), schema, directories })
}
