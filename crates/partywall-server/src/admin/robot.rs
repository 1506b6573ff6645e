//! The robot that tries broken object level authorisation (API1:2023, T-03, P-01): it reads the
//! OpenAPI document and drives every endpoint of it as one tenant's administrator, with every id
//! of another tenant in every place an id can stand. And, so that a refusal means something, with
//! the tenant's own ids, where each endpoint must do what it says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use base64ct::{Base64, Encoding};
use http_body_util::BodyExt;
use partywall::{FixedClock, TenantId, TenantStatus};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    Actor, ControlPlane, MailConfig, NewOperatorKey, NewScimToken, NewTenant, Rate, Resources,
    SealingKey, Secret, Server, ServerConfig,
    control::tests_support::{START, database},
    federation::secrets::Secrets,
    login::{Amr, Proof},
    storage::{
        catalogue,
        sessions::{self, Session, TenantSession},
    },
};

const TESTER: Actor = Actor::System("test");
const HOUR: Duration = Duration::from_secs(3600);

struct Plane {
    control: ControlPlane,
    router: Router,
    operator: String,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    etag: Option<String>,
    body: Value,
    /// As it came, without the request's id.
    text: String,
}

/// A tenant with one thing of each kind, and somebody who administers it.
struct Realm {
    tenant: TenantId,
    token: String,
    ids: BTreeMap<&'static str, String>,
}

impl Plane {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(
            database(dir.path()).await,
            SealingKey::from_bytes(&Secret::new([7; 32])).unwrap(),
            "https://id.test".parse().unwrap(),
            Resources::new("https://api.test".parse().unwrap(), []),
        );
        // Nothing is sent here: mail is queued in the database, and nobody takes it from there.
        config.mail = Some(MailConfig {
            server: "smtp://127.0.0.1:1".to_owned(),
            from: "id@id.test".to_owned(),
            credentials: None,
        });
        config.dns_servers = vec!["127.0.0.1:9".parse().unwrap()];
        // Not so fast that it is the pace that is refused.
        config.rates.of_an_administrator = Rate { per_minute: 1_000_000, at_once: 1_000_000 };
        let clock = Arc::new(FixedClock::at(START));
        let control = ControlPlane::open(config, clock).await.unwrap();
        let key = NewOperatorKey { name: "olga".to_owned(), lasts: HOUR };
        let operator = control.create_operator_key(&TESTER, key).await.unwrap();
        let operator = operator.expose().to_owned();
        let router = Server::new(control.clone()).router();
        Self { control, router, operator, _dir: dir }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let id = parts.headers["x-request-id"].to_str().unwrap();
        Reply {
            status: parts.status.as_u16(),
            etag: parts.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned()),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text: text.replace(id, ""),
        }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Reply {
        self.ask_with(method, path, token, body, &[("if-match", "*")]).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder()
            .method(method.to_ascii_uppercase().as_str())
            .uri(format!("/admin/v1{path}"))
            .header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn token(&self, client: &str, secret: &str, scope: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret={secret}\
             &resource=https://id.test/admin&scope={scope}"
        );
        let request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let reply = self.send(request).await;
        reply.body["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned()
    }

    async fn machine(
        &self,
        tenant: &TenantId,
        roles: &[&str],
        scopes: &[&str],
    ) -> (String, String) {
        let new = json!({ "name": "robot", "roles": roles, "scopes": scopes });
        let new = serde_json::from_value(new).unwrap();
        let made = self.control.create_machine(&TESTER, tenant, new).await.unwrap();
        (made.client_id.to_string(), made.secret.expose().to_owned())
    }

    async fn realm(&self, slug: &str) -> Realm {
        let control = &self.control;
        let new =
            NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
        let tenant = control.create_tenant(&TESTER, new).await.unwrap().id().clone();
        let (client, secret) = self.machine(&tenant, &["tenant-admin"], &["admin", "read"]).await;
        let token = self.token(&client, &secret, "admin").await;
        let user = json!({ "email": format!("ada@{slug}.test"), "name": "Ada" });
        let user = serde_json::from_value(user).unwrap();
        let user = control.create_user(&TESTER, &tenant, user).await.unwrap();
        let (machine, _) = self.machine(&tenant, &["clerk"], &["read"]).await;
        let application = serde_json::from_value(application()).unwrap();
        let application =
            control.create_application(&TESTER, Some(&tenant), application).await.unwrap();
        let key = json!({ "holder": machine, "name": "script", "lasts_seconds": 3600 });
        let key = serde_json::from_value(key).unwrap();
        let key = control.create_api_key(&TESTER, &tenant, key).await.unwrap();
        let domain = format!("{slug}-claims.test").parse().unwrap();
        let domain = control.claim_domain(&TESTER, &tenant, domain, None).await.unwrap();
        let connection = serde_json::from_value(saml_connection(slug)).unwrap();
        let connection = control.create_connection(&TESTER, &tenant, connection).await.unwrap().id;
        let link = serde_json::from_value(json!({ "intent": "sso" })).unwrap();
        let link = control.create_setup_link(&TESTER, &tenant, link).await.unwrap();
        let provisions = NewScimToken { lasts_seconds: 3600 };
        let provisions =
            control.create_scim_token(&TESTER, &tenant, &connection, provisions).await.unwrap();
        let sid = format!("{slug:a<26}");
        let browser = Session {
            id_hash: slug.as_bytes().to_vec(),
            account: user
                .account
                .clone()
                .map(|account| (account, Proof::of([Amr::Password], START))),
            created_at: START,
            seen_at: START,
            expires_at: START + HOUR,
        };
        let session = TenantSession {
            sid: sid.clone(),
            tenant: tenant.clone(),
            user: user.id.clone(),
            proof: Proof::of([Amr::Password], START),
            created_at: START,
            expires_at: START + HOUR,
            ended_at: None,
            user_agent: "robot".to_owned(),
        };
        let db = control.inner.db.reader();
        sessions::insert(db, &browser).await.unwrap();
        sessions::insert_proof(db, &browser.id_hash, &session).await.unwrap();
        let ids = BTreeMap::from([
            ("tenant", tenant.to_string()),
            ("user", user.id.to_string()),
            ("machine", machine),
            ("application", application.client_id.to_string()),
            ("key", key.key.id.to_string()),
            ("session", sid),
            ("domain", domain.name.to_string()),
            ("connection", connection.to_string()),
            ("link", link.link.id.clone()),
            ("scim_token", provisions.token.id.to_string()),
        ]);
        Realm { tenant, token, ids }
    }

    async fn document(&self) -> Value {
        let request = Request::get("/admin/v1/openapi.json").body(Body::empty()).unwrap();
        self.send(request).await.body
    }

    /// Every row of every table that is about a tenant, as text.
    async fn dump(&self, tenant: &TenantId) -> String {
        let db = self.control.inner.db.reader();
        let mut dump = String::new();
        for (table, columns) in catalogue::tables(db).await {
            let by_tenant = columns.iter().any(|column| column.name == "tenant_id");
            let column = match (table.as_str(), by_tenant) {
                ("tenants", _) => "id",
                (_, true) => "tenant_id",
                _ => continue,
            };
            let all: Vec<_> = columns.iter().map(|c| catalogue::quoted(db, &c.name)).collect();
            let all = all.join(" || ',' || ");
            let sql = format!("SELECT {all} FROM {table} WHERE {column} = '{tenant}' ORDER BY 1");
            dump.push_str(&format!("{table}: {:?}\n", catalogue::texts(db, sql).await));
        }
        dump
    }
}

fn application() -> Value {
    json!({
        "name": "web", "authentication": "client_secret",
        "registration": { "redirect_uris": ["https://app.test/cb"] },
    })
}

fn connection(name: &str) -> Value {
    json!({
        "name": name, "client_secret": "s3cret", "rules": { "group_roles": { "staff": ["clerk"] } },
        "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
    })
}

/// One whose provider signs with a key that one of ours could be.
fn saml_connection(name: &str) -> Value {
    let mut provider = json!({
        "protocol": "saml", "entity_id": "https://idp.test", "certificates": [],
        "sso_redirect": "https://idp.test/sso",
    });
    let of = serde_json::from_value(provider.clone()).unwrap();
    let key = Secrets::for_new(&of, None, START).unwrap().certificates("idp").unwrap();
    provider["certificates"] = json!([Base64::encode_string(key[0].der())]);
    json!({ "name": name, "provider": provider })
}

/// What an endpoint that takes a body is sent: something that works with the realm's own ids.
fn body_for(id: &str, realm: &Realm) -> Option<Value> {
    let policy = json!({ "methods": ["password"], "mfa_required": false, "sso_only": false,
        "session_seconds": 3600, "idle_seconds": 3600 });
    Some(match id {
        "createTenant" => json!({ "slug": "newcomer", "tier": "free" }),
        "updateTenant" => json!({ "tier": "team" }),
        "updateTenantProfile" => json!({ "administrators": ["ada@acme.test"] }),
        "putTenantIssuer" => json!({ "own": false }),
        "createUser" => json!({ "email": "new@acme.test", "name": "New", "roles": ["clerk"] }),
        "updateUser" => json!({ "name": "Augusta", "roles": ["accountant"] }),
        "createConnection" => connection("Acme's other"),
        "updateConnection" => json!({ "name": "Acme's own", "status": "active" }),
        "createSetupLink" => json!({ "intent": "sso" }),
        "turnConnectionKey" => json!({ "step": "publish" }),
        "claimDomain" => json!({ "domain": "more.acme.test" }),
        "updateDomain" => json!({ "connection": null }),
        "createMachine" => json!({ "name": "new", "roles": ["clerk"] }),
        "updateMachine" => json!({ "name": "other", "scopes": [] }),
        "createScimToken" => json!({ "lasts_seconds": 3600 }),
        "createApiKey" => {
            json!({ "holder": realm.ids["machine"], "name": "new", "lasts_seconds": 60 })
        }
        "createApplication" | "createTenantApplication" => application(),
        "updateApplication" | "updateTenantApplication" => json!({ "name": "other" }),
        "rotateMachineSecret" | "rotateApplicationSecret" | "rotateTenantApplicationSecret" => {
            json!({ "overlap_seconds": 60 })
        }
        "putSignInPolicy" | "previewSignInPolicy" => policy,
        "putBranding" => json!({ "display_name": "Acme" }),
        _ => return None,
    })
}

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    spec: Value,
}

impl Operation {
    fn id(&self) -> &str {
        self.spec["operationId"].as_str().unwrap()
    }

    fn all_of(document: &Value) -> Vec<Self> {
        let paths = document["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &Value)| -> Vec<Self> {
            let methods = item.as_object().unwrap();
            methods
                .iter()
                .map(|(method, spec)| Self {
                    method: method.clone(),
                    path: path.clone(),
                    spec: spec.clone(),
                })
                .collect()
        };
        paths.iter().flat_map(of_path).collect()
    }

    fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.spec["parameters"].as_array().unwrap().iter();
        all.filter(|p| p["in"] == place).map(|p| p["name"].as_str().unwrap().to_owned()).collect()
    }

    fn success(&self) -> u16 {
        let responses = self.spec["responses"].as_object().unwrap();
        responses.keys().find(|status| status.starts_with('2')).unwrap().parse().unwrap()
    }

    fn documents(&self, status: u16) -> bool {
        self.spec["responses"].get(status.to_string()).is_some()
    }

    fn for_operators(&self) -> bool {
        self.spec["security"] == json!([{ "operatorKey": [] }])
    }

    /// The path with an id for each parameter.
    fn at(&self, id_of: impl Fn(&str) -> String) -> String {
        let names = self.parameters("path");
        names.iter().fold(self.path.clone(), |path, name| {
            path.replace(&format!("{{{name}}}"), &id_of(name))
        })
    }
}

#[tokio::test]
async fn t03_every_endpoint_works_with_ones_own_ids() {
    let plane = Plane::new().await;
    let operations = Operation::all_of(&plane.document().await);
    assert!(operations.len() > 45, "the document lost endpoints: {}", operations.len());
    for (n, operation) in operations.iter().enumerate() {
        let id = operation.id();
        let realm = plane.realm(&format!("own-{n}")).await;
        let body = body_for(id, &realm);
        let takes_body = operation.spec.get("requestBody").is_some();
        assert_eq!(takes_body, body.is_some(), "{id} has no control: give it a body");
        if id == "eraseTenant" {
            let pending = TenantStatus::PendingErase;
            plane.control.set_status(&TESTER, &realm.tenant, pending).await.unwrap();
        }
        let vendors = if operation.path.starts_with("/applications/") {
            let application = serde_json::from_value(application()).unwrap();
            let made = plane.control.create_application(&TESTER, None, application).await.unwrap();
            Some(("application", made.client_id.to_string()))
        } else if operation.path.starts_with("/signing-keys/") {
            Some(("key", plane.control.list_signing_keys().await.unwrap()[0].kid.clone()))
        } else {
            None
        };
        let own = operation.at(|name| match &vendors {
            Some((vendors, id)) if *vendors == name => id.clone(),
            _ => realm.ids[name].clone(),
        });
        if operation.for_operators() {
            // An administrator sees their own tenant, and may not do what an operator may.
            let reply = plane.ask(&operation.method, &own, &realm.token, body.as_ref()).await;
            if id != "eraseTenant" {
                assert_eq!(reply.status, 403, "{id}: {}", reply.text);
            }
        }
        let caller = if operation.for_operators() { &plane.operator } else { &realm.token };
        let reply = plane.ask(&operation.method, &own, caller, body.as_ref()).await;
        assert_eq!(reply.status, operation.success(), "{id}: {}", reply.text);
        for secret in ["secret_hash", "pws_", "pwk_", "pwp_"] {
            let shown_once = id.starts_with("create") || id.starts_with("rotate");
            assert!(shown_once || !reply.text.contains(secret), "{id} shows {secret}");
        }
    }
}

#[tokio::test]
async fn t03_i32_i35_b08_no_endpoint_answers_for_another_tenants_ids() {
    let plane = Plane::new().await;
    let (own, other) = (plane.realm("acme").await, plane.realm("bond").await);
    let before = plane.dump(&other.tenant).await;
    assert!(before.contains(other.ids["machine"].as_str()), "the dump sees nothing");
    let (mut tried, mut listed) = (0, 0);
    for operation in Operation::all_of(&plane.document().await) {
        let id = operation.id().to_owned();
        let names = operation.parameters("path");
        let body = body_for(&id, &own);
        // Every choice of own and foreign ids but the one that is all own.
        for choice in 1..(1_u32 << names.len()) {
            let foreign = |name: &str| {
                let place = names.iter().position(|n| n == name).unwrap();
                choice & (1 << place) != 0
            };
            let path = operation.at(|name| {
                if foreign(name) { other.ids[name].clone() } else { own.ids[name].clone() }
            });
            let reply = plane.ask(&operation.method, &path, &own.token, body.as_ref()).await;
            tried += 1;
            if !names.iter().any(|name| name == "tenant") {
                // The vendor's own, whatever the id: nothing of it is looked at.
                assert_eq!(reply.status, 403, "{id} {path}: {}", reply.text);
                continue;
            }
            // For operators only, within a tenant one sees: 403, before any id in it is looked at.
            let not_theirs = operation.for_operators() && !foreign("tenant");
            let expected = if not_theirs { 403 } else { 404 };
            assert_eq!(reply.status, expected, "{id} {path}: {}", reply.text);
            assert!(operation.documents(reply.status), "{id} does not document {expected}");
            if expected == 404 {
                // And just as if it never had been.
                let absent = |name: &str| match name {
                    "tenant" => format!("t-{}", "a".repeat(26)),
                    "user" => format!("u:{}", "a".repeat(26)),
                    "machine" => format!("m:{}", "a".repeat(26)),
                    "application" => format!("app-{}", "a".repeat(26)),
                    "connection" => format!("c-{}", "a".repeat(26)),
                    _ => "a".repeat(26),
                };
                let path = operation
                    .at(|name| if foreign(name) { absent(name) } else { own.ids[name].clone() });
                let absent = plane.ask(&operation.method, &path, &own.token, body.as_ref()).await;
                assert_eq!((absent.status, absent.text), (reply.status, reply.text), "{id} {path}");
            }
        }
        // In the query: a place in a list, never a thing.
        let own_path = operation.at(|name| own.ids[name].clone());
        if operation.parameters("query").contains(&"after".to_owned()) {
            // From its beginning: what stands behind `after` leaves out the very thing it names.
            let reply = plane.ask(&operation.method, &own_path, &own.token, None).await;
            let expected = if operation.for_operators() { 403 } else { 200 };
            assert_eq!(reply.status, expected, "{id}: {}", reply.text);
            let theirs = other.ids.values().find(|theirs| reply.text.contains(*theirs));
            assert_eq!(theirs, None, "{id} lists another tenant's");
            let mut things = own.ids.iter().filter(|(kind, _)| **kind != "tenant");
            listed += usize::from(things.any(|(_, own)| reply.text.contains(own)));
            tried += 1;
            for foreign in other.ids.values() {
                let path = format!("{own_path}?after={}", foreign.replace(':', "%3A"));
                let reply = plane.ask(&operation.method, &path, &own.token, None).await;
                assert!([200, 400, 403].contains(&reply.status), "{id} {path}: {}", reply.text);
                let theirs = other.ids.values().find(|theirs| reply.text.contains(*theirs));
                assert_eq!(theirs, None, "{id} shows another tenant's");
                tried += 1;
            }
        }
        // In the body: as a member nobody asked for, and as the one that names a thing.
        if let Some(body) = &body {
            for (member, foreign) in [("tenant_id", "tenant"), ("tenant", "tenant"), ("id", "user")]
            {
                let mut tampered = body.clone();
                tampered[member] = json!(other.ids[foreign]);
                let reply =
                    plane.ask(&operation.method, &own_path, &own.token, Some(&tampered)).await;
                let expected = if operation.for_operators() { 403 } else { 400 };
                assert_eq!(reply.status, expected, "{id} takes {member}: {}", reply.text);
                tried += 1;
            }
            for holder in ["machine", "user"] {
                if body.get("holder").is_none() {
                    continue;
                }
                let mut tampered = body.clone();
                tampered["holder"] = json!(other.ids[holder]);
                let reply =
                    plane.ask(&operation.method, &own_path, &own.token, Some(&tampered)).await;
                assert_eq!(reply.status, 404, "{id}: {}", reply.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "only {tried} were tried");
    assert!(listed >= 5, "only {listed} lists show what is one's own");
    assert_eq!(plane.dump(&other.tenant).await, before, "another tenant's data changed");
    // L-01: each attempt is in the trail of the tenant it came from.
    let seen = plane.control.list_security_events(&own.tenant, None, 1000).await.unwrap();
    assert!(seen.iter().any(|event| event.event == "admin.cross_tenant"), "{seen:?}");
    assert!(seen.iter().all(|event| event.request_id.is_some()));
}

#[tokio::test]
async fn p01_only_a_good_token_of_an_administrator_is_heard() {
    let plane = Plane::new().await;
    let realm = plane.realm("acme").await;
    let path = format!("/tenants/{}", realm.tenant);
    let status = async |token: &str| plane.ask("GET", &path, token, None).await.status;
    assert_eq!(status(&realm.token).await, 200, "the control");
    assert_eq!(status(&plane.operator).await, 200, "the control");
    for refused in ["", "x", "pwo_x", &format!("{}x", plane.operator), &realm.token[1..]] {
        assert_eq!(status(refused).await, 401, "{refused}");
    }
    // A token for another resource.
    let (client, secret) = plane.machine(&realm.tenant, &["tenant-admin"], &["admin"]).await;
    let form = format!(
        "grant_type=client_credentials&client_id={client}&client_secret={secret}&scope=admin"
    );
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let elsewhere = plane.send(request).await.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(status(&elsewhere).await, 401, "for the API, not for the admin API");
    // Without the scope, and without the role.
    let (client, secret) =
        plane.machine(&realm.tenant, &["tenant-admin"], &["admin", "read"]).await;
    assert_eq!(status(&plane.token(&client, &secret, "read").await).await, 403);
    let (client, secret) = plane.machine(&realm.tenant, &["accountant"], &["admin"]).await;
    assert_eq!(status(&plane.token(&client, &secret, "admin").await).await, 403);

    // What is so now counts, whatever the token says.
    let lasting = async |roles: &[&str]| {
        let (client, secret) = plane.machine(&realm.tenant, roles, &["admin"]).await;
        let token = plane.token(&client, &secret, "admin").await;
        assert_eq!(status(&token).await, 200, "the control");
        (client.parse().unwrap(), token)
    };
    let (client, token) = lasting(&["tenant-admin"]).await;
    plane.control.revoke_machine(&TESTER, &client).await.unwrap();
    assert_eq!(status(&token).await, 401, "revoked");
    let (client, token) = lasting(&["tenant-admin"]).await;
    let patch = serde_json::from_value(json!({ "roles": [] })).unwrap();
    plane.control.update_machine(&TESTER, &realm.tenant, &client, patch, |_| true).await.unwrap();
    assert_eq!(status(&token).await, 401, "its role was taken away");
    let (_, token) = lasting(&["tenant-admin"]).await;
    plane.control.bump_epoch(&TESTER, &realm.tenant).await.unwrap();
    assert_eq!(status(&token).await, 401, "its epoch has passed");
    let (_, token) = lasting(&["tenant-admin"]).await;
    let suspended = TenantStatus::Suspended;
    plane.control.set_status(&TESTER, &realm.tenant, suspended).await.unwrap();
    assert_eq!(status(&token).await, 401, "the tenant is suspended");
    assert_eq!(status(&plane.operator).await, 200, "for operators it is there");
}

#[tokio::test]
async fn m03_nobody_changes_what_they_have_not_read() {
    let plane = Plane::new().await;
    let realm = plane.realm("acme").await;
    let path = format!("/tenants/{}/users/{}", realm.tenant, realm.ids["user"]);
    let read = plane.ask("GET", &path, &realm.token, None).await;
    let tag = read.etag.unwrap();
    let patch = json!({ "name": "Augusta" });
    let with = async |headers: &[(&str, &str)]| {
        plane.ask_with("PATCH", &path, &realm.token, Some(&patch), headers).await
    };
    assert_eq!(with(&[]).await.status, 428);
    assert_eq!(with(&[("if-match", "\"other\"")]).await.status, 412);
    let changed = with(&[("if-match", &tag)]).await;
    assert_eq!((changed.status, changed.body["name"].as_str()), (200, Some("Augusta")));
    assert_eq!(with(&[("if-match", &tag)]).await.status, 412, "it is another by now");
    assert_eq!(with(&[("if-match", &changed.etag.unwrap())]).await.status, 200);
}

#[tokio::test]
async fn r14_a_request_sent_again_is_done_once() {
    let plane = Plane::new().await;
    let (realm, other) = (plane.realm("acme").await, plane.realm("bond").await);
    let path = format!("/tenants/{}/machines", realm.tenant);
    let new = json!({ "name": "once", "roles": ["clerk"] });
    let key = [("idempotency-key", "k1")];
    let post = async |body: &Value, key: &[(&str, &str)]| {
        plane.ask_with("POST", &path, &realm.token, Some(body), key).await
    };
    let first = post(&new, &key).await;
    assert_eq!(first.status, 201);
    let secret = first.body["secret"].as_str().unwrap();
    let again = post(&new, &key).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.body["client_id"], first.body["client_id"]);
    assert_eq!(again.body["secret"], Value::Null, "secrets are kept nowhere");
    let database = plane.dump(&realm.tenant).await;
    assert!(!database.contains(secret), "the secret is in the database");
    assert_eq!(post(&json!({ "name": "other" }), &key).await.status, 422);
    // Another caller's key of the same name is another key, and one that failed may be used again.
    let elsewhere = format!("/tenants/{}/machines", other.tenant);
    let theirs = plane.ask_with("POST", &elsewhere, &other.token, Some(&new), &key).await;
    assert_ne!(theirs.body["client_id"], first.body["client_id"]);
    let second = [("idempotency-key", "k2")];
    assert_eq!(post(&json!({ "name": "" }), &second).await.status, 422);
    assert_eq!(post(&new, &second).await.status, 201, "put right, under the same key");
    assert_eq!(post(&new, &[("idempotency-key", "")]).await.status, 400);
    let list = plane.ask("GET", &path, &realm.token, None).await;
    let once = list.body["items"].as_array().unwrap().iter().filter(|m| m["name"] == "once");
    assert_eq!(once.count(), 2, "k1 and k2");
}

#[tokio::test]
async fn i40_lists_are_paged_by_key() {
    let plane = Plane::new().await;
    let realm = plane.realm("acme").await;
    for _ in 0..5 {
        plane.machine(&realm.tenant, &[], &[]).await;
    }
    let base = format!("/tenants/{}/machines", realm.tenant);
    let mut seen = Vec::new();
    let mut path = format!("{base}?limit=2");
    loop {
        let page = plane.ask("GET", &path, &realm.token, None).await;
        assert_eq!(page.status, 200);
        let items = page.body["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["client_id"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("{base}?limit=2&after={}", next.replace(':', "%3A"));
    }
    assert_eq!(seen.len(), 7, "two of the realm, and five");
    assert!(seen.is_sorted());
    for refused in ["limit=0", "limit=1001", "limit=x", "after=x", "offset=1", "limit=1&limit=2"] {
        let page = plane.ask("GET", &format!("{base}?{refused}"), &realm.token, None).await;
        assert_eq!(page.status, 400, "{refused}");
    }
}

#[tokio::test]
async fn b23_nobody_writes_what_authorization_reads_of_themselves() {
    let plane = Plane::new().await;
    let realm = plane.realm("acme").await;
    let (client, secret) = plane.machine(&realm.tenant, &["tenant-admin"], &["admin"]).await;
    let token = plane.token(&client, &secret, "admin").await;
    let own = format!("/tenants/{}/machines/{client}", realm.tenant);
    let more = json!({ "roles": ["tenant-admin", "accountant"] });
    assert_eq!(plane.ask("PATCH", &own, &token, Some(&more)).await.status, 403);
    let name = json!({ "name": "renamed" });
    assert_eq!(plane.ask("PATCH", &own, &token, Some(&name)).await.status, 200, "the control");
    assert_eq!(plane.ask("PATCH", &own, &realm.token, Some(&more)).await.status, 200, "another");
}

#[tokio::test]
async fn l05_problems_are_problem_details_with_the_requests_id() {
    let plane = Plane::new().await;
    let realm = plane.realm("acme").await;
    let request = |method: &str, path: &str, token: &str| {
        Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };
    for (method, path, token, status, code) in [
        ("GET", "/tenants", "x", 401, "unauthenticated"),
        ("GET", "/nowhere", realm.token.as_str(), 404, "not-found"),
        ("PUT", "/tenants", realm.token.as_str(), 405, "method-not-allowed"),
        ("GET", "/signing-keys", realm.token.as_str(), 403, "forbidden"),
        ("POST", "/tenants", plane.operator.as_str(), 415, "media-type"),
    ] {
        let response = plane.router.clone().oneshot(request(method, path, token)).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "application/problem+json", "{method} {path}");
        let challenged = response.headers().contains_key("www-authenticate");
        assert_eq!(challenged, status == 401);
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["type"], format!("urn:partywall:problem:{code}"));
        assert_eq!((&problem["status"], &problem["request_id"]), (&json!(status), &json!(id)));
    }
}
