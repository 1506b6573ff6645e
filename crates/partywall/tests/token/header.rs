//! What the header may say: one of our algorithms, this kind of token, and nothing it brings along.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn j02_none_is_refused_in_every_spelling() {
    assert!(examine(&with_header("alg", json!("ES256"))).is_ok(), "the control");
    let payload = base64url(claims().to_string().as_bytes());
    for none in [
        "none",
        "None",
        "NONE",
        "noNe",
        "nonE",
        "nOnE",
        "none ",
        " none",
        "none\0",
        "\u{feff}none",
        "ｎｏｎｅ",
        "n\u{f6}ne",
        "",
        "null",
    ] {
        let head = base64url(with(header(), "alg", json!(none)).to_string().as_bytes());
        for signature in ["", "AA", &base64url(&[0; 64])] {
            let code = code(&format!("{head}.{payload}.{signature}"));
            let refused = matches!(code, "algorithm_not_allowed" | "encoding_invalid");
            assert!(refused, "{none:?} with {signature:?}: {code}");
        }
        assert_eq!(code(&with_header("alg", json!(none))), "algorithm_not_allowed", "{none:?}");
    }
}

#[test]
fn j01_the_algorithm_is_a_string_of_ours_or_the_token_is_refused() {
    for (alg, expected) in [
        (Value::Null, "header_invalid"),
        (json!(256), "header_invalid"),
        (json!(["ES256"]), "header_invalid"),
        (json!({ "name": "ES256" }), "header_invalid"),
        (json!(true), "header_invalid"),
        (json!("es256"), "algorithm_not_allowed"),
        (json!("ES256 "), "algorithm_not_allowed"),
        (json!("ES384"), "algorithm_not_allowed"),
        (json!("ES256K"), "algorithm_not_allowed"),
        (json!("HS256"), "algorithm_not_allowed"),
        (json!("HS512"), "algorithm_not_allowed"),
        (json!("RSA1_5"), "algorithm_not_allowed"),
        (json!("RS256"), "algorithm_mismatch"),
        (json!("EdDSA"), "algorithm_mismatch"),
        (json!("PS256"), "algorithm_mismatch"),
    ] {
        assert_eq!(code(&with_header("alg", alg.clone())), expected, "{alg}");
    }
}

#[test]
fn j16_critical_extensions_are_refused() {
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!(["http://example/unknown"])),
        ("crit", json!(["b64"])),
        ("crit", json!(["alg"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("crit", json!({})),
        ("crit", json!([null])),
        ("b64", json!(true)),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
    ] {
        let forged = with_header(name, value.clone());
        assert_eq!(code(&forged), "header_critical", "{name}: {value}");
        // The control: the ordinary verifier takes what says it must not be taken.
        if name == "crit" && value == json!(["http://example/unknown"]) {
            assert!(naive(&forged));
        }
    }
    // A null is present all the same.
    let null = br#"{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":null}"#;
    assert_eq!(code(&KEY.sign_bytes(null, claims().to_string().as_bytes())), "header_critical");
}

#[test]
fn j06_keys_in_the_header_are_neither_used_nor_fetched() {
    let canary = Canary::listen();
    let mallory = Key::generate("mallory");
    for (name, value) in [
        ("jwk", mallory.jwk()),
        ("jku", json!(canary.url("https"))),
        ("jku", json!(canary.url("http"))),
        ("x5u", json!(canary.url("http"))),
        ("x5c", json!(["MIIB"])),
        ("jku", json!("file:///etc/passwd")),
    ] {
        for kid in ["mallory", KID] {
            let head = with(with(header(), name, value.clone()), "kid", json!(kid));
            assert_eq!(code(&mallory.sign(&head, &claims())), "key_in_header", "{name} {kid}");
        }
    }
    // Thumbprints only name a key: the right one is still needed, and still found by `kid`.
    assert!(examine(&with_header("x5t", json!("abc"))).is_ok());
    assert_eq!(canary.connections(), 0);
}

#[test]
fn j10_only_an_access_token_is_an_access_token() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(examine(&with_header("typ", json!(typ))).is_ok(), "{typ}");
    }
    for typ in [
        "JWT",
        "jwt",
        "logout+jwt",
        "partywall-job+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "at+jwt ",
        "application/application/at+jwt",
        "x/at+jwt",
        "at+jwt;charset=utf-8",
        "",
    ] {
        let forged = with_header("typ", json!(typ));
        assert_eq!(code(&forged), "type_not_accepted", "{typ:?}");
        assert!(naive(&forged), "the control: the ordinary verifier never looks at typ");
    }
    let untyped = with_header("typ", Value::Null);
    assert_eq!(code(&untyped), "type_not_accepted");
    assert!(naive(&untyped));
    assert_eq!(code(&with_header("typ", json!(["at+jwt"]))), "header_invalid");
}

#[test]
fn j13_duplicate_header_parameters_are_refused() {
    let payload = claims().to_string();
    for head in [
        r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"k1"}"#,
        r#"{"alg":"ES256","alg":"none","typ":"at+jwt","kid":"k1"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"k2","k\u0069d":"k1"}"#,
    ] {
        let forged = KEY.sign_bytes(head.as_bytes(), payload.as_bytes());
        assert_eq!(code(&forged), "json_duplicate_name", "{head}");
    }
    // The control: the same header with each name once.
    let head = r#"{"alg":"ES256","typ":"at+jwt","k\u0069d":"k1"}"#;
    assert!(examine(&KEY.sign_bytes(head.as_bytes(), payload.as_bytes())).is_ok());
}

#[test]
fn j14_the_header_is_strict_json() {
    let payload = claims().to_string();
    for (head, expected) in [
        (&b"\xef\xbb\xbf{\"alg\":\"ES256\"}"[..], "json_invalid"),
        (b"{\"alg\":\"ES256\"}{}", "json_invalid"),
        (b"{\"alg\":\"ES256\",\"x\":\"\xff\"}", "json_invalid"),
        (b"{'alg':'ES256'}", "json_invalid"),
        (b"[\"ES256\"]", "json_not_an_object"),
        (b"null", "json_not_an_object"),
        (b"\"ES256\"", "json_not_an_object"),
    ] {
        assert_eq!(code(&KEY.sign_bytes(head, payload.as_bytes())), expected);
    }
    let long = with(header(), "x", json!("x".repeat(5000)));
    assert_eq!(code(&KEY.sign(&long, &json!({}))), "encoding_invalid");
}

/// A listener on this machine that counts who calls.
struct Canary {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Canary {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/jwks.json", self.address)
    }

    /// How many called, the canary itself being shown to count first.
    fn connections(&self) -> usize {
        let before = self.connections.load(Ordering::SeqCst);
        drop(std::net::TcpStream::connect(self.address).unwrap());
        while self.connections.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        self.connections.load(Ordering::SeqCst) - 1
    }
}
