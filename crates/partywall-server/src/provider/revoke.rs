//! `POST /revoke` (RFC 7009): a client gives a token back.
//!
//! A refresh token ends its grant and every access token of it; an access token ends alone. Both
//! reach enforcement points with the next bundle. A token that is not the client's own to give back
//! is left alone, and the answer is the same (RFC 7009 2.2, O-16).

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};

use super::{
    at::At,
    introspect::{self, TokenOf, TokenQueryError},
    oauth_error::NOT_STORED,
};
use crate::control::{ControlPlane, GrantEnd, THE_SERVER};

pub(super) const PATH: &str = "/revoke";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, TokenQueryError> {
    let (client, token) = introspect::read(&control, &at, &uri, &headers, &body).await?;
    let found = TokenOf::read(&control, &at, &token).await?;
    // RFC 7009 2.1: issued to the client that asks, whatever tenant it is of.
    let own = found.filter(|found| found.client == client.id());
    match own.filter(|found| client.tenant().is_none_or(|tenant| *tenant == found.tenant)) {
        Some(TokenOf { tenant, grant: Some(grant), .. }) => {
            control.end_grant(&tenant, &grant, client.id(), GrantEnd::ByClient).await?;
        }
        Some(TokenOf { tenant, jti: Some(jti), .. }) => {
            control.revoke_token(&THE_SERVER, &tenant, &jti).await?;
        }
        Some(_) | None => {}
    }
    Ok((StatusCode::OK, NOT_STORED).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::provider::testing::{self, Scene, as_application, as_machine};

    struct Issued {
        scene: Scene,
        refresh: String,
        access: String,
    }

    impl Issued {
        async fn new() -> Self {
            let scene = Scene::new().await;
            let first = scene.refresh_token("openid invoices:read").await;
            let client = &scene.app.client_id;
            let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={first}");
            let answer = scene.post("/token", &form).await.1;
            let text = |name: &str| answer[name].as_str().unwrap().to_owned();
            let (refresh, access) = (text("refresh_token"), text("access_token"));
            Self { scene, refresh, access }
        }

        async fn ask(&self, client: &str, token: &str) -> Value {
            self.scene.post("/introspect", &format!("{client}&token={token}")).await.1
        }

        async fn revoke(&self, client: &str, token: &str) {
            let form = format!("{client}&token={token}&token_type_hint=refresh_token");
            assert_eq!(self.scene.post("/revoke", &form).await.0, 200);
        }
    }

    #[tokio::test]
    async fn o16_a_client_is_told_about_its_own_tenants_tokens_only() {
        let issued = Issued::new().await;
        let scene = &issued.scene;
        let secret = json!({ "authentication": "client_secret" });
        let bond = testing::tenant(&scene.control, "bond").await;
        let robot = as_machine(&scene.machine().await);
        let own = testing::application(&scene.control, Some(&scene.tenant), secret.clone()).await;
        for client in [robot.clone(), as_application(&own)] {
            let answer = issued.ask(&client, &issued.access).await;
            assert_eq!(answer["active"], true);
            assert_eq!(answer["sub"], scene.user.id.as_str());
            assert_eq!(answer["tid"], scene.tenant.as_str());
            assert_eq!(answer["scope"], "invoices:read openid");
            assert_eq!(issued.ask(&client, &issued.refresh).await["active"], true);
        }
        let inactive = json!({ "active": false });
        let vendors = testing::application(&scene.control, None, secret.clone()).await;
        let bonds = testing::application(&scene.control, Some(&bond), secret).await;
        let foreign = as_machine(&testing::machine(&scene.control, &bond).await);
        for client in [foreign, as_application(&vendors), as_application(&bonds)] {
            for token in [&issued.access, &issued.refresh] {
                assert_eq!(issued.ask(&client, token).await, inactive);
                // Nothing happens, and nothing is said.
                issued.revoke(&client, token).await;
            }
        }
        for none in ["x", "a.b.c", "pwr_x"] {
            assert_eq!(issued.ask(&robot, none).await, inactive);
        }
        assert_eq!(issued.ask(&robot, &issued.access).await["active"], true, "still good");
        let public = as_application(&scene.app);
        assert_eq!(issued.ask(&public, &issued.access).await["error"], "invalid_client");
        assert_eq!(issued.ask("x=1", &issued.access).await["error"], "invalid_client");
        assert_eq!(scene.post("/introspect", &robot).await.1["error"], "invalid_request");

        scene.set_status(partywall::TenantStatus::Suspended).await;
        assert_eq!(issued.ask(&robot, &issued.access).await, inactive);
        scene.set_status(partywall::TenantStatus::Active).await;
        scene.advance(std::time::Duration::from_secs(700));
        assert_eq!(issued.ask(&robot, &issued.access).await, inactive, "expired");
    }

    #[tokio::test]
    async fn o16_a_client_gives_its_own_tokens_back() {
        let issued = Issued::new().await;
        let scene = &issued.scene;
        let robot = as_machine(&scene.machine().await);
        // A machine of the tenant is told about the token, and it is not its own to end.
        issued.revoke(&robot, &issued.access).await;
        assert_eq!(scene.refusal(&issued.access).await, None);

        let client = as_application(&scene.app);
        issued.revoke(&client, &issued.access).await;
        assert_eq!(scene.refusal(&issued.access).await, Some("revoked"));
        assert_eq!(issued.ask(&robot, &issued.access).await, json!({ "active": false }));
        let form = format!("grant_type=refresh_token&{client}&refresh_token={}", issued.refresh);
        let next = scene.post("/token", &form).await.1;
        let access = next["access_token"].as_str().unwrap();
        assert_eq!(scene.refusal(access).await, None, "the grant goes on");

        issued.revoke(&client, next["refresh_token"].as_str().unwrap()).await;
        assert_eq!(scene.refusal(access).await, Some("revoked"), "with its grant");
        assert_eq!(scene.post("/token", &form).await.1["error"], "invalid_grant");
        issued.revoke(&client, &issued.refresh).await;
    }
}
