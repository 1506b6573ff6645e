//! Debian's `libapache2-mod-auth-openidc` in front of a page.

use std::{
    env,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{parts, scene::Scene};

/// Members of the site's tenant come in, and nobody else; logged out here, they are out there
/// (O-13, O-14).
#[tokio::test(flavor = "multi_thread")]
async fn i42_mod_auth_openidc_guards_a_page() {
    guard("client_secret", Value::Null).await;
}

/// The same, by a key in place of a secret (O-15).
#[tokio::test(flavor = "multi_thread")]
async fn o15_mod_auth_openidc_guards_a_page_by_a_key() {
    // The module signs by RS256 and nothing else.
    let Some(key) = parts::keys("RS256").await else { return };
    guard("private_key_jwt", key).await;
}

async fn guard(authentication: &str, key: Value) {
    let Some(apache) = Apache::find() else { return };
    let Some(chromium) = parts::chromium() else { return };
    // It hears of logouts on this machine.
    let scene = Scene::start_as("localhost", |config| config.call_private_addresses = true).await;
    let stranger = scene.another_tenant("stranger").await;
    let port = free_port();
    let site = format!("http://127.0.0.1:{port}");
    let left = format!("{site}/public/left.html");
    let jwks = key.get("public").map(|public| json!({ "keys": [public] }));
    let app = scene
        .application(json!({
            "name": "Site", "authentication": authentication, "jwks": jwks,
            "registration": {
                "redirect_uris": [format!("{site}/openid")],
                "post_logout_redirect_uris": [left],
                "backchannel_logout_uri": format!("{site}/openid?logout=backchannel"),
                "grants": ["authorization_code", "refresh_token"],
            },
        }))
        .await;
    let running = apache.serve(port, &scene, &app, &key).await;
    let judged = json!({
        "site": site, "left": left, "chromium": chromium,
        "ada": scene.ada().await, "eve": scene.member(&stranger, "eve@stranger.test").await,
    });
    parts::node("site.mjs", &scene.judged(judged)).await;
    drop(running);
    scene.stop().await;
}

/// Apache and the module, where Debian puts them.
struct Apache {
    modules: PathBuf,
}

struct Running {
    server: Child,
    here: TempDir,
}

impl Apache {
    fn find() -> Option<Self> {
        let modules = PathBuf::from("/usr/lib/apache2/modules");
        let there =
            Path::new("/usr/sbin/apache2").exists() && modules.join("mod_auth_openidc.so").exists();
        if there { Some(Self { modules }) } else { parts::missing("Apache's OpenID module is") }
    }

    async fn serve(&self, port: u16, scene: &Scene, app: &Value, key: &Value) -> Running {
        let here = tempfile::tempdir().unwrap();
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges/apache");
        copy(&parts.join("htdocs"), &here.path().join("htdocs"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let authentication = match key.is_null() {
            true => format!(
                "OIDCProviderTokenEndpointAuth client_secret_basic\nOIDCClientSecret {}",
                text(&app["secret"])
            ),
            false => {
                for name in ["private.pem", "public.pem"] {
                    fs::write(here.path().join(name), text(&key[name])).unwrap();
                }
                // The keys come first. Without the public one this version of the module crashes.
                [
                    "OIDCPrivateKeyFiles one#@here@/private.pem",
                    "OIDCPublicKeyFiles one#@here@/public.pem",
                    "OIDCProviderTokenEndpointAuth private_key_jwt",
                ]
                .join("\n")
            }
        };
        let mut conf = fs::read_to_string(parts.join("site.conf")).unwrap();
        for (name, value) in [
            ("authentication", authentication),
            ("here", here.path().display().to_string()),
            ("modules", self.modules.display().to_string()),
            ("port", port.to_string()),
            ("issuer", scene.issuer.clone()),
            ("client", text(&app["id"])),
            ("passphrase", text(&app["id"])),
            ("tenant", scene.tenant.to_string()),
        ] {
            conf = conf.replace(&format!("@{name}@"), &value);
        }
        fs::write(here.path().join("site.conf"), conf).unwrap();
        // Started by root it goes on as somebody who is not.
        fs::set_permissions(here.path(), Permissions::from_mode(0o755)).unwrap();
        let server = Command::new("/usr/sbin/apache2")
            // One process, which dies with the test.
            .args(["-X", "-f"])
            .arg(here.path().join("site.conf"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut running = Running { server, here };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return running;
            }
            if running.server.try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(running.here.path().join("error.log"));
        panic!("Apache does not listen on {port}: {log:?}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
