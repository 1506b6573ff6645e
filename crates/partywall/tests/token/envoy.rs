//! Envoy's JWT filter's own cases, restated, from `shared/vectors` beside the workspace where
//! present.

use std::path::Path;

use partywall::{
    Timestamp,
    token::{IssuerConfig, Profile},
};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn b38_envoys_parse_cases() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let Ok(cases) = std::fs::read(Path::new(root).join("envoy/jwt_authn_cases.json")) else {
        eprintln!("SKIPPED: no shared/vectors/envoy beside the workspace");
        return;
    };
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    // The issuer of those tokens, with a key of ours: what parses fails at its key or signature.
    let mut config = IssuerConfig::new("https://example.com", Profile::Generic, inline(&[&KEY]));
    config.tenant = serde_json::from_value(json!({ "claim": "tid" })).ok();
    let issuers = compile(&[config]);
    let mut seen = 0;
    for case in cases["parse_cases"].as_array().unwrap() {
        let token = case["token"].as_str().unwrap();
        let code = issuers.examine(token, Timestamp(NOW)).unwrap_err().code();
        let expected: &[&str] = match case["envoy_status"].as_str().unwrap() {
            "JwtBadFormat" => &["token_not_compact"],
            "JwtHeaderParseError" | "JwtPayloadParseError" => &["json_invalid"],
            "JwtHeaderNoAlg" | "JwtHeaderBadAlg" | "JwtHeaderBadKid" => &["header_invalid"],
            "JwtHeaderNotImplementedAlg" => &["algorithm_not_allowed"],
            "JwtSignatureParseError" => &["encoding_invalid"],
            // It parses; no key fits it.
            "Ok (parse)" => &["key_id_missing"],
            other => panic!("unknown status {other}"),
        };
        assert!(expected.contains(&code), "{}: {code}", case["id"]);
        seen += 1;
    }
    assert_eq!(seen, 9);
}
