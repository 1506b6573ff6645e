//! Debian's SimpleSAMLphp as the identity provider of a tenant, in PHP's own web server.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use partywall_server::{Connection, ConnectionPatch, IdentityProvider};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    native, parts,
    stage::{self, Stage, described},
};

#[tokio::test(flavor = "multi_thread")]
async fn i42_simplesamlphp_signs_in_the_people_of_a_tenant() {
    let Some(play) = Play::begin("assertion", false).await else { return };
    play.run("sso.mjs", true).await;
    let refused = play.stage.refusals(&play.stage.scene.tenant).await;
    let mut why: Vec<&str> = refused.iter().map(|(why, _)| why.as_str()).collect();
    why.reverse();
    assert_eq!(why, ["not_away", "not_away", "in_response_to", "domain_not_proved", "settings"]);
    play.end().await;
}

/// Debian's version knows AES-CBC only, which a connection has to allow (S-12).
#[tokio::test(flavor = "multi_thread")]
async fn s12_simplesamlphp_encrypts_what_it_says_of_people() {
    let Some(play) = Play::begin("both", true).await else { return };
    play.run("sso_refused.mjs", true).await;
    let refused = play.stage.refusals(&play.stage.scene.tenant).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, "encryption_algorithm");
    play.allow_cbc().await;
    // And nothing is lost without JavaScript.
    play.run("sso.mjs", false).await;
    play.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i42_simplesamlphp_signs_responses_around_what_it_encrypts() {
    let Some(play) = Play::begin("response", true).await else { return };
    play.allow_cbc().await;
    play.run("sso.mjs", true).await;
    play.end().await;
}

/// A tenant whose provider it is.
struct Play {
    php: SimpleSamlPhp,
    stage: Stage,
    connection: Connection,
    judged: Value,
}

impl Play {
    /// What it signs: the `assertion`, the `response` or `both`.
    async fn begin(signs: &str, encrypts: bool) -> Option<Self> {
        let chromium = parts::chromium()?;
        let php = SimpleSamlPhp::serve(signs, encrypts).await?;
        let stage = Stage::start().await;
        let rules = json!({
            "just_in_time": true,
            "group_roles": { "bookkeeping": ["bookkeeper"], "board": ["director"] },
        });
        let metadata = stage::read(&php.entity_id()).await;
        let provider = IdentityProvider::Saml(described(&metadata));
        let scene = &stage.scene;
        let connection = stage.register(&scene.tenant, provider, rules, None).await;
        php.knows("acme", &stage.metadata(&connection).await);
        stage.open(&connection).await;
        stage.proves("acme.example", &connection).await;
        let judged = scene.judged(json!({
            "provider": php.address, "connection": stage.told(&connection),
            "chromium": chromium, "operatorKey": stage.operator_key().await,
            "app": scene.application(native()).await, "second": scene.application(native()).await,
            "bob": scene.member(&scene.tenant, "bob@acme.example").await,
        }));
        Some(Self { php, stage, connection, judged })
    }

    async fn allow_cbc(&self) {
        let IdentityProvider::Saml(mut provider) = self.connection.provider.clone() else {
            panic!("not by SAML");
        };
        provider.allow_cbc = true;
        let provider = Some(IdentityProvider::Saml(provider));
        let patch = ConnectionPatch { provider, ..ConnectionPatch::default() };
        self.stage.change(&self.connection, patch).await;
    }

    /// Runs a script, in browsers with or without JavaScript.
    async fn run(&self, script: &'static str, scripts: bool) {
        let mut judged = self.judged.clone();
        judged["scripts"] = json!(scripts);
        self.stage.node(script, judged).await;
    }

    async fn end(self) {
        drop(self.php);
        self.stage.scene.stop().await;
    }
}

struct SimpleSamlPhp {
    address: String,
    here: TempDir,
    _server: Child,
}

impl SimpleSamlPhp {
    async fn serve(signs: &str, encrypts: bool) -> Option<Self> {
        if !Path::new(WWW).exists() || !Path::new(PHP).exists() {
            return parts::missing("SimpleSAMLphp is");
        }
        let here = tempfile::tempdir().unwrap();
        let made = Command::new(PHP).arg(config().join("key.php")).arg(here.path()).status();
        assert!(made.await.unwrap().success(), "PHP makes no key");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let address = format!("http://{host}");
        let server = Command::new(PHP)
            .args(["-S", &host, "-t", WWW])
            .env("SIMPLESAMLPHP_CONFIG_DIR", config())
            .env("PARTYWALL_HERE", here.path())
            .env("PARTYWALL_PROVIDER", &address)
            .env("PARTYWALL_SIGNS", signs)
            .env("PARTYWALL_ENCRYPTS", if encrypts { "yes" } else { "" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&host).await.is_ok() {
                return Some(Self { address, here, _server: server });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("SimpleSAMLphp does not listen on {host}");
    }

    /// Its name, which is where its metadata is.
    fn entity_id(&self) -> String {
        format!("{}/saml2/idp/metadata.php", self.address)
    }

    /// Imports the metadata of one that people may be sent to.
    fn knows(&self, name: &str, metadata: &str) {
        let file = self.here.path().join(format!("partywall-{name}.xml"));
        std::fs::write(file, metadata).unwrap();
    }
}

const PHP: &str = "/usr/bin/php";
const WWW: &str = "/usr/share/simplesamlphp/www";

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("judges/simplesamlphp")
}
