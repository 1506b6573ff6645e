//! The suite every store must pass.

use std::collections::BTreeMap;

use partywall::{
    DeploymentModel, Scoped, Store, StoreName, TenantScope, Transactional,
    testing::{Probe, TENANTS, contexts, isolation, placed},
};
use partywall_sqlite::{Error, Sqlite, TenantTransaction};

use crate::support::House;

/// The store under test, with the probe's three operations in SQL.
#[derive(Clone)]
struct Probed(Sqlite);

impl Store for Probed {
    type Handle = TenantTransaction;
    type Error = Error;

    fn name(&self) -> &StoreName {
        self.0.name()
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<TenantTransaction, Error> {
        self.0.open(scope).await
    }
}

impl Transactional for Probed {
    async fn commit(handle: TenantTransaction) -> Result<(), Error> {
        Sqlite::commit(handle).await
    }
}

impl Probe for Probed {
    /// There is no connection without a tenant; the next best is one nobody has used.
    async fn residue(&self) -> Result<BTreeMap<String, String>, Error> {
        let [nobody] = contexts(["nobody"], &placed("main", DeploymentModel::Pool, "one"));
        match nobody.open(self).await {
            Ok(handle) => Self::dump(handle).await,
            Err(error) => panic!("nobody could not open: {error}"),
        }
    }

    async fn put(mut handle: Scoped<Self>, key: &str, value: &str) -> Result<(), Error> {
        let put = "INSERT OR REPLACE INTO invoices (id, note) VALUES (?1, ?2)";
        assert_eq!(handle.execute(put, (key, value)).await?, 1);
        handle.commit().await
    }

    async fn dump(mut handle: Scoped<Self>) -> Result<BTreeMap<String, String>, Error> {
        let all = "SELECT id, note FROM invoices";
        let rows = handle.query(all, (), |row| Ok((row.get(0)?, row.get(1)?))).await?;
        Ok(rows.into_iter().collect())
    }
}

#[tokio::test]
async fn m13_the_isolation_suite_passes_in_a_pool() {
    let house = House::with(|builder| builder.idle_connections(2));
    house.tenants(DeploymentModel::Pool, ["nobody"]).await;
    let store = Probed(house.store.clone());
    isolation(&store, &placed("main", DeploymentModel::Pool, "one"), 300, 1).await;
}

#[tokio::test]
async fn m14_the_isolation_suite_passes_in_bridges() {
    let house = House::new();
    house.tenants(DeploymentModel::Bridge, TENANTS).await;
    house.tenants(DeploymentModel::Pool, ["nobody"]).await;
    let store = Probed(house.store.clone());
    isolation(&store, &placed("main", DeploymentModel::Bridge, "one"), 300, 2).await;
}
