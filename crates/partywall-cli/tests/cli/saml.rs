//! `partywall saml verify`.
//!
//! The response is signed by signxml 5.2.0, with a key nobody has kept.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::harness::{Folder, Ran};

const RESPONSE: &str = include_str!("saml/response.xml");
const PEM: &str = include_str!("saml/idp.pem");
const CONNECTION: &str = r#"
sp_entity_id = "https://acme.partywall.example/saml"
acs_url = "https://acme.partywall.example/saml/acs"
idp_entity_id = "https://idp.acme.example/"
certificates = [{ file = "keys/idp.pem" }]
"#;
const NOW: &str = "2026-11-25T12:00:00Z";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("acme/acme.toml", CONNECTION);
    folder.write("acme/keys/idp.pem", PEM);
    folder.write("response.xml", RESPONSE);
    folder
}

fn verify<'a>(now: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual =
        ["saml", "verify", "--connection", "acme/acme.toml", "--now", now, "--request-id=_request"];
    [&usual[..], more].concat()
}

/// What became of one response.
fn verdict(folder: &Folder, response: &str) -> Value {
    folder.write("judged.xml", response);
    let ran = folder.run(&verify(NOW, &["--json", "judged.xml"]));
    assert_eq!(ran.err, "");
    let [answer] = ran.json_lines().try_into().unwrap();
    assert_eq!(ran.code, Some(i32::from(answer["ok"] != json!(true))));
    answer
}

/// RFC 4648, section 4.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i > three.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

#[test]
fn s09_a_good_response_is_accepted_and_what_it_says_is_told() {
    let folder = folder();
    let ran = folder.run(&verify(NOW, &["response.xml"]));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(
        ran.out,
        "1: accepted: \"alice\" (\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\") by \
         \"https://idp.acme.example/\", \"groups\" [\"staff\", \"R&D\"]; assertion \"_a\" answers \
         \"_request\", usable until 2026-11-25T12:06:00Z\n"
    );
    let answer = verdict(&folder, RESPONSE);
    for (pointer, value) in [
        ("/ok", json!(true)),
        ("/line", json!(1)),
        ("/id", json!("_a")),
        ("/name_id/value", json!("alice")),
        ("/in_response_to", json!("_request")),
        ("/authn_instant", json!("2026-11-25T11:59:58Z")),
        ("/session_index", json!("_s")),
        ("/attributes", json!([{ "name": "groups", "values": ["staff", "R&D"] }])),
    ] {
        assert_eq!(answer.pointer(pointer), Some(&value), "{pointer} in {answer}");
    }
}

#[test]
fn s01_to_s09_each_refusal_names_rule_element_and_value() {
    let folder = folder();
    assert_eq!(verdict(&folder, RESPONSE)["ok"], json!(true), "the control");
    for (from, to, rule, element, found) in [
        (">alice<", ">mallory<", "digest", "Assertion", Value::Null),
        (
            "saml/acs\" ID",
            "saml/ACS\" ID",
            "destination",
            "Response/@Destination",
            json!("https://acme.partywall.example/saml/ACS"),
        ),
        (
            "status:Success",
            "status:Responder",
            "status",
            "StatusCode",
            json!("urn:oasis:names:tc:SAML:2.0:status:Responder"),
        ),
        (
            "rsa-sha256",
            "hmac-sha256",
            "signature_algorithm",
            "SignatureMethod",
            json!("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
        ),
        ("<samlp:Response", "<!DOCTYPE a><samlp:Response", "doctype", "document", Value::Null),
    ] {
        assert!(RESPONSE.contains(from), "{from}");
        let answer = verdict(&folder, &RESPONSE.replacen(from, to, 1));
        assert_eq!(answer["ok"], json!(false), "{answer}");
        assert_eq!(answer["rule"], json!(rule), "{answer}");
        assert_eq!(answer["element"], json!(element), "{answer}");
        assert_eq!(answer["found"], found, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 10), "{answer}");
    }
}

#[test]
fn s09_now_and_the_request_decide() {
    let folder = folder();
    let rule = |args: &[&str]| {
        let ran = folder.run(&[args, &["--json", "response.xml"]].concat());
        let [answer] = ran.json_lines().try_into().unwrap();
        answer["rule"].as_str().unwrap_or("accepted").to_owned()
    };
    for (now, expected) in [
        ("2026-11-25T11:58:59Z", "issue_instant"),
        ("2026-11-25T11:59:00Z", "accepted"),
        ("2026-11-25T12:05:59Z", "accepted"),
        ("2026-11-25T12:06:00Z", "issue_instant"),
    ] {
        assert_eq!(rule(&verify(now, &[])), expected, "{now}");
    }
    let asked_by = ["saml", "verify", "--connection", "acme/acme.toml", "--now", NOW];
    assert_eq!(rule(&[&asked_by[..], &["--request-id", "_other"]].concat()), "in_response_to");
    assert_eq!(rule(&asked_by), "in_response_to");
    // Without --now it is today, and the response is of another day.
    let today = ["saml", "verify", "--connection", "acme/acme.toml", "--request-id", "_request"];
    assert_eq!(rule(&today), "issue_instant");
}

#[test]
fn files_and_base64_are_read_line_by_line() {
    let folder = folder();
    let post = base64(RESPONSE);
    let broken: String =
        post.as_bytes().chunks(76).flat_map(|c| [c, b"\r\n"].concat()).map(char::from).collect();
    folder.write("post.txt", &broken);
    folder.write("nonsense.txt", "{}");
    folder.write("bytes.bin", [0xff, 0xfe, 0]);
    let mut input =
        format!("response.xml\n\n  {post}  \npost.txt\nnonsense.txt\nbytes.bin\nnone.xml\nacme/\n")
            .into_bytes();
    input.extend(vec![b'A'; 10_000_000]);
    input.extend(b"\n\xff\n");
    input.extend(base64("<a/>").as_bytes());
    let ran = folder.run_with(&verify(NOW, &["--json"]), input);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    let answers: Vec<_> = ran
        .json_lines()
        .iter()
        .map(|a| (a["line"].as_u64().unwrap(), a["rule"].as_str().unwrap_or("accepted").to_owned()))
        .collect();
    let unreadable = "unreadable";
    let expected = [
        (1, "accepted"),
        (3, "accepted"),
        (4, "accepted"),
        (5, unreadable),
        (6, unreadable),
        (7, unreadable),
        (8, unreadable),
        (9, unreadable),
        (10, unreadable),
        (11, "root"),
    ];
    assert_eq!(answers, expected.map(|(line, answer)| (line, answer.to_owned())));
}

#[test]
fn each_response_is_answered_before_the_next_is_asked_for() {
    let folder = folder();
    let mut child = folder.command(&verify(NOW, &[])).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for response in ["response.xml", "wrong", "response.xml"] {
        writeln!(stdin, "{response}").unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert_eq!(answer.contains("accepted"), response != "wrong", "{answer}");
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn s06_nothing_the_sender_chose_reaches_the_terminal_as_it_is() {
    let folder = folder();
    let hostile = "\u{9b}2J\u{202e}\u{7f}\n1: accepted: \"root\"";
    for response in [
        RESPONSE.replacen("saml/acs\" ID", &format!("{}\" ID", hostile.replace('"', "'")), 1),
        RESPONSE.replacen("status:Success", &hostile.replace('"', "'"), 1),
        format!("<{hostile}"),
        "<\u{9b}2J a='b' c".to_owned(),
    ] {
        folder.write("judged.xml", &response);
        for more in [&["judged.xml"][..], &["--json", "judged.xml"]] {
            let Ran { code, out, .. } = folder.run(&verify(NOW, more));
            assert_eq!(code, Some(1), "{out}");
            assert_eq!(out.lines().count(), 1, "{out}");
            let plain = out.trim_end_matches('\n').bytes().all(|b| (b' '..=b'~').contains(&b));
            assert!(plain, "{out:?}");
        }
    }
}

#[test]
fn s08_a_connection_without_trust_is_no_connection() {
    let folder = folder();
    let text = PEM.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let by_text =
        CONNECTION.replace("{ file = \"keys/idp.pem\" }", &format!("{{ text = \"{text}\" }}"));
    folder.write("acme/acme.toml", by_text);
    assert_eq!(folder.run(&verify(NOW, &["response.xml"])).code, Some(0), "the control");

    for (connection, said) in [
        (String::new(), "missing field `sp_entity_id`"),
        (CONNECTION.replace("{ file = \"keys/idp.pem\" }", ""), "no signing certificate"),
        (CONNECTION.replace("idp.pem", "none.pem"), "cannot read acme/keys/none.pem"),
        (
            CONNECTION.replace("file = \"keys/idp.pem\"", "text = \"AAAA\""),
            "certificates[0]: not an X.509 certificate",
        ),
        (CONNECTION.replace("acs_url", "acs"), "unknown field `acs`"),
        (CONNECTION.replace("\"https://idp.acme.example/\"", "\"\""), "must not be empty"),
        (format!("{CONNECTION}want_signed = false"), "unknown field `want_signed`"),
        (
            format!("{CONNECTION}decryption_keys = [{{ file = \"keys/idp.pem\" }}]"),
            "decryption_keys[0]: the decryption key must be RSA",
        ),
    ] {
        folder.write("acme/acme.toml", &connection);
        let ran = folder.run(&verify(NOW, &["response.xml"]));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{connection}");
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
}

#[test]
fn nothing_to_verify_is_no_success() {
    let folder = folder();
    for input in ["", "\n\n"] {
        let ran = folder.run_with(&verify(NOW, &[]), input);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert!(ran.err.contains("no response"), "{}", ran.err);
    }
    let ran = folder.run(&["saml", "verify", "response.xml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("--connection <FILE>"), "{}", ran.err);
}
