//! SAML responses: any bytes, and a signed one with bytes put into it.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use libfuzzer_sys::fuzz_target;
use partywall_saml::{Certificate, Connection, Expected, Settings};

/// Alice's, signed, with a key nobody has kept.
const RESPONSE: &str = include_str!("../../crates/partywall-cli/tests/cli/saml/response.xml");
const CERTIFICATE: &str = include_str!("../../crates/partywall-cli/tests/cli/saml/idp.pem");

static CONNECTION: LazyLock<Connection> = LazyLock::new(|| {
    Connection::new(Settings {
        sp_entity_id: "https://acme.partywall.example/saml".to_owned(),
        acs_url: "https://acme.partywall.example/saml/acs".to_owned(),
        idp_entity_id: "https://idp.acme.example/".to_owned(),
        certificates: vec![Certificate::from_text(CERTIFICATE).expect("a certificate")],
        idp_initiated: false,
        decryption_keys: Vec::new(),
        allow_cbc: false,
    })
    .expect("a connection")
});

fuzz_target!(|data: &[u8]| {
    // 2026-11-25T12:00:00Z.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_608_000);
    let expected = Expected { request_id: Some("_request"), now };
    let verify = |response: &[u8]| {
        if let Ok(assertion) = CONNECTION.verify(response, &expected) {
            assert_eq!(assertion.name_id().value, "alice");
            assert_eq!(assertion.id(), "_a");
        }
    };
    verify(data);
    // Two bytes say behind which tag, two how many tags it stands for: canonicalization is reached
    // with whatever is put into the assertion.
    let [a, b, c, d, inserted @ ..] = data else { return };
    let pieces: Vec<&str> = RESPONSE.split_inclusive('>').collect();
    let at = usize::from(u16::from_be_bytes([*a, *b])) % (pieces.len() + 1);
    let end = (at + usize::from(u16::from_be_bytes([*c, *d])) % 8).min(pieces.len());
    let response =
        [pieces[..at].concat().as_bytes(), inserted, pieces[end..].concat().as_bytes()].concat();
    verify(&response);
});
