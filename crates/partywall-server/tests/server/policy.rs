//! Issuers and lifetimes: one policy for every server on a database.

use std::time::Duration;

use partywall::{
    Clock,
    bundle::{BundleTrust, SignedBundle},
    token::{IssuerConfig, KeySource, Profile},
};
use partywall_server::{ControlPlane, ServerConfig};

use crate::support::{ISSUER, Plane, START, TESTER, config, database, new_tenant, refusal};

const COMPROMISED: &str = "https://compromised.test";

fn trusting(mut config: ServerConfig, issuer: &str) -> ServerConfig {
    let keys = KeySource::Url(format!("{issuer}/jwks"));
    let mut external = IssuerConfig::new(issuer, Profile::Generic, keys);
    external.audience = vec![crate::support::API.to_owned()];
    external.tenant = serde_json::from_value(serde_json::json!({ "claim": "tid" })).ok();
    config.external_issuers.push(external);
    config
}

async fn issuers(control: &ControlPlane) -> Vec<String> {
    let trust = BundleTrust::from(control.bundle_key().clone());
    let bundle = control.bundle().await.unwrap();
    let bundle = SignedBundle::new(bundle.bytes).check(&trust).unwrap();
    bundle.issuers().iter().map(|issuer| issuer.issuer().to_owned()).collect()
}

#[tokio::test]
async fn r19_a_server_that_still_runs_does_not_undo_what_the_next_one_configured() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path()).await;
    let database = || database.clone();
    let old = Plane::open(trusting(config(database()), COMPROMISED), START).await;
    assert_eq!(issuers(&old.control).await, [ISSUER, COMPROMISED]);

    // A rolling restart: the new one starts without that issuer while the old one still runs.
    let new = Plane::open(config(database()), START).await;
    assert!(new.control.generation() > old.control.generation());
    assert_eq!(issuers(&new.control).await, [ISSUER]);
    old.control.create_tenant(&TESTER, new_tenant("acme")).await.unwrap();
    new.control.refresh().await.unwrap();
    let (by_old, by_new) =
        (old.control.bundle().await.unwrap(), new.control.bundle().await.unwrap());
    assert_eq!(by_old.generation, by_new.generation);
    assert!(by_old.bytes == by_new.bytes, "two files of one generation");
    assert_eq!(issuers(&old.control).await, [ISSUER]);

    // A start with the same configuration changes nothing; the control: with another, it counts.
    let generation = new.control.generation();
    let same = Plane::open(config(database()), START).await;
    assert_eq!(same.control.generation(), generation);
    let back = Plane::open(trusting(config(database()), COMPROMISED), START).await;
    assert!(back.control.generation() > generation);
    assert_eq!(issuers(&back.control).await, [ISSUER, COMPROMISED]);
}

#[tokio::test]
async fn j12_tokens_stay_good_when_the_next_ones_are_to_live_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path()).await;
    let lasting = |minutes: u64| {
        let mut config = config(database.clone());
        config.token_lifetime = Duration::from_secs(minutes * 60);
        config
    };
    let before = Plane::open(lasting(60), START).await;
    let tenant = before.tenant("acme").await;
    let client = before.machine(tenant.id()).await;
    let outstanding = before.token(&client).await;

    let after = Plane::open(lasting(10), START).await;
    assert_eq!(refusal(&after.wall().await, &outstanding), None, "an hour was promised");
    // The server that runs already issues by the new life, too.
    before.control.refresh().await.unwrap();
    assert_eq!(before.ask(&client, "").await.json()["expires_in"], 600);

    // Once the last of them has expired, nothing may claim to live for so long.
    let longest = async |plane: &Plane| {
        let bundle = plane.wall().await.bundle().unwrap();
        bundle.issuers()[0].max_lifetime_seconds
    };
    assert_eq!(longest(&after).await, 3600);
    after.advance(Duration::from_secs(3600 + 60));
    assert_eq!(after.clock.now(), START + Duration::from_secs(3660));
    after.control.bump_epoch(&TESTER, tenant.id()).await.unwrap();
    assert_eq!(longest(&after).await, 600);
}
