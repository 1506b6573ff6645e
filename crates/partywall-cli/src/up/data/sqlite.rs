//! The embedded wall: one file for the pool, one per tenant for the bridge, a directory for the
//! silo.

use std::path::{Path, PathBuf};

use invoices::schema;
use partywall::DeploymentModel;
use partywall_sqlite::Sqlite;
use rusqlite::{Connection, OpenFlags};

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

    /// The file a tenant's data is in.
    fn file_of(&self, tenant: &Served) -> PathBuf {
        let file = match tenant.placement.model {
            DeploymentModel::Pool => "pool.sqlite3".to_owned(),
            DeploymentModel::Bridge => format!("bridge-{}.sqlite3", tenant.id),
            DeploymentModel::Silo => "silo.sqlite3".to_owned(),
        };
        self.root.join(tenant.placement.target.as_str()).join(file)
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
        let Some(mut db) = attacker.open(store, account).await else { return Ok(()) };
        let count = "SELECT count(*) FROM invoice WHERE id = ?1 OR ?1 = ''";
        let own = db.query_one(count, ("",), |row| row.get::<_, i64>(0)).await;
        let foreign = db.query_one(count, (attacker.invoice,), |row| row.get::<_, i64>(0)).await;
        attacker.note_rows(own, foreign, account);
        let file = self.file_of(attacker.victim);
        let attach = format!("ATTACH DATABASE '{}' AS stolen", file.display());
        let seen = db.execute(&attach, ()).await;
        // The control: the file is there, and whoever has no wall before it opens it.
        let unwalled = unwalled(&file, attacker.invoice);
        account.note(
            format!("{name} attaches {other}'s file in SQL"),
            match (&seen, &unwalled) {
                (Err(_), Ok(1)) => "refused".to_owned(),
                (Ok(_), _) => "attached".to_owned(),
                (Err(_), found) => format!("refused, and without the wall {found:?}"),
            },
            matches!((seen, unwalled), (Err(partywall_sqlite::Error::Refused { .. }), Ok(1))),
        );
        Ok(())
    }

    async fn stop(self) {}
}

/// Counts the invoices of this id in `file`, over a connection like any other.
fn unwalled(file: &Path, invoice: &str) -> rusqlite::Result<i64> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count = "SELECT count(*) FROM partywall_t_invoice WHERE id = ?1";
    db.query_row(count, [invoice], |row| row.get(0))
}
