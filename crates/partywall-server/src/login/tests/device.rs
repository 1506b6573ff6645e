//! The page where a device's code is typed.

use super::*;

async fn code_of_a_device(scene: &Scene) -> (String, String) {
    let form = format!("client_id={}&scope=openid", scene.app.client_id);
    let (_, answer) = scene.post("/device_authorization", &form).await;
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    assert_eq!(text("verification_uri"), format!("{ISSUER}/device"));
    (text("device_code"), text("user_code"))
}

async fn polls(scene: &Scene, device_code: &str) -> serde_json::Value {
    scene.advance(std::time::Duration::from_secs(10));
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id={}\
         &device_code={device_code}",
        scene.app.client_id
    );
    scene.post("/token", &form).await.1
}

#[tokio::test]
async fn o16_a_device_comes_in_when_its_code_is_typed_and_allowed() {
    let scene = scene().await;
    let (device, code) = code_of_a_device(&scene).await;
    let mut ada = Surfer::default();
    let link = format!("/device?user_code={code}");
    let typed = ada.get(&scene, &link).await;
    assert!(typed.body.contains(&code), "filled in, and asked all the same");
    let sign_in = ada.post(&scene, "/device", &[("user_code", &code)]).await.leads_to();
    let confirm = ada.signs_in(&scene, &sign_in, "ada@acme.test", PASSWORD).await.leads_to();
    let page = ada.get(&scene, &confirm).await;
    assert_eq!(page.heading(), "Connect this device?");
    assert!(page.body.contains("Know who you are") && page.body.contains(&code));
    assert_eq!(polls(&scene, &device).await["error"], "authorization_pending");

    let path = confirm.split('?').next().unwrap().to_owned();
    let form = [("user_code", &*code), ("answer", "allow")];
    let elsewhere = ada.post_from(&scene, &path, &form, Some("https://evil.test")).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    let done = ada.post(&scene, &path, &form).await.leads_to();
    assert!(ada.get(&scene, &done).await.body.contains("Your device is signed in"));
    let tokens = polls(&scene, &device).await;
    let claims = scene.claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], scene.user.id.as_str());
    let again = ada.post(&scene, &path, &form).await.leads_to();
    assert!(again.ends_with("said=unknown"), "decided once");
}

#[tokio::test]
async fn o16_a_device_is_turned_away() {
    let scene = scene().await;
    let (device, code) = code_of_a_device(&scene).await;
    let mut ada = scene.surfer(&scene.user).await;
    let path = format!("/device/{}", scene.tenant);
    let deny = [("user_code", &*code), ("answer", "deny")];
    let mut nobody = Surfer::default();
    let refused = nobody.post(&scene, &path, &deny).await.leads_to();
    assert!(refused.ends_with("said=unknown"), "who is not in decides nothing");
    let bond = tenant(&scene.control, "bond").await;
    let other = ada.post(&scene, &format!("/device/{bond}"), &deny).await.leads_to();
    assert!(other.ends_with("said=unknown"), "nor in another tenant");
    let done = ada.post(&scene, &path, &deny).await.leads_to();
    assert!(done.ends_with("said=denied"));
    assert_eq!(polls(&scene, &device).await["error"], "access_denied");
}

#[tokio::test]
async fn i12_a_device_does_not_come_in_by_a_session_that_was_ended_meanwhile() {
    for ended in [false, true] {
        let scene = scene().await;
        let (device, code) = code_of_a_device(&scene).await;
        let mut ada = scene.surfer(&scene.user).await;
        let allow = [("user_code", &*code), ("answer", "allow")];
        let done = ada.post(&scene, &format!("/device/{}", scene.tenant), &allow).await;
        assert!(done.leads_to().ends_with("said=allowed"));
        if ended {
            let actor = crate::Actor::System("test");
            let (tenant, user) = (&scene.tenant, &scene.user.id);
            scene.control.revoke_all_sessions(&actor, tenant, user).await.unwrap();
        }
        let answer = polls(&scene, &device).await;
        assert_eq!(answer.get("access_token").is_none(), ended, "{answer}");
        assert_eq!(answer["error"] == "invalid_grant", ended, "{answer}");
    }
}
