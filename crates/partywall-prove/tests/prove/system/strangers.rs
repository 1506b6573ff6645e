//! Applications of other people's making: ill in ways that show only to one who looks twice, or
//! sound and unlike ours. The ill must be caught, and the sound let alone.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use partywall::{Clock as _, SystemClock, TenantId};
use partywall_prove::{
    Layer, Log, Silent, Trial, Verdict,
    system::{Decoy, Issuer, IssuerError, Route, System, Token},
};
use serde_json::{Value, json};

use super::{IDS, Running, tenants, with};

/// How it is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Make {
    Plain,
    // Ill.
    SharedSettings,
    CachedReads,
    LinksUnchecked,
    HeaderOnChanges,
    SlugOnCreations,
    CookieOnCreations,
    ArchivesAnyones,
    ChangesAnyonesQuietly,
    TenantAsDeclared,
    TenantInWrapper,
    TenantOfLinks,
    RoleInWrapper,
    PutsIntoVictimsList,
    LooksAtBodiesFirst,
    OpenSearch,
    // Sound.
    CountedPerTenant,
    CountedGlobally,
    Enveloped,
    ClockInAnswers,
    ForbidsAlways,
    HtmlErrors,
    Limits,
    Redirects,
    KeepsWhateverItIsSent,
}

use Make::*;

const ROUTES: [&str; 13] = [
    "GET /notes",
    r#"POST /notes {"text": "$marker"}"#,
    "GET /notes/{note}",
    r#"PUT /notes/{note} {"text": "$marker"}"#,
    "DELETE /notes/{note}",
    "POST /notes/{note}/archive",
    "GET /settings",
    r#"PUT /settings {"motto": "$marker"}"#,
    "GET /links",
    r#"POST /links {"note": "$id:/notes"}"#,
    "GET /links/{link}",
    "DELETE /links/{link}",
    "GET /search?q=$marker",
];

/// What catches each.
const ILL: &[(Make, &str)] = &[
    (SharedSettings, "http.write"),
    (CachedReads, "http.read"),
    (LinksUnchecked, "http.reference"),
    (HeaderOnChanges, "hint.header"),
    (SlugOnCreations, "hint.header"),
    (CookieOnCreations, "hint.cookie"),
    (ArchivesAnyones, "http.write"),
    (ChangesAnyonesQuietly, "http.write"),
    (TenantAsDeclared, "http.assign-tenant"),
    (TenantInWrapper, "http.assign-tenant"),
    (TenantOfLinks, "http.assign-tenant"),
    (RoleInWrapper, "http.assign-role"),
    (PutsIntoVictimsList, "http.write"),
    (OpenSearch, "token.missing"),
];

const SOUND: &[Make] = &[
    Plain,
    CountedPerTenant,
    CountedGlobally,
    Enveloped,
    ClockInAnswers,
    ForbidsAlways,
    HtmlErrors,
    Limits,
    Redirects,
];

struct App {
    make: Make,
    things: Mutex<Vec<Thing>>,
    settings: Mutex<BTreeMap<String, String>>,
    cache: Mutex<BTreeMap<String, Value>>,
    asked: AtomicUsize,
    /// After so many requests of the first tenant it is refused everything, with this.
    shuts_out: Option<(usize, StatusCode)>,
    /// Who may only read.
    reader: Option<&'static str>,
}

#[derive(Clone)]
struct Thing {
    kind: &'static str,
    id: String,
    tenant: String,
    fields: Value,
    archived: bool,
}

impl App {
    fn new(make: Make) -> Self {
        Self {
            make,
            things: Mutex::default(),
            settings: Mutex::default(),
            cache: Mutex::default(),
            asked: AtomicUsize::new(0),
            shuts_out: None,
            reader: None,
        }
    }

    fn is(&self, make: Make) -> bool {
        self.make == make
    }

    fn new_id(&self, tenant: &str) -> String {
        let things = self.things.lock().unwrap();
        match self.make {
            CountedPerTenant => {
                // The first has been there longer.
                let before = if tenant == IDS[0] { 40 } else { 0 };
                (before + things.iter().filter(|t| t.tenant == tenant).count() + 1).to_string()
            }
            CountedGlobally => (things.len() + 1).to_string(),
            _ => super::twin::new_id(),
        }
    }

    fn json(&self, thing: &Thing) -> Value {
        let mut json = thing.fields.clone();
        let id = thing.id.parse::<u64>().map_or_else(|_| json!(thing.id), |number| json!(number));
        json["id"] = id;
        if thing.kind == "links" && self.is(LinksUnchecked) {
            let of = thing.fields["note"].as_str().unwrap_or_default();
            let things = self.things.lock().unwrap();
            let note = things.iter().find(|other| other.id == of);
            json["preview"] = note.map_or(Value::Null, |note| note.fields["text"].clone());
        }
        json
    }

    fn ok(&self, status: StatusCode, mut json: Value) -> Response {
        if self.is(Enveloped) {
            json = json!({ "data": json, "meta": { "request": super::twin::new_id() } });
        }
        if self.is(ClockInAnswers) && json.is_object() {
            let now = SystemClock::default().now().0;
            json["now"] = json!(now);
        }
        (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
    }

    fn none(&self) -> Response {
        match self.make {
            ForbidsAlways => self.ok(StatusCode::FORBIDDEN, json!({ "code": 4030 })),
            HtmlErrors => {
                let page = format!("<html><p>Not found<!-- {} --></html>", super::twin::new_id());
                (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html")], page).into_response()
            }
            _ => self.ok(StatusCode::NOT_FOUND, json!({ "status": 404, "code": 1041 })),
        }
    }

    /// Counted from, so that not everything is asked at once.
    fn limited(&self) -> Option<Response> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let wait = [(header::RETRY_AFTER, "0")];
        (self.is(Limits) && asked % 7 == 6)
            .then(|| (StatusCode::TOO_MANY_REQUESTS, wait).into_response())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn known(name: &str) -> Option<String> {
    tenants()
        .into_iter()
        .find(|t| t.id.as_str() == name || t.name == name)
        .map(|t| t.id.to_string())
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(wait) = app.limited() {
        return wait;
    }
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().trim_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    let method = parts.method.as_str();
    if app.is(LooksAtBodiesFirst) && method == "POST" && segments == ["imports"] {
        return app.ok(StatusCode::UNPROCESSABLE_ENTITY, json!({ "wants": "a file" }));
    }
    let token = text(&parts.headers, "authorization").and_then(|v| v.strip_prefix("Bearer tok-"));
    let tenant = match token.and_then(known) {
        Some(tenant) => tenant,
        None if app.is(OpenSearch) && segments == ["search"] => IDS[0].to_owned(),
        None if app.is(Redirects) => {
            return (StatusCode::FOUND, [(header::LOCATION, "/login")]).into_response();
        }
        None => return app.ok(StatusCode::UNAUTHORIZED, json!({ "error": "who are you?" })),
    };
    let asked = app.asked.load(Ordering::SeqCst);
    if let Some((after, status)) = app.shuts_out
        && asked > after
        && tenant == IDS[0]
    {
        return app.ok(status, json!({}));
    }
    let reads = matches!(method, "GET" | "HEAD");
    if !reads && app.reader == Some(tenant.as_str()) {
        return app.ok(StatusCode::FORBIDDEN, json!({ "error": "you may only read" }));
    }
    let cookie = |name: &str| {
        let all = text(&parts.headers, "cookie")?;
        all.split("; ")
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let hint = match (app.make, method) {
        (HeaderOnChanges, "PUT" | "DELETE") => text(&parts.headers, "x-tenant-id").and_then(known),
        (SlugOnCreations, "POST") if segments == ["notes"] => {
            text(&parts.headers, "x-org").filter(|name| !name.contains('-')).and_then(known)
        }
        (CookieOnCreations, "POST") if segments == ["notes"] => {
            cookie("org").and_then(|name| known(&name))
        }
        _ => None,
    };
    let tenant = hint.unwrap_or(tenant);
    answer(&app, &tenant, method, &segments, &body, parts.uri.query().unwrap_or_default())
}

fn answer(
    app: &App,
    tenant: &str,
    method: &str,
    segments: &[&str],
    body: &Value,
    query: &str,
) -> Response {
    let things = |kind: &str, also: &dyn Fn(&Thing) -> bool| -> Value {
        let all = app.things.lock().unwrap().clone();
        let own = all.iter().filter(|t| t.kind == kind && t.tenant == tenant && !t.archived);
        own.filter(|t| also(t)).map(|thing| app.json(thing)).collect()
    };
    let find = |kind: &str, id: &str, anyones: bool| {
        let all = app.things.lock().unwrap();
        let mut of = all.iter().filter(|t| t.kind == kind && t.id == id);
        of.find(|t| anyones || t.tenant == tenant).cloned()
    };
    let change = |id: &str, anyones: bool, change: &dyn Fn(&mut Thing)| {
        let mut all = app.things.lock().unwrap();
        let mut of = all.iter_mut().filter(|t| t.kind == "notes" && t.id == id);
        of.find(|t| anyones || t.tenant == tenant).map(change)
    };
    match (method, segments) {
        ("GET", ["notes"]) => app.ok(StatusCode::OK, things("notes", &|_| true)),
        ("GET", ["links"]) => app.ok(StatusCode::OK, things("links", &|_| true)),
        ("GET", ["search"]) => {
            let looked_for = query.strip_prefix("q=").unwrap_or_default().to_owned();
            let holds = |t: &Thing| t.fields["text"].as_str().is_some_and(|x| x == looked_for);
            app.ok(StatusCode::OK, things("notes", &holds))
        }
        ("POST", [kind @ ("notes" | "links")]) => {
            let kind: &'static str = if *kind == "notes" { "notes" } else { "links" };
            create(app, tenant, kind, body, &find)
        }
        ("GET", [kind @ ("notes" | "links"), id]) => {
            let key = segments.join("/");
            let kept = app.cache.lock().unwrap().get(&key).cloned();
            if let Some(kept) = kept.filter(|_| app.is(CachedReads)) {
                return app.ok(StatusCode::OK, kept);
            }
            match find(kind, id, false) {
                Some(thing) => {
                    let json = app.json(&thing);
                    app.cache.lock().unwrap().insert(key, json.clone());
                    app.ok(StatusCode::OK, json)
                }
                None => app.none(),
            }
        }
        ("PUT", ["notes", id]) => {
            app.cache.lock().unwrap().clear();
            let quietly = app.is(ChangesAnyonesQuietly);
            let text = body["text"].clone();
            match change(id, quietly, &|note| note.fields["text"] = text.clone()) {
                Some(()) | None if quietly => StatusCode::ACCEPTED.into_response(),
                Some(()) => StatusCode::NO_CONTENT.into_response(),
                None => app.none(),
            }
        }
        ("POST", ["notes", id, "archive"]) => {
            let anyones = app.is(ArchivesAnyones);
            if app.is(PutsIntoVictimsList)
                && let Some(note) = find("notes", id, true)
            {
                let fields = json!({ "text": body["text"] });
                let id = super::twin::new_id();
                let (tenant, archived) = (note.tenant, false);
                let thing = Thing { kind: "notes", id, tenant, fields, archived };
                app.things.lock().unwrap().push(thing);
                return app.none();
            }
            match change(id, anyones, &|note| note.archived = true) {
                Some(()) | None if anyones => StatusCode::NO_CONTENT.into_response(),
                Some(()) => StatusCode::NO_CONTENT.into_response(),
                None => app.none(),
            }
        }
        ("DELETE", [kind @ ("notes" | "links"), id]) => {
            let there = find(kind, id, false).is_some();
            let mut all = app.things.lock().unwrap();
            all.retain(|t| t.kind != *kind || t.id != *id || t.tenant != tenant);
            app.cache.lock().unwrap().clear();
            if there { StatusCode::NO_CONTENT.into_response() } else { app.none() }
        }
        ("GET" | "PUT", ["settings"]) => {
            let whose = if app.is(SharedSettings) { "everybody" } else { tenant };
            let mut settings = app.settings.lock().unwrap();
            if method == "PUT" {
                let motto = body["motto"].as_str().unwrap_or_default().to_owned();
                settings.insert(whose.to_owned(), motto);
            }
            app.ok(StatusCode::OK, json!({ "motto": settings.get(whose) }))
        }
        (_, ["notes" | "links" | "settings" | "search", ..]) => {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        _ => app.none(),
    }
}

fn create(
    app: &App,
    tenant: &str,
    kind: &'static str,
    body: &Value,
    find: &dyn Fn(&str, &str, bool) -> Option<Thing>,
) -> Response {
    let of = if body["note"].is_object() { &body["note"] } else { body };
    if kind == "links" {
        let to = of["note"].as_str().map_or_else(|| of["note"].to_string(), str::to_owned);
        if find("notes", &to, false).is_none() && !app.is(LinksUnchecked) {
            return app.none();
        }
    } else if of["text"].as_str().is_none() {
        return app.ok(StatusCode::UNPROCESSABLE_ENTITY, json!({ "wants": "text" }));
    }
    let believes = match app.make {
        TenantAsDeclared | TenantInWrapper => kind == "notes",
        TenantOfLinks => kind == "links",
        _ => false,
    };
    let named = of["tenant_id"].as_str().filter(|_| believes).and_then(known);
    let mut fields = match kind {
        "links" => json!({ "note": of["note"], "label": of["label"] }),
        _ => json!({ "text": of["text"] }),
    };
    if app.is(RoleInWrapper) && of.get("role").is_some() {
        fields["role"] = of["role"].clone();
    }
    if app.is(KeepsWhateverItIsSent) {
        fields = of.clone();
    }
    let tenant = named.unwrap_or_else(|| tenant.to_owned());
    let id = app.new_id(&tenant);
    let thing = Thing { kind, id, tenant, fields, archived: false };
    app.things.lock().unwrap().push(thing.clone());
    app.ok(StatusCode::CREATED, app.json(&thing))
}

/// Tokens that are no JWTs, and no decoys.
struct Opaque;

impl Issuer for Opaque {
    async fn token(&self, tenant: &TenantId) -> Result<Token, IssuerError> {
        Ok(Token::new(format!("tok-{tenant}")))
    }

    async fn decoy(&self, _: &TenantId, _: Decoy) -> Result<Option<Token>, IssuerError> {
        Ok(None)
    }
}

async fn prove(app: App, change: impl FnOnce(&mut System)) -> Vec<Trial> {
    let mut routes: Vec<Route> = ROUTES.iter().map(|route| route.parse().unwrap()).collect();
    let instead = |routes: &mut Vec<Route>, of: &str, route: &str| {
        let at = routes.iter().position(|route| route.to_string() == of).unwrap();
        routes[at] = route.parse().unwrap();
    };
    match app.make {
        TenantAsDeclared => {
            let declared = r#"POST /notes {"text": "$marker", "tenant_id": "mine"}"#;
            instead(&mut routes, "POST /notes", declared);
        }
        TenantInWrapper | RoleInWrapper => {
            instead(&mut routes, "POST /notes", r#"POST /notes {"note": {"text": "$marker"}}"#);
        }
        TenantOfLinks => {
            let labelled = r#"POST /links {"note": "$id:/notes", "label": "$marker"}"#;
            instead(&mut routes, "POST /links", labelled);
            routes.retain(|route| !route.to_string().ends_with("/links/{link}"));
        }
        ChangesAnyonesQuietly => routes.retain(|r| r.to_string() != "GET /notes/{note}"),
        PutsIntoVictimsList => {
            let telling = r#"POST /notes/{note}/archive {"text": "$marker"}"#;
            instead(&mut routes, "POST /notes/{note}/archive", telling);
        }
        LooksAtBodiesFirst => {
            routes.push(r#"POST /imports {"rows": []}"#.parse().unwrap());
            routes.push("GET /no/such/route".parse().unwrap());
        }
        _ => {}
    }
    let running = Running::start(Router::new().fallback(handle).with_state(Arc::new(app))).await;
    let mut system = System::new(&*running.address, tenants(), routes);
    change(&mut system);
    let mut log = Log::new(Vec::new(), &Silent);
    system.prove(&Opaque, &mut log).await.unwrap();
    log.finish().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m24_the_ill_are_caught_by_what_they_are_ill_with() {
    let mut apps = tokio::task::JoinSet::new();
    for (make, attack) in ILL {
        apps.spawn(async move {
            let trials = prove(App::new(*make), |system| {
                // Each by its own layer alone: another may find it by chance.
                system.options.layers = match attack.split('.').next() {
                    Some("token") => vec![Layer::Token],
                    Some("hint") => vec![Layer::Hint],
                    _ => vec![Layer::Http],
                };
            })
            .await;
            let leaks = with(Verdict::Leaked, &trials);
            let caught = leaks.iter().any(|leak| leak.starts_with(attack));
            (!caught).then(|| {
                let of: Vec<_> =
                    trials.iter().filter(|t| t.attack == *attack).map(super::told).collect();
                format!("{make:?}: {of:#?}, and leaks {leaks:#?}")
            })
        });
    }
    let missed: Vec<String> = apps.join_all().await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m24_the_sound_are_let_alone() {
    let mut apps = tokio::task::JoinSet::new();
    for make in SOUND {
        apps.spawn(async move {
            let trials = prove(App::new(*make), |_| ()).await;
            let wrong: Vec<String> = [Verdict::Leaked, Verdict::Undecided]
                .into_iter()
                .flat_map(|verdict| with(verdict, &trials))
                .collect();
            assert!(
                trials.iter().filter(|t| t.verdict == Verdict::Blocked).count() > 40,
                "{make:?}"
            );
            (!wrong.is_empty()).then(|| format!("{make:?}: {wrong:#?}"))
        });
    }
    let wrong: Vec<String> = apps.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn m24_one_that_keeps_whatever_it_is_sent_is_undecided() {
    let trials = prove(App::new(KeepsWhateverItIsSent), |_| ()).await;
    assert_eq!(with(Verdict::Leaked, &trials), [""; 0]);
    let open = with(Verdict::Undecided, &trials);
    // Its search finds nothing to compare, once a creation has been kept as it was sent.
    let expected =
        |told: &String| told.starts_with("http.assign-") || told.starts_with("http.search");
    assert!(!open.is_empty() && open.iter().all(expected), "{open:#?}");
}

#[tokio::test]
async fn m24_what_a_door_answers_to_everybody_is_no_refusal() {
    let trials = prove(App::new(LooksAtBodiesFirst), |_| ()).await;
    for place in ["POST /imports", "GET /no/such/route"] {
        let of: Vec<_> = trials
            .iter()
            .filter(|trial| trial.attack == "token.missing" && trial.place == place)
            .collect();
        assert_eq!(of.len(), 1, "{place}");
        // The second is turned away with 401 before anybody looks for it.
        let expected = if place == "POST /imports" { Verdict::Undecided } else { Verdict::Blocked };
        assert_eq!(of[0].verdict, expected, "{}", super::told(of[0]));
    }
}

#[tokio::test]
async fn m24_one_who_may_not_even_change_its_own_shows_nothing() {
    let app = App { reader: Some(IDS[0]), ..App::new(Plain) };
    let trials = prove(app, |system| {
        for (tenant, id) in system.tenants.iter_mut().zip(["0190b1a2-1", "0190b1a2-2"]) {
            tenant.ids.insert("/notes".to_owned(), id.to_owned());
        }
    })
    .await;
    let writes = trials.iter().filter(|trial| {
        trial.attacker == "acme" && matches!(trial.attack.as_str(), "http.write" | "http.delete")
    });
    let blocked: Vec<_> =
        writes.clone().filter(|trial| trial.verdict == Verdict::Blocked).map(super::told).collect();
    assert!(writes.count() > 0);
    assert_eq!(blocked, [""; 0]);
}

#[tokio::test]
async fn m24_one_who_is_shut_out_halfway_shows_nothing() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let app = App { shuts_out: Some((40, status)), ..App::new(Plain) };
        let trials = prove(app, |system| system.options.layers = vec![Layer::Http]).await;
        let blocked: Vec<_> = trials
            .iter()
            .filter(|trial| trial.attacker == "acme" && trial.verdict == Verdict::Blocked)
            .filter(|trial| trial.seen.text().starts_with(status.as_str()))
            .map(super::told)
            .collect();
        assert_eq!(blocked, [""; 0], "{status}");
    }
}
