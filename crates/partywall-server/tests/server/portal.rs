//! The setup portal over HTTP: a link, a browser, and what somebody with it can and cannot do.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use axum::{body::Body, http::Request};
use base64ct::{Base64, Encoding};
use partywall::{TenantId, TenantStatus};
use partywall_saml::{Certificate, Signer};
use partywall_server::{ConnectionStatus, IdentityProvider, NewSetupLink};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    administration::Desk,
    name_server::NameServer,
    support::{Plane, Reply, TESTER},
};

const ORIGIN: &str = "https://id.test";
const HOUR: Duration = Duration::from_secs(3600);

/// Somebody's browser, with the portal's cookie if it has one.
struct Browser<'p> {
    plane: &'p Plane,
    cookie: Option<String>,
}

impl<'p> Browser<'p> {
    fn new(plane: &'p Plane) -> Self {
        Self { plane, cookie: None }
    }

    /// With a link opened.
    async fn with(plane: &'p Plane, link: &str) -> Self {
        let mut browser = Self::new(plane);
        let opened = browser.post(link, &[]).await;
        assert_eq!((opened.status.as_u16(), opened.header("location")), (303, SETUP));
        browser
    }

    async fn get(&self, address: &str) -> Reply {
        let request = Request::get(path_of(address)).header("cookie", self.cookies());
        self.plane.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&mut self, address: &str, form: &[(&str, &str)]) -> Reply {
        let reply = self.post_from(ORIGIN, address, form).await;
        let set = reply.header("set-cookie");
        if let Some(cookie) = set.split(';').next().filter(|cookie| !cookie.is_empty()) {
            assert!(set.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
            self.cookie = Some(cookie.to_owned());
        }
        reply
    }

    async fn post_from(&self, origin: &str, address: &str, form: &[(&str, &str)]) -> Reply {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = Request::post(path_of(address))
            .header("cookie", self.cookies())
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded");
        self.plane.send(request.body(Body::from(body.finish())).unwrap()).await
    }

    fn cookies(&self) -> String {
        self.cookie.clone().unwrap_or_default()
    }

    /// The page that is there.
    async fn page(&self, address: &str) -> String {
        let reply = self.get(address).await;
        assert_eq!(reply.status, 200, "{address}: {}", reply.text());
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert!(!reply.text().contains("<script"), "a page of the portal has no script");
        reply.text()
    }

    async fn does(&mut self, address: &str, form: &[(&str, &str)]) {
        let reply = self.post(address, form).await;
        assert_eq!(reply.status, 303, "{address}: {}", reply.text());
    }
}

const SETUP: &str = "https://id.test/idp/setup";

fn path_of(address: &str) -> &str {
    address.strip_prefix(ORIGIN).unwrap_or(address)
}

async fn link(plane: &Plane, tenant: &TenantId, new: Value) -> String {
    let new: NewSetupLink = serde_json::from_value(new).unwrap();
    let made = plane.control.create_setup_link(&TESTER, tenant, new).await.unwrap();
    made.url.expose().clone()
}

fn at(page: &str) -> String {
    format!("{SETUP}{page}")
}

/// A provider's metadata, and the fingerprint of its certificate.
fn metadata(entity_id: &str) -> (String, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let signer = Signer::from_pkcs8(pair.as_der().unwrap().as_ref()).unwrap();
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let certificate: Certificate = signer.certificate("<b>idp</b>", from, from + HOUR).unwrap();
    let der = Base64::encode_string(certificate.der());
    let xml = format!(
        r#"<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity_id}">
<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>
<ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.test/sso"/>
</md:IDPSSODescriptor></md:EntityDescriptor>"#
    );
    (xml, certificate.fingerprint_text())
}

/// What the confirming form of a page would send.
fn shown(page: &str) -> String {
    let (_, rest) = page.split_once(r#"name="shown" value=""#).expect("a form that confirms");
    rest.split('"').next().unwrap().to_owned()
}

/// A link sets up what decides who is who, and a SCIM token provisions it.
#[tokio::test]
async fn i33_p03_a_link_is_made_by_who_showed_lately_who_they_are() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let desk = Desk::of(&plane, acme.id()).await;
    let sso = json!({ "intent": "sso" });
    let made = desk.done("POST", "/setup-links", sso.clone()).await;
    plane.advance(Duration::from_secs(299));
    desk.done("POST", "/setup-links", sso.clone()).await;
    plane.advance(Duration::from_secs(2));
    assert_eq!(desk.ask("POST", "/setup-links", sso).await.0, 401);
    let tokens = format!("/connections/{}/scim-tokens", made["connection"].as_str().unwrap());
    let year = json!({ "lasts_seconds": 3600 });
    assert_eq!(desk.ask("POST", &tokens, year).await.0, 401);
    // Taking one back is never too late.
    let own = format!("/setup-links/{}", made["id"].as_str().unwrap());
    assert_eq!(desk.ask("DELETE", &own, Value::Null).await.0, 204);
}

#[tokio::test]
async fn i34_a_link_is_opened_once_and_lasts_as_long_as_it_says() {
    let plane = Plane::new().await;
    let (acme, bond) = (plane.tenant("acme").await, plane.tenant("bond").await);
    let desk = Desk::of(&plane, acme.id()).await;
    let made = desk.done("POST", "/setup-links", json!({ "intent": "sso" })).await;
    let url = made["setup_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://id.test/idp/setup/link/"));
    assert_eq!(url.rsplit('.').next().unwrap().len(), 43, "256 bits");
    // Never again.
    assert_eq!(desk.ask("GET", "/setup-links", Value::Null).await.0, 405);
    let own = format!("/setup-links/{}", made["id"].as_str().unwrap());
    assert_eq!(desk.ask("GET", &own, Value::Null).await.0, 405);
    for life in [0, 72 * 3600 + 1] {
        let new = json!({ "intent": "sso", "lasts_seconds": life });
        assert_eq!(desk.ask("POST", "/setup-links", new).await.0, 422, "{life}");
    }

    let mut browser = Browser::new(&plane);
    // Looking opens nothing, however many look.
    for _ in 0..3 {
        assert!(browser.page(&url).await.contains("acme"));
    }
    assert_eq!(browser.post_from("https://evil.test", &url, &[]).await.status, 403);
    let elsewhere = url.replace(acme.id().as_str(), bond.id().as_str());
    let shorter = &url[..url.len() - 1];
    for wrong in [elsewhere.as_str(), shorter, &format!("{url}x"), &format!("{url}.x")] {
        assert_eq!(browser.get(wrong).await.status, 404, "{wrong}");
        assert_eq!(browser.post_from(ORIGIN, wrong, &[]).await.status, 404, "{wrong}");
    }
    assert_eq!(browser.get(SETUP).await.status, 404, "not yet");
    browser.does(&url, &[]).await;
    browser.page(SETUP).await;
    // Once, and in that browser.
    let mut another = Browser::new(&plane);
    assert_eq!(another.get(&url).await.status, 404);
    assert_eq!(another.post(&url, &[]).await.status, 404);
    assert_eq!(another.get(SETUP).await.status, 404);
    let secret = url.rsplit('.').next().unwrap();
    let (before, _) =
        browser.cookies().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    another.cookie = Some(format!("{before}.{secret}"));
    assert_eq!(another.get(SETUP).await.status, 404, "the link's secret is no session");
    plane.advance(8 * HOUR - Duration::from_secs(1));
    browser.page(SETUP).await;
    plane.advance(Duration::from_secs(1));
    assert_eq!(browser.get(SETUP).await.status, 404, "eight hours");

    let late = link(&plane, acme.id(), json!({ "intent": "sso", "lasts_seconds": 60 })).await;
    plane.advance(Duration::from_secs(60));
    assert_eq!(Browser::new(&plane).post(&late, &[]).await.status, 404, "it has run out");
}

#[tokio::test]
async fn i34_of_many_who_open_a_link_one_does() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let browser = Browser::new(&plane);
    let opening = || browser.post_from(ORIGIN, &url, &[]);
    let (a, b, c, d, e, f) =
        tokio::join!(opening(), opening(), opening(), opening(), opening(), opening());
    let opened = [a, b, c, d, e, f].iter().filter(|reply| reply.status == 303).count();
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn i34_a_link_that_is_taken_back_ends_what_it_opened() {
    let plane = Plane::new().await;
    let (acme, bond) = (plane.tenant("acme").await, plane.tenant("bond").await);
    let (ours, theirs) = (Desk::of(&plane, acme.id()).await, Desk::of(&plane, bond.id()).await);
    let made = ours.done("POST", "/setup-links", json!({ "intent": "sso" })).await;
    let own = format!("/setup-links/{}", made["id"].as_str().unwrap());
    let mut browser = Browser::with(&plane, made["setup_url"].as_str().unwrap()).await;
    assert_eq!(theirs.ask("DELETE", &own, Value::Null).await.0, 404);
    browser.page(SETUP).await;
    ours.done("DELETE", &own, Value::Null).await;
    assert_eq!(browser.get(SETUP).await.status, 404);
    assert_eq!(browser.post(SETUP, &[("do", "activate")]).await.status, 404);
    // Leaving is the same, by oneself; and a tenant that is not served has nothing set up.
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    browser.does(SETUP, &[("do", "leave")]).await;
    assert_eq!(browser.get(SETUP).await.status, 404);
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let browser = Browser::with(&plane, &url).await;
    plane.control.set_status(&TESTER, acme.id(), TenantStatus::Suspended).await.unwrap();
    assert_eq!(browser.get(SETUP).await.status, 404);
}

#[tokio::test]
async fn i33_a_provider_is_trusted_once_it_was_looked_at() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    let choice = browser.page(&at("/provider")).await;
    assert!(
        choice.contains("/setup/provider/entra") && choice.contains("/setup/provider/okta-oidc")
    );
    let steps = browser.page(&at("/provider/entra")).await;
    let (_, rest) = steps.split_once("https://id.test/idp/federation/").unwrap();
    let id = rest.split('/').nth(1).unwrap().to_owned();
    assert!(steps.contains(&format!("/federation/{}/{id}/acs", acme.id())), "{steps}");

    let (xml, fingerprint) = metadata("https://idp.test/&lt;script&gt;");
    browser.does(&at("/provider/entra"), &[("metadata", &xml)]).await;
    let connection = async || {
        let id = id.parse().unwrap();
        plane.control.connection(acme.id(), &id).await.unwrap()
    };
    assert!(connection().await.is_none(), "nothing is trusted yet");
    let page = browser.page(&at("/trust")).await;
    assert!(page.contains(&fingerprint) && page.contains("https://idp.test/sso"), "{page}");
    assert!(!page.contains("<b>idp") && !page.contains("<script"), "what it sent is escaped");
    let digest = shown(&page);
    // What another tab has put there meanwhile was not what was shown.
    let (other, _) = metadata("https://idp.test/other");
    browser.does(&at("/provider/entra"), &[("metadata", &other)]).await;
    let stale = browser.post(&at("/trust"), &[("shown", &digest)]).await;
    assert_eq!(stale.status, 409);
    assert!(connection().await.is_none());
    browser.does(&at("/provider/entra"), &[("metadata", &xml)]).await;
    assert_eq!(
        browser.post_from("https://evil.test", &at("/trust"), &[("shown", &digest)]).await.status,
        403
    );
    browser.does(&at("/trust"), &[("shown", &digest)]).await;
    let made = connection().await.unwrap();
    assert_eq!((made.status, made.name.as_str()), (ConnectionStatus::Draft, "Microsoft Entra ID"));
    let IdentityProvider::Saml(saml) = &made.provider else { panic!("{made:?}") };
    assert_eq!(saml.entity_id, "https://idp.test/<script>");
    assert_eq!(browser.post(&at("/trust"), &[("shown", &digest)]).await.status, 409, "once");
    // One that speaks SAML does not become one that speaks something else.
    assert!(!browser.page(&at("/provider")).await.contains("okta-oidc"));

    browser.does(SETUP, &[("do", "activate")]).await;
    assert_eq!(connection().await.unwrap().status, ConnectionStatus::Active);
    let trail = plane.control.audit_trail(acme.id(), 10).await.unwrap();
    let by_link: Vec<&str> = trail
        .iter()
        .filter(|event| event.actor_kind == "setup_link")
        .map(|event| event.action.as_str())
        .collect();
    assert_eq!(by_link, ["connection.update", "connection.create"]);
}

#[tokio::test]
async fn i04_what_people_sign_in_by_is_changed_with_a_new_link() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    let confirm = async |browser: &mut Browser<'_>, xml: &str| {
        browser.does(&at("/provider/saml"), &[("metadata", xml)]).await;
        let digest = shown(&browser.page(&at("/trust")).await);
        (browser.post(&at("/trust"), &[("shown", &digest)]).await.status.as_u16(), digest)
    };
    let (first, _) = metadata("https://idp.test/one");
    assert_eq!(confirm(&mut browser, &first).await.0, 303);
    browser.does(SETUP, &[("do", "activate")]).await;
    let id = {
        let all = plane.control.list_connections(acme.id(), None, 10).await.unwrap();
        all[0].id.clone()
    };
    // Within a quarter of an hour, and not later.
    let (second, fingerprint) = metadata("https://idp.test/one");
    assert_eq!(confirm(&mut browser, &second).await.0, 303);
    plane.advance(Duration::from_secs(15 * 60));
    browser.does(&at("/provider/saml"), &[("metadata", &first)]).await;
    let page = browser.page(&at("/trust")).await;
    assert!(page.contains("new link") && !page.contains(r#"name="shown""#), "{page}");
    assert!(page.contains("Goes") && page.contains("New") && page.contains("Stays"), "{page}");
    // By a form of an earlier page.
    let fresh = link(&plane, acme.id(), json!({ "intent": "sso", "connection": id })).await;
    let mut again = Browser::with(&plane, &fresh).await;
    again.does(&at("/provider/saml"), &[("metadata", &first)]).await;
    let digest = shown(&again.page(&at("/trust")).await);
    let late = browser.post(&at("/trust"), &[("shown", &digest)]).await;
    assert_eq!(late.status, 403);
    let trusted = || async {
        let found = plane.control.connection(acme.id(), &id).await.unwrap().unwrap();
        let IdentityProvider::Saml(saml) = found.provider else { panic!() };
        Certificate::from_text(&saml.certificates[0]).unwrap().fingerprint_text()
    };
    assert_eq!(trusted().await, fingerprint, "nothing was changed");
    again.does(&at("/trust"), &[("shown", &digest)]).await;
    assert_ne!(trusted().await, fingerprint, "the control");
}

#[tokio::test]
async fn i34_a_link_does_what_it_is_for_and_for_its_tenant() {
    let dns = NameServer::start().await;
    let servers = vec![dns.address()];
    let plane = Plane::with(|config| config.dns_servers = servers).await;
    let (acme, bond) = (plane.tenant("acme").await, plane.tenant("bond").await);
    let url = link(&plane, acme.id(), json!({ "intent": "domain" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    assert_eq!(browser.get(SETUP).await.header("location"), at("/domains"));
    for page in ["/provider", "/provider/saml", "/trust", "/activity"] {
        assert_eq!(browser.get(&at(page)).await.status, 404, "{page}");
    }
    assert_eq!(browser.post(SETUP, &[("do", "activate")]).await.status, 400);
    let (xml, _) = metadata("https://idp.test/one");
    let refused = browser.post(&at("/provider/saml"), &[("metadata", &xml)]).await;
    assert_eq!(refused.status, 404);

    let of_bond =
        plane.control.claim_domain(&TESTER, bond.id(), "bond.test".parse().unwrap(), None);
    of_bond.await.unwrap();
    browser.does(&at("/domains"), &[("do", "claim"), ("domain", "Acme.test")]).await;
    let page = browser.page(&at("/domains")).await;
    assert!(page.contains("_partywall-challenge.acme.test") && !page.contains("bond"), "{page}");
    for (form, status) in [
        (vec![("do", "claim"), ("domain", "gmail.com")], 400),
        (vec![("do", "claim"), ("domain", "<script>")], 400),
        (vec![("do", "check"), ("domain", "bond.test")], 400),
        (vec![("do", "remove"), ("domain", "bond.test")], 400),
        (vec![("do", "lead_here"), ("domain", "acme.test")], 404),
        (vec![("do", "anything"), ("domain", "acme.test")], 400),
    ] {
        let reply = browser.post(&at("/domains"), &form).await;
        assert_eq!(reply.status, status, "{form:?}: {}", reply.text());
        assert!(!reply.text().contains("<script"));
    }
    let claim =
        plane.control.domain(acme.id(), &"acme.test".parse().unwrap()).await.unwrap().unwrap();
    dns.publish(&claim.record_name(), &[&claim.record_value()]);
    browser.does(&at("/domains"), &[("do", "check"), ("domain", "acme.test")]).await;
    assert!(browser.page(&at("/domains")).await.contains("Proved."));
    // What is proved, an administrator gives up.
    let kept = browser.post(&at("/domains"), &[("do", "remove"), ("domain", "acme.test")]).await;
    assert_eq!(kept.status, 409);
}

#[tokio::test]
async fn s06_what_is_pasted_is_bounded_and_told_to_nobody_else() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    let (xml, _) = metadata("https://idp.test/one");
    let padded = xml
        .replace("<md:IDPSSODescriptor", &format!("{}<md:IDPSSODescriptor", " ".repeat(100_000)));
    browser.does(&at("/provider/saml"), &[("metadata", &padded)]).await;
    for (metadata, url) in [
        ("", ""),
        ("<not metadata>", ""),
        ("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", ""),
        (xml.as_str(), "https://idp.test/metadata"),
        ("", "file:///etc/passwd"),
        ("", "http://169.254.169.254/latest/meta-data"),
        ("", "https://127.0.0.1/metadata"),
    ] {
        let form = [("metadata", metadata), ("url", url)];
        let reply = browser.post(&at("/provider/saml"), &form).await;
        assert_eq!(reply.status, 400, "{metadata} {url}");
        assert!(reply.text().contains(r#"role="alert""#) && !reply.text().contains("root:"));
    }
    let large = "x".repeat(800 * 1024);
    let refused = browser.post(&at("/provider/saml"), &[("metadata", &large)]).await;
    assert_eq!(refused.status, 413);
}

#[tokio::test]
async fn i33_an_oidc_provider_is_trusted_with_its_secret() {
    let plane = Plane::new().await;
    let acme = plane.tenant("acme").await;
    let url = link(&plane, acme.id(), json!({ "intent": "sso" })).await;
    let mut browser = Browser::with(&plane, &url).await;
    assert!(browser.page(&at("/provider/okta-oidc")).await.contains("/callback"));
    let form = [("issuer", "https://acme.okta.test"), ("client_id", "us")];
    browser.does(&at("/provider/okta-oidc"), &form).await;
    let page = browser.page(&at("/trust")).await;
    assert!(page.contains("https://acme.okta.test") && page.contains("client_secret"), "{page}");
    let digest = shown(&page);
    let without = browser.post(&at("/trust"), &[("shown", &digest)]).await;
    assert_eq!(without.status, 400, "{}", without.text());
    let secret = "s3cret-of-okta";
    browser.does(&at("/trust"), &[("shown", &digest), ("client_secret", secret)]).await;
    let all = plane.control.list_connections(acme.id(), None, 10).await.unwrap();
    assert_eq!((all.len(), all[0].name.as_str()), (1, "Okta"));
    for page in ["", "/provider", "/provider/okta-oidc", "/activity"] {
        assert!(!browser.page(&at(page)).await.contains(secret));
    }
}
