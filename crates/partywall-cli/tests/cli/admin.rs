//! `partywall tenant|user|client|key|operator-key`.

use serde_json::Value;

use crate::harness::{Folder, Ran};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
issuer = "http://127.0.0.1:8080"
audience = "https://api.example.com"
database = { sqlite = "control.db" }
sealing_key = { file = "sealing.key" }
"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("partywall.toml", CONFIG);
    folder.write_secret("sealing.key", "5a".repeat(32));
    folder
}

fn done(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out.trim_end().to_owned()
}

fn json(folder: &Folder, args: &[&str]) -> Value {
    let ran = folder.run(&[args, &["--json", "--as", "ada"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json_lines().pop().unwrap()
}

#[test]
fn m03_a_tenant_is_made_shown_suspended_and_erased() {
    let folder = folder();
    let id = done(folder.run(&["tenant", "create", "acme", "--tier", "team"]));
    assert!(id.starts_with("t-"), "{id}");
    let listed = done(folder.run(&["tenant", "list"]));
    assert_eq!(listed, format!("{id}  acme  team  active"));
    assert_eq!(json(&folder, &["tenant", "suspend", "acme"])["status"], "suspended");
    assert_eq!(json(&folder, &["tenant", "resume", &id])["status"], "active");
    assert_eq!(json(&folder, &["tenant", "revoke-tokens", &id])["epoch"], 1);

    let wrong = folder.run(&["tenant", "erase", &id, "--confirm", "bond"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""), "{wrong:?}");
    assert_eq!(json(&folder, &["tenant", "show", "acme"])["status"], "active", "untouched");
    done(folder.run(&["tenant", "erase", &id, "--confirm", "acme"]));
    let gone = folder.run(&["tenant", "show", &id]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.contains("there is no tenant"), "{}", gone.err);
    assert_eq!(folder.run(&["tenant", "create", "Not A Slug"]).code, Some(2));
}

#[test]
fn m02_a_user_is_invited_and_belongs_to_its_tenant() {
    let folder = folder();
    for slug in ["acme", "bond"] {
        done(folder.run(&["tenant", "create", slug]));
    }
    let invite = ["user", "invite", "acme", "ada@acme.test", "--role", "clerk"];
    let invited = json(&folder, &invite);
    let id = invited["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("u:"), "{id}");
    let link = invited["link"].as_str().unwrap();
    assert!(link.starts_with("http://127.0.0.1:8080/invitation/"), "{link}");
    let again = done(folder.run(&["user", "reinvite", "acme", &id]));
    assert!(again.starts_with("http://127.0.0.1:8080/invitation/") && again != link, "{again}");
    let user = json(&folder, &["user", "show", "acme", &id]);
    assert_eq!(user["status"], "invited");
    assert_eq!(user["roles"], serde_json::json!(["clerk"]));
    assert_eq!(folder.run(&["user", "show", "bond", &id]).code, Some(1), "of another tenant");
    assert_eq!(folder.run(&["user", "suspend", "acme", &id]).code, Some(1), "not here yet");
    let again = folder.run(&["user", "invite", "acme", "ada@acme.test"]);
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("has the address"), "{}", again.err);
    assert_eq!(folder.run(&["user", "invite", "acme", "ada"]).code, Some(2));
    done(folder.run(&["user", "delete", "acme", &id]));
    assert_eq!(done(folder.run(&["user", "list", "acme"])), "");
}

#[test]
fn i36_a_clients_secret_is_all_that_stands_on_standard_output() {
    let folder = folder();
    for slug in ["acme", "bond"] {
        done(folder.run(&["tenant", "create", slug]));
    }
    let made = folder.run(&["client", "create", "robot", "--tenant", "acme", "--role", "clerk"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let secret = made.out.trim_end();
    assert!(secret.starts_with("pws_") && !secret.contains(char::is_whitespace), "{made:?}");
    assert!(!made.err.contains(secret), "{made:?}");
    let list = json(&folder, &["client", "list", "acme"]);
    let id = list["client_id"].as_str().unwrap();
    assert!(made.err.contains(id), "{made:?}");

    let rotated = json(&folder, &["client", "rotate", id, "--tenant", "acme", "--overlap", "60"]);
    assert_ne!(rotated["secret"].as_str().unwrap(), secret);
    let other = folder.run(&["client", "revoke", id, "--tenant", "bond"]);
    assert_eq!(other.code, Some(1), "of another tenant: {other:?}");
    done(folder.run(&["client", "revoke", id, "--tenant", "acme"]));
    assert_eq!(json(&folder, &["client", "show", id, "--tenant", "acme"])["status"], "revoked");

    let uri = "https://app.test/cb";
    let app = json(&folder, &["client", "create", "web", "--public", "--redirect-uri", uri]);
    assert_eq!(app["secret"], Value::Null);
    let bad = folder.run(&["client", "create", "web", "--redirect-uri", "http://app.test"]);
    assert_eq!(bad.code, Some(1));
    assert!(bad.err.contains("redirect_uris"), "{}", bad.err);
    assert_eq!(folder.run(&["client", "create", "robot"]).code, Some(2), "whose?");
}

#[test]
fn p06_keys_are_turned_and_operator_keys_shown_once() {
    let folder = folder();
    let first = json(&folder, &["key", "list"]);
    assert_eq!(first["state"], "active");
    let turned = folder.run(&["key", "rotate", "--json"]).json_lines();
    let states: Vec<&str> = turned.iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert!(states.len() == 2 && states.contains(&"published"), "{states:?}");
    done(folder.run(&["key", "withdraw", first["kid"].as_str().unwrap()]));
    let now = json(&folder, &["key", "list"]);
    assert_eq!(now["state"], "active");
    assert_ne!(now["kid"], first["kid"]);
    assert_eq!(folder.run(&["key", "withdraw", "nobody"]).code, Some(1));

    let made = folder.run(&["operator-key", "create", "olga", "--days", "1"]);
    let text = made.out.trim_end().to_owned();
    assert!(text.starts_with("pwo_") && !made.err.contains(&text), "{made:?}");
    let listed = done(folder.run(&["operator-key", "list", "--json"]));
    assert!(listed.contains("olga") && !listed.contains(&text), "{listed}");
    let id: Value = serde_json::from_str(&listed).unwrap();
    done(folder.run(&["operator-key", "revoke", id["id"].as_str().unwrap()]));
    assert!(done(folder.run(&["operator-key", "list"])).ends_with("revoked"));
}
