//! Test sign-ins of the setup portal: they go all the way, and sign nobody in.

use super::*;

struct Portal {
    scene: Scene,
    idp: Idp,
    connection: Connection,
    surfer: Surfer,
}

/// Somebody at the portal of a draft connection, by a link that was opened just now.
async fn portal(rules: serde_json::Value) -> Portal {
    let scene = scene().await;
    let idp = Idp::new("https://idp.test/metadata");
    let connection = idp.registered(&scene, &scene.tenant, rules).await;
    let mut surfer = Surfer::default();
    open(&scene, &connection, &mut surfer).await;
    Portal { scene, idp, connection, surfer }
}

async fn open(scene: &Scene, connection: &Connection, surfer: &mut Surfer) {
    let link = serde_json::from_value(json!({ "intent": "sso", "connection": connection.id }));
    let link = scene.control.create_setup_link(&TESTER, &connection.tenant, link.unwrap()).await;
    let url = link.unwrap().url.expose().clone();
    let opened = surfer.post(scene, url.strip_prefix(ISSUER).unwrap(), &[]).await;
    assert_eq!(opened.leads_to(), "/setup");
}

impl Portal {
    /// Leaves for the provider.
    async fn leaves(&mut self) -> Sent {
        let away = self.surfer.post(&self.scene, "/setup/test", &[]).await;
        assert_eq!(away.status, StatusCode::OK, "{}", away.body);
        let refresh =
            away.body.replace("href=\"https://idp.test", "content=\"0; url=https://idp.test");
        sent(&Page { body: refresh, ..away })
    }

    /// Comes back with a response, and looks at what came of it.
    async fn sees(&mut self, out: &Sent, response: &str) -> String {
        let arrived = self.surfer.arrives(&self.scene, &self.connection, out, response).await;
        assert_eq!(arrived.leads_to(), "/setup/test");
        self.surfer.get(&self.scene, "/setup/test").await.body
    }

    async fn tries(&mut self, who: &Person) -> String {
        let out = self.leaves().await;
        let response = self.idp.response(&self.scene, &self.connection, &out, who);
        self.sees(&out, &response).await
    }
}

#[tokio::test]
async fn i33_a_test_sign_in_shows_who_it_would_be_and_is_nobody() {
    let mut portal = portal(joining()).await;
    let zoe = person("zoe", "zoe@acme.test");
    let page = portal.tries(&zoe).await;
    assert!(page.contains("would not get in") && page.contains("has not proved"), "{page}");
    proves(&portal.scene, &portal.connection, "acme.test").await;
    let page = portal.tries(&zoe).await;
    for told in ["They join as zoe@acme.test", "<strong>reader</strong>", "staff", "saml:Assertion"]
    {
        assert!(page.contains(told), "{told}: {page}");
    }
    // Nobody was made, linked or signed in.
    let scene = &portal.scene;
    let users = scene.control.list_users(&scene.tenant, None, 100).await.unwrap();
    assert!(users.iter().all(|user| user.email.as_str() != "zoe@acme.test"));
    let session = "__Host-partywall-session";
    assert!(
        portal.surfer.cookies.keys().all(|name| name != session),
        "{:?}",
        portal.surfer.cookies
    );
    let events = scene.security_events().await;
    assert!(events.iter().any(|event| event == "connection.tried success"), "{events:?}");
    assert!(events.iter().all(|event| !event.starts_with("sign_in.federated")), "{events:?}");

    // The control: the same person, for real.
    let mut surfer = Surfer::default();
    let (_, out) = surfer.leaves(scene, "zoe@acme.test", &[]).await;
    let response = portal.idp.response(scene, &portal.connection, &out, &zoe);
    let done = surfer.arrives(scene, &portal.connection, &out, &response).await;
    assert!(done.answer().contains_key("code"));
    let page = portal.tries(&zoe).await;
    assert!(page.contains("who is linked to this identity"), "{page}");
}

#[tokio::test]
async fn i33_a_test_sign_in_shows_the_rule_that_refused_it_beside_what_was_sent() {
    let mut portal = portal(joining()).await;
    let out = portal.leaves().await;
    let other = Idp::new("https://idp.test/metadata");
    let zoe = person("<script>alert(1)</script>", "zoe@acme.test");
    let response = other.response(&portal.scene, &portal.connection, &out, &zoe);
    let page = portal.sees(&out, &response).await;
    assert!(page.contains("refused by the rule <code>signature"), "{page}");
    assert!(page.contains("saml:NameID") && !page.contains("<script>"), "{page}");
    // Whoever comes for real with the same sees nothing of it.
    let mut surfer = Surfer::default();
    proves(&portal.scene, &portal.connection, "acme.test").await;
    let (_, out) = surfer.leaves(&portal.scene, "zoe@acme.test", &[]).await;
    let response = other.response(&portal.scene, &portal.connection, &out, &zoe);
    let refused = posts(&portal.scene, &portal.connection, &out, &response).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(
        !refused.body.contains("ignature") && !refused.body.contains("saml"),
        "{}",
        refused.body
    );
    // And the administrator sees both.
    let seen = portal.surfer.get(&portal.scene, "/setup/activity").await.body;
    assert!(seen.matches("<dt>Rule</dt>").count() == 2 && !seen.contains("<script>"), "{seen}");
}

#[tokio::test]
async fn o22_a_test_and_a_sign_in_do_not_stand_for_each_other() {
    let mut portal = portal(joining()).await;
    proves(&portal.scene, &portal.connection, "acme.test").await;
    let zoe = person("zoe", "zoe@acme.test");
    // Another browser does not end a test, nor is a stolen result shown.
    let out = portal.leaves().await;
    let response = portal.idp.response(&portal.scene, &portal.connection, &out, &zoe);
    let arrived = posts(&portal.scene, &portal.connection, &out, &response).await.leads_to();
    let stolen = Surfer::default().get(&portal.scene, &arrived).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND);
    let page = portal.surfer.get(&portal.scene, "/setup/test").await.body;
    assert!(!page.contains("zoe"), "{page}");
    // A link that was taken back while somebody was away has no result, and shows none.
    let out = portal.leaves().await;
    let response = portal.idp.response(&portal.scene, &portal.connection, &out, &zoe);
    portal.surfer.post(&portal.scene, "/setup", &[("do", "leave")]).await;
    let arrived = portal.surfer.arrives(&portal.scene, &portal.connection, &out, &response).await;
    assert_eq!(arrived.leads_to(), "/setup/test");
    let page = portal.surfer.get(&portal.scene, "/setup/test").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    // Disabled, there is no test (F-04); a draft has one.
    open(&portal.scene, &portal.connection, &mut portal.surfer).await;
    let out = portal.leaves().await;
    set_status(&portal.scene, &portal.connection, ConnectionStatus::Disabled).await;
    let response = portal.idp.response(&portal.scene, &portal.connection, &out, &zoe);
    let page = portal.sees(&out, &response).await;
    assert!(page.contains("refused by the rule"), "{page}");
    let refused = portal.surfer.post(&portal.scene, "/setup/test", &[]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
}
