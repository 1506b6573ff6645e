//! The embedded wall: one file for the pool, one per tenant for the bridge, a directory for the
//! silo.

use std::{collections::BTreeMap, path::PathBuf};

use invoices::schema;
use partywall::Target;
use partywall_prove::stores::sqlite::SqliteSiege;
use partywall_sqlite::Sqlite;

use super::{super::state::StateDir, Data};
use crate::up::{
    UpError,
    tenants::{STORE, Served, Targets},
};

/// Directories of files.
pub(in crate::up) struct Files {
    root: PathBuf,
}

impl Files {
    pub(in crate::up) fn new(state: &StateDir) -> Result<Self, UpError> {
        Ok(Self { root: state.private("sqlite")? })
    }

    /// Each target's.
    fn directories(&self) -> Result<BTreeMap<Target, PathBuf>, UpError> {
        let Targets { pool, bridge, silo } = Targets::standard()?;
        let of = |target: Target| (target.clone(), self.root.join(target.as_str()));
        Ok([pool, bridge, silo].map(of).into())
    }
}

impl Data for Files {
    type Store = Sqlite;
    type Siege = SqliteSiege<Sqlite>;

    fn describe(&self) -> String {
        "SQLite, the embedded wall".to_owned()
    }

    async fn provision(&mut self, tenants: &[Served]) -> Result<Sqlite, UpError> {
        let mut store = Sqlite::builder(STORE.parse()?, schema::sqlite()?);
        for (target, directory) in self.directories()? {
            store = store.target(target, directory);
        }
        let store = store.build();
        for tenant in tenants {
            store.provision(&tenant.id, &tenant.placement).await?;
        }
        Ok(store)
    }

    fn siege(&self, store: &Sqlite) -> Result<SqliteSiege<Sqlite>, UpError> {
        Ok(SqliteSiege::new(store.clone(), &schema::sqlite()?, self.directories()?))
    }

    async fn stop(self) {}
}
