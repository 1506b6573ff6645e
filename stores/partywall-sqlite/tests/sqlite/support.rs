//! A store in a temporary directory, and an ordinary connection beside it.

use std::path::PathBuf;

use partywall::{
    DeploymentModel, Placement, Scoped, TenantContext, TenantId,
    testing::{contexts, placed},
};
use partywall_sqlite::{Error, Schema, Sqlite, SqliteBuilder};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const INVOICES: &str = "
    CREATE TABLE customers (
        tenant_id TEXT NOT NULL,
        id        TEXT NOT NULL,
        name      TEXT NOT NULL,
        PRIMARY KEY (tenant_id, id)
    ) STRICT;
    CREATE TABLE invoices (
        tenant_id TEXT NOT NULL,
        id        TEXT NOT NULL DEFAULT (lower(hex(randomblob(8)))),
        customer  TEXT,
        note      TEXT,
        cents     INTEGER NOT NULL DEFAULT 100 CHECK (cents >= 0),
        euros     REAL AS (cents / 100.0),
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, note),
        FOREIGN KEY (tenant_id, customer) REFERENCES customers (tenant_id, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX invoices_by_customer ON invoices (tenant_id, customer);";

/// Everything a test needs; the directory goes when it does.
pub(crate) struct House {
    pub(crate) store: Sqlite,
    pub(crate) directory: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(SqliteBuilder) -> SqliteBuilder) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = set(builder(&directory)).build();
        Self { store, directory }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) async fn provision(&self, id: &str, placement: &Placement) -> Result<(), Error> {
        self.store.provision(&id.parse().unwrap(), placement).await
    }

    /// Tenants, provisioned, all of one model at target `one`.
    pub(crate) async fn tenants<const N: usize>(
        &self,
        model: DeploymentModel,
        ids: [&str; N],
    ) -> [TenantContext; N] {
        for id in ids {
            self.provision(id, &at(model, "one")).await.unwrap();
        }
        contexts(ids, &placed("main", model, "one"))
    }

    /// acme and globex in one pool, with a row each.
    pub(crate) async fn pool(&self) -> [TenantContext; 2] {
        let tenants = self.tenants(DeploymentModel::Pool, ["acme", "globex"]).await;
        for tenant in &tenants {
            let note = format!("{}-secret", tenant.tenant());
            let mut db = self.open(tenant).await;
            db.execute("INSERT INTO customers VALUES ('c', ?1)", (&note,)).await.unwrap();
            let insert = "INSERT INTO invoices (id, customer, note) VALUES ('1', 'c', ?1)";
            db.execute(insert, (note,)).await.unwrap();
            db.commit().await.unwrap();
        }
        tenants
    }

    pub(crate) async fn open(&self, tenant: &TenantContext) -> Scoped<Sqlite> {
        tenant.open(&self.store).await.unwrap()
    }

    /// The file as any program would open it: no wall.
    pub(crate) fn ordinary(&self, file: &str) -> Connection {
        assert!(self.path(file).exists());
        Connection::open(self.path(file)).unwrap()
    }
}

pub(crate) fn builder(directory: &TempDir) -> SqliteBuilder {
    let path = directory.path();
    Sqlite::builder("main".parse().unwrap(), Schema::new(INVOICES).unwrap())
        .target("one".parse().unwrap(), path.join("one"))
        .target("two".parse().unwrap(), path.join("two"))
}

pub(crate) fn at(model: DeploymentModel, target: &str) -> Placement {
    Placement { model, target: target.parse().unwrap() }
}

pub(crate) fn one_context(id: &str, placement: &Placement) -> TenantContext {
    let [context] = contexts([id], &placed("main", placement.model, placement.target.as_str()));
    context
}

pub(crate) async fn ids(db: &mut Scoped<Sqlite>) -> Vec<String> {
    db.query("SELECT id FROM invoices ORDER BY id", (), |row| row.get(0)).await.unwrap()
}

pub(crate) fn tenant_id(id: &str) -> TenantId {
    id.parse().unwrap()
}
