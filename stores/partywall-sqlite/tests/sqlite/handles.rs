//! What an application may expect of a handle.

use std::time::Duration;

use partywall::{DeploymentModel::Pool, OpenError};
use partywall_sqlite::{Error, Locking};

use crate::support::{House, ids};

#[tokio::test]
async fn m13_plain_sql_reads_and_writes_the_tenants_rows() {
    let house = House::new();
    let [acme, globex] = house.pool().await;
    let mut db = house.open(&acme).await;
    // Left-out columns take their defaults, and counts are of the tenant's rows.
    let insert = "INSERT INTO invoices (id, customer) VALUES ('2', 'c'), ('3', NULL)";
    assert_eq!(db.execute(insert, ()).await.unwrap(), 2);
    assert_eq!(db.execute("UPDATE invoices SET cents = cents * 2", ()).await.unwrap(), 3);
    let rows = db
        .query(
            "SELECT i.id, c.name, i.euros FROM invoices i JOIN customers c ON c.id = i.customer
             WHERE i.cents = ?1 ORDER BY i.id",
            (200,),
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, f64>(2)?)),
        )
        .await
        .unwrap();
    let carol = || "acme-secret".to_owned();
    assert_eq!(rows, [("1".to_owned(), carol(), 2.0), ("2".to_owned(), carol(), 2.0)]);
    assert_eq!(db.execute("DELETE FROM invoices WHERE id > '1'", ()).await.unwrap(), 2);
    assert_eq!(
        db.execute("INSERT OR IGNORE INTO invoices (id) VALUES ('1')", ()).await.unwrap(),
        0
    );
    assert_eq!(
        db.execute("INSERT OR REPLACE INTO invoices (id) VALUES ('1')", ()).await.unwrap(),
        1
    );
    let generated: String = db
        .query_one("INSERT INTO invoices (note) VALUES ('n') RETURNING note", (), |row| row.get(0))
        .await
        .unwrap();
    assert_eq!(generated, "n");
    assert_eq!(ids(&mut db).await.len(), 2);
    db.commit().await.unwrap();
    // The other tenant's row of the same key went through all of it untouched.
    let note: String = house
        .open(&globex)
        .await
        .query_one("SELECT note || cents FROM invoices", (), |row| row.get(0))
        .await
        .unwrap();
    assert_eq!(note, "globex-secret100");
}

#[tokio::test]
async fn t04_a_foreign_row_cannot_be_told_from_an_absent_one() {
    let house = House::new();
    let [acme, globex] = house.pool().await;
    let mut db = house.open(&globex).await;
    db.execute("INSERT INTO invoices (id, note) VALUES ('theirs', 'taken')", ()).await.unwrap();
    db.execute("INSERT INTO customers VALUES ('theirs', 'x')", ()).await.unwrap();
    db.commit().await.unwrap();
    let mut db = house.open(&acme).await;
    for id in ["theirs", "nowhere"] {
        assert_eq!(
            db.execute("UPDATE invoices SET cents = 1 WHERE id = ?1", (id,)).await.unwrap(),
            0
        );
        assert_eq!(db.execute("DELETE FROM invoices WHERE id = ?1", (id,)).await.unwrap(), 0);
        let found =
            db.query_optional("SELECT 1 FROM invoices WHERE id = ?1", (id,), |_| Ok(())).await;
        assert!(matches!(found, Ok(None)));
        // A foreign key to their customer fails as one to nobody.
        let refers =
            db.execute("INSERT INTO invoices (id, customer) VALUES ('new', ?1)", (id,)).await;
        assert!(refers.is_err_and(|error| error.is_constraint()), "{id}");
        // Their key and their unique note are free here.
        assert_eq!(
            db.execute("INSERT INTO invoices (id, note) VALUES (?1, ?1)", (id,)).await.unwrap(),
            1
        );
        assert_eq!(db.execute("DELETE FROM invoices WHERE id = ?1", (id,)).await.unwrap(), 1);
    }
    assert_eq!(
        db.execute("INSERT INTO invoices (id, note) VALUES ('theirs', 'taken')", ()).await.unwrap(),
        1
    );
    let again = db.execute("INSERT INTO invoices (id) VALUES ('theirs')", ()).await;
    assert!(again.is_err_and(|error| error.is_constraint()), "own keys are still unique");
}

#[tokio::test]
async fn m13_dropping_undoes_and_committing_lasts() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let insert = "INSERT INTO invoices (id) VALUES ('2')";
    let mut db = house.open(&acme).await;
    db.execute(insert, ()).await.unwrap();
    assert_eq!(ids(&mut db).await, ["1", "2"]);
    drop(db);
    let mut db = house.open(&acme).await;
    assert_eq!(ids(&mut db).await, ["1"]);
    db.execute(insert, ()).await.unwrap();
    db.commit().await.unwrap();
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1", "2"]);
}

#[tokio::test]
async fn m13_one_row_is_one_row_and_values_are_counted() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    let two = "SELECT 1 UNION SELECT 2";
    assert!(matches!(db.query_one(two, (), |_| Ok(())).await, Err(Error::TooManyRows { .. })));
    assert!(matches!(
        db.query_one("SELECT 1 WHERE 0", (), |_| Ok(())).await,
        Err(Error::NoRow { .. })
    ));
    let echo = "SELECT ?1 || ?2";
    let said: String = db.query_one(echo, ("a", "b"), |row| row.get(0)).await.unwrap();
    assert_eq!(said, "ab");
    // What a statement was last given does not stay behind in it.
    assert!(db.query_one(echo, ("a",), |row| row.get::<_, String>(0)).await.is_err());
    let none: Option<String> =
        db.query_one(echo, [Some("a"), None], |row| row.get(0)).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn m13_a_cancelled_call_ends_the_transaction() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    db.execute("INSERT INTO invoices (id) VALUES ('2')", ()).await.unwrap();
    let endless =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";
    let slow = db.query(endless, (), |row| row.get::<_, i64>(0));
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    assert!(matches!(db.execute("DELETE FROM invoices", ()).await, Err(Error::Closed { .. })));
    assert!(matches!(db.commit().await, Err(Error::Closed { .. })));
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1"]);
}

#[tokio::test]
async fn m13_a_panic_in_a_mapper_ends_the_transaction_and_nothing_else() {
    let house = House::new();
    let [acme, _] = house.pool().await;
    let mut db = house.open(&acme).await;
    db.execute("DELETE FROM invoices", ()).await.unwrap();
    let map = |_: &partywall_sqlite::Row<'_>| -> rusqlite::Result<()> { panic!("in a test") };
    assert!(matches!(db.query("SELECT 1", (), map).await, Err(Error::Closed { .. })));
    assert_eq!(ids(&mut house.open(&acme).await).await, ["1"]);
}

#[tokio::test]
async fn m13_writers_wait_or_are_told_to_start_again() {
    let house = House::with(|builder| {
        builder.locking(Locking::OnWrite).busy_timeout(Duration::from_millis(50))
    });
    let [acme, globex] = house.pool().await;
    let mut first = house.open(&acme).await;
    let mut second = house.open(&globex).await;
    assert_eq!(ids(&mut second).await, ["1"]);
    first.execute("UPDATE invoices SET cents = 1", ()).await.unwrap();
    let busy = second.execute("UPDATE invoices SET cents = 2", ()).await.unwrap_err();
    assert!(busy.is_transient(), "{busy}");
    assert_eq!(ids(&mut second).await, ["1"], "readers go on");
    first.commit().await.unwrap();
    let stale = second.execute("UPDATE invoices SET cents = 2", ()).await.unwrap_err();
    assert!(stale.is_transient(), "{stale}");
    drop(second);
    let mut again = house.open(&globex).await;
    again.execute("UPDATE invoices SET cents = 2", ()).await.unwrap();
    again.commit().await.unwrap();
}

/// More transactions than threads that may block: were they to wait on those threads, the one
/// whose turn it is could not go on.
#[test]
fn m13_with_the_lock_taken_at_once_nobody_starts_again() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let house = House::new();
        let [acme, _] = house.tenants(Pool, ["acme", "globex"]).await;
        let mut db = house.open(&acme).await;
        db.execute("INSERT INTO invoices (id, cents) VALUES ('1', 0)", ()).await.unwrap();
        db.commit().await.unwrap();
        let count = |db: &partywall_sqlite::Row<'_>| db.get::<_, i64>(0);
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let (acme, store) = (acme.clone(), house.store.clone());
                tokio::spawn(async move {
                    let mut db = acme.open(&store).await.unwrap();
                    let cents =
                        db.query_one("SELECT cents FROM invoices", (), count).await.unwrap();
                    let update = "UPDATE invoices SET cents = ?1";
                    db.execute(update, (cents + 1,)).await.unwrap();
                    db.commit().await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut db = house.open(&acme).await;
        assert_eq!(db.query_one("SELECT cents FROM invoices", (), count).await.unwrap(), 40);
    });
}

#[tokio::test]
async fn m13_waiting_for_ones_turn_ends() {
    let house = House::with(|builder| builder.busy_timeout(Duration::from_millis(50)));
    let [acme, globex] = house.pool().await;
    let first = house.open(&acme).await;
    let busy = globex.open(&house.store).await;
    assert!(matches!(busy, Err(OpenError::Store(error)) if error.is_transient()));
    drop(first);
    assert!(globex.open(&house.store).await.is_ok());
}

/// Three tenants at once, over few connections: each ends with what it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_a_kept_connection_serves_its_own_tenant_only() {
    let house = House::with(|builder| builder.idle_connections(1));
    let tenants = house.tenants(Pool, ["acme", "globex", "acme-2"]).await;
    let tasks: Vec<_> = (0..30)
        .map(|turn: usize| {
            let (tenant, store) = (tenants[turn % 3].clone(), house.store.clone());
            tokio::spawn(async move {
                let mut db = tenant.open(&store).await.unwrap();
                let own = tenant.tenant().to_string();
                let insert = "INSERT INTO invoices (id, note) VALUES (?1, ?2 || ?1)";
                db.execute(insert, (turn.to_string(), own.clone())).await.unwrap();
                let foreign = "SELECT count(*) FROM invoices WHERE note <> ?1 || id";
                let seen: i64 = db.query_one(foreign, (own,), |row| row.get(0)).await.unwrap();
                assert_eq!(seen, 0);
                db.commit().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for tenant in &tenants {
        assert_eq!(ids(&mut house.open(tenant).await).await.len(), 10);
    }
}
