//! Work that runs later: nothing may run without a tenant, or as another one.

use std::future::Future;

use partywall::TenantId;

use super::{
    Issuer, IssuerError, Tenant,
    catalogue::job as attacks,
    chance,
    forge::{Forged, Mould},
    ground::Tally,
};
use crate::{Attack, Control, Log, Observation, Trial};

/// A job as the queue's producer would put it in, good or wrong in one way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Job {
    /// A good one: the control.
    Good,
    /// It waited too long.
    Expired,
    /// It was sealed, with the same key, for another queue.
    OtherQueue,
    /// Its tenant was suspended after it was put in.
    Suspended,
    /// The token it was put in with was revoked since.
    Revoked,
}

/// What came of handing a payload to a worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobOutcome {
    /// It would run, as this tenant where that is known.
    Accepted(Option<TenantId>),
    /// It was turned away, for this reason: a word, never the payload.
    Refused(String),
}

/// The door of a worker, and what may come through it.
pub trait JobGate: Send + Sync {
    /// Hands the worker a payload, as the queue would.
    ///
    /// # Errors
    ///
    /// When nobody can say what came of it.
    fn run(&self, payload: &[u8]) -> impl Future<Output = Result<JobOutcome, IssuerError>> + Send;

    /// A payload of `tenant`, or `None` where this queue makes no such job: the attack is then
    /// reported as not tested.
    ///
    /// # Errors
    ///
    /// When it was tried and failed.
    fn payload(
        &self,
        tenant: &TenantId,
        job: Job,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, IssuerError>> + Send;
}

/// Attacks the door of a worker, as each tenant the next one.
///
/// With `issuer`, access tokens are put in an envelope's place, too.
pub async fn prove_jobs<G: JobGate, I: Issuer>(
    gate: &G,
    tenants: &[Tenant],
    tenant_claim: &str,
    issuer: Option<&I>,
    log: &mut Log<'_>,
) {
    let victims = tenants.iter().cycle().skip(1);
    for (attacker, victim) in tenants.iter().zip(victims) {
        log.begin(&format!("jobs of {}", victim.name));
        let door = Door { gate, attacker, victim };
        door.attack(tenant_claim, issuer, log).await;
    }
}

struct Door<'a, G> {
    gate: &'a G,
    attacker: &'a Tenant,
    victim: &'a Tenant,
}

impl<G: JobGate> Door<'_, G> {
    async fn attack<I: Issuer>(&self, claim: &str, issuer: Option<&I>, log: &mut Log<'_>) {
        let good = match self.gate.payload(&self.victim.id, Job::Good).await {
            Ok(good) => good,
            Err(error) => {
                log.note("jobs", format!("no job of {} could be made: {error}", self.victim.name));
                None
            }
        };
        let mut bare = bare(claim, self.victim.id.as_str());
        let own = self.gate.payload(&self.attacker.id, Job::Good).await.ok().flatten();
        let mould = |payload: &Option<Vec<u8>>| {
            let text = payload.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
            text.and_then(Mould::of_envelope)
        };
        if let Some(mould) = mould(&good) {
            let claims = serde_json::to_vec(mould.claims()).unwrap_or_default();
            bare.push(("the claims without the envelope".to_owned(), claims));
            if let Some(job) = mould.claims().get("job") {
                bare.push(("the job alone".to_owned(), job.to_string().into_bytes()));
            }
            let forged = [mould.bad_signatures(), mould.none(), mould.own_key()];
            let forged = forged.into_iter().flatten().map(bytes).collect();
            self.all(&attacks::JOB_FOREIGN, forged, &good, log).await;
        } else {
            let why = "this queue's jobs are no signed envelopes (RFC 7515): nothing to forge";
            log.record(self.draft(&attacks::JOB_FOREIGN).skip(why));
        }
        self.all(&attacks::JOB_BARE, bare, &good, log).await;
        match mould(&own) {
            Some(mut mould) => {
                mould.rewrite(claim, self.victim.id.as_str());
                let forged = mould.rewritten().into_iter().map(bytes).collect();
                self.all(&attacks::JOB_TAMPERED, forged, &good, log).await;
            }
            None => log.record(self.draft(&attacks::JOB_TAMPERED).skip("no job to tamper with")),
        }
        let token = match issuer {
            Some(issuer) => issuer.token(&self.victim.id).await.ok(),
            None => None,
        };
        let token = token.map(|token| {
            ("an access token in its place".to_owned(), token.expose().as_bytes().to_vec())
        });
        self.made(&attacks::JOB_EXPIRED, Job::Expired, None, &good, log).await;
        self.made(&attacks::JOB_PURPOSE, Job::OtherQueue, token, &good, log).await;
        self.made(&attacks::JOB_SUSPENDED, Job::Suspended, None, &good, log).await;
        self.made(&attacks::JOB_REVOKED, Job::Revoked, None, &good, log).await;
    }

    fn draft(&self, attack: &'static Attack) -> crate::Draft {
        Trial::of(attack, "jobs").between(&*self.attacker.name, &*self.victim.name)
    }

    /// A job that the producer itself sealed, wrong in one way.
    async fn made(
        &self,
        attack: &'static Attack,
        job: Job,
        more: Option<(String, Vec<u8>)>,
        good: &Option<Vec<u8>>,
        log: &mut Log<'_>,
    ) {
        let made = match self.gate.payload(&self.victim.id, job).await {
            Ok(made) => made.map(|payload| (attack.title.to_owned(), payload)),
            Err(error) => {
                let seen = Observation::unclear(format!("no such job could be made: {error}"));
                let control = self.control(good).await;
                return log.record(self.draft(attack).judge(seen, control));
            }
        };
        let payloads: Vec<_> = made.into_iter().chain(more).collect();
        if payloads.is_empty() {
            let why = "only the producer can seal such a job, and this one does not";
            return log.record(self.draft(attack).skip(why));
        }
        self.all(attack, payloads, good, log).await;
    }

    async fn all(
        &self,
        attack: &'static Attack,
        payloads: Vec<(String, Vec<u8>)>,
        good: &Option<Vec<u8>>,
        log: &mut Log<'_>,
    ) {
        let mut tally = Tally::new("jobs");
        for (what, payload) in payloads {
            let seen = match self.gate.run(&payload).await {
                Ok(JobOutcome::Accepted(Some(tenant))) => {
                    Observation::reached(format!("it would run as {tenant}"))
                }
                Ok(JobOutcome::Accepted(None)) => Observation::reached("it would run"),
                Ok(JobOutcome::Refused(why)) => Observation::refused(why),
                Err(error) => Observation::unclear(error.to_string()),
            };
            tally.add(what, seen);
        }
        let control = self.control(good).await;
        let draft = self.draft(attack).tried(tally.tried());
        log.record(draft.judge(tally.observation(), control));
    }

    /// A good job of the victim's runs as the victim.
    async fn control(&self, good: &Option<Vec<u8>>) -> Control {
        let Some(good) = good else {
            return Control::failed("there is no good job to compare with");
        };
        match self.gate.run(good).await {
            Ok(JobOutcome::Accepted(Some(tenant))) if tenant != self.victim.id => {
                Control::failed(format!("a good job of {} would run as {tenant}", self.victim.name))
            }
            Ok(JobOutcome::Accepted(_)) => {
                Control::held(format!("a good job of {} would run", self.victim.name))
            }
            Ok(JobOutcome::Refused(why)) => {
                Control::failed(format!("a good job is refused: {why}"))
            }
            Err(error) => Control::failed(error.to_string()),
        }
    }
}

fn bytes(forged: Forged) -> (String, Vec<u8>) {
    (forged.what, forged.token.into_bytes())
}

/// Jobs with nothing around them.
fn bare(claim: &str, tenant: &str) -> Vec<(String, Vec<u8>)> {
    let named = |name: &str| {
        let job = serde_json::json!({ name: tenant, "job": { "id": chance::hex(8) } });
        (format!("a bare job with `{name}`"), job.to_string().into_bytes())
    };
    let mut all = vec![
        ("nothing".to_owned(), Vec::new()),
        ("an empty object".to_owned(), b"{}".to_vec()),
        ("null".to_owned(), b"null".to_vec()),
        ("noise".to_owned(), chance::hex(64).into_bytes()),
    ];
    all.push(named(claim));
    all.extend(["tenant_id", "tenant"].into_iter().filter(|name| *name != claim).map(named));
    all
}
