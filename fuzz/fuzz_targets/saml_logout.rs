//! Logout messages nobody signed, in a query and in a form.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use libfuzzer_sys::fuzz_target;
use partywall_saml::{Certificate, Connection, ExpectedLogout, Received, Settings};

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
    let expected = ExpectedLogout {
        slo_url: "https://acme.partywall.example/saml/slo",
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_608_000),
    };
    let mut received = vec![Received::Post(data)];
    received.extend(std::str::from_utf8(data).ok().map(Received::Redirect));
    for received in received {
        assert!(CONNECTION.verify_logout_request(&received, &expected).is_err());
        assert!(CONNECTION.verify_logout_response(&received, &expected, "_request").is_err());
    }
});
