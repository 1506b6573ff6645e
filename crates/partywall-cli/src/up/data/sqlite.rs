//! The embedded wall: one file for the pool, one per tenant for the bridge, a directory for the
//! silo.

use std::path::PathBuf;

use invoices::schema;
use partywall_sqlite::Sqlite;

use super::{super::state::StateDir, Attacker, Data};
use crate::up::{
    UpError,
    account::Account,
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
}

impl Data for Files {
    type Store = Sqlite;

    fn describe(&self) -> String {
        "SQLite, the embedded wall".to_owned()
    }

    async fn provision(&mut self, tenants: &[Served]) -> Result<Sqlite, UpError> {
        let targets = Targets::standard()?;
        let mut store = Sqlite::builder(STORE.parse()?, schema::sqlite()?);
        for target in [targets.pool, targets.bridge, targets.silo] {
            let directory = self.root.join(target.as_str());
            store = store.target(target, directory);
        }
        let store = store.build();
        for tenant in tenants {
            store.provision(&tenant.id, &tenant.placement).await?;
        }
        Ok(store)
    }

    async fn reach_across(
        &self,
        store: &Sqlite,
        attacker: &Attacker<'_>,
        account: &mut Account,
    ) -> Result<(), UpError> {
        let (name, other) = (&attacker.tenant.slug, &attacker.victim.slug);
        let mut db = match attacker.context.open(store).await {
            Ok(db) => db,
            Err(error) => {
                account.note(format!("{name} opens its store"), format!("{error}"), false);
                return Ok(());
            }
        };
        let count = "SELECT count(*) FROM invoice WHERE id = ?1 OR ?1 = ''";
        let own = db.query_one(count, ("",), |row| row.get::<_, i64>(0)).await;
        let foreign = db.query_one(count, (attacker.invoice,), |row| row.get::<_, i64>(0)).await;
        account.note(
            format!("{name} asks the store for {other}'s"),
            match (&own, &foreign) {
                (Ok(own), Ok(foreign)) => format!("{foreign} rows, and {own} of its own"),
                _ => format!("{own:?}, {foreign:?}"),
            },
            matches!((own, foreign), (Ok(1..), Ok(0))),
        );
        let directory = self.root.join(attacker.victim.placement.target.as_str());
        let attach = format!("ATTACH DATABASE '{}/stolen' AS stolen", directory.display());
        let seen = db.execute(&attach, ()).await;
        account.note(
            format!("{name} attaches a file of {other}'s in SQL"),
            if seen.is_ok() { "attached" } else { "refused" },
            matches!(seen, Err(partywall_sqlite::Error::Refused { .. })),
        );
        Ok(())
    }

    async fn stop(self) {}
}
