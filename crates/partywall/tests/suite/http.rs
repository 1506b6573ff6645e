//! The layer and the extractors, as requests.

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderName, Request, StatusCode, header::WWW_AUTHENTICATE},
    routing::get,
};
use http_body_util::BodyExt;
use partywall::{
    DeploymentModel, Partywall, TenantContext,
    axum::{Hint, WallLayer},
    testing::{ControlPlane, placed, tenant},
};
use tower::ServiceExt;

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    let mut acme = tenant("acme", pooled.clone());
    acme.slug = "acme-inc".parse().unwrap();
    ControlPlane::new(vec![acme, tenant("acme-2", pooled)])
}

fn app(layer: WallLayer) -> Router {
    let whoami = get(async |tenant: TenantContext| tenant.tenant().to_string());
    let carried = get(async || TenantContext::current().map(|t| t.tenant().to_string()).unwrap());
    Router::new()
        .route("/whoami", whoami.clone())
        .route("/t/{slug}/whoami", whoami)
        .route("/carried", carried)
        .layer(layer)
}

struct Answer {
    status: StatusCode,
    challenge: Option<String>,
    body: String,
}

async fn send(app: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let challenge = response.headers().get(WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, challenge, body: String::from_utf8(body.to_vec()).unwrap() }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn rfc6750_challenges_say_as_much_as_they_should() {
    let control = control();
    let app = app(control.wall().layer());
    let good = bearer(&control.token("acme", "u:ada"));
    let answer = send(&app, "/whoami", &[("authorization", &good)]).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "acme"));

    let none = send(&app, "/whoami", &[]).await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    assert_eq!(none.challenge.unwrap(), r#"Bearer realm="partywall""#, "no error without a token");

    let mut bodies = Vec::new();
    let expired = {
        let mut claims = control.claims("acme", "u:ada");
        claims["exp"] = (ControlPlane::START.0 - 60).into();
        control.sign_token(&claims)
    };
    for bad in ["eyJhbGciOiJub25lIn0.e30.", &expired, &control.token("initech", "u:ada")] {
        let answer = send(&app, "/whoami", &[("authorization", &bearer(bad))]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.challenge.unwrap().contains(r#"error="invalid_token""#));
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "l05: the caller does not learn which check failed");
}

#[tokio::test]
async fn o23_a_token_is_taken_from_one_place_only() {
    let control = control();
    let app = app(control.wall().layer());
    let (ada, eve) = (control.token("acme", "u:ada"), control.token("acme-2", "u:eve"));
    let query = send(&app, &format!("/whoami?access_token={ada}"), &[]).await;
    assert_eq!(query.status, StatusCode::UNAUTHORIZED);
    let two = [("authorization", bearer(&ada)), ("authorization", bearer(&eve))];
    let two: Vec<_> = two.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(send(&app, "/whoami", &two).await.status, StatusCode::UNAUTHORIZED);
    let basic = send(&app, "/whoami", &[("authorization", &format!("Basic {ada}"))]).await;
    assert_eq!(basic.status, StatusCode::UNAUTHORIZED);
    let lower = send(&app, "/whoami", &[("authorization", &format!("bearer {ada}"))]).await;
    assert_eq!(lower.status, StatusCode::OK, "the control: the scheme's case is free (RFC 9110)");
}

#[tokio::test]
async fn m05_a_hint_may_only_select_what_the_token_proves() {
    let control = control();
    let header = HeaderName::from_static("x-tenant");
    let layer = control
        .wall()
        .layer()
        .hint(Hint::Header(header))
        .hint(Hint::PathAfter("t".into()))
        .hint(Hint::Subdomain("app.test".into()));
    let app = app(layer);
    let auth = bearer(&control.token("acme", "u:ada"));
    let ask = async |path: &str, more: &[(&str, &str)]| {
        let headers = [&[("authorization", auth.as_str())], more].concat();
        let answer = send(&app, path, &headers).await;
        (answer.status, answer.body)
    };
    let own = (StatusCode::OK, "acme".to_owned());
    for (path, more) in [
        ("/whoami", vec![]),
        ("/whoami", vec![("x-tenant", "acme")]),
        ("/whoami", vec![("x-tenant", "acme-inc")]),
        ("/t/acme-inc/whoami", vec![]),
        ("/whoami", vec![("host", "acme-inc.app.test:8080")]),
        ("/whoami", vec![("host", "app.test")]),
        ("/whoami", vec![("host", "elsewhere.test")]),
        ("/whoami", vec![("host", "ACME.App.Test")]),
        ("/whoami", vec![("host", "acme.app.test.")]),
        ("/whoami", vec![("host", "acme.app.test.:8080")]),
        ("/whoami", vec![("host", "[::1]:8080")]),
        ("/whoami", vec![("host", "notapp.test")]),
        ("http://acme.app.test/whoami", vec![]),
        ("http://acme.app.test/whoami", vec![("host", "Acme.app.test:80")]),
    ] {
        assert_eq!(ask(path, &more).await, own, "{path} {more:?}");
    }
    // acme-2 is real, initech is not: the answer does not tell.
    let mut refusals = Vec::new();
    for (path, more) in [
        ("/whoami", vec![("x-tenant", "acme-2")]),
        ("/whoami", vec![("x-tenant", "initech")]),
        ("/whoami", vec![("x-tenant", "acme-2"), ("x-tenant", "acme")]),
        ("/whoami", vec![("x-tenant", "acme"), ("x-tenant", "acme-2")]),
        ("/whoami", vec![("x-tenant", "ACME")]),
        ("/whoami", vec![("x-tenant", "")]),
        ("/t/acme-2/whoami", vec![]),
        ("/whoami", vec![("host", "acme-2.app.test")]),
        ("/whoami", vec![("host", "acme-inc.acme-2.app.test")]),
        ("/whoami", vec![("host", ".app.test")]),
        ("/whoami", vec![("host", "acme-2.app.test.")]),
        ("/whoami", vec![("host", "acme-2.app.test..")]),
        ("/whoami", vec![("host", "ACME-2.app.test")]),
        ("/whoami", vec![("host", "acme-2%2eapp.test")]),
        ("/whoami", vec![("host", "acme-2.app%2etest")]),
        ("/whoami", vec![("host", "acme@acme-2.app.test")]),
        ("/whoami", vec![("host", "acme.app.test"), ("host", "acme-2.app.test")]),
        ("http://acme-2.app.test/whoami", vec![]),
        ("http://acme.app.test/whoami", vec![("host", "acme-2.app.test")]),
        ("http://acme-2.app.test/whoami", vec![("host", "acme.app.test")]),
        ("http://acme@acme.app.test/whoami", vec![]),
        ("/t/acme/t/acme-2/whoami", vec![]),
        ("/t/acme-2/t/acme/whoami", vec![]),
        ("/t//acme-2/whoami", vec![]),
        ("/t/%61cme/whoami", vec![]),
        ("/%74/acme-2/whoami", vec![]),
        ("/t/acme/../acme-2/whoami", vec![]),
        ("/t/acme/%2e%2E/acme-2/whoami", vec![]),
        ("/t", vec![]),
    ] {
        let (status, body) = ask(path, &more).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path} {more:?}");
        refusals.push(body);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "one answer for every wrong hint");
}

/// `nest` takes the tenant off the path before a layer inside it sees the request.
#[tokio::test]
async fn m05_a_path_hint_is_read_inside_a_nested_router_as_well() {
    let control = control();
    let named = get(async |tenant: TenantContext, Path(slug): Path<String>| {
        format!("{} serves {slug}", tenant.tenant())
    });
    let nested = |layer| {
        let inside = Router::new().route("/whoami", named.clone()).layer(layer);
        Router::new().nest("/t/{slug}", inside)
    };
    let auth = bearer(&control.token("acme", "u:ada"));
    let headers = [("authorization", auth.as_str())];
    let walled = nested(control.wall().layer().hint(Hint::PathAfter("t".into())));
    let own = send(&walled, "/t/acme/whoami", &headers).await;
    assert_eq!((own.status, own.body.as_str()), (StatusCode::OK, "acme serves acme"));
    let other = send(&walled, "/t/acme-2/whoami", &headers).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    // The control: without the hint, the handler believes the path.
    let unhinted = send(&nested(control.wall().layer()), "/t/acme-2/whoami", &headers).await;
    assert_eq!(unhinted.body, "acme serves acme-2");
}

/// Naive: take the tenant from the header. The same request reads the other tenant.
#[tokio::test]
async fn m05_a_naive_service_believes_the_header() {
    let naive = Router::new().route(
        "/whoami",
        get(async |headers: axum::http::HeaderMap| {
            headers.get("x-tenant").unwrap().to_str().unwrap().to_owned()
        }),
    );
    assert_eq!(send(&naive, "/whoami", &[("x-tenant", "acme-2")]).await.body, "acme-2");
}

#[tokio::test]
async fn t02_a_route_outside_the_layer_serves_nobody() {
    let open = Router::new()
        .route("/whoami", get(async |tenant: TenantContext| tenant.tenant().to_string()));
    let token = bearer(&control().token("acme", "u:ada"));
    let answer = send(&open, "/whoami", &[("authorization", &token)]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn m11_a_handler_runs_under_its_context() {
    let control = control();
    let app = app(control.wall().layer());
    let token = bearer(&control.token("acme", "u:ada"));
    assert_eq!(send(&app, "/carried", &[("authorization", &token)]).await.body, "acme");
}

#[tokio::test]
async fn l06_without_a_bundle_the_fault_is_ours() {
    let wall = Partywall::builder().audience(ControlPlane::AUDIENCE).build().unwrap();
    let token = bearer(&control().token("acme", "u:ada"));
    let answer = send(&app(wall.layer()), "/whoami", &[("authorization", &token)]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
