//! What an application asks for when it sends somebody to sign in: read once, and from then on
//! only what was checked is passed on (RFC 6749 4.1.1, OIDC Core 3.1.2.1, RFC 7636 4.3).

use std::{collections::BTreeSet, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    claims::{self, RequestedClaims},
    respond::{ReplyTo, ResponseMode},
};
use crate::{
    config::Resource,
    control::{
        Application, ApplicationId, ApplicationStatus, ControlPlane, Email, Grant, Scope, UserId,
    },
    login::Proof,
    provider::{
        at::At,
        form::Form,
        id_token::{self, HintError},
        issue::{self, IssueError},
        scope,
    },
    storage::{StorageError, applications, tenants},
};

/// A request for a code, checked. Nothing in it but `login_hint` is the browser's word: the client
/// is known, the address is its own, the scopes are ones it may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client: ApplicationId,
    /// Where the answer goes, and how.
    pub(crate) reply: ReplyTo,
    /// What will be granted: asked for, and allowed.
    pub(crate) scopes: BTreeSet<Scope>,
    /// The audience of the access token.
    pub(crate) resource: String,
    pub(crate) nonce: Option<String>,
    /// BASE64URL(SHA-256(verifier)), the only method there is (RFC 7636 4.2).
    pub(crate) code_challenge: String,
    /// The key the code is bound to (RFC 9449 10).
    pub(crate) dpop_jkt: Option<String>,
    /// The one tenant to come in to: the application's own, the issuer's, or the one the request
    /// named. It may be one there is none of: then nobody is its member, and nothing else shows.
    pub(crate) tenant: Option<TenantId>,
    /// The only user that will do (`id_token_hint`, `claims.id_token.sub`).
    pub(crate) subject: Option<UserId>,
    pub(crate) prompt: BTreeSet<Prompt>,
    /// How many seconds ago the user may have signed in at the most.
    pub(crate) max_age: Option<u32>,
    /// Authentication contexts of which one must be reached (`claims.id_token.acr`, essential).
    pub(crate) essential_acr: Vec<String>,
    /// Those the application would like (`acr_values`), the dearest first.
    pub(crate) preferred_acr: Vec<String>,
    /// What to fill in on the first page. It chooses no tenant (O-12).
    pub(crate) login_hint: Option<Email>,
    pub(crate) claims: RequestedClaims,
    /// When the browser came with it.
    pub(crate) received_at: Timestamp,
}

/// What the application wants the user to be asked, whatever is known already.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prompt {
    /// Nothing at all.
    None,
    /// To sign in again.
    Login,
    /// For consent, given before or not.
    Consent,
    /// Which account.
    SelectAccount,
}

impl AuthorizationRequest {
    /// Whether the user is to sign in again, even if they did a second ago. OIDC Core 3.1.2.1:
    /// `max_age=0` is `prompt=login`.
    pub(crate) fn wants_new_sign_in(&self) -> bool {
        self.prompt.contains(&Prompt::Login) || self.max_age == Some(0)
    }

    /// Whether a sign-in at `proof.auth_time` is recent enough. One from before the request is not
    /// if the user is to sign in again.
    pub(crate) fn is_fresh(&self, proof: &Proof) -> bool {
        if proof.auth_time >= self.received_at {
            return true;
        }
        let too_old = |seconds: u32| {
            proof.auth_time + Duration::from_secs(seconds.into()) <= self.received_at
        };
        !self.wants_new_sign_in() && !self.max_age.is_some_and(too_old)
    }

    /// Whether what was shown reaches an authentication context that is asked for as essential.
    pub(crate) fn is_met_by(&self, proof: &Proof) -> bool {
        self.essential_acr.is_empty() || self.essential_acr.iter().any(|acr| proof.meets(acr))
    }
}

/// The client that asks and the address that is its own. Until both are known, an answer would go
/// wherever a stranger wants it to (RFC 9700 4.11).
pub(super) struct Asker {
    pub(super) application: Application,
    pub(super) reply: ReplyTo,
}

impl Asker {
    /// Finds out who asks.
    pub(super) async fn of(control: &ControlPlane, form: &Form<'_>) -> Result<Self, AskerError> {
        let application = application(control, form).await?;
        Self::at_redirect_uri(application, form)
    }

    /// The same, where the client is known already.
    pub(super) fn at_redirect_uri(
        application: Application,
        form: &Form<'_>,
    ) -> Result<Self, AskerError> {
        let redirect_uri = form.get("redirect_uri").ok_or(AskerError::NoRedirectUri)?;
        // RFC 9700 2.1: the same text.
        if !application.registration.is_redirect_uri(redirect_uri) {
            return Err(AskerError::RedirectUri);
        }
        let reply = ReplyTo {
            redirect_uri: redirect_uri.to_owned(),
            // An unknown mode is refused below, by the mode there always is.
            mode: form.get("response_mode").and_then(ResponseMode::named).unwrap_or_default(),
            state: form.get("state").map(str::to_owned),
        };
        Ok(Self { application, reply })
    }
}

/// The application a request names, if it is served.
pub(super) async fn application(
    control: &ControlPlane,
    form: &Form<'_>,
) -> Result<Application, AskerError> {
    let id = form.get("client_id").ok_or(AskerError::NoClient)?;
    let id: ApplicationId = id.parse().map_err(|_| AskerError::UnknownClient)?;
    let found = applications::find(control.inner.db.reader(), &id).await?;
    found
        .filter(|application| application.status == ApplicationStatus::Active)
        .ok_or(AskerError::UnknownClient)
}

/// Checks what `asker` asks for.
pub(super) async fn read(
    control: &ControlPlane,
    at: &At,
    asker: &Asker,
    form: &Form<'_>,
) -> Result<AuthorizationRequest, RequestError> {
    let Asker { application, reply } = asker;
    check_what_we_speak(form)?;
    if !application.registration.grants.contains(&Grant::AuthorizationCode) {
        return Err(RequestError::UnauthorizedClient);
    }
    bounded(form, "state", MAX_STATE)?;
    let nonce = bounded(form, "nonce", MAX_STATE)?.map(str::to_owned);
    let code_challenge = code_challenge(form)?;
    let dpop_jkt = form.get("dpop_jkt").map(|jkt| sha256_text("dpop_jkt", jkt)).transpose()?;
    let prompt = prompt(form)?;
    let wanted = claims::read(form)?;
    let mut scopes = scope::for_application(application, form.get("scope"))?;
    scopes.extend(wanted.scopes);
    let resource: &Resource = issue::resource(control, form.get("resource"))?;
    let hint = form.get("id_token_hint");
    let hint = hint
        .map(|hint| id_token::verify_hint(control, at, hint, Some(application.client_id.as_str())))
        .transpose()?;
    let named = tenant(control, at, application, form).await?;
    let subject = match (wanted.subject, &hint) {
        (Some(wanted), Some(hint)) if wanted != hint.user => {
            return Err(RequestError::Invalid("id_token_hint and claims name two users"));
        }
        (wanted, hint) => wanted.or(hint.as_ref().map(|hint| hint.user.clone())),
    };
    Ok(AuthorizationRequest {
        client: application.client_id.clone(),
        reply: reply.clone(),
        scopes,
        resource: resource.as_str().to_owned(),
        nonce,
        code_challenge,
        dpop_jkt,
        // A user is one tenant's: who is hinted at says where.
        tenant: named.or(hint.map(|hint| hint.tenant)),
        subject,
        prompt,
        max_age: max_age(form)?,
        essential_acr: wanted.essential_acr,
        preferred_acr: words(form, "acr_values", MAX_WORDS)?,
        // OIDC Core 3.1.2.1: a hint, at the provider's discretion. What is no address hints at
        // nobody.
        login_hint: form.get("login_hint").and_then(|hint| hint.parse().ok()),
        claims: wanted.claims,
        received_at: control.now(),
    })
}

/// Refuses what is asked of us that we do not do, by the code there is for it.
fn check_what_we_speak(form: &Form<'_>) -> Result<(), RequestError> {
    if form.get("response_mode").is_some_and(|mode| ResponseMode::named(mode).is_none()) {
        return Err(RequestError::Invalid("response_mode is query or form_post"));
    }
    // OIDC Core 6, 7.2.1; a `request_uri` of our own has been looked up before.
    for (parameter, refusal) in [
        ("request", RequestError::RequestNotSupported),
        ("request_uri", RequestError::RequestUriNotSupported),
        ("registration", RequestError::RegistrationNotSupported),
    ] {
        if form.get(parameter).is_some() {
            return Err(refusal);
        }
    }
    match form.get("response_type") {
        Some("code") => Ok(()),
        Some(_) => Err(RequestError::UnsupportedResponseType),
        None => Err(RequestError::Invalid("response_type is missing")),
    }
}

/// RFC 7636 4.3, RFC 9700 2.1.1: always there, always hashed.
fn code_challenge(form: &Form<'_>) -> Result<String, RequestError> {
    let challenge = form.get("code_challenge");
    let challenge = challenge.ok_or(RequestError::Invalid("code_challenge is missing"))?;
    // Absent means `plain` (RFC 7636 4.3).
    if form.get("code_challenge_method") != Some("S256") {
        return Err(RequestError::Invalid("code_challenge_method must be S256"));
    }
    sha256_text("code_challenge", challenge)
}

/// A SHA-256 hash as base64url text, in its one spelling.
fn sha256_text(parameter: &'static str, text: &str) -> Result<String, RequestError> {
    let mut hash = [0; 32];
    let decoded = Base64UrlUnpadded::decode(text, &mut hash).map(<[u8]>::len);
    match decoded {
        Ok(32) => Ok(text.to_owned()),
        _ => Err(RequestError::NotAHash { parameter }),
    }
}

fn prompt(form: &Form<'_>) -> Result<BTreeSet<Prompt>, RequestError> {
    let prompt = words(form, "prompt", MAX_WORDS)?
        .iter()
        .map(|word| match word.as_str() {
            "none" => Ok(Prompt::None),
            "login" => Ok(Prompt::Login),
            "consent" => Ok(Prompt::Consent),
            "select_account" => Ok(Prompt::SelectAccount),
            _ => Err(RequestError::Invalid(
                "prompt has a value other than none, login, consent and select_account",
            )),
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    // OIDC Core 3.1.2.1: none goes with nothing else.
    if prompt.contains(&Prompt::None) && prompt.len() > 1 {
        return Err(RequestError::Invalid("prompt=none goes with no other prompt"));
    }
    Ok(prompt)
}

fn max_age(form: &Form<'_>) -> Result<Option<u32>, RequestError> {
    let Some(text) = form.get("max_age") else { return Ok(None) };
    // `parse` would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.then(|| text.parse().ok()).flatten();
    seconds.map(Some).ok_or(RequestError::Invalid("max_age must be a number of seconds"))
}

/// The tenant to come in to, if anything says which. Every selector is held against what we know
/// (I-16); one that names nobody, or another's, is told from none by nothing.
async fn tenant(
    control: &ControlPlane,
    at: &At,
    application: &Application,
    form: &Form<'_>,
) -> Result<Option<TenantId>, RequestError> {
    let named = match form.get("tenant") {
        None => None,
        Some(text) => Some(tenant_named(control, text).await?),
    };
    // The issuer's own tenant and the application's come first; whatever is named must be that.
    let mut fixed = at.tenant().into_iter().chain(application.tenant.as_ref());
    let own = match (fixed.next(), fixed.next()) {
        (Some(of_issuer), Some(of_client)) if of_issuer != of_client => {
            return Err(RequestError::OtherTenant);
        }
        (own, _) => own,
    };
    match (own, named) {
        (Some(own), Some(named)) if *own != named => Err(RequestError::OtherTenant),
        (Some(own), _) => Ok(Some(own.clone())),
        (None, named) => Ok(named),
    }
}

/// By its slug or its id. A name nobody has is taken as an id nobody has: whoever asks learns of
/// its not being there when they turn out to be no member, as everywhere else.
async fn tenant_named(control: &ControlPlane, text: &str) -> Result<TenantId, RequestError> {
    let not_a_name = || RequestError::Invalid("tenant is neither a slug nor a tenant id");
    let slug = text.parse().map_err(|_| not_a_name())?;
    match tenants::find_by_slug(control.inner.db.reader(), &slug).await? {
        Some(tenant) => Ok(tenant.id().clone()),
        None => text.parse().map_err(|_| not_a_name()),
    }
}

/// A parameter that is handed back or kept, and is not for us to understand.
fn bounded<'f>(
    form: &'f Form<'_>,
    parameter: &'static str,
    longest: usize,
) -> Result<Option<&'f str>, RequestError> {
    let value = form.get(parameter);
    let sound = |value: &str| value.len() <= longest && !value.chars().any(char::is_control);
    if value.is_none_or(sound) { Ok(value) } else { Err(RequestError::TooLong { parameter }) }
}

fn words(
    form: &Form<'_>,
    parameter: &'static str,
    longest: usize,
) -> Result<Vec<String>, RequestError> {
    let value = bounded(form, parameter, longest)?.unwrap_or_default();
    Ok(value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// The longest `state` and `nonce`, in bytes. Both come back in addresses or tokens.
const MAX_STATE: usize = 2048;
const MAX_WORDS: usize = 512;

/// Why nobody knows where an answer should go. Whoever sits at the browser gets a page (RFC 6749
/// 4.1.2.1: no redirect).
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskerError {
    #[error("client_id is missing")]
    NoClient,
    #[error("there is no such client")]
    UnknownClient,
    #[error("redirect_uri is missing")]
    NoRedirectUri,
    #[error("redirect_uri is not one the client registered")]
    RedirectUri,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What is wrong with a request whose asker is known. It is told, by redirect or, for a pushed
/// request, at once.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{parameter} is too long or has control characters")]
    TooLong { parameter: &'static str },
    #[error("{parameter} is not a SHA-256 hash as base64url text")]
    NotAHash { parameter: &'static str },
    #[error("response_type is not code")]
    UnsupportedResponseType,
    #[error("request objects are not supported")]
    RequestNotSupported,
    #[error("request_uri is not one of a pushed request")]
    RequestUriNotSupported,
    #[error("registration by request is not supported")]
    RegistrationNotSupported,
    #[error("the client may not ask for codes")]
    UnauthorizedClient,
    #[error("the client must push its requests")]
    MustBePushed,
    #[error("the client or the issuer is of another tenant than the one asked for")]
    OtherTenant,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Hint(#[from] HintError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl RequestError {
    /// RFC 6749 4.1.2.1, OIDC Core 3.1.2.6, RFC 8707 2. `None` where the fault is ours.
    pub(crate) fn answer(&self) -> Option<(&'static str, &'static str)> {
        let invalid = |description: &'static str| Some(("invalid_request", description));
        match self {
            Self::Invalid(description) => invalid(description),
            Self::TooLong { .. } => invalid("a parameter is too long or has control characters"),
            Self::NotAHash { .. } => {
                invalid("code_challenge and dpop_jkt are SHA-256 hashes as base64url text")
            }
            Self::UnsupportedResponseType => {
                Some(("unsupported_response_type", "response_type must be code"))
            }
            Self::RequestNotSupported => Some((
                "request_not_supported",
                "request objects are not supported: push the request",
            )),
            Self::RequestUriNotSupported => Some((
                "request_uri_not_supported",
                "request_uri must be one the pushed authorization request endpoint gave out",
            )),
            Self::RegistrationNotSupported => {
                Some(("registration_not_supported", "clients are registered by an administrator"))
            }
            Self::UnauthorizedClient => {
                Some(("unauthorized_client", "this client is not registered for this grant"))
            }
            Self::MustBePushed => invalid("this client must push its requests (RFC 9126)"),
            Self::OtherTenant => invalid("tenant is not one this client signs people in to here"),
            Self::Issue(error) => error.answer(),
            Self::Hint(error) => error.answer(),
            Self::Storage(_) => None,
        }
    }
}
