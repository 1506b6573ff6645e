//! Every kind of artefact there is, presented to everybody who takes one (J-10): each is taken
//! where it belongs and nowhere else.

use axum::{body::Body, http::Request};
use partywall::Clock;
use serde_json::{Value, json};

use super::{
    At, device, id_token,
    testing::{self, ISSUER, Scene, Signer, TESTER, as_application, as_machine},
};
use crate::{ApplicationCredentials, MachineCredentials, login::Amr};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    AccessToken,
    IdToken,
    RefreshToken,
    Code,
    RequestUri,
    DeviceCode,
    UserCode,
    ApiKey,
    ClientSecret,
    ClientAssertion,
    DpopProof,
    SessionCookie,
    /// Signed with the very key of our tokens, with an access token's claims.
    OfAnotherType(&'static str),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Consumer {
    EnforcementPoint,
    UserInfo,
    SubjectToken,
    ApiKeyExchange,
    RefreshGrant,
    CodeGrant,
    DeviceGrant,
    PushedRequest,
    UserCodePage,
    SecretOfClient,
    AssertionOfClient,
    DpopHeader,
    Session,
    IdTokenHint,
}

const KINDS: [Kind; 16] = [
    Kind::AccessToken,
    Kind::IdToken,
    Kind::RefreshToken,
    Kind::Code,
    Kind::RequestUri,
    Kind::DeviceCode,
    Kind::UserCode,
    Kind::ApiKey,
    Kind::ClientSecret,
    Kind::ClientAssertion,
    Kind::DpopProof,
    Kind::SessionCookie,
    Kind::OfAnotherType("logout+jwt"),
    Kind::OfAnotherType("partywall-job+jwt"),
    Kind::OfAnotherType("partywall-invitation+jwt"),
    Kind::OfAnotherType("dpop+jwt"),
];

const CONSUMERS: [Consumer; 14] = [
    Consumer::EnforcementPoint,
    Consumer::UserInfo,
    Consumer::SubjectToken,
    Consumer::ApiKeyExchange,
    Consumer::RefreshGrant,
    Consumer::CodeGrant,
    Consumer::DeviceGrant,
    Consumer::PushedRequest,
    Consumer::UserCodePage,
    Consumer::SecretOfClient,
    Consumer::AssertionOfClient,
    Consumer::DpopHeader,
    Consumer::Session,
    Consumer::IdTokenHint,
];

/// The diagonal.
fn belongs(kind: Kind) -> &'static [Consumer] {
    match kind {
        Kind::AccessToken => {
            &[Consumer::EnforcementPoint, Consumer::UserInfo, Consumer::SubjectToken]
        }
        Kind::IdToken => &[Consumer::IdTokenHint],
        Kind::RefreshToken => &[Consumer::RefreshGrant],
        Kind::Code => &[Consumer::CodeGrant],
        Kind::RequestUri => &[Consumer::PushedRequest],
        Kind::DeviceCode => &[Consumer::DeviceGrant],
        Kind::UserCode => &[Consumer::UserCodePage],
        Kind::ApiKey => &[Consumer::ApiKeyExchange],
        Kind::ClientSecret => &[Consumer::SecretOfClient],
        Kind::ClientAssertion => &[Consumer::AssertionOfClient],
        Kind::DpopProof => &[Consumer::DpopHeader],
        Kind::SessionCookie => &[Consumer::Session],
        Kind::OfAnotherType(_) => &[],
    }
}

const AUTHORIZE: &str = "redirect_uri=https://app.test/cb&response_type=code&state=s\
     &scope=openid+offline_access+invoices:read&code_challenge_method=S256\
     &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDEEM: &str = "grant_type=authorization_code&redirect_uri=https://app.test/cb\
     &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";

struct World {
    scene: Scene,
    robot: MachineCredentials,
    signing: ApplicationCredentials,
    key: Signer,
    drawn: std::cell::Cell<u32>,
}

impl World {
    async fn new() -> Self {
        let (scene, key) = (Scene::new().await, Signer::new());
        let how = json!({ "authentication": "private_key_jwt", "jwks": { "keys": [key.jwk()] } });
        let signing = testing::application(&scene.control, Some(&scene.tenant), how).await;
        let robot = scene.machine().await;
        Self { scene, robot, signing, key, drawn: std::cell::Cell::new(0) }
    }

    fn app(&self) -> String {
        as_application(&self.scene.app)
    }

    async fn cookie(&self) -> String {
        self.scene.signed_in(&self.scene.user, &[Amr::Password]).await
    }

    /// Where a browser is sent by `query`, with that cookie.
    async fn authorize(&self, cookie: &str, query: &str) -> Option<String> {
        let request = Request::get(format!("/authorize?{query}")).header("cookie", cookie);
        let reply = self.scene.send(request.body(Body::empty()).ok()?).await;
        let location = reply.headers().get("location")?.to_str().unwrap();
        let code = location.split(['?', '&']).find_map(|pair| pair.strip_prefix("code="))?;
        Some(code.to_owned())
    }

    async fn tokens(&self) -> Value {
        let code = self.mint(Kind::Code).await;
        self.scene.post("/token", &format!("{REDEEM}&{}&code={code}", self.app())).await.1
    }

    async fn mint(&self, kind: Kind) -> String {
        let text = |answer: &Value, name: &str| {
            answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
        };
        self.drawn.set(self.drawn.get() + 1);
        let (scene, id, now) = (&self.scene, self.drawn.get().to_string(), self.scene.clock.now());
        match kind {
            Kind::AccessToken => text(&Box::pin(self.tokens()).await, "access_token"),
            Kind::IdToken => text(&Box::pin(self.tokens()).await, "id_token"),
            Kind::RefreshToken => text(&Box::pin(self.tokens()).await, "refresh_token"),
            Kind::Code => {
                let query = format!("{AUTHORIZE}&{}", self.app());
                self.authorize(&self.cookie().await, &query).await.expect("a code")
            }
            Kind::RequestUri => {
                let form = format!("{AUTHORIZE}&{}", self.app());
                text(&scene.post("/par", &form).await.1, "request_uri")
            }
            Kind::DeviceCode | Kind::UserCode => {
                let begun = scene.post("/device_authorization", &self.app()).await.1;
                let user_code = text(&begun, "user_code");
                if kind == Kind::UserCode {
                    return user_code;
                }
                let waiting =
                    device::look_up(&scene.control, &At::shared(&scene.control), "a", &user_code)
                        .await;
                let (waiting, admitted) = (waiting.unwrap().unwrap(), scene.admitted().await);
                device::approve(
                    &scene.control,
                    &At::shared(&scene.control),
                    &waiting,
                    &admitted,
                    None,
                )
                .await
                .unwrap();
                text(&begun, "device_code")
            }
            Kind::ApiKey => {
                let new = serde_json::from_value(json!({
                    "name": "ci", "holder": scene.user.id, "lasts_seconds": 3600,
                }));
                let made = scene.control.create_api_key(&TESTER, &scene.tenant, new.unwrap());
                made.await.unwrap().text.expose().clone()
            }
            Kind::ClientSecret => self.robot.secret.expose().to_owned(),
            Kind::ClientAssertion => {
                let client = self.signing.client_id.as_str();
                let claims = json!({
                    "iss": client, "sub": client, "aud": ISSUER, "jti": id, "iat": now,
                    "exp": now.0 + 60,
                });
                self.key.sign(&json!({ "alg": "ES256" }), &claims)
            }
            Kind::DpopProof => scene.dpop_proof(&self.key, "/token", &id),
            Kind::SessionCookie => {
                let cookie = self.cookie().await;
                cookie.split_once('=').unwrap().1.to_owned()
            }
            Kind::OfAnotherType(typ) => {
                let token = Box::pin(self.mint(Kind::AccessToken)).await;
                let keys = scene.control.token_keys().unwrap();
                keys.sign_jws(typ, &scene.claims(&token)).unwrap()
            }
        }
    }

    async fn takes(&self, consumer: Consumer, text: &str) -> bool {
        let scene = &self.scene;
        let robot = as_machine(&self.robot);
        let token =
            async |form: String| scene.post("/token", &form).await.1.get("access_token").is_some();
        match consumer {
            Consumer::EnforcementPoint => scene.refusal(text).await.is_none(),
            Consumer::UserInfo => {
                let request = Request::get("/userinfo")
                    .header("authorization", format!("Bearer {text}"))
                    .body(Body::empty());
                scene.send(request.unwrap()).await.status() == 200
            }
            Consumer::SubjectToken => {
                let kind = "subject_token_type=urn:ietf:params:oauth:token-type:access_token";
                token(format!("{EXCHANGE}&{robot}&{kind}&subject_token={text}")).await
            }
            Consumer::ApiKeyExchange => {
                let kind = "subject_token_type=urn:partywall:params:oauth:token-type:api_key";
                token(format!("{EXCHANGE}&{kind}&subject_token={text}")).await
            }
            Consumer::RefreshGrant => {
                token(format!("grant_type=refresh_token&{}&refresh_token={text}", self.app())).await
            }
            Consumer::CodeGrant => token(format!("{REDEEM}&{}&code={text}", self.app())).await,
            Consumer::DeviceGrant => {
                let grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code";
                token(format!("{grant}&{}&device_code={text}", self.app())).await
            }
            Consumer::PushedRequest => {
                // With the prefix that only its own kind has, and with the text alone.
                let bare = text.strip_prefix("urn:ietf:params:oauth:request_uri:").unwrap_or(text);
                let (app, cookie) = (self.app(), self.cookie().await);
                let query = format!("{app}&request_uri=urn:ietf:params:oauth:request_uri:{bare}");
                self.authorize(&cookie, &query).await.is_some()
            }
            Consumer::UserCodePage => {
                // Each under a name of its own: here nobody is to be stopped for guessing.
                device::look_up(&scene.control, &At::shared(&scene.control), text, text)
                    .await
                    .unwrap()
                    .is_some()
            }
            Consumer::SecretOfClient => {
                let id = &self.robot.client_id;
                let form = format!("client_id={id}&client_secret={text}");
                token(format!("grant_type=client_credentials&{form}")).await
            }
            Consumer::AssertionOfClient => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let id = &self.signing.client_id;
                let form = format!(
                    "token=x&client_id={id}&client_assertion_type={kind}&client_assertion={text}"
                );
                scene.post("/introspect", &form).await.0 == 200
            }
            Consumer::DpopHeader => {
                let form = format!("grant_type=client_credentials&{robot}");
                let headers = [("dpop", text.to_owned())];
                let answer = scene.post_with("/token", &form, &headers).await.1;
                answer["token_type"] == "DPoP"
            }
            Consumer::Session => {
                let query = format!("{AUTHORIZE}&{}", self.app());
                self.authorize(&format!("__Host-partywall={text}"), &query).await.is_some()
            }
            Consumer::IdTokenHint => {
                let at = At::shared(&scene.control);
                id_token::verify_hint(&scene.control, &at, text, None).is_ok()
            }
        }
    }
}

#[tokio::test]
async fn j10_every_artefact_is_taken_where_it_belongs_and_nowhere_else() {
    let world = World::new().await;
    let mut cells = 0;
    for kind in KINDS {
        for consumer in CONSUMERS {
            let text = world.mint(kind).await;
            let expected = belongs(kind).contains(&consumer);
            assert_eq!(world.takes(consumer, &text).await, expected, "{kind:?} at {consumer:?}");
            cells += 1;
        }
    }
    assert_eq!(cells, KINDS.len() * CONSUMERS.len());
}
