//! The attacks on a running system, against all of our own: control plane, bundles over HTTP, the
//! sample application on the embedded store, and its queue.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use invoices::{App, Reminders, router, schema};
use partywall::{
    AccessToken, Clock, DeploymentModel, Partywall, Placement, Placements, Role, SystemClock,
    TenantId, TenantStatus,
    bundle::HttpBundleSource,
    carry::JobQueue,
    token::{Algorithm, KeySet, SigningKey},
};
use partywall_prove::{
    Log, Silent, Verdict,
    system::{
        Decoy, Issuer, IssuerError, Job, JobGate, JobOutcome, Route, System, Tenant, Token,
        TokenEndpoint, prove_jobs,
    },
};
use partywall_server::{
    Actor, ControlPlane, DatabaseConfig, NewMachine, NewTenant, Resources, SealingKey, SecretFile,
    Server, ServerConfig,
};
use partywall_sqlite::Sqlite;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

const TESTER: Actor = Actor::System("test");
const API: &str = "https://invoices.test";
const ROUTES: [&str; 6] = [
    "GET /invoices",
    r#"POST /invoices {"customer": "$marker", "amount_cents": 1}"#,
    "GET /invoices/{id}",
    "POST /invoices/{id}/payment",
    "POST /invoices/{id}/reminder",
    "GET /healthz public",
];

/// Tokens from the token endpoint, decoys from the control plane.
struct Operator {
    control: ControlPlane,
    endpoint: TokenEndpoint,
    suspended: TenantId,
}

impl Issuer for Operator {
    async fn token(&self, tenant: &TenantId) -> Result<Token, IssuerError> {
        self.endpoint.token(tenant).await
    }

    async fn decoy(&self, tenant: &TenantId, decoy: Decoy) -> Result<Option<Token>, IssuerError> {
        let (tenant, defect) = match decoy {
            Decoy::Expired => (tenant, partywall_server::Decoy::Expired),
            Decoy::NotYetValid => (tenant, partywall_server::Decoy::NotYetValid),
            Decoy::OtherAudience => (tenant, partywall_server::Decoy::OtherAudience),
            Decoy::OtherIssuer => (tenant, partywall_server::Decoy::OtherIssuer),
            Decoy::OtherType => (tenant, partywall_server::Decoy::OtherType),
            Decoy::Revoked => (tenant, partywall_server::Decoy::Revoked),
            Decoy::StaleEpoch => (tenant, partywall_server::Decoy::StaleEpoch),
            Decoy::Suspended => (&self.suspended, partywall_server::Decoy::NotActive),
            Decoy::UnknownTenant => (tenant, partywall_server::Decoy::UnknownTenant),
            Decoy::TwoTenants => (tenant, partywall_server::Decoy::TwoTenants),
            Decoy::NoTenant => (tenant, partywall_server::Decoy::NoTenant),
            Decoy::RepeatedClaim => (tenant, partywall_server::Decoy::RepeatedClaim),
        };
        let signed = self.control.sign_decoy(&TESTER, tenant, defect).await;
        Ok(signed.map_err(IssuerError::new)?.map(|decoy| Token::new(decoy.token)))
    }
}

/// The queue of a service that sends reminders.
struct Queue {
    wall: Partywall,
    keys: KeySet,
    sealed: BTreeMap<(TenantId, Job), String>,
}

impl JobGate for Queue {
    async fn run(&self, payload: &[u8]) -> Result<JobOutcome, IssuerError> {
        let payload = String::from_utf8_lossy(payload);
        let queue = JobQueue { producer: "invoices".into(), queue: "reminders".into() };
        Ok(match self.wall.open_job::<Value>(&queue, &payload, &self.keys) {
            Ok((context, _)) => JobOutcome::Accepted(Some(context.tenant().clone())),
            Err(refusal) => JobOutcome::Refused(refusal.code().to_owned()),
        })
    }

    async fn payload(&self, tenant: &TenantId, job: Job) -> Result<Option<Vec<u8>>, IssuerError> {
        Ok(self.sealed.get(&(tenant.clone(), job)).map(|sealed| sealed.clone().into_bytes()))
    }
}

struct Running {
    app: String,
    issuer: Operator,
    tenants: Vec<Tenant>,
    keys: Value,
    wall: Partywall,
    _tasks: JoinSet<()>,
    _dir: tempfile::TempDir,
}

async fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let provider_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = format!("http://{}", provider_listener.local_addr().unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let config = ServerConfig::new(
        DatabaseConfig::Sqlite { path: dir.path().join("control.db") },
        SealingKey::read_or_create(&SecretFile::at(dir.path().join("sealing.key"))).unwrap(),
        provider.parse().unwrap(),
        Resources::new(API.parse().unwrap(), []),
    );
    let control = ControlPlane::open(config, Arc::clone(&clock)).await.unwrap();
    let store = Sqlite::builder("main".parse().unwrap(), schema::sqlite().unwrap())
        .target("here".parse().unwrap(), dir.path().join("here"))
        .build();

    let mut endpoint = TokenEndpoint::new(format!("{provider}/token")).unwrap();
    let (mut tenants, mut ids) = (Vec::new(), Vec::new());
    for (slug, model) in [
        ("acme", DeploymentModel::Pool),
        ("acme-2", DeploymentModel::Pool),
        ("initech", DeploymentModel::Bridge),
        ("gone", DeploymentModel::Pool),
    ] {
        let placement = Placement { model, target: "here".parse().unwrap() };
        let placements = Placements::from_iter([("main".parse().unwrap(), placement.clone())]);
        let new = NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), placements);
        let tenant = control.create_tenant(&TESTER, new).await.unwrap();
        control.bump_epoch(&TESTER, tenant.id()).await.unwrap();
        store.provision(tenant.id(), &placement).await.unwrap();
        let machine = NewMachine {
            name: "accounting".to_owned(),
            roles: [Role::from("accountant")].into(),
            scopes: Default::default(),
        };
        let machine = control.create_machine(&TESTER, tenant.id(), machine).await.unwrap();
        let (client, secret) = (machine.client_id.as_str(), machine.secret.expose());
        endpoint = endpoint.client(tenant.id().clone(), client, secret);
        ids.push(tenant.id().clone());
        tenants.push(Tenant::new(tenant.id().clone(), slug));
    }
    tenants.pop();
    let suspended = ids.pop().unwrap();
    control.set_status(&TESTER, &suspended, TenantStatus::Suspended).await.unwrap();
    let bundle_key = control.bundle_key().clone();
    let server = Server::new(control.clone());
    tasks.spawn(async move {
        server.serve(provider_listener, std::future::pending()).await.unwrap();
    });

    let wall = Partywall::builder().audience(API).trust(bundle_key).clock(Arc::clone(&clock));
    let wall = wall.build().unwrap();
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

    let keys = reqwest::get(format!("{provider}/jwks")).await.unwrap().bytes().await.unwrap();
    let keys = serde_json::from_slice(&keys).unwrap();
    let issuer = Operator { control, endpoint, suspended };
    Running { app, issuer, tenants, keys, wall, _tasks: tasks, _dir: dir }
}

fn told(verdict: Verdict, log: &Log<'_>) -> Vec<String> {
    let of = log.trials().iter().filter(|trial| trial.verdict == verdict);
    of.map(|t| format!("{} at {}: {} | {}", t.attack, t.place, t.seen.text(), t.control.text()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m24_our_own_system_is_attacked_in_every_way_and_stands() {
    let running = start().await;
    let routes: Vec<Route> = ROUTES.iter().map(|route| route.parse().unwrap()).collect();
    let mut system = System::new(&*running.app, running.tenants.clone(), routes);
    system.keys = Some(running.keys.clone());
    let mut log = Log::new(Vec::new(), &Silent);
    system.prove(&running.issuer, &mut log).await.unwrap();
    assert_eq!(told(Verdict::Leaked, &log), [""; 0]);
    assert_eq!(told(Verdict::Undecided, &log), [""; 0]);
    assert_eq!(told(Verdict::NotTested, &log), [""; 0]);
    // Three victims of tokens, six ordered pairs of everything else.
    let count = |attack: &str| log.trials().iter().filter(|t| t.attack == attack).count();
    assert_eq!((count("token.revoked"), count("http.read")), (3, 6));
    assert!(log.trials().len() > 200, "{}", log.trials().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m11_jobs_of_our_own_system_run_as_their_tenant_or_not_at_all() {
    let running = start().await;
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    let keys = KeySet::parse(set.as_bytes()).unwrap();
    let clock = SystemClock::default();
    let mut sealed = BTreeMap::new();
    for tenant in &running.tenants {
        for (job, queue) in [(Job::Good, "reminders"), (Job::OtherQueue, "exports")] {
            let token = running.issuer.token(&tenant.id).await.unwrap();
            let context = running.wall.verify(AccessToken::new(token.expose())).unwrap();
            let queue = JobQueue { producer: "invoices".into(), queue: queue.into() };
            let life = Duration::from_secs(60);
            let envelope = context.seal_job(&queue, &7, life, &key, &clock).unwrap();
            sealed.insert((tenant.id.clone(), job), envelope);
        }
    }
    let gate = Queue { wall: running.wall.clone(), keys, sealed };
    let mut log = Log::new(Vec::new(), &Silent);
    prove_jobs(&gate, &running.tenants, "tid", Some(&running.issuer), &mut log).await;
    assert_eq!(told(Verdict::Leaked, &log), [""; 0]);
    assert_eq!(told(Verdict::Undecided, &log), [""; 0]);
    let blocked = told(Verdict::Blocked, &log);
    for attack in ["job.bare", "job.foreign-key", "job.tampered", "job.other-queue"] {
        assert!(blocked.iter().any(|told| told.starts_with(attack)), "{attack}: {blocked:#?}");
    }
}
