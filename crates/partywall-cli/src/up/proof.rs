//! What `up` tries on the running system: everything `partywall prove` knows, by every tenant on
//! every other one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use partywall::{
    AccessToken, Clock, Partywall, TenantContext, TenantId,
    carry::JobQueue,
    token::{Algorithm, KeySet, SigningKey},
};
use partywall_prove::{
    Log, Run, Silent, Subject,
    stores::{Besieged, Resident, besiege},
    system::{
        IssuerError, Job, JobGate, JobOutcome, Route, System, Tenant, TokenEndpoint, prove_jobs,
    },
};
use partywall_server::ControlPlane;
use serde_json::{Value, json};

use super::{UpError, tenants::Served};
use crate::prove::{Operator, run_id};

/// A tenant of the running system, with a fresh token.
pub(super) struct Caller<'t> {
    pub(super) tenant: &'t Served,
    pub(super) token: String,
}

/// The running system, as `up` knows it.
pub(super) struct Proof<'a, B> {
    pub(super) provider: &'a str,
    pub(super) app: &'a str,
    pub(super) control: ControlPlane,
    pub(super) wall: &'a Partywall,
    pub(super) callers: &'a [Caller<'a>],
    pub(super) siege: &'a B,
    /// What the data is, in a few words.
    pub(super) data: String,
    pub(super) clock: Arc<dyn Clock>,
}

/// The sample's interface.
const ROUTES: [&str; 5] = [
    "GET /invoices",
    r#"POST /invoices {"customer": "$marker", "amount_cents": 4200}"#,
    "GET /invoices/{id}",
    "POST /invoices/{id}/payment",
    "POST /invoices/{id}/reminder",
];

impl<B: Besieged> Proof<'_, B> {
    /// Attacks all of it.
    pub(super) async fn run(&self, http: &reqwest::Client) -> Result<Run, UpError> {
        let started = self.clock.now();
        let mut log = Log::new(Vec::new(), &Silent);
        let (mut tenants, mut residents) = (Vec::new(), Vec::new());
        let mut endpoint = TokenEndpoint::new(format!("{}/token", self.provider))?;
        for Caller { tenant, token } in self.callers {
            let name = tenant.slug.as_str().to_owned();
            let context = self.wall.verify(AccessToken::new(token)).map_err(UpError::OwnToken)?;
            let machine = &tenant.machine;
            let (client, secret) = (machine.client_id.as_str(), machine.secret.expose());
            endpoint = endpoint
                .client(tenant.id.clone(), client, secret)
                .at(&tenant.id, format!("{}/token", tenant.issuer(self.provider)));
            tenants.push(Tenant::new(tenant.id.clone(), &*name));
            residents.push(Resident { name, context });
        }
        let issuer = Operator::new(endpoint, Some(self.control.clone()));
        let routes: Result<Vec<Route>, _> = ROUTES.iter().map(|route| route.parse()).collect();
        let mut system = System::new(self.app, tenants.clone(), routes?);
        let keys = http.get(format!("{}/jwks", self.provider)).send().await?.bytes().await?;
        system.keys = serde_json::from_slice(&keys).ok();
        system.prove(&issuer, &mut log).await?;
        let queue = Queue::new(self.wall, &residents, self.clock.as_ref())?;
        prove_jobs(&queue, &tenants, "tid", Some(&issuer), &mut log).await;
        // Last: what was planted above is what there is to be found in the stores.
        besiege(self.siege, &residents, &mut log).await;
        Ok(Run::new(run_id()?, started, self.clock.now(), self.subject(), log))
    }

    fn subject(&self) -> Subject {
        let generation = self.wall.generation().unwrap_or_default();
        Subject {
            name: format!("the sample SaaS at {}", self.app),
            adversary: "an authenticated machine of another tenant, with SQL of its own in its \
                        store's session"
                .to_owned(),
            facts: vec![
                ("data".to_owned(), self.data.clone()),
                ("bundle generation".to_owned(), generation.to_string()),
            ],
        }
    }
}

/// A queue like the sample's, whose jobs we may seal ourselves.
struct Queue<'a> {
    wall: &'a Partywall,
    keys: KeySet,
    sealed: BTreeMap<(TenantId, Job), String>,
}

fn queue(name: &str) -> JobQueue {
    JobQueue { producer: "invoices".into(), queue: name.into() }
}

const QUEUE: &str = "invoices/reminders";

impl<'a> Queue<'a> {
    fn new(
        wall: &'a Partywall,
        residents: &[Resident],
        clock: &dyn Clock,
    ) -> Result<Self, UpError> {
        let key = SigningKey::generate(Algorithm::EdDsa)?;
        let keys = KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes())?;
        let mut sealed = BTreeMap::new();
        for Resident { context, .. } in residents {
            for (job, name) in [(Job::Good, QUEUE), (Job::OtherQueue, "invoices/exports")] {
                let envelope = seal(context, name, &key, clock)?;
                sealed.insert((context.tenant().clone(), job), envelope);
            }
        }
        Ok(Self { wall, keys, sealed })
    }
}

fn seal(
    context: &TenantContext,
    name: &str,
    key: &SigningKey,
    clock: &dyn Clock,
) -> Result<String, UpError> {
    let sealed = context.seal_job(&queue(name), &Value::Null, LIFE, key, clock);
    sealed.map_err(|error| UpError::Job(Box::new(error)))
}

const LIFE: Duration = Duration::from_secs(60);

impl JobGate for Queue<'_> {
    async fn run(&self, payload: &[u8]) -> Result<JobOutcome, IssuerError> {
        let payload = String::from_utf8_lossy(payload);
        Ok(match self.wall.open_job::<Value>(&queue(QUEUE), &payload, &self.keys) {
            Ok((context, _)) => JobOutcome::Accepted(Some(context.tenant().clone())),
            Err(refusal) => JobOutcome::Refused(refusal.code().to_owned()),
        })
    }

    async fn payload(&self, tenant: &TenantId, job: Job) -> Result<Option<Vec<u8>>, IssuerError> {
        Ok(self.sealed.get(&(tenant.clone(), job)).map(|sealed| sealed.clone().into_bytes()))
    }
}
