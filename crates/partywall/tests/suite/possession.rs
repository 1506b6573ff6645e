//! Tokens that are bound to a key (RFC 9449): with a proof by that key, for this request, once.

use std::time::Duration;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    routing::get,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{
    AccessToken, Clock, DeploymentModel, TenantContext,
    testing::{ControlPlane, placed, tenant},
};
use serde_json::{Value, json};
use tower::ServiceExt;

const ORIGIN: &str = "https://api.test";

/// A client's own key.
struct Holder(EcdsaKeyPair);

impl Holder {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self) -> Value {
        let (_, point) = self.0.public_key().as_ref().split_at(1);
        let (x, y) = point.split_at(32);
        json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
    }

    /// RFC 7638: of those members, in that order.
    fn thumbprint(&self) -> String {
        text(digest(&SHA256, self.jwk().to_string().as_bytes()).as_ref())
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| text(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", text(signature.as_ref()))
    }
}

fn text(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => object.as_object_mut().unwrap().remove(name),
        value => object.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    object
}

struct Scene {
    control: ControlPlane,
    app: Router,
    holder: Holder,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let control =
            ControlPlane::new(vec![tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"))]);
        let whoami = get(async |tenant: TenantContext| tenant.principal().to_string());
        let app = Router::new().route("/v1/x", whoami).layer(control.wall().layer().dpop(ORIGIN));
        let holder = Holder::new();
        let cnf = json!({ "jkt": holder.thumbprint() });
        let token = control.sign_token(&with(control.claims("acme", "u:ada"), "cnf", cnf));
        Self { control, app, holder, token }
    }

    fn claims(&self, id: &str) -> Value {
        json!({
            "jti": id, "htm": "GET", "htu": format!("{ORIGIN}/v1/x"),
            "iat": self.control.clock().now().0,
            "ath": text(digest(&SHA256, self.token.as_bytes()).as_ref()),
        })
    }

    fn proof(&self, id: &str) -> String {
        self.holder.sign(&self.holder.header(), &self.claims(id))
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
        let mut request = Request::get("/v1/x?page=2");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await;
        let (parts, _) = response.unwrap().into_parts();
        (parts.status, parts.headers)
    }

    async fn status(&self, scheme: &str, token: &str, proof: &str) -> StatusCode {
        let authorization = format!("{scheme} {token}");
        self.ask(&[("authorization", &authorization), ("dpop", proof)]).await.0
    }
}

#[tokio::test]
async fn j19_a_bound_token_is_let_in_with_a_proof_and_never_without() {
    let scene = Scene::new();
    for scheme in ["DPoP", "dpop"] {
        let status = scene.status(scheme, &scene.token, &scene.proof(scheme)).await;
        assert_eq!(status, StatusCode::OK, "{scheme}: the control");
    }
    // Seen before or not: it is remembered, and its key with it.
    for token in [&scene.token, &Scene { ..Scene::new() }.token] {
        for scheme in ["Bearer", "DPoP"] {
            let authorization = format!("{scheme} {token}");
            let (status, headers) = scene.ask(&[("authorization", &authorization)]).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{scheme}");
            assert!(headers.contains_key("www-authenticate"));
        }
        let status = scene.status("Bearer", token, &scene.proof("as bearer")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let refused = scene.control.wall().verify(AccessToken::new(&scene.token)).unwrap_err();
    assert_eq!(refused.code(), "proof_required");

    // A token that is bound to nothing gains nothing by a proof, which any thief can make.
    let bearer = scene.control.token("acme", "u:ada");
    let ath = text(digest(&SHA256, bearer.as_bytes()).as_ref());
    let proof = with(scene.claims("unbound"), "ath", ath.into());
    let proof = scene.holder.sign(&scene.holder.header(), &proof);
    assert_eq!(scene.status("DPoP", &bearer, &proof).await, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.status("Bearer", &bearer, "").await, StatusCode::OK, "the control");
}

#[tokio::test]
async fn j19_a_layer_without_an_origin_refuses_bound_tokens() {
    let scene = Scene::new();
    let app = Router::new().route("/v1/x", get(async || "in")).layer(scene.control.wall().layer());
    for scheme in ["Bearer", "DPoP"] {
        let request = Request::get("/v1/x")
            .header("authorization", format!("{scheme} {}", scene.token))
            .header("dpop", scene.proof(scheme));
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{scheme}");
    }
}

#[tokio::test]
async fn j19_a_binding_nobody_can_check_is_no_bearer_token() {
    let scene = Scene::new();
    let jkt = scene.holder.thumbprint();
    for cnf in [
        json!({ "x5t#S256": jkt }),
        json!({ "jkt": jkt, "x5t#S256": jkt }),
        json!({ "jkt": "short" }),
        json!({ "jkt": 1 }),
        json!({}),
        json!("x"),
        json!([]),
    ] {
        let claims = with(scene.control.claims("acme", "u:ada"), "cnf", cnf.clone());
        let token = scene.control.sign_token(&claims);
        let refused = scene.control.wall().verify(AccessToken::new(&token)).unwrap_err();
        assert_eq!(refused.code(), "claim_invalid", "{cnf}");
        let ath = text(digest(&SHA256, token.as_bytes()).as_ref());
        let proof = with(scene.claims(&cnf.to_string()), "ath", ath.into());
        let proof = scene.holder.sign(&scene.holder.header(), &proof);
        assert_eq!(scene.status("DPoP", &token, &proof).await, StatusCode::UNAUTHORIZED, "{cnf}");
    }
}

#[tokio::test]
async fn j19_a_proof_is_for_one_key_one_token_one_request_and_one_time() {
    let scene = Scene::new();
    let (holder, token) = (&scene.holder, &scene.token);
    let now = scene.control.clock().now().0;
    let claims = |name: &str, value: Value| with(scene.claims(name), name, value);
    let signed = |claims: &Value| holder.sign(&holder.header(), claims);
    let headed = |name: &str, value: Value| {
        holder.sign(&with(holder.header(), name, value), &scene.claims(name))
    };
    let thief = Holder::new();
    let other_token = text(digest(&SHA256, b"another").as_ref());
    let mut private = holder.jwk();
    private["d"] = "AAAA".into();
    let refused = [
        ("another key", thief.sign(&thief.header(), &scene.claims("thief"))),
        ("the key's name on another's proof", thief.sign(&holder.header(), &scene.claims("name"))),
        ("another method", signed(&claims("htm", "POST".into()))),
        ("a method in lower case", signed(&claims("htm", "get".into()))),
        ("another host", signed(&claims("htu", "https://other.test/v1/x".into()))),
        ("another path", signed(&claims("htu", format!("{ORIGIN}/v1/y").into()))),
        ("no address", signed(&claims("htu", "x".into()))),
        ("another token", signed(&claims("ath", other_token.into()))),
        ("no token", signed(&claims("ath", Value::Null))),
        ("too old", signed(&claims("iat", (now - 61).into()))),
        ("too new", signed(&claims("iat", (now + 61).into()))),
        ("no time", signed(&claims("iat", Value::Null))),
        ("no id", signed(&claims("jti", Value::Null))),
        ("too long an id", signed(&claims("jti", "x".repeat(256).into()))),
        ("no method", signed(&claims("htm", Value::Null))),
        ("no address at all", signed(&claims("htu", Value::Null))),
        ("another type", headed("typ", "JWT".into())),
        ("an access token's type", headed("typ", "at+jwt".into())),
        ("no type", headed("typ", Value::Null)),
        ("no algorithm", headed("alg", "none".into())),
        ("a shared secret", headed("alg", "HS256".into())),
        ("another algorithm", headed("alg", "RS256".into())),
        ("no key", headed("jwk", Value::Null)),
        ("a private key", headed("jwk", private)),
        ("a key by address", headed("jku", "https://evil.test/keys".into())),
        ("a demand", headed("crit", json!(["x"]))),
        ("the token itself", token.clone()),
        ("nothing", String::new()),
    ];
    for (what, proof) in &refused {
        assert_eq!(scene.status("DPoP", token, proof).await, StatusCode::UNAUTHORIZED, "{what}");
    }
    for (what, proof) in [
        ("as old as may be", signed(&claims("iat", (now - 60).into()))),
        ("as new as may be", signed(&with(scene.claims("new"), "iat", (now + 60).into()))),
        ("spelled otherwise", signed(&claims("htu", "HTTPS://API.test:443/v1/%78".into()))),
    ] {
        assert_eq!(scene.status("DPoP", token, &proof).await, StatusCode::OK, "{what}");
        assert_eq!(scene.status("DPoP", token, &proof).await, StatusCode::UNAUTHORIZED, "again");
    }
    let (one, two) = (scene.proof("one"), scene.proof("two"));
    let authorization = format!("DPoP {token}");
    let both = [("authorization", authorization.as_str()), ("dpop", &one), ("dpop", &two)];
    assert_eq!(scene.ask(&both).await.0, StatusCode::UNAUTHORIZED, "two proofs");
    assert_eq!(scene.ask(&both[..2]).await.0, StatusCode::OK, "the control");
    let late = scene.proof("late");
    scene.control.clock().set(scene.control.clock().now() + Duration::from_secs(61));
    assert_eq!(scene.status("DPoP", token, &late).await, StatusCode::UNAUTHORIZED);
}
