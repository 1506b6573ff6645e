//! On a hot standby: nothing is written to prove a tenant.

use std::{process::Command, time::Duration};

use partywall::testing::contexts;
use partywall_postgres::{
    PoolTarget, Postgres,
    local::{Cluster, ClusterOptions},
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    store::{bodies, note, pooled},
    support::{Walled, code, key, one, shared, slot_login, try_one, try_run},
};

#[tokio::test(flavor = "multi_thread")]
async fn m18_standby_serves_bound_transactions_and_no_others() {
    let Some(shared) = shared() else { return };
    let walled = Walled::new(shared).await;
    let store = walled.store(|target| target).await;
    let [acme, other] = contexts(["acme", "acme-2"], &pooled());
    note(&acme, &store, "of acme").await;
    note(&other, &store, "of acme-2").await;

    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("pg");
    let standby = base_backup(&walled, &home);
    let slots = (1..=2).map(|n| slot_login(&walled.roles, n));
    for strict in [false, true] {
        let target =
            PoolTarget::new(standby.address(), &walled.database, key()).slots(slots.clone());
        let target = if strict { target.strict() } else { target };
        let builder =
            Postgres::builder("main".parse().unwrap()).pool("eu-1".parse().unwrap(), target);
        let reader = builder.connect().await.unwrap().read_only();
        let mut db = acme.open(&reader).await.unwrap();
        assert!(one::<bool>(db.conn(), "SELECT pg_is_in_recovery()").await);
        assert_eq!(bodies(&mut db).await, ["of acme"]);
        let written =
            try_run(db.conn(), "INSERT INTO notes (body) VALUES ('x')").await.unwrap_err();
        assert_eq!(code(&written), "25006");
        drop(db);
        let mut db = other.open(&reader).await.unwrap();
        assert_eq!(bodies(&mut db).await, ["of acme-2"]);
        db.commit().await.unwrap();
    }
    let role = walled.roles.slot(3);
    let bare = standby
        .address()
        .username(&role)
        .password(&format!("secret of {role}"))
        .database(&walled.database);
    let mut bare = PgConnection::connect_with(&bare).await.unwrap();
    let refused = try_one::<i64>(&mut bare, "SELECT count(*) FROM notes").await.unwrap_err();
    assert_eq!(code(&refused), "28000");
}

/// Copies the primary and starts the copy as its standby.
fn base_backup(walled: &Walled, home: &std::path::Path) -> Cluster {
    let primary = &walled.shared.cluster;
    // Started once by itself, so that directories and owners are as the starter makes them.
    drop(Cluster::start(&ClusterOptions::new(home).not_durable()).unwrap());
    let data = home.join("data");
    let owner = std::fs::metadata(&data).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    let copied = Command::new(primary.binaries().program("pg_basebackup"))
        .args(["-h", primary.socket_dir().to_str().unwrap(), "-p", &primary.port().to_string()])
        .args(["-U", Cluster::SUPERUSER, "-X", "stream", "-c", "fast", "-R", "-D"])
        .arg(&data)
        .env("PGPASSWORD", primary.superuser_password())
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    use std::os::unix::fs::MetadataExt as _;
    give(&data, owner.uid(), owner.gid());
    let standby = Cluster::start(&ClusterOptions::new(home).not_durable()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    standby
}

fn give(path: &std::path::Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid, gid);
        }
    }
}
