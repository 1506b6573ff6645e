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

/// How long before its end an assertion may be made. Ids are remembered for as long.
const MAX_LIFETIME: Duration = Duration::from_secs(5 * 60);

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
