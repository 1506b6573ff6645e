//! The attacks on a running system, over real listeners: the real layer comes out clean, and every
//! attack is caught by at least one application that forgot the one thing it is about.

#![expect(clippy::indexing_slicing, reason = "claims of a test are where the test put them")]

mod jobs;
mod strangers;
mod twin;
mod verifier;

use std::{collections::BTreeMap, time::Duration};

use partywall::{
    DeploymentModel, TenantId, TenantStatus,
    bundle::TenantRecord,
    testing::{self, ControlPlane},
    token::{Algorithm, SigningKey},
};
use partywall_prove::{
    Layer, Log, Silent, Trial, Verdict,
    system::{Decoy, Issuer, IssuerError, Options, Route, System, Tenant, Token, openapi},
};
use serde::ser::SerializeMap;
use serde_json::{Value, json};

use self::{twin::Twin, verifier::Verifier};

/// The one thing a twin forgets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// Not a leak: it answers nobody.
    Denies,
    /// Not a leak: it falls over.
    Breaks,
    Open,
    AnySignature,
    NoneAllowed,
    HmacByHeader,
    OtherAlgorithms,
    UnknownKey,
    KeyInHeader,
    FetchesKeys,
    Padding,
    TwoHeaders,
    TokenInQuery,
    TokenInCookie,
    NoExp,
    /// Not seen to leak: it lets the expired in, and asks for a role then.
    NoExpNoRoles,
    SecondDoor,
    NoNbf,
    NoAud,
    NoIss,
    NoTyp,
    NoRevocation,
    NoEpoch,
    NoStatus,
    AnyTenant,
    FirstOfMany,
    DefaultTenant,
    LastWins,
    HintHeader,
    HintHost,
    HintPath,
    HintQuery,
    HintCookie,
    HintReserved,
    List,
    Search,
    Read,
    Write,
    Delete,
    Nested,
    Reference,
    HiddenVerb,
    Override,
    Form,
    Existence,
    TenantInBody,
    RoleInBody,
}

impl Fault {
    fn is_of_the_door(self) -> bool {
        self == Self::NoExpNoRoles
            || FAULTS.iter().any(|(fault, attacks)| {
                *fault == self && attacks.iter().all(|attack| attack.starts_with("token."))
            })
    }
}

/// Each fault, and the attacks that must catch it.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::Open, &["token.missing"]),
    (Fault::AnySignature, &["token.signature", "token.rewritten", "token.oversize"]),
    (Fault::NoneAllowed, &["token.alg-none"]),
    (Fault::HmacByHeader, &["token.hmac-confusion"]),
    (Fault::OtherAlgorithms, &["token.algorithm"]),
    (Fault::UnknownKey, &["token.key"]),
    (Fault::KeyInHeader, &["token.header-key"]),
    (Fault::FetchesKeys, &["token.header-key"]),
    (Fault::Padding, &["token.shape"]),
    (Fault::TwoHeaders, &["token.two-headers"]),
    (Fault::TokenInQuery, &["token.in-query"]),
    (Fault::TokenInCookie, &["token.in-cookie"]),
    (Fault::NoExp, &["token.expired"]),
    (Fault::SecondDoor, &["token.rewritten", "token.alg-none", "token.expired"]),
    (Fault::NoNbf, &["token.not-yet-valid"]),
    (Fault::NoAud, &["token.audience"]),
    (Fault::NoIss, &["token.issuer"]),
    (Fault::NoTyp, &["token.type"]),
    (Fault::NoRevocation, &["token.revoked"]),
    (Fault::NoEpoch, &["token.stale-epoch"]),
    (Fault::NoStatus, &["token.suspended"]),
    (Fault::AnyTenant, &["token.unknown-tenant"]),
    (Fault::FirstOfMany, &["token.two-tenants"]),
    (Fault::DefaultTenant, &["token.no-tenant"]),
    (Fault::LastWins, &["token.repeated-claim"]),
    (Fault::HintHeader, &["hint.header"]),
    (Fault::HintHost, &["hint.host"]),
    (Fault::HintPath, &["hint.path"]),
    (Fault::HintQuery, &["hint.query"]),
    (Fault::HintCookie, &["hint.cookie"]),
    (Fault::HintReserved, &["hint.reserved"]),
    (Fault::List, &["http.list"]),
    (Fault::Search, &["http.search"]),
    (Fault::Read, &["http.read"]),
    (Fault::Write, &["http.write"]),
    (Fault::Delete, &["http.delete"]),
    (Fault::Nested, &["http.nested"]),
    (Fault::Reference, &["http.reference"]),
    (Fault::HiddenVerb, &["http.verb"]),
    (Fault::Override, &["http.method-override"]),
    (Fault::Form, &["http.content-type"]),
    (Fault::Existence, &["http.existence"]),
    (Fault::TenantInBody, &["http.assign-tenant"]),
    (Fault::RoleInBody, &["http.assign-role"]),
];

const ROUTES: [&str; 12] = [
    "GET /notes",
    r#"POST /notes {"text": "$marker"}"#,
    "GET /notes/{note}",
    r#"PUT /notes/{note} {"text": "$marker"}"#,
    "DELETE /notes/{note}",
    "POST /notes/{note}/done",
    r#"POST /notes/{note}/lines {"text": "$marker"}"#,
    "GET /notes/{note}/lines/{line}",
    "DELETE /notes/{note}/lines/{line}",
    "GET /search?q=$marker",
    r#"POST /links {"note": "$id:/notes"}"#,
    "GET /healthz public",
];

/// The tenants: one's id begins with the other's, and a third that is suspended.
const IDS: [&str; 2] = ["tenant-a7", "tenant-a71"];
const GONE: &str = "tenant-gone";

fn routes() -> Vec<Route> {
    ROUTES.iter().map(|route| route.parse().unwrap()).collect()
}

fn tenants() -> Vec<Tenant> {
    let names = ["acme", "globex"];
    IDS.iter().zip(names).map(|(id, name)| Tenant::new(id.parse().unwrap(), name)).collect()
}

/// An issuer in miniature, decoys and all.
struct House {
    control: ControlPlane,
    key: SigningKey,
}

impl House {
    fn new() -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let pkcs8 = key.to_pkcs8().unwrap();
        let twin = SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8).unwrap();
        let record = |id: &str, status| {
            let placed = testing::placed("main", DeploymentModel::Pool, "eu-1");
            TenantRecord { status, epoch: 1, ..testing::tenant(id, placed) }
        };
        let mut records: Vec<_> = IDS.iter().map(|id| record(id, TenantStatus::Active)).collect();
        records.push(record(GONE, TenantStatus::Suspended));
        let mut control = ControlPlane::with_key(records, twin);
        let expires = ControlPlane::START + Duration::from_secs(3600);
        control.contents.revocations.revoke_token(ControlPlane::ISSUER, "revoked", expires);
        Self { control, key }
    }

    fn claims(&self, tenant: &str) -> Value {
        let mut claims = self.control.claims(tenant, "u:ada");
        claims["tep"] = json!(1);
        claims
    }

    fn verifier(&self, fault: Option<Fault>) -> Verifier {
        let served = |id: &str| (id.to_owned(), (1, true));
        let mut tenants: BTreeMap<_, _> = IDS.iter().map(|id| served(id)).collect();
        tenants.insert(GONE.to_owned(), (1, false));
        Verifier {
            fault,
            jwk: self.key.public_jwk(),
            issuer: ControlPlane::ISSUER,
            audience: ControlPlane::AUDIENCE,
            now: ControlPlane::START.0,
            revoked: vec!["revoked".to_owned()],
            tenants,
        }
    }
}

/// Claims whose tenant stands there twice.
struct Repeated(Value);

impl serde::Serialize for Repeated {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tid", "somebody-else")?;
        for (name, value) in self.0.as_object().unwrap() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Issuer for House {
    async fn token(&self, tenant: &TenantId) -> Result<Token, IssuerError> {
        let claims = self.claims(tenant.as_str());
        Ok(Token::new(self.key.sign_jws("at+jwt", &claims).map_err(IssuerError::new)?))
    }

    async fn decoy(&self, tenant: &TenantId, decoy: Decoy) -> Result<Option<Token>, IssuerError> {
        let now = ControlPlane::START.0;
        let mut claims = self.claims(tenant.as_str());
        let mut typ = "at+jwt";
        match decoy {
            Decoy::Expired => (claims["iat"], claims["exp"]) = (json!(now - 900), json!(now - 300)),
            Decoy::NotYetValid => claims["nbf"] = json!(now + 300),
            Decoy::OtherAudience => claims["aud"] = json!("https://other.test"),
            Decoy::OtherIssuer => claims["iss"] = json!("https://id.test/other"),
            Decoy::OtherType => typ = "JWT",
            Decoy::Revoked => claims["jti"] = json!("revoked"),
            Decoy::StaleEpoch => claims["tep"] = json!(0),
            Decoy::Suspended => claims["tid"] = json!(GONE),
            Decoy::UnknownTenant => claims["tid"] = json!("never-was"),
            Decoy::TwoTenants => claims["tid"] = json!(IDS),
            Decoy::NoTenant => drop(claims.as_object_mut().unwrap().remove("tid")),
            Decoy::RepeatedClaim => {
                let token = self.key.sign_jws(typ, &Repeated(claims)).map_err(IssuerError::new)?;
                return Ok(Some(Token::new(token)));
            }
        }
        Ok(Some(Token::new(self.key.sign_jws(typ, &claims).map_err(IssuerError::new)?)))
    }
}

/// The application, listening; gone when dropped.
struct Running {
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(router: axum::Router) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(house: &House, fault: Option<Fault>, change: impl FnOnce(&mut System)) -> Vec<Trial> {
    let names = tenants().into_iter().map(|t| (t.name, t.id.to_string())).collect();
    let twin = Twin::new(fault, house.control.wall(), house.verifier(fault), names);
    let app = Running::start(twin.router()).await;
    let mut system = System::new(&*app.address, tenants(), routes());
    system.keys = Some(json!({ "keys": [house.key.public_jwk()] }));
    system.options = Options { settle: Duration::from_millis(10), ..Options::default() };
    change(&mut system);
    let mut log = Log::new(Vec::new(), &Silent);
    system.prove(house, &mut log).await.unwrap();
    let (trials, _) = log.finish();
    trials
}

fn told(trial: &Trial) -> String {
    let (seen, control) = (trial.seen.text(), trial.control.text());
    format!(
        "{} at {} by {}: {seen} | {control} | {}",
        trial.attack, trial.place, trial.attacker, trial.tried
    )
}

fn with(verdict: Verdict, trials: &[Trial]) -> Vec<String> {
    trials.iter().filter(|trial| trial.verdict == verdict).map(told).collect()
}

#[tokio::test]
async fn m01_the_real_layer_comes_out_clean_with_every_attack_made() {
    let trials = run(&House::new(), None, |_| ()).await;
    assert_eq!(with(Verdict::Leaked, &trials), [""; 0]);
    assert_eq!(with(Verdict::Undecided, &trials), [""; 0]);
    assert_eq!(with(Verdict::NotTested, &trials), [""; 0]);
    for attack in attacks() {
        assert!(trials.iter().any(|trial| trial.attack == attack), "{attack} was not made");
    }
}

/// All attacks on a system but those on jobs, which have a door of their own.
fn attacks() -> impl Iterator<Item = &'static str> {
    let ours = |id: &&str| ["token.", "hint.", "http."].iter().any(|layer| id.starts_with(layer));
    let ids = partywall_prove::catalogue().map(|attack| attack.id).filter(ours);
    // That a layer is declared at all is not for an application to show.
    ids.filter(|id| !id.ends_with(".declared"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m24_every_fault_is_caught_by_the_attack_it_is_about() {
    let mut twins = tokio::task::JoinSet::new();
    for (fault, expected) in FAULTS {
        twins.spawn(missed(*fault, expected));
    }
    let missed: Vec<String> = twins.join_all().await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The attacks of `expected` that `fault` slips past.
async fn missed(fault: Fault, expected: &[&str]) -> Vec<String> {
    let layer = match expected[0].split('.').next() {
        Some("token") => Layer::Token,
        Some("hint") => Layer::Hint,
        _ => Layer::Http,
    };
    let only = |system: &mut System| system.options.layers = vec![layer];
    let trials = run(&House::new(), Some(fault), only).await;
    let mut missed = Vec::new();
    for attack in expected {
        let of: Vec<&Trial> = trials.iter().filter(|trial| trial.attack == *attack).collect();
        if !of.iter().any(|trial| trial.verdict == Verdict::Leaked) {
            let seen: Vec<_> = of.into_iter().map(told).collect();
            missed.push(format!("{fault:?} by {attack}: {seen:#?}"));
        }
    }
    missed
}

#[test]
fn m24_every_attack_has_an_application_that_it_catches() {
    let caught: Vec<&str> =
        FAULTS.iter().flat_map(|(_, attacks)| attacks.iter().copied()).collect();
    let uncaught: Vec<_> = attacks().filter(|attack| !caught.contains(attack)).collect();
    assert!(uncaught.is_empty(), "no twin shows that these bite: {uncaught:?}");
}

#[tokio::test]
async fn m24_no_report_ever_holds_a_token() {
    let house = House::new();
    let mut genuine = Vec::new();
    for tenant in tenants() {
        let token = house.claims(tenant.id.as_str());
        genuine.push(house.key.sign_jws("at+jwt", &token).unwrap());
    }
    let trials = run(&house, Some(Fault::AnySignature), |_| ()).await;
    let report = serde_json::to_string(&trials).unwrap();
    for token in genuine {
        let claims = token.split('.').nth(1).unwrap();
        assert!(!report.contains(claims), "a token's claims stand in the report");
    }
    assert!(!report.contains("Bearer"), "an Authorization header stands in the report");
}

#[tokio::test]
async fn m24_a_wall_that_denies_everyone_proves_nothing() {
    for fault in [Fault::Denies, Fault::Breaks] {
        let trials = run(&House::new(), Some(fault), |_| ()).await;
        assert!(!trials.is_empty());
        assert_eq!(with(Verdict::Blocked, &trials), [""; 0], "{fault:?}");
        assert_eq!(with(Verdict::Leaked, &trials), [""; 0], "{fault:?}");
    }
}

#[tokio::test]
async fn m24_a_decoy_refused_for_want_of_a_role_is_undecided() {
    let only = |system: &mut System| system.options.layers = vec![Layer::Token];
    let trials = run(&House::new(), Some(Fault::NoExpNoRoles), only).await;
    let expired: Vec<_> = trials.iter().filter(|trial| trial.attack == "token.expired").collect();
    assert!(!expired.is_empty());
    for trial in expired {
        assert_eq!(trial.verdict, Verdict::Undecided, "{}", told(trial));
    }
}

#[tokio::test]
async fn m24_without_writing_only_what_is_there_is_read() {
    let house = House::new();
    let names = tenants().into_iter().map(|t| (t.name, t.id.to_string())).collect();
    let twin = Twin::new(Some(Fault::Read), house.control.wall(), house.verifier(None), names);
    let app = Running::start(twin.router()).await;
    let mut system = System::new(&*app.address, tenants(), routes());
    system.options.writes = false;
    for tenant in &mut system.tenants {
        let id = twin.seed(tenant.id.as_str());
        tenant.ids.insert("/notes".to_owned(), id);
    }
    let before = twin.count();
    let mut log = Log::new(Vec::new(), &Silent);
    system.prove(&house, &mut log).await.unwrap();
    let (trials, _) = log.finish();
    assert_eq!(twin.count(), before);
    let leaks = with(Verdict::Leaked, &trials);
    assert!(leaks.iter().any(|leak| leak.starts_with("http.read")), "{leaks:#?}");
    let writes = trials.iter().filter(|trial| trial.attack == "http.write");
    assert!(writes.clone().count() > 0);
    assert!(writes.clone().all(|trial| trial.verdict == Verdict::NotTested));
}

#[tokio::test]
async fn m24_what_was_planted_is_removed_again() {
    let house = House::new();
    let names = tenants().into_iter().map(|t| (t.name, t.id.to_string())).collect();
    let twin = Twin::new(None, house.control.wall(), house.verifier(None), names);
    let app = Running::start(twin.router()).await;
    let system = System::new(&*app.address, tenants(), routes());
    let mut log = Log::new(Vec::new(), &Silent);
    system.prove(&house, &mut log).await.unwrap();
    assert_eq!(twin.count(), 0);
}

#[tokio::test]
async fn r06_a_route_that_cannot_be_filled_in_is_named() {
    let trials = run(&House::new(), None, |system| {
        system.routes.push("GET /reports/{report}".parse().unwrap());
        system.options.layers = vec![Layer::Http];
    })
    .await;
    let untested = with(Verdict::NotTested, &trials);
    assert!(untested.iter().any(|told| told.contains("GET /reports/{report}")), "{untested:?}");
}

#[tokio::test]
async fn m24_nothing_begins_without_two_tenants_and_an_address() {
    let house = House::new();
    let mut log = Log::new(Vec::new(), &Silent);
    let one = System::new("http://127.0.0.1:1", tenants().split_off(1), routes());
    let refused = one.prove(&house, &mut log).await.unwrap_err().to_string();
    assert!(refused.contains("name another"), "{refused}");
    for address in ["127.0.0.1", "ftp://x", "http://user:secret@x/", "http://x/?a"] {
        let system = System::new(address, tenants(), routes());
        let refused = system.prove(&house, &mut log).await.unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
    assert!(log.trials().is_empty());
}

#[tokio::test]
async fn r06_an_openapi_document_is_enough_to_find_a_hole() {
    let text = json!({ "application/json": { "schema": {
        "type": "object",
        "required": ["text"],
        "properties": { "text": { "type": "string" } },
    } } });
    let document = json!({
        "openapi": "3.0.3",
        "paths": {
            "/notes": { "get": {}, "post": { "requestBody": { "content": text } } },
            "/notes/{note}": { "get": {}, "put": { "requestBody": { "content": text } }, "delete": {} },
            "/healthz": { "get": { "security": [] } },
        },
    })
    .to_string();
    let mut verdicts = Vec::new();
    for fault in [None, Some(Fault::Read)] {
        let house = House::new();
        let names = tenants().into_iter().map(|t| (t.name, t.id.to_string())).collect();
        let twin = Twin::new(fault, house.control.wall(), house.verifier(None), names);
        let document = document.clone();
        let page = axum::routing::get(async move || document);
        let described = axum::Router::new().route("/openapi.json", page);
        let app = Running::start(described.merge(twin.router())).await;
        let read = openapi::fetch(&format!("{}/openapi.json", app.address)).await.unwrap();
        assert!(read.skipped.is_empty(), "{:?}", read.skipped);
        let mut system = System::new(&*app.address, tenants(), read.routes);
        system.options.layers = vec![Layer::Http];
        let mut log = Log::new(Vec::new(), &Silent);
        system.prove(&house, &mut log).await.unwrap();
        assert_eq!(with(Verdict::Undecided, log.trials()), [""; 0]);
        verdicts.push(with(Verdict::Leaked, log.trials()));
    }
    assert_eq!(verdicts[0], [""; 0]);
    assert!(verdicts[1].iter().any(|leak| leak.starts_with("http.read")), "{:#?}", verdicts[1]);
}
