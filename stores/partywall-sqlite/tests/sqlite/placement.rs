//! Bridges, silos, and files in the wrong place.

use std::fs;

use partywall::{
    DeploymentModel::{Bridge, Pool, Silo},
    OpenError,
    testing::{bundle, context, placed, tenant},
};
use partywall_sqlite::{Error, Schema, Sqlite};
use rusqlite::Connection;

use crate::support::{House, INVOICES, at, ids, one_context, tenant_id};

async fn refusal(house: &House, id: &str, placement: &partywall::Placement) -> Error {
    match one_context(id, placement).open(&house.store).await {
        Err(OpenError::Store(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{id} was let in at {placement}"),
    }
}

#[tokio::test]
async fn m14_an_unknown_tenant_is_an_error_and_leaves_no_file() {
    let house = House::new();
    let [acme] = house.tenants(Bridge, ["acme"]).await;
    for placement in [at(Bridge, "one"), at(Bridge, "two"), at(Silo, "one"), at(Pool, "one")] {
        let refused = refusal(&house, "globex", &placement).await;
        assert!(matches!(refused, Error::NotProvisioned { .. }), "{refused}");
    }
    let files: Vec<_> = fs::read_dir(house.path("one")).unwrap().collect();
    assert!(files.len() <= 3 && !house.path("two").exists(), "opening made something: {files:?}");
    // The control: the tenant that was provisioned.
    assert!(acme.open(&house.store).await.is_ok());
    // And a SQLite library opened the usual way makes one up.
    let made_up = house.path("one/bridge-globex.sqlite3");
    drop(Connection::open(&made_up).unwrap().execute_batch("CREATE TABLE t (x)"));
    assert!(made_up.exists());
    assert!(matches!(
        refusal(&house, "globex", &at(Bridge, "one")).await,
        Error::ForeignFile { .. }
    ));
}

#[tokio::test]
async fn t02_a_tenant_without_a_place_or_target_reaches_nothing() {
    let house = House::new();
    house.tenants(Pool, ["acme"]).await;
    let elsewhere = bundle(vec![tenant("acme", placed("other", Pool, "one"))]).unwrap();
    let acme =
        context(&elsewhere, tenant_id("acme"), partywall::Principal::User("u:a".parse().unwrap()));
    assert!(matches!(acme.open(&house.store).await, Err(OpenError::NotPlaced { .. })));
    assert!(matches!(
        refusal(&house, "acme", &at(Pool, "mars")).await,
        Error::UnknownTarget { .. }
    ));
    assert!(one_context("acme", &at(Pool, "one")).open(&house.store).await.is_ok());
}

#[tokio::test]
async fn m14_bridges_do_not_see_each_other_and_swapped_files_are_refused() {
    let house = House::new();
    let [acme, globex] = house.tenants(Bridge, ["acme", "globex"]).await;
    for tenant in [&acme, &globex] {
        let mut db = house.open(tenant).await;
        let id = tenant.tenant().to_string();
        db.execute("INSERT INTO invoices (id) VALUES (?1)", (id,)).await.unwrap();
        db.commit().await.unwrap();
    }
    assert_eq!(ids(&mut house.open(&acme).await).await, ["acme"]);

    let file = |id: &str| house.path(&format!("one/bridge-{id}.sqlite3"));
    for id in ["acme", "globex"] {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        house
            .ordinary(&format!("one/bridge-{id}.sqlite3"))
            .query_row(checkpoint, (), |_| Ok(()))
            .unwrap();
    }
    // A connection to acme's own file is still idle in the store: it must not be trusted either.
    fs::rename(file("acme"), file("kept")).unwrap();
    fs::copy(file("globex"), file("acme")).unwrap();
    for side in ["wal", "shm"] {
        drop(fs::remove_file(house.path(&format!("one/bridge-acme.sqlite3-{side}"))));
    }
    let refused = refusal(&house, "acme", &at(Bridge, "one")).await;
    assert!(
        matches!(&refused, Error::WrongFile { found, .. } if found.contains("globex")),
        "{refused}"
    );
    // What a library without an inscription reads there:
    let ordinary = house.ordinary("one/bridge-acme.sqlite3");
    let seen: String =
        ordinary.query_row("SELECT id FROM partywall_t_invoices", (), |r| r.get(0)).unwrap();
    assert_eq!(seen, "globex");
    drop(ordinary);
    // Put back, it opens again.
    fs::rename(file("kept"), file("acme")).unwrap();
    assert_eq!(ids(&mut house.open(&acme).await).await, ["acme"]);
}

#[tokio::test]
#[cfg(unix)]
async fn m14_a_link_to_another_tenants_file_is_refused() {
    let house = House::new();
    house.tenants(Bridge, ["globex"]).await;
    std::os::unix::fs::symlink("bridge-globex.sqlite3", house.path("one/bridge-acme.sqlite3"))
        .unwrap();
    assert!(matches!(refusal(&house, "acme", &at(Bridge, "one")).await, Error::Sqlite(_)));
    assert!(one_context("globex", &at(Bridge, "one")).open(&house.store).await.is_ok());
}

#[tokio::test]
async fn m14_swapped_models_are_refused() {
    let house = House::new();
    house.tenants(Pool, ["acme"]).await;
    fs::copy(house.path("one/pool.sqlite3"), house.path("one/bridge-acme.sqlite3")).unwrap();
    let refused = refusal(&house, "acme", &at(Bridge, "one")).await;
    assert!(matches!(&refused, Error::WrongFile { found, .. } if found == "a pool"), "{refused}");
}

#[tokio::test]
async fn m14_a_silos_directory_is_its_tenants_alone() {
    let house = House::new();
    house.provision("acme", &at(Silo, "one")).await.unwrap();
    assert!(one_context("acme", &at(Silo, "one")).open(&house.store).await.is_ok());
    assert!(matches!(refusal(&house, "globex", &at(Silo, "one")).await, Error::WrongFile { .. }));
    for (id, placement) in [("globex", at(Silo, "one"))] {
        let refused = house.provision(id, &placement).await.unwrap_err();
        assert!(matches!(refused, Error::WrongFile { .. }), "{refused}");
    }
    for placement in [at(Pool, "one"), at(Bridge, "one")] {
        let refused = house.provision("globex", &placement).await.unwrap_err();
        assert!(matches!(refused, Error::DirectoryTaken { .. }), "{refused}");
    }
    // The other way round, and the control: a directory that is shared already takes more bridges.
    house.provision("globex", &at(Bridge, "two")).await.unwrap();
    assert!(matches!(
        house.provision("acme", &at(Silo, "two")).await,
        Err(Error::DirectoryTaken { .. })
    ));
    house.provision("acme", &at(Bridge, "two")).await.unwrap();
}

#[tokio::test]
async fn m21_a_row_planted_in_a_tenants_own_file_is_found() {
    let house = House::new();
    let [acme] = house.tenants(Bridge, ["acme"]).await;
    drop(house.open(&acme).await);
    let ordinary = house.ordinary("one/bridge-acme.sqlite3");
    let plant = "INSERT INTO partywall_t_invoices (tenant_id, id) VALUES (?1, 'planted')";
    for owner in ["globex", "acm", "acme-2", "ACME", ""] {
        ordinary.execute(plant, [owner]).unwrap();
        let refused = refusal(&house, "acme", &at(Bridge, "one")).await;
        assert!(
            matches!(&refused, Error::ForeignRow { owner: found, .. } if found == owner),
            "{refused}"
        );
        ordinary.execute("DELETE FROM partywall_t_invoices", ()).unwrap();
    }
    ordinary.execute(plant, ["acme"]).unwrap();
    assert_eq!(ids(&mut house.open(&acme).await).await, ["planted"]);
}

#[tokio::test]
async fn m14_a_connection_is_not_kept_on_a_file_that_was_erased() {
    let house = House::new();
    let [acme] = house.tenants(Bridge, ["acme"]).await;
    drop(house.open(&acme).await);
    for file in fs::read_dir(house.path("one")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert!(matches!(
        refusal(&house, "acme", &at(Bridge, "one")).await,
        Error::NotProvisioned { .. }
    ));
    house.provision("acme", &at(Bridge, "one")).await.unwrap();
    assert!(ids(&mut house.open(&acme).await).await.is_empty());
}

#[tokio::test]
async fn m21_files_with_anything_but_the_schemas_tables_are_refused() {
    for planted in [
        "CREATE VIEW v AS SELECT * FROM partywall_t_invoices",
        "CREATE TRIGGER t AFTER INSERT ON partywall_t_invoices BEGIN DELETE FROM partywall_t_invoices; END",
        "CREATE TABLE stray (x)",
        "DROP INDEX invoices_by_customer",
        "ALTER TABLE partywall_t_invoices ADD COLUMN y TEXT",
    ] {
        let house = House::new();
        let [acme] = house.tenants(Pool, ["acme"]).await;
        assert!(acme.open(&house.store).await.is_ok());
        house.ordinary("one/pool.sqlite3").execute_batch(planted).unwrap();
        let reopened = House { store: crate::support::builder(&house.directory).build(), ..house };
        let refused = refusal(&reopened, "acme", &at(Pool, "one")).await;
        assert!(matches!(refused, Error::SchemaDiffers { .. }), "{planted}: {refused}");
    }
}

#[tokio::test]
async fn m14_provisioning_again_keeps_the_data_and_brings_the_schema_forward() {
    let house = House::new();
    let [acme] = house.tenants(Bridge, ["acme"]).await;
    let mut db = house.open(&acme).await;
    db.execute("INSERT INTO customers VALUES ('c', 'Carol')", ()).await.unwrap();
    db.execute("INSERT INTO invoices (id, customer) VALUES ('1', 'c')", ()).await.unwrap();
    db.commit().await.unwrap();

    let schema = Schema::new(INVOICES).unwrap()
        .then("ALTER TABLE invoices ADD COLUMN paid INTEGER NOT NULL DEFAULT 0").unwrap()
        .then("CREATE TABLE audit (tenant_id TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tenant_id, id))").unwrap();
    let store = Sqlite::builder("main".parse().unwrap(), schema)
        .target("one".parse().unwrap(), house.path("one"))
        .build();
    let newer = House { store, ..house };
    let refused = refusal(&newer, "acme", &at(Bridge, "one")).await;
    assert!(matches!(refused, Error::SchemaVersion { found: 1, wanted: 3, .. }), "{refused}");
    for _ in 0..2 {
        newer.provision("acme", &at(Bridge, "one")).await.unwrap();
    }
    let mut db = newer.open(&acme).await;
    let paid: i64 = db
        .query_one("SELECT paid FROM invoices WHERE customer = 'c'", (), |r| r.get(0))
        .await
        .unwrap();
    assert_eq!(paid, 0);
    assert_eq!(db.execute("INSERT INTO audit VALUES ('a')", ()).await.unwrap(), 1);
    drop(db);
    // An older program does not touch a newer file.
    let older = House {
        store: crate::support::builder(&newer.directory).build(),
        directory: newer.directory,
    };
    assert!(matches!(
        older.provision("acme", &at(Bridge, "one")).await,
        Err(Error::SchemaVersion { .. })
    ));
}

#[cfg(unix)]
#[tokio::test]
async fn m21_what_is_made_is_the_process_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let house = House::new();
    let [acme] = house.tenants(Pool, ["acme"]).await;
    house.provision("globex", &at(Silo, "two")).await.unwrap();
    let mut db = house.open(&acme).await;
    db.execute("INSERT INTO customers VALUES ('c', 'Ada')", ()).await.unwrap();
    db.commit().await.unwrap();
    for directory in ["one", "two"] {
        assert_eq!(mode(&house.path(directory)), 0o700, "{directory}");
    }
    // With what SQLite itself puts beside the file.
    let files = ["one/pool.sqlite3", "one/pool.sqlite3-wal", "one/pool.sqlite3-shm"];
    for file in files.into_iter().chain(["two/silo.sqlite3"]) {
        assert_eq!(mode(&house.path(file)), 0o600, "{file}");
    }
    // The control: the same library, left to itself, goes by the umask alone.
    let plain = house.path("plain.sqlite3");
    Connection::open(&plain).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    fs::write(house.path("by-umask"), "").unwrap();
    let umask = mode(&house.path("by-umask"));
    assert_eq!(mode(&plain), umask & 0o644);
    // And a directory or file that is there is left as the operator made it.
    fs::set_permissions(house.path("one"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(house.path("one/pool.sqlite3"), fs::Permissions::from_mode(0o640)).unwrap();
    house.provision("acme", &at(Pool, "one")).await.unwrap();
    assert_eq!((mode(&house.path("one")), mode(&house.path("one/pool.sqlite3"))), (0o750, 0o640));
}
