//! PyPI's `spid-sp-test`, by which Italy admits service providers to its public identity, in the
//! profile that asks for SAML 2.0 alone.

use partywall_server::IdentityProvider;
use serde_json::json;

use super::{
    parts,
    stage::{self, Stage, described},
};

#[tokio::test(flavor = "multi_thread")]
async fn s14_spid_sp_test_reads_our_metadata_and_our_requests() {
    let Some(serving) = parts::python_serving("provider.py", &json!({})).await else { return };
    let stage = Stage::start().await;
    let metadata = stage::read(&format!("{}/metadata", serving.address)).await;
    let provider = IdentityProvider::Saml(described(&metadata));
    let scene = &stage.scene;
    let connection = stage.register(&scene.tenant, provider, json!({}), None).await;
    stage.open(&connection).await;
    let judged = scene.judged(json!({ "connection": stage.told(&connection) }));
    parts::spid(&judged).await;
    stage.scene.stop().await;
}
