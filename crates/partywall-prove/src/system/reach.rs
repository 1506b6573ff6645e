//! One request with another's ids, beside the same with ids that never were.

use std::time::Duration;

use serde_json::Value;

use super::{
    Route, chance,
    client::{Answer, Got, Request},
    compare::{Difference, Told, difference},
    estate::{Estate, Ids, Missing, id_text, new_id},
    ground::{Ground, is_unclear},
};
use crate::{Control, Observation};

/// What came of it.
pub(super) struct Reach {
    pub(super) request: Request,
    pub(super) seen: Observation,
    /// How the answer differs from that for ids that never were.
    pub(super) difference: Option<Difference>,
    /// Whether one could tell at all.
    pub(super) answered: bool,
    /// Whether the attacker may have something of the same id: then what differs may be about that.
    pub(super) ambiguous: bool,
    /// The id of what the answer says was created.
    pub(super) made: Option<String>,
}

/// The attacker's requests, from those of a route.
pub(super) type Adapt<'f> = &'f (dyn Fn(&mut Request) + Sync);

/// A clock in an answer that goes by seconds has ticked by then.
const A_TICK: Duration = Duration::from_millis(1100);

/// Sends `route` with `ids` as `attacker`, and twice with `absent` ones.
pub(super) async fn reach(
    ground: &Ground<'_>,
    attacker: &mut Estate,
    victim: &Estate,
    route: &Route,
    ids: &Ids,
    absent: &[Ids; 2],
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
    let [first_absent, second_absent] = absent;
    let (request, sent) = request_of(ids, false)?;
    let (one, one_sent) = request_of(first_absent, true)?;
    let (two, two_sent) = request_of(second_absent, true)?;
    let client = &ground.client;
    let answer = client.send(&request, attacker.credentials()).await;
    let mut others = Vec::new();
    for (request, sent) in [(&one, &one_sent), (&two, &two_sent)] {
        others.push((client.send(request, attacker.credentials()).await, sent));
    }
    let told = [Told { answer: &answer, sent: &sent }];
    let mut found = difference(&told, &absent_told(&others));
    if let Some(Difference::Part(_)) = found {
        tokio::time::sleep(A_TICK).await;
        others.push((client.send(&two, attacker.credentials()).await, &two_sent));
        found = difference(&told, &absent_told(&others));
    }
    if request.method == reqwest::Method::POST {
        attacker.note_created(route, &request, &answer);
        for ((answer, _), request) in others.iter().zip([&one, &two, &two]) {
            attacker.note_created(route, request, answer);
        }
    }
    let ambiguous = found.is_some()
        && (collides(attacker, victim)
            || (answer.is_success() && victim.ids.all().any(|id| is_counted(id))));
    let comparable = !others.iter().any(|(other, _)| is_unclear(other));
    let answered = !is_unclear(&answer) && comparable;
    let seen = judge(attacker, victim, &request, &answer, found.as_ref(), ambiguous, comparable);
    let made = new_id(route, &request, &answer);
    Ok(Reach { request, seen, difference: found, answered, ambiguous, made })
}

fn absent_told<'a>(others: &'a [(Answer, &'a Vec<String>)]) -> Vec<Told<'a>> {
    others.iter().map(|(answer, sent)| Told { answer, sent }).collect()
}

fn judge(
    attacker: &Estate,
    victim: &Estate,
    request: &Request,
    answer: &Answer,
    difference: Option<&Difference>,
    ambiguous: bool,
    comparable: bool,
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
        (Some(200..=299), Some(_)) if ambiguous && attacker.read_in(answer, request) => {
            Observation::nothing(format!("{status}, with the attacker's own of this id"))
        }
        (Some(200..=299), Some(_)) if ambiguous => Observation::unclear(format!(
            "{status}: both tenants may have this id, so nobody can tell whose it was"
        )),
        (_, Some(_)) if !comparable => {
            Observation::unclear(format!("{status}, and one that never was got no answer"))
        }
        (_, Some(difference)) => Observation::reached(format!(
            "{status}, unlike one that never was: {}",
            difference.text()
        )),
    }
}

fn collides(attacker: &Estate, victim: &Estate) -> bool {
    victim.ids.all().any(|id| attacker.has(id))
}

/// A short number: perhaps counted in each tenant by itself.
fn is_counted(id: &str) -> bool {
    id.len() < 10 && id.bytes().all(|digit| digit.is_ascii_digit())
}

/// What the victim reads of its own things, to be compared later.
pub(super) struct Snapshot {
    read: Vec<Read>,
    /// How often the intruder's texts stand in what the victim lists.
    intruder: Intruder,
}

struct Read {
    route: Route,
    /// Of a list: the item of this id.
    item: Option<String>,
    twice: [Answer; 2],
}

struct Intruder {
    marker: String,
    found: usize,
}

impl Snapshot {
    /// Of everything of the owner's that can be read: items by their ids, items in lists, and what
    /// a tenant has one of.
    pub(super) async fn take(ground: &Ground<'_>, owner: &Estate, intruder: &Estate) -> Self {
        let mut read = Vec::new();
        let marker = intruder.marker().to_owned();
        let mut found = 0;
        for route in ground.readers() {
            let Ok(request) = route.fill(&owner.ids, &owner.main_marker) else { continue };
            let one = ground.client.send(&request, owner.credentials()).await;
            if !one.is_success() {
                continue;
            }
            let two = ground.client.send(&request, owner.credentials()).await;
            if !route.params().is_empty() || is_singleton(ground, route) {
                read.push(Read { route: route.clone(), item: None, twice: [one, two] });
                continue;
            }
            found += two.count(&marker);
            for id in owner.ids.all() {
                if let (Some(one), Some(two)) = (excerpt(&one, id), excerpt(&two, id)) {
                    let item = Some(id.clone());
                    read.push(Read { route: route.clone(), item, twice: [one, two] });
                }
            }
        }
        Self { read, intruder: Intruder { marker, found } }
    }

    /// Whether there is anything to compare.
    pub(super) fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// What changed since, if anything: [`Control::held`] says that the owner reads it as it was.
    pub(super) async fn compare(
        &self,
        ground: &Ground<'_>,
        owner: &Estate,
    ) -> Result<Control, String> {
        let name = owner.name();
        for read in &self.read {
            let route = &read.route;
            let Ok(request) = route.fill(&owner.ids, &owner.main_marker) else { continue };
            let now = ground.client.send(&request, owner.credentials()).await;
            if is_unclear(&now) || now.status() == Some(401) {
                return Ok(Control::failed(format!("{now} to {name} with {route}")));
            }
            let part = |answer: Answer| match &read.item {
                Some(id) => excerpt(&answer, id),
                None => Some(answer),
            };
            let Some(now) = part(now) else {
                return Err(format!("{name} does not find its own with {route} any more"));
            };
            let Some(difference) = read.changed(&now, None) else { continue };
            if let Difference::Part(_) = difference {
                tokio::time::sleep(A_TICK).await;
                let later = part(ground.client.send(&request, owner.credentials()).await);
                if read.changed(&now, later.as_ref()).is_none() {
                    continue;
                }
            }
            return Err(format!("{name} reads {route} now with {}", difference.text()));
        }
        if let Some(route) = self.intrusion(ground, owner).await {
            return Err(format!("{name} finds the attacker's text with {route}"));
        }
        Ok(match self.is_empty() {
            true => Control::failed(format!("{name} has no way to read whether it changed")),
            false => Control::held(format!("{name} reads it unchanged")),
        })
    }

    /// The list in which the intruder's text stands more often than before, if any.
    async fn intrusion(&self, ground: &Ground<'_>, owner: &Estate) -> Option<Route> {
        let Intruder { marker, found } = &self.intruder;
        let mut now = 0;
        for route in ground.readers().filter(|route| !route.takes_id()) {
            let Ok(request) = route.fill(&owner.ids, &owner.main_marker) else { continue };
            let answer = ground.client.send(&request, owner.credentials()).await;
            now += if is_singleton(ground, route) { 0 } else { answer.count(marker) };
            if now > *found {
                return Some(route.clone());
            }
        }
        None
    }
}

impl Read {
    /// How `now` differs from before, apart from what changed then already, or goes on changing.
    fn changed(&self, now: &Answer, later: Option<&Answer>) -> Option<Difference> {
        let nothing: &[String] = &[];
        let told = |answer| Told { answer, sent: nothing };
        let since: Vec<_> = [Some(now), later].into_iter().flatten().map(told).collect();
        difference(&since, &self.twice.each_ref().map(told))
    }
}

fn is_singleton(ground: &Ground<'_>, route: &Route) -> bool {
    ground.singletons.iter().any(|other| other.shape() == route.shape())
}

/// The one item of a list that has this id.
fn excerpt(list: &Answer, id: &str) -> Option<Answer> {
    let json = list.json();
    let item = holding(&json, id)?;
    let got = Got { status: list.status()?, headers: Vec::new(), body: item.to_string() };
    Some(Answer::Got(got))
}

fn holding<'v>(json: &'v Value, id: &str) -> Option<&'v Value> {
    match json {
        Value::Object(fields) => {
            let own = fields.get("id").or_else(|| fields.get("_id")).or_else(|| fields.get("uuid"));
            if own.and_then(id_text).is_some_and(|own| own == id) {
                return Some(json);
            }
            fields.values().find_map(|value| holding(value, id))
        }
        Value::Array(items) => items.iter().find_map(|item| holding(item, id)),
        _ => None,
    }
}

/// Whether the owner's own call of `route` works: asked once, on something made for it.
pub(super) async fn own_call(ground: &Ground<'_>, owner: &mut Estate, route: &Route) -> Control {
    let name = String::from(route.clone());
    if let Some(known) = owner.own_calls.get(&name) {
        return known.clone();
    }
    let control = if route.is_safe() {
        let mut control = own_look(ground, owner, route).await;
        // An earlier attack may have changed what it looks for: it plants something new, and looks again.
        if matches!(control, Control::Failed(_)) && route.takes_marker_in_query() {
            (owner.ids, owner.main_marker) = ground.spare(owner).await;
            control = own_look(ground, owner, route).await;
        }
        control
    } else if ground.creators.is_empty() && route.takes_id() {
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
    let absent = [Told { answer: one, sent: one_sent }, Told { answer: two, sent: two_sent }];
    let owner = owner.name();
    match difference(&[Told { answer: own, sent: own_sent }], &absent) {
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
