//! The kinds of store.

use invoices::schema;
use partywall::{
    DeploymentModel, Placement, Placements,
    testing::{TENANTS, placed},
};
use partywall_postgres::{
    DerivedLogins, InitOptions, PoolTarget, Postgres, Roles, TicketKey,
    local::{Cluster, ClusterOptions, find_binaries},
    provision,
};
use partywall_sqlite::Sqlite;
use sqlx::{Connection, Executor, PgConnection};

use super::{paid_once, suite};

#[tokio::test]
async fn m21_the_sample_holds_on_the_embedded_store() {
    for model in [DeploymentModel::Pool, DeploymentModel::Bridge] {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::builder("main".parse().unwrap(), schema::sqlite().unwrap())
            .target("here".parse().unwrap(), dir.path().join("here"))
            .build();
        let placement = Placement { model, target: "here".parse().unwrap() };
        for tenant in TENANTS {
            store.provision(&tenant.parse().unwrap(), &placement).await.unwrap();
        }
        let placements = Placements::from_iter([("main".parse().unwrap(), placement)]);
        suite(store, &placements).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m13_the_sample_holds_on_a_shared_postgresql() {
    if find_binaries().is_none() && std::env::var_os("CI").is_none() {
        eprintln!("skipped: no PostgreSQL server programs on this machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&ClusterOptions::new(dir.path()).not_durable()).unwrap();
    let (roles, key) = (Roles::default(), TicketKey::from_bytes(&[7; 32]).unwrap());
    let logins = DerivedLogins::new("test", &[9; 32]);
    let slots: Vec<_> = (1..=4).map(|n| logins.for_role(&roles.slot(n))).collect();

    let mut admin = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
    admin.execute(sqlx::raw_sql(schema::POSTGRES_SHARED)).await.unwrap();
    let pack = InitOptions::new(roles.clone()).slots(4).table("public.invoice".parse().unwrap());
    provision::install(&mut admin, &pack).await.unwrap();
    provision::set_passwords(&mut admin, &slots).await.unwrap();
    provision::put_ticket_key(&mut admin, &roles, 1, &key).await.unwrap();

    let pool = PoolTarget::new(cluster.address(), "postgres", key).slots(slots);
    let store = Postgres::builder("main".parse().unwrap());
    let store = store.pool("here".parse().unwrap(), pool).connect().await.unwrap();
    let placements = placed("main", DeploymentModel::Pool, "here");
    suite(store.clone(), &placements).await;
    paid_once(store, &placements).await;
}
