//! `partywall token verify`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
    thread,
};

use serde_json::{Value, json};

use crate::harness::{AUDIENCE, EXPIRES, Folder, ISSUED, ISSUER, Issuer, Ran, claims};

/// A folder with the issuer's key set, and the arguments that name it.
fn folder(issuer: &Issuer) -> Folder {
    let folder = Folder::new();
    folder.write("keys.json", issuer.jwks());
    folder
}

const VERIFY: [&str; 8] =
    ["token", "verify", "--jwks", "keys.json", "--issuer", ISSUER, "--audience", AUDIENCE];

fn at(now: &str) -> Vec<&str> {
    [&VERIFY[..], &["--now", now]].concat()
}

/// What became of one token, judged while the good one is valid.
fn verdict(folder: &Folder, token: &str) -> Value {
    let ran = folder.run_with(&[&at("1767225601")[..], &["--json"]].concat(), token);
    assert_eq!(ran.err, "");
    let [answer] = ran.json_lines().try_into().unwrap();
    assert_eq!(ran.code, Some(i32::from(answer["ok"] != json!(true))));
    answer
}

#[test]
fn a_good_token_is_accepted_and_what_it_proves_is_said() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let ran = folder.run(&[&at("2026-01-01T00:00:01Z")[..], &[&issuer.token()]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(
        ran.out,
        "1: accepted: tenant acme-7f3k, machine m:robot, roles clerk; ES256 by \
         https://login.example.com, expires 2026-01-01T00:10:00Z\n"
    );
    let answer = verdict(&folder, &issuer.token());
    for (key, value) in [
        ("ok", json!(true)),
        ("line", json!(1)),
        ("tenant", json!("acme-7f3k")),
        ("subject", json!("m:robot")),
        ("machine", json!(true)),
        ("audience", json!([AUDIENCE])),
        ("expires_at", json!(EXPIRES)),
    ] {
        assert_eq!(answer[key], value, "{key} in {answer}");
    }
}

#[test]
fn j01_to_j18_each_refusal_names_its_check() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    assert_eq!(verdict(&folder, &issuer.token())["ok"], json!(true), "the control");

    let good = issuer.token();
    let mut parts: Vec<&str> = good.split('.').collect();
    let other_payload = issuer.token_with("tid", json!("globex"));
    parts[1] = other_payload.split('.').nth(1).unwrap();
    let spliced = parts.join(".");

    for (code, token) in [
        ("token_not_compact", "nonsense".to_owned()),
        ("token_not_compact", "{\"payload\":\"e30\"}".to_owned()),
        ("token_encrypted", "a.b.c.d.e".to_owned()),
        ("encoding_invalid", good.replace('.', "=.")),
        ("token_too_large", "a".repeat(20_000)),
        ("signature_invalid", spliced),
        ("key_unknown", Issuer::new().token()),
        ("type_not_accepted", issuer.sign_as("JWT", &claims())),
        ("issuer_untrusted", issuer.token_with("iss", json!("https://login.example.com/"))),
        ("audience_missing", issuer.token_with("aud", Value::Null)),
        ("audience_wrong_type", issuer.token_with("aud", json!({ "a": 1 }))),
        ("audience_mismatch", issuer.token_with("aud", json!("https://other.example.com"))),
        ("expiry_missing", issuer.token_with("exp", Value::Null)),
        ("expiry_wrong_type", issuer.token_with("exp", json!("1767226200"))),
        ("token_expired", issuer.token_with("exp", json!(ISSUED - 60))),
        ("token_not_yet_valid", issuer.token_with("nbf", json!(ISSUED + 300))),
        ("issued_in_future", issuer.token_with("iat", json!(ISSUED + 300))),
        ("lifetime_too_long", issuer.token_with("exp", json!(ISSUED + 30 * 86_400))),
        ("tenant_missing", issuer.token_with("tid", Value::Null)),
        ("tenant_invalid", issuer.token_with("tid", json!("../acme"))),
        ("principal_unclear", issuer.token_with("sub", json!("robot"))),
    ] {
        let answer = verdict(&folder, &token);
        assert_eq!(answer["ok"], json!(false), "{code}: {answer}");
        assert_eq!(answer["error"], json!(code), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 10), "{answer}");
    }
}

#[test]
fn j11_now_decides_at_the_edges() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let token = issuer.token();
    let verdict = |now: &str| {
        let ran = folder.run(&[&at(now)[..], &["--json", &token]].concat());
        let [answer] = ran.json_lines().try_into().unwrap();
        answer["error"].as_str().unwrap_or("accepted").to_owned()
    };
    const LEEWAY: u64 = 30;
    for (now, expected) in [
        (ISSUED - LEEWAY - 1, "issued_in_future"),
        (ISSUED - LEEWAY, "accepted"),
        (EXPIRES + LEEWAY - 1, "accepted"),
        (EXPIRES + LEEWAY, "token_expired"),
    ] {
        assert_eq!(verdict(&now.to_string()), expected, "{now}");
    }
    // The same moments as people write them.
    assert_eq!(verdict("2026-01-01T01:10:29+01:00"), "accepted");
    assert_eq!(verdict("2026-01-01T01:10:30+01:00"), "token_expired");
    // Without --now it is today, and the token has long expired.
    let ran = folder.run(&[&VERIFY[..], &["--json", &token]].concat());
    assert_eq!(ran.json_lines()[0]["error"], json!("token_expired"));

    let ran = folder.run(&at("yesterday"));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("2026-01-31T12:00:00Z"), "{}", ran.err);
}

#[test]
fn ten_thousand_lines_are_answered_in_order() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let token = issuer.token();
    let args = [&at("1767225601")[..], &["--json"]].concat();
    let good = format!("{token}\n").repeat(10_000);
    let ran = folder.run_with(&args, good.clone());
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.out.lines().count(), 10_000);

    let (before, after) = good.split_at(5_000 * (token.len() + 1));
    let ran = folder.run_with(&args, format!("{before}wrong\n{after}"));
    assert_eq!(ran.code, Some(1), "one refusal among ten thousand decides");
    let refused: Vec<Value> =
        ran.json_lines().into_iter().filter(|answer| answer["ok"] == json!(false)).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["line"], json!(5_001));
    assert_eq!(ran.out.lines().count(), 10_001);
}

#[test]
fn j14_hostile_lines_are_answered_like_any_other() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let token = issuer.token();
    let mut input = Vec::new();
    for line in [
        &b""[..],
        b"  ",
        &vec![b'a'; 10_000_000],
        b"\xff\xfe.\x00",
        b"\0",
        "é.é.é".as_bytes(),
        format!("  {token}\r").as_bytes(),
    ] {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    input.extend_from_slice(token.as_bytes());
    let ran = folder.run_with(&[&at("1767225601")[..], &["--json"]].concat(), input);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    let answers: Vec<_> = ran
        .json_lines()
        .iter()
        .map(|answer| {
            (
                answer["line"].as_u64().unwrap(),
                answer["error"].as_str().unwrap_or("accepted").to_owned(),
            )
        })
        .collect();
    let expected = [
        (3, "token_too_large"),
        (4, "token_not_utf8"),
        (5, "token_not_compact"),
        (6, "encoding_invalid"),
        (7, "accepted"),
        (8, "accepted"),
    ];
    assert_eq!(answers, expected.map(|(line, answer)| (line, answer.to_owned())));
}

#[test]
fn each_line_is_answered_before_the_next_is_asked_for() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let mut child = folder.command(&at("1767225601")).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for token in [issuer.token(), "wrong".to_owned(), issuer.token()] {
        writeln!(stdin, "{token}").unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert_eq!(answer.contains("accepted"), token != "wrong", "{answer}");
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_broken_pipe_is_quiet_and_no_success() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let mut child = folder.command(&at("1767225601")).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = format!("{}\n", issuer.token()).repeat(10_000);
    let feeding = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("1: accepted"));
    feeding.join().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(141), ""));
}

#[test]
fn nothing_to_verify_is_no_success() {
    let folder = folder(&Issuer::new());
    for input in ["", "\n\n"] {
        let ran = folder.run_with(&VERIFY, input);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert!(ran.err.contains("no token"), "{}", ran.err);
    }
}

#[test]
fn a_tenant_claim_makes_up_for_a_profile_without_one() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let token = issuer.sign_as("JWT", &{
        let mut claims = claims();
        claims["org"] = claims["tid"].take();
        claims.as_object_mut().unwrap().remove("tid");
        claims["sub"] = claims["client_id"].clone();
        claims
    });
    let args = [&at("1767225601")[..], &["--profile", "generic"]].concat();
    let ran = folder.run_with(&args, token.clone());
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("no tenant claim"), "{}", ran.err);
    let ran = folder.run_with(&[&args[..], &["--tenant-claim", "org"]].concat(), token);
    assert!(ran.out.starts_with("1: accepted: tenant acme-7f3k"), "{}", ran.out);
}

const CONFIG: &str = r#"
    [[issuers]]
    issuer = "https://login.example.com"
    audience = ["https://api.example.com"]
    jwks = { file = "keys.json" }
"#;

fn verify_by_config(folder: &Folder, config: &str, token: &str) -> Ran {
    folder.write("partywall.toml", config);
    folder.run_with(&["token", "verify", "--json", "--now", "1767225601"], token)
}

#[test]
fn the_configuration_in_the_folder_is_used() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    let ran = verify_by_config(&folder, CONFIG, &issuer.token());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);

    // Its key set counts from the file's folder, not from where one stands.
    let elsewhere = Folder::new();
    let config = folder.path("partywall.toml");
    let args = ["token", "verify", "--now", "1767225601", "--config", config.to_str().unwrap()];
    assert_eq!(elsewhere.run_with(&args, issuer.token()).code, Some(0));
}

#[test]
fn a_wrong_configuration_verifies_nothing() {
    let issuer = Issuer::new();
    let folder = folder(&issuer);
    for (config, said) in [
        (CONFIG.replace("jwks", "jkws"), "partywall.toml:5:5: issuers[0].jkws: unknown key"),
        (
            CONFIG.replace("keys.json", "none.json"),
            "partywall.toml:5:12: issuers[0].jwks: cannot read",
        ),
        (String::new(), "no [[issuers]]"),
    ] {
        let ran = verify_by_config(&folder, &config, &issuer.token());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{config}");
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
    let ran = Folder::new().run_with(&["token", "verify"], issuer.token());
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("--config"), "{}", ran.err);
}

#[test]
fn r09_a_key_set_at_a_url_is_fetched_once() {
    let issuer = Issuer::new();
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let jwks = issuer.jwks();
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            jwks.len()
        );
        (&stream).write_all(format!("{head}{jwks}").as_bytes()).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let source = format!("url = \"http://{address}/jwks\"");
    let config = CONFIG.replace("file = \"keys.json\"", &source);
    let tokens = format!("{}\n", issuer.token()).repeat(3);
    let ran = verify_by_config(&folder, &config, &tokens);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    let listener = serving.join().unwrap();
    assert!(listener.accept().is_err(), "nobody asked a second time");
    drop(listener);

    // Nobody listens there any more: the tokens may be right, and are not accepted.
    let ran = verify_by_config(&folder, &config, &issuer.token());
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.json_lines()[0]["error"], json!("keys_not_yet_fetched"));
    assert!(ran.err.contains("jwks = { file ="), "{}", ran.err);
}
