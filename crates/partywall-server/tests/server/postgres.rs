//! The same state on PostgreSQL, where server binaries are found on the machine.

use axum::http::StatusCode;
use partywall_postgres::local::Cluster;
use partywall_server::{DatabaseConfig, Secret};

use crate::{
    databases::{cluster, run_all_again, url},
    support::{Plane, START, config},
};

fn database(cluster: &Cluster) -> DatabaseConfig {
    DatabaseConfig::Postgres { url: Secret::new(url(cluster)) }
}

/// What is tried on both databases by itself, or needs a process or a file of its own.
const ELSEWHERE: [&str; 4] = ["postgres::", "sqlite", "crash::", "flood::"];

#[test]
fn m03_every_request_test_passes_on_postgres_too() {
    run_all_again(&ELSEWHERE);
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
    assert_eq!(plane.get("/readyz").await.status, StatusCode::OK);
    cluster.stop().unwrap();

    // Better left alone, and alive all the same.
    assert_eq!(plane.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(plane.get("/healthz").await.status, StatusCode::OK);
    let reply = plane.ask(&client, "").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    let id = reply.header("x-request-id");
    assert_eq!(reply.json(), serde_json::json!({ "error": "server_error", "request_id": id }));
    assert_eq!(plane.get("/idp/jwks").await.body, jwks);
    assert_eq!(plane.get("/bundle").await.body, bundle);
}
