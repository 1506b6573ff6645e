//! The same against npm's `oidc-provider`, which is nobody's of ours: as it is, and misbehaving.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use partywall::{Clock, SystemClock};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::*;

struct Judge {
    issuer: String,
    http: reqwest::Client,
    _process: Child,
    /// It says more, and stops where nobody could hear it.
    _said: Lines<BufReader<ChildStdout>>,
    _here: tempfile::TempDir,
}

impl Judge {
    async fn start(redirect_uri: &str) -> Option<Self> {
        let modules = cache().join("node/node_modules");
        if !modules.join("partywall-installed").exists() {
            assert!(
                env::var_os("CI").is_none(),
                "npm's oidc-provider is not here: run scripts/install"
            );
            eprintln!("SKIPPED: npm's oidc-provider is not here; scripts/install brings it");
            return None;
        }
        // A module is looked for beside and above the script that names it.
        let here = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&modules, here.path().join("node_modules")).unwrap();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/judges/node");
        let script = here.path().join("issuer.mjs");
        std::fs::copy(scripts.join("issuer.mjs"), &script).unwrap();
        let judged =
            json!({ "client": CLIENT, "secret": PLAIN_SECRET, "redirectUri": redirect_uri });
        let mut process = Command::new("node")
            .arg(script)
            .env("PARTYWALL_JUDGED", judged.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let issuer = tokio::time::timeout(Duration::from_secs(30), said.next_line()).await;
        let issuer = issuer.unwrap().unwrap().expect("it did not start");
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Some(Self {
            issuer,
            http: http.build().unwrap(),
            _process: process,
            _said: said,
            _here: here,
        })
    }

    async fn behave(&self, how: &str) {
        let told = self.http.post(format!("{}/how", self.issuer)).body(how.to_owned());
        assert_eq!(told.send().await.unwrap().status(), StatusCode::NO_CONTENT, "{how}");
    }

    /// A browser follows `url` until it is sent back to us.
    async fn browse(&self, url: String, redirect_uri: &str) -> String {
        let mut cookies: HashMap<String, String> = HashMap::new();
        let mut url = Url::parse(&url).unwrap();
        for _ in 0..10 {
            if let Some(back) = url.as_str().strip_prefix(redirect_uri) {
                return back.trim_start_matches('?').to_owned();
            }
            let jar: Vec<_> =
                cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let answer = self.http.get(url.clone()).header("cookie", jar.join("; "));
            let answer = answer.send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
            let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
            url = match to {
                Some(to) => url.join(&to).unwrap(),
                None => panic!("{url}: {}", answer.text().await.unwrap()),
            };
        }
        panic!("it goes in circles");
    }

    async fn sign_in(&self, acme: &Registered) -> Result<Upstream, OidcError> {
        let now = SystemClock::default().now();
        let random = SystemRandom::new();
        let wish = Wish::default();
        let (url, pending) = acme.oidc.begin(acme.party(), "state-1", wish, (&random, now)).await?;
        let back = self.browse(url, &acme.redirect_uri).await;
        let answer = Form::parse(back.as_bytes()).unwrap();
        assert_eq!(answer.get("state"), Some("state-1"));
        acme.oidc.finish(acme.party(), &pending, &answer, PLAIN_SECRET, now).await
    }
}

fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_default().join("partywall")
}

#[tokio::test]
async fn f08_oidc_provider_signs_ada_in_and_misbehaving_it_signs_nobody_in() {
    let mut acme = Registered::of(OidcProvider::new("https://to.be.known", CLIENT));
    let Some(judge) = Judge::start(&acme.redirect_uri).await else { return };
    acme.provider.issuer = judge.issuer.clone();
    let ada = judge.sign_in(&acme).await.unwrap();
    assert_eq!((ada.issuer.as_str(), ada.subject.as_str()), (judge.issuer.as_str(), "ada"));
    assert_eq!(ada.name.as_deref(), Some("Ada Lovelace"));
    let email = ada.email.unwrap();
    assert_eq!((email.address.as_str(), email.said_to_be_verified), ("ada@acme.test", true));

    for (how, rule, element) in [
        ("wrong nonce", "claim_invalid", Some("nonce")),
        ("no nonce", "claim_missing", Some("nonce")),
        ("wrong audience", "audience_mismatch", Some("aud")),
        ("two audiences", "claim_missing", Some("azp")),
        ("made for another", "claim_invalid", Some("azp")),
        ("other issuer", "issuer_untrusted", Some("iss")),
        ("expired", "token_expired", Some("exp")),
        ("from the future", "issued_in_future", Some("iat")),
        ("old", "issued_at_invalid", Some("iat")),
        ("other access token", "claim_invalid", Some("at_hash")),
        // Nothing follows its last dot.
        ("alg none", "encoding_invalid", None),
        ("by the client secret", "algorithm_not_allowed", Some("alg")),
        ("by the public key", "algorithm_not_allowed", Some("alg")),
        ("by another key", "signature_invalid", None),
        ("by an unknown key", "key_unknown", Some("kid")),
        ("key in the header", "key_in_header", None),
        ("logout token", "type_not_accepted", Some("typ")),
        ("access token", "type_not_accepted", Some("typ")),
        ("subject twice", "json_duplicate_name", None),
        ("user info of another", "userinfo_of_other_subject", Some("sub")),
        ("answer without issuer", "callback_issuer_missing", Some("iss")),
        ("answer of another issuer", "callback_issuer_mismatch", Some("iss")),
    ] {
        judge.behave(how).await;
        let refused = judge.sign_in(&acme).await.unwrap_err();
        assert_eq!((refused.rule(), refused.element()), (rule, element), "{how}: {refused}");
        assert!(!refused.is_ours(), "{how}: {refused}");
        judge.behave("honest").await;
        assert!(judge.sign_in(&acme).await.is_ok(), "after {how}");
    }
}
