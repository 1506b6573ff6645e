//! What a target can be: where it is, who logs in, and the limits.

use std::{fmt, sync::Arc, time::Duration};

use partywall::{Target, TenantId};
use sqlx::postgres::PgConnectOptions;

use crate::{
    flight::FlightWire,
    login::{CredentialSource, Login},
    pack::tenant_name,
    pool::{Limits, Logins, Pins, Place, Pool, PoolParts},
    session::SessionSettings,
    store::Mode,
    ticket::TicketKey,
};

/// A database whose tables tenants share, behind row level security.
pub struct PoolTarget {
    pub(crate) server: PgConnectOptions,
    pub(crate) database: String,
    pub(crate) key: TicketKey,
    pub(crate) slots: Vec<Login>,
    pub(crate) flight_slots: Vec<Login>,
    pub(crate) control: Option<Login>,
    pub(crate) through_pooler: bool,
    pub(crate) mode: Mode,
    pub(crate) tenant_columns: Vec<String>,
    pub(crate) common: Common,
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

    pub(crate) fn flights(&self, target: &Target) -> Option<Pool<FlightWire>> {
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
    pub(crate) server: PgConnectOptions,
    pub(crate) place: Arc<dyn Fn(&TenantId) -> Place + Send + Sync>,
    pub(crate) source: Arc<dyn CredentialSource>,
    pub(crate) common: Common,
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
    pub(crate) tenant: TenantId,
    pub(crate) server: PgConnectOptions,
    pub(crate) database: String,
    pub(crate) login: Login,
    pub(crate) common: Common,
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

/// What every kind of target has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) settings: SessionSettings,
    pub(crate) limits: Limits,
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
