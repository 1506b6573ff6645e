//! The store: named targets, and the way from a placement to a transaction.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use partywall::{DeploymentModel, Store, StoreName, Target, TenantId, TenantScope, Transactional};
use sqlx::{PgConnection, postgres::PgConnectOptions};

use crate::{
    check::Unfit,
    error::PostgresError,
    flight::FlightWire,
    login::{CredentialSource, Login, NoCredentials},
    pack::tenant_name,
    pool::{Limits, Logins, Pins, Place, Pool, PoolParts},
    session::SessionSettings,
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
    pub(crate) fn pools(
        &self,
    ) -> impl Iterator<Item = (&Target, &Pool<PgConnection>, &TicketKey, &[String])> {
        self.inner.targets.iter().filter_map(|(target, at)| match at {
            At::Pool { sessions, key, tenant_columns, .. } => {
                Some((target, sessions, key, tenant_columns.as_slice()))
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

/// What every kind of target has.
#[derive(Clone, Debug, Default)]
struct Common {
    settings: SessionSettings,
    limits: Limits,
}

/// A database whose tables tenants share, behind row level security.
pub struct PoolTarget {
    server: PgConnectOptions,
    database: String,
    key: TicketKey,
    slots: Vec<Login>,
    flight_slots: Vec<Login>,
    control: Option<Login>,
    through_pooler: bool,
    mode: Mode,
    tenant_columns: Vec<String>,
    common: Common,
}

impl PoolTarget {
    /// The database of this name on this server, whose tickets are made with this key.
    ///
    /// `server` gives host, port and TLS; user, password, database and options are set here.
    pub fn new(server: PgConnectOptions, database: impl Into<String>, key: TicketKey) -> Self {
        Self {
            server,
            database: database.into(),
            key,
            slots: Vec::new(),
            flight_slots: Vec::new(),
            control: None,
            through_pooler: false,
            mode: Mode::Direct { slack: DEFAULT_SLACK },
            tenant_columns: vec!["tenant_id".to_owned()],
            common: Common::default(),
        }
    }

    /// The logins of the slots: one per session, and used by this process alone, so that no
    /// session can read or cancel what runs in another.
    #[must_use]
    pub fn slots(mut self, slots: impl IntoIterator<Item = Login>) -> Self {
        self.slots.extend(slots);
        self
    }

    /// The logins of slots for [single flights](crate::SingleFlight), apart from the others.
    #[must_use]
    pub fn flight_slots(mut self, slots: impl IntoIterator<Item = Login>) -> Self {
        self.flight_slots.extend(slots);
        self
    }

    fn flights(&self, target: &Target) -> Option<Pool<FlightWire>> {
        if self.flight_slots.is_empty() || self.through_pooler {
            return None;
        }
        let logins = Logins::Slots {
            logins: self.flight_slots.clone(),
            control: self.control.clone(),
            database: self.database.clone(),
        };
        Some(Pool::new(PoolParts {
            target: target.clone(),
            server: self.server.clone(),
            logins,
            settings: Pins::Direct(self.common.settings.clone()),
            limits: self.common.limits.clone(),
        }))
    }

    /// A login that may alter the slots (CREATEROLE; from PostgreSQL 16 on with ADMIN on them).
    /// Used only when a slot cannot log in because its password was changed (P1).
    #[must_use]
    pub fn control(mut self, control: Login) -> Self {
        self.control = Some(control);
        self
    }

    /// One more name by which tables name their tenant, beside `tenant_id`: the start-up check
    /// refuses a database where a table with such a column is not walled.
    #[must_use]
    pub fn tenant_column(mut self, name: impl Into<String>) -> Self {
        self.tenant_columns.push(name.into());
        self
    }

    /// How far a transaction's start may be from our reading of the server's clock; 1 second by
    /// default. A ticket is good for twice as long, on its own backend only.
    #[must_use]
    pub fn slack(mut self, slack: Duration) -> Self {
        self.mode = Mode::Direct { slack };
        self
    }

    /// Binds each ticket to exactly one transaction, for one more round trip.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.mode = Mode::Strict;
        self
    }

    /// Says that a transaction pooler (PgBouncer, RDS Proxy) is in between: up to `sessions`
    /// connections under one login, in strict mode, without named statements.
    ///
    /// The pooler holds the server's sessions, so making them new between tenants is its part:
    /// `server_reset_query` = [`SCRUB`](crate::SCRUB) with `server_reset_query_always = 1`.
    #[must_use]
    pub fn behind_pooler(mut self, login: Login, sessions: u16) -> Self {
        self.through_pooler = true;
        self.mode = Mode::Strict;
        self.slots = vec![login; sessions.into()];
        self
    }
}

/// A server where every tenant has a database, or a schema, and a login of its own.
pub struct BridgeTarget {
    server: PgConnectOptions,
    place: Arc<dyn Fn(&TenantId) -> Place + Send + Sync>,
    source: Arc<dyn CredentialSource>,
    common: Common,
}

impl BridgeTarget {
    /// A database per tenant, named by [`tenant_name`] with this prefix.
    pub fn database_per_tenant(
        server: PgConnectOptions,
        prefix: impl Into<String>,
        source: impl CredentialSource,
    ) -> Self {
        let prefix = prefix.into();
        let place =
            move |tenant: &TenantId| Place { database: tenant_name(&prefix, tenant), schema: None };
        Self::new(server, Arc::new(place), source)
    }

    /// A schema per tenant in one database, named by [`tenant_name`] with this prefix; the
    /// tenant's `search_path` is its schema.
    pub fn schema_per_tenant(
        server: PgConnectOptions,
        database: impl Into<String>,
        prefix: impl Into<String>,
        source: impl CredentialSource,
    ) -> Self {
        let (database, prefix) = (database.into(), prefix.into());
        let place = move |tenant: &TenantId| Place {
            database: database.clone(),
            schema: Some(tenant_name(&prefix, tenant)),
        };
        Self::new(server, Arc::new(place), source)
    }

    fn new(
        server: PgConnectOptions,
        place: Arc<dyn Fn(&TenantId) -> Place + Send + Sync>,
        source: impl CredentialSource,
    ) -> Self {
        Self { server, place, source: Arc::new(source), common: Common::default() }
    }

    /// How many sessions may be open for all tenants together; 16 by default. The one that was
    /// idle for longest is closed when another tenant needs one.
    #[must_use]
    pub fn max_sessions(mut self, sessions: u16) -> Self {
        self.common.limits.sessions = usize::from(sessions.max(1));
        self
    }
}

/// One tenant's own server.
pub struct SiloTarget {
    tenant: TenantId,
    server: PgConnectOptions,
    database: String,
    login: Login,
    common: Common,
}

impl SiloTarget {
    /// The server of this tenant and of nobody else.
    pub fn new(
        tenant: TenantId,
        server: PgConnectOptions,
        database: impl Into<String>,
        login: Login,
    ) -> Self {
        let limits = Limits { sessions: 8, ..Limits::default() };
        let common = Common { settings: SessionSettings::default(), limits };
        Self { tenant, server, database: database.into(), login, common }
    }

    /// How many sessions may be open; 8 by default.
    #[must_use]
    pub fn max_sessions(mut self, sessions: u16) -> Self {
        self.common.limits.sessions = usize::from(sessions.max(1));
        self
    }
}

/// Setters every kind of target shares.
macro_rules! common_setters {
    ($($target:ident),+) => {$(
        impl $target {
            /// What sessions start with.
            #[must_use]
            pub fn session_settings(mut self, settings: SessionSettings) -> Self {
                self.common.settings = settings;
                self
            }

            /// How long to wait for a session; 5 seconds by default.
            #[must_use]
            pub fn acquire_timeout(mut self, limit: Duration) -> Self {
                self.common.limits.acquire = limit;
                self
            }

            /// How long connecting may take; 10 seconds by default.
            #[must_use]
            pub fn connect_timeout(mut self, limit: Duration) -> Self {
                self.common.limits.connect = limit;
                self
            }

            /// How long undoing what a dropped handle left may take before its connection is
            /// closed instead; 2 seconds by default.
            #[must_use]
            pub fn cleanup_timeout(mut self, limit: Duration) -> Self {
                self.common.limits.cleanup = limit;
                self
            }

            /// How old a session may become; half an hour by default.
            #[must_use]
            pub fn max_lifetime(mut self, limit: Duration) -> Self {
                self.common.limits.lifetime = limit;
                self
            }
        }

        impl fmt::Debug for $target {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($target)).field("host", &self.server.get_host()).finish_non_exhaustive()
            }
        }
    )+};
}
common_setters!(PoolTarget, BridgeTarget, SiloTarget);

/// How far two readings of the server's clock may be apart.
const DEFAULT_SLACK: Duration = Duration::from_secs(1);
