//! `POST /token`: a grant in, tokens out (RFC 6749 3.2, RFC 9068, RFC 8707). One file per grant.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::{
    at::At,
    client_auth::{self, ClientAuthError, CredentialsFault, RejectedClient},
    form::{Form, FormError},
    issue::IssueError,
};
use crate::{
    control::ControlPlane, keys::KeyError, login::Refusal, random::RandomError,
    storage::StorageError,
};

mod client_credentials;
pub(crate) mod refresh_token;

pub(super) const PATH: &str = "/token";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<TokenResponse, TokenRequestError> {
    // RFC 6749 2.3.1, 3.2: parameters, and secrets above all, are never in the address.
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(TokenRequestError::Query);
    }
    if !headers.get(CONTENT_TYPE).is_some_and(is_form) {
        return Err(TokenRequestError::NotAForm);
    }
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(CredentialsFault::SentTwice.into());
    }
    let form = Form::parse(&body)?;
    let grant = match form.get("grant_type") {
        Some("client_credentials") => GrantType::ClientCredentials,
        Some(_) => return Err(TokenRequestError::UnsupportedGrantType),
        None => return Err(TokenRequestError::NoGrantType),
    };
    let db = control.inner.db.reader();
    let client = client_auth::authenticate(db, headers.get(AUTHORIZATION), &form, control.now());
    let client = client.await??;
    let request = TokenRequest { control: &control, at: &at, form: &form };
    match grant {
        GrantType::ClientCredentials => client_credentials::grant(&request, client),
    }
}

/// What is served here.
#[derive(Clone, Copy, Debug)]
enum GrantType {
    ClientCredentials,
}

/// What every grant is given.
struct TokenRequest<'r> {
    control: &'r ControlPlane,
    /// The issuer that was asked.
    at: &'r At,
    form: &'r Form<'r>,
}

/// RFC 6749 5.1. `scope` is said even where it is what was asked for.
#[derive(Serialize)]
pub(super) struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        (NOT_STORED, Json(self)).into_response()
    }
}

fn is_form(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().ok().and_then(|value| value.split(';').next());
    essence
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenRequestError {
    #[error("parameters are not accepted in the query string")]
    Query,
    #[error("the body must be application/x-www-form-urlencoded")]
    NotAForm,
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("grant_type is missing")]
    NoGrantType,
    #[error("only client_credentials is supported")]
    UnsupportedGrantType,
    #[error(transparent)]
    Credentials(#[from] CredentialsFault),
    #[error(transparent)]
    Client(#[from] RejectedClient),
    #[error("the client may not use this grant")]
    UnauthorizedClient,
    #[error("client {client} was not admitted: {why}")]
    NotAdmitted { client: String, why: Refusal },
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl From<ClientAuthError> for TokenRequestError {
    fn from(error: ClientAuthError) -> Self {
        match error {
            ClientAuthError::Credentials(fault) => Self::Credentials(fault),
            ClientAuthError::Storage(error) => Self::Storage(error),
        }
    }
}

impl TokenRequestError {
    /// RFC 6749 5.2, RFC 8707 2. `None` where the fault is ours.
    fn answer(&self) -> Option<(StatusCode, &'static str, &'static str)> {
        let bad = |code, description| Some((StatusCode::BAD_REQUEST, code, description));
        let unknown = |description| Some((StatusCode::UNAUTHORIZED, "invalid_client", description));
        match self {
            Self::Query => {
                bad("invalid_request", "parameters belong in the body, not in the query string")
            }
            Self::NotAForm => {
                bad("invalid_request", "the body must be application/x-www-form-urlencoded")
            }
            Self::Form(FormError::Encoding) => {
                bad("invalid_request", "the body is not form-encoded UTF-8")
            }
            Self::Form(FormError::Duplicate) => {
                bad("invalid_request", "a parameter is there twice")
            }
            Self::NoGrantType => bad("invalid_request", "grant_type is missing"),
            Self::UnsupportedGrantType => {
                bad("unsupported_grant_type", "only client_credentials is supported")
            }
            Self::Credentials(CredentialsFault::SentTwice) => {
                bad("invalid_request", "client credentials must be sent in one way only")
            }
            Self::Credentials(
                CredentialsFault::None
                | CredentialsFault::UnknownScheme
                | CredentialsFault::Malformed,
            ) => unknown("send client_id and client_secret by HTTP Basic or in the body"),
            Self::Client(_) => unknown("client authentication failed"),
            Self::UnauthorizedClient => {
                bad("unauthorized_client", "this client is not registered for this grant")
            }
            Self::NotAdmitted { .. } => {
                bad("unauthorized_client", "no tokens are issued to this client at present")
            }
            Self::Issue(error) => error
                .answer()
                .map(|(code, description)| (StatusCode::BAD_REQUEST, code, description)),
            Self::Storage(_) | Self::Key(_) | Self::Random(_) => None,
        }
    }
}

impl IntoResponse for TokenRequestError {
    fn into_response(self) -> Response {
        let Some((status, code, description)) = self.answer() else {
            tracing::error!(error = &self as &dyn std::error::Error, "no token could be issued");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match &self {
            Self::Client(RejectedClient { client, known }) => {
                let client = client.as_ref().map(tracing::field::display);
                tracing::warn!(client.id = client, known, "a client failed to authenticate");
            }
            Self::NotAdmitted { client, why } => {
                tracing::warn!(client.id = client, %why, "a client was not admitted");
            }
            _ => tracing::debug!(error = %self, "a token request was refused"),
        }
        let body = Json(json!({ "error": code, "error_description": description }));
        let mut response = (status, NOT_STORED, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// RFC 6749 5.1: neither tokens nor refusals are kept by anyone on the way.
const NOT_STORED: [(axum::http::HeaderName, HeaderValue); 2] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (PRAGMA, HeaderValue::from_static("no-cache")),
];
