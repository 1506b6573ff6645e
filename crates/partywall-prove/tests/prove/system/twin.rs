//! A small application that keeps notes, and its naive twins: each forgets one thing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use partywall::{Partywall, TenantContext};
use serde_json::{Value, json};

use super::{Fault, verifier::Verifier};

pub(super) struct Twin {
    pub(super) fault: Option<Fault>,
    pub(super) wall: Partywall,
    pub(super) verifier: Verifier,
    /// Ids by names.
    pub(super) names: BTreeMap<String, String>,
    notes: Mutex<Vec<Note>>,
}

#[derive(Clone)]
struct Note {
    id: String,
    tenant: String,
    text: String,
    done: bool,
    /// Of a line: its note.
    of: Option<String>,
    more: serde_json::Map<String, Value>,
}

impl Note {
    fn json(&self) -> Value {
        let mut json = json!({ "id": self.id, "text": self.text, "done": self.done });
        if let Value::Object(fields) = &mut json {
            fields.extend(self.more.clone());
        }
        json
    }
}

/// Who calls, as the door understood it.
#[derive(Clone)]
struct Caller(String);

impl Twin {
    pub(super) fn new(
        fault: Option<Fault>,
        wall: Partywall,
        verifier: Verifier,
        names: BTreeMap<String, String>,
    ) -> Arc<Self> {
        Arc::new(Self { fault, wall, verifier, names, notes: Mutex::default() })
    }

    /// Keeps a note for a tenant, and says its id.
    pub(super) fn seed(&self, tenant: &str) -> String {
        let (id, tenant, more) = (new_id(), tenant.to_owned(), serde_json::Map::new());
        let text = format!("a note of {tenant}");
        let note = Note { id: id.clone(), tenant, text, done: false, of: None, more };
        self.notes.lock().unwrap().push(note);
        id
    }

    /// How many notes there are, of all tenants.
    pub(super) fn count(&self) -> usize {
        self.notes.lock().unwrap().len()
    }

    pub(super) fn router(self: &Arc<Self>) -> Router {
        let handlers = Router::new().fallback(handle).with_state(Arc::clone(self));
        let behind = match self.fault.is_some_and(Fault::is_of_the_door) {
            true => handlers.layer(middleware::from_fn_with_state(Arc::clone(self), own_door)),
            // The real layer: what is forgotten is forgotten behind it.
            false => handlers
                .layer(middleware::from_fn(
                    async |tenant: TenantContext, mut request: Request, next: Next| {
                        let caller = Caller(tenant.tenant().to_string());
                        request.extensions_mut().insert(caller);
                        next.run(request).await
                    },
                ))
                .layer(self.wall.layer()),
        };
        Router::new().route("/healthz", get(async || "ok")).merge(behind)
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// A home-made door, with a verifier of its own.
async fn own_door(State(twin): State<Arc<Twin>>, mut request: Request, next: Next) -> Response {
    let tokens: Vec<String> = request
        .headers()
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|value| value.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned))
        .collect();
    let cookie = request.headers().get(header::COOKIE).and_then(|value| value.to_str().ok());
    let cookie = cookie.and_then(|cookie| cookie.strip_prefix("session=")).map(str::to_owned);
    let query = query(request.uri().query());
    let token = match tokens.as_slice() {
        [] if twin.is(Fault::TokenInQuery) => query.get("access_token").cloned(),
        [] if twin.is(Fault::TokenInCookie) => cookie,
        [token] => Some(token.clone()),
        // Verifies one, believes the other.
        [one, other] if twin.is(Fault::TwoHeaders) => match twin.verifier.tenant(one).await {
            Some(_) => {
                let payload = payload(other);
                let tenant = payload.get("tid").and_then(Value::as_str).unwrap_or_default();
                request.extensions_mut().insert(Caller(tenant.to_owned()));
                return next.run(request).await;
            }
            None => None,
        },
        _ => None,
    };
    let tenant = match &token {
        // Another route, another door: it reads the token, and leaves checking it to others.
        Some(token) if twin.is(Fault::SecondDoor) && request.uri().path() == "/search" => {
            payload(token).get("tid").and_then(Value::as_str).map(str::to_owned)
        }
        // It lets the expired in, and then finds that they may do nothing.
        Some(token)
            if twin.is(Fault::NoExpNoRoles)
                && payload(token)["exp"].as_u64().is_some_and(|exp| exp <= twin.verifier.now) =>
        {
            return StatusCode::FORBIDDEN.into_response();
        }
        Some(token) => twin.verifier.tenant(token).await,
        None if twin.is(Fault::Open) => twin.names.values().next().cloned(),
        None => None,
    };
    match tenant {
        Some(tenant) => {
            request.extensions_mut().insert(Caller(tenant));
            next.run(request).await
        }
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

pub(super) fn payload(token: &str) -> Value {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let claims = token.split('.').nth(1).unwrap_or_default();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(claims).unwrap_or_default())
        .unwrap_or_default()
}

fn query(query: Option<&str>) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

async fn handle(State(twin): State<Arc<Twin>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(Caller(tenant)) = parts.extensions.get().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match twin.fault {
        Some(Fault::Denies) => return StatusCode::FORBIDDEN.into_response(),
        Some(Fault::Breaks) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => {}
    }
    let bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let query = query(parts.uri.query());
    let path = parts.uri.path().trim_matches('/').to_owned();
    let mut segments: Vec<&str> = path.split('/').collect();
    let tenant = hinted(&twin, tenant, &parts.headers, &query, &mut segments);
    let as_form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form"));
    let body = match as_form {
        true => Value::Object(
            url::form_urlencoded::parse(&bytes)
                .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
                .collect(),
        ),
        false => serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    let mut call = Call { twin: &twin, tenant, query, body, as_form };
    let overridden = parts.headers.get("x-http-method-override");
    match overridden.and_then(|value| value.to_str().ok()) {
        Some("DELETE") if twin.is(Fault::Override) => call.delete(&segments, true),
        _ => call.answer(&parts.method, &segments),
    }
}

/// The tenant, after whatever else was believed about it.
fn hinted(
    twin: &Twin,
    proved: String,
    headers: &HeaderMap,
    query: &BTreeMap<String, String>,
    segments: &mut Vec<&str>,
) -> String {
    let known = |name: &str| match twin.names.get(name) {
        Some(id) => Some(id.clone()),
        None => twin.names.values().find(|id| *id == name).cloned(),
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let hint = match twin.fault {
        Some(Fault::HintHeader) => text("x-tenant-id").and_then(known),
        Some(Fault::HintReserved) => {
            text("x-tenant-id").filter(|name| *name == "*").map(str::to_owned)
        }
        Some(Fault::HintHost) => text("host").and_then(|host| known(host.split('.').next()?)),
        Some(Fault::HintCookie) => text("cookie").and_then(|c| known(c.strip_prefix("tenant=")?)),
        Some(Fault::HintQuery) => query.get("tenant_id").and_then(|name| known(name)),
        Some(Fault::HintPath) => {
            let named = segments.first().and_then(|first| known(first));
            if named.is_some() {
                segments.remove(0);
            }
            named
        }
        _ => None,
    };
    hint.unwrap_or(proved)
}

struct Call<'a> {
    twin: &'a Twin,
    tenant: String,
    query: BTreeMap<String, String>,
    body: Value,
    as_form: bool,
}

fn found(status: StatusCode, json: Value) -> Response {
    let json_type = (header::CONTENT_TYPE, "application/json");
    (status, [json_type], Body::from(json.to_string())).into_response()
}

fn none() -> Response {
    found(StatusCode::NOT_FOUND, json!({ "error": "there is none" }))
}

impl Call<'_> {
    fn answer(&mut self, method: &Method, segments: &[&str]) -> Response {
        match (method.as_str(), segments) {
            ("GET", ["notes"]) => self.list(Fault::List, |_| true),
            ("GET", ["search"]) => {
                let looked_for = self.query.get("q").cloned().unwrap_or_default();
                self.list(Fault::Search, move |note| note.text.contains(&looked_for))
            }
            ("POST", ["notes"]) => self.create(None),
            ("POST", ["links"]) => {
                let to = self.body.get("note").and_then(Value::as_str).unwrap_or_default();
                match self.find(to, self.twin.is(Fault::Reference)) {
                    Some(_) => found(StatusCode::CREATED, json!({ "id": new_id() })),
                    None => none(),
                }
            }
            ("GET" | "HEAD", ["notes", id]) => match self.find(id, self.twin.is(Fault::Read)) {
                Some(note) => found(StatusCode::OK, note.json()),
                None if self.twin.is(Fault::Existence) && self.find(id, true).is_some() => {
                    found(StatusCode::FORBIDDEN, json!({ "error": "it is another's" }))
                }
                None => none(),
            },
            ("PUT", ["notes", id]) => {
                let text = self.body.get("text").and_then(Value::as_str);
                let Some(text) = text.map(str::to_owned) else {
                    return StatusCode::UNPROCESSABLE_ENTITY.into_response();
                };
                let anyones =
                    self.twin.is(Fault::Write) || (self.twin.is(Fault::Form) && self.as_form);
                self.change(id, anyones, |note| note.text = text)
            }
            ("PATCH", ["notes", id]) if self.twin.is(Fault::HiddenVerb) => {
                self.change(id, true, |note| note.done = true)
            }
            ("POST", ["notes", id, "done"]) => {
                self.change(id, self.twin.is(Fault::Write), |note| note.done = true)
            }
            ("POST", ["notes", id, "lines"]) => match self.find(id, false) {
                Some(_) => self.create(Some((*id).to_owned())),
                None => none(),
            },
            ("GET", ["notes", id, "lines", line]) => match self.find(id, false) {
                Some(note) => {
                    let anyones = self.twin.is(Fault::Nested);
                    let line = self.find(line, anyones);
                    let line = line.filter(|line| anyones || line.of.as_ref() == Some(&note.id));
                    line.map_or_else(none, |line| found(StatusCode::OK, line.json()))
                }
                None => none(),
            },
            ("DELETE", segments) => self.delete(segments, self.twin.is(Fault::Delete)),
            (
                "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "OPTIONS",
                ["notes" | "links" | "search", ..],
            ) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
            _ => none(),
        }
    }

    fn may(&self, note: &Note, anyones: bool) -> bool {
        anyones || note.tenant == self.tenant || self.tenant == "*"
    }

    fn find(&self, id: &str, anyones: bool) -> Option<Note> {
        let notes = self.twin.notes.lock().unwrap();
        notes.iter().find(|note| note.id == id && self.may(note, anyones)).cloned()
    }

    fn list(&self, fault: Fault, wanted: impl Fn(&Note) -> bool) -> Response {
        let anyones = self.twin.is(fault);
        let notes = self.twin.notes.lock().unwrap();
        let seen = notes.iter().filter(|n| n.of.is_none() && self.may(n, anyones) && wanted(n));
        found(StatusCode::OK, seen.map(Note::json).collect())
    }

    fn create(&self, of: Option<String>) -> Response {
        let Some(text) = self.body.get("text").and_then(Value::as_str) else {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        };
        let named = self.body.get("tenant_id").and_then(Value::as_str);
        let tenant = match named.filter(|_| self.twin.is(Fault::TenantInBody)) {
            Some(named) => named.to_owned(),
            None => self.tenant.clone(),
        };
        let mut more = serde_json::Map::new();
        if self.twin.is(Fault::RoleInBody)
            && let Some(role) = self.body.get("role")
        {
            more.insert("role".to_owned(), role.clone());
        }
        let text = text.to_owned();
        let note = Note { id: new_id(), tenant, text, done: false, of, more };
        let json = note.json();
        self.twin.notes.lock().unwrap().push(note);
        found(StatusCode::CREATED, json)
    }

    fn change(&self, id: &str, anyones: bool, change: impl FnOnce(&mut Note)) -> Response {
        let mut notes = self.twin.notes.lock().unwrap();
        match notes.iter_mut().find(|note| note.id == id && self.may(note, anyones)) {
            Some(note) => {
                change(note);
                StatusCode::NO_CONTENT.into_response()
            }
            None => none(),
        }
    }

    fn delete(&self, segments: &[&str], anyones: bool) -> Response {
        let id = match segments {
            ["notes", id] | ["notes", _, "lines", id] => *id,
            _ => return none(),
        };
        let mut notes = self.twin.notes.lock().unwrap();
        let before = notes.len();
        notes.retain(|note| note.id != id || !self.may(note, anyones));
        match notes.len() < before {
            true => StatusCode::NO_CONTENT.into_response(),
            false => none(),
        }
    }
}

pub(super) fn new_id() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
