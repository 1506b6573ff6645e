//! What a body may not decide: whose it is, and what one may do.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Route,
    catalogue::http as attacks,
    client::{Answer, Request},
    estate::{Estate, Ids, new_id},
    ground::{Ground, Tally, is_unclear},
    hints::found_by,
    reach::{field, own_call},
};
use crate::{Attack, Log, Observation, Trial};

/// Creations and changes of the attacker's own things, with fields nobody asked for.
pub(super) async fn attack(
    ground: &Ground<'_>,
    attacker: &mut Estate,
    victim: &Estate,
    log: &mut Log<'_>,
) {
    let writes =
        |route: &&Route| !route.is_safe() && route.body.as_ref().is_some_and(Value::is_object);
    for route in ground.routes.iter().filter(writes) {
        let (id, name) = (victim.tenant.id.as_str(), victim.tenant.name.as_str());
        let mut tenant: Vec<(&str, Value)> =
            TENANT_FIELDS.into_iter().map(|field| (field, json!(id))).collect();
        if id != name {
            tenant.extend([("tenant_slug", json!(name)), ("org", json!(name))]);
        }
        // Also where the route has such a field itself: that is where it is believed.
        fields(ground, &attacks::ASSIGN_TENANT, route, &tenant, attacker, victim, log).await;
        let role: Vec<(&str, Value)> = vec![
            ("role", json!("admin")),
            ("roles", json!(["admin"])),
            ("is_admin", json!(true)),
            ("isAdmin", json!(true)),
            ("admin", json!(true)),
            ("permissions", json!(["*"])),
            ("scope", json!("*")),
            ("tier", json!("enterprise")),
            ("plan", json!("enterprise")),
        ];
        fields(ground, &attacks::ASSIGN_ROLE, route, &role, attacker, victim, log).await;
    }
}

const TENANT_FIELDS: [&str; 10] = [
    "tenant_id",
    "tenant",
    "tenantId",
    "tid",
    "org_id",
    "orgId",
    "organization_id",
    "account_id",
    "workspace_id",
    "owner_tenant",
];

async fn fields(
    ground: &Ground<'_>,
    attack: &'static Attack,
    route: &Route,
    assigned: &[(&str, Value)],
    attacker: &mut Estate,
    victim: &Estate,
    log: &mut Log<'_>,
) {
    let draft = Trial::of(attack, route.to_string()).between(attacker.name(), victim.name());
    let Some(own) = &route.body else { return };
    // A role that the route asks for is a role it means to give.
    let overrides = attack.id == attacks::ASSIGN_TENANT.id;
    let news = assigned.iter().filter(|(name, _)| overrides || field(own, name).is_none());
    let news: Vec<(&str, Value)> = news.cloned().collect();
    let mut tally = Tally::new(route.to_string());
    // All at once first: where that is taken and comes to nothing, so does each alone. Every
    // creation leaves something behind.
    let mut forms = vec![news.as_slice()];
    let control = own_call(ground, attacker, route).await;
    // What is changed is something made for it: later attacks go by what is there now.
    let changes = matches!(route.method, Method::PUT | Method::PATCH) && route.takes_id();
    let ids = if changes { ground.spare(attacker).await.0 } else { attacker.ids.clone() };
    while let Some(form) = forms.pop() {
        let marker = attacker.next_marker();
        let mut with = route.clone();
        if let Some(body) = &mut with.body {
            add(body, form);
            // Alone, a field may pass where one that nobody knows is refused.
            if form.len() > 1 {
                add(body, &[(NONSENSE, json!(marker))]);
            }
        }
        let Ok(request) = with.fill(&ids, &marker) else {
            return log.record(draft.skip("it cannot be filled in with own ids"));
        };
        let answer = ground.client.send(&request, attacker.credentials()).await;
        attacker.note_created(route, &request, &answer);
        let seen = if is_unclear(&answer) {
            Observation::unclear(answer.to_string())
        } else if !answer.is_success() {
            if form.len() > 1 {
                forms.extend(form.chunks(1));
            }
            Observation::refused(answer.to_string())
        } else if let Some(found) = found_by(ground, victim, &marker).await {
            Observation::reached(format!("{answer}, and {found}"))
        } else if let Some(name) =
            kept(ground, attacker, &ids, route, &request, &answer, form).await
        {
            let nonsense = [(NONSENSE, json!(marker))];
            match kept(ground, attacker, &ids, route, &request, &answer, &nonsense).await {
                Some(_) => Observation::unclear(format!(
                    "{answer}, and it keeps whatever it is sent: nobody can tell what `{name}` \
                     means to it"
                )),
                None => Observation::reached(format!(
                    "{answer}, and `{name}` reads back as it was sent"
                )),
            }
        } else {
            Observation::nothing(format!("{answer}, without effect"))
        };
        let names: Vec<&str> = form.iter().map(|(name, _)| *name).collect();
        tally.add(names.join(", "), seen);
    }
    let tried = format!("{}, and: {}", route, tally.tried());
    log.record(draft.tried(tried).judge(tally.observation(), control));
}

/// A field that means nothing anywhere.
const NONSENSE: &str = "pw_nonsense";

/// Puts the fields into an object and into those inside it: many bodies have a wrapper.
fn add(body: &mut Value, assigned: &[(&str, Value)]) {
    match body {
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| add(value, assigned));
            let new = assigned.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            fields.extend(new);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| add(item, assigned)),
        _ => {}
    }
}

/// The first of the fields that reads back as it was sent.
async fn kept<'f>(
    ground: &Ground<'_>,
    attacker: &Estate,
    own: &Ids,
    route: &Route,
    request: &Request,
    answer: &Answer,
    form: &'f [(&str, Value)],
) -> Option<&'f str> {
    let mut ids = own.clone();
    let item = match new_id(route, request, answer) {
        Some(id) if route.method == Method::POST => {
            ids.insert(&route.shape(), id);
            format!("{}/{{}}", route.shape())
        }
        _ => route.shape(),
    };
    let reader = ground.readers().find(|reader| reader.shape() == item);
    let read = reader.and_then(|reader| reader.fill(&ids, &attacker.main_marker).ok());
    let json = match read {
        Some(read) => ground.client.send(&read, attacker.credentials()).await.json(),
        None => answer.json(),
    };
    form.iter().find(|(name, value)| field(&json, name) == Some(value)).map(|(name, _)| *name)
}
