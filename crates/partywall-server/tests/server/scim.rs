//! SCIM, asked as identity providers ask.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use partywall::TenantId;
use partywall_server::{
    ConnectionId, ConnectionPatch, ConnectionStatus, NewScimToken, UserId, UserPatch, UserStatus,
};
use serde_json::{Value, json};

use crate::support::{Plane, Reply, TESTER};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// An identity provider that provisions.
struct Provider<'p> {
    plane: &'p Plane,
    tenant: TenantId,
    connection: ConnectionId,
    token: String,
    base: String,
}

impl<'p> Provider<'p> {
    async fn of(plane: &'p Plane, tenant: &TenantId, rules: Value) -> Self {
        let new = json!({
            "name": "Own", "client_secret": "s3cret", "rules": rules,
            "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
        });
        let new = serde_json::from_value(new).unwrap();
        let connection = plane.control.create_connection(&TESTER, tenant, new).await.unwrap().id;
        set_status(plane, tenant, &connection, ConnectionStatus::Active).await;
        let base = format!("/idp/scim/{tenant}/{connection}/v2");
        let token = token(plane, tenant, &connection).await;
        Self { plane, tenant: tenant.clone(), connection, token, base }
    }

    async fn new(plane: &'p Plane, slug: &str) -> Self {
        let tenant = plane.tenant(slug).await;
        Self::of(plane, tenant.id(), json!({})).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.ask_with(method, path, body, &[]).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/scim+json");
                Body::from(body.to_string())
            }
        };
        self.plane.send(request.body(body).unwrap()).await
    }

    /// An answer that must be of that status.
    async fn good(&self, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
        let reply = self.ask(method, path, body).await;
        assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.text());
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let reply = self.ask(method, path, body).await;
        let (status, body) = (reply.status.as_u16(), reply.json());
        assert_eq!(body["schemas"], json!([ERROR]), "{method} {path}: {body}");
        assert_eq!(body["status"], status.to_string());
        assert_eq!(reply.header("content-type"), "application/scim+json");
        (status, body["scimType"].as_str().unwrap_or_default().to_owned())
    }

    async fn user(&self, name: &str) -> Value {
        self.good("POST", "/Users", Some(user(name)), 201).await
    }

    async fn group(&self, name: &str, members: &[&Value]) -> Value {
        let members: Vec<_> = members.iter().map(|user| json!({ "value": user["id"] })).collect();
        let group = json!({ "schemas": [GROUP], "displayName": name, "members": members });
        self.good("POST", "/Groups", Some(group), 201).await
    }

    async fn patch(&self, path: &str, operations: Value, status: u16) -> Value {
        let body = json!({ "schemas": [PATCH], "Operations": operations });
        self.good("PATCH", path, Some(body), status).await
    }

    async fn total(&self, path: &str) -> u64 {
        self.good("GET", path, None, 200).await["totalResults"].as_u64().unwrap()
    }

    /// The user itself, as administrators see it.
    async fn member(&self, user: &Value) -> Option<partywall_server::User> {
        let id: UserId = format!("u:{}", user["id"].as_str().unwrap()).parse().unwrap();
        self.plane.control.user(&self.tenant, &id).await.unwrap()
    }
}

async fn token(plane: &Plane, tenant: &TenantId, connection: &ConnectionId) -> String {
    let new = NewScimToken { lasts_seconds: 24 * 3600 };
    let made = plane.control.create_scim_token(&TESTER, tenant, connection, new).await.unwrap();
    made.text.expose().clone()
}

async fn set_status(
    plane: &Plane,
    tenant: &TenantId,
    connection: &ConnectionId,
    status: ConnectionStatus,
) {
    let patch = ConnectionPatch { status: Some(status), ..ConnectionPatch::default() };
    let control = &plane.control;
    control.update_connection(&TESTER, tenant, connection, patch, |_| true).await.unwrap();
}

fn user(name: &str) -> Value {
    json!({
        "schemas": [USER], "userName": name, "externalId": format!("ext-{name}"),
        "name": { "givenName": "Ada", "familyName": "Lovelace" },
        "emails": [{ "value": name, "type": "work", "primary": true }], "active": true,
    })
}

fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}

fn quoted(filter: &str) -> String {
    filter.replace('%', "%25").replace(' ', "%20").replace('"', "%22").replace('&', "%26")
}

#[tokio::test]
async fn c01_discovery_says_what_there_is_and_is_read_only() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let config = acme.good("GET", "/ServiceProviderConfig", None, 200).await;
    assert_eq!(config["patch"]["supported"], true);
    assert_eq!(config["sort"]["supported"], false);
    assert_eq!(config["bulk"]["maxOperations"], 100);
    assert_eq!(config["filter"]["maxResults"], 200);
    let types = acme.good("GET", "/ResourceTypes", None, 200).await;
    assert_eq!(types["totalResults"], 2);
    for kind in types["Resources"].as_array().unwrap() {
        let one = acme.good("GET", &format!("/ResourceTypes/{}", id(kind)), None, 200).await;
        assert_eq!(one, *kind);
        assert!(kind["meta"]["location"].as_str().unwrap().ends_with(id(kind)));
    }
    let schemas = acme.good("GET", "/Schemas", None, 200).await;
    let ids: Vec<_> = schemas["Resources"].as_array().unwrap().iter().map(id).collect();
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(ids, [USER, enterprise, GROUP]);
    for schema in schemas["Resources"].as_array().unwrap() {
        let one = acme.good("GET", &format!("/Schemas/{}", id(schema)), None, 200).await;
        assert_eq!(one, *schema);
    }
    for absent in ["/Schemas/urn:x", "/ResourceTypes/Cat", "/nothing", "", "/"] {
        assert_eq!(acme.refused("GET", absent, None).await.0, 404, "{absent}");
    }
    for path in ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/Schemas/x"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let refused = acme.refused(method, path, Some(json!({}))).await;
            assert_eq!(refused.0, 405, "{method} {path}");
        }
    }
    assert_eq!(acme.refused("GET", "/Me", None).await.0, 501);
}

/// The steps of Okta's public "SCIM 2.0 SPEC Test", in its order.
#[tokio::test]
async fn c01_c02_the_steps_of_oktas_specification() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    acme.user("first@acme.test").await;
    let config = acme.good("GET", "/ServiceProviderConfig", None, 200).await;
    let urn = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
    assert_eq!(config["schemas"], json!([urn]));
    for part in ["patch", "bulk", "filter", "changePassword", "sort", "etag"] {
        assert!(config[part]["supported"].is_boolean(), "{part}");
    }
    assert!(config["authenticationSchemes"].is_array());
    assert!(config["filter"]["maxResults"].is_u64() && config["bulk"]["maxPayloadSize"].is_u64());
    assert_eq!(acme.ask("POST", "/ServiceProviderConfig", None).await.status, 405);
    let types = acme.good("GET", "/ResourceTypes", None, 200).await;
    for part in ["name", "endpoint", "schema"] {
        assert!(types["Resources"][0][part].is_string(), "{part}");
    }
    assert_eq!(acme.ask("POST", "/ResourceTypes", None).await.status, 405);
    let schemas = acme.good("GET", "/Schemas", None, 200).await;
    assert!(schemas["Resources"][0]["attributes"].is_array());
    assert_eq!(acme.ask("POST", "/Schemas", None).await.status, 405);
    let list = acme.good("GET", "/Users?count=1&startIndex=1", None, 200).await;
    assert_eq!(list["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:ListResponse"]));
    for number in ["itemsPerPage", "startIndex", "totalResults"] {
        assert_eq!(list[number], 1, "{number}");
    }
    let first = &list["Resources"][0];
    assert!(first["name"]["familyName"].is_string() && first["name"]["givenName"].is_string());
    assert!(first["userName"].is_string() && first["active"].is_boolean());
    assert!(first["emails"].is_array());
    let one = acme.good("GET", &format!("/Users/{}", id(first)), None, 200).await;
    assert_eq!(one["id"], first["id"]);
    let nobody = quoted("/Users?filter=userName eq \"nobody@acme.test\"");
    assert_eq!(acme.total(&nobody).await, 0);
    let refused = acme.refused("GET", "/Users/00919288221112222", None).await;
    assert_eq!(refused.0, 404);
    let made = acme.user("second@acme.test").await;
    assert_eq!((&made["active"], &made["userName"]), (&json!(true), &json!("second@acme.test")));
    let again = acme.good("GET", &format!("/Users/{}", id(&made)), None, 200).await;
    assert_eq!((&again["name"], &again["userName"]), (&made["name"], &made["userName"]));
    assert_eq!(acme.refused("POST", "/Users", Some(user("second@acme.test"))).await.0, 409);
    let refused = acme.refused("GET", "/Users?filter=SECOND@ACME.TEST", None).await;
    assert_eq!(refused, (400, "invalidFilter".to_owned()));
    assert!(acme.good("GET", "/Groups", None, 200).await["Resources"].is_array());
}

#[tokio::test]
async fn c02_a_user_through_its_life() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let reply = acme.ask("POST", "/Users", Some(user("ada@acme.test"))).await;
    let ada = reply.json();
    assert_eq!(reply.header("location"), ada["meta"]["location"].as_str().unwrap());
    assert_eq!(reply.header("etag"), ada["meta"]["version"].as_str().unwrap());
    assert!(reply.header("location").starts_with(&format!("https://id.test{}", acme.base)));
    let member = acme.member(&ada).await.unwrap();
    assert_eq!((member.email.as_str(), member.name.as_str()), ("ada@acme.test", "Ada Lovelace"));
    assert_eq!((member.account, member.status), (None, UserStatus::Active));

    let path = format!("/Users/{}", id(&ada));
    let title = json!([{ "op": "Add", "path": "title", "value": "Countess" }]);
    let patched = acme.patch(&path, title, 200).await;
    assert_eq!(patched["title"], "Countess");
    let replaced = json!({ "schemas": [USER], "userName": "al@acme.test", "displayName": "Al" });
    let replaced = acme.good("PUT", &path, Some(replaced), 200).await;
    assert_eq!(replaced.get("title"), None, "what is left out is gone");
    assert_eq!(
        (&replaced["active"], &replaced["userName"]),
        (&json!(true), &json!("al@acme.test"))
    );
    let member = acme.member(&ada).await.unwrap();
    assert_eq!((member.email.as_str(), member.name.as_str()), ("al@acme.test", "Al"));

    acme.good("DELETE", &path, None, 204).await;
    assert_eq!(acme.refused("GET", &path, None).await.0, 404);
    assert_eq!(acme.refused("DELETE", &path, None).await.0, 404);
    assert_eq!(acme.member(&ada).await, None);
    acme.user("ada@acme.test").await;
}

#[tokio::test]
async fn c03_filters_find_by_index_and_by_reading() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let mut all = Vec::new();
    for name in ["ada@acme.test", "bob@acme.test", "eve@acme.test"] {
        all.push(acme.user(name).await);
    }
    let group = acme.group("Clerks", &[&all[0], &all[2]]).await;
    for (filter, expected) in [
        ("userName eq \"ADA@acme.test\"".to_owned(), 1),
        ("externalId eq \"ext-bob@acme.test\"".to_owned(), 1),
        ("externalId eq \"EXT-bob@acme.test\"".to_owned(), 0),
        (format!("id eq \"{}\"", id(&all[1])), 1),
        ("id eq \"nonsense\"".to_owned(), 0),
        ("userName sw \"a\" or userName sw \"b\"".to_owned(), 2),
        ("name.familyName eq \"lovelace\"".to_owned(), 3),
        ("userName eq \"ada@acme.test\" and active eq false".to_owned(), 0),
        ("emails[type eq \"work\" and value co \"eve\"]".to_owned(), 1),
        (format!("groups.value eq \"{}\"", id(&group)), 2),
        ("not (groups pr)".to_owned(), 1),
    ] {
        let found = acme.total(&quoted(&format!("/Users?filter={filter}"))).await;
        assert_eq!(found, expected, "{filter}");
        let search = json!({ "filter": filter });
        let found = acme.good("POST", "/Users/.search", Some(search), 200).await;
        assert_eq!(found["totalResults"], expected, "{filter}");
    }
    let member =
        format!("/Groups?filter=id eq \"{}\" and members eq \"{}\"", id(&group), id(&all[0]));
    assert_eq!(acme.total(&quoted(&member)).await, 1);
    let member = member.replace(id(&all[0]), id(&all[1]));
    assert_eq!(acme.total(&quoted(&member)).await, 0);
    assert_eq!(acme.total(&quoted("/Groups?filter=displayName eq \"clerks\"")).await, 1);
    let both = acme.good("POST", "/.search", Some(json!({})), 200).await;
    assert_eq!(both["totalResults"], 4);
}

#[tokio::test]
async fn c10_pages_are_bounded_and_add_up() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    for number in 0..5 {
        acme.user(&format!("user{number}@acme.test")).await;
    }
    let page = async |query: &str| acme.good("GET", &format!("/Users?{query}"), None, 200).await;
    let mut seen = std::collections::BTreeSet::new();
    for start in [1, 3, 5] {
        for query in [
            format!("startIndex={start}&count=2"),
            format!("startIndex={start}&count=2&filter=userName%20pr"),
        ] {
            let page = page(&query).await;
            assert_eq!((&page["totalResults"], &page["startIndex"]), (&json!(5), &json!(start)));
            let found = page["Resources"].as_array().unwrap();
            assert_eq!(found.len(), if start == 5 { 1 } else { 2 }, "{query}");
            seen.extend(found.iter().map(|user| id(user).to_owned()));
        }
    }
    assert_eq!(seen.len(), 5, "every one on one page");
    for (query, items, start) in [
        ("count=0", 0, 1),
        ("count=-1", 0, 1),
        ("startIndex=0", 5, 1),
        ("startIndex=-7", 5, 1),
        ("count=100000", 5, 1),
        ("startIndex=6", 0, 6),
        ("startIndex=9223372036854775807", 0, i64::MAX),
        ("sortBy=userName&sortOrder=descending", 5, 1),
    ] {
        let page = page(query).await;
        let got = (&page["totalResults"], &page["itemsPerPage"], &page["startIndex"]);
        assert_eq!(got, (&json!(5), &json!(items), &json!(start)), "{query}");
    }
    let refused = acme.refused("GET", "/Users?count=many", None).await;
    assert_eq!(refused, (400, "invalidValue".to_owned()));
}

#[tokio::test]
async fn c02_attributes_are_chosen() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let ada = acme.user("ada@acme.test").await;
    let path = format!("/Users/{}", id(&ada));
    let only =
        acme.good("GET", &format!("{path}?attributes=name.givenName,emails"), None, 200).await;
    assert_eq!(
        only,
        json!({
            "schemas": [USER], "id": ada["id"], "name": { "givenName": "Ada" },
            "emails": ada["emails"],
        })
    );
    let without = format!("{path}?excludedAttributes=name.givenName,emails,id");
    let without = acme.good("GET", &without, None, 200).await;
    assert_eq!(without.get("emails"), None);
    assert_eq!(without["name"], json!({ "familyName": "Lovelace" }));
    assert_eq!(without["id"], ada["id"], "always returned");
    let both = format!("{path}?attributes=name&excludedAttributes=name");
    assert_eq!(acme.refused("GET", &both, None).await.0, 400);
    let group = acme.group("Clerks", &[&ada]).await;
    let path = format!("/Groups/{}", id(&group));
    let without = acme.good("GET", &format!("{path}?excludedAttributes=members"), None, 200).await;
    assert_eq!(without.get("members"), None);
    let whole = acme.good("GET", &path, None, 200).await;
    assert_eq!(whole["members"][0]["value"], ada["id"]);
}

#[tokio::test]
async fn c04_i29_b07_a_token_opens_its_connection_and_nothing_else() {
    let plane = Plane::new().await;
    let (acme, bond) = (Provider::new(&plane, "acme").await, Provider::new(&plane, "bond").await);
    let other = Provider::of(&plane, &acme.tenant, json!({})).await;
    let (ada, clerks) = (acme.user("ada@acme.test").await, acme.group("Clerks", &[]).await);
    let (their, theirs) = (bond.user("bill@bond.test").await, bond.group("Spies", &[]).await);
    let nothing = async |provider: &Provider<'_>, user: &Value, group: &Value| {
        let absent = "a".repeat(26);
        for (path, absent) in [
            (format!("/Users/{}", id(user)), format!("/Users/{absent}")),
            (format!("/Groups/{}", id(group)), format!("/Groups/{absent}")),
        ] {
            let patch =
                json!({ "Operations": [{ "op": "add", "path": "displayName", "value": "x" }] });
            for (method, body) in [
                ("GET", None),
                ("PUT", Some(json!({ "userName": "x", "displayName": "x" }))),
                ("PATCH", Some(patch)),
                ("DELETE", None),
            ] {
                let foreign = provider.ask(method, &path, body.clone()).await;
                let absent = provider.ask(method, &absent, body).await;
                assert_eq!(foreign.status, 404, "{method} {path}");
                assert_eq!(foreign.json(), absent.json(), "{method} {path}: as if it never was");
            }
        }
        for filter in [
            format!("/Users?filter=id eq \"{}\"", id(user)),
            format!("/Users?filter=userName eq \"{}\"", user["userName"].as_str().unwrap()),
            format!("/Groups?filter=id eq \"{}\"", id(group)),
            "/Users?filter=userName co \"bill\"".to_owned(),
        ] {
            assert_eq!(provider.total(&quoted(&filter)).await, 0, "{filter}");
        }
        // As a member, and as a bulk operation.
        let group = json!({ "displayName": "x", "members": [{ "value": user["id"] }] });
        assert_eq!(provider.refused("POST", "/Groups", Some(group)).await.0, 400);
        let bulk = json!({ "Operations": [
            { "method": "DELETE", "path": format!("/Users/{}", id(user)) },
        ] });
        let bulk = provider.good("POST", "/Bulk", Some(bulk), 200).await;
        assert_eq!(bulk["Operations"][0]["status"], "404");
    };
    nothing(&acme, &their, &theirs).await;
    // Another connection of the same tenant is another, too.
    nothing(&other, &ada, &clerks).await;
    assert_eq!(bond.total("/Users").await, 1, "all is still there");
    assert_eq!(acme.total("/Users").await, 1);

    // A token at another's address.
    for (who, at) in [(&acme, &bond), (&acme, &other), (&other, &acme)] {
        let stranger = Provider {
            plane: &plane,
            tenant: at.tenant.clone(),
            connection: at.connection.clone(),
            token: who.token.clone(),
            base: at.base.clone(),
        };
        for path in ["/Users", "/ServiceProviderConfig", "/Users/x", "/nothing"] {
            assert_eq!(stranger.refused("GET", path, None).await.0, 401, "{path}");
        }
    }
    let control = &plane.control;
    let made = control.list_scim_tokens(&acme.tenant, &acme.connection).await.unwrap();
    let revoke = async |tenant: &TenantId, connection: &ConnectionId| {
        control.revoke_scim_token(&TESTER, tenant, connection, &made[0].id).await
    };
    assert!(revoke(&bond.tenant, &bond.connection).await.is_err());
    assert!(revoke(&acme.tenant, &other.connection).await.is_err());
    revoke(&acme.tenant, &acme.connection).await.unwrap();
    assert_eq!(acme.refused("GET", "/Users", None).await.0, 401, "revoked");
}

#[tokio::test]
async fn c09_b07_without_a_good_token_nobody_is_heard() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let with = async |header: Option<&str>| {
        let mut request = Request::get(format!("{}/Users", acme.base));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let reply = plane.send(request.body(Body::empty()).unwrap()).await;
        if reply.status == StatusCode::UNAUTHORIZED {
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
        reply.status.as_u16()
    };
    let good = format!("Bearer {}", acme.token);
    assert_eq!(with(Some(&good)).await, 200, "the control");
    assert_eq!(with(Some(&good.replace("Bearer", "bearer"))).await, 200, "schemes have no case");
    let mut parts: Vec<&str> = acme.token.split('.').collect();
    let wrong = "A".repeat(parts[3].len());
    parts[3] = &wrong;
    let wrong = format!("Bearer {}", parts.join("."));
    parts[3] = "";
    let empty = format!("Bearer {}", parts.join("."));
    for refused in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer undefined",
        "Bearer null",
        &wrong,
        &empty,
        &good.replace("Bearer", "Basic"),
        &good[..good.len() - 1],
        &format!("{good}x"),
    ] {
        assert_eq!(with(Some(refused)).await, 401, "{refused:?}");
    }
    assert_eq!(with(None).await, 401);
    plane.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(with(Some(&good)).await, 401, "it has run out");
}

#[tokio::test]
async fn i29_one_token_replaces_the_other_without_a_pause() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let next = token(&plane, &acme.tenant, &acme.connection).await;
    let new = NewScimToken { lasts_seconds: 3600 };
    let (control, tenant) = (&plane.control, &acme.tenant);
    let third = control.create_scim_token(&TESTER, tenant, &acme.connection, new.clone()).await;
    assert!(third.is_err(), "two at most");
    assert_eq!(acme.total("/Users").await, 0);
    let acme = Provider { token: next, ..acme };
    assert_eq!(acme.total("/Users").await, 0);
    plane.advance(std::time::Duration::from_secs(25 * 3600));
    control.create_scim_token(&TESTER, &acme.tenant, &acme.connection, new).await.unwrap();
    let nothing = NewScimToken { lasts_seconds: 1 };
    let refused = control.create_scim_token(&TESTER, &acme.tenant, &acme.connection, nothing).await;
    assert!(refused.is_err(), "an hour at least");
}

#[tokio::test]
async fn f04_what_is_not_in_use_provisions_nobody() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let ada = acme.user("ada@acme.test").await;
    for status in [ConnectionStatus::Disabled, ConnectionStatus::Draft] {
        set_status(&plane, &acme.tenant, &acme.connection, status).await;
        for (method, path) in
            [("GET", "/Users"), ("GET", "/ServiceProviderConfig"), ("DELETE", "/x")]
        {
            assert_eq!(acme.refused(method, path, None).await.0, 403, "{status:?} {path}");
        }
        assert_eq!(acme.refused("POST", "/Users", Some(user("b@acme.test"))).await.0, 403);
    }
    set_status(&plane, &acme.tenant, &acme.connection, ConnectionStatus::Active).await;
    assert_eq!(acme.total("/Users").await, 1);
    let control = &plane.control;
    let deleted = control.delete_connection(&TESTER, &acme.tenant, &acme.connection, |_| true);
    deleted.await.unwrap();
    assert_eq!(acme.refused("GET", "/Users", None).await.0, 401);
    assert!(acme.member(&ada).await.is_some(), "its users stay");
}

#[tokio::test]
async fn c05_c06_whoever_is_there_is_neither_taken_over_nor_linked() {
    let plane = Plane::new().await;
    let (acme, bond) = (Provider::new(&plane, "acme").await, Provider::new(&plane, "bond").await);
    let invited = json!({ "email": "boss@acme.test", "name": "Boss", "roles": ["tenant-admin"] });
    let invited = serde_json::from_value(invited).unwrap();
    let boss = plane.control.create_user(&TESTER, &acme.tenant, invited).await.unwrap();
    let uniqueness = (409, "uniqueness".to_owned());
    // By its address, as address or as userName.
    assert_eq!(acme.refused("POST", "/Users", Some(user("boss@acme.test"))).await, uniqueness);
    let named = json!({ "schemas": [USER], "userName": "BOSS@acme.test" });
    assert_eq!(acme.refused("POST", "/Users", Some(named)).await, uniqueness);
    // Or by changing into it (B-07).
    let eve = acme.user("eve@acme.test").await;
    let path = format!("/Users/{}", id(&eve));
    for operation in [
        json!({ "op": "replace", "path": "emails[type eq \"work\"].value", "value": "boss@acme.test" }),
        json!({ "op": "replace", "value": { "emails": [{ "value": "boss@acme.test" }] } }),
    ] {
        let body = json!({ "schemas": [PATCH], "Operations": [operation] });
        assert_eq!(acme.refused("PATCH", &path, Some(body)).await, uniqueness);
    }
    assert_eq!(plane.control.user(&acme.tenant, &boss.id).await.unwrap().unwrap(), boss);
    // Whoever came otherwise is not there.
    let boss_path = format!("/Users/{}", boss.id.as_str().trim_start_matches("u:"));
    assert_eq!(acme.refused("GET", &boss_path, None).await.0, 404);
    assert_eq!(acme.refused("DELETE", &boss_path, None).await.0, 404);
    assert_eq!(acme.total("/Users").await, 1);
    // In another tenant it is free, and nobody learns anything of it.
    let elsewhere = bond.user("boss@acme.test").await;
    assert_eq!(bond.member(&elsewhere).await.unwrap().account, None, "and no account is behind it");
    // The same userName in any spelling, once per connection.
    assert_eq!(acme.refused("POST", "/Users", Some(user("EVE@acme.test"))).await, uniqueness);
    let bob = acme.user("bob@acme.test").await;
    let rename = json!({ "Operations": [{ "op": "replace", "path": "userName", "value": "Eve@acme.test" }] });
    let path = format!("/Users/{}", id(&bob));
    assert_eq!(acme.refused("PATCH", &path, Some(rename)).await, uniqueness);
}

#[tokio::test]
async fn c07_b06_what_clients_call_things_is_nothing_to_us() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let first = acme.user("first@acme.test").await;
    for external_id in ["1", id(&first), "u:1", "admin", "0"] {
        let name = format!("x{}@acme.test", external_id.replace(':', ""));
        let body = json!({
            "schemas": [USER], "userName": name, "externalId": external_id, "id": first["id"],
            "meta": { "location": "https://evil.test", "version": "W/\"x\"", "resourceType": "Cat" },
            "groups": [{ "value": "admins" }], "roles": [{ "value": "tenant-admin" }],
            "entitlements": ["tenant-admin"],
        });
        let made = acme.good("POST", "/Users", Some(body), 201).await;
        assert_ne!(made["id"], first["id"]);
        assert_eq!(made["externalId"], external_id);
        assert_eq!(
            (made["meta"]["resourceType"].as_str(), made.get("groups")),
            (Some("User"), None)
        );
        let member = acme.member(&made).await.unwrap();
        assert!(member.roles.is_empty(), "roles here are data (F-09)");
        let found = format!("/Users?filter=externalId eq \"{external_id}\"");
        assert_eq!(acme.total(&quoted(&found)).await, 1);
    }
    // Put, too.
    let path = format!("/Users/{}", id(&first));
    let body = json!({ "schemas": [USER], "userName": "first@acme.test", "id": "other" });
    assert_eq!(acme.good("PUT", &path, Some(body), 200).await["id"], first["id"]);
}

#[tokio::test]
async fn c02_a_user_without_an_address_has_none() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let body = json!({ "schemas": [USER], "userName": "ada", "displayName": " Ada " });
    let ada = acme.good("POST", "/Users", Some(body), 201).await;
    assert_eq!(ada.get("emails"), None);
    let member = acme.member(&ada).await.unwrap();
    assert!(member.email.domain().ends_with(".invalid"), "{}", member.email);
    assert_eq!(member.name, "Ada");
    let path = format!("/Users/{}", id(&ada));
    let email = json!([{ "op": "add", "path": "emails", "value": [{ "value": "ada@acme.test" }] }]);
    acme.patch(&path, email, 200).await;
    assert_eq!(acme.member(&ada).await.unwrap().email.as_str(), "ada@acme.test");
}

#[tokio::test]
async fn c10_nobody_changes_what_they_have_not_read() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let ada = acme.user("ada@acme.test").await;
    let group = acme.group("Clerks", &[]).await;
    for (path, name, version) in [
        (format!("/Users/{}", id(&ada)), "userName", &ada["meta"]["version"]),
        (format!("/Groups/{}", id(&group)), "displayName", &group["meta"]["version"]),
    ] {
        let version = version.as_str().unwrap();
        let known = acme.ask_with("GET", &path, None, &[("if-none-match", version)]).await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
        let patch = |value: &str| {
            Some(json!({ "Operations": [{ "op": "replace", "path": name, "value": value }] }))
        };
        let changed =
            acme.ask_with("PATCH", &path, patch("a@x.test"), &[("if-match", version)]).await;
        assert!(changed.status.is_success(), "{}", changed.text());
        assert_ne!(changed.header("etag"), version);
        for (method, body) in [
            ("PATCH", patch("b@x.test")),
            ("PUT", Some(json!({ name: "c@x.test" }))),
            ("DELETE", None),
        ] {
            let stale = acme.ask_with(method, &path, body, &[("if-match", version)]).await;
            assert_eq!(stale.status, 412, "{method}: {}", stale.text());
        }
        let reread = acme.ask_with("GET", &path, None, &[("if-none-match", version)]).await;
        assert_eq!(reread.status, 200);
        assert_eq!(reread.json()[name], "a@x.test");
        let any = acme.ask_with("DELETE", &path, None, &[("if-match", "*")]).await;
        assert_eq!(any.status, 204);
    }
}

#[tokio::test]
async fn c10_bulk_is_bounded_and_each_operation_stands_alone() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let operations = json!([
        { "method": "POST", "path": "/Users", "bulkId": "ada", "data": user("ada@acme.test") },
        { "method": "post", "path": "/Users", "bulkId": "twice", "data": user("ada@acme.test") },
        { "method": "POST", "path": "/Groups", "bulkId": "clerks",
          "data": { "displayName": "Clerks", "members": [{ "value": "bulkId:ada" }] } },
        { "method": "PATCH", "path": "/Users/bulkId:ada",
          "data": { "Operations": [{ "op": "add", "path": "title", "value": "Countess" }] } },
        { "method": "PATCH", "path": "/Users/bulkId:nobody", "data": { "Operations": [] } },
        { "method": "POST", "path": "/Users", "data": user("bob@acme.test") },
        { "method": "GET", "path": "/Users" },
        { "method": "DELETE", "path": "/Users/aaa" },
    ]);
    let answer = acme.good("POST", "/Bulk", Some(json!({ "Operations": operations })), 200).await;
    let results = answer["Operations"].as_array().unwrap();
    let status: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["201", "409", "201", "200", "400", "400", "400", "404"], "{answer}");
    assert_eq!(results[0]["bulkId"], "ada");
    assert_eq!(results[1]["response"]["scimType"], "uniqueness");
    let found = acme.good("GET", &quoted("/Users?filter=title pr"), None, 200).await;
    assert_eq!(found["totalResults"], 1);
    assert_eq!(found["Resources"][0]["groups"][0]["display"], "Clerks");
    assert_eq!(results[0]["location"], found["Resources"][0]["meta"]["location"]);

    let fails = vec![json!({ "method": "DELETE", "path": "/Users/aaa" }); 100];
    let stop = json!({ "Operations": fails, "failOnErrors": 2 });
    let stopped = acme.good("POST", "/Bulk", Some(stop), 200).await;
    assert_eq!(stopped["Operations"].as_array().unwrap().len(), 2);
    let many = vec![json!({ "method": "DELETE", "path": "/Users/aaa" }); 101];
    assert_eq!(acme.refused("POST", "/Bulk", Some(json!({ "Operations": many }))).await.0, 413);
    let large = json!({ "displayName": "x".repeat(1024 * 1024) });
    assert_eq!(acme.ask("POST", "/Groups", Some(large)).await.status, 413);
}

#[tokio::test]
async fn c02_bodies_that_are_none_are_refused() {
    let plane = Plane::new().await;
    let acme = Provider::new(&plane, "acme").await;
    let send = async |kind: &str, body: &str| {
        let request = Request::post(format!("{}/Users", acme.base))
            .header("authorization", format!("Bearer {}", acme.token))
            .header("content-type", kind);
        plane.send(request.body(Body::from(body.to_owned())).unwrap()).await.status.as_u16()
    };
    let good = user("ada@acme.test").to_string();
    assert_eq!(send("application/json; charset=utf-8", &good).await, 201, "the control");
    assert_eq!(send("text/plain", &good).await, 415);
    for body in ["", "[]", "null", "{", "\u{feff}{}", "{\"userName\":\"x\"}}"] {
        assert_eq!(send("application/scim+json", body).await, 400, "{body}");
    }
    let deep = format!("{{\"userName\":{}{}}}", "[".repeat(500), "]".repeat(500));
    assert_eq!(send("application/scim+json", &deep).await, 400);
}

#[tokio::test]
async fn c08_i31_inactive_is_suspended_and_active_again_keeps_its_roles() {
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let acme = Provider::of(&plane, tenant.id(), json!({ "default_roles": ["clerk"] })).await;
    let ada = acme.user("ada@acme.test").await;
    let path = format!("/Users/{}", id(&ada));
    let key = json!({
        "name": "ci", "holder": format!("u:{}", id(&ada)), "scopes": ["invoices:read"],
        "lasts_seconds": 3600,
    });
    let key = serde_json::from_value(key).unwrap();
    plane.control.create_api_key(&TESTER, tenant.id(), key).await.unwrap();
    // Each in its own dialect.
    for operation in [
        json!({ "op": "Replace", "path": "active", "value": "False" }),
        json!({ "op": "replace", "value": { "active": false } }),
        json!({ "op": "Add", "path": "active", "value": false }),
    ] {
        let body = Some(json!({ "Operations": [operation] }));
        let off = acme.ask("PATCH", &path, body.clone()).await;
        assert_eq!(off.json()["active"], false, "{}", off.text());
        let receipt = off.header("partywall-receipt");
        assert!(receipt.starts_with("sessions=0, grants=0, api-keys="), "{receipt}");
        assert_eq!(acme.member(&ada).await.unwrap().status, UserStatus::Suspended);
        assert_eq!(acme.good("GET", &path, None, 200).await["active"], false);
        // Twice is once.
        let twice = acme.ask("PATCH", &path, body).await;
        assert_eq!((twice.status.as_u16(), twice.header("partywall-receipt")), (200, ""));
        // Taken back, it is not shown, and changes nothing.
        let back = json!([{ "op": "remove", "path": "active" }]);
        assert_eq!(acme.patch(&path, back, 200).await.get("active"), None);
        assert_eq!(acme.member(&ada).await.unwrap().status, UserStatus::Suspended);
        let again = json!([{ "op": "add", "path": "active", "value": false }]);
        assert_eq!(acme.patch(&path, again, 200).await["active"], false);
        // An omission lets nobody in.
        let put = json!({ "schemas": [USER], "userName": "ada@acme.test", "title": "x" });
        assert_eq!(acme.good("PUT", &path, Some(put), 200).await["active"], false);
        let on = json!([{ "op": "replace", "path": "active", "value": "True" }]);
        assert_eq!(acme.patch(&path, on, 200).await["active"], true);
        let member = acme.member(&ada).await.unwrap();
        assert_eq!(member.status, UserStatus::Active);
        assert_eq!(member.roles, ["clerk".into()].into());
    }
    let keys = plane.control.list_api_keys(tenant.id(), None, None, 10).await.unwrap();
    assert_eq!(keys[0].status, partywall_server::ApiKeyStatus::Revoked);
    let trail = plane.control.list_audit_events(Some(tenant.id()), None, 50).await.unwrap();
    let detail = |event: &partywall_server::AuditRecord| -> Value {
        serde_json::from_str(&event.detail).unwrap()
    };
    let ended: Vec<_> = trail.iter().filter(|event| detail(event)["ended"].is_object()).collect();
    assert_eq!(ended.len(), 3, "{trail:?}");
    assert!(ended.iter().any(|event| detail(event)["ended"]["api_keys"] == 1));
    assert!(ended.iter().all(|event| event.actor == acme.connection.as_str()));
    // Born inactive.
    let mut eve = user("eve@acme.test");
    eve["active"] = json!(false);
    let eve = acme.good("POST", "/Users", Some(eve), 201).await;
    assert_eq!(acme.member(&eve).await.unwrap().status, UserStatus::Suspended);
}

#[tokio::test]
async fn i31_the_last_administrator_is_not_taken_away() {
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let rules = json!({ "group_roles": { "Admins": ["tenant-admin"] } });
    let acme = Provider::of(&plane, tenant.id(), rules).await;
    let (ada, bob) = (acme.user("ada@acme.test").await, acme.user("bob@acme.test").await);
    let admins = acme.group("Admins", &[&ada, &bob]).await;
    let off = |user: &Value| {
        let body = json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] });
        (format!("/Users/{}", id(user)), Some(body))
    };
    let (path, body) = off(&bob);
    acme.good("PATCH", &path, body, 200).await;
    let (path, body) = off(&ada);
    assert_eq!(acme.refused("PATCH", &path, body.clone()).await.0, 403);
    assert_eq!(acme.refused("DELETE", &path, None).await.0, 403);
    let group = format!("/Groups/{}", id(&admins));
    let without = json!({ "Operations": [{ "op": "remove", "path": "members" }] });
    assert_eq!(acme.refused("PATCH", &group, Some(without)).await.0, 403);
    assert_eq!(acme.refused("DELETE", &group, None).await.0, 403);
    let renamed = json!({ "displayName": "Others", "members": [{ "value": ada["id"] }] });
    assert_eq!(acme.refused("PUT", &group, Some(renamed)).await.0, 403);
    assert_eq!(acme.member(&ada).await.unwrap().status, UserStatus::Active, "nothing was done");
    let events = plane.control.list_security_events(tenant.id(), None, 50).await.unwrap();
    let alarms = events.iter().filter(|event| event.event == "scim.last_administrator").count();
    assert_eq!(alarms, 5, "every time it alarms");
    // With another one it may.
    let back = UserPatch { status: Some(UserStatus::Active), ..UserPatch::default() };
    let bob = acme.member(&bob).await.unwrap();
    plane.control.update_user(&TESTER, tenant.id(), &bob.id, back, |_| true).await.unwrap();
    acme.good("PATCH", &path, body, 200).await;
}

#[tokio::test]
async fn p02_groups_give_and_take_the_roles_of_the_rules_and_no_others() {
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let rules = json!({
        "default_roles": ["member"],
        "group_roles": { "Clerks": ["clerk"], "obj-1": ["accountant"], "Both": ["clerk", "accountant"] },
    });
    let acme = Provider::of(&plane, tenant.id(), rules).await;
    let ada = acme.user("ada@acme.test").await;
    let roles = async || {
        let roles = acme.member(&ada).await.unwrap().roles;
        roles.iter().map(|role| role.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(roles().await, ["member"]);
    let given = UserPatch {
        roles: Some(["member".into(), "auditor".into()].into()),
        ..UserPatch::default()
    };
    let member = acme.member(&ada).await.unwrap();
    plane.control.update_user(&TESTER, tenant.id(), &member.id, given, |_| true).await.unwrap();

    let clerks = acme.group("Clerks", &[]).await;
    let path = format!("/Groups/{}", id(&clerks));
    let member = |user: &Value| json!([{ "value": user["id"] }]);
    // Both spellings of coming and going, and twice is once.
    for (operation, expected) in [
        (
            json!({ "op": "Add", "path": "members", "value": member(&ada) }),
            &["auditor", "clerk", "member"][..],
        ),
        (
            json!({ "op": "Add", "path": "members", "value": member(&ada) }),
            &["auditor", "clerk", "member"],
        ),
        (
            json!({ "op": "Remove", "path": "members", "value": member(&ada) }),
            &["auditor", "member"],
        ),
        (
            json!({ "op": "Remove", "path": "members", "value": member(&ada) }),
            &["auditor", "member"],
        ),
        (
            json!({ "op": "add", "value": { "members": member(&ada) } }),
            &["auditor", "clerk", "member"],
        ),
        (
            json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", id(&ada)) }),
            &["auditor", "member"],
        ),
        (
            json!({ "op": "replace", "path": "members", "value": member(&ada) }),
            &["auditor", "clerk", "member"],
        ),
        (
            json!({ "op": "replace", "path": "displayName", "value": "Others" }),
            &["auditor", "member"],
        ),
        (
            json!({ "op": "replace", "value": { "id": id(&clerks), "displayName": "Both" } }),
            &["accountant", "auditor", "clerk", "member"],
        ),
        (json!({ "op": "remove", "path": "members" }), &["auditor", "member"]),
    ] {
        acme.patch(&path, json!([operation]), 204).await;
        assert_eq!(roles().await, expected, "{operation}");
    }
    // By what the provider calls it, from its first day to its last.
    let body = json!({ "displayName": "x", "externalId": "obj-1", "members": member(&ada) });
    let finance = acme.good("POST", "/Groups", Some(body), 201).await;
    assert_eq!(roles().await, ["accountant", "auditor", "member"]);
    let shown = acme.good("GET", &format!("/Users/{}", id(&ada)), None, 200).await;
    assert_eq!(
        shown["groups"],
        json!([{ "value": finance["id"], "display": "x", "type": "direct",
        "$ref": finance["meta"]["location"] }])
    );
    acme.good("DELETE", &format!("/Groups/{}", id(&finance)), None, 204).await;
    assert_eq!(roles().await, ["auditor", "member"]);
    // What is no member.
    for operation in [
        json!({ "op": "add", "path": "members", "value": [{ "value": "a".repeat(26) }] }),
        json!({ "op": "add", "path": "members", "value": [{ "value": clerks["id"], "type": "Group" }] }),
        json!({ "op": "remove", "path": "members[display eq \"Ada\"]" }),
        json!({ "op": "replace", "path": "members.value", "value": "x" }),
    ] {
        let body = json!({ "Operations": [operation] });
        assert_eq!(acme.refused("PATCH", &path, Some(body)).await.0, 400, "{operation}");
    }
}

#[tokio::test]
async fn i38_one_tenants_haste_is_no_other_tenants() {
    let plane = Plane::with(|config| {
        config.rates.of_scim = partywall_server::Rate { per_minute: 1, at_once: 3 };
    })
    .await;
    let (acme, bond) = (Provider::new(&plane, "acme").await, Provider::new(&plane, "bond").await);
    for _ in 0..3 {
        acme.total("/Users").await;
    }
    let refused = acme.ask("GET", "/Users", None).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    bond.total("/Users").await;
}
