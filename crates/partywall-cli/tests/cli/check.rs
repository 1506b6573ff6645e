//! `partywall check`.

use serde_json::json;

use crate::harness::{Folder, Ran};

/// A configuration with nothing wrong in it; the tests put something wrong in.
const GOOD: &str = r#"
[server]
listen = "127.0.0.1:8080"
issuer = "https://login.example.com"
audience = "https://api.example.com"
database = { sqlite = "partywall.db" }
sealing_key = { file = "sealing.key" }

[service]
listen = "127.0.0.1:8081"
audience = "https://api.example.com"
bundle = { url = "https://login.example.com/bundle", key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" }
state_dir = "state"

[stores.main.targets.shared]
address = "db.internal:5432"
pool = { database = "app", logins = { file = "logins" }, ticket_key = { file = "ticket.key" } }

[stores.main]
kind = "postgres"

[stores.files]
kind = "sqlite"
targets = { here = { directory = "data", models = ["pool", "bridge"] } }

[tiers.free]
main = { model = "pool", target = "shared" }
files = { model = "bridge", target = "here" }

[[issuers]]
issuer = "https://login.example.com"
jwks = { url = "https://login.example.com/jwks" }
"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write_secret("sealing.key", "5a".repeat(32));
    for secret in ["logins", "ticket.key"] {
        folder.write_secret(secret, "secret");
    }
    folder
}

fn check(folder: &Folder, config: &str) -> Ran {
    folder.write("partywall.toml", config);
    folder.run(&["check"])
}

/// Checks the good configuration with one text in it replaced.
fn check_with(from: &str, to: &str) -> Ran {
    assert!(GOOD.contains(from), "{from:?} is not in the configuration");
    check(&folder(), &GOOD.replacen(from, to, 1))
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let ran = check(&folder(), GOOD);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(ran.out, "partywall.toml: good: a server, a service, 2 stores, 1 tier, 1 issuer\n");
}

#[test]
fn the_example_is_good() {
    let folder = Folder::new();
    let example = folder.run(&["check", "--example"]);
    assert_eq!(example.code, Some(0));
    folder.write("partywall.toml", &example.out);
    let ran = folder.run(&["check", "--without-secrets"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    // With its secrets looked for, it is not: they are not here.
    assert_eq!(folder.run(&["check"]).code, Some(1));
}

#[test]
fn every_finding_has_its_place_and_its_fix() {
    let mut missing = Vec::new();
    for (from, to, finding) in [
        (
            "listen = \"127.0.0.1:8080\"",
            "lisen = \"127.0.0.1:8080\"",
            "3:1: server.lisen: unknown key; did you mean `listen`? Otherwise remove it",
        ),
        (
            "[tiers.free]",
            "[colours]\n[tiers.free]",
            "26:2: colours: unknown key; remove it; known here: service, server, stores, tiers, issuers, prove",
        ),
        (
            "127.0.0.1:8080",
            "localhost",
            "3:10: server.listen: invalid socket address syntax; write `listen = \"127.0.0.1:8080\"`",
        ),
        (
            "127.0.0.1:8081",
            "0.0.0.0:8080",
            "10:10: service.listen: the same address as server.listen; give each listener a port of its own",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "bundle_listen = \"127.0.0.1:8080\"\nissuer = \"https://login.example.com\"\naudience",
            "4:17: server.bundle_listen: the same address as server.listen; give each listener a port of its own",
        ),
        (
            "issuer = \"https://login",
            "issuer = \"http://login",
            "4:10: server.issuer: not https: tokens would be taken from whoever answers on the way; use https (http is fine for a loopback address)",
        ),
        (
            "sealing_key = { file = \"sealing.key\" }\n",
            "",
            "2:1: server.sealing_key: missing; add `sealing_key = { file = \"/run/secrets/name\" } or { env = \"NAME\" }`",
        ),
        (
            "sealing.key",
            "none.key",
            "7:15: server.sealing_key: the secret file none.key cannot be read: No such file or directory (os error 2); create none.key with the secret in it and mode 600",
        ),
        (
            "{ file = \"sealing.key\" }",
            "{ env = \"PARTYWALL_TEST_NOT_SET\" }",
            "7:15: server.sealing_key: the environment variable PARTYWALL_TEST_NOT_SET is not set; set PARTYWALL_TEST_NOT_SET in the environment of the process",
        ),
        (
            "https://login.example.com\"\naudience",
            "https://login.example.com/\"\naudience",
            "4:10: server.issuer: an issuer has one spelling; write it in lower case, without a trailing slash",
        ),
        (
            "audience = \"https://api.example.com\"",
            "audience = [\"https://api.example.com\", \"invoices\"]",
            "5:12: server.audience: \"invoices\" is no absolute URI without fragment (RFC 8707 2); write `audience = \"https://api.example.com\"`",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "rotation = \"1h\"\nissuer = \"https://login.example.com\"\naudience",
            "4:12: server.rotation: a key is published for 1h before it signs; write `rotation = \"30d\"`",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "token_lifetime = \"2d\"\nissuer = \"https://login.example.com\"\naudience",
            "4:18: server.token_lifetime: 2d is not between 1s and 1d; write `token_lifetime = \"10m\"`",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "bundle_lifetime = \"1h\"\nissuer = \"https://login.example.com\"\naudience",
            "4:19: server.bundle_lifetime: 1h is not between 2h and 31d; write `bundle_lifetime = \"72h\"`",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "algorithm = \"HS256\"\nissuer = \"https://login.example.com\"\naudience",
            "4:13: server.algorithm: unknown variant `HS256`, expected one of `ES256`, `EdDSA`, `RS256`; write `algorithm = \"ES256\"`",
        ),
        (
            "issuer = \"https://login.example.com\"\naudience",
            "call_private_addresses = \"yes\"\nissuer = \"https://login.example.com\"\naudience",
            "4:26: server.call_private_addresses: invalid type: string \"yes\", expected a boolean; write `call_private_addresses = false`",
        ),
        (
            "[service]",
            "[server.mail]\nserver = \"smtp://u:p@mail.example\"\nfrom = \"login@example.com\"\n[service]",
            "10:10: server.mail.server: mail server \"smtp://u:p@mail.example\": expected smtps://host:port or smtp://host:port, without user, path or query; write `server = \"smtps://mail.example.com\"`",
        ),
        (
            "[service]",
            "[server.mail]\nserver = \"smtps://mail.example\"\nfrom = \"nobody\"\n[service]",
            "11:8: server.mail.from: mail sender \"nobody\": expected an address, or Name <address>; write `from = \"Example <login@example.com>\"`",
        ),
        (
            "[service]",
            "[server.mail]\nserver = \"smtps://mail.example\"\nfrom = \"login@example.com\"\nuser = \"login\"\n[service]",
            "9:1: server.mail: one half of what the mail server is shown; give both `user` and `password`, or neither",
        ),
        (
            "[service]",
            "[server.passwords]\nmemory_kib = 4\n[service]",
            "9:1: server.passwords: passwords: expected memory of 8 KiB a lane to 1 GiB, 1 to 16 passes, 1 to 16 lanes, 1 to 64 threads; leave out what you have no reason to change",
        ),
        (
            "{ file = \"sealing.key\" }",
            "{ file = \"logins\" }",
            "7:15: server.sealing_key: not a sealing key: expected 64 hexadecimal digits (`openssl rand -hex 32`); write a new one there, or name the right file",
        ),
        (
            "address = \"db.internal:5432\"",
            "address = \"db.internal:5432\"\ntls = \"disable\"",
            "17:7: stores.main.targets.shared.tls: rows and tickets in the clear on a network; write `tls = \"verify-full\"`",
        ),
        (
            "pool = {",
            "bridge = { logins = { file = \"logins\" } }\npool = {",
            "15:1: stores.main.targets.shared: a target for more than one model; give each model a target of its own, at the same address if need be",
        ),
        (
            "d75a98",
            "",
            "12:60: service.bundle.key: 58 digits are not the 64 of an Ed25519 key; write the 64 hexadecimal digits of the control plane's bundle key",
        ),
        (
            "url = \"https://login.example.com/bundle\", ",
            "",
            "12:10: service.bundle: expected either `url` or `file`; write `bundle = { url = \"https://login.example.com/bundle\", key = \"<64 hex digits>\" }`",
        ),
        (
            "kind = \"postgres\"",
            "kind = \"postgresql\"",
            "20:8: stores.main.kind: unknown variant `postgresql`, expected `postgres` or `sqlite`; write `kind = \"postgres\"`",
        ),
        (
            "pool = {",
            "pol = {",
            "15:1: stores.main.targets.shared: a target for no model; add `pool`, `bridge` or `silo`",
        ),
        (
            "target = \"shared\"",
            "target = \"eu-1\"",
            "27:35: tiers.free.main.target: the store has no target \"eu-1\"; use shared",
        ),
        (
            "model = \"pool\", target",
            "model = \"silo\", target",
            "27:18: tiers.free.main.model: the target shared cannot do silo; use pool",
        ),
        (
            "files = { model",
            "ledger = { model",
            "28:1: tiers.free.ledger: no store has this name; use one of files, main",
        ),
        (
            "[tiers.free]",
            "[tiers.Free]",
            "26:8: tiers.Free: not a tier: expected only a-z, 0-9 and '-'; rename it",
        ),
        (
            "[[issuers]]",
            "[[issuers]]\nissuer = \"https://login.example.com\"\njwks = { url = \"https://x.example\" }\n[[issuers]]",
            "34:10: issuers[1].issuer: \"https://login.example.com\" is configured above already; keep one of the two",
        ),
        (
            "jwks = {",
            "jkws = {",
            "32:1: issuers[0].jkws: unknown key; did you mean `jwks`? Otherwise remove it",
        ),
        (
            "url = \"https://login.example.com/jwks\"",
            "url = \"http://login.example.com/jwks\"",
            "32:8: issuers[0].jwks: `jwks.url` must be an https address, or http on localhost, without user or fragment; write the https address of its key set",
        ),
        (
            "[[issuers]]",
            "[[issuers]]\nleeway_seconds = 60",
            "31:18: issuers[0].leeway_seconds: `leeway_seconds` may be at most 30; write 30 or less",
        ),
        ("[server]", "[server", "2:8: not TOML: unclosed table, expected `]`; correct the syntax"),
    ] {
        let ran = check_with(from, to);
        assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{to:?}");
        let expected = format!("partywall.toml:{finding}");
        if !ran.out.lines().any(|line| line == expected) {
            missing.push(format!("{expected}\nis not in\n{}", ran.out));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn all_findings_are_reported_in_the_order_of_the_file() {
    let config = GOOD
        .replace("lite = \"partywall.db\"", "lite = 5")
        .replace("state_dir = \"state\"", "state_dir = \"state\"\ncolour = 1")
        .replace("address = \"db.internal:5432\"", "address = \"db.internal\"")
        .replace("[tiers.free]", "[tiers.free]\nledger = { model = \"pool\", target = \"x\" }");
    let ran = check(&folder(), &config);
    let places: Vec<&str> = ran.out.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "partywall.toml:6:23",
            "partywall.toml:14:1",
            "partywall.toml:17:11",
            "partywall.toml:28:1",
            "partywall.toml",
        ],
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("partywall.toml: 4 findings\n"), "{}", ran.out);
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for to in [
        "sealing_key = \"hunter2\"",
        "sealing_key = { value = \"hunter2\" }",
        "sealing_key = [\"hunter2\"]",
    ] {
        let ran = check_with("sealing_key = { file = \"sealing.key\" }", to);
        assert_eq!(ran.code, Some(1));
        assert!(ran.out.contains("server.sealing_key"), "{}", ran.out);
        assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    }
}

#[test]
fn a_secret_file_that_others_can_read_is_a_finding() {
    let folder = folder();
    folder.set_mode("ticket.key", 0o640);
    let ran = check(&folder, GOOD);
    assert!(
        ran.out.contains("mode 640: others can read it; run `chmod 600 ticket.key`"),
        "{}",
        ran.out
    );
    folder.write_secret("ticket.key", "");
    assert!(check(&folder, GOOD).out.contains("the secret file ticket.key is empty"));
    assert_eq!(folder.run(&["check", "--without-secrets"]).code, Some(0));
    folder.write_secret("ticket.key", "secret");
    assert_eq!(check(&folder, GOOD).code, Some(0), "the control");
}

#[test]
fn json_has_the_findings_or_what_was_understood() {
    let folder = folder();
    folder.write("partywall.toml", GOOD);
    let answer = &folder.run(&["check", "--json"]).json_lines()[0];
    assert_eq!(answer["ok"], json!(true));
    let server = &answer["config"]["server"];
    assert_eq!(server["algorithm"], json!("ES256"), "a default is shown");
    assert_eq!(server["token_lifetime"], json!("10m"));
    assert_eq!(server["sealing_key"], json!({ "file": "sealing.key" }));

    folder.write("partywall.toml", GOOD.replace("listen", "lisen"));
    let ran = folder.run(&["check", "--json"]);
    assert_eq!(ran.code, Some(1));
    let answer = &ran.json_lines()[0];
    assert_eq!((&answer["ok"], &answer["file"]), (&json!(false), &json!("partywall.toml")));
    let finding = &answer["findings"][0];
    assert_eq!(
        *finding,
        json!({
            "line": 2, "column": 1, "key": "server.listen", "what": "missing",
            "fix": "add `listen = \"127.0.0.1:8080\"`",
        })
    );
}

#[test]
fn what_is_no_configuration_is_named() {
    let folder = Folder::new();
    let ran = folder.run(&["check"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.starts_with("partywall.toml: No such file"), "{}", ran.out);

    folder.write("partywall.toml", b"a = 1\nb = \xff\n");
    let ran = folder.run(&["check"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(1), "partywall.toml:2: not UTF-8; save the file as UTF-8\n")
    );

    folder.write("partywall.toml", "a = ".repeat(10) + &"[".repeat(100_000));
    assert_eq!(folder.run(&["check"]).code, Some(1), "depth is bounded");
}
