//! `private_key_jwt` (RFC 7523 2.2, 3): a signed assertion in place of a secret.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::token::{AssertionRules, KeySet, verify_assertion};

use super::{Client, ClientAuthError, CredentialsFault, RejectedClient};
use crate::{
    control::{ApplicationId, ClientAuthentication, ControlPlane},
    provider::{at::At, form::Form, token},
    storage::{
        StorageError, applications,
        single_use::{self, Drawer, Kind},
    },
};

/// RFC 7523 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far away `exp` may be: some clients make it an hour. Ids are remembered for as long.
const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// An assertion off the wire. Nothing of it is believed yet.
pub(super) struct PresentedAssertion<'f>(&'f str);

/// The request's assertion, if it authenticates with one.
pub(super) fn of<'f>(
    form: &'f Form<'_>,
) -> Result<Option<PresentedAssertion<'f>>, CredentialsFault> {
    match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (None, None) => Ok(None),
        (Some(ASSERTION_TYPE), Some(assertion)) => Ok(Some(PresentedAssertion(assertion))),
        (Some(_), _) | (_, Some(_)) => Err(CredentialsFault::Malformed),
    }
}

impl PresentedAssertion<'_> {
    /// The client this is, if its key signed this, for us, a moment ago and for the first time.
    pub(super) async fn authenticate(
        self,
        control: &ControlPlane,
        at: &At,
        named: Option<&str>,
    ) -> Result<Client, ClientAuthError> {
        let subject = self.unverified_subject().ok_or(CredentialsFault::Malformed)?;
        // RFC 7521 4.2: `client_id` is unnecessary, and must not name another.
        if named.is_some_and(|named| named != subject) {
            return Err(CredentialsFault::SentTwice.into());
        }
        let rejected = |known, why| RejectedClient {
            client: Some(subject.chars().take(64).collect()),
            known,
            why,
        };
        let client: ApplicationId = subject.parse().map_err(|_| rejected(false, None))?;
        let candidate = applications::candidate(control.inner.db.reader(), client.as_str()).await?;
        let application = candidate.ok_or_else(|| rejected(false, None))?.application()?;
        let keys = match (application.authentication, &application.jwks) {
            (ClientAuthentication::PrivateKeyJwt, Some(jwks)) => jwks.to_string(),
            _ => return Err(rejected(true, Some("not_registered_for_assertions")).into()),
        };
        let keys = KeySet::parse(keys.as_bytes()).map_err(|_| StorageError::Corrupt {
            table: "applications",
            row: client.to_string(),
            column: "jwks",
        })?;
        let token_endpoint = format!("{}{}", at.issuer(), token::PATH);
        let rules = AssertionRules {
            client: client.as_str(),
            audiences: &[at.issuer(), &token_endpoint],
            max_lifetime: MAX_LIFETIME,
        };
        let now = control.now();
        let asserted = verify_assertion(self.0, &keys, &rules, now)
            .map_err(|error| rejected(true, Some(error.code())))?;
        // RFC 7523 3, step 7: once, whichever of our issuers and servers it comes to. The longest
        // id is bounded, and only a client's own key puts any here.
        let id = format!("{client} {}", asserted.id);
        let lasts = MAX_LIFETIME + Duration::from_secs(60);
        let drawer = Drawer::before_any_tenant(Kind::ClientAssertion);
        let write = control.inner.db.single().await;
        if !single_use::put(write.db(), drawer, &id, &(), now, lasts).await? {
            return Err(rejected(true, Some("assertion_replayed")).into());
        }
        Ok(Client::Application(Box::new(application)))
    }

    /// Whose keys to look for. Everything else is read by the verifier, which reads this again.
    fn unverified_subject(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Subject {
            sub: String,
        }
        let payload = Base64UrlUnpadded::decode_vec(self.0.split('.').nth(1)?).ok()?;
        serde_json::from_slice::<Subject>(&payload).ok().map(|payload| payload.sub)
    }
}

#[cfg(test)]
mod tests {
    use partywall::Clock;
    use serde_json::{Value, json};

    use crate::provider::testing::{self, ISSUER, Scene, Signer};

    #[tokio::test]
    async fn o15_a_key_of_the_clients_own_stands_for_a_secret_once() {
        let scene = Scene::new().await;
        let (key, thief) = (Signer::new(), Signer::new());
        let how = json!({ "authentication": "private_key_jwt", "jwks": { "keys": [key.jwk()] } });
        let app = testing::application(&scene.control, Some(&scene.tenant), how).await;
        let id = app.client_id.as_str();
        let now = scene.clock.now().0;
        let signed = |key: &Signer, jti: &str, name: &str, value: Value| {
            let mut claims = json!({
                "iss": id, "sub": id, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 300,
            });
            claims[name] = value;
            key.sign(&json!({ "alg": "ES256" }), &claims)
        };
        let ask = async |assertion: &str, more: &str| {
            let kind = super::ASSERTION_TYPE;
            let form =
                format!("token=x&client_assertion_type={kind}&client_assertion={assertion}{more}");
            scene.post("/introspect", &form).await.1
        };
        let good = signed(&key, "1", "aud", format!("{ISSUER}/token").into());
        assert_eq!(ask(&good, "").await, json!({ "active": false }), "let in");
        assert_eq!(ask(&good, "").await["error"], "invalid_client", "once");
        let named = signed(&key, "2", "aud", ISSUER.into());
        assert_eq!(ask(&named, &format!("&client_id={id}")).await["active"], false);
        for (what, assertion) in [
            ("another key", signed(&thief, "3", "aud", ISSUER.into())),
            ("two audiences", signed(&key, "4", "aud", json!([ISSUER]))),
            ("another audience", signed(&key, "5", "aud", format!("{ISSUER}/introspect").into())),
            ("another issuer", signed(&key, "6", "iss", "x".into())),
            ("too long a life", signed(&key, "7", "exp", (now + 3700).into())),
            ("another client", signed(&key, "8", "sub", scene.app.client_id.as_str().into())),
        ] {
            assert_eq!(ask(&assertion, "").await["error"], "invalid_client", "{what}");
        }
        let fresh = || signed(&key, "9", "aud", ISSUER.into());
        for more in ["&client_secret=x", "&client_id=app-x"] {
            assert_eq!(ask(&fresh(), more).await["error"], "invalid_request", "{more}");
        }
        for form in [
            format!("token=x&client_assertion={}", fresh()),
            format!("token=x&client_id={id}&client_assertion_type={}", super::ASSERTION_TYPE),
            format!("token=x&client_id={id}&client_assertion_type=x&client_assertion={}", fresh()),
            // It registered a key: naming itself is not enough, nor is any secret.
            format!("token=x&client_id={id}"),
            format!("token=x&client_id={id}&client_secret=x"),
        ] {
            let answer = scene.post("/introspect", &form).await.1;
            assert_eq!(answer["error"], "invalid_client", "{form}");
        }
        assert_eq!(ask(&fresh(), "").await["active"], false, "the control");
    }
}
