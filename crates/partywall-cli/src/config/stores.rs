//! `[stores.<store>]`: where data can live, as named targets.

use std::{collections::BTreeMap, path::PathBuf};

use partywall::{DeploymentModel, StoreName, Target, TenantId};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Reading, SecretRef, document::Section};

/// The stores, by name.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Stores(pub(crate) BTreeMap<StoreName, Store>);

/// One store: its driver and its targets.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", content = "targets", rename_all = "snake_case")]
pub(crate) enum Store {
    /// PostgreSQL servers.
    Postgres(BTreeMap<Target, PostgresTarget>),
    /// Directories of SQLite files.
    Sqlite(BTreeMap<Target, SqliteTarget>),
}

/// One PostgreSQL server, and for each model it can do what that takes.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresTarget {
    /// `host:port`, or the directory of its socket.
    pub(crate) address: String,
    /// Shared tables behind row policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PostgresPool>,
    /// A database per tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<PostgresBridge>,
    /// The whole server for one tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) silo: Option<PostgresSilo>,
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
    /// To the transaction itself: one more trip, and any pooler between.
    Strict,
}

/// A database per tenant.
#[derive(Debug, Serialize)]
pub(crate) struct PostgresBridge {
    /// What the tenants' databases and roles begin with.
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

/// A directory of SQLite files.
#[derive(Debug, Serialize)]
pub(crate) struct SqliteTarget {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// What it is used for.
    pub(crate) models: Vec<DeploymentModel>,
}

const KIND: &str = r#"kind = "postgres""#;
const TARGET: &str = "[stores.main.targets.shared]";
const EVERY_MODEL: [DeploymentModel; 3] =
    [DeploymentModel::Pool, DeploymentModel::Bridge, DeploymentModel::Silo];

impl Stores {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let mut stores = BTreeMap::new();
        for (name, store) in section.named_sections("[stores.main]") {
            let (store, targets) = Store::read(store, reading);
            reading.targets.insert(name.get_ref().clone(), targets);
            match (name.get_ref().parse::<StoreName>(), store) {
                (Ok(name), Some(store)) => drop(stores.insert(name, store)),
                (Ok(_), None) => {}
                (Err(error), _) => {
                    section.fault_at(&name.span(), name.get_ref(), error, "rename it");
                }
            }
        }
        Self(stores)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Postgres,
    Sqlite,
}

/// The models of each target that was named, whether or not it could be read.
type Models = BTreeMap<String, Vec<DeploymentModel>>;

impl Store {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> (Option<Self>, Models) {
        let kind = section.required::<Kind>("kind", KIND).map(Spanned::into_inner);
        let targets = section.section("targets", TARGET);
        if targets.is_none() {
            let fix = format!("add `[{}.shared]`", section.path_of("targets"));
            section.fault("a store without targets", fix);
        }
        let mut models = Models::new();
        let targets = targets.map(|mut targets| (targets.named_sections(TARGET), targets));
        section.finish();
        let Some((named, section)) = targets else { return (None, models) };
        let mut postgres = BTreeMap::new();
        let mut sqlite = BTreeMap::new();
        for (name, target) in named {
            let written = name.get_ref().clone();
            let parsed = name.get_ref().parse::<Target>();
            if let Err(error) = &parsed {
                section.fault_at(&name.span(), &written, error, "rename it");
            }
            let can = match kind {
                Some(Kind::Postgres) => PostgresTarget::read(target, reading).map(|read| {
                    let can = read.models();
                    parsed.ok().and_then(|name| postgres.insert(name, read));
                    can
                }),
                Some(Kind::Sqlite) => SqliteTarget::read(target, reading).map(|read| {
                    let can = read.models.clone();
                    parsed.ok().and_then(|name| sqlite.insert(name, read));
                    can
                }),
                None => None,
            };
            models.insert(written, can.unwrap_or_else(|| EVERY_MODEL.to_vec()));
        }
        let store = kind.map(|kind| match kind {
            Kind::Postgres => Self::Postgres(postgres),
            Kind::Sqlite => Self::Sqlite(sqlite),
        });
        (store, models)
    }
}

impl PostgresTarget {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const ADDRESS: &str = r#"address = "db.internal:5432""#;
        let address = section.required::<String>("address", ADDRESS);
        if let Some(address) = &address
            && !is_address(address.get_ref())
        {
            let what = format!("{:?} is neither host:port nor a directory", address.get_ref());
            section.fault_at(&address.span(), "address", what, format!("write `{ADDRESS}`"));
        }
        let named = ["pool", "bridge", "silo"].map(|model| section.has(model));
        let pool = section.section("pool", r#"pool = { database = "app", … }"#);
        let bridge = section.section("bridge", "bridge = { logins = … }");
        let silo = section.section("silo", r#"silo = { tenant = "…", … }"#);
        let count = named.iter().filter(|named| **named).count();
        if count == 0 {
            section.fault("a target that can do no model", "add `pool`, `bridge` or `silo`");
        }
        if silo.is_some() && count > 1 {
            section.fault("a silo is shared with nobody", "give the silo a target of its own");
        }
        let pool = pool.map(|section| PostgresPool::read(section, reading));
        let bridge = bridge.map(|section| PostgresBridge::read(section, reading));
        let silo = silo.map(|section| PostgresSilo::read(section, reading));
        section.finish();
        let read = [pool.is_some(), bridge.is_some(), silo.is_some()];
        let target = Self {
            address: address?.into_inner(),
            pool: lift(pool)?,
            bridge: lift(bridge)?,
            silo: lift(silo)?,
        };
        (read == named && count > 0).then_some(target)
    }

    fn models(&self) -> Vec<DeploymentModel> {
        let can = [self.pool.is_some(), self.bridge.is_some(), self.silo.is_some()];
        EVERY_MODEL.into_iter().zip(can).filter_map(|(model, can)| can.then_some(model)).collect()
    }
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
        let prefix = read_prefix(&mut section);
        let logins = reading.secret(&mut section, "logins");
        section.finish();
        Some(Self { prefix, logins: logins? })
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

impl SqliteTarget {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const MODELS: &str = r#"models = ["pool", "bridge"]"#;
        let directory = section.required::<String>("directory", r#"directory = "data""#);
        let models = section.required::<Vec<DeploymentModel>>("models", MODELS);
        if let Some(models) = &models {
            let (span, models) = (models.span(), models.get_ref());
            if models.is_empty() {
                let fix = format!("write `{MODELS}`");
                section.fault_at(&span, "models", "a target that can do no model", fix);
            }
            if models.contains(&DeploymentModel::Silo) && models.len() > 1 {
                let fix = "give the silo a target of its own";
                section.fault_at(&span, "models", "a silo is shared with nobody", fix);
            }
        }
        section.finish();
        let directory = reading.path(directory?.get_ref());
        Some(Self { directory, models: models?.into_inner() })
    }
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

/// What is not there is fine; what is there and could not be read is not.
fn lift<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}
