//! Chromium at the setup portal, with npm `samlp` as the tenant's provider: a link, metadata, a test
//! sign-in, a domain, and it is on. With scripts and without.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use base64ct::{Base64, Encoding};
use partywall::{Clock, SystemClock};
use partywall_saml::Signer;
use serde_json::json;

use super::{
    name_server::NameServer,
    parts,
    scene::{Scene, TESTER},
};

#[tokio::test(flavor = "multi_thread")]
async fn i33_somebody_sets_single_sign_on_up_in_a_browser() {
    let Some(chromium) = parts::chromium() else { return };
    let dns = NameServer::start().await;
    let servers = vec![dns.address()];
    let scene = Scene::start_as("localhost", |config| {
        config.dns_servers = servers;
        // The provider is on this machine.
        config.call_private_addresses = true;
    })
    .await;
    let (mut links, mut domains) = (Vec::new(), Vec::new());
    for domain in ["people.test", "persons.test"] {
        let new = serde_json::from_value(json!({ "intent": "sso" })).unwrap();
        let made = scene.control.create_setup_link(&TESTER, &scene.tenant, new).await.unwrap();
        links.push(made.url.expose().clone());
        let name = domain.parse().unwrap();
        let claim = scene.control.claim_domain(&TESTER, &scene.tenant, name, None).await.unwrap();
        dns.publish(&claim.record_name(), &[&claim.record_value()]);
        domains.push(domain);
    }
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = pair.as_der().unwrap();
    let signer = Signer::from_pkcs8(der.as_ref()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(SystemClock::default().now().0);
    let certificate = signer.certificate("idp", now, now + Duration::from_secs(3600)).unwrap();
    let judged = scene.judged(json!({
        "chromium": chromium, "links": links, "domains": domains,
        "key": Base64::encode_string(der.as_ref()),
        "certificate": Base64::encode_string(certificate.der()),
        "fingerprint": certificate.fingerprint_text(),
    }));
    parts::node("portal.mjs", &judged).await;
    scene.stop().await;
}
