//! One request with another's ids, beside the same with ids that never were.

use serde_json::Value;

use super::{
    Route, chance,
    client::{Answer, Request},
    compare::{Told, difference},
    estate::{Estate, Ids, Missing},
    ground::{Ground, is_unclear},
};
use crate::{Control, Observation};

/// What came of it.
pub(super) struct Reach {
    pub(super) request: Request,
    pub(super) seen: Observation,
    /// How the answer differs from that for ids that never were.
    pub(super) difference: Option<String>,
    /// Whether one could tell at all.
    pub(super) answered: bool,
}

/// The attacker's requests, from those of a route.
pub(super) type Adapt<'f> = &'f (dyn Fn(&mut Request) + Sync);

/// Sends `route` with `ids` as `attacker`, and twice with absent ones of `absent_from`.
pub(super) async fn reach(
    ground: &Ground<'_>,
    attacker: &mut Estate,
    victim: &Estate,
    route: &Route,
    ids: &Ids,
    adapt: Adapt<'_>,
) -> Result<Reach, Missing> {
    // What only reads looks for the victim's text; what writes brings one of its own.
    let looks_for = route.is_safe() && route.takes_marker_in_query();
    let mut request_of = |ids: &Ids, absent: bool| {
        let marker = match (looks_for, absent) {
            (true, false) => victim.main_marker.clone(),
            (true, true) => chance::like(&victim.main_marker),
            (false, _) => attacker.next_marker(),
        };
        let mut sent = ids.sayable();
        sent.push(marker.clone());
        route.fill(ids, &marker).map(|mut request| {
            adapt(&mut request);
            (request, sent)
        })
    };
    let (request, sent) = request_of(ids, false)?;
    let (one, one_sent) = request_of(&ids.absent(), true)?;
    let (two, two_sent) = request_of(&ids.absent(), true)?;
    let client = &ground.client;
    let answer = client.send(&request, attacker.credentials()).await;
    let first = client.send(&one, attacker.credentials()).await;
    let second = client.send(&two, attacker.credentials()).await;
    for (request, answer) in [(&request, &answer), (&one, &first), (&two, &second)] {
        if request.method == reqwest::Method::POST {
            attacker.note_created(route, request, answer);
        }
    }
    let difference = difference(
        &Told { answer: &answer, sent: &sent },
        [&Told { answer: &first, sent: &one_sent }, &Told { answer: &second, sent: &two_sent }],
    );
    let seen = judge(attacker, victim, &request, &answer, difference.as_deref());
    let answered = ![&answer, &first, &second].into_iter().any(is_unclear);
    Ok(Reach { request, seen, difference, answered })
}

fn judge(
    attacker: &Estate,
    victim: &Estate,
    request: &Request,
    answer: &Answer,
    difference: Option<&str>,
) -> Observation {
    let status = answer.to_string();
    if let Some(evidence) = victim.seen_in(answer, request) {
        return Observation::reached(format!("{status}, with {evidence}"));
    }
    if is_unclear(answer) {
        return Observation::unclear(status);
    }
    match (answer.status(), difference) {
        (Some(401 | 403), _) => Observation::refused(status),
        (Some(404 | 410), _) => Observation::nothing(status),
        (_, None) => Observation::nothing(format!("{status}, as for one that never was")),
        // Ids that are counted per tenant: the answer is about the attacker's own.
        (Some(200..=299), Some(_)) if collides(attacker, victim) => Observation::unclear(format!(
            "{status}: both tenants have this id, so nobody can tell whose it was"
        )),
        (_, Some(difference)) => {
            Observation::reached(format!("{status}, unlike one that never was: {difference}"))
        }
    }
}

fn collides(attacker: &Estate, victim: &Estate) -> bool {
    victim.ids.all().any(|id| attacker.ids.all().any(|own| own == id))
}

/// What the victim reads of its own things, to be compared later.
pub(super) struct Snapshot(Vec<(Route, [Answer; 2])>);

impl Snapshot {
    pub(super) async fn take(ground: &Ground<'_>, owner: &Estate) -> Self {
        let mut all = Vec::new();
        for route in ground.readers().filter(|route| !route.params().is_empty()) {
            let Ok(request) = route.fill(&owner.ids, &owner.main_marker) else { continue };
            let one = ground.client.send(&request, owner.credentials()).await;
            if one.is_success() {
                let two = ground.client.send(&request, owner.credentials()).await;
                all.push((route.clone(), [one, two]));
            }
        }
        Self(all)
    }

    /// Whether there is anything to compare.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What changed since, if anything: [`Control::held`] says that the owner reads it as it was.
    pub(super) async fn compare(
        &self,
        ground: &Ground<'_>,
        owner: &Estate,
    ) -> Result<Control, String> {
        for (route, [one, two]) in &self.0 {
            let Ok(request) = route.fill(&owner.ids, &owner.main_marker) else { continue };
            let now = ground.client.send(&request, owner.credentials()).await;
            if is_unclear(&now) {
                return Ok(Control::failed(format!("{now} to {} with {route}", owner.name())));
            }
            let nothing: &[String] = &[];
            let told = |answer| Told { answer, sent: nothing };
            if let Some(difference) = difference(&told(&now), [&told(one), &told(two)]) {
                return Err(format!("{} reads {route} now with {difference}", owner.name()));
            }
        }
        let owner = owner.name();
        Ok(match self.is_empty() {
            true => Control::failed(format!("{owner} has no way to read whether it changed")),
            false => Control::held(format!("{owner} reads it unchanged")),
        })
    }
}

/// Whether the owner's own call of `route` works: asked once, on something made for it.
pub(super) async fn own_call(ground: &Ground<'_>, owner: &mut Estate, route: &Route) -> Control {
    let name = String::from(route.clone());
    if let Some(known) = owner.own_calls.get(&name) {
        return known.clone();
    }
    let control = if route.is_safe() {
        own_look(ground, owner, route).await
    } else if ground.creators.is_empty() {
        Control::failed("nothing can be planted for its owner to change: name a POST route")
    } else {
        let (ids, _) = ground.spare(owner).await;
        let marker = owner.next_marker();
        match route.fill(&ids, &marker) {
            Err(Missing(what)) => Control::failed(what),
            Ok(request) => {
                let answer = ground.client.send(&request, owner.credentials()).await;
                owner.note_created(route, &request, &answer);
                let seen = format!("{answer} to {}", owner.name());
                match answer.is_success() {
                    true => Control::held(seen),
                    false => Control::failed(seen),
                }
            }
        }
    };
    owner.own_calls.insert(name, control.clone());
    control
}

/// The owner reads its own, and something else than for what never was.
async fn own_look(ground: &Ground<'_>, owner: &Estate, route: &Route) -> Control {
    let mut answers = Vec::new();
    let absent = [owner.ids.absent(), owner.ids.absent()];
    let markers = [
        owner.main_marker.clone(),
        chance::like(&owner.main_marker),
        chance::like(&owner.main_marker),
    ];
    for (ids, marker) in [&owner.ids].into_iter().chain(&absent).zip(&markers) {
        let Ok(request) = route.fill(ids, marker) else {
            return Control::failed("it cannot be filled in");
        };
        let mut sent = ids.sayable();
        sent.push(marker.clone());
        answers.push((ground.client.send(&request, owner.credentials()).await, sent));
    }
    let [(own, own_sent), (one, one_sent), (two, two_sent)] = answers.as_slice() else {
        return Control::failed("it cannot be filled in");
    };
    let absent = [&Told { answer: one, sent: one_sent }, &Told { answer: two, sent: two_sent }];
    let owner = owner.name();
    match difference(&Told { answer: own, sent: own_sent }, absent) {
        Some(_) if own.is_success() => Control::held(format!("{own} to {owner}")),
        Some(_) => Control::failed(format!("{own} to {owner}")),
        None => Control::failed(format!("{own} to {owner}, as for one that never was")),
    }
}

/// The values of `fields` in an answer, wherever they stand.
pub(super) fn field<'v>(json: &'v Value, name: &str) -> Option<&'v Value> {
    match json {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| field(value, name)))
        }
        Value::Array(items) => items.iter().find_map(|item| field(item, name)),
        _ => None,
    }
}
