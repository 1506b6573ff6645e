//! The pages, asked as browsers ask them.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::json;
use url::form_urlencoded;

use crate::{
    ApplicationCredentials, Secret, SignInPolicy, User,
    login::{
        Amr,
        factors::{password, totp},
    },
    provider::testing::{ISSUER, Scene, application, tenant, user},
    storage::{passwords, sign_in_policies, sign_in_policies::SignInSettings},
};

mod account;
mod canary;
mod device;
mod federated;
mod flow;
mod links;
mod pages;
mod passkeys;

const PASSWORD: &str = "correct horse battery";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A browser: it keeps cookies, and says where its forms come from.
#[derive(Default)]
struct Surfer {
    cookies: BTreeMap<String, String>,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Page {
    fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.headers["location"].to_str().unwrap()
    }

    /// The path of a page of ours that it leads to.
    fn leads_to(&self) -> String {
        let location = self.location();
        location.strip_prefix(ISSUER).unwrap_or_else(|| panic!("leads to {location}")).to_owned()
    }

    fn heading(&self) -> &str {
        let from = self.body.find("<h1>").unwrap_or_else(|| panic!("no page: {}", self.body)) + 4;
        let to = self.body.find("</h1>").unwrap();
        &self.body[from..to]
    }

    /// What an application gets back.
    fn answer(&self) -> BTreeMap<String, String> {
        let (address, query) = self.location().split_once('?').unwrap();
        assert_eq!(address, "https://app.test/cb");
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

impl Surfer {
    async fn send(&mut self, scene: &Scene, request: Request<Body>) -> Page {
        let (mut parts, body) = request.into_parts();
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            parts.headers.insert("cookie", cookies.join("; ").parse().unwrap());
        }
        let (parts, body) = scene.send(Request::from_parts(parts, body)).await.into_parts();
        for cookie in parts.headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            for demand in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                assert!(text.contains(demand), "{text} without {demand}");
            }
            let (pair, _) = text.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{name}");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Page { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&mut self, scene: &Scene, path: &str) -> Page {
        self.send(scene, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&mut self, scene: &Scene, path: &str, form: &[(&str, &str)]) -> Page {
        self.post_from(scene, path, form, Some(ISSUER)).await
    }

    async fn post_from(
        &mut self,
        scene: &Scene,
        path: &str,
        form: &[(&str, &str)],
        origin: Option<&str>,
    ) -> Page {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(scene, request.body(Body::from(body)).unwrap()).await
    }

    /// Comes with an application's request; returns the path of the sign-in.
    async fn sets_out(&mut self, scene: &Scene, more: &[(&str, &str)]) -> String {
        self.asks(scene, &scene.app, more).await.leads_to()
    }

    async fn asks(
        &mut self,
        scene: &Scene,
        app: &ApplicationCredentials,
        more: &[(&str, &str)],
    ) -> Page {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("client_id", app.client_id.as_str()),
            ("redirect_uri", "https://app.test/cb"),
            ("response_type", "code"),
            ("scope", "openid invoices:read"),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        query.extend_pairs(more);
        self.get(scene, &format!("/authorize?{}", query.finish())).await
    }

    /// Types address and password; returns what the password led to.
    async fn signs_in(&mut self, scene: &Scene, path: &str, email: &str, password: &str) -> Page {
        let identified = self.post(scene, path, &[("step", "identify"), ("email", email)]).await;
        assert_eq!(identified.leads_to(), path);
        self.post(scene, path, &[("step", "password"), ("password", password)]).await
    }
}

impl Scene {
    /// Gives the user's account a password.
    async fn has_password(&self, user: &User) {
        let (db, control) = (self.control.inner.db.reader(), &self.control);
        let hash = password::hash_new(control, "", Secret::new(PASSWORD.to_owned())).await.unwrap();
        let account = user.account.as_ref().unwrap();
        passwords::set(db, account, &hash, control.now()).await.unwrap();
    }

    /// Gives it an authenticator app, and returns its secret.
    async fn has_app(&self, user: &User) -> Secret<String> {
        let account = user.account.as_ref().unwrap();
        let drawn = totp::enrol(&self.control, account, &user.email, "phone").await.unwrap();
        let code = totp::tests::app_shows(&drawn.secret, self.control.now());
        assert!(totp::confirm(&self.control, account, &drawn.id, &code).await.unwrap());
        drawn.secret
    }

    /// A browser in which the user signed in just now with a password.
    async fn surfer(&self, user: &User) -> Surfer {
        let cookie = self.signed_in(user, &[Amr::Password]).await;
        let (name, value) = cookie.split_once('=').unwrap();
        Surfer { cookies: [(name.to_owned(), value.to_owned())].into() }
    }

    async fn asks_of_members(&self, of: &partywall::TenantId, policy: SignInPolicy) {
        let settings = SignInSettings { policy, ..SignInSettings::default() };
        let db = self.control.inner.db.reader();
        sign_in_policies::replace(db, of, &settings, self.control.now()).await.unwrap();
    }
}

async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.has_password(&scene.user).await;
    scene
}
