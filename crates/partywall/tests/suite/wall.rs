//! The enforcement point: what it lets in, what it remembers, and when it forgets.

use std::{sync::Arc, time::Duration};

use partywall::{
    AccessToken, DeploymentModel, Partywall, Placements, Refusal, TenantStatus,
    bundle::BundleError,
    testing::{ControlPlane, placed, tenant},
    token::{Algorithm, KeySet, SigningKey},
};

fn pooled() -> Placements {
    placed("main", DeploymentModel::Pool, "eu-1")
}

fn control() -> ControlPlane {
    ControlPlane::new(vec![tenant("acme", pooled()), tenant("globex", pooled())])
}

fn verify(wall: &Partywall, token: &str) -> Result<String, Refusal> {
    wall.verify(AccessToken::new(token)).map(|context| context.tenant().to_string())
}

/// Why a token is refused, the first time and once it has been remembered as good.
fn code(wall: &Partywall, token: &str) -> &'static str {
    verify(wall, token).map_or_else(|refusal| refusal.code(), |_| "accepted")
}

#[test]
fn m04_a_token_makes_a_context_of_its_one_tenant() {
    let control = control();
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    assert_eq!(verify(&wall, &token).unwrap(), "acme");
    assert_eq!(verify(&wall, &token).unwrap(), "acme", "and again, remembered");
    let stranger = control.token("initech", "u:ada");
    assert_eq!(code(&wall, &stranger), "tenant_unknown", "signed, and for nobody we know");
}

/// What is remembered is the whole token: with another's signature it was never seen.
#[test]
fn r04_a_remembered_token_is_known_by_its_signature_too() {
    let control = control();
    let wall = control.wall();
    let (token, other) = (control.token("acme", "u:ada"), control.token("acme", "u:bob"));
    let signed = |token: &str| token.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let ((claims, _), (_, signature)) = (signed(&token).unwrap(), signed(&other).unwrap());
    assert_eq!(code(&wall, &token), "accepted", "the control, remembered from here on");
    assert_eq!(code(&wall, &format!("{claims}.{signature}")), "signature_invalid");
    assert_eq!(code(&wall, &token), "accepted", "and still good itself");
}

#[test]
fn j11_a_remembered_token_dies_at_its_expiry() {
    let control = control();
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    let expiry = ControlPlane::START + Duration::from_secs(600);
    control.clock().set(expiry - Duration::from_secs(1));
    assert_eq!(code(&wall, &token), "accepted");
    control.clock().set(expiry + Duration::from_secs(31));
    assert_eq!(code(&wall, &token), "token_expired");
    assert_eq!(code(&control.wall(), &token), "token_expired", "as one never seen before");
}

#[test]
fn p06_a_remembered_token_dies_with_its_key() {
    let mut control = control();
    let wall = control.wall();
    let (seen, unseen) = (control.token("acme", "u:ada"), control.token("acme", "u:bob"));
    assert_eq!(code(&wall, &seen), "accepted");
    control.rotate();
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &seen), "key_unknown");
    assert_eq!(
        code(&wall, &unseen),
        "key_unknown",
        "a cache must not know better than the key set"
    );
    assert_eq!(
        code(&wall, &control.token("acme", "u:ada")),
        "accepted",
        "the control: the new key"
    );
}

#[test]
fn r26_a_remembered_token_dies_with_its_tenants_status() {
    let mut control = control();
    let wall = control.wall();
    let (acme, globex) = (control.token("acme", "u:ada"), control.token("globex", "u:eve"));
    assert_eq!((code(&wall, &acme), code(&wall, &globex)), ("accepted", "accepted"));
    for status in [TenantStatus::Suspended, TenantStatus::PendingErase] {
        control.contents.tenants[0].status = status;
        wall.accept(control.publish()).unwrap();
        assert_eq!(code(&wall, &acme), "tenant_not_active");
        assert_eq!(code(&wall, &globex), "accepted", "the other tenant is not disturbed");
    }
    control.contents.tenants[0].status = TenantStatus::Active;
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &acme), "accepted", "and lives again with it");
    control.contents.tenants.remove(0);
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &acme), "tenant_unknown");
}

#[test]
fn i09_a_remembered_token_dies_with_its_tenants_epoch() {
    let mut control = control();
    let wall = control.wall();
    let mut claims = control.claims("acme", "u:ada");
    claims["tep"] = 0.into();
    let (with_epoch, without) = (control.sign_token(&claims), control.token("acme", "u:bob"));
    assert_eq!((code(&wall, &with_epoch), code(&wall, &without)), ("accepted", "accepted"));
    control.contents.tenants[0].epoch = 1;
    control.contents.tenants[0].epoch_at = ControlPlane::START;
    wall.accept(control.publish()).unwrap();
    assert_eq!((code(&wall, &with_epoch), code(&wall, &without)), ("epoch_passed", "epoch_passed"));
    control.clock().set(ControlPlane::START + Duration::from_secs(1));
    claims["tep"] = 1.into();
    assert_eq!(code(&wall, &control.sign_token(&claims)), "accepted", "the control: issued since");
    assert_eq!(code(&wall, &control.token("acme", "u:bob")), "accepted");
}

#[test]
fn i09_a_remembered_token_dies_when_it_or_its_principal_is_revoked() {
    let mut control = control();
    let wall = control.wall();
    let mut claims = control.claims("acme", "u:ada");
    claims["jti"] = "one".into();
    let one = control.sign_token(&claims);
    claims["jti"] = "two".into();
    let two = control.sign_token(&claims);
    let other_tenant = control.token("globex", "u:ada");
    assert_eq!((code(&wall, &one), code(&wall, &two)), ("accepted", "accepted"));

    let expires = ControlPlane::START + Duration::from_secs(600);
    control.contents.revocations.revoke_token(ControlPlane::ISSUER, "one", expires);
    wall.accept(control.publish()).unwrap();
    assert_eq!((code(&wall, &one), code(&wall, &two)), ("revoked", "accepted"));

    let (acme, ada) = ("acme".parse().unwrap(), "u:ada".parse().unwrap());
    control.contents.revocations.revoke_subject(&acme, &ada, ControlPlane::START);
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &two), "revoked");
    assert_eq!(code(&wall, &other_tenant), "accepted", "the same subject in another tenant");
}

#[test]
fn j09_a_remembered_token_dies_when_its_issuers_rules_change() {
    let mut control = control();
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    assert_eq!(code(&wall, &token), "accepted");
    let mut issuer = serde_json::to_value(&control.contents.issuers[0]).unwrap();
    issuer["audience"] = serde_json::json!(["https://elsewhere.test"]);
    control.contents.issuers = vec![serde_json::from_value(issuer).unwrap()];
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &token), "audience_mismatch");
}

#[test]
fn r16_a_bad_bundle_changes_nothing() {
    let mut control = control();
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    let good = control.publish();
    wall.accept(good.clone()).unwrap();
    let before = wall.generation();

    let mut damaged = control.publish();
    damaged[100] ^= 1;
    let foreign = ControlPlane::new(vec![]).sign(99, None);
    let truncated = control.publish()[..80].to_vec();
    control.clock().set(ControlPlane::START + Duration::from_secs(1));
    let twin = control.sign(before.unwrap().0, None);
    for (what, bytes) in [
        ("damaged", damaged),
        ("foreign", foreign),
        ("truncated", truncated),
        ("rolled back", control.sign(1, None)),
        ("of the same generation, made at another time", twin),
        ("empty", Vec::new()),
        ("no bundle at all", b"<html>502 Bad Gateway</html>".to_vec()),
    ] {
        assert!(wall.accept(bytes).is_err(), "{what} was taken");
        assert_eq!(wall.generation(), before, "{what} changed something");
        assert_eq!(code(&wall, &token), "accepted", "{what} cost requests");
    }
    assert_eq!(wall.accept(good).ok(), before, "the control: what is in force, said again");
    assert!(wall.accept(control.publish()).is_ok(), "and what is newer");
}

#[test]
fn r19_a_bundle_whose_issuers_cannot_be_used_is_refused_whole() {
    let mut control = control();
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    control.contents.issuers.push(control.contents.issuers[0].clone());
    let twice = control.publish();
    assert!(matches!(wall.accept(twice), Err(BundleError::UnusableIssuers(_))));
    assert_eq!(code(&wall, &token), "accepted");
}

/// The old host was taken over, and the operator points to a new one: what was fetched from the
/// old one is worth nothing, remembered tokens included.
#[test]
fn p06_keys_do_not_survive_a_move_of_their_address() {
    let mut control = control();
    let external = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let keys = serde_json::json!({ "keys": [external.public_jwk()] }).to_string();
    let keys = KeySet::parse(keys.as_bytes()).unwrap();
    let at = |url: &str| {
        let issuer = serde_json::json!({ "issuer": "https://idp.test", "jwks": { "url": url } });
        serde_json::from_value(issuer).unwrap()
    };
    control.contents.issuers.push(at("https://old.test/jwks"));
    let wall = control.wall();
    wall.replace_keys("https://idp.test", keys);
    let mut claims = control.claims("acme", "u:ada");
    claims["iss"] = "https://idp.test".into();
    let token = external.sign_jws("at+jwt", &claims).unwrap();
    assert_eq!(code(&wall, &token), "accepted");
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &token), "accepted", "the control: nothing moved");
    control.contents.issuers[1] = at("https://new.test/jwks");
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &token), "keys_not_yet_fetched");
}

#[test]
fn an_issuer_configured_here_is_as_configured_here() {
    let mut control = control();
    let own = control.contents.issuers[0].clone();
    let wall = control.builder().issuer(own).build().unwrap();
    control.contents.issuers.clear();
    wall.accept(control.sign(1, None)).unwrap();
    let token = control.token("acme", "u:ada");
    assert_eq!(code(&wall, &token), "accepted", "although no bundle names it");
    // A bundle that names it, too, is taken, and changes nothing about it.
    let other = ControlPlane::new(vec![]);
    control.contents.issuers = other.contents.issuers.clone();
    wall.accept(control.sign(2, None)).unwrap();
    assert_eq!(code(&wall, &token), "accepted");
    assert_eq!(code(&wall, &other.token("acme", "u:ada")), "key_unknown");
}

#[test]
fn r19_a_bundle_cannot_have_local_files_read() {
    let mut control = control();
    let wall = control.wall();
    let issuer =
        serde_json::json!({ "issuer": "https://x.test", "jwks": { "file": "/etc/passwd" } });
    control.contents.issuers.push(serde_json::from_value(issuer).unwrap());
    assert!(matches!(wall.accept(control.publish()), Err(BundleError::Malformed { .. })));
    control.contents.issuers.pop();
    assert!(wall.accept(control.publish()).is_ok(), "the control");
}

#[test]
fn m06_a_cold_start_needs_nothing_but_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = control();
    let wall = control.builder().state_dir(dir.path()).build().unwrap();
    let token = control.token("acme", "u:ada");
    assert_eq!(code(&wall, &token), "no_bundle");
    wall.accept(control.sign(1, None)).unwrap();
    control.contents.tenants = vec![tenant("globex", pooled())];
    control.contents.tenants[0].status = TenantStatus::Suspended;
    wall.accept(control.sign(2, Some(1))).unwrap();
    drop(wall);

    let again = control.builder().state_dir(dir.path()).build().unwrap();
    assert_eq!(again.generation().unwrap().0, 2);
    assert_eq!(code(&again, &token), "accepted");
    assert_eq!(code(&again, &control.token("globex", "u:eve")), "tenant_not_active");

    // A bundle on disk is trusted for its signature, not its place.
    let stranger = ControlPlane::new(vec![tenant("acme", pooled())]);
    let untrusting = stranger.builder().state_dir(dir.path()).build().unwrap();
    assert_eq!(code(&untrusting, &token), "no_bundle");
    assert_eq!(code(&untrusting, &stranger.token("acme", "u:ada")), "no_bundle");
    untrusting.accept(stranger.sign(1, None)).unwrap();
    assert_eq!(code(&untrusting, &stranger.token("acme", "u:ada")), "accepted", "the control");
}

#[test]
fn m06_beyond_its_bound_a_stale_bundle_serves_nobody() {
    let mut control = control();
    let wall = control.wall();
    let almost = ControlPlane::START + Duration::from_secs(72 * 3600 - 1);
    control.clock().set(almost);
    let token = control.token("acme", "u:ada");
    assert_eq!(code(&wall, &token), "accepted", "for 72 hours nobody needs the control plane");
    control.clock().set(almost + Duration::from_secs(1));
    assert_eq!(code(&wall, &token), "bundle_stale", "remembered or not");
    assert_eq!(code(&wall, &control.token("globex", "u:eve")), "bundle_stale");
    wall.accept(control.publish()).unwrap();
    assert_eq!(code(&wall, &token), "accepted", "until it speaks again");
}

#[test]
fn m12_a_silo_refuses_every_other_tenants_valid_token() {
    let control = control();
    let silo = control.builder().pinned_to("acme".parse().unwrap()).build().unwrap();
    silo.accept(control.sign(1, None)).unwrap();
    let (acme, globex) = (control.token("acme", "u:ada"), control.token("globex", "u:eve"));
    assert_eq!(code(&silo, &globex), "pinned_elsewhere");
    assert_eq!(code(&silo, &acme), "accepted", "the control");
    assert_eq!(code(&control.wall(), &globex), "accepted", "and elsewhere it is good");
}

#[test]
fn a_request_sees_one_bundle_from_start_to_end() {
    let mut control = control();
    let wall = control.wall();
    let context = wall.verify(AccessToken::new(&control.token("acme", "u:ada"))).unwrap();
    control.contents.tenants[0].tier = "enterprise".parse().unwrap();
    wall.accept(control.publish()).unwrap();
    assert_eq!(context.tier().unwrap().as_str(), "test");
    assert_eq!((context.generation().0, wall.generation().unwrap().0), (1, 2));
}

/// Readers are never blocked, and never see half of anything.
#[test]
fn readers_go_on_while_bundles_change() {
    let mut control = control();
    let wall = Arc::new(control.wall());
    let tokens = [control.token("acme", "u:ada"), control.token("globex", "u:eve")];
    let bundles: Vec<_> = (0..200)
        .map(|n| {
            control.contents.tenants[0].epoch = 0;
            control.contents.tenants[0].tier = format!("tier-{n}").parse().unwrap();
            control.publish()
        })
        .collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (wall, tokens) = (Arc::clone(&wall), &tokens);
                scope.spawn(move || {
                    (0..20_000)
                        .filter(|n| verify(&wall, &tokens[(n + reader) % 2]).is_err())
                        .count()
                })
            })
            .collect();
        for bundle in bundles {
            wall.accept(bundle).unwrap();
        }
        let refused: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!(refused, 0, "requests failed while bundles changed");
    });
}
