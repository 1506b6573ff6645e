//! PostgreSQL: a server for the pool and the bridge, and one that is hooli's alone.

use invoices::schema;
use partywall::{DeploymentModel, OpenError};
use partywall_postgres::{
    BridgeTarget, ConnectError, DerivedLogins, InitOptions, Login, PoolTarget, Postgres,
    PostgresError, Roles, SiloTarget, TicketKey,
    local::{Binaries, Cluster, ClusterOptions},
    provision, tenant_name,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{super::state::StateDir, Attacker, Data};
use crate::up::{
    UpError,
    account::Account,
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

    /// In the pool: the attacker's SQL says it is somebody else.
    async fn forge_ticket(
        &self,
        store: &Postgres,
        attacker: &Attacker<'_>,
        account: &mut Account,
    ) -> Result<(), UpError> {
        let Some(mut db) = attacker.open(store, account).await else { return Ok(()) };
        let id = attacker.victim.id.as_str();
        let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forged = format!("{}{:02x}{hex}", "00".repeat(48), id.len());
        let forging = sqlx::query("SELECT set_config('partywall.ticket', $1, true)").bind(forged);
        let reading = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM invoice");
        let seen = match forging.execute(db.conn()).await {
            Ok(_) => reading.fetch_one(db.conn()).await,
            Err(error) => Err(error),
        };
        let code = sqlstate(&seen);
        account.note(
            format!("{} forges {}'s ticket in SQL", attacker.tenant.slug, attacker.victim.slug),
            code.clone().unwrap_or_else(|| format!("{seen:?}")),
            code.as_deref() == Some("28000"),
        );
        Ok(())
    }

    /// In the bridge and the silo: the attacker's placement is swapped for the victim's database.
    async fn swap_placement(
        &self,
        attacker: &Attacker<'_>,
        account: &mut Account,
    ) -> Result<(), UpError> {
        let (server, database) = self.own(attacker.victim);
        let (address, target) = (server.address(), attacker.tenant.placement.target.clone());
        let swapped = Postgres::builder(STORE.parse()?);
        let swapped = match attacker.tenant.placement.model {
            DeploymentModel::Silo => {
                let (id, login) =
                    (&attacker.tenant.id, self.logins.for_tenant(&attacker.tenant.id));
                swapped.silo(target, SiloTarget::new(id.clone(), address, database, login))
            }
            DeploymentModel::Bridge | DeploymentModel::Pool => {
                let logins = self.logins.clone();
                let there = BridgeTarget::schema_per_tenant(address, database, "none", logins);
                swapped.bridge(target, there)
            }
        };
        let swapped = swapped.build().map_err(ConnectError::Build)?;
        let seen = attacker.context.open(&swapped).await;
        let code = match &seen {
            Err(OpenError::Store(PostgresError::Connect { source, .. })) => source.code(),
            _ => None,
        };
        account.note(
            format!(
                "{} is sent to {}'s database by mistake",
                attacker.tenant.slug, attacker.victim.slug
            ),
            code.clone().unwrap_or_else(|| {
                seen.map_or_else(|error| error.to_string(), |_| "let in".to_owned())
            }),
            // No such right, no such login there.
            matches!(code.as_deref(), Some("42501" | "28P01" | "28000")),
        );
        Ok(())
    }
}

impl Data for Servers {
    type Store = Postgres;

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
        let targets = Targets::standard()?;
        let pool = PoolTarget::new(self.shared.address(), DATABASE, self.ticket_key.clone());
        let bridge =
            BridgeTarget::database_per_tenant(self.shared.address(), DATABASE, self.logins.clone());
        let mut store = Postgres::builder(STORE.parse()?)
            .pool(targets.pool, pool.slots(self.slots()))
            .bridge(targets.bridge, bridge);
        for tenant in tenants.iter().filter(|t| t.placement.model == DeploymentModel::Silo) {
            let login = self.logins.for_tenant(&tenant.id);
            let silo = SiloTarget::new(tenant.id.clone(), self.silo.address(), DATABASE, login);
            store = store.silo(tenant.placement.target.clone(), silo);
        }
        Ok(store.connect().await?)
    }

    async fn reach_across(
        &self,
        store: &Postgres,
        attacker: &Attacker<'_>,
        account: &mut Account,
    ) -> Result<(), UpError> {
        let Some(mut db) = attacker.open(store, account).await else { return Ok(()) };
        let count = "SELECT count(*) FROM invoice WHERE id::text = $1 OR $1 = ''";
        let counted = async |db: &mut PgConnection, id: &str| {
            sqlx::query_scalar::<_, i64>(count).bind(id).fetch_one(db).await
        };
        let own = counted(db.conn(), "").await;
        let foreign = counted(db.conn(), attacker.invoice).await;
        attacker.note_rows(own, foreign, account);
        drop(db);
        match attacker.tenant.placement.model {
            DeploymentModel::Pool => self.forge_ticket(store, attacker, account).await?,
            DeploymentModel::Bridge | DeploymentModel::Silo => {
                self.swap_placement(attacker, account).await?;
            }
        }
        Ok(())
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

fn sqlstate<T>(seen: &Result<T, sqlx::Error>) -> Option<String> {
    let error = seen.as_ref().err()?.as_database_error()?;
    Some(error.code()?.into_owned())
}
