//! Token exchange (RFC 8693): a client that has somebody's access token gets one to act on their
//! behalf, for a resource of ours. Everything about it can only shrink: tenant, roles, scopes and
//! life are the subject's at most, and who acts is written down (O-17).

use std::collections::BTreeSet;

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{Role, TenantId, Timestamp, token::TokenFacts};
use serde::Deserialize;

use super::{InvalidGrant, TokenRequest, TokenRequestError, TokenResponse, application_for};
use crate::{
    control::{ClientId, Grant, Scope, UserId},
    login::{Admitted, Amr, Entry, Path, Proof, Refusal, admit, admit_machine},
    provider::{
        client_auth::Client,
        issue::{self, Actor, Issue, IssueError},
        own_token,
    },
    storage::{machines, users::Who},
};

/// RFC 8693 3: the one type that is taken and given here. API keys have a [type of their
/// own](super::api_key::TYPE).
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How many actors a token names at most, the present one included.
const MAX_ACTORS: usize = 4;

pub(super) async fn grant(
    request: &TokenRequest<'_>,
    client: Client,
) -> Result<TokenResponse, TokenRequestError> {
    let control = request.control;
    let client = match client {
        // A machine acts inside its own tenant, with nothing to register.
        Client::Machine(machine) => Client::Machine(machine),
        application => Client::Application(application_for(application, Grant::TokenExchange)?),
    };
    let refused = |why| TokenRequestError::InvalidGrant { client: client.id().to_owned(), why };
    let subject = SubjectToken::verified(request, &client).await?;
    let facts = &subject.facts;
    if client.tenant().is_some_and(|tenant| *tenant != facts.tenant) {
        tracing::warn!(
            tenant.id = %facts.tenant, client.id = client.id(),
            "a client tried to exchange another tenant's token"
        );
        return Err(refused(InvalidGrant::OtherTenant));
    }
    // RFC 8693 gives no rule for tokens that are bound to a key: whoever has only copied one must
    // not get rid of the binding.
    if facts.bound_to.is_some() && facts.bound_to != request.dpop_jkt {
        return Err(refused(InvalidGrant::OtherKey));
    }
    let actor = Actor { sub: client.id().to_owned(), act: subject.actors.map(Box::new) };
    if depth(&actor) > MAX_ACTORS {
        return Err(refused(InvalidGrant::TooManyActors));
    }
    let scopes: BTreeSet<Scope> = facts.scope.iter().filter_map(|s| s.parse().ok()).collect();
    let scope = issue::granted_scopes(request.form.get("scope"), &scopes)?;
    let resource = issue::resource(control, target(request)?)?;
    let admitted = admitted(request, facts).await?;
    let admitted = admitted.map_err(|why| refused(InvalidGrant::NotAdmitted(why)))?;

    let mut issue = Issue::to(&admitted, client.id(), resource, scope);
    issue.actor = Some(&actor);
    issue.roles = Some(facts.roles.iter().map(|role| Role::from(role.as_str())).collect());
    issue.sid = subject.sid.as_deref();
    issue.dpop_jkt = request.dpop_jkt.as_deref();
    issue.ends_at = Some(facts.expires_at);
    // What refuses the subject's token, or the grant it is of, refuses this one.
    let jti = facts.jti.as_deref().unwrap_or_default();
    let family = jti.split_once('.').map_or(jti, |(family, _)| family);
    issue.jti = Some(control.draw_token_id(family)?);
    let token = issue::access_token(control, request.at, &issue)?;
    Ok(TokenResponse { issued_token_type: Some(ACCESS_TOKEN), ..TokenResponse::of(token) })
}

/// The token of whoever is acted for.
struct SubjectToken {
    facts: TokenFacts,
    /// Who acts with it already.
    actors: Option<Actor>,
    sid: Option<String>,
}

impl SubjectToken {
    /// The request's `subject_token`, which must be there and hold: without one there is nobody to
    /// act for, whatever else is sent (CVE-2026-9704).
    async fn verified(
        request: &TokenRequest<'_>,
        client: &Client,
    ) -> Result<Self, TokenRequestError> {
        let missing = |parameter| TokenRequestError::Missing { parameter };
        let form = request.form;
        let token = form.get("subject_token").ok_or_else(|| missing("subject_token"))?;
        let kind = form.get("subject_token_type").ok_or_else(|| missing("subject_token_type"))?;
        let wanted = form.get("requested_token_type").unwrap_or(ACCESS_TOKEN);
        if kind != ACCESS_TOKEN || wanted != ACCESS_TOKEN {
            return Err(TokenRequestError::TokenType);
        }
        // The actor is the client, which has shown who it is. Nobody is named by a token beside it.
        if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
            return Err(TokenRequestError::ActorToken);
        }
        let facts = match own_token::verify(request.control, request.at, token).await {
            Ok(facts) => facts,
            Err(error) if error.is_the_tokens() => {
                tracing::debug!(%error, "a subject token does not hold");
                let client = client.id().to_owned();
                return Err(TokenRequestError::InvalidGrant { client, why: InvalidGrant::Unknown });
            }
            Err(error) => return Err(error.into()),
        };
        let more = More::of_verified(token);
        Ok(Self { facts, actors: more.act, sid: more.sid })
    }
}

/// What the facts of a token leave out.
#[derive(Default, Deserialize)]
struct More {
    act: Option<Actor>,
    sid: Option<String>,
}

impl More {
    /// Of a token whose signature holds, so these are our own words.
    fn of_verified(token: &str) -> Self {
        let payload =
            token.split('.').nth(1).and_then(|part| Base64UrlUnpadded::decode_vec(part).ok());
        payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
    }
}

fn depth(actor: &Actor) -> usize {
    std::iter::successors(Some(actor), |actor| actor.act.as_deref()).count()
}

/// The one resource asked for, by either of its names (RFC 8693 2.1, RFC 8707 2).
fn target<'f>(request: &TokenRequest<'f>) -> Result<Option<&'f str>, IssueError> {
    match (request.form.get("resource"), request.form.get("audience")) {
        (Some(resource), Some(audience)) if resource != audience => Err(IssueError::Target),
        (resource, audience) => Ok(resource.or(audience)),
    }
}

/// The subject before the gate, as it is now.
async fn admitted(
    request: &TokenRequest<'_>,
    facts: &TokenFacts,
) -> Result<Result<Admitted, Refusal>, TokenRequestError> {
    let (db, now) = (request.control.inner.db.reader(), request.control.now());
    if let Ok(client) = facts.subject.as_str().parse::<ClientId>() {
        return Ok(machine(request, &facts.tenant, &client).await?);
    }
    let Ok(user) = facts.subject.as_str().parse::<UserId>() else {
        return Ok(Err(Refusal::NotAMember));
    };
    let shown = facts.amr.iter().filter_map(|amr| {
        serde_json::from_value::<Amr>(serde_json::Value::from(amr.as_str())).ok()
    });
    let mut proof = Proof::of(shown, facts.auth_time.unwrap_or(Timestamp(0)));
    proof.connection.clone_from(&facts.connection);
    let (tenant, who) = (&facts.tenant, Who::User(&user));
    // An API key showed no factors when its token was made; a policy that asks for some is not
    // met by exchanging it.
    let path = if facts.amr.is_empty() { Path::ApiKey } else { Path::TokenExchange };
    Ok(admit(db, Entry { tenant, who, path, proof: &proof }, now).await?)
}

/// A machine of `tenant`, as it is now.
pub(super) async fn machine(
    request: &TokenRequest<'_>,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<Result<Admitted, Refusal>, crate::StorageError> {
    let found = machines::candidate(request.control.inner.db.reader(), client.as_str()).await?;
    let Some(found) = found else { return Ok(Err(Refusal::NotAMember)) };
    let machine = found.authenticated()?;
    if machine.machine.tenant != *tenant {
        return Ok(Err(Refusal::NotAMember));
    }
    Ok(admit_machine(machine))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::{
        MachineCredentials, UserStatus,
        provider::testing::{self, Scene, Signer, TESTER, as_application, as_machine},
        storage::users,
    };

    const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
    const ACCESS: &str = "subject_token_type=urn:ietf:params:oauth:token-type:access_token";

    /// A user's access token.
    async fn of_user(scene: &Scene) -> String {
        let refresh = scene.refresh_token("invoices:read invoices:pay").await;
        let client = &scene.app.client_id;
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");
        text(&scene.post("/token", &form).await.1)
    }

    fn text(answer: &Value) -> String {
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn exchange(scene: &Scene, client: &str, token: &str, more: &str) -> Value {
        let form = format!("{EXCHANGE}&{client}&{ACCESS}&subject_token={token}{more}");
        scene.post("/token", &form).await.1
    }

    #[tokio::test]
    async fn o17_an_exchanged_token_says_who_acts_and_can_do_no_more() {
        let scene = Scene::new().await;
        let (token, robot) = (of_user(&scene).await, scene.machine().await);
        let more = "&resource=https://other-api.test&scope=invoices:read";
        scene.advance(Duration::from_secs(200));
        let answer = exchange(&scene, &as_machine(&robot), &token, more).await;
        assert_eq!(answer["issued_token_type"], super::ACCESS_TOKEN, "{answer}");
        let (before, claims) = (scene.claims(&token), scene.claims(&text(&answer)));
        assert_eq!(claims["sub"], scene.user.id.as_str());
        assert_eq!(claims["tid"], scene.tenant.as_str());
        assert_eq!(claims["act"], json!({ "sub": robot.client_id }));
        assert_eq!(claims["client_id"], robot.client_id.as_str());
        assert_eq!(claims["aud"], "https://other-api.test");
        assert_eq!(claims["scope"], "invoices:read");
        assert_eq!(claims["roles"], json!(["clerk"]), "the robot's own roles are not added");
        assert_eq!(claims["exp"], before["exp"], "it ends with what it was made of");

        // Nested, outermost last to act; scopes never grow back.
        let second = scene.machine().await;
        let first = text(&answer);
        let grown = exchange(&scene, &as_machine(&second), &first, "&scope=invoices:pay").await;
        assert_eq!(grown["error"], "invalid_scope");
        let nested = exchange(&scene, &as_machine(&second), &first, "").await;
        let claims = scene.claims(&text(&nested));
        let chain = json!({ "sub": second.client_id, "act": { "sub": robot.client_id } });
        assert_eq!(claims["act"], chain);
        let mut last = text(&nested);
        for actors in 3..=4 {
            let next = exchange(&scene, &as_machine(&second), &last, "").await;
            last = next["access_token"].as_str().unwrap_or_else(|| panic!("{actors}")).to_owned();
        }
        let fifth = exchange(&scene, &as_machine(&second), &last, "").await;
        assert_eq!(fifth["error"], "invalid_grant");
    }

    #[tokio::test]
    async fn b15_nothing_is_exchanged_without_the_one_subject_token() {
        let scene = Scene::new().await;
        let (token, robot) = (of_user(&scene).await, as_machine(&scene.machine().await));
        let good = format!("{EXCHANGE}&{robot}&{ACCESS}&subject_token={token}");
        let without = format!("{EXCHANGE}&{robot}");
        for form in [
            without.clone(),
            format!("{without}&{ACCESS}"),
            format!("{without}&{ACCESS}&subject_token="),
            format!("{without}&subject_token={token}"),
            format!("{without}&{ACCESS}&Subject_token={token}"),
            format!("{without}&{ACCESS}&subject-token={token}"),
            format!("{without}&{ACCESS}&assertion={token}"),
            format!("{good}&subject_token={token}"),
            format!("{good}&subject%5Ftoken={token}"),
            format!("{good}&{ACCESS}"),
            format!("{good}&actor_token={token}"),
            format!("{good}&actor_token_type=x"),
            format!("{good}&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token"),
            format!(
                "{without}&subject_token={token}&subject_token_type=urn:ietf:params:oauth:token-type:jwt"
            ),
            format!(
                "{without}&subject_token={token}&subject_token_type=urn:ietf:params:oauth:token-type:id_token"
            ),
        ] {
            assert_eq!(scene.post("/token", &form).await.1["error"], "invalid_request", "{form}");
        }
        for (more, error) in [
            ("&resource=https://evil.test", "invalid_target"),
            ("&audience=https://evil.test", "invalid_target"),
            ("&audience=https://api.test&resource=https://other-api.test", "invalid_target"),
        ] {
            let answer = scene.post("/token", &format!("{good}{more}")).await.1;
            assert_eq!(answer["error"], error, "{more}");
        }
        let (head, tail) = token.split_at(token.len() - 4);
        let forged = if tail == "AAAA" { format!("{head}BBBB") } else { format!("{head}AAAA") };
        for other in [forged.as_str(), "x", "a.b.c"] {
            assert_eq!(exchange(&scene, &robot, other, "").await["error"], "invalid_grant");
        }
        assert!(scene.post("/token", &good).await.1.get("access_token").is_some(), "the control");
        scene.advance(Duration::from_secs(700));
        assert_eq!(scene.post("/token", &good).await.1["error"], "invalid_grant", "expired");
    }

    #[tokio::test]
    async fn o17_the_tenant_cannot_change_and_clients_must_be_let() {
        let scene = Scene::new().await;
        let token = of_user(&scene).await;
        let bond = testing::tenant(&scene.control, "bond").await;
        let foreign: MachineCredentials = testing::machine(&scene.control, &bond).await;
        let secret = json!({ "authentication": "client_secret" });
        let vendors = testing::application(&scene.control, None, secret.clone()).await;
        let own = testing::application(&scene.control, Some(&scene.tenant), secret.clone()).await;
        let bonds = testing::application(&scene.control, Some(&bond), secret).await;
        for client in [as_machine(&foreign), as_application(&bonds)] {
            let answer = exchange(&scene, &client, &token, "").await;
            assert_eq!(answer["error"], "invalid_grant", "another tenant's");
            let more = format!("&tid={bond}&tenant={bond}&organization={bond}");
            assert_eq!(exchange(&scene, &client, &token, &more).await["error"], "invalid_grant");
        }
        for client in [as_application(&vendors), as_application(&own)] {
            let claims = scene.claims(&text(&exchange(&scene, &client, &token, "").await));
            assert_eq!(claims["tid"], scene.tenant.as_str());
        }
        let public = as_application(&scene.app);
        let answer = exchange(&scene, &public, &token, "").await;
        assert_eq!(answer["error"], "unauthorized_client", "not registered for it");
    }

    #[tokio::test]
    async fn i12_an_exchange_goes_through_the_gate_and_ends_with_its_subject() {
        let scene = Scene::new().await;
        let (token, robot) = (of_user(&scene).await, as_machine(&scene.machine().await));
        let exchanged = text(&exchange(&scene, &robot, &token, "").await);
        assert_eq!(scene.refusal(&exchanged).await, None);
        let mut user = scene.user.clone();
        user.status = UserStatus::Suspended;
        user.version += 1;
        assert!(users::update(scene.control.inner.db.reader(), &user).await.unwrap());
        assert_eq!(exchange(&scene, &robot, &token, "").await["error"], "invalid_grant");
        // The grant ends, and with it what was exchanged.
        let grant = scene.grants().await.remove(0);
        let why = crate::control::GrantEnd::Withdrawn;
        scene.control.end_grant(&scene.tenant, &grant.id, "", why).await.unwrap();
        assert_eq!(scene.refusal(&exchanged).await, Some("revoked"));

        // A machine's token, taken back by its id.
        let machine = as_machine(&scene.machine().await);
        let form = format!("grant_type=client_credentials&{machine}");
        let token = text(&scene.post("/token", &form).await.1);
        let exchanged = text(&exchange(&scene, &robot, &token, "").await);
        assert_eq!(scene.refusal(&exchanged).await, None);
        let jti = scene.claims(&token)["jti"].as_str().unwrap().to_owned();
        scene.control.revoke_token(&TESTER, &scene.tenant, &jti).await.unwrap();
        assert_eq!(scene.refusal(&exchanged).await, Some("revoked"));
        assert_eq!(exchange(&scene, &robot, &token, "").await["error"], "invalid_grant");
    }

    #[tokio::test]
    async fn j19_an_exchange_does_not_undo_a_binding() {
        let scene = Scene::new().await;
        let (key, robot) = (Signer::new(), as_machine(&scene.machine().await));
        let form = format!("grant_type=client_credentials&{robot}");
        let proof = |id: &str| [("dpop", scene.dpop_proof(&key, "/token", id))];
        let token = text(&scene.post_with("/token", &form, &proof("1")).await.1);
        assert_eq!(exchange(&scene, &robot, &token, "").await["error"], "invalid_grant");
        let form = format!("{EXCHANGE}&{robot}&{ACCESS}&subject_token={token}");
        let bound = scene.post_with("/token", &form, &proof("2")).await.1;
        assert_eq!(scene.claims(&text(&bound))["cnf"]["jkt"], key.thumbprint());
    }
}
