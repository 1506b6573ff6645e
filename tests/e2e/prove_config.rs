//! `partywall prove` with a configuration, on a running system of our own.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use invoices::{App, Reminders, router, schema};
use partywall::{
    Clock, DeploymentModel, Partywall, Placement, Placements, Role, SystemClock,
    bundle::HttpBundleSource,
    token::{Algorithm, SigningKey},
};
use partywall_server::{
    Actor, ControlPlane, DatabaseConfig, NewMachine, NewTenant, Resources, SealingKey, SecretFile,
    Server, ServerConfig,
};
use partywall_sqlite::Sqlite;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use crate::system::run;

const TESTER: Actor = Actor::System("test");
const API: &str = "https://invoices.test";
const SCHEMA: &str = include_str!("../../examples/invoices/sql/sqlite.sql");

/// A control plane, the sample on the embedded store with a tenant of each model, and the
/// configuration that describes them.
async fn running(dir: &Path) -> (String, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let provider_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = format!("http://{}", provider_listener.local_addr().unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let config = ServerConfig::new(
        DatabaseConfig::Sqlite { path: dir.join("control.db") },
        SealingKey::read_or_create(&SecretFile::at(dir.join("sealing.key"))).unwrap(),
        provider.parse().unwrap(),
        Resources::new(API.parse().unwrap(), []),
    );
    let control = ControlPlane::open(config, Arc::clone(&clock)).await.unwrap();
    let store = Sqlite::builder("main".parse().unwrap(), schema::sqlite().unwrap())
        .target("here".parse().unwrap(), dir.join("here"))
        .target("own".parse().unwrap(), dir.join("own"))
        .build();
    let mut clients = String::new();
    for (slug, model, target) in [
        ("acme", DeploymentModel::Pool, "here"),
        ("initech", DeploymentModel::Bridge, "here"),
        ("hooli", DeploymentModel::Silo, "own"),
    ] {
        let placement = Placement { model, target: target.parse().unwrap() };
        let placements = Placements::from_iter([("main".parse().unwrap(), placement.clone())]);
        let new = NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), placements);
        let tenant = control.create_tenant(&TESTER, new).await.unwrap();
        store.provision(tenant.id(), &placement).await.unwrap();
        let machine = NewMachine {
            name: "accounting".to_owned(),
            roles: [Role::from("accountant")].into(),
            scopes: Default::default(),
        };
        let machine = control.create_machine(&TESTER, tenant.id(), machine).await.unwrap();
        let secret = dir.join(format!("{slug}.secret"));
        fs::write(&secret, machine.secret.expose()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        clients.push_str(&format!(
            "[prove.tokens.clients.{}]\nid = {:?}\nsecret = {{ file = \"{slug}.secret\" }}\n",
            tenant.id(),
            machine.client_id.as_str(),
        ));
        if model == DeploymentModel::Silo {
            // Its data is in a silo, so its tokens are of an issuer of its own.
            clients.push_str(&format!("endpoint = \"{provider}/t/{slug}/token\"\n"));
        }
    }
    let bundle_key = control.bundle_key().clone();
    tasks.spawn(async move {
        Server::new(control).serve(provider_listener, std::future::pending()).await.unwrap();
    });
    let wall = Partywall::builder().audience(API).trust(bundle_key.clone());
    let wall = wall.clock(Arc::clone(&clock)).build().unwrap();
    let source = HttpBundleSource::new(format!("{provider}/bundle")).unwrap();
    wall.catch_up(&source).await.unwrap();
    let upkeep = wall.clone();
    tasks.spawn(async move { upkeep.run(&source).await });
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let (reminders, worker) = Reminders::open(key, clock).unwrap();
    tasks.spawn(worker.run(wall.clone(), store.clone()));
    let router = router(&wall, App::new(store, reminders));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });

    fs::write(dir.join("schema.sql"), SCHEMA).unwrap();
    let key: String = bundle_key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let configuration = format!(
        r#"
[service]
listen = "127.0.0.1:1"
audience = "{API}"
state_dir = "state"
bundle = {{ url = "{provider}/bundle", key = "{key}" }}

[stores.main]
kind = "sqlite"
schema = "schema.sql"
[stores.main.targets.here]
directory = "here"
models = ["pool", "bridge"]
[stores.main.targets.own]
directory = "own"
models = ["silo"]

[prove]
tenants = "all"
ABSENT
[prove.application]
url = "{app}"
routes = ['GET /invoices', 'POST /invoices {{"customer": "$marker", "amount_cents": 1}}',
          'GET /invoices/{{id}}', 'POST /invoices/{{id}}/payment']
[prove.tokens]
endpoint = "{provider}/token"
{clients}"#
    );
    (configuration, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m24_a_configuration_is_proven_and_a_layer_it_forgets_is_undecided() {
    let dir = tempfile::tempdir().unwrap();
    let (configuration, _tasks) = running(dir.path()).await;
    for (absent, code) in [(r#"absent = { job = "none here" }"#, 0), ("", 2)] {
        let written = configuration.replace("ABSENT", absent);
        fs::write(dir.path().join("partywall.toml"), written).unwrap();
        let path = dir.path().to_owned();
        let ran = tokio::task::spawn_blocking(move || run(&["prove", "--format", "json"], &path));
        let ran = ran.await.unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{complaint}");
        let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let trials = report.pointer("/run/trials").or(report.pointer("/trials")).unwrap();
        let trials = trials.as_array().unwrap();
        let has = |attack: &str, place: &str, verdict: &str| {
            trials.iter().any(|trial| {
                let is = |key: &str, value: &str| trial.get(key).is_some_and(|v| v == value);
                is("attack", attack) && is("place", place) && is("verdict", verdict)
            })
        };
        // The stores are opened from the configuration, and attacked in every pair of models.
        for place in ["main: pool → silo", "main: silo → bridge", "main: bridge → pool"] {
            assert!(has("store.read", place, "blocked"), "{place}: {complaint}");
        }
        assert!(trials.iter().any(|trial| trial.get("layer").is_some_and(|of| of == "http")));
        let job = if code == 0 { "not_tested" } else { "undecided" };
        assert!(has("job.declared", "job", job), "the layer of jobs");
    }
}
