//! Keeping up with a control plane over HTTP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use partywall::{
    AccessToken, DeploymentModel, Partywall, TenantStatus,
    bundle::{BundleSource, FileBundleSource, Generation, HttpBundleSource},
    testing::{ControlPlane, placed, tenant},
    token::{Algorithm, SigningKey},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;

/// What a control plane serves: the full bundle, and perhaps a delta for those who ask after one.
#[derive(Clone, Default)]
struct Served(Arc<Mutex<Files>>);

#[derive(Clone, Default)]
struct Files {
    full: Vec<u8>,
    delta: Option<Vec<u8>>,
}

async fn bundle(
    State(served): State<Served>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Files { full, delta } = served.0.lock().unwrap().clone();
    match (query.get("after"), delta) {
        (Some(_), Some(delta)) => delta.into_response(),
        (Some(_), None) if full.is_empty() => StatusCode::NOT_MODIFIED.into_response(),
        _ => full.into_response(),
    }
}

struct Server {
    url: String,
    task: JoinHandle<()>,
}

async fn serve(served: Served) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/bundle", listener.local_addr().unwrap());
    let app = Router::new().route("/bundle", get(bundle)).with_state(served);
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { url, task }
}

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    ControlPlane::new(vec![tenant("acme", pooled.clone()), tenant("globex", pooled)])
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}: not within five seconds");
}

#[tokio::test]
async fn m06_changes_arrive_and_an_outage_costs_nothing() {
    let (mut control, served) = (control(), Served::default());
    let wall = control.builder().build().unwrap();
    served.0.lock().unwrap().full = control.publish();
    let server = serve(served.clone()).await;
    let source = HttpBundleSource::new(&server.url).unwrap();
    let source = source.poll_every(Duration::from_millis(50));
    wall.catch_up(&source).await.unwrap();
    let token = control.token("acme", "u:ada");
    let verifies = |wall: &Partywall| wall.verify(AccessToken::new(&token)).is_ok();
    assert!(verifies(&wall));

    let follower = tokio::spawn({
        let wall = wall.clone();
        async move { wall.follow(&source).await }
    });
    // A delta that fits, and then one that does not: the full bundle settles it.
    let have = wall.generation().unwrap().0;
    control.contents.tenants[0].status = TenantStatus::Suspended;
    let full = std::mem::take(&mut control.contents.tenants);
    control.contents.tenants = vec![full[0].clone()];
    served.0.lock().unwrap().delta = Some(control.sign(have + 1, Some(have)));
    until("the delta", || wall.generation() == Some(Generation(have + 1))).await;
    assert!(!verifies(&wall), "acme was suspended");

    control.contents.tenants = full;
    control.contents.tenants[0].status = TenantStatus::Active;
    let newest = control.sign(have + 5, None);
    let misfit = control.sign(have + 5, Some(have + 4));
    *served.0.lock().unwrap() = Files { full: newest, delta: Some(misfit) };
    until("the full bundle", || wall.generation() == Some(Generation(have + 5))).await;
    assert!(verifies(&wall));

    server.task.abort();
    for _ in 0..1000 {
        assert!(verifies(&wall), "the control plane is down, and nobody notices");
    }
    follower.abort();
}

#[tokio::test]
async fn a_file_put_in_place_by_others_does_as_well() {
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let path = dir.path().join("carried.pwb");
    let wall = control.builder().build().unwrap();
    let source = FileBundleSource::new(&path, Duration::from_millis(10));
    assert!(wall.catch_up(&source).await.is_err(), "not there yet");
    std::fs::write(&path, control.publish()).unwrap();
    wall.catch_up(&source).await.unwrap();
    assert!(wall.verify(AccessToken::new(&control.token("acme", "u:ada"))).is_ok());
}

/// A file that cannot be read when it changes is read once it can be.
#[tokio::test]
async fn a_change_that_could_not_be_read_is_not_missed() {
    let (mut control, dir) = (control(), tempfile::tempdir().unwrap());
    let path = dir.path().join("carried.pwb");
    let wall = control.builder().build().unwrap();
    let source = FileBundleSource::new(&path, Duration::from_millis(10));
    let put = |time: SystemTime, bytes: Option<Vec<u8>>| {
        let _ = (std::fs::remove_file(&path), std::fs::remove_dir(&path));
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::create_dir(&path).unwrap(), // has a time of change and no bytes
        }
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    };
    let [first, second] = [1_700_000_000, 1_700_000_001]
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    put(first, Some(control.publish()));
    wall.catch_up(&source).await.unwrap();
    let have = wall.generation();
    put(second, None);
    assert!(wall.catch_up(&source).await.is_err(), "changed, and not to be read");
    put(second, Some(control.publish()));
    wall.catch_up(&source).await.unwrap();
    assert!(wall.generation() > have, "the time of change alone has not moved since");
    assert!(source.next(wall.generation()).await.unwrap().is_none(), "the control: unchanged");
}

/// An external issuer whose keys are at an address: fetched, and learnt again when they change.
#[tokio::test]
async fn r09_an_issuers_new_key_is_learnt_by_the_request_that_needs_it() {
    let keys = [SigningKey::generate(Algorithm::EdDsa), SigningKey::generate(Algorithm::EdDsa)];
    let [first, second] = keys.map(|key| key.unwrap());
    let jwks = |key: &SigningKey| json!({ "keys": [key.public_jwk()] }).to_string();
    let published = Arc::new(Mutex::new(jwks(&first)));
    let served = Arc::clone(&published);
    let jwks_route = get(async move || served.lock().unwrap().clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let app = Router::new().route("/jwks", jwks_route);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let mut control = control();
    let external = json!({
        "issuer": "https://idp.acme.test", "profile": "partywall",
        "jwks": { "url": url }, "tenants": ["acme"],
    });
    control.contents.issuers.push(serde_json::from_value(external).unwrap());
    let wall = control.wall();
    let keeping = wall.clone();
    tokio::spawn(async move { keeping.keep_keys().await });

    let token = |key: &SigningKey, tenant: &str| {
        let mut claims = control.claims(tenant, "u:ada");
        claims["iss"] = "https://idp.acme.test".into();
        key.sign_jws("at+jwt", &claims).unwrap()
    };
    let verify = |token: &str| wall.verify(AccessToken::new(token)).map_err(|r| r.code());
    until("the first fetch", || verify(&token(&first, "acme")).is_ok()).await;
    assert_eq!(verify(&token(&second, "acme")).unwrap_err(), "key_unknown");

    let app = Router::new().route("/", get(async || "in")).layer(wall.layer());
    let ask = async |token: String| {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(token(&second, "acme")).await, StatusCode::UNAUTHORIZED, "not published yet");
    // Another `kid` than the one just looked for in vain, which is remembered as unknown.
    let third = SigningKey::generate(Algorithm::EdDsa).unwrap();
    *published.lock().unwrap() = jwks(&third);
    assert_eq!(ask(token(&third, "acme")).await, StatusCode::OK, "learnt by this very request");
    assert_eq!(
        ask(token(&first, "acme")).await,
        StatusCode::UNAUTHORIZED,
        "withdrawn, and forgotten"
    );
    assert_eq!(
        ask(token(&third, "globex")).await,
        StatusCode::UNAUTHORIZED,
        "f09: acme's issuer speaks for acme"
    );
}
