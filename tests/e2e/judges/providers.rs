//! Identity providers made of libraries that are not ours, each as two tenants' at once: what is
//! said to one tenant means nothing in the other (I-18).

use partywall::TenantId;
use partywall_server::{Connection, IdentityProvider, OidcProvider};
use serde_json::{Value, json};

use super::{
    native, parts,
    stage::{self, Stage, described},
};

#[tokio::test(flavor = "multi_thread")]
async fn i18_oidc_provider_signs_in_the_people_of_two_tenants() {
    let Some(chromium) = parts::chromium() else { return };
    let stage = Stage::start().await;
    let tenants = Tenants::of(&stage).await;
    // It has to know where we are, and we where it is: it is told first.
    let provider = |issuer: &str| IdentityProvider::Oidc(OidcProvider::new(issuer, "partywall"));
    let secret = "a secret of 32 characters at least";
    let nowhere = provider("http://127.0.0.1:1");
    let (theirs, others) = tenants.register(&stage, &nowhere, Some(secret)).await;
    let told = json!({
        "client": "partywall", "secret": secret,
        "redirectUri": stage.address(&theirs, "callback"),
        "others": [stage.address(&others, "callback")],
    });
    let Some(serving) = parts::node_serving("issuer.mjs", &told).await else { return };
    for connection in [&theirs, &others] {
        // A secret stays with the issuer it was given for.
        let patch = json!({ "provider": provider(&serving.address), "client_secret": secret });
        stage.change(connection, serde_json::from_value(patch).unwrap()).await;
    }
    tenants.judge(stage, &serving, [theirs, others], json!(chromium)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i18_pysaml2_signs_in_the_people_of_two_tenants() {
    let Some(chromium) = parts::chromium() else { return };
    let Some(serving) = parts::python_serving("provider.py", &json!({})).await else { return };
    by_saml(&serving, json!(chromium)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i18_samlp_signs_in_the_people_of_two_tenants() {
    let Some(chromium) = parts::chromium() else { return };
    let Some(serving) = parts::node_serving("provider.mjs", &json!({})).await else { return };
    by_saml(&serving, json!(chromium)).await;
}

async fn by_saml(serving: &parts::Serving, chromium: Value) {
    let stage = Stage::start().await;
    let tenants = Tenants::of(&stage).await;
    let metadata = stage::read(&format!("{}/metadata", serving.address)).await;
    let provider = IdentityProvider::Saml(described(&metadata));
    let (theirs, others) = tenants.register(&stage, &provider, None).await;
    for connection in [&theirs, &others] {
        let known = reqwest::Client::new()
            .post(format!("{}/knows", serving.address))
            .body(stage.metadata(connection).await);
        assert!(known.send().await.unwrap().status().is_success(), "our metadata is not read");
    }
    tenants.judge(stage, serving, [theirs, others], chromium).await;
}

/// One whose domain Ada's address is of, and one that has registered the same provider.
struct Tenants {
    hers: TenantId,
    other: TenantId,
}

impl Tenants {
    async fn of(stage: &Stage) -> Self {
        let other = stage.scene.another_tenant("bond").await;
        Self { hers: stage.scene.tenant.clone(), other }
    }

    async fn register(
        &self,
        stage: &Stage,
        provider: &IdentityProvider,
        secret: Option<&str>,
    ) -> (Connection, Connection) {
        let rules = json!({ "just_in_time": true, "default_roles": ["clerk"] });
        (
            stage.register(&self.hers, provider.clone(), rules.clone(), secret).await,
            stage.register(&self.other, provider.clone(), rules, secret).await,
        )
    }

    async fn judge(
        &self,
        stage: Stage,
        serving: &parts::Serving,
        [theirs, others]: [Connection; 2],
        chromium: Value,
    ) {
        for (connection, domain) in [(&theirs, "acme.test"), (&others, "bond.test")] {
            stage.open(connection).await;
            stage.proves(domain, connection).await;
        }
        let scene = &stage.scene;
        let judged = scene.judged(json!({
            "chromium": chromium, "provider": serving.address,
            "protocol": theirs.provider.protocol(),
            "connection": stage.told(&theirs), "other": stage.told(&others),
            "app": scene.application(native()).await, "second": scene.application(native()).await,
        }));
        stage.node("elsewhere.mjs", judged).await;
        // Nobody of hers became anybody there.
        let users = stage.scene.control.list_users(&self.other, None, 10).await.unwrap();
        assert!(users.is_empty(), "{users:?}");
        let refused = stage.refusals(&self.other).await;
        let why: Vec<&str> = refused.iter().map(|(why, _)| why.as_str()).collect();
        // The same provider, the same key: by what it says of whom it is for.
        let other_question = match theirs.provider.protocol() {
            "saml" => "destination",
            _ => "code_not_redeemed",
        };
        assert_eq!(why, [other_question, "not_away", "domain_not_proved"]);
        stage.scene.stop().await;
    }
}
