//! What a tenant has: its token, its planted things, and requests filled in with their ids.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value;

use super::{
    Route, Tenant, Token, chance,
    client::{Answer, Body, Client, Credentials, Request},
};
use crate::Control;

/// Ids, by the collection they are in and by the names they go by.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// `/invoices`, `/invoices/{}/lines`.
    by_collection: BTreeMap<String, String>,
    by_name: BTreeMap<String, String>,
    /// The tenant itself, where a path names it.
    tenant: BTreeMap<String, String>,
}

impl Ids {
    /// What is known of a tenant before anything was planted.
    fn of_tenant(tenant: &Tenant) -> Self {
        let (id, name) = (tenant.id.as_str().to_owned(), tenant.name.clone());
        let named =
            ["tenant_id", "tenantId", "tid", "org_id"].map(|of| (of.to_owned(), id.clone()));
        let aliased =
            ["tenant", "org", "slug", "workspace"].map(|of| (of.to_owned(), name.clone()));
        Self {
            by_collection: BTreeMap::new(),
            by_name: tenant.ids.clone(),
            tenant: named.into_iter().chain(aliased).collect(),
        }
    }

    pub(super) fn insert(&mut self, collection: &str, id: String) {
        self.by_collection.insert(collection.to_owned(), id);
    }

    /// The id a path parameter of this name and place wants.
    fn of(&self, collection: &str, name: &str) -> Option<&String> {
        self.by_collection
            .get(collection)
            .or_else(|| self.by_name.get(collection))
            .or_else(|| self.by_name.get(name))
            .or_else(|| self.tenant.get(name))
    }

    pub(super) fn knows(&self, collection: &str, name: &str) -> bool {
        self.of(collection, name).is_some()
    }

    /// What `$id` or `$id:/collection` stands for.
    fn named(&self, collection: Option<&str>) -> Option<&String> {
        match (collection, self.all().next()) {
            (Some(collection), _) => self.of(collection, collection),
            (None, Some(id)) if self.all().all(|other| other == id) => Some(id),
            (None, _) => None,
        }
    }

    /// Everything of it that a request may say, and an answer echo.
    pub(super) fn sayable(&self) -> Vec<String> {
        self.all().chain(self.tenant.values()).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.by_collection.values().chain(self.by_name.values())
    }

    /// Ids of the same kinds that never were.
    pub(super) fn absent(&self) -> Self {
        let absent = |ids: &BTreeMap<String, String>| {
            ids.iter().map(|(of, id)| (of.clone(), chance::like(id))).collect()
        };
        Self {
            by_collection: absent(&self.by_collection),
            by_name: absent(&self.by_name),
            tenant: absent(&self.tenant),
        }
    }

    /// These, except that in `collections` it has `other`'s.
    pub(super) fn with(&self, other: &Self, collections: &[String]) -> Self {
        let mut mixed = self.clone();
        for collection in collections {
            if let Some(id) = other.of(collection, collection) {
                mixed.by_collection.insert(collection.clone(), id.clone());
            }
        }
        mixed
    }
}

/// Why a route could not be filled in: what is missing.
#[derive(Clone, Debug)]
pub(super) struct Missing(pub(super) String);

impl Route {
    /// Whether an id of somebody's goes into it.
    pub(super) fn takes_id(&self) -> bool {
        !self.params().is_empty() || self.texts().iter().any(|text| text.contains("$id"))
    }

    pub(super) fn takes_marker_in_query(&self) -> bool {
        self.query.iter().any(|(_, value)| value.contains("$marker"))
    }

    /// The request with these ids and this marker.
    pub(super) fn fill(&self, ids: &Ids, marker: &str) -> Result<Request, Missing> {
        let mut params = self.params().into_iter();
        let mut path = String::new();
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                None => path.push_str(segment),
                Some(name) => {
                    let collection = params.next().map(|(_, of)| of).unwrap_or_default();
                    let id = ids.of(&collection, name).ok_or_else(|| {
                        Missing(format!("no id for {{{name}}}: add the POST route of {collection}, or name an id"))
                    })?;
                    path.push_str(&encoded(id));
                }
            }
        }
        let mut request = Request::new(self.method.clone(), path);
        for (name, value) in &self.query {
            request = request.with_query(name, filled(value, ids, marker)?);
        }
        if let Some(body) = &self.body {
            request.body = Some(Body::json(&filled_body(body, ids, marker)?));
        }
        Ok(request)
    }
}

fn filled_body(value: &Value, ids: &Ids, marker: &str) -> Result<Value, Missing> {
    Ok(match value {
        // An id stays what it is: a number where it was one.
        Value::String(text) if text.starts_with("$id") => {
            let id = filled(text, ids, marker)?;
            let number = id.parse::<i64>().ok().filter(|_| !id.starts_with('0') || id == "0");
            number.map_or(Value::String(id), Value::from)
        }
        Value::String(text) => Value::String(filled(text, ids, marker)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| filled_body(item, ids, marker));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), filled_body(value, ids, marker)?)));
            Value::Object(fields.collect::<Result<_, Missing>>()?)
        }
        other => other.clone(),
    })
}

fn filled(text: &str, ids: &Ids, marker: &str) -> Result<String, Missing> {
    if let Some(of) = text.strip_prefix("$id") {
        let id = ids.named(of.strip_prefix(':'));
        return id.cloned().ok_or_else(|| {
            Missing(format!("no id for {text}: write `$id:/collection` with a collection of yours"))
        });
    }
    Ok(text.replace("$marker", marker))
}

/// RFC 3986 2.3: everything but the unreserved characters is encoded.
fn encoded(id: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(b).to_string()
        }
        _ => format!("%{b:02X}"),
    };
    id.bytes().map(byte).collect()
}

/// A tenant in a run.
pub(super) struct Estate {
    pub(super) tenant: Tenant,
    pub(super) token: Token,
    pub(super) ids: Ids,
    /// Begins every text it plants.
    marker: String,
    planted_texts: u32,
    /// The latest text planted under an id of `ids`.
    pub(super) main_marker: String,
    /// What to remove in the end: collection, and the ids that lead there.
    planted: Vec<(String, Ids)>,
    /// What came of it when this tenant called a route on its own things.
    pub(super) own_calls: BTreeMap<String, Control>,
    /// A route that it could read when the run began, to see later whether it still may.
    pub(super) lookout: Option<Route>,
}

impl Estate {
    pub(super) fn new(tenant: Tenant, token: Token) -> Self {
        let ids = Ids::of_tenant(&tenant);
        let marker = format!("pw{}", chance::hex(16));
        let (planted_texts, main_marker, planted) = (0, marker.clone(), Vec::new());
        let (own_calls, lookout) = (BTreeMap::new(), None);
        Self { tenant, token, ids, marker, planted_texts, main_marker, planted, own_calls, lookout }
    }

    pub(super) fn name(&self) -> &str {
        &self.tenant.name
    }

    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) fn credentials(&self) -> Credentials<'_> {
        Credentials::Bearer(&self.token)
    }

    /// A text of this tenant's that was not used yet.
    pub(super) fn next_marker(&mut self) -> String {
        self.planted_texts += 1;
        format!("{}x{}", self.marker, self.planted_texts)
    }

    /// Whether it has something of this id, or had in this run.
    pub(super) fn has(&self, id: &str) -> bool {
        let planted = self.planted.iter().flat_map(|(_, ids)| ids.all());
        self.ids.all().chain(planted).any(|own| own == id)
    }

    /// Whether `answer` holds a text of this tenant's that `request` did not say itself.
    pub(super) fn read_in(&self, answer: &Answer, request: &Request) -> bool {
        answer.contains(&self.marker) && !request.says(&self.marker)
    }

    /// Whether `answer` holds something of this tenant's that `request` did not say itself.
    pub(super) fn seen_in(&self, answer: &Answer, request: &Request) -> Option<&'static str> {
        if self.read_in(answer, request) {
            return Some("its text");
        }
        // A short id could stand in any answer by chance.
        let known = self.ids.all().filter(|id| id.len() >= 8);
        let mut shown = known.filter(|id| answer.contains(id) && !request.says(id));
        shown.next().map(|_| "its id")
    }

    /// Creates one of each of `creators`, parents first, and says which ids came of it.
    pub(super) async fn plant(
        &mut self,
        client: &Client,
        creators: &[Route],
    ) -> (Ids, String, Vec<(Route, String)>) {
        let mut ids = Ids::of_tenant(&self.tenant);
        let mut faults = Vec::new();
        let marker = self.next_marker();
        for creator in creators {
            let request = match creator.fill(&ids, &marker) {
                Ok(request) => request,
                Err(Missing(what)) => {
                    faults.push((creator.clone(), what));
                    continue;
                }
            };
            let answer = client.send(&request, self.credentials()).await;
            match new_id(creator, &request, &answer) {
                Some(id) => {
                    ids.insert(&creator.shape(), id);
                    self.planted.push((creator.shape(), ids.clone()));
                }
                None if answer.is_success() => {
                    let what = "its answer holds no id: name the place with id=/pointer";
                    faults.push((creator.clone(), what.to_owned()));
                }
                None => faults.push((creator.clone(), format!("{answer} to {}", self.name()))),
            }
        }
        (ids, marker, faults)
    }

    /// Keeps in mind what an attack created, so that it is removed in the end.
    pub(super) fn note_created(&mut self, route: &Route, request: &Request, answer: &Answer) {
        if let Some(id) = new_id(route, request, answer) {
            let mut ids = self.ids.clone();
            ids.insert(&route.shape(), id);
            self.planted.push((route.shape(), ids));
        }
    }

    /// Removes what was planted, children first, and says how much is left.
    pub(super) async fn clear(&mut self, client: &Client, routes: &[Route]) -> usize {
        let mut left = 0;
        for (collection, ids) in std::mem::take(&mut self.planted).into_iter().rev() {
            let item = format!("{collection}/{{}}");
            let removal = routes.iter().find(|r| r.method == Method::DELETE && r.shape() == item);
            let request = removal.and_then(|route| route.fill(&ids, &self.marker).ok());
            let answer = match request {
                Some(request) => Some(client.send(&request, self.credentials()).await),
                None => None,
            };
            let gone =
                |answer: &Answer| answer.is_success() || matches!(answer.status(), Some(404 | 410));
            left += usize::from(!answer.as_ref().is_some_and(gone));
        }
        left
    }
}

/// The id a creation answered with.
pub(super) fn new_id(route: &Route, request: &Request, answer: &Answer) -> Option<String> {
    if !answer.is_success() {
        return None;
    }
    let json = answer.json();
    if let Some(pointer) = &route.id {
        return json.pointer(pointer).and_then(id_text);
    }
    let usual = ["/id", "/data/id", "/uuid", "/_id", "/result/id"];
    usual
        .iter()
        .find_map(|pointer| json.pointer(pointer).and_then(id_text))
        .or_else(|| in_an_object(&json))
        .or_else(|| located(request, answer))
}

/// `{"invoice": {"id": …}}`.
fn in_an_object(json: &Value) -> Option<String> {
    let fields = json.as_object()?;
    fields.values().find_map(|value| value.get("id").and_then(id_text))
}

/// The last segment of `Location`.
fn located(request: &Request, answer: &Answer) -> Option<String> {
    let location = answer.header("location")?;
    let path = location.split(['?', '#']).next()?.trim_end_matches('/');
    let (before, id) = path.rsplit_once('/')?;
    (before.ends_with(&request.path) && !id.is_empty()).then(|| id.to_owned())
}

pub(super) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The first id of a list: `[{"id": …}]`, or that under `items`, `data` and the like.
pub(super) fn first_listed(json: &Value) -> Option<String> {
    let items = json.as_array().or_else(|| {
        let names = ["items", "data", "results", "rows", "content", "value"];
        names.iter().find_map(|name| json.get(name)?.as_array())
    });
    items?.first()?.get("id").and_then(id_text)
}
