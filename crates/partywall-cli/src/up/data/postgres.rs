//! PostgreSQL: a server for the pool and the bridge, and one that is hooli's alone.

use std::{collections::BTreeMap, sync::Arc};

use invoices::schema;
use partywall::DeploymentModel;
use partywall_postgres::{
    DerivedLogins, InitOptions, Login, Postgres, Roles, TicketKey,
    local::{Binaries, Cluster, ClusterOptions},
    provision, tenant_name,
};
use partywall_prove::stores::postgres::{Plan, PostgresSiege, Spot, TicketMode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{super::state::StateDir, Data};
use crate::up::{
    UpError,
    tenants::{STORE, Served, Targets},
};

/// Two private clusters, and the secrets of their roles.
pub(in crate::up) struct Servers {
    shared: Cluster,
    silo: Cluster,
    /// Not in the state directory: the servers' user could not get there.
    elsewhere: bool,
    roles: Roles,
    logins: DerivedLogins,
    ticket_key: TicketKey,
    plan: Option<Plan>,
}

/// The database of the pool, the prefix of those of the bridge, and the silo's.
const DATABASE: &str = "invoices";
/// Backends in the pool, each with a login of its own.
const SLOTS: u16 = 8;

impl Servers {
    pub(in crate::up) async fn start(
        state: &StateDir,
        binaries: Binaries,
    ) -> Result<Self, UpError> {
        let start = |name: &str| {
            let options = ClusterOptions::new(state.for_server(name)?).binaries(binaries.clone());
            Ok::<_, UpError>(tokio::task::spawn_blocking(move || Cluster::start(&options)))
        };
        let (shared, silo) = (start("postgres")?, start("postgres-hooli")?);
        let (shared, silo) = (shared.await?, silo.await?);
        let (shared, silo) = (shared?, silo?);
        Ok(Self {
            elsewhere: !shared.data_dir().starts_with(state.path()),
            shared,
            silo,
            roles: Roles::default(),
            logins: DerivedLogins::new(DATABASE, &state.secret("logins.secret")?),
            ticket_key: TicketKey::from_bytes(&state.secret("ticket.key")?)?,
            plan: None,
        })
    }

    fn slots(&self) -> Vec<Login> {
        (1..=SLOTS).map(|n| self.logins.for_role(&self.roles.slot(n))).collect()
    }

    /// The database tenants share: the table, and the wall around it.
    async fn prepare_pool(&self) -> Result<(), UpError> {
        let mut admin = PgConnection::connect_with(&self.shared.superuser("postgres")).await?;
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut admin)
                .await?;
        if !there {
            admin.execute(AssertSqlSafe(format!("CREATE DATABASE {DATABASE}"))).await?;
        }
        admin.close().await?;

        let mut admin = PgConnection::connect_with(&self.shared.superuser(DATABASE)).await?;
        admin.execute(sqlx::raw_sql(schema::POSTGRES_SHARED)).await?;
        let pack = InitOptions::new(self.roles.clone()).slots(SLOTS);
        provision::install(&mut admin, &pack.table("public.invoice".parse()?)).await?;
        provision::set_passwords(&mut admin, &self.slots()).await?;
        provision::put_ticket_key(&mut admin, &self.roles, 1, &self.ticket_key).await?;
        Ok(admin.close().await?)
    }

    /// A database of the tenant's own.
    async fn prepare_own(&self, tenant: &Served) -> Result<(), UpError> {
        let (server, database) = self.own(tenant);
        let login = self.logins.for_tenant(&tenant.id);
        let admin = server.superuser("postgres");
        provision::own_database(&admin, &database, &tenant.id, &login).await?;
        let mut admin = PgConnection::connect_with(&server.superuser(&database)).await?;
        admin.execute(sqlx::raw_sql(schema::POSTGRES_OWN)).await?;
        Ok(admin.close().await?)
    }

    /// The server and the database a tenant's data is in.
    fn own(&self, tenant: &Served) -> (&Cluster, String) {
        match tenant.placement.model {
            DeploymentModel::Pool => (&self.shared, DATABASE.to_owned()),
            DeploymentModel::Bridge => (&self.shared, tenant_name(DATABASE, &tenant.id)),
            DeploymentModel::Silo => (&self.silo, DATABASE.to_owned()),
        }
    }

    /// How the store is put together.
    fn plan(&self, tenants: &[Served]) -> Result<Plan, UpError> {
        let standard = Targets::standard()?;
        let pool = Spot::Pool {
            server: self.shared.address(),
            database: DATABASE.to_owned(),
            key: self.ticket_key.clone(),
            slots: self.slots(),
            mode: TicketMode::Direct,
        };
        let bridge = Spot::Bridge {
            server: self.shared.address(),
            database: None,
            prefix: DATABASE.to_owned(),
            logins: Arc::new(self.logins.clone()),
        };
        let mut targets = BTreeMap::from([(standard.pool, pool), (standard.bridge, bridge)]);
        for tenant in tenants.iter().filter(|t| t.placement.model == DeploymentModel::Silo) {
            let silo = Spot::Silo {
                tenant: tenant.id.clone(),
                server: self.silo.address(),
                database: DATABASE.to_owned(),
                login: self.logins.for_tenant(&tenant.id),
            };
            targets.insert(tenant.placement.target.clone(), silo);
        }
        Ok(Plan { name: STORE.parse()?, targets })
    }
}

impl Data for Servers {
    type Store = Postgres;
    type Siege = PostgresSiege<Postgres>;

    fn describe(&self) -> String {
        let major = self.shared.binaries().major();
        let clusters = format!("PostgreSQL {major}, two private clusters");
        // The server's own is `…/<cluster>/data`.
        match self.shared.data_dir().ancestors().nth(2).filter(|_| self.elsewhere) {
            Some(dir) => format!("{clusters} in {}, where their user can get to", dir.display()),
            None => clusters,
        }
    }

    async fn provision(&mut self, tenants: &[Served]) -> Result<Postgres, UpError> {
        self.prepare_pool().await?;
        for tenant in tenants.iter().filter(|t| t.placement.model != DeploymentModel::Pool) {
            self.prepare_own(tenant).await?;
        }
        let plan = self.plan(tenants)?;
        let store = plan.builder().connect().await?;
        self.plan = Some(plan);
        Ok(store)
    }

    fn siege(&self, store: &Postgres) -> Result<PostgresSiege<Postgres>, UpError> {
        Ok(match self.plan.clone() {
            Some(plan) => plan.siege(store.clone(), Vec::new()),
            None => PostgresSiege::new(store.clone(), Vec::new()),
        })
    }

    async fn stop(self) {
        // Side by side: each ends its sessions at once and writes what is left to write.
        let stopping = [self.silo, self.shared].map(|cluster| {
            tokio::task::spawn_blocking(move || {
                if let Err(error) = cluster.stop() {
                    tracing::error!(%error, "a PostgreSQL cluster did not stop cleanly");
                }
            })
        });
        for stopping in stopping {
            if let Err(error) = stopping.await {
                tracing::error!(%error, "a PostgreSQL cluster did not stop cleanly");
            }
        }
    }
}
