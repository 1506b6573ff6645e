//! The siege of the embedded wall, and of a twin that trusts its application's habits.

use std::{collections::BTreeMap, path::PathBuf};

use partywall::{DeploymentModel, Store, StoreName, Target, TenantScope};
use partywall_prove::{
    Observation, Verdict,
    stores::{
        Besieged as _, Resident,
        sqlite::{ATTACKS, SqliteHandle, SqliteSiege, plain},
    },
};
use partywall_sqlite::{Schema, Sqlite, types::Value};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::stores::{Placed, assert_held, attacks_that, placement, places, residents, trials};

const NOTES: &str = "CREATE TABLE notes (
    tenant_id TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant_id, id)
) STRICT";

const TENANTS: &[Placed] = &[
    ("acme", DeploymentModel::Pool, "shared"),
    ("acme-2", DeploymentModel::Pool, "shared"),
    ("initech", DeploymentModel::Bridge, "bridge"),
    ("umbrella", DeploymentModel::Bridge, "bridge"),
    ("hooli", DeploymentModel::Silo, "hooli"),
    ("piper", DeploymentModel::Silo, "piper"),
];

fn directories(root: &TempDir) -> BTreeMap<Target, PathBuf> {
    let of = |name: &str| (name.parse().unwrap(), root.path().join(name));
    ["shared", "bridge", "hooli", "piper"].map(of).into()
}

fn builder(directories: &BTreeMap<Target, PathBuf>, schema: &Schema) -> Sqlite {
    let mut builder = Sqlite::builder("main".parse().unwrap(), schema.clone());
    for (target, directory) in directories {
        builder = builder.target(target.clone(), directory);
    }
    builder.build()
}

/// Every tenant with a note of its own.
async fn walled(root: &TempDir) -> (SqliteSiege<Sqlite>, Vec<Resident>) {
    let (schema, directories) = (Schema::new(NOTES).unwrap(), directories(root));
    let store = builder(&directories, &schema);
    let residents = residents(TENANTS);
    for resident in &residents {
        let context = &resident.context;
        store.provision(context.tenant(), &placement(context, TENANTS)).await.unwrap();
        let mut db = context.open(&store).await.unwrap();
        let body = format!("secret of {}", resident.name);
        db.execute("INSERT INTO notes (id, body) VALUES ('1', ?1)", (body,)).await.unwrap();
        db.commit().await.unwrap();
    }
    (SqliteSiege::new(store, &schema, directories), residents)
}

#[tokio::test]
async fn m24_the_embedded_wall_stands_between_every_pair_of_models() {
    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = walled(&root).await;
    let trials = trials(&siege, &residents).await;
    assert_held(&trials, ATTACKS);
    let tried = places(&trials);
    for attacker in ["pool", "bridge", "silo"] {
        for victim in ["pool", "bridge", "silo"] {
            let place = format!("main: {attacker} → {victim}");
            assert!(tried.contains_key(&*place), "{place} was not tried: {tried:?}");
        }
    }
    // Nothing was kept of it.
    for resident in &residents {
        let mut db = resident.context.open(siege.store()).await.unwrap();
        let rows = db.query("SELECT body FROM notes", (), |row| row.get::<_, String>(0)).await;
        assert_eq!(rows.unwrap(), [format!("secret of {}", resident.name)]);
    }
}

#[tokio::test]
async fn m24_a_tenant_without_rows_is_not_tested_and_said_so() {
    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = walled(&root).await;
    let mut db = residents[1].context.open(siege.store()).await.unwrap();
    db.execute("DELETE FROM notes", ()).await.unwrap();
    db.commit().await.unwrap();
    let trials = trials(&siege, &residents[..2]).await;
    let read = |victim: &str| {
        trials.iter().find(|t| t.attack == "store.read" && t.victim == victim).unwrap()
    };
    assert_eq!(read("acme-2").verdict, Verdict::NotTested);
    assert!(read("acme-2").seen.text().contains("no rows"), "{:?}", read("acme-2").seen);
    // The control: the other one has rows, and is tested.
    assert_eq!(read("acme").verdict, Verdict::Blocked, "{:?}", read("acme"));
}

#[tokio::test]
async fn m24_a_row_like_ones_own_shows_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = walled(&root).await;
    for resident in &residents[..2] {
        let mut db = resident.context.open(siege.store()).await.unwrap();
        db.execute("UPDATE notes SET body = 'the same everywhere'", ()).await.unwrap();
        db.commit().await.unwrap();
    }
    let trials = trials(&siege, &residents[..2]).await;
    let read: Vec<_> = trials.iter().filter(|trial| trial.attack == "store.read").collect();
    assert!(read.iter().all(|trial| trial.verdict == Verdict::NotTested), "{read:?}");
    assert!(attacks_that(&trials, Verdict::Leaked).is_empty());
}

#[tokio::test]
async fn m24_one_tenant_alone_proves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = walled(&root).await;
    let trials = trials(&siege, &residents[..1]).await;
    assert_eq!(attacks_that(&trials, Verdict::Undecided), ["store.read"].into());
}

/// An application's own discipline over SQLite: a view per connection in a pool, and a file for
/// whoever pays for one. Whoever is placed nowhere known lands in the pool.
#[derive(Clone)]
struct Naive {
    name: StoreName,
    directories: BTreeMap<Target, PathBuf>,
    filtered: bool,
}

struct NaiveHandle(Connection);

impl Store for Naive {
    type Handle = NaiveHandle;
    type Error = rusqlite::Error;

    fn name(&self) -> &StoreName {
        &self.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<NaiveHandle, rusqlite::Error> {
        let (tenant, at) = (scope.tenant(), scope.placement());
        let default = self.directories.values().next_back().unwrap();
        let directory = self.directories.get(&at.target).unwrap_or(default);
        let db = Connection::open(directory.join(match at.model {
            DeploymentModel::Pool => "pool.sqlite3".to_owned(),
            DeploymentModel::Bridge => format!("bridge-{tenant}.sqlite3"),
            DeploymentModel::Silo => "silo.sqlite3".to_owned(),
        }))?;
        let filter = match at.model {
            DeploymentModel::Pool if self.filtered => format!("WHERE tenant_id = '{tenant}'"),
            _ => String::new(),
        };
        db.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS notes (tenant_id TEXT, id TEXT, body TEXT);
             CREATE TEMP VIEW notes AS SELECT id, body FROM main.notes {filter};
             CREATE TEMP TRIGGER d INSTEAD OF DELETE ON notes
                 BEGIN DELETE FROM notes WHERE tenant_id = '{tenant}' AND id = OLD.id; END;
             BEGIN"
        ))?;
        Ok(NaiveHandle(db))
    }
}

impl SqliteHandle for NaiveHandle {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<(String, Value)>>, Observation> {
        let ask = || -> rusqlite::Result<_> {
            let mut statement = self.0.prepare(sql)?;
            let names: Vec<String> =
                statement.column_names().into_iter().map(str::to_owned).collect();
            let rows = statement.query_map((), |row| {
                names.iter().enumerate().map(|(n, name)| Ok((name.clone(), row.get(n)?))).collect()
            })?;
            rows.collect()
        };
        ask().map_err(|error| plain(&error))
    }

    fn refusal(error: &(dyn std::error::Error + 'static)) -> Observation {
        error.downcast_ref().map_or_else(|| Observation::unclear(error.to_string()), plain)
    }
}

async fn twin(root: &TempDir, filtered: bool) -> (SqliteSiege<Naive>, Vec<Resident>) {
    let directories = directories(root);
    directories.values().for_each(|directory| std::fs::create_dir_all(directory).unwrap());
    let store = Naive { name: "main".parse().unwrap(), directories: directories.clone(), filtered };
    let residents = residents(TENANTS);
    for resident in &residents {
        let db = resident.context.open(&store).await.unwrap();
        let insert = "INSERT INTO main.notes VALUES (?1, '1', 'secret of ' || ?1)";
        db.0.execute(insert, [&resident.name]).unwrap();
        db.0.execute_batch("COMMIT").unwrap();
    }
    let remake = move |name: Option<&str>, directories: &BTreeMap<Target, PathBuf>| {
        // Without a directory it takes what was the first it had.
        let name = name.unwrap_or("main").parse().map_err(|error| format!("{error}"))?;
        let mut directories = directories.clone();
        if directories.is_empty() {
            directories.insert("any".parse().unwrap(), PathBuf::from("/nonexistent"));
        }
        Ok(Naive { name, directories, filtered })
    };
    let siege = SqliteSiege::of(store, vec!["notes".to_owned()], directories);
    (siege.remade_by(remake), residents)
}

#[tokio::test]
async fn m24_a_naive_twin_of_the_embedded_wall_is_caught() {
    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = twin(&root, true).await;
    let caught = trials(&siege, &residents).await;
    let leaked = attacks_that(&caught, Verdict::Leaked);
    for attack in ATTACKS {
        assert!(leaked.contains(attack.id), "{} did not catch the twin: {leaked:?}", attack.id);
    }
    for attack in ["store.swapped-placement", "store.wrong-address"] {
        assert!(leaked.contains(attack), "{attack} did not catch the twin: {leaked:?}");
    }
    // Its view does filter: what the twin does right is not called wrong.
    assert!(!leaked.contains("store.read"), "{leaked:?}");

    let root = tempfile::tempdir().unwrap();
    let (siege, residents) = twin(&root, false).await;
    let caught = trials(&siege, &residents).await;
    assert!(attacks_that(&caught, Verdict::Leaked).contains("store.read"));
}
