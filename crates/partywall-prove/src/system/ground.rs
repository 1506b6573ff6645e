//! What all attacks of a run share: the way in, the routes, and how answers are read.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{
    Options, Route,
    client::{Answer, Client, Request},
    estate::{Estate, Ids, first_listed},
};
use crate::{Control, Log, Observation};

/// The system under attack.
pub(super) struct Ground<'s> {
    pub(super) client: Client,
    pub(super) routes: &'s [Route],
    /// The routes that create what other routes take ids of, parents first.
    pub(super) creators: Vec<Route>,
    /// The routes that change what a tenant has one of: `PUT /settings` beside `GET /settings`.
    pub(super) singletons: Vec<Route>,
    pub(super) options: &'s Options,
    pub(super) keys: Option<&'s Value>,
}

impl<'s> Ground<'s> {
    pub(super) fn new(
        client: Client,
        routes: &'s [Route],
        options: &'s Options,
        keys: Option<&'s Value>,
    ) -> Self {
        let collections: BTreeSet<String> =
            routes.iter().flat_map(|route| route.params().into_iter().map(|(_, of)| of)).collect();
        let named = |route: &Route| {
            let mention = format!("$id:{}", route.shape());
            routes.iter().any(|other| other.texts().contains(&mention.as_str()))
        };
        let creates = |route: &&Route| {
            let shape = route.shape();
            route.method == Method::POST && (collections.contains(&shape) || named(route))
        };
        let mut creators: Vec<Route> = routes.iter().filter(creates).cloned().collect();
        // A creation comes after those of the ids it takes: in its path, and in its body.
        let refers = |route: &Route| route.texts().iter().any(|text| text.contains("$id"));
        creators.sort_by_key(|route| (refers(route), route.params().len()));
        let singletons = singletons(routes);
        Self { client, routes, creators, singletons, options, keys }
    }

    /// Plants one of each, or looks for what is there.
    pub(super) async fn settle(&self, estate: &mut Estate, log: &mut Log<'_>) {
        if self.options.writes {
            let (ids, marker, faults) = estate.plant(&self.client, &self.creators).await;
            for (route, what) in faults {
                log.note(route.to_string(), format!("nothing could be planted: {what}"));
            }
            estate.ids = ids;
            estate.main_marker = marker;
            for route in &self.singletons {
                let Ok(request) = route.fill(&estate.ids, &estate.main_marker) else { continue };
                let answer = self.client.send(&request, estate.credentials()).await;
                if !answer.is_success() {
                    let name = estate.name();
                    log.note(
                        route.to_string(),
                        format!("nothing could be planted: {answer} to {name}"),
                    );
                }
            }
        }
        self.look_around(estate).await;
        // A list is there whatever becomes of the things in it.
        let (lists, others): (Vec<_>, Vec<_>) = self.readers().partition(|route| !route.takes_id());
        for route in lists.into_iter().chain(others) {
            if let Some(sight) = self.owner_sees(estate, route).await
                && sight.answer.is_success()
            {
                estate.lookout = Some(route.clone());
                break;
            }
        }
    }

    /// Why a refusal to `attacker` says nothing of the wall, if so: its token expired, or it was
    /// shut out for what it has tried. Then it cannot read what it could read before.
    pub(super) async fn shut_out(&self, attacker: &Estate) -> Option<String> {
        let sight = self.owner_sees(attacker, attacker.lookout.as_ref()?).await?;
        let (answer, name) = (&sight.answer, attacker.name());
        let why = format!("{name} itself gets {answer} now for {}", sight.request);
        (!answer.is_success()).then_some(why)
    }

    /// `seen`, unless it is a refusal to one who is refused everything by now.
    pub(super) async fn fairly(&self, attacker: &Estate, seen: Observation) -> Observation {
        if !matches!(seen, Observation::Refused(_) | Observation::Nothing(_)) {
            return seen;
        }
        match self.shut_out(attacker).await {
            Some(why) => Observation::unclear(format!("{}; {why}", seen.text())),
            None => seen,
        }
    }

    /// Takes the first id of each list for collections that nothing is known of.
    async fn look_around(&self, estate: &mut Estate) {
        let none = Ids::default();
        for route in self.routes.iter().filter(|route| route.method == Method::GET) {
            let wanted = self.routes.iter().flat_map(Route::params);
            let mut wanted =
                wanted.filter(|(name, of)| *of == route.shape() && !estate.ids.knows(of, name));
            let (Some(_), Ok(request)) = (wanted.next(), route.fill(&none, "")) else { continue };
            let answer = self.client.send(&request, estate.credentials()).await;
            if let Some(id) = first_listed(&answer.json()).filter(|_| answer.is_success()) {
                estate.ids.insert(&route.shape(), id);
            }
        }
    }

    /// Another one of everything, for what changes or removes it. Without creations, what is there.
    pub(super) async fn spare(&self, estate: &mut Estate) -> (Ids, String) {
        if self.creators.is_empty() || !self.options.writes {
            return (estate.ids.clone(), estate.main_marker.clone());
        }
        let (ids, marker, _) = estate.plant(&self.client, &self.creators).await;
        (ids, marker)
    }

    /// The routes that read, and are not meant for everyone.
    pub(super) fn readers(&self) -> impl Iterator<Item = &'s Route> {
        self.routes.iter().filter(|route| route.method == Method::GET && !route.public)
    }

    /// `route` as its owner calls it, and whether the answer shows what is the owner's.
    pub(super) async fn owner_sees(&self, owner: &Estate, route: &Route) -> Option<Sight> {
        let request = route.fill(&owner.ids, &owner.main_marker).ok()?;
        let answer = self.client.send(&request, owner.credentials()).await;
        let evidence = owner.seen_in(&answer, &request).filter(|_| answer.is_success());
        Some(Sight { request, answer, evidence })
    }
}

fn singletons(routes: &[Route]) -> Vec<Route> {
    let read = |shape: &str| {
        let reads = |other: &Route| other.method == Method::GET && !other.public;
        routes.iter().any(|other| reads(other) && other.shape() == shape)
    };
    let changes = |route: &&Route| {
        matches!(route.method, Method::PUT | Method::PATCH)
            && !route.takes_id()
            && route.texts().iter().any(|text| text.contains("$marker"))
            && read(&route.shape())
    };
    routes.iter().filter(changes).cloned().collect()
}

/// What a tenant sees of its own.
pub(super) struct Sight {
    pub(super) request: Request,
    pub(super) answer: Answer,
    pub(super) evidence: Option<&'static str>,
}

impl Sight {
    /// That the owner sees it.
    pub(super) fn control(&self, owner: &Estate) -> Control {
        let (answer, owner) = (&self.answer, owner.name());
        match self.evidence {
            Some(what) => Control::held(format!("{answer} to {owner}, with {what}")),
            None => Control::failed(format!("{answer} to {owner}, and nothing of its own in it")),
        }
    }
}

/// Whether an answer says nothing about the wall: it broke, or there were too many requests.
pub(super) fn is_unclear(answer: &Answer) -> bool {
    match answer.status() {
        Some(501 | 505) => false,
        Some(status) => status >= 500 || status == 429,
        None => true,
    }
}

/// Adds up what several variants of one attack came to: the worst counts.
pub(super) struct Tally {
    place: String,
    tried: Vec<String>,
    reached: Option<String>,
    unclear: Option<String>,
    refused: BTreeSet<String>,
    nothing: BTreeSet<String>,
}

impl Tally {
    pub(super) fn new(place: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            tried: Vec::new(),
            reached: None,
            unclear: None,
            refused: BTreeSet::new(),
            nothing: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, what: impl Into<String>, seen: Observation) {
        let what = what.into();
        let told = |seen: String| format!("{seen} ({what})");
        match seen {
            Observation::Reached(seen) => self.reached = self.reached.take().or(Some(told(seen))),
            Observation::Unclear(seen) => self.unclear = self.unclear.take().or(Some(told(seen))),
            Observation::Refused(seen) => drop(self.refused.insert(seen)),
            Observation::Nothing(seen) => drop(self.nothing.insert(seen)),
            Observation::Skipped(_) => return,
        }
        self.tried.push(what);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tried.is_empty()
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What was sent, variant by variant.
    pub(super) fn tried(&self) -> String {
        self.tried.join("; ")
    }

    pub(super) fn observation(self) -> Observation {
        let count = self.tried.len();
        let all = |seen: BTreeSet<String>| {
            let seen = seen.into_iter().collect::<Vec<_>>().join(", ");
            if count == 1 { seen } else { format!("{seen} in {count} forms") }
        };
        match (self.reached, self.unclear) {
            (Some(seen), _) => Observation::Reached(seen),
            (None, Some(seen)) => Observation::Unclear(seen),
            (None, None) if self.nothing.is_empty() && !self.refused.is_empty() => {
                Observation::Refused(all(self.refused))
            }
            (None, None) if count == 0 => Observation::skipped("there was nothing to send"),
            (None, None) => {
                Observation::Nothing(all(self.refused.into_iter().chain(self.nothing).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_of_several_variants_the_worst_counts() {
        let seen = |all: &[Observation]| {
            let mut tally = Tally::new("here");
            all.iter().for_each(|seen| tally.add("one", seen.clone()));
            tally.observation()
        };
        let (refused, nothing) = (Observation::refused("401"), Observation::nothing("404"));
        let (unclear, reached) = (Observation::unclear("500"), Observation::reached("200"));
        assert!(
            matches!(seen(std::slice::from_ref(&refused)), Observation::Refused(text) if text == "401")
        );
        assert!(matches!(seen(&[refused.clone(), nothing.clone()]), Observation::Nothing(_)));
        assert!(matches!(seen(&[refused.clone(), unclear.clone()]), Observation::Unclear(_)));
        assert!(matches!(seen(&[unclear, reached, refused]), Observation::Reached(_)));
        assert!(matches!(seen(&[]), Observation::Skipped(_)));
    }
}
