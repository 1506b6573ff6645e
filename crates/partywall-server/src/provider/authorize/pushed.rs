//! `POST /par`: an application pushes its request beforehand, showing who it is, and the browser
//! carries no more than a reference to it (RFC 9126). A reference is good once, for a minute and a
//! half, for the client that pushed it.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    AuthorizationRequest, AuthorizeError,
    request::{self, Asker, AskerError, RequestError},
};
use crate::{
    control::{Application, ClientAuthentication, ControlPlane},
    provider::{
        at::At,
        client_auth::{self, Client, ClientAuthError},
        dpop::{self, DpopError},
        form::{Form, FormError},
        oauth_error::{NOT_STORED, OAuthError},
    },
    random::RandomError,
    rate::{Network, TooFast},
    storage::{
        StorageError,
        single_use::{self, Drawer, Kind},
    },
};

pub(in crate::provider) const PATH: &str = "/par";

/// RFC 9126 2.2: between 5 and 600 seconds; as long as it takes to be redirected.
const LIFETIME: Duration = Duration::from_secs(90);
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

pub(in crate::provider) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    network: Network,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PushError> {
    let form = Form::of_request(&uri, &headers, &body)?;
    let client = client_auth::authenticate(&control, &at, &headers, &form).await?;
    let Client::Application(application) = client else { return Err(PushError::NotAnApplication) };
    if application.authentication == ClientAuthentication::None {
        control.inner.strangers.draw(network, application.tenant.as_ref())?;
    }
    // RFC 9126 2.1, step 2.
    if form.get("request_uri").is_some() {
        return Err(PushError::RequestUri);
    }
    let asker = Asker::at_redirect_uri(*application, &form)?;
    let mut request = request::read(&control, &at, &asker, &form).await?;
    // RFC 9449 10.1: a proof here says the same as `dpop_jkt`.
    let address = format!("{}{PATH}", at.issuer());
    let here = dpop::At { method: "POST", uri: &address };
    match (dpop::proven_key(&control, &headers, here, None).await?, &request.dpop_jkt) {
        (Some(proven), Some(named)) if proven != *named => return Err(PushError::OtherKey),
        (Some(proven), _) => request.dpop_jkt = Some(proven),
        (None, _) => {}
    }
    let pushed = Pushed { issuer: at.issuer().to_owned(), request };
    let value = single_use::draw(&control.inner.random)?;
    let drawer = drawer(&asker.application);
    let write = control.inner.db.single().await;
    single_use::put(write.db(), drawer, value.expose(), &pushed, control.now(), LIFETIME).await?;
    let answer = json!({
        "request_uri": format!("{PREFIX}{}", value.expose()),
        "expires_in": LIFETIME.as_secs(),
    });
    // RFC 9126 2.2.
    Ok((StatusCode::CREATED, NOT_STORED, Json(answer)).into_response())
}

/// A request as it lies in its drawer, good at the issuer it was pushed to.
#[derive(Deserialize, Serialize)]
struct Pushed {
    issuer: String,
    request: AuthorizationRequest,
}

/// The reference to a pushed request, where a request is one.
pub(super) fn named<'f>(form: &'f Form<'_>) -> Option<&'f str> {
    form.get("request_uri")?.strip_prefix(PREFIX)
}

/// Takes a pushed request out of its drawer. Whatever else the browser brought along counts for
/// nothing (RFC 9126 4, RFC 9101 5).
pub(super) async fn take(
    control: &ControlPlane,
    at: &At,
    form: &Form<'_>,
    reference: &str,
) -> Result<AuthorizationRequest, AuthorizeError> {
    let application = request::application(control, form).await?;
    let (drawer, now) = (drawer(&application), control.now());
    // Looked at before it is used up: who it is not for cannot take it from whom it is for.
    let lying = single_use::peek(control.inner.db.reader(), drawer, reference, now).await?;
    let Pushed { issuer, request } = lying.ok_or(AuthorizeError::PushedRequest)?;
    // The issuer it was pushed to, the client it was pushed by, and an address that is that
    // client's still.
    let fits = issuer == at.issuer()
        && request.client == application.client_id
        && application.registration.is_redirect_uri(&request.reply.redirect_uri);
    if !fits {
        return Err(AuthorizeError::PushedRequest);
    }
    let write = control.inner.db.single().await;
    let taken = single_use::redeem(write.db(), drawer, reference, now).await?;
    let Pushed { request, .. } = taken.first().ok_or(AuthorizeError::PushedRequest)?;
    Ok(request)
}

/// The client's tenant's; nobody's for the vendor's own.
fn drawer(application: &Application) -> Drawer<'_> {
    match &application.tenant {
        Some(tenant) => Drawer::of(Kind::PushedRequest, tenant),
        None => Drawer::before_any_tenant(Kind::PushedRequest),
    }
}

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub(in crate::provider) enum PushError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    #[error("the client is no application")]
    NotAnApplication,
    #[error("a pushed request has a request_uri")]
    RequestUri,
    #[error("the proof is by another key than dpop_jkt names")]
    OtherKey,
    #[error(transparent)]
    Asker(#[from] AskerError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Dpop(#[from] DpopError),
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl PushError {
    /// RFC 9126 2.3. `None` where the fault is ours.
    fn answer(&self) -> Option<OAuthError> {
        let bad = |code, description| Some(OAuthError::bad_request(code, description));
        match self {
            Self::Form(error) => Some(error.answer()),
            Self::Client(error) => error.answer(),
            Self::TooFast(fast) => Some(OAuthError::too_fast(fast)),
            Self::NotAnApplication => {
                bad("unauthorized_client", "this client does not sign people in")
            }
            Self::RequestUri => bad("invalid_request", "a pushed request has no request_uri"),
            Self::OtherKey => bad("invalid_dpop_proof", "dpop_jkt names another key"),
            Self::Asker(AskerError::NoClient | AskerError::UnknownClient) => {
                Some(OAuthError::invalid_client("client authentication failed"))
            }
            Self::Asker(AskerError::NoRedirectUri) => {
                bad("invalid_request", "redirect_uri is missing")
            }
            Self::Asker(AskerError::RedirectUri) => {
                bad("invalid_request", "redirect_uri is not one the client registered")
            }
            Self::Request(error) => {
                error.answer().map(|(code, description)| OAuthError::bad_request(code, description))
            }
            Self::Dpop(error) => error.answer(),
            Self::Asker(AskerError::Storage(_)) | Self::Storage(_) | Self::Random(_) => None,
        }
    }
}

impl IntoResponse for PushError {
    fn into_response(self) -> Response {
        let Some(answer) = self.answer() else {
            let error = &self as &dyn std::error::Error;
            tracing::error!(error, "a pushed request could not be kept");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match &self {
            Self::Client(error) => error.log(),
            error => tracing::debug!(%error, "a pushed request was refused"),
        }
        answer.into_response()
    }
}
