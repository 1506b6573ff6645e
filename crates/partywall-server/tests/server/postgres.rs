//! The same state on PostgreSQL, where server binaries are found on the machine.

use axum::http::StatusCode;
use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use partywall_server::{DatabaseConfig, Secret};

use crate::support::{Plane, START, config};

fn cluster(dir: &std::path::Path) -> Option<Cluster> {
    if find_binaries().is_none() {
        eprintln!("skipped: no PostgreSQL server binaries on this machine");
        return None;
    }
    Some(Cluster::start(&ClusterOptions::new(dir).not_durable()).unwrap())
}

fn database(cluster: &Cluster) -> DatabaseConfig {
    let socket = cluster.socket_dir().to_str().unwrap().replace('/', "%2F");
    let url = format!(
        "postgres://{}:{}@localhost:{}/postgres?host={socket}&sslmode=disable",
        Cluster::SUPERUSER,
        cluster.superuser_password(),
        cluster.port(),
    );
    DatabaseConfig::Postgres { url: Secret::new(url) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m03_state_on_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(dir.path()) else { return };
    crate::state::suite(database(&cluster)).await;
    cluster.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m03_an_administrator_runs_a_tenant_on_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(dir.path()) else { return };
    crate::administration::suite(database(&cluster)).await;
    cluster.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m03_two_servers_may_start_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(dir.path()) else { return };
    let open = || Plane::open(config(database(&cluster)), START);
    let (one, two) = tokio::join!(open(), open());
    one.control.refresh().await.unwrap();
    two.control.refresh().await.unwrap();
    assert_eq!(one.control.bundle_key().to_string(), two.control.bundle_key().to_string());
    assert_eq!(one.get("/idp/jwks").await.body, two.get("/idp/jwks").await.body);
    assert_eq!(one.control.generation(), two.control.generation());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l05_with_the_database_gone_errors_stay_generic_and_keys_and_bundles_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(dir.path()) else { return };
    let plane = Plane::open(config(database(&cluster)), START).await;
    let tenant = plane.tenant("acme").await;
    let client = plane.machine(tenant.id()).await;
    plane.token(&client).await;
    let (jwks, bundle) = (plane.get("/idp/jwks").await.body, plane.get("/bundle").await.body);
    cluster.stop().unwrap();

    let reply = plane.ask(&client, "").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    let id = reply.header("x-request-id");
    assert_eq!(reply.json(), serde_json::json!({ "error": "server_error", "request_id": id }));
    assert_eq!(plane.get("/idp/jwks").await.body, jwks);
    assert_eq!(plane.get("/bundle").await.body, bundle);
}
