//! How a client shows who it is: `client_secret_basic` or `client_secret_post` (RFC 6749 2.3.1), a
//! signed assertion (`private_key_jwt`, RFC 7523), or, for a public one, not at all.

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use base64ct::{Base64, Encoding};
use partywall::Timestamp;
use sea_orm::ConnectionTrait;
use zeroize::Zeroizing;

use super::{
    at::At,
    form::{Form, decode_component},
    oauth_error::OAuthError,
};
use crate::{
    control::{
        Application, ApplicationId, ClientAuthentication, ClientId, ControlPlane, SecretHash,
    },
    storage::{
        StorageError, applications,
        machines::{self, AuthenticatedMachine},
    },
};

mod assertion;

/// How a client may show who it is (OIDC Discovery 3).
pub(super) const METHODS: [&str; 4] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
/// Those by which a client really shows who it is.
pub(super) const CONFIDENTIAL_METHODS: [&str; 3] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt"];
/// What an assertion may be signed with.
pub(super) const ALGORITHMS: [&str; 5] = super::dpop::ALGORITHMS;

/// A client that has shown who it is, as far as its kind can.
pub(crate) enum Client {
    /// A machine, by its secret.
    Machine(Box<AuthenticatedMachine>),
    /// An application, in the way it registered. A public one has merely named itself.
    Application(Box<Application>),
}

impl Client {
    /// What it calls itself.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Machine(machine) => machine.machine.client_id.as_str(),
            Self::Application(application) => application.client_id.as_str(),
        }
    }

    /// The one tenant it is of; none for the vendor's own applications.
    pub(crate) fn tenant(&self) -> Option<&partywall::TenantId> {
        match self {
            Self::Machine(machine) => Some(&machine.machine.tenant),
            Self::Application(application) => application.tenant.as_ref(),
        }
    }
}

/// The client that sends this request to the issuer `at`.
pub(super) async fn authenticate(
    control: &ControlPlane,
    at: &At,
    headers: &HeaderMap,
    form: &Form<'_>,
) -> Result<Client, ClientAuthError> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let (authorization, another) = (authorizations.next(), authorizations.next());
    let secret = form.get("client_secret");
    let assertion = assertion::of(form)?;
    // RFC 6749 2.3: one way of authenticating per request.
    let ways = usize::from(authorization.is_some())
        + usize::from(secret.is_some())
        + usize::from(assertion.is_some());
    if another.is_some() || ways > 1 {
        return Err(CredentialsFault::SentTwice.into());
    }
    let db = control.inner.db.reader();
    if let Some(assertion) = assertion {
        return assertion.authenticate(control, at, form.get("client_id")).await;
    }
    if ways == 0
        && let Some(client) = form.get("client_id").and_then(|id| id.parse().ok())
    {
        return public_application(db, &client).await;
    }
    let presented = PresentedSecret::of(authorization, form)?;
    presented.authenticate(db, control.now()).await
}

/// Whether the request says anything about a client.
pub(super) fn is_shown(headers: &HeaderMap, form: &Form<'_>) -> bool {
    const NAMES: [&str; 4] =
        ["client_id", "client_secret", "client_assertion", "client_assertion_type"];
    headers.contains_key(AUTHORIZATION) || NAMES.iter().any(|name| form.get(name).is_some())
}

/// An application that registered to show nothing.
async fn public_application(
    db: &impl ConnectionTrait,
    client: &ApplicationId,
) -> Result<Client, ClientAuthError> {
    let rejected =
        |known| Err(RejectedClient { client: Some(client.to_string()), known, why: None }.into());
    let Some(candidate) = applications::candidate(db, client.as_str()).await? else {
        return rejected(false);
    };
    let application = candidate.application()?;
    match application.authentication {
        ClientAuthentication::None => Ok(Client::Application(Box::new(application))),
        ClientAuthentication::ClientSecret | ClientAuthentication::PrivateKeyJwt => rejected(true),
    }
}

/// Why it cannot be said whether a client is who it says, or why it is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientAuthError {
    #[error(transparent)]
    Credentials(#[from] CredentialsFault),
    #[error(transparent)]
    Rejected(#[from] RejectedClient),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ClientAuthError {
    /// RFC 6749 5.2. `None` where the fault is ours.
    pub(super) fn answer(&self) -> Option<OAuthError> {
        match self {
            Self::Credentials(CredentialsFault::SentTwice) => Some(OAuthError::bad_request(
                "invalid_request",
                "client credentials must be sent in one way only",
            )),
            Self::Credentials(
                CredentialsFault::None
                | CredentialsFault::UnknownScheme
                | CredentialsFault::Malformed,
            ) => Some(OAuthError::invalid_client(
                "send client_id and client_secret by HTTP Basic or in the body, or a client_assertion",
            )),
            Self::Rejected(_) => Some(OAuthError::invalid_client("client authentication failed")),
            Self::Storage(_) => None,
        }
    }

    /// Tells the log.
    pub(super) fn log(&self) {
        match self {
            Self::Rejected(RejectedClient { client, known, why }) => {
                metrics::counter!("partywall_clients_rejected_total").increment(1);
                let client = client.as_ref().map(tracing::field::display);
                let why = why.map(tracing::field::display);
                tracing::warn!(client.id = client, known, why, "a client failed to authenticate");
            }
            Self::Credentials(fault) => {
                tracing::debug!(error = %fault, "a request showed no client credentials");
            }
            Self::Storage(error) => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, "a client could not be authenticated");
            }
        }
    }
}

/// What a client presented. Nothing of it is believed yet.
pub(super) struct PresentedSecret {
    client_id: Zeroizing<String>,
    secret: Zeroizing<String>,
}

impl PresentedSecret {
    /// Takes the credentials of a request, which must use one way of sending them (RFC 6749 2.3).
    pub(super) fn of(
        authorization: Option<&HeaderValue>,
        form: &Form<'_>,
    ) -> Result<Self, CredentialsFault> {
        let (id, secret) = (form.get("client_id"), form.get("client_secret"));
        match (authorization, id, secret) {
            (Some(_), _, Some(_)) => Err(CredentialsFault::SentTwice),
            (Some(header), id, None) => {
                let basic = Self::from_basic(header)?;
                match id {
                    // RFC 6749 3.2.1 lets a client name itself; it must not name another.
                    Some(id) if *basic.client_id != id => Err(CredentialsFault::SentTwice),
                    _ => Ok(basic),
                }
            }
            (None, Some(id), Some(secret)) => Ok(Self {
                client_id: Zeroizing::new(id.to_owned()),
                secret: Zeroizing::new(secret.to_owned()),
            }),
            (None, _, _) => Err(CredentialsFault::None),
        }
    }

    /// RFC 7617, with both halves form-encoded as RFC 6749 2.3.1 wants.
    ///
    /// Our ids contain a colon, which a client that does not encode (`curl -u`) sends as it is. No
    /// encoded id begins with `m:`, so both spellings can be told apart and both are taken.
    fn from_basic(header: &HeaderValue) -> Result<Self, CredentialsFault> {
        let malformed = CredentialsFault::Malformed;
        let header = header.to_str().map_err(|_| malformed)?;
        let (scheme, credentials) = header.split_once(' ').ok_or(malformed)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(CredentialsFault::UnknownScheme);
        }
        let decoded = Base64::decode_vec(credentials.trim_start_matches(' ')).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| malformed)?;
        let pair = std::str::from_utf8(&decoded).map_err(|_| malformed)?;
        let unencoded = pair.strip_prefix("m:").and_then(|rest| rest.find(':')).map(|at| at + 2);
        let colon = unencoded.or_else(|| pair.find(':')).ok_or(malformed)?;
        let (id, secret) = (pair.get(..colon), pair.get(colon + 1..));
        let decode = |text: Option<&str>| {
            let decoded = text.and_then(decode_component).ok_or(malformed)?;
            Ok(Zeroizing::new(decoded.into_owned()))
        };
        Ok(Self { client_id: decode(id)?, secret: decode(secret)? })
    }

    /// The client this is, if the secret is its own.
    ///
    /// An unknown client, a revoked one and a wrong secret take the same query and the same
    /// comparisons, and look the same from outside.
    async fn authenticate(
        self,
        db: &impl ConnectionTrait,
        now: Timestamp,
    ) -> Result<Client, ClientAuthError> {
        let hash = SecretHash::of(&self.client_id, &self.secret);
        let rejected =
            |client: Option<String>, known| Err(RejectedClient { client, known, why: None }.into());
        if let Ok(client) = self.client_id.parse::<ApplicationId>() {
            let candidate = applications::candidate(db, client.as_str()).await?;
            let secrets = candidate.as_ref().map_or([None, None], |found| found.secrets(now));
            let is_one = hash.is_one_of(secrets);
            let client = Some(client.to_string());
            let Some(candidate) = candidate else { return rejected(client, false) };
            let application = candidate.application()?;
            // What it registered is the only way in: a secret it once had is none.
            let by_secret = application.authentication == ClientAuthentication::ClientSecret;
            return match is_one && by_secret {
                true => Ok(Client::Application(Box::new(application))),
                false => rejected(client, true),
            };
        }
        let client: Option<ClientId> = self.client_id.parse().ok();
        let candidate = match &client {
            Some(client) => machines::candidate(db, client.as_str()).await?,
            // Not of the shape we give out: everybody can see that nobody has it.
            None => None,
        };
        let secrets = candidate.as_ref().map_or([None, None], |found| found.secrets(now));
        let is_one = hash.is_one_of(secrets);
        let client = client.map(|client| client.to_string());
        match candidate {
            Some(candidate) if is_one => Ok(Client::Machine(Box::new(candidate.authenticated()?))),
            found => rejected(client, found.is_some()),
        }
    }
}

/// A client that is not who it says. For the log only.
#[derive(Debug, thiserror::Error)]
#[error("the client is not who it says")]
pub(super) struct RejectedClient {
    /// Absent when it was not even of the right shape.
    pub(super) client: Option<String>,
    /// Whether there is such a client.
    pub(super) known: bool,
    /// What was wrong with its assertion, by the code of the check.
    pub(super) why: Option<&'static str>,
}

/// Why a request shows no credentials that could be checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum CredentialsFault {
    #[error("the request shows no client credentials")]
    None,
    #[error("the request shows client credentials in two ways")]
    SentTwice,
    #[error("the Authorization header is of another scheme than Basic")]
    UnknownScheme,
    #[error("the Authorization header is malformed")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> Result<(String, String), CredentialsFault> {
        let header = format!("Basic {}", Base64::encode_string(pair.as_bytes()));
        let presented = PresentedSecret::from_basic(&HeaderValue::from_str(&header).unwrap())?;
        Ok((presented.client_id.to_string(), presented.secret.to_string()))
    }

    #[test]
    fn o15_basic_credentials_are_form_decoded() {
        let both = |id: &str, secret: &str| Ok((id.to_owned(), secret.to_owned()));
        assert_eq!(basic("m%3Aabc:p+%2B%3a"), both("m:abc", "p +:"));
        assert_eq!(basic("m:abc:pws_x"), both("m:abc", "pws_x"), "as curl -u sends it");
        assert_eq!(basic("other:secret"), both("other", "secret"));
        assert_eq!(basic("nocolon"), Err(CredentialsFault::Malformed));
        assert_eq!(basic("a%zz:b"), Err(CredentialsFault::Malformed));
    }

    #[test]
    fn o15_other_schemes_and_garbage_are_no_credentials() {
        let of = |header: &'static str| {
            PresentedSecret::from_basic(&HeaderValue::from_static(header)).err()
        };
        assert_eq!(of("Bearer abc"), Some(CredentialsFault::UnknownScheme));
        assert_eq!(of("Basic"), Some(CredentialsFault::Malformed));
        assert_eq!(of("Basic ???"), Some(CredentialsFault::Malformed));
    }
}
