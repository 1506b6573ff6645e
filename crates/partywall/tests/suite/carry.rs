//! Contexts beyond the request.

use std::time::Duration;

use partywall::{
    AccessToken, DeploymentModel, NoTenant, Partywall, TenantContext, TenantStatus,
    carry::JobQueue,
    testing::{ControlPlane, placed, tenant},
    token::{Algorithm, KeySet, SigningKey},
};

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    ControlPlane::new(vec![tenant("acme", pooled.clone()), tenant("globex", pooled)])
}

fn context(control: &ControlPlane, wall: &Partywall, tenant: &str) -> TenantContext {
    wall.verify(AccessToken::new(&control.token(tenant, "u:ada"))).unwrap()
}

/// Many tenants' work, interleaved at every await on several threads: each sees its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m11_interleaved_work_keeps_its_own_tenant() {
    let control = control();
    let wall = control.wall();
    let work = (0..500).map(|n| {
        let name = ["acme", "globex"][n % 2];
        tokio::spawn(context(&control, &wall, name).carry(async move {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                assert_eq!(TenantContext::current().unwrap().tenant().as_str(), name);
            }
        }))
    });
    for done in work.collect::<Vec<_>>() {
        done.await.unwrap();
    }
}

#[tokio::test]
async fn t02_work_without_a_context_has_no_tenant() {
    let control = control();
    let context = context(&control, &control.wall(), "acme");
    assert_eq!(TenantContext::current().unwrap_err(), NoTenant);
    let (inside, spawned) = context
        .carry(async {
            let spawned = tokio::spawn(async { TenantContext::current().is_err() });
            (TenantContext::current().is_ok(), spawned.await.unwrap())
        })
        .await;
    assert!(inside, "the control: carried work has it");
    assert!(spawned, "work spawned without carrying it has none, rather than its parent's");
}

struct Jobs {
    queue: JobQueue,
    key: SigningKey,
    keys: KeySet,
}

fn jobs() -> Jobs {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let set = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
    let queue = JobQueue { producer: "invoices".into(), queue: "invoices/reminders".into() };
    Jobs { queue, keys: KeySet::parse(set.as_bytes()).unwrap(), key }
}

const LIFE: Duration = Duration::from_secs(900);

#[test]
fn m11_a_job_runs_as_the_tenant_that_sealed_it() {
    let (control, jobs) = (control(), jobs());
    let wall = control.wall();
    let sealed = context(&control, &wall, "acme")
        .seal_job(&jobs.queue, &"send", LIFE, &jobs.key, control.clock())
        .unwrap();
    let (context, job) = wall.open_job::<String>(&jobs.queue, &sealed, &jobs.keys).unwrap();
    assert_eq!((context.tenant().as_str(), job.as_str()), ("acme", "send"));
    assert_eq!(context.principal().subject().as_str(), "u:ada");
}

#[test]
fn m11_a_job_that_is_not_let_in_does_not_run() {
    let (mut control, jobs) = (control(), jobs());
    let wall = control.wall();
    let seal = |control: &ControlPlane, tenant: &str| {
        let context = context(control, &wall, tenant);
        context.seal_job(&jobs.queue, &1, LIFE, &jobs.key, control.clock()).unwrap()
    };
    let (acme, globex) = (seal(&control, "acme"), seal(&control, "globex"));
    let open = |envelope: &str| {
        let opened = wall.open_job::<u32>(&jobs.queue, envelope, &jobs.keys);
        opened.map_or_else(|refusal| refusal.code(), |_| "runs")
    };
    assert_eq!((open(&acme), open(&globex)), ("runs", "runs"));

    control.contents.tenants[0].status = TenantStatus::Suspended;
    wall.accept(control.publish()).unwrap();
    assert_eq!((open(&acme), open(&globex)), ("tenant_not_active", "runs"));

    let other_queue = JobQueue { queue: "invoices/exports".into(), ..jobs.queue.clone() };
    assert!(wall.open_job::<u32>(&other_queue, &globex, &jobs.keys).is_err(), "another queue's");
    let strangers = self::jobs();
    assert!(wall.open_job::<u32>(&jobs.queue, &globex, &strangers.keys).is_err(), "another's key");
    let token = control.token("globex", "u:ada");
    assert!(wall.open_job::<u32>(&jobs.queue, &token, &jobs.keys).is_err(), "an access token");
    assert!(wall.verify(AccessToken::new(&globex)).is_err(), "nor is an envelope a token (J-10)");

    let too_long = Duration::from_secs(25 * 3600);
    let context = context(&control, &wall, "globex");
    assert!(context.seal_job(&jobs.queue, &1, too_long, &jobs.key, control.clock()).is_err());

    control.clock().set(ControlPlane::START + LIFE + Duration::from_secs(31));
    assert_eq!(open(&globex), "token_expired");
}

#[test]
fn m11_a_job_does_not_outlive_its_issuer() {
    let (mut control, jobs) = (control(), jobs());
    let wall = control.wall();
    let context = context(&control, &wall, "acme");
    let sealed = context.seal_job(&jobs.queue, &1, LIFE, &jobs.key, control.clock()).unwrap();
    let open = || wall.open_job::<u32>(&jobs.queue, &sealed, &jobs.keys).map_err(|r| r.code());
    assert!(open().is_ok(), "the control");
    // Bound to other tenants meanwhile, it no longer speaks for this one (I-07).
    for (only, code) in [("globex", Err("issuer_untrusted")), ("acme", Ok(()))] {
        for issuer in &mut control.contents.issuers {
            issuer.tenants = Some([only.parse().unwrap()].into());
        }
        wall.accept(control.publish()).unwrap();
        assert_eq!(open().map(|_| ()), code, "bound to {only}");
    }
    control.contents.issuers.clear();
    wall.accept(control.publish()).unwrap();
    assert_eq!(open().unwrap_err(), "issuer_untrusted");
}

/// A job that seals another job hands on its deadline, or a stolen tenant would live for ever.
#[test]
fn m11_resealing_does_not_prolong_a_job() {
    let (control, jobs) = (control(), jobs());
    let wall = control.wall();
    let seal = |context: &TenantContext| {
        context.seal_job(&jobs.queue, &1, LIFE, &jobs.key, control.clock()).unwrap()
    };
    let open = |envelope: &str| wall.open_job::<u32>(&jobs.queue, envelope, &jobs.keys);
    let first = seal(&context(&control, &wall, "acme"));
    control.clock().set(ControlPlane::START + LIFE - Duration::from_secs(1));
    let second = seal(&open(&first).unwrap().0);
    assert!(open(&second).is_ok(), "the control");
    control.clock().set(ControlPlane::START + LIFE + Duration::from_secs(31));
    assert_eq!(open(&second).unwrap_err().code(), "token_expired");
}
