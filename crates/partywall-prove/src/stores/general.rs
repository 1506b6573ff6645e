//! The attacks every store must stand, whatever it is made of.

use partywall::{DeploymentModel, Placement, Scoped};

use super::{Besieged, Holding, Mistake, Pair, Resident, attacks, opening};
use crate::{Attack, Control, Log, Observation, Trial};

/// One tenant where it is placed, with what it holds.
struct Settled<'a> {
    resident: &'a Resident,
    at: &'a Placement,
    holdings: Result<Vec<Holding>, String>,
}

pub(super) async fn besiege<B: Besieged>(besieged: &B, residents: &[Resident], log: &mut Log<'_>) {
    let store = besieged.store();
    let name = partywall::Store::name(store);
    log.begin(&format!("store {name}"));
    let mut settled = Vec::new();
    for resident in residents {
        match resident.context.placement(store) {
            Some(at) => {
                let holdings = besieged.holdings(&resident.context).await;
                settled.push(Settled { resident, at, holdings });
            }
            None => log.note(format!("{name}"), format!("{} is not placed there", resident.name)),
        }
    }
    if settled.len() < 2 {
        let draft = Trial::of(&attacks::READ, name.to_string());
        let why = format!("{} of the tenants have a place in it: it takes two", settled.len());
        log.record(draft.judge(Observation::unclear(why), Control::failed("nobody to attack")));
        return;
    }
    for (n, attacker) in settled.iter().enumerate() {
        for (m, victim) in settled.iter().enumerate() {
            if n != m {
                let place = format!("{name}: {} → {}", attacker.at.model, victim.at.model);
                attack(besieged, place, attacker, victim, log).await;
            }
        }
    }
}

async fn attack<B: Besieged>(
    besieged: &B,
    place: String,
    attacker: &Settled<'_>,
    victim: &Settled<'_>,
    log: &mut Log<'_>,
) {
    let none = Vec::new();
    let all = victim.holdings.as_ref().unwrap_or(&none);
    // A row like one of the attacker's own would be found, and show nothing.
    let own = &attacker.resident.context;
    let telling = |holding: &&Holding| besieged.owns_alike(own, holding) == Ok(false);
    let holdings: Vec<Holding> = all.iter().filter(telling).cloned().collect();
    let control = control(besieged, attacker, victim).await;
    let pair = Pair {
        place,
        attacker: attacker.resident,
        attacker_at: attacker.at,
        victim: victim.resident,
        victim_at: victim.at,
        holdings: &holdings,
        control: &control,
    };
    let nothing_to_find = match &victim.holdings {
        Err(why) => Some(why.clone()),
        Ok(rows) if rows.is_empty() => Some("has no rows in any table".to_owned()),
        Ok(_) if holdings.is_empty() => Some("has no row unlike the attacker's own".to_owned()),
        Ok(_) => None,
    };
    if let Some(why) = nothing_to_find {
        let draft = pair.trial(&attacks::READ);
        log.record(draft.skip(format!("{}: {why}", victim.resident.name)));
    } else {
        log.record(read(besieged, &pair).await);
    }
    for trial in mistakes(besieged, &pair).await {
        log.record(trial);
    }
    besieged.siege(&pair, log).await;
}

/// The victim reads its row by the very statement the attacker will use, and the attacker reads
/// one of its own.
async fn control<B: Besieged>(
    besieged: &B,
    attacker: &Settled<'_>,
    victim: &Settled<'_>,
) -> Control {
    let mut seen = Vec::new();
    for (side, who) in [("the victim", victim), ("the attacker", attacker)] {
        let mut handle = match who.resident.context.open(besieged.store()).await {
            Ok(handle) => handle,
            Err(error) => return Control::failed(format!("{side} cannot open it: {error}")),
        };
        let (found, of) = match &who.holdings {
            Ok(holdings) if holdings.is_empty() => (0, 0),
            Ok(holdings) => (found(besieged, &mut handle, holdings).await, holdings.len()),
            Err(why) => return Control::failed(format!("{side}: {why}")),
        };
        if found < of || (of == 0 && std::ptr::eq(who, victim)) {
            return Control::failed(format!("{side} reaches {found} of {of} rows of its own"));
        }
        seen.push(format!("{side} reads {}", rows(of)));
    }
    Control::held(format!("{} of its own", seen.join(" and ")))
}

async fn found<B: Besieged>(
    besieged: &B,
    handle: &mut Scoped<B::Store>,
    holdings: &[Holding],
) -> usize {
    let mut found = 0;
    for holding in holdings {
        let seen = besieged.look(handle, holding).await;
        found += usize::from(matches!(seen, Observation::Reached(_)));
    }
    found
}

/// The attacker's handle is asked for each of the victim's rows.
async fn read<B: Besieged>(besieged: &B, pair: &Pair<'_>) -> Trial {
    let draft = pair.trial(&attacks::READ).tried(tried(pair.holdings));
    let seen = match pair.attacker.context.open(besieged.store()).await {
        Ok(mut handle) => look_for_all(besieged, &mut handle, pair.holdings).await,
        Err(error) => Observation::unclear(format!("the attacker cannot open it: {error}")),
    };
    draft.judge(seen, pair.control.clone())
}

fn tried(holdings: &[Holding]) -> String {
    let queries: Vec<&str> = holdings.iter().map(|holding| holding.query.as_str()).collect();
    queries.join(";\n")
}

/// The worst that comes of looking for each of them.
pub(super) async fn look_for_all<B: Besieged>(
    besieged: &B,
    handle: &mut Scoped<B::Store>,
    holdings: &[Holding],
) -> Observation {
    let mut seen = Vec::new();
    for holding in holdings {
        seen.push(besieged.look(handle, holding).await);
    }
    worst(seen).unwrap_or_else(|| Observation::nothing("there was nothing to look for"))
}

/// What several observations amount to: what was reached outweighs what is unclear, and that
/// outweighs a refusal.
pub(super) fn worst(seen: Vec<Observation>) -> Option<Observation> {
    let rank = |observation: &Observation| match observation {
        Observation::Reached(_) => 4,
        Observation::Unclear(_) => 3,
        Observation::Refused(_) => 2,
        Observation::Nothing(_) => 1,
        Observation::Skipped(_) => 0,
    };
    seen.into_iter().max_by_key(rank)
}

/// Each mistake an operator could make, and whether the store falls for it.
async fn mistakes<B: Besieged>(besieged: &B, pair: &Pair<'_>) -> Vec<Trial> {
    let (at, to) = (&pair.attacker_at.target, &pair.victim_at.target);
    let attacker = (&pair.attacker.context, pair.attacker_at);
    let victim = (&pair.victim.context, pair.victim_at);
    let table: [(&'static Attack, Mistake<'_>, String); 4] = [
        (&attacks::SWAPPED, Mistake::Swapped { at, to }, format!("{at} configured as {to}")),
        (
            &attacks::MISDIRECTED,
            Mistake::Misdirected { attacker, victim },
            format!("{at} with the address of {}'s data", pair.victim.name),
        ),
        (&attacks::NO_TARGET, Mistake::NoTarget, format!("{at} not configured")),
        (&attacks::NOT_PLACED, Mistake::OtherName, "a store nobody is placed in".to_owned()),
    ];
    let mut trials = Vec::new();
    for (attack, mistake, tried) in table {
        let draft = pair.trial(attack).tried(tried);
        let alike = match mistake {
            Mistake::Swapped { .. } => at == to,
            Mistake::Misdirected { .. } => {
                pair.together() && pair.attacker_at.model == DeploymentModel::Pool
            }
            Mistake::NoTarget | Mistake::OtherName => false,
        };
        if alike {
            trials.push(draft.skip("both are at one target: nothing to mistake it for"));
            continue;
        }
        trials.push(match besieged.mistaken(&mistake) {
            None => draft.skip("this store cannot be mistaken so, or is not ours to put together"),
            Some(Err(why)) => draft.judge(Observation::unclear(why), pair.control.clone()),
            Some(Ok(store)) => {
                let seen = fallen_for(besieged, pair, &store).await;
                draft.judge(seen, pair.control.clone())
            }
        });
    }
    trials
}

/// What the attacker gets of a store that was configured by mistake.
async fn fallen_for<B: Besieged>(besieged: &B, pair: &Pair<'_>, store: &B::Store) -> Observation {
    match pair.attacker.context.open(store).await {
        Err(error) => opening::<B>(&error),
        Ok(mut handle) => match look_for_all(besieged, &mut handle, pair.holdings).await {
            Observation::Reached(seen) => Observation::reached(format!("let in: {seen}")),
            Observation::Nothing(seen) => Observation::nothing(format!("let in, and {seen}")),
            other => other,
        },
    }
}

/// `1 row`, `2 rows`.
pub(super) fn rows(count: usize) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

/// Whether `marker` stands in `text` as a whole: of two tenants' ids one may begin the other.
pub(super) fn stands_in(text: &str, marker: &str) -> bool {
    let apart = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || "-_".contains(c));
    !marker.is_empty()
        && text.match_indices(marker).any(|(at, found)| {
            let (before, after) = (text.get(..at), text.get(at + found.len()..));
            apart(before.and_then(|before| before.chars().next_back()))
                && apart(after.and_then(|after| after.chars().next()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_a_marker_is_found_whole_or_not_at_all() {
        for text in ["secret of acme", "[\"secret of acme\"]", "a|secret of acme|b"] {
            assert!(stands_in(text, "secret of acme"), "{text}");
        }
        for text in ["secret of acme-2", "secret of acmes", "a_secret of acme", ""] {
            assert!(!stands_in(text, "secret of acme"), "{text}");
        }
        assert!(!stands_in("anything", ""));
    }

    #[test]
    fn m24_what_was_reached_outweighs_everything() {
        let all = || vec![Observation::nothing("n"), Observation::refused("r")];
        assert_eq!(worst(all()), Some(Observation::refused("r")));
        let mut seen = all();
        seen.push(Observation::unclear("u"));
        assert_eq!(worst(seen.clone()), Some(Observation::unclear("u")));
        seen.insert(0, Observation::reached("l"));
        assert_eq!(worst(seen), Some(Observation::reached("l")));
        assert_eq!(worst(Vec::new()), None);
    }
}
