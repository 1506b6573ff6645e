//! The server on a real listener.

use std::{sync::Arc, time::Duration};

use partywall::{Partywall, SystemClock};
use partywall_server::{ControlPlane, Server};
use tokio::{net::TcpListener, sync::oneshot};

use crate::support::{API, TESTER, config, database, new_machine, new_tenant, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m06_a_token_over_a_real_connection_is_let_in_and_shutdown_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut config = config(database(dir.path()).await);
    config.issuer = address.parse().unwrap();
    let control = ControlPlane::open(config, Arc::new(SystemClock::default())).await.unwrap();
    let tenant = control.create_tenant(&TESTER, new_tenant("acme")).await.unwrap();
    let client = control.create_machine(&TESTER, tenant.id(), new_machine("r")).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(control.clone());
    let serving = tokio::spawn(server.serve(listener, async {
        let _ = stopped.await;
    }));

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| http.get(format!("{address}{path}")).send();
    let metadata = get("/.well-known/openid-configuration").await.unwrap().bytes().await.unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let token_endpoint = metadata["token_endpoint"].as_str().unwrap();
    let reply = http
        .post(token_endpoint)
        .basic_auth(client.client_id.as_str(), Some(client.secret.expose()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials")
        .send()
        .await
        .unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    let token = reply["access_token"].as_str().unwrap();

    let wall =
        Partywall::builder().audience(API).trust(control.bundle_key().clone()).build().unwrap();
    let bundle = get("/bundle").await.unwrap().bytes().await.unwrap();
    wall.accept(bundle).unwrap();
    assert_eq!(refusal(&wall, token), None);

    // A poll that could wait for half a minute is answered when the server is told to stop.
    let path = format!("/bundle?after={}&wait=30", control.generation());
    let poll = tokio::spawn(get(&path));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!poll.is_finished());
    stop.send(()).unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), poll).await.unwrap().unwrap().unwrap();
    assert_eq!(reply.status(), 304);
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
    assert!(get("/bundle").await.is_err(), "it still serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_notices_what_another_on_the_same_database_changed() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        let clock = Arc::new(SystemClock::default());
        ControlPlane::open(config(database(dir.path()).await), clock).await
    };
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(Server::new(first.clone()).serve(listener, async {
        let _ = stopped.await;
    }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let path = format!("{address}/bundle?after={}&wait=20", first.generation());
    let poll = tokio::spawn(http.get(path).send());
    second.create_tenant(&TESTER, new_tenant("acme")).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap().unwrap();
    assert_eq!(reply.unwrap().status(), 200);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_dawdles_is_cut_off_and_holds_nobody_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let control = ControlPlane::open(config(database(dir.path()).await), clock).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(Server::new(control).serve(listener, async {
        let _ = stopped.await;
    }));
    let begin = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /bundle/key HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        stream
    };
    let answer = async |stream: &mut tokio::net::TcpStream| {
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let _ =
            tokio::time::timeout(Duration::from_secs(8), read).await.expect("it is not cut off");
        answer
    };
    let (mut prompt, mut dawdling) = (begin().await, begin().await);
    prompt.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    assert!(answer(&mut prompt).await.starts_with("HTTP/1.1 200 OK"));
    let cut = answer(&mut dawdling).await;
    assert!(!cut.contains("200 OK"), "half a request is answered: {cut}");

    // Nor does half a request keep the server from stopping.
    let _half = begin().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(15), serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_apart_the_bundle_is_on_its_own_listener_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let control = ControlPlane::open(config(database(dir.path()).await), clock).await.unwrap();
    let bind = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (listener, address)
    };
    let ((listener, public), (bundle_listener, private)) = (bind().await, bind().await);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(control.clone()).with_metrics(|| "partywall_up 1\n".to_owned());
    let serving = tokio::spawn(server.serve_apart(listener, bundle_listener, async {
        let _ = stopped.await;
    }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = async |address: String| http.get(address).send().await.unwrap().status().as_u16();
    for (path, on_public, on_private) in [
        ("/bundle", 404, 200),
        ("/bundle/key", 404, 200),
        ("/bundle?after=1", 404, 200),
        ("/metrics", 404, 200),
        ("/idp/jwks", 200, 404),
        ("/idp/.well-known/openid-configuration", 200, 404),
        // Whoever administers is asked who they are.
        ("/idp/admin/v1/tenants", 401, 404),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
    ] {
        assert_eq!(status(format!("{public}{path}")).await, on_public, "{path}");
        assert_eq!(status(format!("{private}{path}")).await, on_private, "{path}");
    }

    let poll = format!("{private}/bundle?after={}&wait=30", control.generation());
    let poll = tokio::spawn(http.get(poll).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send(()).unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), poll).await.unwrap().unwrap();
    assert_eq!(reply.unwrap().status(), 304);
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
    assert!(http.get(format!("{public}/idp/jwks")).send().await.is_err(), "it still serves");
}
