//! What was made for one client, at one issuer, brought by another or elsewhere: it is refused, and
//! its owner loses nothing by it (O-04, O-08).

use super::*;
use crate::provider::{
    At,
    device::{self, Waiting},
};

/// A scene whose tenant has an issuer of its own, where its user has signed in.
pub(super) async fn silo() -> (Scene, String) {
    use partywall::{DeploymentModel, Placement, Placements};

    let mut scene = Scene::new().await;
    let silo = Placement { model: DeploymentModel::Silo, target: "eu-1".parse().unwrap() };
    let placements = Placements::from_iter([("main".parse().unwrap(), silo)]);
    let new = crate::NewTenant::new("hooli".parse().unwrap(), "free".parse().unwrap(), placements);
    scene.tenant = scene.control.create_tenant(&testing::TESTER, new).await.unwrap().id().clone();
    scene.user = testing::user(&scene.control, &scene.tenant, "ada@hooli.test").await;
    let cookie = scene.signed_in(&scene.user, &[Amr::Password]).await;
    (scene, cookie)
}

/// What the tenant's own issuer is asked below.
const OWN: &str = "/t/hooli";

impl Scene {
    pub(super) async fn asks_at(&self, issuer: &str, cookie: &str, query: &str) -> Reply {
        let request = Request::get(format!("{issuer}/authorize?{query}")).header("cookie", cookie);
        self.reply(request.body(Body::empty()).unwrap()).await
    }

    async fn redeems_at(&self, issuer: &str, code: &str) -> Value {
        let form = format!(
            "grant_type=authorization_code&client_id={}&redirect_uri={CALLBACK}\
             &code_verifier={VERIFIER}&code={code}",
            self.app.client_id
        );
        self.post(&format!("{issuer}/token"), &form).await.1
    }
}

#[tokio::test]
async fn o04_another_clients_attempt_costs_the_owner_nothing() {
    let scene = Scene::new().await;
    let other = scene.another_app().await;
    let code = scene.code(&[("scope", Some("openid offline_access"))]).await;
    let stolen = async || scene.redeem_as(&other, &code, &[], &[]).await["error"].clone();
    assert_eq!(stolen().await, "invalid_grant");
    let answer = scene.redeem(&code, &[]).await;
    let access = text(&answer, "access_token");
    assert_eq!(stolen().await, "invalid_grant");
    assert_eq!(scene.refusal(&access).await, None, "another client ends nothing");
    assert_eq!(scene.grants().await.len(), 1);
    // The control: its own client brings it again.
    assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
    assert_eq!(scene.refusal(&access).await, Some("revoked"));
}

#[tokio::test]
async fn o03_what_has_ended_is_not_ended_again() {
    let scene = Scene::new().await;
    for scope in ["openid", "openid offline_access"] {
        let code = scene.code(&[("scope", Some(scope))]).await;
        scene.redeem(&code, &[]).await;
        let before = scene.control.generation();
        for _ in 0..3 {
            assert_eq!(scene.redeem(&code, &[]).await["error"], "invalid_grant");
        }
        assert_eq!(scene.control.generation().0, before.0 + 1, "{scope}");
    }
    assert_eq!(scene.security_events().await, ["grant.end code_reused"; 2]);
}

#[tokio::test]
async fn o08_codes_and_refresh_tokens_are_good_at_their_own_issuer() {
    let (scene, cookie) = silo().await;
    let query = encode(&parameters(&scene.app, &[("scope", Some("openid offline_access"))]));
    let reply = scene.asks_at(OWN, &cookie, &query).await;
    let code = reply.parameters()["code"].clone();
    assert_eq!(scene.redeems_at("", &code).await["error"], "invalid_grant");
    let answer = scene.redeems_at(OWN, &code).await;
    assert_eq!(scene.claims(&text(&answer, "access_token"))["iss"], format!("{ISSUER}{OWN}"));

    let refresh = text(&answer, "refresh_token");
    let form = format!(
        "grant_type=refresh_token&client_id={}&refresh_token={refresh}",
        scene.app.client_id
    );
    assert!(scene.post("/token", &form).await.1.get("access_token").is_none());
    let turned = scene.post(&format!("{OWN}/token"), &form).await.1;
    assert!(turned.get("access_token").is_some(), "{turned}");
    assert_ne!(turned["refresh_token"], answer["refresh_token"]);
}

#[tokio::test]
async fn o08_a_pushed_request_is_good_for_its_client_at_its_issuer_and_used_up_there_only() {
    let (scene, cookie) = silo().await;
    let other = scene.another_app().await;
    let ask = async |issuer: &str, client: &ApplicationCredentials, uri: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", client.client_id.as_str())
            .append_pair("request_uri", uri)
            .finish();
        scene.asks_at(issuer, &cookie, &query).await
    };
    let form = encode(&parameters(&scene.app, &[]));
    let push = async |issuer: &str| {
        let (status, pushed) = scene.post(&format!("{issuer}/par"), &form).await;
        assert_eq!(status, StatusCode::CREATED, "{pushed}");
        text(&pushed, "request_uri")
    };
    let shared = push("").await;
    assert!(ask(OWN, &scene.app, &shared).await.is_a_page(), "pushed to the shared issuer");

    let own = push(OWN).await;
    assert!(ask("", &scene.app, &own).await.is_a_page(), "at another issuer");
    assert!(ask(OWN, &other, &own).await.is_a_page(), "by another client");
    let reply = ask(OWN, &scene.app, &own).await;
    assert!(reply.parameters().contains_key("code"), "neither took it away");
    assert!(ask(OWN, &scene.app, &own).await.is_a_page(), "and it is good once");
}

#[tokio::test]
async fn o08_a_device_is_let_in_where_it_asked() {
    let (scene, _) = silo().await;
    let own = At::own(&scene.control, "hooli").await.unwrap().unwrap();
    let shared = At::shared(&scene.control);
    let admitted = scene.admitted().await;
    let client = format!("client_id={}", scene.app.client_id);
    let begin = async |issuer: &str| {
        let form = format!("{client}&scope=openid");
        scene.post(&format!("{issuer}/device_authorization"), &form).await.1
    };
    let typed = async |at: &At, begun: &Value| -> Option<Waiting> {
        let code = begun["user_code"].as_str().unwrap();
        device::look_up(&scene.control, at, "a-1", code).await.unwrap()
    };
    let poll = async |issuer: &str, begun: &Value| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let code = text(begun, "device_code");
        let form = format!("grant_type={grant}&{client}&device_code={code}");
        scene.post(&format!("{issuer}/token"), &form).await.1
    };

    let begun = begin(OWN).await;
    assert!(typed(&shared, &begun).await.is_none(), "typed elsewhere");
    let waiting = typed(&own, &begun).await.unwrap();
    assert!(device::approve(&scene.control, &own, &waiting, &admitted, None).await.unwrap());
    scene.advance(Duration::from_secs(5));
    assert_eq!(poll("", &begun).await["error"], "invalid_grant", "polled elsewhere");
    let answer = poll(OWN, &begun).await;
    assert!(answer.get("access_token").is_some(), "{answer}");

    // The shared issuer does not speak for the tenant.
    let begun = begin("").await;
    let waiting = typed(&shared, &begun).await.unwrap();
    assert!(!device::approve(&scene.control, &shared, &waiting, &admitted, None).await.unwrap());
}
