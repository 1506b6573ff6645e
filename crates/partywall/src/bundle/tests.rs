use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;

use super::*;
use crate::{DeploymentModel, testing};

/// A control plane's key for one test.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn key(&self) -> BundleKey {
        BundleKey::from_ed25519(self.0.public_key().as_ref().try_into().unwrap()).unwrap()
    }

    pub(crate) fn trust(&self) -> BundleTrust {
        self.key().into()
    }

    pub(crate) fn full(&self, generation: u64, contents: &BundleContents) -> Vec<u8> {
        self.sign(header(generation, None), contents)
    }

    pub(crate) fn delta(&self, base: u64, generation: u64, contents: &BundleContents) -> Vec<u8> {
        self.sign(header(generation, Some(base)), contents)
    }

    pub(crate) fn sign(&self, header: BundleHeader, contents: &BundleContents) -> Vec<u8> {
        let unsigned = UnsignedBundle::encode(&header, contents, &self.key()).unwrap();
        unsigned.sign(|message| self.0.sign(message).as_ref().try_into().unwrap())
    }
}

fn header(generation: u64, base: Option<u64>) -> BundleHeader {
    BundleHeader {
        generation: Generation(generation),
        base: base.map(|base| Base { generation: Generation(base), created: Timestamp(1_000) }),
        created: Timestamp(1_000),
        expires: Timestamp(2_000),
    }
}

pub(crate) fn contents(ids: &[&str]) -> BundleContents {
    let placements = testing::placed("main", DeploymentModel::Pool, "eu-1");
    let tenants = ids.iter().map(|id| testing::tenant(id, placements.clone())).collect();
    BundleContents { tenants, ..BundleContents::default() }
}

fn check(signer: &Signer, bytes: Vec<u8>) -> Result<Bundle, BundleError> {
    SignedBundle::new(bytes).check(&signer.trust())
}

#[test]
fn what_was_put_in_comes_out() {
    let signer = Signer::new();
    let mut contents = contents(&["zeta", "acme", "acme-2"]);
    let silo = testing::placed("main", DeploymentModel::Silo, "acme-own");
    contents.tenants[1].placements = silo.clone();
    contents.tenants[1].region = Some("eu".parse().unwrap());
    contents.tenants[1].status = TenantStatus::Suspended;
    contents.tenants[1].epoch = 7;
    contents.tenants[1].epoch_at = Timestamp(77);
    let bundle = check(&signer, signer.full(3, &contents)).unwrap();

    assert_eq!(bundle.generation(), Generation(3));
    assert_eq!(bundle.tenants().map(|t| t.id()).collect::<Vec<_>>(), ["acme", "acme-2", "zeta"]);
    let acme = bundle.tenant(&"acme".parse().unwrap()).unwrap();
    assert_eq!((acme.status(), acme.epoch()), (TenantStatus::Suspended, 7));
    assert_eq!(acme.epoch_at(), Timestamp(77));
    assert_eq!(acme.region().unwrap().as_str(), "eu");
    assert_eq!(acme.placements(), Some(&silo));
    assert_eq!(bundle.tenant_by_slug(&"zeta".parse().unwrap()).unwrap().id(), "zeta");
    assert!(bundle.tenant(&"acme-3".parse().unwrap()).is_none());
}

#[test]
fn r16_every_damaged_byte_is_noticed() {
    let signer = Signer::new();
    let good = signer.full(1, &contents(&["acme", "globex"]));
    assert!(check(&signer, good.clone()).is_ok(), "the control: undamaged it loads");
    for at in 0..good.len() {
        for flip in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(check(&signer, bad).is_err(), "byte {at} flipped by {flip:#x} went unnoticed");
        }
    }
    for len in 0..good.len() {
        assert!(check(&signer, good[..len].to_vec()).is_err(), "cut to {len} bytes it loaded");
    }
    let longer = [good, vec![0]].concat();
    assert!(check(&signer, longer).is_err(), "with a byte added it loaded");
}

#[test]
fn r19_a_foreign_signature_is_refused() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let contents = contents(&["acme"]);
    let foreign = theirs.full(1, &contents);
    assert!(matches!(check(&ours, foreign.clone()), Err(BundleError::ForeignKey { .. })));
    assert!(check(&theirs, foreign.clone()).is_ok(), "the control");
    // Under our key's name, with their signature.
    let unsigned = UnsignedBundle::encode(&header(1, None), &contents, &ours.key()).unwrap();
    let forged = unsigned.sign(|message| theirs.0.sign(message).as_ref().try_into().unwrap());
    assert!(matches!(check(&ours, forged), Err(BundleError::Signature)));
}

#[test]
fn r19_signed_and_still_wrong_is_refused() {
    let signer = Signer::new();
    let good = signer.full(1, &contents(&["acme", "globex"]));
    let body = good[..good.len() - format::TRAILER].to_vec();
    let tried = AtomicU32::new(0);
    for at in format::HEADER..body.len() {
        for value in [0x00, 0x01, 0x41, 0xff] {
            let mut poisoned = body.clone();
            if std::mem::replace(&mut poisoned[at], value) == value {
                continue;
            }
            // Signed by the right key, checksum and all: what a faulty control plane would make.
            let checksum = digest(&SHA256, &poisoned);
            let message = [format::SIGNING_DOMAIN, checksum.as_ref()].concat();
            let signature = signer.0.sign(&message);
            poisoned.extend_from_slice(checksum.as_ref());
            poisoned.extend_from_slice(signature.as_ref());
            // It must not panic, and whatever loads must be readable to the end.
            if let Ok(bundle) = check(&signer, poisoned) {
                assert_eq!(bundle.tenants().count(), bundle.tenant_count());
                for tenant in bundle.tenants() {
                    assert!(tenant.id().parse::<TenantId>().is_ok());
                    assert!(tenant.tier().is_some() && tenant.placements().is_some());
                }
            }
            tried.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert!(tried.into_inner() > 500, "hardly a byte was tried");
}

#[test]
fn generations_only_rise() {
    let signer = Signer::new();
    let (second, third) = (signer.full(2, &contents(&["acme"])), signer.full(3, &contents(&[])));
    let bundle = check(&signer, third.clone()).unwrap();
    let onto = |bytes: Vec<u8>| SignedBundle::new(bytes).check_onto(&bundle, &signer.trust());
    assert!(matches!(onto(second), Err(BundleError::NotNewer { .. })), "rolled back");
    assert!(matches!(onto(third), Err(BundleError::NotNewer { .. })), "replayed");
    assert!(onto(signer.full(4, &contents(&["acme"]))).is_ok(), "the control");
}

#[test]
fn a_delta_changes_what_it_names_and_nothing_else() {
    let signer = Signer::new();
    let bundle = check(&signer, signer.full(1, &contents(&["acme", "globex", "initech"]))).unwrap();
    let mut change = contents(&["globex", "hooli"]);
    change.tenants[0].status = TenantStatus::Suspended;
    change.tenants[0].slug = "globex-inc".parse().unwrap();
    change.removed.insert("initech".parse().unwrap());
    let delta = signer.delta(1, 2, &change);
    let changed = SignedBundle::new(delta.clone()).check_onto(&bundle, &signer.trust()).unwrap();

    let status = |id: &str| changed.tenant(&id.parse().unwrap()).map(|tenant| tenant.status());
    assert_eq!(status("acme"), Some(TenantStatus::Active));
    assert_eq!(status("globex"), Some(TenantStatus::Suspended));
    assert_eq!(status("hooli"), Some(TenantStatus::Active));
    assert_eq!(status("initech"), None);
    let by_slug = |slug: &str| changed.tenant_by_slug(&slug.parse().unwrap()).map(|t| t.id());
    assert_eq!(by_slug("globex-inc"), Some("globex"));
    assert_eq!(by_slug("globex"), None, "the old alias leads nowhere");
    assert_eq!(by_slug("initech"), None);
    assert_eq!(changed.tenant_count(), 3);
    assert_eq!(bundle.tenant_count(), 3, "a request that pinned the old one still sees it");

    let wrong = SignedBundle::new(delta).check_onto(&changed, &signer.trust());
    assert!(matches!(wrong, Err(BundleError::WrongBase { .. })), "not twice");
}

#[test]
fn a_delta_cannot_take_another_tenants_slug() {
    let signer = Signer::new();
    let bundle = check(&signer, signer.full(1, &contents(&["acme", "globex"]))).unwrap();
    let mut change = contents(&["hooli"]);
    change.tenants[0].slug = "acme".parse().unwrap();
    let delta = SignedBundle::new(signer.delta(1, 2, &change));
    assert!(matches!(
        delta.check_onto(&bundle, &signer.trust()),
        Err(BundleError::Malformed { .. })
    ));
    // The control: once acme has given the alias up, hooli may have it.
    change.tenants.push(testing::tenant("acme", Placements::default()));
    change.tenants[1].slug = "acme-old".parse().unwrap();
    let delta = SignedBundle::new(signer.delta(1, 2, &change));
    let swapped = delta.check_onto(&bundle, &signer.trust()).unwrap();
    assert_eq!(swapped.tenant_by_slug(&"acme".parse().unwrap()).unwrap().id(), "hooli");
}

#[test]
fn a_delta_cannot_take_a_slug_an_earlier_delta_gave_away() {
    let signer = Signer::new();
    let apply = |bundle: &Bundle, base, contents: &BundleContents| {
        SignedBundle::new(signer.delta(base, base + 1, contents))
            .check_onto(bundle, &signer.trust())
    };
    let bundle = check(&signer, signer.full(1, &contents(&["acme"]))).unwrap();
    let bundle = apply(&bundle, 1, &contents(&["globex"])).unwrap();
    let mut change = contents(&["hooli"]);
    change.tenants[0].slug = "globex".parse().unwrap();
    assert!(matches!(apply(&bundle, 2, &change), Err(BundleError::Malformed { .. })));
    // The control: in one delta, globex gives it up and hooli takes it.
    change.removed.insert("globex".parse().unwrap());
    let bundle = apply(&bundle, 2, &change).unwrap();
    assert_eq!(bundle.tenant_by_slug(&"globex".parse().unwrap()).unwrap().id(), "hooli");
}

/// A control plane restored from a backup comes by the same generations again.
#[test]
fn a_delta_is_bound_to_what_its_base_said_and_not_to_a_number() {
    let signer = Signer::new();
    let bundle = check(&signer, signer.full(100, &contents(&["acme"]))).unwrap();
    let delta = |created: u64| {
        let base = Base { generation: Generation(100), created: Timestamp(created) };
        let header = BundleHeader { base: Some(base), ..header(101, None) };
        SignedBundle::new(signer.sign(header, &contents(&["globex"])))
            .check_onto(&bundle, &signer.trust())
    };
    assert!(matches!(delta(999), Err(BundleError::WrongBase { .. })), "another generation 100");
    assert_eq!(delta(1_000).unwrap().generation(), Generation(101), "the control");
}

#[test]
fn duplicates_are_not_encoded() {
    let mut twice = contents(&["acme", "globex"]);
    twice.tenants[1].slug = "acme".parse().unwrap();
    let key = Signer::new().key();
    assert!(matches!(
        UnsignedBundle::encode(&header(1, None), &twice, &key),
        Err(EncodeError::Duplicate(slug)) if slug == "acme"
    ));
}

#[test]
fn an_idle_tenant_costs_at_most_120_bytes() {
    let signer = Signer::new();
    let ids: Vec<String> = (0..1_000).map(|n| format!("t-{n:026}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (one, thousand) = (contents(&ids[..1]), contents(&ids));
    let bytes = signer.full(1, &thousand).len() - signer.full(1, &one).len();
    assert!(bytes / 999 <= 120, "{} bytes a tenant", bytes / 999);
}

#[test]
fn bundle_keys_read_as_they_are_written() {
    let key = Signer::new().key();
    assert_eq!(key.to_string().parse::<BundleKey>().unwrap().as_bytes(), key.as_bytes());
    assert!("zz".parse::<BundleKey>().is_err());
    assert!("é".repeat(32).parse::<BundleKey>().is_err());
}

proptest! {
    #[test]
    fn r19_no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let signer = Signer::new();
        let prefixed = [format::MAGIC.as_slice(), &bytes].concat();
        prop_assert!(check(&signer, bytes).is_err());
        prop_assert!(check(&signer, prefixed.clone()).is_err());
        // Past the signature, too.
        let _ = Layer::unsigned(prefixed.into());
    }
}
