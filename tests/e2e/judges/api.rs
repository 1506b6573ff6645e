//! PyPI `schemathesis` reads the admin API's description and holds the API to it, with requests of
//! its own making: as an operator, and as an administrator of one tenant.

use std::time::Duration;

use partywall_server::{ADMIN_SCOPE, NewMachine, NewOperatorKey, TENANT_ADMIN};
use serde_json::{Value, json};

use super::{
    parts,
    scene::{Scene, TESTER},
};

#[tokio::test(flavor = "multi_thread")]
async fn i42_schemathesis_finds_the_admin_api_as_it_is_described() {
    let scene = Scene::start().await;
    let key = NewOperatorKey { name: "ada".to_owned(), lasts: Duration::from_secs(3600) };
    let key = scene.control.create_operator_key(&TESTER, key).await.unwrap();
    judge(&scene, json!({ "operatorKey": key.expose() })).await;
    scene.stop().await;
}

/// The same of whom the tenant made its administrator: a machine, by a token of ours.
#[tokio::test(flavor = "multi_thread")]
async fn i42_schemathesis_finds_it_so_as_a_tenants_administrator() {
    let scene = Scene::start().await;
    let new = NewMachine {
        name: "administrator".to_owned(),
        roles: [TENANT_ADMIN.into()].into(),
        scopes: [ADMIN_SCOPE.parse().unwrap()].into(),
    };
    let made = scene.control.create_machine(&TESTER, &scene.tenant, new).await.unwrap();
    let administrator = json!({ "id": made.client_id, "secret": made.secret.expose() });
    judge(&scene, json!({ "administrator": administrator })).await;
    scene.stop().await;
}

/// Every operation, told what there is so that it comes further than 404: all of the checks.
async fn judge(scene: &Scene, caller: Value) {
    let mut judged = scene.judged(caller);
    judged["user"] = scene.member(&scene.tenant, "grace@acme.test").await["id"].clone();
    judged["robot"] = scene.robot().await;
    parts::python("admin_api.py", &judged).await;
}
