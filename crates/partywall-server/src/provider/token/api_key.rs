//! API keys (I-36): a key in, a short access token of its holder out, with the parameters of token
//! exchange (RFC 8693 2.1). The key is its own credential: no client authenticates beside it.

use std::{collections::BTreeSet, time::Duration};

use super::{InvalidGrant, TokenRequest, TokenRequestError, TokenResponse, token_exchange};
use crate::{
    control::{ApiKey, ApiKeyHolder, PresentedApiKey},
    login::{Admitted, Entry, Path, Proof, Refusal, admit},
    provider::issue::{self, Issue},
    storage::{api_keys, users::Who},
};

/// The `subject_token_type` of API keys.
pub(super) const TYPE: &str = "urn:partywall:params:oauth:token-type:api_key";

/// How often a key's last use is written down.
const NOTED_EVERY: Duration = Duration::from_secs(3600);

pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenResponse, TokenRequestError> {
    let control = request.control;
    let wanted = request.form.get("requested_token_type").unwrap_or(token_exchange::ACCESS_TOKEN);
    if wanted != token_exchange::ACCESS_TOKEN {
        return Err(TokenRequestError::TokenType);
    }
    if request.form.get("actor_token").is_some() {
        return Err(TokenRequestError::ActorToken);
    }
    let text = request.form.get("subject_token");
    let text = text.ok_or(TokenRequestError::Missing { parameter: "subject_token" })?;
    let key = authenticated(request, text).await?;
    let client_id = format!("key-{}", key.id);
    let refused = |why| TokenRequestError::InvalidGrant { client: client_id.clone(), why };
    let scope = issue::granted_scopes(request.form.get("scope"), &key.scopes)?;
    let resource = issue::resource(control, request.form.get("resource"))?;
    let admitted = admitted(request, &key).await?;
    let admitted = admitted.map_err(|why| refused(InvalidGrant::NotAdmitted(why)))?;

    let mut issue = Issue::to(&admitted, &client_id, resource, scope);
    issue.roles.clone_from(&key.roles);
    issue.dpop_jkt = request.dpop_jkt.as_deref();
    issue.ends_at = Some(key.expires_at);
    issue.jti = Some(control.draw_token_id(key.id.as_str())?);
    let token = issue::access_token(control, request.at, &issue)?;
    let issued_token_type = Some(token_exchange::ACCESS_TOKEN);
    Ok(TokenResponse { issued_token_type, ..TokenResponse::of(token) })
}

/// The key this is, if it is one and good. One that never was, one that was revoked and one whose
/// secret is wrong take the same query and the same comparison, and look the same from outside.
async fn authenticated(
    request: &TokenRequest<'_>,
    text: &str,
) -> Result<ApiKey, TokenRequestError> {
    let (control, now) = (request.control, request.control.now());
    let unknown = |client: String| {
        Err(TokenRequestError::InvalidGrant { client, why: InvalidGrant::Unknown })
    };
    // Not of the shape we give out: everybody can see that it is none.
    let Some(presented) = PresentedApiKey::read(text) else { return unknown(String::new()) };
    let db = control.inner.db.reader();
    let candidate = api_keys::candidate(db, &presented.tenant, &presented.id, now).await?;
    let is_one = presented.is(candidate.as_ref().map(api_keys::Candidate::hash));
    let Some(candidate) = candidate.filter(|_| is_one) else {
        return unknown(format!("key-{}", presented.id));
    };
    let key = candidate.authenticated()?;
    if key.used_at.is_none_or(|used| used + NOTED_EVERY <= now) {
        let write = control.inner.db.single().await;
        api_keys::note_use(write.db(), &key.tenant, &key.id, now).await?;
    }
    Ok(key)
}

/// The key's holder before the gate. Nobody showed a factor: the key is what its holder, when it
/// was made, let act for them.
async fn admitted(
    request: &TokenRequest<'_>,
    key: &ApiKey,
) -> Result<Result<Admitted, Refusal>, TokenRequestError> {
    let (db, now) = (request.control.inner.db.reader(), request.control.now());
    match &key.holder {
        ApiKeyHolder::Machine(client) => {
            Ok(token_exchange::machine(request, &key.tenant, client).await?)
        }
        ApiKeyHolder::User(user) => {
            let proof = Proof::of(BTreeSet::new(), key.created_at);
            let (tenant, who) = (&key.tenant, Who::User(user));
            Ok(admit(db, Entry { tenant, who, path: Path::ApiKey, proof: &proof }, now).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::{
        ApiKeyCredentials,
        provider::testing::{Scene, TESTER, as_machine},
    };

    async fn key(scene: &Scene, how: Value) -> ApiKeyCredentials {
        let mut new = json!({
            "name": "ci", "holder": scene.user.id, "scopes": ["invoices:read"],
            "lasts_seconds": 3600,
        });
        how.as_object().unwrap().iter().for_each(|(name, value)| new[name] = value.clone());
        let new = serde_json::from_value(new).unwrap();
        scene.control.create_api_key(&TESTER, &scene.tenant, new).await.unwrap()
    }

    async fn exchange(scene: &Scene, key: &str, more: &str) -> Value {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={key}\
             &subject_token_type={}{more}",
            super::TYPE
        );
        scene.post("/token", &form).await.1
    }

    fn text(answer: &Value) -> String {
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    #[tokio::test]
    async fn i36_a_key_becomes_a_short_token_of_its_holder_and_of_no_more() {
        let scene = Scene::new().await;
        let of_user = key(&scene, json!({})).await;
        let answer = exchange(&scene, of_user.text.expose(), "").await;
        let token = text(&answer);
        let claims = scene.claims(&token);
        assert_eq!(claims["sub"], scene.user.id.as_str());
        assert_eq!(claims["scope"], "invoices:read");
        assert_eq!(claims["roles"], json!(["clerk"]));
        assert_eq!(claims["amr"], json!([]), "nobody showed a factor");
        assert_eq!(scene.refusal(&token).await, None);
        let more = exchange(&scene, of_user.text.expose(), "&scope=invoices:pay").await;
        assert_eq!(more["error"], "invalid_scope");

        let robot = scene.machine().await;
        let roles = json!({ "holder": robot.client_id, "roles": ["robot", "admin"] });
        let of_machine = key(&scene, roles).await;
        let claims = scene.claims(&text(&exchange(&scene, of_machine.text.expose(), "").await));
        assert_eq!(claims["sub"], robot.client_id.as_str());
        assert_eq!(claims["roles"], json!(["robot"]), "what its holder is not, it is not either");
        let used = scene.control.api_key(&scene.tenant, &of_machine.key.id).await.unwrap();
        assert!(used.unwrap().used_at.is_some());

        // Taken back, with all that was made of it.
        let id = &of_user.key.id;
        scene.control.revoke_api_key(&TESTER, &scene.tenant, id).await.unwrap();
        let refused = exchange(&scene, of_user.text.expose(), "").await;
        assert_eq!(refused["error"], "invalid_grant");
        assert_eq!(scene.refusal(&token).await, Some("revoked"));
        assert!(scene.control.revoke_api_key(&TESTER, &scene.tenant, id).await.is_err());
    }

    #[tokio::test]
    async fn i36_a_wrong_key_an_expired_one_and_none_look_the_same() {
        let scene = Scene::new().await;
        let (one, other) = (key(&scene, json!({})).await, key(&scene, json!({})).await);
        let (one, other) = (one.text.expose().clone(), other.text.expose().clone());
        let parts: Vec<&str> = one.split('.').collect();
        let others: Vec<&str> = other.split('.').collect();
        let stranger = "b".repeat(26);
        let mut answers = Vec::new();
        for text in [
            format!("{}.{}.{}", parts[0], parts[1], others[2]),
            format!("{}.bond.{}", parts[0], parts[2]),
            format!("pwk_{stranger}.{}.{}", parts[1], parts[2]),
            format!("{one}."),
            "pwk_".to_owned(),
            "x".to_owned(),
        ] {
            answers.push(exchange(&scene, &text, "").await);
        }
        scene.advance(Duration::from_secs(3599));
        let last = text(&exchange(&scene, &one, "").await);
        let claims = scene.claims(&last);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 1);
        scene.advance(Duration::from_secs(1));
        answers.push(exchange(&scene, &one, "").await);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(answers[0]["error"], "invalid_grant");
    }

    #[tokio::test]
    async fn o15_a_key_is_its_own_credential() {
        let scene = Scene::new().await;
        let (key, robot) = (key(&scene, json!({})).await, scene.machine().await);
        for more in [format!("&{}", as_machine(&robot)), format!("&client_id={}", robot.client_id)]
        {
            let answer = exchange(&scene, key.text.expose(), &more).await;
            assert_eq!(answer["error"], "invalid_request");
        }
        for more in ["&actor_token=x", "&requested_token_type=x", "&subject_token=y"] {
            let answer = exchange(&scene, key.text.expose(), more).await;
            assert_eq!(answer["error"], "invalid_request", "{more}");
        }
        text(&exchange(&scene, key.text.expose(), "").await);
    }
}
