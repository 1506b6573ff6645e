//! The application's own interface, with the ids of another tenant.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;

use super::{
    Route,
    catalogue::http as attacks,
    client::{Body, Request},
    estate::{Estate, Ids, Missing},
    ground::{Ground, Tally},
    reach::{Adapt, Reach, Snapshot, own_call, reach},
};
use crate::{Attack, Control, Log, Observation, Trial};

/// All of it, as `attacker`, with what is `victim`'s. What removes comes last.
pub(super) async fn attack(
    ground: &Ground<'_>,
    attacker: &mut Estate,
    victim: &mut Estate,
    log: &mut Log<'_>,
) {
    let mut raid = Raid { ground, attacker, victim };
    raid.lists(log).await;
    let mut routes: Vec<&Route> = ground
        .routes
        .iter()
        .filter(|route| {
            let single = ground.singletons.contains(route);
            route.takes_id() || route.takes_marker_in_query() || single
        })
        .collect();
    routes.sort_by_key(|route| rank(&route.method));
    for route in &routes {
        raid.by_id(route, log).await;
    }
    if ground.options.writes {
        for route in routes.iter().filter(|route| !route.is_safe() && route.body.is_some()) {
            raid.content_types(route, log).await;
        }
        for items in items(ground.routes).values() {
            raid.verbs(items, log).await;
            raid.overrides(items, log).await;
        }
    }
}

/// Whether it looks for a text: whether that is found tells that it is there.
fn is_search(route: &Route) -> bool {
    route.is_safe() && route.takes_marker_in_query()
}

fn rank(method: &Method) -> u8 {
    match *method {
        Method::DELETE => 2,
        _ if method.is_safe() => 0,
        _ => 1,
    }
}

/// The places that ids lead to, each with the routes that are declared there.
fn items(routes: &[Route]) -> BTreeMap<String, Vec<&Route>> {
    let mut items: BTreeMap<String, Vec<&Route>> = BTreeMap::new();
    for route in routes.iter().filter(|route| !route.params().is_empty() && !route.public) {
        items.entry(route.shape()).or_default().push(route);
    }
    items
}

/// One form of an attack: a route, and what is done to each request for it.
struct Variant {
    what: String,
    route: Route,
    adapt: Box<dyn Fn(&mut Request) + Send + Sync>,
}

impl Variant {
    fn new(
        what: impl Into<String>,
        route: Route,
        adapt: impl Fn(&mut Request) + Send + Sync + 'static,
    ) -> Self {
        Self { what: what.into(), route, adapt: Box::new(adapt) }
    }
}

struct Raid<'a> {
    ground: &'a Ground<'a>,
    attacker: &'a mut Estate,
    victim: &'a mut Estate,
}

impl Raid<'_> {
    fn trial(&self, attack: &'static Attack, place: impl Into<String>) -> crate::Draft {
        Trial::of(attack, place).between(self.attacker.name(), self.victim.name())
    }

    /// Lists that the attacker may ask for, looked through for what is the victim's.
    async fn lists(&mut self, log: &mut Log<'_>) {
        for route in self.ground.routes.iter().filter(|route| route.method == Method::GET) {
            if route.takes_id() || route.takes_marker_in_query() {
                continue;
            }
            let draft = self.trial(&attacks::LIST, route.to_string());
            let Ok(request) = route.fill(&self.attacker.ids, &self.attacker.main_marker) else {
                continue;
            };
            // The owner first: what it is told may be kept for whoever asks next.
            let Some(sight) = self.ground.owner_sees(self.victim, route).await else { continue };
            let answer = self.ground.client.send(&request, self.attacker.credentials()).await;
            let seen = match self.victim.seen_in(&answer, &request) {
                Some(evidence) => Observation::reached(format!("{answer}, with {evidence}")),
                None if answer.is_success() => Observation::nothing(format!(
                    "{answer}, with nothing of {}",
                    self.victim.name()
                )),
                None => Observation::unclear(format!("{answer} to {}", self.attacker.name())),
            };
            let draft = draft.tried(request.to_string());
            // What shows nobody its own cannot show it to others either, as far as one can see.
            let tells = sight.evidence.is_some() || matches!(seen, Observation::Reached(_));
            if tells {
                log.record(draft.judge(seen, sight.control(self.victim)));
            } else if !route.public {
                log.record(
                    draft.skip("what was planted does not show here, not even to its owner"),
                );
            }
        }
    }

    /// One declared route, with the victim's ids wherever it takes any.
    async fn by_id(&mut self, route: &Route, log: &mut Log<'_>) {
        let attack = match route.method {
            _ if route.params().is_empty() && route.is_safe() => &attacks::SEARCH,
            _ if route.params().is_empty() && route.takes_id() => &attacks::REFERENCE,
            Method::DELETE => &attacks::DELETE,
            _ if route.is_safe() => &attacks::READ,
            _ => &attacks::WRITE,
        };
        let ids = self.victim.ids.clone();
        let absent = [ids.absent(), ids.absent()];
        self.one(attack, route, &ids, &absent, log).await;
        let params = route.params();
        if let [parents @ .., _] = params.as_slice()
            && !parents.is_empty()
        {
            let parents: Vec<String> = parents.iter().map(|(_, of)| of.clone()).collect();
            let mixed = self.victim.ids.with(&self.attacker.ids, &parents);
            // Only the child never was: the parent is the attacker's own in all three.
            let own = |absent: Ids| absent.with(&self.attacker.ids, &parents);
            let absent = [own(ids.absent()), own(ids.absent())];
            self.one(&attacks::NESTED, route, &mixed, &absent, log).await;
        }
    }

    async fn one(
        &mut self,
        attack: &'static Attack,
        route: &Route,
        ids: &Ids,
        absent: &[Ids; 2],
        log: &mut Log<'_>,
    ) {
        let draft = self.trial(attack, route.to_string());
        if !route.is_safe() && !self.ground.options.writes {
            return log.record(draft.skip("it writes, and writing was not allowed"));
        }
        // The owner first: what it is told may be kept for whoever asks next, and what it makes for
        // this must not look like the attacker's doing.
        let mut control = self.both_may(route).await;
        if route.is_safe() {
            let _ = self.ground.owner_sees(self.victim, route).await;
        }
        let before = self.snapshot(route).await;
        let attacked =
            reach(self.ground, self.attacker, self.victim, route, ids, absent, &|_| ()).await;
        let mut found = match attacked {
            Ok(found) => found,
            Err(Missing(what)) => return log.record(draft.skip(what)),
        };
        let draft = draft.tried(found.request.to_string());
        if !route.is_safe()
            && let Some(loot) = self.loot(route, &found).await
        {
            found.seen = Observation::reached(loot);
        }
        found.seen = self.ground.fairly(self.attacker, found.seen).await;
        let existence = attack.id != attacks::NESTED.id && (route.takes_id() || is_search(route));
        match self.after(before, &mut found.seen).await {
            // Its owner may do it, and still reads it as it was.
            Some(Control::Held(unchanged)) => {
                if let (true, Observation::Unclear(seen)) = (found.ambiguous, &found.seen) {
                    found.seen = Observation::nothing(format!("{seen}; {unchanged}"));
                }
                if let Control::Held(own) = &mut control {
                    own.push_str("; ");
                    own.push_str(&unchanged);
                }
            }
            Some(failed @ Control::Failed(_)) => control = failed,
            None => {}
        }
        let reached = matches!(found.seen, Observation::Reached(_));
        log.record(draft.judge(found.seen, control.clone()));
        // What was reached is known to exist.
        if existence && !reached {
            let seen = match (&found.difference, found.answered) {
                (_, false) => Observation::unclear("one of the answers says nothing"),
                (Some(_), _) if found.ambiguous => Observation::skipped(
                    "both tenants may have this id: the answer may be about the attacker's own",
                ),
                (Some(difference), _) => Observation::reached(difference.text()),
                (None, _) => Observation::nothing("the same answer as for two that never were"),
            };
            let seen = self.ground.fairly(self.attacker, seen).await;
            let draft = self.trial(&attacks::EXISTENCE, route.to_string());
            log.record(draft.tried(found.request.to_string()).judge(seen, control));
        }
    }

    /// Whether the route works for its owner, and for the attacker on what is its own: one who may
    /// not do it at all is refused for that, and the wall has not been tried.
    async fn both_may(&mut self, route: &Route) -> Control {
        match own_call(self.ground, self.victim, route).await {
            Control::Held(seen) => match own_call(self.ground, self.attacker, route).await {
                Control::Held(_) => Control::Held(seen),
                Control::Failed(why) => Control::failed(format!(
                    "{why}: {} may not even do it to its own",
                    self.attacker.name()
                )),
            },
            failed @ Control::Failed(_) => failed,
        }
    }

    /// What the attacker reads of the victim's after it was let write: what it made may lead there.
    async fn loot(&self, route: &Route, found: &Reach) -> Option<String> {
        let mut ids = self.attacker.ids.clone();
        let made = found.made.as_ref()?;
        ids.insert(&route.shape(), made.clone());
        let item = format!("{}/{{}}", route.shape());
        for reader in self.ground.readers() {
            if reader.takes_id() && reader.shape() != item {
                continue;
            }
            let Ok(request) = reader.fill(&ids, &self.attacker.main_marker) else { continue };
            let answer = self.ground.client.send(&request, self.attacker.credentials()).await;
            if self.victim.read_in(&answer, &request) {
                return Some(format!("then {answer} with {reader}, with the victim's text"));
            }
        }
        None
    }

    /// What the victim reads before an attack that may change it.
    async fn snapshot(&self, route: &Route) -> Option<Snapshot> {
        match route.is_safe() {
            true => None,
            false => Some(Snapshot::take(self.ground, self.victim, self.attacker).await),
        }
    }

    /// What the victim reads after it. Where something changed, something new is planted, so that
    /// later attacks find what they are aimed at.
    async fn after(&mut self, before: Option<Snapshot>, seen: &mut Observation) -> Option<Control> {
        let before = before?;
        match before.compare(self.ground, self.victim).await {
            Ok(control) => Some(control),
            Err(changed) => {
                *seen = Observation::reached(format!("{}; {changed}", seen.text()));
                let (ids, marker) = self.ground.spare(self.victim).await;
                self.victim.ids = ids;
                self.victim.main_marker = marker;
                None
            }
        }
    }

    /// The same attack in several forms: one trial, the worst counts.
    async fn variants(
        &mut self,
        attack: &'static Attack,
        place: &str,
        variants: Vec<Variant>,
        log: &mut Log<'_>,
    ) {
        let mut tally = Tally::new(place);
        let before = Snapshot::take(self.ground, self.victim, self.attacker).await;
        let ids = self.victim.ids.clone();
        let absent = [ids.absent(), ids.absent()];
        for Variant { what, route, adapt } in variants {
            let adapt: Adapt<'_> = &*adapt;
            let (attacker, victim) = (&mut *self.attacker, &*self.victim);
            let found = reach(self.ground, attacker, victim, &route, &ids, &absent, adapt).await;
            match found {
                Ok(found) => tally.add(what, found.seen),
                Err(Missing(what)) => {
                    return log.record(self.trial(attack, place).skip(what));
                }
            }
        }
        let draft = self.trial(attack, place).tried(tally.tried());
        if tally.is_empty() {
            return;
        }
        let mut seen = self.ground.fairly(self.attacker, tally.observation()).await;
        let control = self.after(Some(before), &mut seen).await;
        let control = control.unwrap_or_else(|| Control::failed("it changed"));
        log.record(draft.judge(seen, control));
    }

    /// Methods that are not declared where the declared ones are.
    async fn verbs(&mut self, declared: &[&Route], log: &mut Log<'_>) {
        let Some(first) = declared.first() else { return };
        let there: BTreeSet<&str> = declared.iter().map(|route| route.method.as_str()).collect();
        let body = self.body_for(first);
        let all = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let undeclared = all.into_iter().filter(|method| !there.contains(method.as_str()));
        let variants = undeclared
            .map(|method| {
                let writes = !method.is_safe() && method != Method::DELETE;
                let body = body.clone().filter(|_| writes);
                let route = Route { body, query: Vec::new(), method, ..(*first).clone() };
                Variant::new(route.to_string(), route, |_| ())
            })
            .collect();
        self.variants(&attacks::VERB, &first.path, variants, log).await;
    }

    /// Writes hidden in a method that is let through.
    async fn overrides(&mut self, declared: &[&Route], log: &mut Log<'_>) {
        let Some(first) = declared.first() else { return };
        let body = self.body_for(first);
        let mut variants = Vec::new();
        for outer in [Method::POST, Method::GET] {
            for inner in ["DELETE", "PUT", "PATCH"] {
                let body = body.clone().filter(|_| outer == Method::POST);
                let route =
                    Route { method: outer.clone(), body, query: Vec::new(), ..(*first).clone() };
                for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
                    let what = format!("{route}, {header}: {inner}");
                    let add = move |request: &mut Request| {
                        request.headers.push((header.to_owned(), inner.to_owned()));
                    };
                    variants.push(Variant::new(what, route.clone(), add));
                }
                let what = format!("{route}?_method={inner}");
                let add = move |request: &mut Request| {
                    request.query.push(("_method".to_owned(), inner.to_owned()));
                };
                variants.push(Variant::new(what, route, add));
            }
        }
        self.variants(&attacks::OVERRIDE, &first.path, variants, log).await;
    }

    /// What a thing at this place is created with, or the first declared body there.
    fn body_for(&self, item: &Route) -> Option<serde_json::Value> {
        let shape = item.shape();
        let collection = shape.strip_suffix("/{}")?;
        let creator = self.ground.creators.iter().find(|route| route.shape() == collection)?;
        creator.body.clone()
    }

    /// A declared write, its body in other clothes.
    async fn content_types(&mut self, route: &Route, log: &mut Log<'_>) {
        let forms: [(&str, Option<&'static str>, bool); 5] = [
            ("as a form", Some("application/x-www-form-urlencoded"), true),
            ("as text", Some("text/plain"), false),
            ("as a merge patch", Some("application/merge-patch+json"), false),
            ("as UTF-16 by its label", Some("application/json; charset=utf-16"), false),
            ("untyped", None, false),
        ];
        let variants = forms
            .into_iter()
            .map(|(what, content_type, as_form)| {
                let adapt = move |request: &mut Request| {
                    let Some(body) = &mut request.body else { return };
                    if as_form {
                        body.text = form(&body.text);
                    }
                    *body = Body { content_type, text: std::mem::take(&mut body.text) };
                };
                Variant::new(what, route.clone(), adapt)
            })
            .collect();
        self.variants(&attacks::CONTENT_TYPE, &route.to_string(), variants, log).await;
    }
}

/// A flat JSON object as a form.
fn form(json: &str) -> String {
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(json).unwrap_or_default();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields.iter().map(|(name, value)| (name, text(value))))
        .finish()
}
