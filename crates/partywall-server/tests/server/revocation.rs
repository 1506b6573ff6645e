//! What was taken back stays taken back for as long as anything of it could come up again.

use std::time::Duration;

use partywall::{
    AccessToken, Clock, Partywall,
    carry::{JobQueue, MAX_ENVELOPE_LIFE},
    token::{Algorithm, IssuerConfig, KeySet, KeySource, Profile, SigningKey},
};

use crate::support::{API, Plane, TESTER, oracle, refusal};

/// A queue whose producer and consumer are the same service.
struct Jobs {
    queue: JobQueue,
    key: SigningKey,
    keys: KeySet,
}

impl Jobs {
    fn new() -> Self {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let set = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
        let queue = JobQueue { producer: "invoices".into(), queue: "invoices/reminders".into() };
        Self { queue, keys: KeySet::parse(set.as_bytes()).unwrap(), key }
    }

    fn seal(&self, wall: &Partywall, token: &str, clock: &dyn Clock) -> String {
        let context = wall.verify(AccessToken::new(token)).unwrap();
        context.seal_job(&self.queue, &1, MAX_ENVELOPE_LIFE, &self.key, clock).unwrap()
    }

    fn open(&self, wall: &Partywall, envelope: &str) -> &'static str {
        let opened = wall.open_job::<u32>(&self.queue, envelope, &self.keys);
        opened.map_or_else(|refusal| refusal.code(), |_| "runs")
    }
}

#[tokio::test]
async fn m11_a_job_of_what_was_revoked_never_runs_however_long_it_waits() {
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let (machine, trusted) = (plane.machine(tenant.id()).await, plane.machine(tenant.id()).await);
    let (of_machine, of_token) = (plane.token(&machine).await, plane.token(&trusted).await);
    let sibling = plane.token(&trusted).await;
    let wall = plane.wall().await;

    // Put in at the end of the tokens' life, to wait for as long as a job may.
    plane.advance(Duration::from_secs(10 * 60 - 1));
    let jobs = Jobs::new();
    let sealed = [&of_machine, &of_token, &sibling]
        .map(|token| jobs.seal(&wall, token, plane.clock.as_ref()));
    let ran = |wall: &Partywall| sealed.each_ref().map(|envelope| jobs.open(wall, envelope));
    assert_eq!(ran(&wall), ["runs"; 3]);

    let claims = oracle(&plane.get("/idp/jwks").await.body, &of_token).unwrap();
    let jti = claims["jti"].as_str().unwrap();
    plane.control.revoke_machine(&TESTER, &machine.client_id).await.unwrap();
    plane.control.revoke_token(&TESTER, tenant.id(), jti).await.unwrap();
    for wait in [0, 3600, MAX_ENVELOPE_LIFE.as_secs() - 2 * 3600, 3600 - 1] {
        plane.advance(Duration::from_secs(wait));
        // Each revocation throws out those that have no more effect.
        let passing = plane.machine(tenant.id()).await;
        plane.control.revoke_machine(&TESTER, &passing.client_id).await.unwrap();
        let fresh = plane.wall().await;
        assert_eq!(ran(&fresh), ["revoked", "revoked", "runs"], "after {wait} s more");
    }
}

#[tokio::test]
async fn i09_an_epoch_outdates_what_an_issuer_with_a_fast_clock_has_issued() {
    const ELSEWHERE: &str = "https://elsewhere.test";
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let keys = KeySource::Inline(serde_json::json!({ "keys": [key.public_jwk()] }));
    let elsewhere = IssuerConfig::new(ELSEWHERE, Profile::Partywall, keys);
    let plane = Plane::with(|config| config.external_issuers.push(elsewhere)).await;
    let tenant = plane.tenant("acme").await;
    let client = plane.machine(tenant.id()).await;
    let theirs = |ahead: u64| {
        let iat = plane.clock.now().0 + ahead;
        let claims = serde_json::json!({
            "iss": ELSEWHERE, "sub": "u:ada", "aud": API, "client_id": "web", "jti": "1",
            "iat": iat, "exp": iat + 600, "tid": tenant.id(), "roles": [],
        });
        key.sign_jws("at+jwt", &claims).unwrap()
    };
    let issued = [theirs(0), theirs(20), plane.token(&client).await];
    let before = plane.wall().await;
    assert_eq!(issued.each_ref().map(|token| refusal(&before, token)), [None; 3]);

    plane.control.bump_epoch(&TESTER, tenant.id()).await.unwrap();
    let after = plane.wall().await;
    assert_eq!(
        issued.each_ref().map(|token| refusal(&after, token)),
        [Some("epoch_passed"); 3],
        "one from before is still good"
    );
    // The control: ours say which epoch they are from and are good at once, theirs half a minute on.
    assert_eq!(refusal(&after, &plane.token(&client).await), None);
    plane.advance(Duration::from_secs(31));
    assert_eq!(refusal(&after, &theirs(0)), None);
}
