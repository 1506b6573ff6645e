//! PostgreSQL targets: a server, as one model uses it.

use std::net::IpAddr;

use partywall::{DeploymentModel, TenantId};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::super::{Reading, SecretRef, document::Section};

/// One PostgreSQL server, as one model uses it.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresTarget {
    /// `host:port`, or the directory of its socket.
    pub(crate) address: String,
    /// How the server must prove who it is.
    pub(crate) tls: Tls,
    /// What the target is for.
    #[serde(flatten)]
    pub(crate) place: PostgresPlace,
}

/// How a server must prove who it is, in libpq's words for `sslmode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    /// Not at all, and in the clear: for a socket or this very machine.
    Disable,
    /// With a certificate of a known authority.
    VerifyCa,
    /// With a certificate of a known authority for the host's name.
    #[default]
    VerifyFull,
}

/// What a PostgreSQL target is for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PostgresPlace {
    /// Shared tables behind row policies.
    Pool(PostgresPool),
    /// A database or a schema per tenant.
    Bridge(PostgresBridge),
    /// The whole server for one tenant.
    Silo(PostgresSilo),
}

/// Shared tables behind row policies.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresPool {
    /// The database.
    pub(crate) database: String,
    /// What its roles' names begin with.
    pub(crate) prefix: String,
    /// How many logins, each for one connection at a time.
    pub(crate) slots: u16,
    /// The secret the logins' passwords are derived from.
    pub(crate) logins: SecretRef,
    /// The key tickets are made with.
    pub(crate) ticket_key: SecretRef,
    /// How a ticket is bound to its transaction.
    pub(crate) mode: TicketMode,
}

/// How a ticket is bound to its transaction.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TicketMode {
    /// To the connection and a short time: one trip.
    #[default]
    Direct,
    /// To exactly one transaction: one more trip.
    Strict,
    /// As strict, through a transaction pooler such as PgBouncer or RDS Proxy.
    Pooler,
}

/// A database per tenant, or a schema per tenant in one database.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresBridge {
    /// The one database, when each tenant has a schema in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
    /// What the names of the tenants' databases or schemas, and roles, begin with.
    pub(crate) prefix: String,
    /// The secret the logins' passwords are derived from.
    pub(crate) logins: SecretRef,
}

/// The whole server for one tenant.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresSilo {
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// The database.
    pub(crate) database: String,
    /// The role to log in as.
    pub(crate) role: String,
    /// Its password.
    pub(crate) password: SecretRef,
}

impl PostgresTarget {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        let address = read_address(&mut section);
        let tls = read_tls(&mut section, address.as_deref());
        let pool = section.section("pool", r#"pool = { database = "app", … }"#);
        let bridge = section.section("bridge", "bridge = { logins = … }");
        let silo = section.section("silo", r#"silo = { tenant = "…", … }"#);
        let place = match (pool, bridge, silo) {
            (Some(pool), None, None) => PostgresPool::read(pool, reading).map(PostgresPlace::Pool),
            (None, Some(bridge), None) => {
                PostgresBridge::read(bridge, reading).map(PostgresPlace::Bridge)
            }
            (None, None, Some(silo)) => PostgresSilo::read(silo, reading).map(PostgresPlace::Silo),
            (None, None, None) => {
                section.fault("a target for no model", "add `pool`, `bridge` or `silo`");
                None
            }
            _ => {
                let fix = "give each model a target of its own, at the same address if need be";
                section.fault("a target for more than one model", fix);
                None
            }
        };
        section.finish();
        Some(Self { address: address?, tls, place: place? })
    }

    pub(super) fn model(&self) -> DeploymentModel {
        match self.place {
            PostgresPlace::Pool(_) => DeploymentModel::Pool,
            PostgresPlace::Bridge(_) => DeploymentModel::Bridge,
            PostgresPlace::Silo(_) => DeploymentModel::Silo,
        }
    }
}

fn read_address(section: &mut Section<'_, '_>) -> Option<String> {
    const EXAMPLE: &str = r#"address = "db.internal:5432""#;
    let address = section.required::<String>("address", EXAMPLE)?;
    if !is_address(address.get_ref()) {
        let what = format!("{:?} is neither host:port nor a directory", address.get_ref());
        section.fault_at(&address.span(), "address", what, format!("write `{EXAMPLE}`"));
    }
    Some(address.into_inner())
}

/// TLS may be left out where nobody else is on the wire.
fn read_tls(section: &mut Section<'_, '_>, address: Option<&str>) -> Tls {
    let local = address.is_some_and(is_local);
    let Some(tls) = section.optional::<Tls>("tls", r#"tls = "verify-full""#) else {
        return if local { Tls::Disable } else { Tls::default() };
    };
    if *tls.get_ref() == Tls::Disable && !local {
        let what = "rows and tickets in the clear on a network";
        section.fault_at(&tls.span(), "tls", what, r#"write `tls = "verify-full"`"#);
    }
    tls.into_inner()
}

impl PostgresPool {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        let database = section.required::<String>("database", r#"database = "app""#);
        let prefix = read_prefix(&mut section);
        let slots = section.optional::<u16>("slots", "slots = 16");
        if let Some(slots) = &slots
            && !(1..=1000).contains(slots.get_ref())
        {
            let what = format!("{} is not from 1 to 1000", slots.get_ref());
            section.fault_at(
                &slots.span(),
                "slots",
                what,
                "write as many as `partywall postgres init` made",
            );
        }
        let logins = reading.secret(&mut section, "logins");
        let ticket_key = reading.secret(&mut section, "ticket_key");
        let mode = section.optional::<TicketMode>("mode", r#"mode = "direct""#);
        section.finish();
        Some(Self {
            database: database?.into_inner(),
            prefix,
            slots: slots.map_or(16, Spanned::into_inner),
            logins: logins?,
            ticket_key: ticket_key?,
            mode: mode.map(Spanned::into_inner).unwrap_or_default(),
        })
    }
}

impl PostgresBridge {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        let database = section.optional::<String>("database", r#"database = "app""#);
        let prefix = read_prefix(&mut section);
        let logins = reading.secret(&mut section, "logins");
        section.finish();
        Some(Self { database: database.map(Spanned::into_inner), prefix, logins: logins? })
    }
}

impl PostgresSilo {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        let tenant = section.required::<TenantId>("tenant", r#"tenant = "acme-7f3k""#);
        let database = section.required::<String>("database", r#"database = "app""#);
        let role = section.required::<String>("role", r#"role = "app""#);
        let password = reading.secret(&mut section, "password");
        section.finish();
        Some(Self {
            tenant: tenant?.into_inner(),
            database: database?.into_inner(),
            role: role?.into_inner(),
            password: password?,
        })
    }
}

fn read_prefix(section: &mut Section<'_, '_>) -> String {
    const EXAMPLE: &str = r#"prefix = "partywall""#;
    let Some(prefix) = section.optional::<String>("prefix", EXAMPLE) else {
        return "partywall".to_owned();
    };
    if let Err(error) = partywall_postgres::Roles::with_prefix(prefix.get_ref()) {
        section.fault_at(&prefix.span(), "prefix", error, format!("write `{EXAMPLE}`"));
    }
    prefix.into_inner()
}

/// `host:port`, `[v6]:port` or an absolute directory.
fn is_address(address: &str) -> bool {
    let host_and_port = || {
        let (host, port) = address.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = !host.is_empty() && !host.contains([':', '/', '@', ' ']);
        Some((bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    address.starts_with('/') || host_and_port() == Some(true)
}

/// Whether `address` is a socket or on this very machine.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    address.starts_with('/') || host == "localhost" || loopback
}
