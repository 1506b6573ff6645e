//! Bridge and silo: a login of one's own.

use partywall::{
    DeploymentModel, OpenError, Placements,
    testing::{contexts, isolation, placed, tenant},
};
use partywall_postgres::{
    BridgeTarget, DerivedLogins, Postgres, PostgresError, SiloTarget,
    local::{Cluster, ClusterOptions},
    provision, tenant_name,
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    store::{Probed, bodies, note},
    support::{NOTES, Shared, code, one, run, shared, try_run},
};

const TENANTS: [&str; 4] = ["acme", "acme-2", "2-acme", "third"];

fn logins(prefix: &str) -> DerivedLogins {
    DerivedLogins::new(prefix, &[3; 32])
}

fn bridged() -> Placements {
    placed("main", DeploymentModel::Bridge, "eu-1")
}

/// A database for each of the tenants, with the same table the pool has.
async fn databases(shared: &Shared, prefix: &str) {
    let admin = shared.cluster.superuser("postgres");
    for id in TENANTS {
        let id = id.parse().unwrap();
        let database = tenant_name(prefix, &id);
        let login = logins(prefix).for_tenant(&id);
        // Twice: onboarding is resumed where it was interrupted.
        provision::own_database(&admin, &database, &id, &login).await.unwrap();
        provision::own_database(&admin, &database, &id, &login).await.unwrap();
        let mut conn =
            PgConnection::connect_with(&shared.cluster.superuser(&database)).await.unwrap();
        run(&mut conn, NOTES).await;
        run(&mut conn, "ALTER TABLE notes ALTER tenant_id SET DEFAULT partywall.tenant_id()").await;
    }
}

fn bridge(target: BridgeTarget) -> Postgres {
    Postgres::builder("main".parse().unwrap())
        .bridge("eu-1".parse().unwrap(), target)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_bridge_passes_the_isolation_suite() {
    let Some(shared) = shared() else { return };
    let prefix = "br1";
    databases(&shared, prefix).await;
    let target =
        BridgeTarget::database_per_tenant(shared.cluster.address(), prefix, logins(prefix));
    let store = bridge(target);
    // There is no database without a tenant; the residue of one is asked for as a stranger.
    let nobody = shared.cluster.address().username("nobody").password("x").database("postgres");
    let probed = Probed { store, bare: nobody };
    isolation(&probed, &bridged(), 60, 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_a_database_half_made_is_closed_to_everybody_until_it_is_finished() {
    let Some(shared) = shared() else { return };
    let mut root = PgConnection::connect_with(&shared.cluster.superuser("postgres")).await.unwrap();
    let (prefix, acme) = ("half", "acme".parse().unwrap());
    let (database, login) = (tenant_name(prefix, &acme), logins(prefix).for_tenant(&acme));
    run(&mut root, "CREATE ROLE half_neighbour LOGIN PASSWORD 'n'").await;
    run(&mut root, "CREATE DATABASE half_usual").await;
    // As far as a provisioning that was killed at once gets, beside the usual way.
    run(&mut root, &format!("CREATE DATABASE {database} ALLOW_CONNECTIONS false")).await;
    let neighbour = shared.cluster.address().username("half_neighbour").password("n");
    assert!(PgConnection::connect_with(&neighbour.clone().database(&database)).await.is_err());
    PgConnection::connect_with(&neighbour.clone().database("half_usual")).await.unwrap();

    let admin = shared.cluster.superuser("postgres");
    provision::own_database(&admin, &database, &acme, &login).await.unwrap();
    assert!(PgConnection::connect_with(&neighbour.database(&database)).await.is_err());
    let password = logins(prefix);
    let store =
        bridge(BridgeTarget::database_per_tenant(shared.cluster.address(), prefix, password));
    let [acme] = contexts(["acme"], &bridged());
    assert!(acme.open(&store).await.is_ok(), "the control: its tenant is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_login_of_one_tenant_opens_no_other_database() {
    let Some(shared) = shared() else { return };
    let prefix = "br2";
    databases(&shared, prefix).await;
    let [acme, other] = contexts(["acme", "acme-2"], &bridged());
    let target =
        BridgeTarget::database_per_tenant(shared.cluster.address(), prefix, logins(prefix));
    let store = bridge(target);
    note(&acme, &store, "of acme").await;
    note(&other, &store, "of acme-2").await;
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme"]);
    assert_eq!(one::<String>(db.conn(), "SELECT tenant_id FROM notes").await, "acme");
    let made = try_run(db.conn(), "CREATE TABLE mine (n int)").await.unwrap_err();
    assert_eq!(code(&made), "42501");
    drop(db);

    // A swapped place: acme's credentials, sent to acme-2's database. The database itself refuses.
    let swapped = shared
        .cluster
        .address()
        .username(logins(prefix).for_tenant(acme.tenant()).role())
        .password(&derived_password(prefix, acme.tenant()))
        .database(&tenant_name(prefix, other.tenant()));
    let refused = PgConnection::connect_with(&swapped).await.unwrap_err();
    assert_eq!(code(&refused), "42501");
    let own = swapped.database(&tenant_name(prefix, acme.tenant()));
    PgConnection::connect_with(&own).await.unwrap();

    // And a tenant nobody made a database for is an error.
    let [unknown] = contexts(["unknown"], &bridged());
    assert!(matches!(
        unknown.open(&store).await,
        Err(OpenError::Store(PostgresError::Connect { .. }))
    ));
}

/// The password is not to be had from a `Login`; computed as documented.
fn derived_password(prefix: &str, tenant: &partywall::TenantId) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[3; 32]);
    let mac = aws_lc_rs::hmac::sign(&key, tenant_name(prefix, tenant).as_bytes());
    mac.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_bridge_is_bounded_in_total_and_closes_the_least_used() {
    let Some(shared) = shared() else { return };
    let prefix = "br3";
    databases(&shared, prefix).await;
    let target =
        BridgeTarget::database_per_tenant(shared.cluster.address(), prefix, logins(prefix));
    let store = bridge(target.max_sessions(2));
    let contexts = contexts(TENANTS, &bridged());
    let target = "eu-1".parse().unwrap();
    for _ in 0..2 {
        for context in &contexts {
            note(context, &store, context.tenant().as_str()).await;
            assert!(store.sessions(&target).unwrap().open <= 2);
        }
    }
    for context in &contexts {
        let mut db = context.open(&store).await.unwrap();
        assert_eq!(bodies(&mut db).await, [context.tenant().as_str(); 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m14_schema_per_tenant_is_pinned_to_the_schema() {
    let Some(shared) = shared() else { return };
    let prefix = "sch";
    let mut root = PgConnection::connect_with(&shared.cluster.superuser("postgres")).await.unwrap();
    run(&mut root, "CREATE DATABASE schemas").await;
    let mut admin = PgConnection::connect_with(&shared.cluster.superuser("schemas")).await.unwrap();
    for id in ["acme", "acme-2"] {
        let id = id.parse().unwrap();
        let schema = tenant_name(prefix, &id);
        provision::own_schema(&mut admin, &schema, &logins(prefix).for_tenant(&id)).await.unwrap();
        run(&mut admin, &format!(r#"CREATE TABLE "{schema}".notes (id bigint GENERATED ALWAYS AS IDENTITY, body text)"#)).await;
    }
    let address = shared.cluster.address();
    let store = bridge(BridgeTarget::schema_per_tenant(address, "schemas", prefix, logins(prefix)));
    let [acme, other] = contexts(["acme", "acme-2"], &bridged());
    note(&acme, &store, "of acme").await;
    note(&other, &store, "of acme-2").await;
    let mut db = acme.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["of acme"]);
    let reached = try_run(db.conn(), r#"SELECT * FROM "sch_acme-2".notes"#).await.unwrap_err();
    assert_eq!(code(&reached), "42501");
    drop(db);
    let mut db = acme.open(&store).await.unwrap();
    run(db.conn(), r#"SET search_path = "sch_acme-2""#).await;
    let reached = try_run(db.conn(), "SELECT * FROM notes").await.unwrap_err();
    assert_eq!(code(&reached), "42P01", "without USAGE the schema is as good as absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn m12_m15_silo_is_pinned_and_a_swapped_placement_is_refused() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ClusterOptions::new(dir.path().join("pg")).not_durable();
    let own = Cluster::start(&options).unwrap();
    let acme = "acme".parse().unwrap();
    let login = logins("silo").for_tenant(&acme);
    provision::own_database(&own.superuser("postgres"), "app", &acme, &login).await.unwrap();
    let mut conn = PgConnection::connect_with(&own.superuser("app")).await.unwrap();
    run(&mut conn, NOTES).await;
    run(&mut conn, "ALTER TABLE notes ALTER tenant_id SET DEFAULT partywall.tenant_id()").await;

    let prefix = "br4";
    databases(&shared, prefix).await;
    let store = Postgres::builder("main".parse().unwrap())
        .silo(
            "acme-own".parse().unwrap(),
            SiloTarget::new(acme.clone(), own.address(), "app", login),
        )
        .bridge(
            "eu-1".parse().unwrap(),
            BridgeTarget::database_per_tenant(shared.cluster.address(), prefix, logins(prefix)),
        )
        .build()
        .unwrap();
    let silo = placed("main", DeploymentModel::Silo, "acme-own");
    // A mixed fleet: one in its silo, one bridged.
    let records = vec![tenant("acme", silo.clone()), tenant("acme-2", bridged())];
    let bundle = partywall::testing::bundle(records).unwrap();
    let context = |id: &str| {
        let principal = partywall::Principal::User("u:test".parse().unwrap());
        partywall::testing::context(&bundle, id.parse().unwrap(), principal)
    };
    note(&context("acme"), &store, "in the silo").await;
    note(&context("acme-2"), &store, "in the bridge").await;
    let mut db = context("acme").open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, ["in the silo"]);
    drop(db);
    let nobody = own.address().username("nobody").password("x").database("app");
    isolation_of_one(&Probed { store: store.clone(), bare: nobody }, &context("acme")).await;

    // The rows swapped: acme-2 is sent into acme's silo, acme into the bridge.
    let [other] = contexts(["acme-2"], &silo);
    assert!(matches!(
        other.open(&store).await,
        Err(OpenError::Store(PostgresError::ForeignSilo { .. }))
    ));
    let [third] = contexts(["third"], &bridged());
    let mut db = third.open(&store).await.unwrap();
    assert_eq!(bodies(&mut db).await, [""; 0], "its own database, whatever it was sent for");
    // And the silo's server knows no login but acme's.
    let stranger = own.address().username("br4_acme-2").password("x").database("app");
    assert!(PgConnection::connect_with(&stranger).await.is_err());
}

async fn isolation_of_one(probed: &Probed, context: &partywall::TenantContext) {
    use partywall::testing::Probe as _;
    let handle = context.open(probed).await.unwrap();
    Probed::put(handle, "k", "v").await.unwrap();
    let handle = context.open(probed).await.unwrap();
    assert_eq!(Probed::dump(handle).await.unwrap().get("k").unwrap(), "v");
}
