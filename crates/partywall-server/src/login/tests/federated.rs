//! Sign-ins with tenants' own providers: here SAML ones that the tests play, with real signatures.

use std::{io::Read, time::Duration};

use axum::http::StatusCode;
use base64ct::{Base64, Encoding};
use partywall::{Clock, TenantId, Timestamp};
use partywall_saml::{LogoutRequest, LogoutResponse, LogoutStatus, NameId, Signer};
use url::Url;

use super::*;
use crate::{
    Connection, ConnectionPatch, ConnectionStatus, IdentityProvider, NewConnection, SamlProvider,
    control::Domain,
    federation::address::Addresses,
    provider::testing::TESTER,
    storage::{connections, domains},
};

mod attacks;
mod trials;

#[path = "../../../../partywall-saml/tests/saml/support.rs"]
#[expect(dead_code, reason = "the crate's own tests need more of it")]
mod saml;

/// A tenant's provider, and the connection it is registered as.
struct Idp {
    signer: saml::Idp,
    entity_id: String,
}

/// What a browser was sent to the provider with.
#[derive(Default)]
struct Sent {
    request: String,
    relay_state: String,
    /// All of the request.
    xml: String,
}

/// Somebody, as a provider describes them.
#[derive(Clone)]
struct Person {
    name_id: String,
    email: Option<&'static str>,
    groups: Vec<&'static str>,
    /// How long ago they showed the provider who they are.
    shown: Duration,
}

fn person(name_id: &str, email: &'static str) -> Person {
    Person {
        name_id: name_id.to_owned(),
        email: Some(email),
        groups: vec!["staff"],
        shown: Duration::ZERO,
    }
}

impl Idp {
    fn new(entity_id: &str) -> Self {
        Self { signer: saml::Idp::p256(), entity_id: entity_id.to_owned() }
    }

    /// Registers it with a tenant, by these rules, and activates it.
    async fn registered(
        &self,
        scene: &Scene,
        tenant: &TenantId,
        rules: serde_json::Value,
    ) -> Connection {
        let provider = IdentityProvider::Saml(SamlProvider {
            entity_id: self.entity_id.clone(),
            sso_redirect: Some("https://idp.test/sso?a=b".to_owned()),
            certificates: vec![Base64::encode_string(&self.signer.certificate)],
            ..SamlProvider::default()
        });
        let new = NewConnection {
            name: "Acme's own".to_owned(),
            provider,
            rules: serde_json::from_value(rules).unwrap(),
            client_secret: None,
        };
        let made = scene.control.create_connection(&TESTER, tenant, new).await.unwrap();
        set_status(scene, &made, ConnectionStatus::Active).await
    }

    /// A response of this provider's about somebody, for a connection of ours.
    fn response(&self, scene: &Scene, to: &Connection, sent: &Sent, who: &Person) -> String {
        let addresses = Addresses::of(&scene.control, to);
        let in_response_to = match sent.request.as_str() {
            "" => String::new(),
            request => format!(r#" InResponseTo="{request}""#),
        };
        let (now, later) = (instant(scene.clock.now()), instant(scene.clock.now() + MINUTE));
        let id = crate::random::opaque_id(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let values = |values: &[&str]| -> String {
            let value = |value| format!("<saml:AttributeValue>{value}</saml:AttributeValue>");
            values.iter().map(value).collect()
        };
        let attribute = |name: &str, of: &[&str]| {
            format!(r#"<saml:Attribute Name="{name}">{}</saml:Attribute>"#, values(of))
        };
        let attributes: String = [
            who.email.map(|email| attribute("mail", &[email])),
            Some(attribute("groups", &who.groups)),
            Some(attribute("tid", &["bond"])),
            Some(attribute("roles", &["tenant-admin"])),
        ]
        .into_iter()
        .flatten()
        .collect();
        let assertion = format!(
            concat!(
                r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_{id}" IssueInstant="{now}" Version="2.0">"#,
                r#"<saml:Issuer>{issuer}</saml:Issuer>{{signature}}<saml:Subject>"#,
                r#"<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{name_id}</saml:NameID>"#,
                r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">"#,
                r#"<saml:SubjectConfirmationData{in_response_to} NotOnOrAfter="{later}" Recipient="{acs}"></saml:SubjectConfirmationData>"#,
                r#"</saml:SubjectConfirmation></saml:Subject>"#,
                r#"<saml:Conditions NotBefore="{now}" NotOnOrAfter="{later}"><saml:AudienceRestriction>"#,
                r#"<saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>"#,
                r#"<saml:AuthnStatement AuthnInstant="{shown}" SessionIndex="_s"><saml:AuthnContext>"#,
                r#"<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef>"#,
                r#"</saml:AuthnContext></saml:AuthnStatement>"#,
                r#"<saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"#,
            ),
            id = id,
            now = now,
            shown = instant(scene.clock.now() - who.shown),
            issuer = self.entity_id,
            name_id = who.name_id,
            in_response_to = in_response_to,
            later = later,
            acs = addresses.acs(),
            audience = addresses.metadata(),
            attributes = attributes,
        );
        let signing = saml::Signing::with(
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            "http://www.w3.org/2001/04/xmlenc#sha256",
        );
        let assertion = self.signer.sign_as(&assertion, &signing);
        let response = format!(
            concat!(
                r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="{acs}" ID="_r{id}"{in_response_to} IssueInstant="{now}" Version="2.0">"#,
                r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer>"#,
                r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status>"#,
                r#"{assertion}</samlp:Response>"#,
            ),
            acs = addresses.acs(),
            id = id,
            in_response_to = in_response_to,
            now = now,
            issuer = self.entity_id,
            assertion = assertion,
        );
        Base64::encode_string(response.as_bytes())
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn instant(at: Timestamp) -> String {
    let days = i64::try_from(at.0 / 86400).unwrap();
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (at.0 % 86400 / 3600, at.0 % 3600 / 60, at.0 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

async fn set_status(scene: &Scene, of: &Connection, status: ConnectionStatus) -> Connection {
    let patch = ConnectionPatch { status: Some(status), ..ConnectionPatch::default() };
    let (control, tenant) = (&scene.control, &of.tenant);
    control.update_connection(&TESTER, tenant, &of.id, patch, |_| true).await.unwrap()
}

/// Says that DNS said so.
async fn proves(scene: &Scene, connection: &Connection, domain: &str) {
    let domain = Domain {
        tenant: connection.tenant.clone(),
        name: domain.parse().unwrap(),
        token: "t".to_owned(),
        connection: Some(connection.id.clone()),
        verified_at: Some(scene.clock.now()),
        checked_at: None,
        seen: None,
        due_at: None,
        failing_since: None,
        created_at: scene.clock.now(),
        version: 1,
    };
    domains::insert(scene.control.inner.db.reader(), &domain).await.unwrap();
}

/// Where a page sends the browser, and what it says there.
fn sent(page: &Page) -> Sent {
    let from = page.body.find("content=\"0; url=").expect("sends nobody away") + 16;
    let address = page.body[from..].split('"').next().unwrap().replace("&#38;", "&");
    let address = Url::parse(&address.replace("&amp;", "&")).unwrap();
    assert_eq!(address.host_str(), Some("idp.test"));
    let of = |name: &str| {
        let found = address.query_pairs().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("no {name}: {address}")).1.into_owned()
    };
    let deflated = Base64::decode_vec(&of("SAMLRequest")).unwrap();
    let mut xml = String::new();
    flate2::read::DeflateDecoder::new(&*deflated).read_to_string(&mut xml).unwrap();
    let request = xml.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(!of("Signature").is_empty());
    Sent { request, relay_state: of("RelayState"), xml }
}

impl Surfer {
    /// Types an address; is sent to the provider.
    async fn leaves(
        &mut self,
        scene: &Scene,
        email: &str,
        more: &[(&str, &str)],
    ) -> (String, Sent) {
        let path = self.sets_out(scene, more).await;
        let identified = self.post(scene, &path, &[("step", "identify"), ("email", email)]).await;
        assert_eq!(identified.leads_to(), path);
        let away = self.get(scene, &path).await;
        (path, sent(&away))
    }

    /// Arrives at a connection with a provider's form, and goes on in this browser.
    async fn arrives(
        &mut self,
        scene: &Scene,
        at: &Connection,
        sent: &Sent,
        response: &str,
    ) -> Page {
        let posted = posts(scene, at, sent, response).await;
        if posted.status != StatusCode::SEE_OTHER {
            return posted;
        }
        let path = posted.leads_to();
        self.get(scene, &path).await
    }
}

/// The provider's page posts its form: browsers send no cookies of ours with it.
async fn posts(scene: &Scene, at: &Connection, sent: &Sent, response: &str) -> Page {
    let acs = format!("/federation/{}/{}/acs", at.tenant, at.id);
    let mut form = vec![("SAMLResponse", response)];
    if !sent.relay_state.is_empty() {
        form.push(("RelayState", sent.relay_state.as_str()));
    }
    Surfer::default().post_from(scene, &acs, &form, Some("https://idp.test")).await
}

async fn tokens(scene: &Scene, done: &Page) -> serde_json::Value {
    let form = format!(
        "grant_type=authorization_code&client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb\
         &code_verifier={VERIFIER}&code={}",
        scene.app.client_id,
        done.answer()["code"]
    );
    scene.post("/token", &form).await.1
}

fn joining() -> serde_json::Value {
    json!({ "just_in_time": true, "group_roles": { "staff": ["reader"] } })
}

#[tokio::test]
async fn m10_a_tenants_own_provider_signs_its_people_in() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;

    let mut zoe = Surfer::default();
    let (_, out) = zoe.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &connection, &out, &person("zoe", "zoe@acme.test"));
    let done = zoe.arrives(&scene, &connection, &out, &response).await;
    let claims = scene.claims(tokens(&scene, &done).await["access_token"].as_str().unwrap());
    // F-09: roles by the rules; nothing of what the provider says of tenants and roles.
    assert_eq!(claims["roles"], json!(["reader"]));
    assert_eq!(claims["tid"], scene.tenant.as_str());
    assert_eq!((&claims["cid"], &claims["amr"]), (&json!(connection.id.as_str()), &json!(["fed"])));

    // The next application asks nothing; the same person is the same user.
    let again = zoe.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert!(again.answer().contains_key("code"));
    let mut elsewhere = Surfer::default();
    let (_, out) = elsewhere.leaves(&scene, "zoe@acme.test", &[]).await;
    let renamed = Person { email: Some("married@acme.test"), ..person("zoe", "") };
    let response = idp.response(&scene, &connection, &out, &renamed);
    let done = elsewhere.arrives(&scene, &connection, &out, &response).await;
    let same = scene.claims(tokens(&scene, &done).await["access_token"].as_str().unwrap());
    assert_eq!(same["sub"], claims["sub"]);
}

#[tokio::test]
async fn o21_f10_b18_who_left_comes_back_once_and_in_the_same_browser() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let zoe = person("zoe", "zoe@acme.test");

    // A thief's browser, with the victim's arrival.
    let mut victim = Surfer::default();
    let (_, out) = victim.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &connection, &out, &zoe);
    let arrived = posts(&scene, &connection, &out, &response).await.leads_to();
    let stolen = Surfer::default().get(&scene, &arrived).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND);
    // It is spent with that; so is where they left from, and the assertion.
    assert_eq!(victim.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND);
    assert_eq!(posts(&scene, &connection, &out, &response).await.status, StatusCode::FORBIDDEN);

    // The control, and what is left of it afterwards.
    let (_, out) = victim.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &connection, &out, &zoe);
    let arrived = posts(&scene, &connection, &out, &response).await.leads_to();
    assert!(victim.get(&scene, &arrived).await.answer().contains_key("code"));
    assert_eq!(victim.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND);
    // Another sign-in of the same browser is not answered by an older response.
    let (_, other) = victim.leaves(&scene, "zoe@acme.test", &[("prompt", "login")]).await;
    let refused = posts(&scene, &connection, &other, &response).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!refused.body.contains("InResponseTo") && !refused.body.contains("replay"));
    let events = scene.security_events().await;
    for told in ["federation.refused not_away", "federation.refused in_response_to"] {
        assert!(events.iter().any(|event| event == told), "{told}: {events:?}");
    }
}

#[tokio::test]
async fn i18_two_tenants_may_register_the_same_provider() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let idp = Idp::new("https://idp.test/metadata");
    let at_acme = idp.registered(&scene, &scene.tenant, joining()).await;
    let at_bond = idp.registered(&scene, &bond, joining()).await;
    proves(&scene, &at_acme, "acme.test").await;
    proves(&scene, &at_bond, "bond.test").await;
    let signs_in = async |email, connection: &Connection| {
        let mut surfer = Surfer::default();
        let (_, out) = surfer.leaves(&scene, email, &[]).await;
        let response = idp.response(&scene, connection, &out, &person("zoe", email));
        let done = surfer.arrives(&scene, connection, &out, &response).await;
        scene.claims(tokens(&scene, &done).await["access_token"].as_str().unwrap())
    };
    let (here, there) =
        (signs_in("zoe@acme.test", &at_acme).await, signs_in("zoe@bond.test", &at_bond).await);
    // I-01: the same subject of the same issuer is somebody else in another tenant.
    assert_ne!(here["sub"], there["sub"]);
    assert_eq!((&here["tid"], &there["tid"]), (&json!(scene.tenant), &json!(bond)));

    // I-16, F-06: left through one connection, back through another, with a good signature.
    let mut surfer = Surfer::default();
    let (_, out) = surfer.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &at_bond, &out, &person("zoe", "zoe@acme.test"));
    assert_eq!(posts(&scene, &at_bond, &out, &response).await.status, StatusCode::FORBIDDEN);
    // And with what was meant for the other.
    let (_, out) = surfer.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &at_bond, &out, &person("zoe", "zoe@acme.test"));
    assert_eq!(posts(&scene, &at_acme, &out, &response).await.status, StatusCode::FORBIDDEN);
    // Another tenant's connection below one's own tenant is not there.
    let crossed = Connection { tenant: scene.tenant.clone(), ..at_bond.clone() };
    assert_eq!(posts(&scene, &crossed, &out, &response).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn i03_a_provider_vouches_inside_its_own_tenant() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let idp = Idp::new("https://idp.test/metadata");
    let at_bond = idp.registered(&scene, &bond, joining()).await;
    proves(&scene, &at_bond, "bond.test").await;
    // Acme is what the application asks for: the address leads nowhere else.
    let mut surfer = Surfer::default();
    let path = surfer.sets_out(&scene, &[("tenant", "acme")]).await;
    let form = [("step", "identify"), ("email", "zoe@bond.test")];
    surfer.post(&scene, &path, &form).await;
    assert!(surfer.get(&scene, &path).await.body.contains("Password"), "not sent away");
    let form = [("step", "connection"), ("connection", at_bond.id.as_str())];
    assert_eq!(surfer.post(&scene, &path, &form).await.leads_to(), path);
    assert!(!surfer.get(&scene, &path).await.body.contains("idp.test"), "another tenant's");

    // F-03: a provider asserts no address of a domain that is not its tenant's.
    let mut surfer = Surfer::default();
    let (_, out) = surfer.leaves(&scene, "zoe@bond.test", &[]).await;
    let response = idp.response(&scene, &at_bond, &out, &person("zoe", "ada@acme.test"));
    let refused = surfer.arrives(&scene, &at_bond, &out, &response).await;
    assert_eq!(
        (refused.status, refused.heading()),
        (StatusCode::FORBIDDEN, "You cannot come in yet")
    );
    let (_, out) = surfer.leaves(&scene, "zoe@bond.test", &[]).await;
    let response = idp.response(&scene, &at_bond, &out, &person("zoe", "zoe@bond.test"));
    assert!(surfer.arrives(&scene, &at_bond, &out, &response).await.answer().contains_key("code"));
}

#[tokio::test]
async fn f01_b04_b05_an_address_is_nobodys_identity() {
    let scene = scene().await;
    let (own, other) = (Idp::new("https://idp.test/a"), Idp::new("https://idp.test/b"));
    let rules = json!({ "just_in_time": true, "link_by_email": true });
    let connection = own.registered(&scene, &scene.tenant, rules.clone()).await;
    let second = other.registered(&scene, &scene.tenant, rules).await;
    proves(&scene, &connection, "acme.test").await;
    let arrives = async |idp: &Idp, at: &Connection, who: Person| {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[("tenant", "acme")]).await;
        let form = [("step", "connection"), ("connection", at.id.as_str())];
        surfer.post(&scene, &path, &form).await;
        let out = sent(&surfer.get(&scene, &path).await);
        let response = idp.response(&scene, at, &out, &who);
        surfer.arrives(&scene, at, &out, &response).await
    };
    // B-04: Ada has a password here; a provider that says it is her makes it nobody.
    let refused = arrives(&own, &connection, person("x", "ada@acme.test")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // Zoe comes by the first provider; by the second the same address and name are nobody's.
    let done = arrives(&own, &connection, person("zoe", "zoe@acme.test")).await;
    assert!(done.answer().contains_key("code"));
    let refused = arrives(&other, &second, person("zoe", "zoe@acme.test")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // A name is one to the letter.
    let refused = arrives(&own, &connection, person("Zoe", "zoe@acme.test")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let events = scene.security_events().await;
    let told = events.iter().filter(|event| *event == "sign_in.federated email_taken").count();
    assert_eq!(told, 3, "{events:?}");
}

#[tokio::test]
async fn f04_b12_a_disabled_connection_lets_nobody_in_anywhere() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let zoe = person("zoe", "zoe@acme.test");
    let mut in_session = Surfer::default();
    let (_, out) = in_session.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &connection, &out, &zoe);
    let done = in_session.arrives(&scene, &connection, &out, &response).await;
    let token = tokens(&scene, &done).await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.refusal(&token).await, None, "the control");
    // Two more are under way, one of them has come back already.
    let (mut away, mut back) = (Surfer::default(), Surfer::default());
    let (_, first) = away.leaves(&scene, "zoe@acme.test", &[]).await;
    let (_, second) = back.leaves(&scene, "zoe@acme.test", &[]).await;
    let answer = idp.response(&scene, &connection, &second, &zoe);
    let arrived = posts(&scene, &connection, &second, &answer).await.leads_to();

    for shut in [
        ConnectionPatch { status: Some(ConnectionStatus::Disabled), ..Default::default() },
        ConnectionPatch {
            status: Some(ConnectionStatus::Active),
            rules: Some(serde_json::from_value(json!({ "link_only": true })).unwrap()),
            ..Default::default()
        },
    ] {
        let (control, tenant) = (&scene.control, &scene.tenant);
        control.update_connection(&TESTER, tenant, &connection.id, shut, |_| true).await.unwrap();
        scene.advance(Duration::from_secs(1));
        assert_eq!(scene.refusal(&token).await, Some("revoked"), "an access token");
        let asked = in_session.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
        assert!(asked.leads_to().starts_with("/sign-in/"), "a session");
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[]).await;
        surfer.post(&scene, &path, &[("step", "identify"), ("email", "zoe@acme.test")]).await;
        assert!(!surfer.get(&scene, &path).await.body.contains("idp.test"), "sent away");
        let response = idp.response(&scene, &connection, &first, &zoe);
        let posted = posts(&scene, &connection, &first, &response).await;
        assert_eq!(posted.status, StatusCode::FORBIDDEN, "on the way");
        let arriving = back.get(&scene, &arrived).await;
        assert_ne!(arriving.status, StatusCode::OK, "come back");
        assert!(
            !arriving.headers.contains_key("location")
                || arriving.leads_to().starts_with("/sign-in/")
        );
    }
    let found = connections::find(scene.control.inner.db.reader(), &scene.tenant, &connection.id);
    assert!(found.await.unwrap().is_some());
}

#[tokio::test]
async fn s11_nobody_comes_unasked_unless_the_tenant_wants_it() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let nothing = Sent::default();
    let zoe = person("zoe", "zoe@acme.test");
    let response = idp.response(&scene, &connection, &nothing, &zoe);
    assert_eq!(posts(&scene, &connection, &nothing, &response).await.status, StatusCode::FORBIDDEN);

    taking_unasked(&scene, &connection).await;
    let mut surfer = Surfer::default();
    let done = surfer.arrives(&scene, &connection, &nothing, &response).await;
    assert_eq!(done.leads_to(), format!("/account/{}", scene.tenant));
    let page = surfer.get(&scene, &format!("/account/{}", scene.tenant)).await;
    assert_eq!(page.status, StatusCode::OK);
    // S-10: on whichever server, once.
    let replayed = posts(&scene, &connection, &nothing, &response).await;
    assert_eq!(replayed.status, StatusCode::FORBIDDEN);
    let events = scene.security_events().await;
    assert!(events.iter().any(|event| event == "federation.refused replayed"), "{events:?}");
}

#[tokio::test]
async fn f02_b11_a_link_is_made_by_who_left_as_whom_they_come_back() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, json!({})).await;
    let other =
        Idp::new("https://idp.test/other").registered(&scene, &scene.tenant, json!({})).await;
    let account = format!("/account/{}", scene.tenant);
    let sets_out = async |surfer: &mut Surfer| {
        let form = [("do", "link"), ("connection", connection.id.as_str())];
        let away = surfer.post(&scene, &account, &form).await.leads_to();
        sent(&surfer.get(&scene, &away).await)
    };
    let mine = person("ada at idp", "whatever@nowhere.test");
    let mut ada = scene.surfer(&scene.user).await;

    // CVE-2026-9087: proof for one identity, used with another; here the identity is the proof.
    // Another browser, another user in this browser, another connection: nothing is linked.
    let out = sets_out(&mut ada).await;
    let response = idp.response(&scene, &connection, &out, &mine);
    let arrived = posts(&scene, &connection, &out, &response).await.leads_to();
    let mut thief = scene.surfer(&scene.user).await;
    assert_eq!(thief.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND, "another browser");
    assert_eq!(ada.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND, "spent");

    let out = sets_out(&mut ada).await;
    let response = idp.response(&scene, &connection, &out, &mine);
    let arrived = posts(&scene, &connection, &out, &response).await.leads_to();
    let bob = user(&scene.control, &scene.tenant, "bob@acme.test").await;
    let session = scene.surfer(&bob).await.cookies[crate::login::session::COOKIE_NAME].clone();
    let own = ada.cookies.insert(crate::login::session::COOKIE_NAME.to_owned(), session).unwrap();
    assert_eq!(ada.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND, "another user");
    ada.cookies.insert(crate::login::session::COOKIE_NAME.to_owned(), own);

    let out = sets_out(&mut ada).await;
    let crossed = idp.response(&scene, &other, &out, &mine);
    assert_eq!(posts(&scene, &other, &out, &crossed).await.status, StatusCode::FORBIDDEN);
    let nobody = scene.control.inner.db.reader();
    let linked = connections::of_user(nobody, &scene.tenant, &scene.user.id).await.unwrap();
    assert!(linked.is_empty(), "something was linked");

    // The control; and the same name signs in from now on, as the user it was linked to.
    let out = sets_out(&mut ada).await;
    let response = idp.response(&scene, &connection, &out, &mine);
    let arrived = posts(&scene, &connection, &out, &response).await.leads_to();
    assert!(ada.get(&scene, &arrived).await.location().ends_with("said=linked"));
    assert_eq!(ada.get(&scene, &arrived).await.status, StatusCode::NOT_FOUND, "again");
    let comes = async || {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[("tenant", "acme")]).await;
        let form = [("step", "connection"), ("connection", connection.id.as_str())];
        surfer.post(&scene, &path, &form).await;
        let out = sent(&surfer.get(&scene, &path).await);
        let response = idp.response(&scene, &connection, &out, &mine);
        let done = surfer.arrives(&scene, &connection, &out, &response).await;
        (surfer, done)
    };
    let (mut surfer, done) = comes().await;
    let token = tokens(&scene, &done).await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.claims(&token)["sub"], scene.user.id.as_str());
    // What a tenant's provider says opens nothing of the person's account, which has other tenants.
    let page = surfer.get(&scene, &account).await;
    assert!(page.body.contains("Acme's own".replace('\'', "&#39;").as_str()), "{}", page.body);
    assert!(!page.body.contains("change_password"), "the account's factors");
    let form = [("do", "change_password"), ("password", "a password of the provider's")];
    assert_eq!(surfer.post(&scene, &account, &form).await.status, StatusCode::NOT_FOUND);

    // Dead after unlinking: the session, the token, the name.
    let form = [("do", "unlink"), ("connection", connection.id.as_str())];
    assert!(ada.post(&scene, &account, &form).await.location().ends_with("said=removed"));
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&token).await, Some("revoked"));
    let asked = surfer.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert!(asked.leads_to().starts_with("/sign-in/"));
    assert_eq!(comes().await.1.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn s10_of_one_assertion_on_several_servers_one_is_the_first() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let unasked = taking_unasked(&scene, &connection).await;
    let nothing = Sent::default();
    let servers = scene.servers(3).await;
    for round in 0..10 {
        let who = person(&format!("zoe{round}"), "zoe@acme.test");
        let response = idp.response(&scene, &unasked, &nothing, &who);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("SAMLResponse", &response)
            .finish();
        let acs = format!("/federation/{}/{}/acs", unasked.tenant, unasked.id);
        let posts = (0..30).map(|turn| {
            let (server, form, acs) = (servers[turn % 3].clone(), form.clone(), acs.clone());
            tokio::spawn(async move {
                let request = Request::post(acs)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(Body::from(form))
                    .unwrap();
                tower::ServiceExt::oneshot(server, request).await.unwrap().status()
            })
        });
        let mut taken = 0;
        for post in posts.collect::<Vec<_>>() {
            match post.await.unwrap() {
                StatusCode::SEE_OTHER => taken += 1,
                refused => assert_eq!(refused, StatusCode::FORBIDDEN),
            }
        }
        assert_eq!(taken, 1, "round {round}");
    }
    // Nor after a restart.
    let response = idp.response(&scene, &unasked, &nothing, &person("last", "last@acme.test"));
    assert_eq!(posts(&scene, &unasked, &nothing, &response).await.status, StatusCode::SEE_OTHER);
    let again = Scene::again(scene.dir(), &scene.named()).await;
    let refused = posts(&again, &unasked, &nothing, &response).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn i20_a_known_organisation_is_asked_nothing_and_an_unknown_address_tells_nothing() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    // The domain is not proved: whoever has an address there, and whoever has none anywhere, gets
    // the page that everybody gets.
    let page_for = async |email: &str| {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[]).await;
        surfer.post(&scene, &path, &[("step", "identify"), ("email", email)]).await;
        let page = surfer.get(&scene, &path).await;
        (page.status, page.body.replace(email, "-").replace(&path, "-"))
    };
    let unknown = page_for("zoe@nowhere.test").await;
    assert_eq!(page_for("zoe@acme.test").await, unknown);
    proves(&scene, &connection, "acme.test").await;
    assert_ne!(page_for("zoe@acme.test").await, unknown, "the control");
    // I-19: label by label.
    for near in ["zoe@badacme.test", "zoe@acme.test.evil.test", "zoe@sub.acme.test"] {
        assert_eq!(page_for(near).await, unknown, "{near}");
    }
    // A tenant that is locked to its one provider: nothing is asked; one's own way stays open for
    // break-glass users.
    let policy = SignInPolicy { sso_only: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, policy).await;
    let mut surfer = Surfer::default();
    let path = surfer.sets_out(&scene, &[("tenant", "acme")]).await;
    sent(&surfer.get(&scene, &path).await);
    let restarted = surfer.post(&scene, &path, &[("step", "restart")]).await.leads_to();
    assert!(surfer.get(&scene, &restarted).await.body.contains("E-mail address"));
    // I-13: and the lock holds: a right password is not enough, the provider's word is.
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[("tenant", "acme")]).await;
    ada.post(&scene, &path, &[("step", "restart")]).await;
    let email = scene.user.email.as_str();
    // Her own domain leads to the provider; another address of hers does not.
    let typed = ada.post(&scene, &path, &[("step", "identify"), ("email", email)]).await;
    sent(&ada.get(&scene, &typed.leads_to()).await);
    let mut zoe = Surfer::default();
    let (_, out) = zoe.leaves(&scene, "zoe@acme.test", &[]).await;
    let response = idp.response(&scene, &connection, &out, &person("zoe", "zoe@acme.test"));
    let done = zoe.arrives(&scene, &connection, &out, &response).await;
    assert!(done.answer().contains_key("code"));
}

/// The connection, once it takes people who were not asked for.
async fn taking_unasked(scene: &Scene, connection: &Connection) -> Connection {
    let IdentityProvider::Saml(mut provider) = connection.provider.clone() else { panic!() };
    provider.idp_initiated = true;
    let patch = ConnectionPatch {
        provider: Some(IdentityProvider::Saml(provider)),
        ..ConnectionPatch::default()
    };
    let (control, tenant) = (&scene.control, &connection.tenant);
    control.update_connection(&TESTER, tenant, &connection.id, patch, |_| true).await.unwrap()
}

#[tokio::test]
async fn c06_whom_the_provider_announced_comes_by_the_name_it_used() {
    let scene = scene().await;
    let (own, other) = (Idp::new("https://idp.test/a"), Idp::new("https://idp.test/b"));
    let rules = json!({ "group_roles": { "Provisioned clerks": ["clerk"] } });
    let connection = own.registered(&scene, &scene.tenant, rules).await;
    let second = other.registered(&scene, &scene.tenant, json!({})).await;
    let announced = announce(&scene, &connection, "zoe@acme.test", "zoe").await;
    let comes = async |idp: &Idp, at: &Connection, name: &str| {
        let mut surfer = Surfer::default();
        let path = surfer.sets_out(&scene, &[("tenant", "acme")]).await;
        let form = [("step", "connection"), ("connection", at.id.as_str())];
        surfer.post(&scene, &path, &form).await;
        let out = sent(&surfer.get(&scene, &path).await);
        let response = idp.response(&scene, at, &out, &person(name, "zoe@acme.test"));
        surfer.arrives(&scene, at, &out, &response).await
    };
    // Not by the address, and not through another connection.
    assert_eq!(comes(&own, &connection, "somebody").await.status, StatusCode::FORBIDDEN);
    assert_eq!(comes(&other, &second, "zoe").await.status, StatusCode::FORBIDDEN);
    let done = comes(&own, &connection, "zoe").await;
    let claims = scene.claims(tokens(&scene, &done).await["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], format!("u:{announced}"));
    // What her groups by SCIM gave her, a response that names none does not take.
    assert_eq!(claims["roles"], json!(["clerk"]));
    // Linked, they are that user, and nobody else becomes them by the other name.
    let refused = comes(&own, &connection, "zoe@acme.test").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

/// The connection's SCIM client announces somebody; returns their `sub`.
async fn announce(scene: &Scene, at: &Connection, user_name: &str, external_id: &str) -> String {
    let (control, tenant) = (&scene.control, &at.tenant);
    let new = serde_json::from_value(json!({ "lasts_seconds": 3600 })).unwrap();
    let token = control.create_scim_token(&TESTER, tenant, &at.id, new).await.unwrap();
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": user_name,
        "externalId": external_id, "emails": [{ "value": user_name, "primary": true }],
    });
    let request = Request::post(format!("/scim/{tenant}/{}/v2/Users", at.id))
        .header("authorization", format!("Bearer {}", token.text.expose()))
        .header("content-type", "application/scim+json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = scene.send(request).await.into_body().collect().await.unwrap().to_bytes();
    let made: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let group = json!({ "displayName": "Provisioned clerks", "members": [made["id"]] });
    let request = Request::post(format!("/scim/{tenant}/{}/v2/Groups", at.id))
        .header("authorization", format!("Bearer {}", token.text.expose()))
        .header("content-type", "application/scim+json")
        .body(Body::from(group.to_string()))
        .unwrap();
    assert_eq!(scene.send(request).await.status(), StatusCode::CREATED);
    made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[tokio::test]
async fn i14_whom_the_provider_remembered_for_too_long_it_is_to_ask_again() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let rules = json!({ "just_in_time": true, "multi_factor": "never" });
    let connection = idp.registered(&scene, &scene.tenant, rules).await;
    proves(&scene, &connection, "acme.test").await;
    let policy = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
    scene.asks_of_members(&scene.tenant, policy).await;
    let mut zoe = Surfer::default();
    let (path, out) = zoe.leaves(&scene, "zoe@acme.test", &[]).await;
    assert!(!out.xml.contains("ForceAuthn"));
    let response = idp.response(&scene, &connection, &out, &person("zoe", "zoe@acme.test"));
    let refused = zoe.arrives(&scene, &connection, &out, &response).await;
    assert_eq!(refused.leads_to(), path);
    assert_eq!(zoe.get(&scene, &path).await.heading(), "You cannot sign in here");
    zoe.post(&scene, &path, &[("step", "restart")]).await;
    zoe.post(&scene, &path, &[("step", "identify"), ("email", "zoe@acme.test")]).await;
    assert!(sent(&zoe.get(&scene, &path).await).xml.contains("ForceAuthn=\"true\""));
}

#[tokio::test]
async fn f09_whoever_loses_a_role_on_arriving_gets_a_token_that_is_good() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let comes = async |groups: Vec<&'static str>| {
        let mut surfer = Surfer::default();
        let (_, out) = surfer.leaves(&scene, "zoe@acme.test", &[]).await;
        let who = Person { groups, ..person("zoe", "zoe@acme.test") };
        let response = idp.response(&scene, &connection, &out, &who);
        let began = std::time::Instant::now();
        let done = surfer.arrives(&scene, &connection, &out, &response).await;
        // The scene's clock stands still; let it go on by as much as somebody had to wait.
        scene.advance(began.elapsed());
        tokens(&scene, &done).await["access_token"].as_str().unwrap().to_owned()
    };
    let before = comes(vec!["staff"]).await;
    assert_eq!(scene.claims(&before)["roles"], json!(["reader"]));
    let after = comes(vec![]).await;
    assert_eq!(scene.claims(&after)["roles"], json!([]));
    assert_eq!(scene.refusal(&before).await, Some("revoked"));
    assert_eq!(scene.refusal(&after).await, None);
}

/// A provider's key for logout messages, made by the crate that makes ours.
fn logout_key() -> (Signer, String) {
    use aws_lc_rs::{
        encoding::AsDer,
        rsa::{KeyPair, KeySize},
    };
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let signer = Signer::from_pkcs8(pair.as_der().unwrap().as_ref()).unwrap();
    let from = std::time::SystemTime::UNIX_EPOCH;
    let certificate = signer.certificate("idp", from, from + Duration::from_secs(1 << 32));
    (signer, Base64::encode_string(certificate.unwrap().der()))
}

#[tokio::test]
async fn s14_a_session_ends_by_what_its_own_provider_signed_for_us_once() {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, joining()).await;
    proves(&scene, &connection, "acme.test").await;
    let (key, certificate) = logout_key();
    let IdentityProvider::Saml(mut provider) = connection.provider.clone() else { panic!() };
    provider.certificates.push(certificate);
    provider.slo_redirect = Some("https://idp.test/slo".to_owned());
    let patch = ConnectionPatch {
        provider: Some(IdentityProvider::Saml(provider)),
        ..ConnectionPatch::default()
    };
    let (control, tenant) = (&scene.control, &scene.tenant);
    control.update_connection(&TESTER, tenant, &connection.id, patch, |_| true).await.unwrap();
    let comes = async |name: &str, email: &'static str| {
        let mut surfer = Surfer::default();
        let (_, out) = surfer.leaves(&scene, email, &[]).await;
        let response = idp.response(&scene, &connection, &out, &person(name, email));
        let done = surfer.arrives(&scene, &connection, &out, &response).await;
        let token = tokens(&scene, &done).await["access_token"].as_str().unwrap().to_owned();
        (surfer, token)
    };
    let (mut zoe, of_zoe) = comes("zoe", "zoe@acme.test").await;
    let (mut yan, of_yan) = comes("yan", "yan@acme.test").await;
    let slo = Addresses::of(control, &connection).slo();
    // What the provider sends: about whom, of which session, to where, by which key.
    let says = |name: &str, index: Option<&str>, to: &str, key: &Signer| {
        let mut name_id = NameId::new(name.to_owned());
        name_id.format = Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent".to_owned());
        let id = crate::random::opaque_id(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let request = LogoutRequest {
            id: &format!("_{id}"),
            issue_instant: std::time::SystemTime::UNIX_EPOCH
                + Duration::from_secs(scene.clock.now().0),
            destination: to,
            issuer: "https://idp.test/metadata",
            name_id: &name_id,
            session_index: index,
        };
        request.redirect(Some("rs"), key).unwrap()
    };
    let sends = async |address: &str| {
        let path = address.strip_prefix(ISSUER).unwrap_or(address);
        Surfer::default().get(&scene, path).await
    };
    let (stranger, _) = logout_key();
    let good = says("zoe", Some("_s"), &slo, &key);
    let unsigned = good.split("&SigAlg").next().unwrap().to_owned();
    let elsewhere = says("zoe", Some("_s"), "https://other.test/slo", &key);
    let elsewhere = elsewhere.replace("https://other.test/slo", &slo);
    for (what, address) in [
        ("unsigned", unsigned),
        ("of another key", says("zoe", Some("_s"), &slo, &stranger)),
        ("meant for another", elsewhere),
        ("of another relay state", good.replace("RelayState=rs", "RelayState=sr")),
    ] {
        assert_eq!(sends(&address).await.status, StatusCode::FORBIDDEN, "{what}");
    }
    // Of somebody else's session, and of another of hers: heard, and nothing of hers ends.
    for (name, index) in [("zoe", Some("_t")), ("Zoe", Some("_s"))] {
        assert_eq!(sends(&says(name, index, &slo, &key)).await.status, StatusCode::OK);
    }
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&of_zoe).await, None, "the control");

    let answer = sends(&good).await;
    assert!(answer.body.contains("https://idp.test/slo?SAMLResponse="), "{}", answer.body);
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&of_zoe).await, Some("revoked"));
    assert_eq!(scene.refusal(&of_yan).await, None, "somebody else's");
    let asked = zoe.asks(&scene, &scene.app, &[("tenant", "acme")]).await;
    assert!(asked.leads_to().starts_with("/sign-in/"), "her session");
    assert_eq!(sends(&good).await.status, StatusCode::FORBIDDEN, "again");

    // Here first, there next, and back. What the provider answers changes nothing of it.
    let account = format!("/account/{}", scene.tenant);
    let onward = yan.post(&scene, &account, &[("do", "sign_out")]).await;
    assert_eq!((onward.status, onward.heading()), (StatusCode::OK, "On to Acme&#39;s own"));
    assert!(onward.body.contains("https://idp.test/slo?SAMLRequest="), "{}", onward.body);
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&of_yan).await, Some("revoked"));
    let relay = onward.body.split("RelayState=").nth(1).unwrap();
    let relay = relay.split('&').next().unwrap().to_owned();
    let deflated = onward.body.split("SAMLRequest=").nth(1).unwrap().split('&').next().unwrap();
    let deflated = percent_decoded(deflated);
    let mut xml = String::new();
    let deflated = Base64::decode_vec(&deflated).unwrap();
    flate2::read::DeflateDecoder::new(&*deflated).read_to_string(&mut xml).unwrap();
    assert!(xml.contains(">yan</") && xml.contains(">_s</"), "{xml}");
    let asked = xml.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let answers = |key: &Signer| {
        LogoutResponse {
            id: "_answer",
            issue_instant: std::time::SystemTime::UNIX_EPOCH
                + Duration::from_secs(scene.clock.now().0),
            destination: &slo,
            issuer: "https://idp.test/metadata",
            in_response_to: asked,
            status: LogoutStatus::Success,
        }
        .redirect(Some(&percent_decoded(&relay)), key)
        .unwrap()
    };
    let back = sends(&answers(&key)).await;
    assert_eq!(back.location(), format!("{ISSUER}/signed-out"));
    assert_eq!(sends(&answers(&key)).await.status, StatusCode::FORBIDDEN, "again");
    let events = scene.security_events().await;
    for told in ["session.single_logout success", "federation.refused replayed"] {
        assert!(events.iter().any(|event| event == told), "{told}: {events:?}");
    }
}

/// A value of an address, out of a page.
fn percent_decoded(text: &str) -> String {
    let text = text.replace("&#38;", "&");
    form_urlencoded::parse(format!("v={text}").as_bytes()).next().unwrap().1.into_owned()
}

#[tokio::test]
async fn s14_by_form_a_session_ends_through_its_own_connection_alone() {
    let scene = scene().await;
    let bond = tenant(&scene.control, "bond").await;
    let idp = Idp::new("https://idp.test/metadata");
    let (key, certificate) = logout_key();
    let speaks_of_logout = async |connection: Connection, slo_post: Option<&str>| {
        let IdentityProvider::Saml(mut provider) = connection.provider.clone() else { panic!() };
        if !provider.certificates.contains(&certificate) {
            provider.certificates.push(certificate.clone());
        }
        provider.slo_post = slo_post.map(str::to_owned);
        let provider = Some(IdentityProvider::Saml(provider));
        let patch = ConnectionPatch { provider, ..ConnectionPatch::default() };
        let (control, tenant) = (&scene.control, &connection.tenant);
        control.update_connection(&TESTER, tenant, &connection.id, patch, |_| true).await.unwrap()
    };
    let by_form = Some("https://idp.test/slo");
    let at_acme = idp.registered(&scene, &scene.tenant, joining()).await;
    let at_acme = speaks_of_logout(at_acme, by_form).await;
    let at_bond = speaks_of_logout(idp.registered(&scene, &bond, joining()).await, by_form).await;
    proves(&scene, &at_acme, "acme.test").await;
    let comes = async || {
        let mut surfer = Surfer::default();
        let (_, out) = surfer.leaves(&scene, "zoe@acme.test", &[]).await;
        let response = idp.response(&scene, &at_acme, &out, &person("zoe", "zoe@acme.test"));
        let done = surfer.arrives(&scene, &at_acme, &out, &response).await;
        let token = tokens(&scene, &done).await["access_token"].as_str().unwrap().to_owned();
        (surfer, token)
    };
    let says = |to: &Connection, ago: Duration| {
        let mut name_id = NameId::new("zoe".to_owned());
        name_id.format = Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent".to_owned());
        let id = crate::random::opaque_id(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        LogoutRequest {
            id: &format!("_{id}"),
            issue_instant: std::time::SystemTime::UNIX_EPOCH
                + Duration::from_secs(scene.clock.now().0)
                - ago,
            destination: &Addresses::of(&scene.control, to).slo(),
            issuer: "https://idp.test/metadata",
            name_id: &name_id,
            session_index: None,
        }
        .post(&key)
        .unwrap()
    };
    let sends = async |to: &Connection, request: &str| {
        let path = format!("/federation/{}/{}/slo", to.tenant, to.id);
        let form = [("SAMLRequest", request), ("RelayState", "rs")];
        Surfer::default().post_from(&scene, &path, &form, Some("https://idp.test")).await
    };

    let (_, token) = comes().await;
    let good = says(&at_acme, Duration::ZERO);
    let xml = String::from_utf8(Base64::decode_vec(&good).unwrap()).unwrap();
    let (before, rest) = xml.split_once("<ds:Signature").unwrap();
    let unsigned = format!("{before}{}", rest.split_once("</ds:Signature>").unwrap().1);
    let unsigned = Base64::encode_string(unsigned.as_bytes());
    for (what, request) in [
        ("unsigned", unsigned),
        ("old", says(&at_acme, 10 * MINUTE)),
        ("meant for the other tenant", says(&at_bond, Duration::ZERO)),
    ] {
        assert_eq!(sends(&at_acme, &request).await.status, StatusCode::FORBIDDEN, "{what}");
    }
    // The same provider, with a good signature, as the other tenant's: nobody of ours is meant.
    let there = sends(&at_bond, &says(&at_bond, Duration::ZERO)).await;
    assert_eq!(there.status, StatusCode::OK);
    let crossed = Connection { tenant: scene.tenant.clone(), ..at_bond.clone() };
    let nowhere = sends(&crossed, &says(&at_bond, Duration::ZERO)).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&token).await, None, "the control");

    let answer = sends(&at_acme, &good).await;
    assert!(answer.body.contains("name=\"SAMLResponse\""), "{}", answer.body);
    assert!(answer.body.contains("action=\"https://idp.test/slo\""), "{}", answer.body);
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&token).await, Some("revoked"));
    assert_eq!(sends(&at_acme, &good).await.status, StatusCode::FORBIDDEN, "again");

    // From here, where the provider takes forms alone.
    let (mut zoe, token) = comes().await;
    let form = [("do", "sign_out")];
    let onward = zoe.post(&scene, &format!("/account/{}", scene.tenant), &form).await;
    assert!(onward.body.contains("name=\"SAMLRequest\""), "{}", onward.body);
    let relay = onward.body.split("name=\"RelayState\" value=\"").nth(1).unwrap();
    let relay = relay.split('"').next().unwrap();
    // An answer that cannot be verified leads nowhere, and undoes nothing.
    let path = format!("/federation/{}/{}/slo", at_acme.tenant, at_acme.id);
    let unsigned = Base64::encode_string(b"<samlp:LogoutResponse/>");
    let form = [("SAMLResponse", unsigned.as_str()), ("RelayState", relay)];
    let refused = Surfer::default().post_from(&scene, &path, &form, None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&token).await, Some("revoked"));

    // Without an address to answer at it ends all the same; disabled, nothing is heard.
    let (_, token) = comes().await;
    speaks_of_logout(at_acme.clone(), None).await;
    let done = sends(&at_acme, &says(&at_acme, Duration::ZERO)).await;
    assert_eq!(done.location(), format!("{ISSUER}/signed-out"));
    scene.advance(Duration::from_secs(1));
    assert_eq!(scene.refusal(&token).await, Some("revoked"));
    set_status(&scene, &at_acme, ConnectionStatus::Disabled).await;
    let shut = sends(&at_acme, &says(&at_acme, Duration::ZERO)).await;
    assert_eq!(shut.status, StatusCode::FORBIDDEN);
}
