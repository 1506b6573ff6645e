//! `GET` and `POST /authorize`: an application sends somebody to sign in, and gets a code (RFC 6749
//! 4.1, OIDC Core 3.1.2, RFC 7636, RFC 9207).
//!
//! ```text
//! parameters ─► Asker (client, address) ─► AuthorizationRequest ─► who is it? ─► gate ─► code
//! ```
//!
//! Whoever is known already and let in by the gate goes straight back. Everybody else signs in:
//! [`login`](crate::login) ends at [`complete`], or at [`refuse`].

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use partywall::TenantId;

use super::{
    at::At,
    code::{Code, CodeError},
    form::{Form, FormError},
    issue::IssueError,
};
use crate::{
    control::ControlPlane,
    login::{
        self, Admitted, Refusal, Why, page,
        session::{self, Browser, SessionError},
    },
    random::RandomError,
    storage::{
        StorageError,
        sessions::{self, Session},
        users,
    },
};
pub(crate) use claims::RequestedClaims;
use host::AtHost;
pub use host::TenantHosts;
use request::{Asker, AskerError, RequestError};
pub(crate) use request::{AuthorizationRequest, Prompt};
pub(crate) use respond::{ReplyTo, ResponseMode};

mod claims;
mod host;
pub(super) mod pushed;
mod request;
mod respond;
#[cfg(test)]
mod tests;

pub(super) const PATH: &str = "/authorize";

pub(super) async fn get(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    host: AtHost,
    uri: Uri,
) -> Response {
    if let Some(onward) = host.onward(&control.inner.config.issuer, &uri) {
        return page::see_other(&onward, &[]);
    }
    authorize(&control, &at, &browser, uri.query().unwrap_or_default().as_bytes()).await
}

/// OIDC Core 3.1.2.1: the same by a form.
pub(super) async fn post(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match Form::of_request(&uri, &headers, &body) {
        Ok(_) => authorize(&control, &at, &browser, &body).await,
        Err(error) => AuthorizeError::Form(error).answer(&at),
    }
}

async fn authorize(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    parameters: &[u8],
) -> Response {
    match answer(control, at, browser, parameters).await {
        Ok(response) => response,
        Err(error) => error.answer(at),
    }
}

async fn answer(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    parameters: &[u8],
) -> Result<Response, AuthorizeError> {
    // RFC 6749 3.1: no parameter twice. Which of two the answer should go to nobody knows.
    let form = Form::parse(parameters)?;
    let mut request = match pushed::named(&form) {
        Some(reference) => pushed::take(control, at, &form, reference).await?,
        None => {
            let asker = Asker::of(control, &form).await?;
            let at_fault = |error| AuthorizeError::Request { reply: asker.reply.clone(), error };
            if asker.application.registration.requires_pushed_requests {
                return Err(at_fault(RequestError::MustBePushed));
            }
            request::read(control, at, &asker, &form).await.map_err(at_fault)?
        }
    };
    request.received_at = control.now();
    let reply = request.reply.clone();
    let failed = |error| AuthorizeError::Failed { reply: reply.clone(), error };
    match next_step(control, browser, &mut request).await.map_err(failed)? {
        Step::Enter(admitted, session) => {
            let sid = session::enter(control, browser, &session, &admitted).await;
            let sid = sid.map_err(|error| failed(error.into()))?;
            Ok(complete(control, at, &request, &admitted, &sid).await)
        }
        // OIDC Core 3.1.2.1: nothing is shown, whatever there would be to show.
        Step::Ask(why) if request.prompt.contains(&Prompt::None) => {
            Ok(refuse(at, &request.reply, Refused::Silently(why)))
        }
        Step::Ask(why) => Ok(login::begin(control, at, browser, request, why).await),
    }
}

/// What comes next for a browser that came with a request.
enum Step {
    /// Somebody is known, and the gate lets them in.
    Enter(Box<Admitted>, Box<Session>),
    /// Somebody has to be asked.
    Ask(Why),
}

/// Finds out who the browser is to the tenant, and lets the gate judge it.
async fn next_step(
    control: &ControlPlane,
    browser: &Browser,
    request: &mut AuthorizationRequest,
) -> Result<Step, Failure> {
    if request.prompt.contains(&Prompt::SelectAccount) {
        return Ok(Step::Ask(Why::SelectAccount));
    }
    let Some(session) = browser.session(control).await? else { return Ok(Step::Ask(Why::SignIn)) };
    if request.wants_new_sign_in() {
        return Ok(Step::Ask(Why::SignInAgain));
    }
    let tenant = match &request.tenant {
        Some(tenant) => tenant.clone(),
        None => match only_tenant(control, &session).await? {
            Some(tenant) => tenant,
            None => return Ok(Step::Ask(Why::ChooseTenant)),
        },
    };
    let admitted = match session::admit_session(control, &session, &tenant).await? {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::debug!(tenant.id = %tenant, %refusal, "a session is not admitted");
            return Ok(Step::Ask(if refusal == Refusal::NotAMember {
                Why::SelectAccount
            } else {
                Why::SignInAgain
            }));
        }
    };
    let Some((user, proof)) = admitted.user() else { return Ok(Step::Ask(Why::SignIn)) };
    if request.subject.as_ref().is_some_and(|subject| *subject != user.id) {
        return Ok(Step::Ask(Why::SelectAccount));
    }
    if !request.is_fresh(proof) || !request.is_met_by(proof) {
        return Ok(Step::Ask(Why::SignInAgain));
    }
    request.tenant = Some(tenant);
    if login::needs_consent(control, request, &admitted).await? {
        return Ok(Step::Ask(Why::Consent));
    }
    Ok(Step::Enter(Box::new(admitted), Box::new(session)))
}

/// The tenant of whoever signed in, if they are in one only.
async fn only_tenant(
    control: &ControlPlane,
    session: &Session,
) -> Result<Option<TenantId>, StorageError> {
    let db = control.inner.db.reader();
    let mut tenants: Vec<TenantId> = match &session.account {
        Some((account, _)) => {
            users::joined(db, account, None, 2).await?.into_iter().map(|user| user.tenant).collect()
        }
        None => sessions::live_of_browser(db, &session.id_hash)
            .await?
            .into_iter()
            .map(|session| session.tenant)
            .collect(),
    };
    Ok(if tenants.len() == 1 { tenants.pop() } else { None })
}

/// Ends a sign-in well: makes the code and sends the browser back. Whatever led here, it must fit
/// the request: nobody gets a code for another tenant, another user or a weaker sign-in than was
/// asked for.
pub(crate) async fn complete(
    control: &ControlPlane,
    at: &At,
    request: &AuthorizationRequest,
    admitted: &Admitted,
    sid: &str,
) -> Response {
    let reply = &request.reply;
    match code_for(control, at, request, admitted, sid).await {
        Ok(code) => reply.with_code(at, code.expose()),
        Err(Unfit::Refused(refused)) => refuse(at, reply, refused),
        Err(Unfit::Failed(error)) => {
            AuthorizeError::Failed { reply: reply.clone(), error }.answer(at)
        }
    }
}

async fn code_for(
    control: &ControlPlane,
    at: &At,
    request: &AuthorizationRequest,
    admitted: &Admitted,
    sid: &str,
) -> Result<crate::secret::Secret<String>, Unfit> {
    let refused = |refused| Err(Unfit::Refused(refused));
    let Some(person @ (user, proof)) = admitted.user() else {
        return refused(Refused::AccessDenied);
    };
    // O-12: whatever was typed on the way, the tenant is the one the request named.
    if request.tenant.as_ref().is_some_and(|tenant| tenant != admitted.tenant()) {
        return refused(Refused::AccessDenied);
    }
    if request.subject.as_ref().is_some_and(|subject| *subject != user.id) {
        return refused(Refused::OtherUser);
    }
    if !request.is_fresh(proof) {
        return refused(Refused::OtherUser);
    }
    if !request.is_met_by(proof) {
        return refused(Refused::UnmetAuthenticationRequirements);
    }
    match at.may_speak_for(admitted) {
        Err(IssueError::OtherIssuer { .. }) => return refused(Refused::OtherIssuer),
        other => other.map_err(Failure::from)?,
    }
    let code = Code::of(control, at.issuer(), request, person, sid).map_err(Failure::from)?;
    let text = code.put(control, admitted.tenant()).await.map_err(Failure::from)?;
    tracing::info!(
        tenant.id = %admitted.tenant(), user.id = %user.id, client.id = %request.client,
        session.id = sid, grant.id = code.grant, "a code was issued"
    );
    Ok(text)
}

/// Ends a sign-in without a code: the browser goes back and says why.
pub(crate) fn refuse(at: &At, reply: &ReplyTo, refused: Refused) -> Response {
    tracing::debug!(?refused, "a sign-in ended without a code");
    let (error, description) = refused.answer();
    reply.with_error(at, error, description)
}

/// Why a sign-in ends without a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The user must be asked something, and the application wants them not to be.
    Silently(Why),
    /// The user said no, or may not come in.
    AccessDenied,
    /// Somebody else signed in than was asked for, or too long ago.
    OtherUser,
    /// What was shown is not as strong as the request wants it.
    UnmetAuthenticationRequirements,
    /// The tenant has an issuer of its own.
    OtherIssuer,
}

impl Refused {
    /// RFC 6749 4.1.2.1, OIDC Core 3.1.2.6, and `unmet_authentication_requirements` of its own
    /// specification (OpenID Connect Core Error Code 1.0).
    fn answer(self) -> (&'static str, &'static str) {
        match self {
            Self::Silently(Why::SignIn | Why::SignInAgain) => {
                ("login_required", "the user must sign in")
            }
            Self::Silently(Why::SelectAccount) => {
                ("login_required", "the user must sign in with another account")
            }
            Self::Silently(Why::ChooseTenant) => {
                ("interaction_required", "the user must choose a tenant: name one in tenant")
            }
            Self::Silently(Why::Consent) => ("consent_required", "the user must consent"),
            Self::AccessDenied => ("access_denied", "the user did not come in"),
            Self::OtherUser => ("login_required", "another user or a newer sign-in was asked for"),
            Self::UnmetAuthenticationRequirements => (
                "unmet_authentication_requirements",
                "the user did not sign in as strongly as was asked for",
            ),
            Self::OtherIssuer => {
                ("unauthorized_client", "this tenant has an issuer of its own: ask there")
            }
        }
    }
}

/// Why [`complete`] makes no code.
enum Unfit {
    Refused(Refused),
    Failed(Failure),
}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What went wrong on our side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Why an authorization request is not followed.
#[derive(Debug)]
enum AuthorizeError {
    /// The parameters cannot be read.
    Form(FormError),
    /// Nobody knows whom to answer.
    Asker(AskerError),
    /// There is no such pushed request any more.
    PushedRequest,
    /// The request is not one we follow.
    Request { reply: ReplyTo, error: RequestError },
    /// We are at fault.
    Failed { reply: ReplyTo, error: Failure },
}

impl From<FormError> for AuthorizeError {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl From<AskerError> for AuthorizeError {
    fn from(error: AskerError) -> Self {
        Self::Asker(error)
    }
}

impl From<StorageError> for AuthorizeError {
    fn from(error: StorageError) -> Self {
        Self::Asker(error.into())
    }
}

impl AuthorizeError {
    fn answer(self, at: &At) -> Response {
        const FAULT: (&str, &str) =
            ("server_error", "the request could not be followed: try again");
        match self {
            Self::Form(error) => respond::error_page("invalid_request", error.answer().description),
            Self::Asker(AskerError::Storage(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "an authorization request could not be followed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::Asker(error) => {
                tracing::debug!(%error, "an authorization request came from nobody");
                respond::error_page(error.code(), &error.to_string())
            }
            Self::PushedRequest => respond::error_page(
                "invalid_request_uri",
                "the pushed request has expired, was used before, or is another client's",
            ),
            Self::Request { reply, error } => {
                let answer = error.answer();
                if answer.is_none() {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "an authorization request could not be followed");
                } else {
                    tracing::debug!(%error, "an authorization request was refused");
                }
                let (code, description) = answer.unwrap_or(FAULT);
                reply.with_error(at, code, description)
            }
            Self::Failed { reply, error } => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "an authorization request could not be followed");
                reply.with_error(at, FAULT.0, FAULT.1)
            }
        }
    }
}

impl AskerError {
    /// Shown on a page, where it helps whoever wrote the application.
    fn code(&self) -> &'static str {
        match self {
            Self::NoClient | Self::NoRedirectUri | Self::RedirectUri => "invalid_request",
            Self::UnknownClient => "unauthorized_client",
            Self::Storage(_) => "server_error",
        }
    }
}
