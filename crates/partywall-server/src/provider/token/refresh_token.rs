//! Refresh tokens (RFC 6749 6): rotated at every use, and a family dies of a copy (O-06, I-10).

use sea_orm::ConnectionTrait;

use super::{
    InvalidGrant, TokenRequest, TokenRequestError, TokenResponse, application_for, granted::Granted,
};
use crate::{
    control::{Application, ControlPlane, Grant as GrantType, GrantEnd, NewGrant},
    login::{Admitted, Entry, Path, admit},
    provider::{authorize::RequestedClaims, client_auth::Client, issue},
    secret::Secret,
    storage::{
        StorageError,
        grants::{self, Grant, Standing},
        users::Who,
    },
};

/// Begins a family, in the caller's transaction, and makes its first refresh token, where there are
/// to be any. Never for a machine: it has its secret (RFC 6749 4.4.3).
pub(crate) async fn first(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    admitted: &Admitted,
    new: NewGrant<'_>,
) -> Result<Option<Secret<String>>, StorageError> {
    let refreshed = new.refreshed;
    let Some(grant) = control.new_grant(admitted, new) else { return Ok(None) };
    grants::insert(db, &grant).await?;
    let token = || control.inner.refresh_key.token(&grant.tenant, &grant.id, grant.turn);
    Ok(refreshed.then(token))
}

pub(super) async fn grant(
    request: &TokenRequest<'_>,
    client: Client,
) -> Result<TokenResponse, TokenRequestError> {
    let application = application_for(client, GrantType::RefreshToken)?;
    let control = request.control;
    let (grant, presented) = presented(request, &application).await?;
    // What cannot be granted must not cost a turn.
    let scope = issue::granted_scopes(request.form.get("scope"), &grant.scopes)?;
    // RFC 8707 2.2: a grant is for one resource, which a refresh may name again.
    let resource = issue::resource(control, Some(&grant.resource))?;
    if request.form.get("resource").is_some_and(|named| named != resource.as_str()) {
        return Err(issue::IssueError::Target.into());
    }
    let refused =
        |why| TokenRequestError::InvalidGrant { client: application.client_id.to_string(), why };
    let entry = Entry {
        tenant: &grant.tenant,
        who: Who::User(&grant.user),
        path: Path::Refresh,
        proof: &grant.proof,
    };
    let admitted = admit(control.inner.db.reader(), entry, control.now()).await?;
    let admitted = admitted.map_err(|why| refused(InvalidGrant::NotAdmitted(why)))?;
    // What another issuer would have to say must not cost a turn either.
    request.at.may_speak_for(&admitted)?;

    let next = turn(control, &grant, presented).await?;
    let next = next.ok_or_else(|| refused(InvalidGrant::Reused))?;
    let granted = Granted {
        grant: &grant.id,
        admitted: &admitted,
        client_id: application.client_id.as_str(),
        resource,
        scopes: &grant.scopes,
        asked: scope,
        sid: grant.sid.as_deref(),
        // OIDC Core 12.2: of the same sign-in, without its nonce.
        nonce: None,
        claims: &RequestedClaims::default(),
        refresh_token: Some(&next),
    };
    granted.answer(request).await
}

/// The grant that is asked to turn, and the turn whose token was presented.
async fn presented(
    request: &TokenRequest<'_>,
    application: &Application,
) -> Result<(Grant, u64), TokenRequestError> {
    let (control, client) = (request.control, application.client_id.as_str());
    let refused = |why| TokenRequestError::InvalidGrant { client: client.to_owned(), why };
    let token = request.form.get("refresh_token");
    let token = token.ok_or(TokenRequestError::Missing { parameter: "refresh_token" })?;
    // What was never issued costs no query.
    let named = control.inner.refresh_key.read(token);
    let named = named.ok_or_else(|| refused(InvalidGrant::Unknown))?;
    if application.tenant.as_ref().is_some_and(|tenant| *tenant != named.tenant) {
        return Err(refused(InvalidGrant::OtherClient));
    }
    let grant = grants::find(control.inner.db.reader(), &named.tenant, &named.grant).await?;
    let grant = grant.ok_or_else(|| refused(InvalidGrant::Unknown))?;
    let now = control.now();
    if grant.client != application.client_id {
        return Err(refused(InvalidGrant::OtherClient));
    }
    if !grant.is_live(now) {
        return Err(refused(InvalidGrant::NotLive));
    }
    // RFC 9449 5: bound to the key it began with. Where it began with none, a confidential client
    // may bring one at any time, and a public one would take what is not its own.
    let bound = match (&grant.dpop_jkt, &request.dpop_jkt) {
        (Some(bound), Some(proven)) => bound == proven,
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !bound {
        return Err(refused(InvalidGrant::OtherKey));
    }
    if grant.standing(named.turn, now) == Standing::Spent {
        control.end_grant(&grant.tenant, &grant.id, client, GrantEnd::TokenReused).await?;
        return Err(refused(InvalidGrant::Reused));
    }
    Ok((grant, named.turn))
}

/// The token of the turn after `presented`, which the grant is in afterwards: whoever else asks
/// with the same token at the same time gets the same one. `None` when it came too late, and the
/// grant has ended of it.
async fn turn(
    control: &ControlPlane,
    grant: &Grant,
    presented: u64,
) -> Result<Option<Secret<String>>, TokenRequestError> {
    let now = control.now();
    let turned = {
        let write = control.inner.db.single().await;
        grants::turn(write.db(), grant, presented, now).await?
    };
    if !turned {
        // Somebody was quicker; or it was turned before, and this is who never heard of it.
        let db = control.inner.db.reader();
        let Some(grant) = grants::find(db, &grant.tenant, &grant.id).await? else {
            return Ok(None);
        };
        if !grant.is_live(now) {
            return Ok(None);
        }
        match grant.standing(presented, now) {
            Standing::JustTurned => {
                metrics::counter!("partywall_refresh_repeated_total").increment(1);
            }
            Standing::Present | Standing::Spent => {
                let client = grant.client.as_str();
                let why = GrantEnd::TokenReused;
                control.end_grant(&grant.tenant, &grant.id, client, why).await?;
                return Ok(None);
            }
        }
    }
    Ok(Some(control.inner.refresh_key.token(&grant.tenant, &grant.id, presented + 1)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use partywall::TenantStatus;

    use crate::{
        UserStatus,
        provider::testing::{Scene, Signer},
        storage::users,
    };

    async fn refresh(scene: &Scene, token: &str, more: &str) -> serde_json::Value {
        let client = &scene.app.client_id;
        let form =
            format!("grant_type=refresh_token&client_id={client}&refresh_token={token}{more}");
        scene.post("/token", &form).await.1
    }

    fn text(answer: &serde_json::Value, name: &str) -> String {
        answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
    }

    #[tokio::test]
    async fn o06_a_refresh_token_turns_and_the_one_before_ends_the_family() {
        let scene = Scene::new().await;
        let first = scene.refresh_token("openid invoices:read invoices:pay").await;
        let answer = refresh(&scene, &first, "").await;
        let (second, access) = (text(&answer, "refresh_token"), text(&answer, "access_token"));
        assert_ne!(first, second);
        assert_eq!(answer["scope"], "invoices:pay invoices:read openid");
        assert_eq!(scene.refusal(&access).await, None);
        scene.advance(Duration::from_secs(31));
        let third = text(&refresh(&scene, &second, "").await, "refresh_token");
        scene.advance(Duration::from_secs(31));

        // Two turns old: somebody has a copy. Nobody can refresh after that, and what was issued
        // is refused from the next bundle on.
        assert_eq!(scene.refusal(&access).await, None, "the control");
        assert_eq!(refresh(&scene, &first, "").await["error"], "invalid_grant");
        assert_eq!(refresh(&scene, &third, "").await["error"], "invalid_grant");
        assert_eq!(scene.refusal(&access).await, Some("revoked"));
        let events = scene.security_events().await;
        assert_eq!(events, ["grant.end token_reused"]);
        // Once.
        assert_eq!(refresh(&scene, &first, "").await["error"], "invalid_grant");
        assert_eq!(scene.security_events().await.len(), 1);
    }

    #[tokio::test]
    async fn i10_of_fifty_refreshes_at_once_all_get_the_one_successor() {
        let scene = std::sync::Arc::new(Scene::new().await);
        let first = scene.refresh_token("openid").await;
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (scene, first) = (std::sync::Arc::clone(&scene), first.clone());
            all.spawn(async move { text(&refresh(&scene, &first, "").await, "refresh_token") });
        }
        let successors: std::collections::BTreeSet<String> =
            all.join_all().await.into_iter().collect();
        assert_eq!(successors.len(), 1);
        assert_eq!(scene.grants().await[0].turn, 1);

        // A lost reply is repaired within half a minute, and is a copy after that.
        scene.advance(Duration::from_secs(29));
        let again = text(&refresh(&scene, &first, "").await, "refresh_token");
        assert!(successors.contains(&again));
        scene.advance(Duration::from_secs(1));
        assert_eq!(refresh(&scene, &first, "").await["error"], "invalid_grant");
        assert_eq!(refresh(&scene, &again, "").await["error"], "invalid_grant", "ended");
    }

    #[tokio::test]
    async fn o06_a_refresh_asks_for_less_and_a_refused_one_costs_no_turn() {
        let scene = Scene::new().await;
        let first = scene.refresh_token("openid invoices:read").await;
        for (more, error) in [
            ("&scope=invoices:pay", "invalid_scope"),
            ("&scope=openid+admin", "invalid_scope"),
            ("&resource=https://evil.test", "invalid_target"),
            ("&resource=https://other-api.test", "invalid_target"),
        ] {
            assert_eq!(refresh(&scene, &first, more).await["error"], error, "{more}");
        }
        assert_eq!(scene.grants().await[0].turn, 0);
        let less = refresh(&scene, &first, "&scope=openid&resource=https://api.test").await;
        assert_eq!(less["scope"], "openid");
        let all = refresh(&scene, &text(&less, "refresh_token"), "").await;
        assert_eq!(all["scope"], "invoices:read openid", "the grant is what it was");
    }

    #[tokio::test]
    async fn o06_a_refresh_token_is_its_clients_and_ends_by_itself() {
        let scene = Scene::new().await;
        let first = scene.refresh_token("openid").await;
        let other = scene.another_app().await;
        let of_other =
            format!("grant_type=refresh_token&client_id={}&refresh_token={first}", other.client_id);
        assert_eq!(scene.post("/token", &of_other).await.1["error"], "invalid_grant");
        let robot = scene.machine().await;
        let of_robot = format!(
            "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={first}",
            robot.client_id,
            robot.secret.expose()
        );
        assert_eq!(scene.post("/token", &of_robot).await.1["error"], "unauthorized_client");
        for garbage in ["", "x", "pwr_x.0.acme.x", &first[..first.len() - 1]] {
            let error = refresh(&scene, garbage, "").await["error"].clone();
            assert!(error == "invalid_grant" || error == "invalid_request", "{garbage}: {error}");
        }
        let second = text(&refresh(&scene, &first, "").await, "refresh_token");
        scene.advance(Duration::from_secs(30 * 24 * 3600));
        assert_eq!(refresh(&scene, &second, "").await["error"], "invalid_grant", "turned or not");
    }

    #[tokio::test]
    async fn i12_a_refresh_goes_through_the_gate_and_reads_roles_afresh() {
        let scene = Scene::new().await;
        let first = scene.refresh_token("openid").await;
        let db = scene.control.inner.db.reader();
        let mut user = scene.user.clone();
        let mut change = async |status, roles: &[&str]| {
            user.status = status;
            user.roles = roles.iter().map(|role| (*role).into()).collect();
            user.version += 1;
            assert!(users::update(db, &user).await.unwrap());
        };
        change(UserStatus::Suspended, &["clerk"]).await;
        assert_eq!(refresh(&scene, &first, "").await["error"], "invalid_grant");
        change(UserStatus::Active, &["auditor"]).await;
        scene.set_status(TenantStatus::Suspended).await;
        assert_eq!(refresh(&scene, &first, "").await["error"], "invalid_grant");
        scene.set_status(TenantStatus::Active).await;
        let answer = refresh(&scene, &first, "").await;
        let claims = scene.claims(&text(&answer, "access_token"));
        assert_eq!(claims["roles"], serde_json::json!(["auditor"]));
        assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
    }

    #[tokio::test]
    async fn j19_a_bound_family_refreshes_with_its_own_key_only() {
        let scene = Scene::new().await;
        let (key, thief) = (Signer::new(), Signer::new());
        let first = scene.bound_refresh_token("openid", &key.thumbprint()).await;
        let form = format!(
            "grant_type=refresh_token&client_id={}&refresh_token={first}",
            scene.app.client_id
        );
        let with = async |proof: String| scene.post_with("/token", &form, &[("dpop", proof)]).await;
        assert_eq!(scene.post("/token", &form).await.1["error"], "invalid_grant", "no proof");
        let proof = scene.dpop_proof(&thief, "/token", "1");
        assert_eq!(with(proof).await.1["error"], "invalid_grant", "another key");
        for (path, id) in [("/par", "2"), ("/token?", "3")] {
            let ok = id == "3";
            let answer = with(scene.dpop_proof(&key, path, id)).await.1;
            assert_eq!(answer.get("access_token").is_some(), ok, "{path}: {answer}");
        }
        let proof = scene.dpop_proof(&key, "/token", "4");
        let answer = with(proof.clone()).await.1;
        assert_eq!(answer["token_type"], "DPoP");
        let claims = scene.claims(&text(&answer, "access_token"));
        assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
        assert_eq!(with(proof).await.1["error"], "invalid_dpop_proof", "replayed");
        assert_eq!(scene.refusal(&text(&answer, "access_token")).await, Some("proof_required"));
    }
}
