//! The store: named targets, and the way from a placement to a transaction.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use partywall::{DeploymentModel, Store, StoreName, Target, TenantId, TenantScope, Transactional};
use sqlx::PgConnection;

use crate::{
    check::Unfit,
    error::PostgresError,
    flight::FlightWire,
    login::NoCredentials,
    pool::{Logins, Pins, Place, Pool, PoolParts},
    targets::{BridgeTarget, PoolTarget, SiloTarget},
    ticket::TicketKey,
    transaction::{BeginOptions, Binding, TenantTransaction},
};

/// PostgreSQL, narrowed to one tenant per transaction.
///
/// Cloning it is cheap.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
    begin: BeginOptions,
}

struct Inner {
    name: StoreName,
    targets: BTreeMap<Target, At>,
}

/// What is at a target.
enum At {
    Pool {
        sessions: Pool<PgConnection>,
        /// `None` when the target has no slots for them.
        flights: Option<Pool<FlightWire>>,
        key: TicketKey,
        mode: Mode,
        tenant_columns: Vec<String>,
    },
    Bridge {
        sessions: Pool<PgConnection>,
    },
    Silo {
        sessions: Pool<PgConnection>,
        tenant: TenantId,
    },
}

/// A pool database, as the start-up check sees it.
pub(crate) struct Checked<'a> {
    pub(crate) target: &'a Target,
    pub(crate) sessions: &'a Pool<PgConnection>,
    pub(crate) key: &'a TicketKey,
    pub(crate) tenant_columns: &'a [String],
    /// Every role that serves tenants.
    pub(crate) roles: Vec<String>,
}

/// How tickets of a pool target are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// For a window around now.
    Direct { slack: Duration },
    /// For one transaction.
    Strict,
}

impl Postgres {
    /// Starts to describe a store of this name.
    pub fn builder(name: StoreName) -> PostgresBuilder {
        PostgresBuilder { name, targets: BTreeMap::new(), twice: None, slotless: None }
    }

    /// The same store, whose transactions are `SERIALIZABLE`.
    #[must_use]
    pub fn serializable(&self) -> Self {
        let begin = BeginOptions { serializable: true, ..self.begin };
        Self { inner: self.inner.clone(), begin }
    }

    /// The same store, whose transactions are `READ ONLY`: for standbys, and for reports.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let begin = BeginOptions { read_only: true, ..self.begin };
        Self { inner: self.inner.clone(), begin }
    }

    /// Closes idle sessions now and the others when they are returned. Opens no more.
    pub async fn close(&self) {
        for at in self.inner.targets.values() {
            at.sessions().close().await;
            if let At::Pool { flights: Some(flights), .. } = at {
                flights.close().await;
            }
        }
    }

    /// How many sessions are open at a target, and how many of them idle.
    pub fn sessions(&self, target: &Target) -> Option<SessionCount> {
        let (open, idle) = self.inner.targets.get(target)?.sessions().counts();
        Some(SessionCount { open, idle })
    }

    /// The pool databases, for [`Postgres::verify`].
    pub(crate) fn pools(&self) -> impl Iterator<Item = Checked<'_>> {
        self.inner.targets.iter().filter_map(|(target, at)| match at {
            At::Pool { sessions, flights, key, tenant_columns, .. } => {
                let mut roles = sessions.roles();
                roles.extend(flights.iter().flat_map(Pool::roles));
                Some(Checked { target, sessions, key, tenant_columns, roles })
            }
            At::Bridge { .. } | At::Silo { .. } => None,
        })
    }

    /// Where single flights for this scope leave from.
    pub(crate) fn flights_at(
        &self,
        scope: TenantScope<'_>,
    ) -> Result<(&Pool<FlightWire>, &TicketKey, Mode), PostgresError> {
        match self.at(scope)? {
            At::Pool { flights: Some(flights), key, mode, .. } => Ok((flights, key, *mode)),
            At::Pool { .. } | At::Bridge { .. } | At::Silo { .. } => {
                Err(PostgresError::NoFlights { target: scope.placement().target.clone() })
            }
        }
    }

    fn at(&self, scope: TenantScope<'_>) -> Result<&At, PostgresError> {
        let (store, tenant) = (|| self.inner.name.clone(), || scope.tenant().clone());
        let placement = scope.placement();
        let target = || placement.target.clone();
        let Some(at) = self.inner.targets.get(&placement.target) else {
            let (store, tenant, target) = (store(), tenant(), target());
            return Err(PostgresError::UnknownTarget { store, tenant, target });
        };
        let (placed, configured) = (placement.model, at.model());
        if placed != configured {
            let (store, tenant, target) = (store(), tenant(), target());
            return Err(PostgresError::OtherModel { store, tenant, target, placed, configured });
        }
        match at {
            At::Silo { tenant: owner, .. } if owner != scope.tenant() => {
                Err(PostgresError::ForeignSilo { tenant: tenant(), target: target() })
            }
            at => Ok(at),
        }
    }
}

impl Store for Postgres {
    type Handle = TenantTransaction;
    type Error = PostgresError;

    fn name(&self) -> &StoreName {
        &self.inner.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<TenantTransaction, PostgresError> {
        let at = self.at(scope)?;
        let binding = match at {
            At::Pool { key, mode: Mode::Direct { slack }, .. } => {
                Binding::Ticket { key, slack: *slack }
            }
            At::Pool { key, mode: Mode::Strict, .. } => Binding::Strict { key },
            At::Bridge { .. } | At::Silo { .. } => Binding::Login,
        };
        TenantTransaction::begin(at.sessions(), scope.tenant(), binding, self.begin).await
    }
}

impl Transactional for Postgres {
    async fn commit(handle: TenantTransaction) -> Result<(), PostgresError> {
        handle.commit().await
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<_> = self.inner.targets.keys().collect();
        f.debug_struct("Postgres")
            .field("name", &self.inner.name)
            .field("targets", &targets)
            .finish()
    }
}

impl At {
    fn sessions(&self) -> &Pool<PgConnection> {
        match self {
            Self::Pool { sessions, .. }
            | Self::Bridge { sessions }
            | Self::Silo { sessions, .. } => sessions,
        }
    }

    fn model(&self) -> DeploymentModel {
        match self {
            Self::Pool { .. } => DeploymentModel::Pool,
            Self::Bridge { .. } => DeploymentModel::Bridge,
            Self::Silo { .. } => DeploymentModel::Silo,
        }
    }
}

/// Sessions at one target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionCount {
    /// Open, idle or in use.
    pub open: usize,
    /// Open and not in use.
    pub idle: usize,
}

/// Describes a [`Postgres`] store; see [`Postgres::builder`].
pub struct PostgresBuilder {
    name: StoreName,
    targets: BTreeMap<Target, At>,
    twice: Option<Target>,
    slotless: Option<Target>,
}

impl PostgresBuilder {
    /// Adds a target where tenants share tables.
    #[must_use]
    pub fn pool(mut self, target: Target, pool: PoolTarget) -> Self {
        if pool.slots.is_empty() {
            self.slotless = Some(target.clone());
        }
        let mode = pool.mode;
        let flights = pool.flights(&target);
        let tenant_columns = pool.tenant_columns.clone();
        let PoolTarget { server, database, key, slots, control, through_pooler, common, .. } = pool;
        let settings =
            if through_pooler { Pins::ThroughPooler } else { Pins::Direct(common.settings) };
        let logins = Logins::Slots { logins: slots, control, database };
        let target_name = target.clone();
        let parts =
            PoolParts { target: target_name, server, logins, settings, limits: common.limits };
        let at = At::Pool { sessions: Pool::new(parts), flights, key, mode, tenant_columns };
        self.add(target, at)
    }

    /// Adds a target where tenants share a server and have a database or schema each.
    #[must_use]
    pub fn bridge(self, target: Target, bridge: BridgeTarget) -> Self {
        let BridgeTarget { server, place, source, common } = bridge;
        let parts = PoolParts {
            target: target.clone(),
            server,
            logins: Logins::PerTenant { source, place },
            settings: Pins::Direct(common.settings),
            limits: common.limits,
        };
        self.add(target, At::Bridge { sessions: Pool::new(parts) })
    }

    /// Adds a target that is one tenant's own server.
    #[must_use]
    pub fn silo(self, target: Target, silo: SiloTarget) -> Self {
        let SiloTarget { tenant, server, database, login, common } = silo;
        let owner = tenant.clone();
        let source = move |asked: &TenantId| {
            // Asked for another, the silo has nothing to give, whoever asks.
            let reason = "the silo is another tenant's".to_owned();
            let refused = NoCredentials { tenant: asked.clone(), reason };
            if *asked == owner { Ok(login.clone()) } else { Err(refused) }
        };
        let place = move |_: &TenantId| Place { database: database.clone(), schema: None };
        let parts = PoolParts {
            target: target.clone(),
            server,
            logins: Logins::PerTenant { source: Arc::new(source), place: Arc::new(place) },
            settings: Pins::Direct(common.settings),
            limits: common.limits,
        };
        self.add(target, At::Silo { sessions: Pool::new(parts), tenant })
    }

    /// Makes the store, without connecting anywhere.
    ///
    /// # Errors
    ///
    /// When a target was named twice, or a pool has no slots.
    pub fn build(self) -> Result<Postgres, BuildError> {
        if let Some(target) = self.twice {
            return Err(BuildError::Twice { store: self.name, target });
        }
        if let Some(target) = self.slotless {
            return Err(BuildError::NoSlots { store: self.name, target });
        }
        let inner = Inner { name: self.name, targets: self.targets };
        Ok(Postgres { inner: Arc::new(inner), begin: BeginOptions::default() })
    }

    /// Makes the store and has every pool database checked; see [`Postgres::verify`].
    ///
    /// # Errors
    ///
    /// When it cannot be made, or must not be served.
    pub async fn connect(self) -> Result<Postgres, ConnectError> {
        let store = self.build()?;
        store.verify().await?;
        Ok(store)
    }

    fn add(mut self, target: Target, at: At) -> Self {
        if self.targets.insert(target.clone(), at).is_some() {
            self.twice = Some(target);
        }
        self
    }
}

/// A store that cannot be made as described.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two targets of one name.
    #[error("store {store} has two targets named {target}: rename one")]
    Twice {
        /// The store.
        store: StoreName,
        /// The name.
        target: Target,
    },
    /// A pool nobody can log in to.
    #[error(
        "target {target} of store {store} has no slot logins: give it one per session it may open"
    )]
    NoSlots {
        /// The store.
        store: StoreName,
        /// The target.
        target: Target,
    },
}

/// A store that cannot be made, or must not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It cannot be made as described.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It must not be served.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}
