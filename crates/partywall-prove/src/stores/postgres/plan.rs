//! How a PostgreSQL store is put together, so that mistakes can be made in it.

use std::{collections::BTreeMap, sync::Arc};

use partywall::{DeploymentModel, Placement, StoreName, Target, TenantId};
use partywall_postgres::{
    BridgeTarget, BuildError, CredentialSource, Login, NoCredentials, PoolTarget, Postgres,
    PostgresBuilder, SiloTarget, TicketKey,
};
use sqlx::postgres::PgConnectOptions;

use super::PostgresSiege;
use crate::stores::{Mistake, NOWHERE};

/// A PostgreSQL store as it is described, before it is made.
#[derive(Clone)]
pub struct Plan {
    /// The store's name.
    pub name: StoreName,
    /// What is at each target.
    pub targets: BTreeMap<Target, Spot>,
}

/// What is at a target.
#[derive(Clone)]
pub enum Spot {
    /// Tables tenants share.
    Pool {
        /// Host, port and TLS.
        server: PgConnectOptions,
        /// The database.
        database: String,
        /// Makes its tickets.
        key: TicketKey,
        /// The logins of its slots.
        slots: Vec<Login>,
        /// How a ticket is bound.
        mode: TicketMode,
    },
    /// A database or a schema for each tenant.
    Bridge {
        /// Host, port and TLS.
        server: PgConnectOptions,
        /// The one database, where each tenant has a schema; without it, each has a database.
        database: Option<String>,
        /// What the databases' or schemas' names begin with.
        prefix: String,
        /// Each tenant's login.
        logins: Arc<dyn CredentialSource>,
    },
    /// One tenant's own server.
    Silo {
        /// Whose.
        tenant: TenantId,
        /// Host, port and TLS.
        server: PgConnectOptions,
        /// The database.
        database: String,
        /// The tenant's login.
        login: Login,
    },
}

/// How a ticket is bound to its transaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TicketMode {
    /// To the backend and a short time.
    #[default]
    Direct,
    /// To exactly one transaction.
    Strict,
    /// As strict, through a transaction pooler.
    Pooler,
}

impl Plan {
    /// Describes the store to its own builder.
    pub fn builder(&self) -> PostgresBuilder {
        let mut builder = Postgres::builder(self.name.clone());
        for (target, spot) in &self.targets {
            builder = spot.add_to(builder, target.clone());
        }
        builder
    }

    /// Makes the store, without connecting anywhere.
    ///
    /// # Errors
    ///
    /// As [`PostgresBuilder::build`].
    pub fn build(&self) -> Result<Postgres, BuildError> {
        self.builder().build()
    }

    /// The store under siege; `shared` tables hold rows of nobody in particular.
    pub fn siege(self, store: Postgres, shared: Vec<String>) -> PostgresSiege<Postgres> {
        PostgresSiege::new(store, shared).remade_by(move |mistake| self.mistaken(mistake))
    }

    fn mistaken(&self, mistake: &Mistake<'_>) -> Option<Result<Postgres, String>> {
        let mut plan = self.clone();
        match *mistake {
            Mistake::Swapped { at, to } => {
                let theirs = self.targets.get(to)?.clone();
                plan.targets.insert(at.clone(), theirs);
            }
            Mistake::Misdirected { attacker: (attacker, at), victim: (victim, to) } => {
                let ours = self.targets.get(&at.target)?;
                let (server, database) = self.address_of(victim.tenant(), to)?;
                let astray = ours.sent_to(attacker.tenant(), server, database)?;
                plan.targets.insert(at.target.clone(), astray);
            }
            Mistake::NoTarget => plan.targets.clear(),
            Mistake::OtherName => match NOWHERE.parse() {
                Ok(name) => plan.name = name,
                Err(error) => return Some(Err(format!("{error}"))),
            },
        }
        Some(plan.build().map_err(|error| error.to_string()))
    }

    /// Where a tenant's data is.
    fn address_of(&self, tenant: &TenantId, at: &Placement) -> Option<(PgConnectOptions, String)> {
        Some(match self.targets.get(&at.target)? {
            Spot::Pool { server, database, .. } | Spot::Silo { server, database, .. } => {
                (server.clone(), database.clone())
            }
            Spot::Bridge { server, database: Some(database), .. } => {
                (server.clone(), database.clone())
            }
            Spot::Bridge { server, database: None, prefix, .. } => {
                (server.clone(), partywall_postgres::tenant_name(prefix, tenant))
            }
        })
    }
}

impl Spot {
    /// Which model it serves.
    pub fn model(&self) -> DeploymentModel {
        match self {
            Self::Pool { .. } => DeploymentModel::Pool,
            Self::Bridge { .. } => DeploymentModel::Bridge,
            Self::Silo { .. } => DeploymentModel::Silo,
        }
    }

    fn add_to(&self, builder: PostgresBuilder, target: Target) -> PostgresBuilder {
        match self.clone() {
            Self::Pool { server, database, key, slots, mode } => {
                let pool = PoolTarget::new(server, database, key);
                let pool = match (mode, slots.as_slice()) {
                    (TicketMode::Pooler, [login, ..]) => {
                        let sessions = u16::try_from(slots.len()).unwrap_or(u16::MAX);
                        pool.behind_pooler(login.clone(), sessions)
                    }
                    (TicketMode::Strict, _) => pool.slots(slots).strict(),
                    (TicketMode::Direct | TicketMode::Pooler, _) => pool.slots(slots),
                };
                builder.pool(target, pool)
            }
            Self::Bridge { server, database, prefix, logins } => {
                let logins = move |tenant: &TenantId| logins.login(tenant);
                builder.bridge(
                    target,
                    match database {
                        Some(database) => {
                            BridgeTarget::schema_per_tenant(server, database, prefix, logins)
                        }
                        None => BridgeTarget::database_per_tenant(server, prefix, logins),
                    },
                )
            }
            Self::Silo { tenant, server, database, login } => {
                builder.silo(target, SiloTarget::new(tenant, server, database, login))
            }
        }
    }

    /// The same, with the same logins, at another address; `None` where it has none to take along.
    fn sent_to(
        &self,
        attacker: &TenantId,
        server: PgConnectOptions,
        database: String,
    ) -> Option<Self> {
        Some(match self.clone() {
            Self::Pool { key, slots, mode, .. } => {
                Self::Pool { server, database, key, slots, mode }
            }
            Self::Bridge { logins, .. } => {
                // One database, whatever the tenant: the schema's name no longer matters.
                let login: Result<Login, NoCredentials> = logins.login(attacker);
                let login = login.ok()?;
                let source = move |_: &TenantId| Ok(login.clone());
                let prefix = "nowhere".to_owned();
                Self::Bridge { server, database: Some(database), prefix, logins: Arc::new(source) }
            }
            Self::Silo { tenant, login, .. } => Self::Silo { tenant, server, database, login },
        })
    }
}
