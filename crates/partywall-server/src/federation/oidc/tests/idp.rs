//! An OIDC provider that does what a test wants, over HTTP on this machine.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use partywall::token::{Algorithm, SigningKey};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::{Url, form_urlencoded};

use super::{CLIENT, NOW, PLAIN_SECRET, SECRET};

pub(super) struct Idp {
    pub(super) issuer: String,
    state: Arc<Mutex<Mind>>,
    serving: JoinHandle<()>,
}

/// What the provider knows, and how it differs from an honest one.
pub(super) struct Mind {
    issuer: String,
    /// The first one signs.
    pub(super) keys: Vec<SigningKey>,
    codes: HashMap<String, HashMap<String, String>>,
    issued: usize,
    pub(super) subject: String,
    pub(super) says_iss: bool,
    pub(super) claims: Box<dyn Fn(&mut Value) + Send>,
    pub(super) token: Twist,
    pub(super) user_info: Value,
    /// Changes of the discovery document.
    pub(super) metadata: Value,
    /// Answers in place of the real ones, by path.
    pub(super) instead: HashMap<&'static str, (StatusCode, &'static str, Vec<u8>)>,
    pub(super) checks_pkce: bool,
    /// What was asked for, by path.
    pub(super) asked: Vec<String>,
    pub(super) forms: Vec<HashMap<String, String>>,
}

/// What becomes of an ID token on its way.
pub(super) type Twist = Box<dyn Fn(String) -> Option<String> + Send>;

impl Idp {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/idp", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Mind {
            issuer: issuer.clone(),
            keys: vec![SigningKey::generate(Algorithm::Es256).unwrap()],
            codes: HashMap::new(),
            issued: 0,
            subject: "Ada".to_owned(),
            says_iss: true,
            claims: Box::new(|_| {}),
            token: Box::new(Some),
            user_info: json!({ "sub": "Ada" }),
            metadata: json!({}),
            instead: HashMap::new(),
            checks_pkce: true,
            asked: Vec::new(),
            forms: Vec::new(),
        }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, state, serving }
    }

    pub(super) fn mind(&self) -> MutexGuard<'_, Mind> {
        self.state.lock().unwrap()
    }

    /// Somebody follows the address and signs in: what they are sent back with.
    pub(super) fn sign_in(&self, url: &str) -> String {
        let asked: HashMap<String, String> =
            Url::parse(url).unwrap().query_pairs().into_owned().collect();
        let mut mind = self.mind();
        mind.issued += 1;
        let code = format!("code-{}", mind.issued);
        let mut back = form_urlencoded::Serializer::new(String::new());
        back.append_pair("code", &code).append_pair("state", &asked["state"]);
        if mind.says_iss {
            back.append_pair("iss", &mind.issuer);
        }
        mind.codes.insert(code, asked);
        back.finish()
    }

    pub(super) fn times_asked(&self, path: &str) -> usize {
        self.mind().asked.iter().filter(|asked| *asked == path).count()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(state): State<Arc<Mutex<Mind>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut mind = state.lock().unwrap();
    let path = uri.path().to_owned();
    mind.asked.push(path.clone());
    if let Some((status, kind, body)) = mind.instead.get(path.as_str()) {
        let location = ("location", "http://127.0.0.1:1/");
        return (*status, [("content-type", *kind), location], body.clone()).into_response();
    }
    let (status, said) = match path.as_str() {
        METADATA => (StatusCode::OK, mind.describe()),
        KEYS => {
            let keys: Vec<Value> = mind.keys.iter().map(SigningKey::public_jwk).collect();
            (StatusCode::OK, json!({ "keys": keys }))
        }
        TOKEN => mind.redeem(&headers, &body),
        USER_INFO if headers["authorization"] == "Bearer access" => {
            (StatusCode::OK, mind.user_info.clone())
        }
        _ => (StatusCode::NOT_FOUND, json!({})),
    };
    (status, [(CONTENT_TYPE, "application/json")], said.to_string()).into_response()
}

pub(super) const METADATA: &str = "/idp/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/idp/jwks";
pub(super) const TOKEN: &str = "/idp/token";
pub(super) const USER_INFO: &str = "/idp/userinfo";

impl Mind {
    fn describe(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let mut metadata = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize?audience=x"),
            "token_endpoint": at("/token"), "jwks_uri": at("/jwks"),
            "userinfo_endpoint": at("/userinfo"),
            "authorization_response_iss_parameter_supported": self.says_iss,
            "id_token_signing_alg_values_supported": ["ES256", "RS384"],
            "code_challenge_methods_supported": ["S256"],
        });
        for (name, value) in self.metadata.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    }

    fn redeem(&mut self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, Value) {
        let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        self.forms.push(form.clone());
        let refused = |error: &str| (StatusCode::BAD_REQUEST, json!({ "error": error }));
        let basic =
            format!("Basic {}", Base64::encode_string(format!("{CLIENT}:{SECRET}").as_bytes()));
        let by_post = form.get("client_secret").is_some_and(|secret| secret == PLAIN_SECRET);
        if headers.get("authorization").is_none_or(|header| header != basic.as_str()) && !by_post {
            return refused("invalid_client");
        }
        let Some(asked) = self.codes.remove(&form["code"]) else { return refused("invalid_grant") };
        let challenge = digest(&SHA256, form["code_verifier"].as_bytes());
        let challenge = Base64UrlUnpadded::encode_string(challenge.as_ref());
        if asked["redirect_uri"] != form["redirect_uri"]
            || self.checks_pkce && asked["code_challenge"] != challenge
        {
            return refused("invalid_grant");
        }
        let mut claims = json!({
            "iss": self.issuer, "sub": self.subject, "aud": CLIENT, "nonce": asked["nonce"],
            "iat": NOW.0, "exp": NOW.0 + 300, "sid": "s-1",
        });
        (self.claims)(&mut claims);
        let token = self.keys[0].sign_jws("JWT", &claims).unwrap();
        let tokens = json!({
            "access_token": "access", "token_type": "Bearer", "id_token": (self.token)(token),
        });
        (StatusCode::OK, tokens)
    }
}
