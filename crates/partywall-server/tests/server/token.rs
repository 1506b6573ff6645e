//! `POST /token`.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use base64ct::{Base64, Encoding};
use partywall::{Principal, TenantStatus};
use partywall_server::SigningAlgorithm;

use crate::support::{
    API, ISSUER, OTHER_API, Plane, Reply, TESTER, form_request, new_machine, oracle, refusal,
};

#[tokio::test]
async fn j17_a_token_has_every_claim_and_both_verifiers_take_it() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa, SigningAlgorithm::Rs256] {
        let plane = Plane::with(|config| config.keys.algorithm = algorithm).await;
        let tenant = plane.tenant("acme").await;
        let client = plane.machine(tenant.id()).await;
        let reply = plane.ask(&client, "").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("cache-control"), "no-store");
        let body = reply.json();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 600);
        assert_eq!(body["scope"], "invoices:pay invoices:read");
        let token = body["access_token"].as_str().unwrap();

        let jwks = plane.get("/idp/jwks").await;
        let claims = oracle(&jwks.body, token).unwrap();
        let id = client.client_id.as_str();
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["aud"], API);
        assert_eq!(claims["sub"], id);
        assert_eq!(claims["client_id"], id);
        assert_eq!(claims["tid"], tenant.id().as_str());
        assert_eq!(claims["roles"], serde_json::json!(["clerk"]));
        assert_eq!(claims["tep"], 0);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 26);

        let wall = plane.wall().await;
        let context = wall.verify(partywall::AccessToken::new(token)).unwrap();
        assert_eq!(context.tenant(), tenant.id());
        assert!(
            matches!(context.principal(), Principal::Machine(subject) if subject.as_str() == id)
        );
        let altered = token.replace("eyJ", "eyK");
        assert!(refusal(&wall, &altered).is_some(), "an altered token is let in");
    }
}

#[tokio::test]
async fn j17_no_two_tokens_share_an_id() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let jwks = plane.get("/idp/jwks").await.body;
    let (a, b) = (plane.token(&client).await, plane.token(&client).await);
    assert_ne!(oracle(&jwks, &a).unwrap()["jti"], oracle(&jwks, &b).unwrap()["jti"]);
}

#[tokio::test]
async fn j18_a_machines_subject_is_in_the_machines_namespace() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    assert!(client.client_id.as_str().starts_with("m:"));
    // A machine cannot be asked for under a name of its caller's choice: there is no such field.
    let named = r#"{"name":"x","client_id":"u:aaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
    assert!(serde_json::from_str::<partywall_server::NewMachine>(named).is_err());
    let unnamed = serde_json::from_str::<partywall_server::NewMachine>(r#"{"name":"x"}"#);
    assert!(unnamed.is_ok());
}

#[tokio::test]
async fn i05_a_machine_acts_for_its_own_tenant_only() {
    let plane = Plane::new().await;
    let (acme, rival) = (plane.tenant("acme").await, plane.tenant("rival").await);
    let client = plane.machine(acme.id()).await;
    plane.machine(rival.id()).await;
    let jwks = plane.get("/idp/jwks").await.body;
    // Whatever else is asked for, by whatever name, the tenant is the machine's.
    for more in ["&tid=", "&tenant=", "&organization="] {
        let reply = plane.ask(&client, &format!("{more}{}", rival.id())).await;
        let token = reply.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(oracle(&jwks, &token).unwrap()["tid"], acme.id().as_str());
    }
}

#[tokio::test]
async fn o05_other_grants_do_not_exist() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let credentials =
        format!("client_id={}&client_secret={}", client.client_id, client.secret.expose());
    for grant in ["password", "implicit", "token", "CLIENT_CREDENTIALS"] {
        let reply = plane
            .post_form(&format!("grant_type={grant}&username=a&password=b&{credentials}"))
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{grant}");
        assert_eq!(reply.error(), "unsupported_grant_type", "{grant}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(plane.post_form(&credentials).await.error(), "invalid_request", "no grant at all");
    assert_eq!(plane.get("/idp/token").await.status, StatusCode::METHOD_NOT_ALLOWED);

    plane.token(&client).await;
}

async fn basic(plane: &Plane, pair: &str, form: &str) -> Reply {
    let header = format!("Basic {}", Base64::encode_string(pair.as_bytes()));
    let request = form_request(form).header("authorization", header);
    plane.send(request.body(Body::from(form.to_owned())).unwrap()).await
}

#[tokio::test]
async fn o15_credentials_are_taken_in_one_way_at_a_time() {
    const GRANT: &str = "grant_type=client_credentials";
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let (id, secret) = (client.client_id.as_str(), client.secret.expose());
    let encoded = id.replace(':', "%3A");

    let right = [
        basic(&plane, &format!("{encoded}:{secret}"), GRANT).await,
        basic(&plane, &format!("{id}:{secret}"), GRANT).await,
        basic(&plane, &format!("{encoded}:{secret}"), &format!("{GRANT}&client_id={encoded}"))
            .await,
        plane.ask(&client, "").await,
    ];
    for reply in right {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }

    let twice = format!("{GRANT}&client_id={id}&client_secret={secret}");
    let reply = basic(&plane, &format!("{encoded}:{secret}"), &twice).await;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );
    let other = format!("{GRANT}&client_id=m:{}", "a".repeat(26));
    let reply = basic(&plane, &format!("{encoded}:{secret}"), &other).await;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );

    let none = plane.post_form(GRANT).await;
    let id_only = plane.post_form(&format!("{GRANT}&client_id={id}")).await;
    let no_secret = plane.post_form(&format!("{GRANT}&client_id={id}&client_secret=")).await;
    let empty = basic(&plane, &format!("{encoded}:"), GRANT).await;
    let bearer = form_request(GRANT).header("authorization", format!("Bearer {secret}"));
    let bearer = plane.send(bearer.body(Body::from(GRANT)).unwrap()).await;
    for reply in [none, id_only, no_secret, empty, bearer] {
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.error(), "invalid_client");
        assert!(reply.header("www-authenticate").starts_with("Basic "));
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn o15_an_unknown_client_and_a_wrong_secret_look_the_same() {
    const GRANT: &str = "grant_type=client_credentials";
    let plane = Plane::new().await;
    let tenant = plane.tenant("acme").await;
    let (client, revoked) = (plane.machine(tenant.id()).await, plane.machine(tenant.id()).await);
    let other = plane.machine(tenant.id()).await;
    plane.control.revoke_machine(&TESTER, &revoked.client_id).await.unwrap();
    let unknown = format!("m:{}", "a".repeat(26));

    let attempts = [
        (client.client_id.as_str(), other.secret.expose()),
        (client.client_id.as_str(), "wrong"),
        (revoked.client_id.as_str(), revoked.secret.expose()),
        (unknown.as_str(), client.secret.expose()),
        ("somebody", "something"),
    ];
    let mut answers = Vec::new();
    for (id, secret) in attempts {
        let mut reply =
            plane.post_form(&format!("{GRANT}&client_id={id}&client_secret={secret}")).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert!(reply.headers.remove("x-request-id").is_some());
        answers.push((reply.headers.clone(), reply.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    plane.token(&client).await;
}

#[tokio::test]
async fn o15_parameters_are_in_the_body_and_there_once() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        client.client_id,
        client.secret.expose()
    );
    assert_eq!(plane.post_form(&form).await.status, StatusCode::OK);
    for twice in ["&grant_type=password", "&client_id=x", "&scope=a&scope=b", "&%67rant_type=x"] {
        let reply = plane.post_form(&format!("{form}{twice}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{twice}");
        assert_eq!(reply.error(), "invalid_request");
    }
    let in_query = Request::post(format!("/idp/token?{form}"))
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = plane.send(in_query.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );
    for content_type in ["application/json", "text/plain", "multipart/form-data"] {
        let request = Request::post("/idp/token").header("content-type", content_type);
        let reply = plane.send(request.body(Body::from(form.clone())).unwrap()).await;
        assert_eq!(reply.error(), "invalid_request", "{content_type}");
    }
    let huge = format!("{form}&x={}", "x".repeat(20_000));
    let reply = plane.post_form(&huge).await;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "content_too_large")
    );
    for garbage in ["%", "a=%ff", "grant_type"] {
        assert_eq!(plane.post_form(garbage).await.error(), "invalid_request", "{garbage}");
    }
}

#[tokio::test]
async fn o23_a_token_in_the_query_string_is_refused_everywhere() {
    let plane = Plane::new().await;
    for path in ["/bundle", "/idp/jwks", "/idp/.well-known/openid-configuration"] {
        assert_eq!(plane.get(path).await.status, StatusCode::OK);
        for query in ["access_token=x", "a=b&access%5Ftoken=x"] {
            let reply = plane.get(&format!("{path}?{query}")).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}?{query}");
            assert_eq!(reply.error(), "invalid_request");
        }
    }
}

#[tokio::test]
async fn scopes_are_at_most_the_clients_own() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let jwks = plane.get("/idp/jwks").await.body;
    let reply = plane.ask(&client, "&scope=invoices:read").await.json();
    assert_eq!(reply["scope"], "invoices:read");
    let claims = oracle(&jwks, reply["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims["scope"], "invoices:read");
    for excess in ["admin", "invoices:read+admin", "invoices", "invoices:read++invoices:pay", "+"] {
        let reply = plane.ask(&client, &format!("&scope={excess}")).await;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_scope"),
            "{excess}"
        );
    }
    // A client that may have none gets a token that says none.
    let tenant = plane.control.machine(&client.client_id).await.unwrap().unwrap().tenant;
    let mut bare = new_machine("bare");
    bare.scopes.clear();
    let bare = plane.control.create_machine(&TESTER, &tenant, bare).await.unwrap();
    let reply = plane.ask(&bare, "").await.json();
    assert!(reply.get("scope").is_none());
    let claims = oracle(&jwks, reply["access_token"].as_str().unwrap()).unwrap();
    assert!(claims.get("scope").is_none());
}

#[tokio::test]
async fn a_token_is_for_one_known_resource() {
    let plane = Plane::new().await;
    let client = plane.machine(plane.tenant("acme").await.id()).await;
    let jwks = plane.get("/idp/jwks").await.body;
    let reply = plane.ask(&client, &format!("&resource={OTHER_API}")).await.json();
    let token = reply["access_token"].as_str().unwrap();
    assert_eq!(oracle(&jwks, token).unwrap()["aud"], OTHER_API);
    let wall = plane.wall().await;
    assert_eq!(refusal(&wall, token), Some("audience_mismatch"), "made for another resource");
    assert_eq!(refusal(&wall, &plane.token(&client).await), None);
    for unknown in ["https://evil.test", "https://api.test/", "https://API.test", "x"] {
        let reply = plane.ask(&client, &format!("&resource={unknown}")).await;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_target")
        );
    }
    let both = plane.ask(&client, &format!("&resource={API}&resource={OTHER_API}")).await;
    assert_eq!(both.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_tenant_that_is_not_served_gets_no_tokens() {
    let plane = Plane::new().await;
    let (acme, rival) = (plane.tenant("acme").await, plane.tenant("rival").await);
    let (client, neighbour) = (plane.machine(acme.id()).await, plane.machine(rival.id()).await);
    let before = plane.token(&client).await;
    for status in [TenantStatus::Suspended, TenantStatus::PendingErase] {
        plane.control.set_status(&TESTER, acme.id(), status).await.unwrap();
        let reply = plane.ask(&client, "").await;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (StatusCode::BAD_REQUEST, "unauthorized_client")
        );
        assert_eq!(refusal(&plane.wall().await, &before), Some("tenant_not_active"));
        plane.token(&neighbour).await;
    }
    plane.control.set_status(&TESTER, acme.id(), TenantStatus::Active).await.unwrap();
    assert_eq!(refusal(&plane.wall().await, &plane.token(&client).await), None);
}

#[tokio::test]
async fn i36_a_secret_is_replaced_while_the_old_one_still_works() {
    let plane = Plane::new().await;
    let first = plane.machine(plane.tenant("acme").await.id()).await;
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let rotate = || plane.control.rotate_machine_secret(&TESTER, &first.client_id, day);
    let second = rotate().await.unwrap();
    plane.token(&first).await;
    plane.token(&second).await;

    plane.advance(day);
    assert_eq!(plane.ask(&first, "").await.error(), "invalid_client", "its day is over");
    plane.token(&second).await;

    // A third secret ends the first of three at once: there are two slots.
    let (third, fourth) = (rotate().await.unwrap(), rotate().await.unwrap());
    assert_eq!(plane.ask(&second, "").await.error(), "invalid_client");
    plane.token(&third).await;
    plane.token(&fourth).await;
}

#[tokio::test]
async fn j10_a_bundle_key_signs_no_token() {
    let plane = Plane::with(|config| config.keys.algorithm = SigningAlgorithm::EdDsa).await;
    let key = plane.get("/bundle/key").await.json();
    let jwks = plane.get("/idp/jwks").await.json();
    let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert_eq!(kids.len(), 1);
    assert!(!kids.contains(&&key["kid"]), "the bundle key is published as a token key");
    assert_eq!(key["hex"], plane.control.bundle_key().to_string());
}
