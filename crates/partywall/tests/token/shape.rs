//! What is refused before anything is read: size, form, encoding.

use std::time::{Duration, Instant};

use partywall::{
    AccessToken,
    token::{MAX_TOKEN_LEN, TokenError},
};
use serde_json::json;

use crate::support::*;

#[test]
fn j05_only_three_dotted_parts_are_a_token() {
    assert!(examine(&token()).is_ok(), "the control");
    let [head, payload, signature] = parts(&token());
    for form in [
        String::new(),
        ".".into(),
        "..".into(),
        head.clone(),
        format!("{head}.{payload}"),
        format!("{head}.{payload}.{signature}.x"),
        format!("{head}.{payload}.{signature}.x.y.z"),
    ] {
        let code = code(&form);
        assert!(matches!(code, "token_not_compact" | "encoding_invalid"), "{form}: {code}");
    }
}

#[test]
fn j05_json_serialisation_and_polyglots_are_refused() {
    let [head, payload, signature] = parts(&token());
    let flattened =
        json!({ "protected": head, "payload": payload, "signature": signature }).to_string();
    let general = json!({
        "payload": payload, "signatures": [{ "protected": head, "signature": signature }],
    });
    // RFC 8725bis 3.15: a compact token hidden in JSON, and JSON hidden in a compact token.
    let polyglot = format!(r#"{{"x":"{}","protected":"{head}"}}"#, token());
    for form in [flattened, general.to_string(), polyglot, format!("\"{}\"", token())] {
        assert!(matches!(code(&form), "token_not_compact" | "encoding_invalid"), "{form}");
    }
}

#[test]
fn j05_base64url_has_one_spelling() {
    let honest = token();
    let [head, payload, signature] = parts(&honest);
    for (attack, forged) in [
        ("padding", format!("{head}=.{payload}.{signature}")),
        ("padding at the end", format!("{honest}==")),
        ("a space", format!("{head}.{payload} .{signature}")),
        ("a space before", format!(" {honest}")),
        ("a line break", format!("{honest}\n")),
        ("standard alphabet", honest.replacen('.', "+.", 1)),
        ("a NUL", format!("{honest}\0")),
        ("not ASCII", format!("{head}.{payload}.é{signature}")),
        ("one character too many", format!("{honest}AAA")),
        ("an empty header", format!(".{payload}.{signature}")),
        ("an empty payload", format!("{head}..{signature}")),
        ("an empty signature", format!("{head}.{payload}.")),
    ] {
        assert_eq!(code(&forged), "encoding_invalid", "{attack}");
    }
    // The signature has 64 bytes, so that its last character has four unused bits: 15 aliases.
    let last = signature.chars().last().unwrap();
    let aliases = alphabet().filter(|c| *c != last).map(|c| {
        let head_of_signature = &signature[..signature.len() - 1];
        format!("{head}.{payload}.{head_of_signature}{c}")
    });
    for alias in aliases {
        assert!(matches!(code(&alias), "encoding_invalid" | "signature_invalid"));
    }
}

#[test]
fn j03_an_encrypted_token_is_refused_unread() {
    // A bomb of 16 KiB that asks for decompression, and one that asks for 2^31 rounds of PBKDF2.
    for header in [
        json!({ "alg": "dir", "enc": "A256GCM", "zip": "DEF" }),
        json!({ "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2_147_483_647_u32 }),
        json!({ "alg": "RSA1_5", "enc": "A128CBC-HS256" }),
    ] {
        let header = base64url(header.to_string().as_bytes());
        let room = (MAX_TOKEN_LEN - header.len() - 10) / 4 * 4;
        let bomb = format!("{header}.AA.AA.{}.AA", "A".repeat(room - 8));
        assert!(bomb.len() <= MAX_TOKEN_LEN);
        assert_eq!(code(&bomb), "token_encrypted");
        assert!(fastest(|| drop(examine(&bomb))) < Duration::from_millis(1));
    }
}

#[test]
fn j14_size_comes_first() {
    let huge = "A".repeat(MAX_TOKEN_LEN + 1);
    assert_eq!(code(&huge), "token_too_large");
    let gigantic = "a.b.c".repeat(10_000_000);
    assert_eq!(code(&gigantic), "token_too_large");
    assert!(fastest(|| drop(examine(&gigantic))) < Duration::from_millis(1));
    let carried = format!("Bearer {gigantic}");
    let refused = AccessToken::from_header(carried.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), "token_too_large");

    // The control: a token of nearly that size is read, signature and all.
    let padding = "x".repeat(11_900);
    let large = with_claim("padding", json!(padding));
    assert!(large.len() > 16_000 && large.len() <= MAX_TOKEN_LEN, "{}", large.len());
    assert!(examine(&large).is_ok());
}

#[test]
fn j14_a_hostile_payload_costs_less_than_a_millisecond() {
    let deep = format!(r#"{{"iss":{}"#, "[".repeat(11_000));
    let wide = format!(r#"{{"iss":[{}0]}}"#, "0,".repeat(5_000));
    let names: String = (0..900).map(|n| format!(r#""n{n:04}":0,"#)).collect();
    let names = format!("{{{names}\"iss\":\"x\"}}");
    let objects = format!(r#"{{"iss":[{}0]}}"#, "{},".repeat(3_900));
    for payload in [deep, wide, names, objects] {
        let forged = KEY.sign_bytes(header().to_string().as_bytes(), payload.as_bytes());
        assert!(forged.len() <= MAX_TOKEN_LEN, "{}", forged.len());
        assert!(examine(&forged).is_err());
        // Two of them, the optimiser being off here.
        assert!(fastest(|| drop(examine(&forged))) < Duration::from_millis(2));
    }
}

#[test]
fn o23_the_header_has_one_bearer_token_or_none() {
    let accept = |value: &str| AccessToken::from_header(value.as_bytes()).map(|_| ());
    for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c", "bEaReR a.b.c=="] {
        assert!(accept(good).is_ok(), "{good}");
    }
    for other in ["", "Basic YTpi", "Bearish a.b.c", "Bearer2 a.b.c", "DPoP a.b.c", "a.b.c"] {
        assert_eq!(accept(other).unwrap_err(), TokenError::Missing, "{other:?}");
    }
    for malformed in [
        "Bearer",
        "Bearer ",
        "Bearer    ",
        "Bearer\ta.b.c",
        "Bearer a.b.c d.e.f",
        "Bearer a.b.c,d.e.f",
        "Bearer a.b.c, Bearer d.e.f",
        "Bearer \"a.b.c\"",
        "Bearer a.b.c;",
        "Bearer a.b\u{e9}.c",
        "Bearer =a",
        "Bearer a=b",
        "Bearer a.b.c\r\nX: y",
    ] {
        let code = accept(malformed).map_err(|error| error.code());
        assert_eq!(code, Err("authorization_malformed"), "{malformed:?}");
    }
    assert_eq!(
        AccessToken::from_header(b"Bearer \xff").map(|_| ()).unwrap_err().code(),
        "authorization_malformed"
    );
}

/// The shortest of several runs: what it costs when nothing else is running.
fn fastest(run: impl Fn()) -> Duration {
    let runs = (0..20).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    runs.min().unwrap()
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn alphabet() -> impl Iterator<Item = char> {
    ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_'])
}
