//! The cluster starter.

use partywall_postgres::local::{Cluster, ClusterOptions, find_binaries};
use sqlx::{Connection as _, PgConnection};

use crate::support::{one, run, shared};

#[tokio::test(flavor = "multi_thread")]
async fn local_cluster_keeps_its_data_over_stop_and_kill() {
    if find_binaries().is_none() {
        shared();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = ClusterOptions::new(dir.path().join("pg"));
    let cluster = Cluster::start(&options).unwrap();
    let pid = cluster.pid();
    let mut conn = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
    run(&mut conn, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)").await;
    drop(conn);
    cluster.stop().unwrap();
    assert!(!alive(pid), "the server outlived stop()");

    // As after SIGKILL of ours: the server runs on, nobody holds it.
    let forgotten = Cluster::start(&options).unwrap();
    let orphan = forgotten.pid();
    std::mem::forget(forgotten);
    let cluster = Cluster::start(&options).unwrap();
    assert!(!alive(orphan), "the orphan still serves");

    // And after SIGKILL of the server itself.
    std::process::Command::new("kill").args(["-9", &cluster.pid().to_string()]).status().unwrap();
    drop(cluster); // at once: its children may still hold its memory
    let cluster = Cluster::start(&options).unwrap();
    let mut conn = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
    assert_eq!(one::<i32>(&mut conn, "SELECT n FROM kept").await, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_cluster_works_in_a_directory_too_deep_for_a_socket() {
    if find_binaries().is_none() {
        shared();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(90)).join("pg");
    // The server's user must be able to pass through.
    std::fs::create_dir_all(&deep).unwrap();
    let cluster = Cluster::start(&ClusterOptions::new(&deep).not_durable()).unwrap();
    let socket = cluster.socket_dir().to_owned();
    assert!(!socket.starts_with(&deep));
    let mut conn = PgConnection::connect_with(&cluster.superuser("postgres")).await.unwrap();
    assert_eq!(one::<i32>(&mut conn, "SELECT 1").await, 1);
    drop(conn);
    drop(cluster);
    assert!(!socket.exists(), "the socket's directory was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_cluster_lets_nobody_in_without_a_password() {
    let Some(shared) = shared() else { return };
    let nobody =
        shared.cluster.address().username("postgres").password("wrong").database("postgres");
    PgConnection::connect_with(&nobody).await.unwrap_err();
    let tcp = shared.cluster.superuser("postgres").host("127.0.0.1");
    PgConnection::connect_with(&tcp).await.unwrap();
    // The password file is ours alone, and so is the log, which quotes statements that failed.
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["superuser-password", "server.log"] {
        let path = shared.cluster.data_dir().with_file_name(file);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let log = std::fs::read_to_string(shared.cluster.data_dir().with_file_name("server.log"));
    assert!(log.unwrap().contains("password authentication failed"), "the server writes to it");
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists_and_not_empty()
}

trait NotEmpty {
    fn exists_and_not_empty(&self) -> bool;
}

impl NotEmpty for std::path::Path {
    /// A zombie has an empty command line.
    fn exists_and_not_empty(&self) -> bool {
        std::fs::read(self).is_ok_and(|line| !line.is_empty())
    }
}
