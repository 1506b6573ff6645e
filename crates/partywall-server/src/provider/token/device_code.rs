//! Device codes (RFC 8628 3.4, 3.5): a device polls until somebody has decided.

use super::{
    InvalidGrant, TokenRequest, TokenRequestError, TokenResponse, application_for,
    granted::Granted, refresh_token,
};
use crate::{
    control::{Application, ClientAuthentication, Grant, GrantEnd, NewGrant},
    login::{Entry, Path, admit},
    provider::{
        authorize::RequestedClaims,
        client_auth::Client,
        device::{self, Decision, Device, PresentedDeviceCode},
        issue, scope,
    },
    storage::{
        outgoing_logouts, sessions,
        single_use::{self, Redeemed},
        users::Who,
    },
};

pub(super) async fn grant(
    request: &TokenRequest<'_>,
    client: Client,
) -> Result<TokenResponse, TokenRequestError> {
    let application = application_for(client, Grant::DeviceCode)?;
    let control = request.control;
    let refused =
        |why| TokenRequestError::InvalidGrant { client: application.client_id.to_string(), why };
    let text = request.form.get("device_code");
    let text = text.ok_or(TokenRequestError::Missing { parameter: "device_code" })?;
    let presented =
        PresentedDeviceCode::read(text).ok_or_else(|| refused(InvalidGrant::Unknown))?;
    let device = waiting(request, &application, &presented).await?;
    let Decision::Approved { tenant, user, proof, sid } =
        decision(request, presented.id, device.clone()).await?
    else {
        return Err(TokenRequestError::Device(DeviceWait::Denied));
    };
    let entry = Entry { tenant: &tenant, who: Who::User(&user), path: Path::Device, proof: &proof };
    let now = control.now();
    let write = control.inner.db.write().await?;
    let admitted = admit(write.rows(), entry, now).await?;
    let admitted = admitted.map_err(|why| refused(InvalidGrant::NotAdmitted(why)))?;
    // Before anything is used up.
    request.at.may_speak_for(&admitted)?;
    // As with codes: a new password, an administrator, a sign-out end what is under way, too.
    if let Some(sid) = &sid {
        let session = sessions::hold(write.rows(), &tenant, sid).await?;
        if session.is_none_or(|session| session.ended_at.is_some()) {
            return Err(refused(InvalidGrant::NotLive));
        }
    }
    let used: Redeemed<Device> =
        single_use::redeem(write.rows(), device::devices(), presented.id, now).await?;
    if used.first().is_none() {
        return Err(refused(InvalidGrant::Reused));
    }
    let is_public = application.authentication == ClientAuthentication::None;
    let new = NewGrant {
        id: device.grant.clone(),
        client: &application.client_id,
        scopes: device.scopes.clone(),
        resource: &device.resource,
        sid: sid.as_deref(),
        nonce: None,
        // RFC 9449 5: a confidential client shows who it is at every refresh.
        dpop_jkt: request.dpop_jkt.as_deref().filter(|_| is_public),
        refreshed: scope::has(&device.scopes, scope::OFFLINE_ACCESS)
            && application.registration.grants.contains(&Grant::RefreshToken),
    };
    let refresh_token = refresh_token::first(control, write.rows(), &admitted, new).await?;
    if let Some(sid) =
        sid.as_deref().filter(|_| application.registration.backchannel_logout_uri.is_some())
    {
        outgoing_logouts::note(write.rows(), sid, &application.client_id).await?;
    }
    write.commit().await?;

    let granted = Granted {
        grant: &device.grant,
        admitted: &admitted,
        client_id: application.client_id.as_str(),
        resource: issue::resource(control, Some(&device.resource))?,
        scopes: &device.scopes,
        asked: device.scopes.iter().collect(),
        sid: sid.as_deref(),
        nonce: None,
        claims: &RequestedClaims::default(),
        refresh_token: refresh_token.as_ref(),
    };
    granted.answer(request).await
}

/// The device whose code this is.
async fn waiting(
    request: &TokenRequest<'_>,
    application: &Application,
    presented: &PresentedDeviceCode<'_>,
) -> Result<Device, TokenRequestError> {
    let (control, now) = (request.control, request.control.now());
    let client = application.client_id.as_str();
    let refused = |why| TokenRequestError::InvalidGrant { client: client.to_owned(), why };
    let db = control.inner.db.reader();
    let found: Option<Device> = single_use::peek(db, device::devices(), presented.id, now).await?;
    if let Some(device) = found {
        return if !presented.is_of(&device) || device.client != application.client_id {
            Err(refused(InvalidGrant::OtherClient))
        } else if device.issuer != request.at.issuer() {
            Err(refused(InvalidGrant::OtherIssuer))
        } else {
            Ok(device)
        };
    }
    // Used up or too late; nothing changes by asking.
    let used: Redeemed<Device> = {
        let write = control.inner.db.single().await;
        single_use::redeem(write.db(), device::devices(), presented.id, now).await?
    };
    match used {
        Redeemed::Again(device)
            if presented.is_of(&device)
                && device.client == application.client_id
                && device.issuer == request.at.issuer() =>
        {
            // As with codes: somebody has a copy.
            let id = device::decision_of(presented.id);
            let db = control.inner.db.reader();
            let decided: Option<Decision> =
                single_use::peek(db, device::devices(), &id, now).await?;
            if let Some(Decision::Approved { tenant, .. }) = decided {
                let why = GrantEnd::CodeReused;
                control.end_grant(&tenant, &device.grant, client, why).await?;
            }
            Err(refused(InvalidGrant::Reused))
        }
        Redeemed::Again(_) => Err(refused(InvalidGrant::OtherClient)),
        Redeemed::First(_) | Redeemed::Unknown => {
            Err(TokenRequestError::Device(DeviceWait::Expired))
        }
    }
}

/// What was decided; and where nothing was, whether the device asks too often.
async fn decision(
    request: &TokenRequest<'_>,
    id: &str,
    mut device: Device,
) -> Result<Decision, TokenRequestError> {
    let (control, now) = (request.control, request.control.now());
    let interval = std::time::Duration::from_secs(device.interval);
    let too_soon = device.polled_at.is_some_and(|last| now < last + interval);
    let key = device::decision_of(id);
    let db = control.inner.db.reader();
    if !too_soon && let Some(decision) = single_use::peek(db, device::devices(), &key, now).await? {
        return Ok(decision);
    }
    device.polled_at = Some(now);
    // RFC 8628 3.5: for this and all further requests.
    device.interval += if too_soon { device::INTERVAL.as_secs() } else { 0 };
    let write = control.inner.db.single().await;
    single_use::amend(write.db(), device::devices(), id, &device, now).await?;
    Err(TokenRequestError::Device(if too_soon { DeviceWait::TooSoon } else { DeviceWait::Pending }))
}

/// Why a device has no tokens yet, or never will (RFC 8628 3.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::provider) enum DeviceWait {
    #[error("nobody has decided yet")]
    Pending,
    #[error("the device asks too often")]
    TooSoon,
    #[error("it was turned away")]
    Denied,
    #[error("the code has expired")]
    Expired,
}

impl DeviceWait {
    pub(super) fn answer(self) -> (&'static str, &'static str) {
        match self {
            Self::Pending => ("authorization_pending", "nobody has decided yet: ask again later"),
            Self::TooSoon => ("slow_down", "wait five seconds longer between requests"),
            Self::Denied => ("access_denied", "the request was denied"),
            Self::Expired => ("expired_token", "the code has expired: begin again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::provider::{
        At,
        device::{self, Waiting},
        testing::{self, Scene, as_application},
    };

    const GRANT: &str = "grant_type=urn:ietf:params:oauth:grant-type:device_code";

    async fn begin(scene: &Scene) -> Value {
        let form =
            format!("{}&scope=openid+offline_access+invoices:read", as_application(&scene.app));
        let (status, answer) = scene.post("/device_authorization", &form).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn poll(scene: &Scene, begun: &Value) -> Value {
        let code = begun["device_code"].as_str().unwrap();
        let form = format!("{GRANT}&{}&device_code={code}", as_application(&scene.app));
        scene.post("/token", &form).await.1
    }

    async fn typed(scene: &Scene, begun: &Value) -> Option<Waiting> {
        let code = begun["user_code"].as_str().unwrap();
        device::look_up(&scene.control, &At::shared(&scene.control), "a-1", code).await.unwrap()
    }

    #[tokio::test]
    async fn rfc8628_a_device_waits_until_somebody_lets_it_in() {
        let scene = Scene::new().await;
        let begun = begin(&scene).await;
        assert_eq!(begun["verification_uri"], "https://id.test/device");
        assert_eq!(
            (begun["interval"].as_u64(), begun["expires_in"].as_u64()),
            (Some(5), Some(600))
        );
        let code = begun["user_code"].as_str().unwrap();
        assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
        assert!(code.bytes().all(|b| b"BCDFGHJKLMNPQRSTVWXZ-".contains(&b)), "{code}");

        assert_eq!(poll(&scene, &begun).await["error"], "authorization_pending");
        assert_eq!(poll(&scene, &begun).await["error"], "slow_down");
        scene.advance(Duration::from_secs(9));
        assert_eq!(poll(&scene, &begun).await["error"], "slow_down", "ten seconds by now");
        scene.advance(Duration::from_secs(15));
        assert_eq!(poll(&scene, &begun).await["error"], "authorization_pending");

        let waiting = typed(&scene, &begun).await.unwrap();
        assert_eq!((&waiting.client, waiting.name.as_str()), (&scene.app.client_id, "web"));
        let admitted = scene.admitted().await;
        assert!(
            device::approve(&scene.control, &At::shared(&scene.control), &waiting, &admitted, None)
                .await
                .unwrap()
        );
        assert!(!device::deny(&scene.control, &waiting).await.unwrap(), "decided once");
        assert!(typed(&scene, &begun).await.is_none(), "typed once");
        scene.advance(Duration::from_secs(15));
        let answer = poll(&scene, &begun).await;
        let access = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(answer["id_token"].is_string() && answer["refresh_token"].is_string());
        let claims = scene.claims(access);
        assert_eq!(claims["sub"], scene.user.id.as_str());
        assert_eq!(claims["amr"], json!(["pwd"]));
        assert_eq!(scene.refusal(access).await, None);

        // A second time somebody has a copy: all of it ends.
        assert_eq!(poll(&scene, &begun).await["error"], "invalid_grant");
        assert_eq!(scene.refusal(access).await, Some("revoked"));
        assert!(scene.grants().await.is_empty());
    }

    #[tokio::test]
    async fn rfc8628_a_device_is_turned_away_or_comes_too_late() {
        let scene = Scene::new().await;
        let begun = begin(&scene).await;
        let waiting = typed(&scene, &begun).await.unwrap();
        assert!(device::deny(&scene.control, &waiting).await.unwrap());
        let admitted = scene.admitted().await;
        assert!(
            !device::approve(
                &scene.control,
                &At::shared(&scene.control),
                &waiting,
                &admitted,
                None
            )
            .await
            .unwrap()
        );
        assert_eq!(poll(&scene, &begun).await["error"], "access_denied");

        let late = begin(&scene).await;
        let waiting = typed(&scene, &late).await.unwrap();
        scene.advance(Duration::from_secs(600));
        assert_eq!(poll(&scene, &late).await["error"], "expired_token");
        assert!(typed(&scene, &late).await.is_none());
        let admitted = scene.admitted().await;
        assert!(
            !device::approve(
                &scene.control,
                &At::shared(&scene.control),
                &waiting,
                &admitted,
                None
            )
            .await
            .unwrap()
        );
    }

    #[tokio::test]
    async fn o22_a_device_code_is_its_clients_and_whole() {
        let scene = Scene::new().await;
        let (begun, other) = (begin(&scene).await, begin(&scene).await);
        let (one, two) =
            (begun["device_code"].as_str().unwrap(), other["device_code"].as_str().unwrap());
        let waiting = typed(&scene, &begun).await.unwrap();
        let admitted = scene.admitted().await;
        assert!(
            device::approve(&scene.control, &At::shared(&scene.control), &waiting, &admitted, None)
                .await
                .unwrap()
        );
        let stranger = as_application(&scene.another_app().await);
        let own = as_application(&scene.app);
        let mixed =
            format!("{}.{}", one.split_once('.').unwrap().0, two.split_once('.').unwrap().1);
        let user_code = begun["user_code"].as_str().unwrap();
        for (client, code) in
            [(&stranger, one), (&own, mixed.as_str()), (&own, user_code), (&own, "pwd_x.y")]
        {
            let form = format!("{GRANT}&{client}&device_code={code}");
            assert_eq!(scene.post("/token", &form).await.1["error"], "invalid_grant", "{code}");
        }
        assert!(poll(&scene, &begun).await["access_token"].is_string(), "the control");

        let secret = json!({
            "authentication": "client_secret",
            "registration": { "redirect_uris": ["https://app.test/cb"] },
        });
        let unregistered = testing::application(&scene.control, None, secret).await;
        let form = as_application(&unregistered);
        let answer = scene.post("/device_authorization", &form).await.1;
        assert_eq!(answer["error"], "unauthorized_client");
    }

    #[tokio::test]
    async fn rfc8628_user_codes_are_guessed_ten_times_and_no_more() {
        let scene = Scene::new().await;
        let begun = begin(&scene).await;
        let code = begun["user_code"].as_str().unwrap();
        let look = async |who: &str, code: &str| {
            device::look_up(&scene.control, &At::shared(&scene.control), who, code)
                .await
                .unwrap()
                .is_some()
        };
        let spelled = code.to_ascii_lowercase().replace('-', " ");
        for spelled in [code, &spelled, &code.replace('-', "")] {
            assert!(look("a-1", spelled).await, "{spelled}");
        }
        for _ in 0..10 {
            assert!(!look("a-1", "BBBB-BBBB").await);
        }
        assert!(!look("a-1", code).await, "it has guessed enough");
        assert!(look("a-2", code).await, "another has not");
        scene.advance(Duration::from_secs(599));
        assert!(!look("a-1", code).await);
        let fresh = begin(&scene).await;
        scene.advance(Duration::from_secs(1));
        assert!(look("a-1", fresh["user_code"].as_str().unwrap()).await);
    }
}
