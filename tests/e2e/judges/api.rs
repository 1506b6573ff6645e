//! PyPI `schemathesis` reads the admin API's description and holds the API to it, with requests of
//! its own making.

use std::time::Duration;

use partywall_server::{NewOperatorKey, NewUser};
use serde_json::json;

use super::{
    parts,
    scene::{Scene, TESTER},
};

/// Every operation, told what there is so that it comes further than 404: all of the checks.
#[tokio::test(flavor = "multi_thread")]
async fn i42_schemathesis_finds_the_admin_api_as_it_is_described() {
    let scene = Scene::start().await;
    let key = NewOperatorKey { name: "ada".to_owned(), lasts: Duration::from_secs(3600) };
    let key = scene.control.create_operator_key(&TESTER, key).await.unwrap();
    let user = NewUser {
        email: "grace@acme.test".parse().unwrap(),
        name: "Grace".to_owned(),
        roles: Default::default(),
        metadata: Default::default(),
    };
    let user = scene.control.create_user(&TESTER, &scene.tenant, user).await.unwrap();
    let robot = scene.robot().await;
    let judged = scene.judged(json!({
        "operatorKey": key.expose(), "user": user.id, "robot": robot,
    }));
    parts::python("admin_api.py", &judged).await;
    scene.stop().await;
}
