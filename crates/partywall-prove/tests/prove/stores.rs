//! What the sieges of all stores have in common.

use std::collections::{BTreeMap, BTreeSet};

use partywall::{
    DeploymentModel, Placement, Placements, Principal, TenantContext,
    testing::{self, placed},
};
use partywall_prove::{
    Log, Silent, Trial, Verdict, catalogue,
    stores::{Besieged, REGISTRY, Resident, besiege},
};

/// A tenant's id, its model and its target.
pub(crate) type Placed = (&'static str, DeploymentModel, &'static str);

/// Contexts of tenants, each placed in store `main` as told.
pub(crate) fn residents(tenants: &[Placed]) -> Vec<Resident> {
    let place = |(id, model, target): &Placed| testing::tenant(id, placed("main", *model, target));
    let bundle = testing::bundle(tenants.iter().map(place).collect()).unwrap();
    let resident = |(id, ..): &Placed| {
        let user = Principal::User("u:test".parse().unwrap());
        let context = testing::context(&bundle, id.parse().unwrap(), user);
        Resident { name: (*id).to_owned(), context }
    };
    tenants.iter().map(resident).collect()
}

pub(crate) fn placement(context: &TenantContext, tenants: &[Placed]) -> Placement {
    let id = context.tenant().as_str();
    let (_, model, target) = *tenants.iter().find(|(other, ..)| *other == id).unwrap();
    let placements: Placements = placed("main", model, target);
    placements.get(&"main".parse().unwrap()).unwrap().clone()
}

/// Every trial of a siege.
pub(crate) async fn trials<B: Besieged>(besieged: &B, residents: &[Resident]) -> Vec<Trial> {
    let mut log = Log::new(Vec::new(), &Silent);
    besiege(besieged, residents, &mut log).await;
    log.finish().0
}

/// Nothing leaked and nothing is open; each attack was decided somewhere.
#[track_caller]
pub(crate) fn assert_held(trials: &[Trial], attacks: &[&'static partywall_prove::Attack]) {
    let bad: Vec<_> = trials
        .iter()
        .filter(|trial| matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided))
        .map(|t| {
            format!(
                "{} {} {}→{}: {:?}, {:?}\n",
                t.attack, t.place, t.attacker, t.victim, t.seen, t.control
            )
        })
        .collect();
    assert!(bad.is_empty(), "{}", bad.concat());
    let blocked = attacks_that(trials, Verdict::Blocked);
    for attack in attacks {
        assert!(blocked.contains(attack.id), "{} was decided nowhere", attack.id);
    }
}

/// Attacks with a trial of this verdict.
pub(crate) fn attacks_that(trials: &[Trial], verdict: Verdict) -> BTreeSet<&str> {
    trials.iter().filter(|trial| trial.verdict == verdict).map(|trial| &*trial.attack).collect()
}

/// How often each pair of models was tried.
pub(crate) fn places(trials: &[Trial]) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    for trial in trials {
        *places.entry(&*trial.place).or_default() += 1;
    }
    places
}

/// The stores a naive twin is kept of, by a test of that name.
const TWINS: &[&str] = &["partywall-postgres", "partywall-sqlite"];

#[test]
fn m24_every_store_has_attacks_in_the_catalogue_and_a_twin_that_is_caught() {
    let known: BTreeSet<&str> = catalogue().map(|attack| attack.id).collect();
    for (name, attacks) in REGISTRY {
        assert!(!attacks.is_empty(), "{name} has no attacks of its own");
        for attack in *attacks {
            assert!(known.contains(attack.id), "{} is in no catalogue", attack.id);
        }
        assert!(TWINS.contains(name), "no sabotaged twin of {name} is known to be caught");
    }
}
