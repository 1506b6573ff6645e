//! Doors of workers: the real one comes out clean, and each naive one is caught.

use std::time::Duration;

use partywall::{
    AccessToken, Clock, FixedClock, Partywall, TenantId, TenantStatus, Timestamp,
    carry::JobQueue,
    testing::ControlPlane,
    token::{Algorithm, KeySet, SigningKey},
};
use partywall_prove::{
    Log, Silent, Trial, Verdict,
    system::{IssuerError, Job, JobGate, JobOutcome, prove_jobs},
};
use serde_json::{Value, json};

use super::{House, IDS, tenants, with};

/// The one thing a worker's door forgets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Forgotten {
    Nothing,
    /// Runs what names its tenant in clear.
    Envelope,
    Key,
    /// Reads the tenant where the signature does not reach.
    Signature,
    Time,
    Queue,
    Status,
    Revocation,
}

const DOORS: &[(Forgotten, &str)] = &[
    (Forgotten::Envelope, "job.bare"),
    (Forgotten::Key, "job.foreign-key"),
    (Forgotten::Signature, "job.tampered"),
    (Forgotten::Time, "job.expired"),
    (Forgotten::Queue, "job.other-queue"),
    (Forgotten::Status, "job.suspended"),
    (Forgotten::Revocation, "job.revoked"),
];

/// The real queue, and what was sealed for it while all was well.
struct Door {
    forgotten: Forgotten,
    wall: Partywall,
    keys: KeySet,
    sealed: Vec<(TenantId, Job, String)>,
}

fn queue(name: &str) -> JobQueue {
    JobQueue { producer: "notes".into(), queue: name.into() }
}

impl Door {
    fn new(forgotten: Forgotten) -> Self {
        let mut house = House::new();
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let set = json!({ "keys": [key.public_jwk()] });
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        for record in &mut house.control.contents.tenants {
            record.status = TenantStatus::Active;
        }
        let wall = house.control.wall();
        let mut sealed = Vec::new();
        let mut seal = |tenant: &str, of: &TenantId, job, jti: &str, queue: &JobQueue, ago: u64| {
            let mut claims = house.claims(tenant);
            claims["jti"] = json!(jti);
            let token = house.key.sign_jws("at+jwt", &claims).unwrap();
            let context = wall.verify(AccessToken::new(&token)).unwrap();
            let clock = FixedClock::at(Timestamp(house.control.clock().now().0 - ago));
            let life = Duration::from_secs(60);
            let envelope = context.seal_job(queue, &json!({ "id": 7 }), life, &key, &clock);
            sealed.push((of.clone(), job, envelope.unwrap()));
        };
        let ours = queue("notes/mail");
        for id in IDS {
            let of: TenantId = id.parse().unwrap();
            seal(id, &of, Job::Good, "good", &ours, 0);
            seal(id, &of, Job::Expired, "good", &ours, 300);
            seal(id, &of, Job::OtherQueue, "good", &queue("notes/invoices"), 0);
            seal(super::GONE, &of, Job::Suspended, "good", &ours, 0);
            seal(id, &of, Job::Revoked, "soon", &ours, 0);
        }
        let contents = &mut house.control.contents;
        let gone = contents.tenants.iter_mut().find(|t| t.id.as_str() == super::GONE).unwrap();
        gone.status = TenantStatus::Suspended;
        let expires = ControlPlane::START + Duration::from_secs(3600);
        contents.revocations.revoke_token(ControlPlane::ISSUER, "soon", expires);
        wall.accept(house.control.publish()).unwrap();
        Self { forgotten, wall, keys, sealed }
    }

    /// The tenant it runs as, or why it does not.
    fn opened(&self, payload: &str) -> Result<String, &'static str> {
        let opened = self.wall.open_job::<Value>(&queue("notes/mail"), payload, &self.keys);
        match opened {
            Ok((context, _)) => Ok(context.tenant().to_string()),
            Err(refusal) => Err(refusal.code()),
        }
    }
}

/// The tenant a payload names, believed.
fn named(payload: &str) -> Option<TenantId> {
    let claims = match payload.starts_with('{') {
        true => serde_json::from_str(payload).ok()?,
        false => super::twin::payload(payload),
    };
    claims.get("tid")?.as_str()?.parse().ok()
}

impl JobGate for Door {
    async fn run(&self, payload: &[u8]) -> Result<JobOutcome, IssuerError> {
        let text = String::from_utf8_lossy(payload);
        let believed = || Ok(JobOutcome::Accepted(named(&text)));
        let why = match self.opened(&text) {
            Ok(tenant) => return Ok(JobOutcome::Accepted(tenant.parse().ok())),
            Err(why) => why,
        };
        let own_kid = text.split('.').next().unwrap_or_default()
            == self.sealed[0].2.split('.').next().unwrap_or_default();
        let believes = match self.forgotten {
            Forgotten::Nothing => false,
            Forgotten::Envelope => text.starts_with('{') && named(&text).is_some(),
            Forgotten::Key => why == "key_unknown",
            Forgotten::Signature => own_kid && why == "signature_invalid",
            Forgotten::Time => why == "token_expired",
            Forgotten::Queue => why == "audience_mismatch",
            Forgotten::Status => why == "tenant_not_active",
            Forgotten::Revocation => why == "revoked",
        };
        if believes { believed() } else { Ok(JobOutcome::Refused(why.to_owned())) }
    }

    async fn payload(&self, tenant: &TenantId, job: Job) -> Result<Option<Vec<u8>>, IssuerError> {
        let mut sealed = self.sealed.iter();
        let found = sealed.find(|(of, kind, _)| of == tenant && *kind == job);
        Ok(found.map(|(_, _, envelope)| envelope.clone().into_bytes()))
    }
}

async fn run(forgotten: Forgotten) -> Vec<Trial> {
    let door = Door::new(forgotten);
    let mut log = Log::new(Vec::new(), &Silent);
    prove_jobs(&door, &tenants(), "tid", Some(&House::new()), &mut log).await;
    log.finish().0
}

#[tokio::test]
async fn m11_the_real_queue_runs_nothing_that_was_not_sealed_for_it() {
    let trials = run(Forgotten::Nothing).await;
    for verdict in [Verdict::Leaked, Verdict::Undecided, Verdict::NotTested] {
        assert_eq!(with(verdict, &trials), [""; 0]);
    }
    let jobs = partywall_prove::catalogue().filter(|attack| attack.id.starts_with("job."));
    // That jobs are declared at all is not for a queue to show.
    for attack in jobs.filter(|attack| attack.id != "job.declared") {
        assert!(trials.iter().any(|trial| trial.attack == attack.id), "{}", attack.id);
        assert!(DOORS.iter().any(|(_, id)| *id == attack.id), "{} has no door", attack.id);
    }
}

#[tokio::test]
async fn m11_every_forgetful_door_is_caught() {
    for (forgotten, attack) in DOORS {
        let leaked = with(Verdict::Leaked, &run(*forgotten).await);
        let caught = leaked.iter().any(|told| told.starts_with(attack));
        assert!(caught, "{forgotten:?} slipped past {attack}: {leaked:#?}");
    }
}
