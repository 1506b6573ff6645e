//! `POST /token`: a grant in, tokens out (RFC 6749 3.2, RFC 9068, RFC 8707). One file per grant.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    at::At,
    client_auth::{self, Client, ClientAuthError, CredentialsFault},
    dpop::{self, DpopError},
    form::{Form, FormError},
    id_token::IdTokenError,
    issue::{IssueError, IssuedToken},
    oauth_error::{NOT_STORED, OAuthError},
    own_token::OwnTokenError,
};
use crate::{
    control::{Application, ControlError, ControlPlane, Grant},
    keys::KeyError,
    login::Refusal,
    random::RandomError,
    secret::Secret,
    storage::StorageError,
};

mod api_key;
mod authorization_code;
mod client_credentials;
mod device_code;
mod granted;
pub(crate) mod refresh_token;
mod token_exchange;

use device_code::DeviceWait;

pub(super) const PATH: &str = "/token";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<TokenResponse, TokenRequestError> {
    let form = Form::of_request(&uri, &headers, &body)?;
    let grant = match form.get("grant_type") {
        Some("authorization_code") => GrantType::AuthorizationCode,
        Some("client_credentials") => GrantType::ClientCredentials,
        Some(DEVICE_CODE) => GrantType::DeviceCode,
        Some("refresh_token") => GrantType::RefreshToken,
        Some(TOKEN_EXCHANGE) if form.get("subject_token_type") == Some(api_key::TYPE) => {
            GrantType::ApiKey
        }
        Some(TOKEN_EXCHANGE) => GrantType::TokenExchange,
        Some(_) => return Err(TokenRequestError::UnsupportedGrantType),
        None => return Err(TokenRequestError::NoGrantType),
    };
    // An API key is its own credential; whoever sends another beside it means something else.
    let client = match grant {
        GrantType::ApiKey if client_auth::is_shown(&headers, &form) => {
            return Err(ClientAuthError::from(CredentialsFault::SentTwice).into());
        }
        GrantType::ApiKey => None,
        _ => Some(client_auth::authenticate(&control, &at, &headers, &form).await?),
    };
    let endpoint = format!("{}{PATH}", at.issuer());
    let asked = dpop::At { method: "POST", uri: &endpoint };
    let dpop_jkt = dpop::proven_key(&control, &headers, asked, None).await?;
    if let Some(Client::Application(application)) = &client {
        dpop::check_required(application, dpop_jkt.as_deref())?;
    }
    let request = TokenRequest { control: &control, at: &at, form: &form, dpop_jkt };
    let Some(client) = client else { return api_key::grant(&request).await };
    match grant {
        GrantType::AuthorizationCode => authorization_code::grant(&request, client).await,
        GrantType::ClientCredentials => client_credentials::grant(&request, client),
        GrantType::DeviceCode => device_code::grant(&request, client).await,
        GrantType::RefreshToken => refresh_token::grant(&request, client).await,
        GrantType::TokenExchange => token_exchange::grant(&request, client).await,
        GrantType::ApiKey => api_key::grant(&request).await,
    }
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What is served here.
#[derive(Clone, Copy, Debug)]
enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    DeviceCode,
    RefreshToken,
    TokenExchange,
    /// A token exchange whose subject token is an API key.
    ApiKey,
}

/// The names of [`GrantType`], for the metadata.
pub(super) const GRANT_TYPES: [&str; 5] =
    ["authorization_code", "client_credentials", "refresh_token", DEVICE_CODE, TOKEN_EXCHANGE];

/// What every grant is given.
struct TokenRequest<'r> {
    control: &'r ControlPlane,
    /// The issuer that was asked.
    at: &'r At,
    form: &'r Form<'r>,
    /// The key the request proves possession of, by its thumbprint: tokens are bound to it.
    dpop_jkt: Option<String>,
}

/// An application, if it registered for `grant`. Machines register for nothing but their own
/// credentials.
fn application_for(client: Client, grant: Grant) -> Result<Box<Application>, TokenRequestError> {
    match client {
        Client::Application(application) if application.registration.grants.contains(&grant) => {
            Ok(application)
        }
        Client::Application(_) | Client::Machine(_) => Err(TokenRequestError::UnauthorizedClient),
    }
}

/// RFC 6749 5.1. `scope` is said even where it is what was asked for.
#[derive(Serialize)]
pub(super) struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// OIDC Core 3.1.3.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    /// RFC 8693 2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
}

impl TokenResponse {
    fn of(token: IssuedToken) -> Self {
        Self {
            access_token: token.text,
            token_type: if token.is_bound { "DPoP" } else { "Bearer" },
            expires_in: token.lifetime.as_secs(),
            scope: token.scope,
            refresh_token: None,
            id_token: None,
            issued_token_type: None,
        }
    }

    fn with_refresh_token(self, token: Option<&Secret<String>>) -> Self {
        Self { refresh_token: token.map(|token| token.expose().clone()), ..self }
    }
}

impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        (NOT_STORED, Json(self)).into_response()
    }
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenRequestError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("grant_type is missing")]
    NoGrantType,
    #[error("the grant_type is not supported")]
    UnsupportedGrantType,
    #[error("{parameter} is missing")]
    Missing { parameter: &'static str },
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    #[error(transparent)]
    Dpop(#[from] DpopError),
    #[error("only access tokens are exchanged, for access tokens")]
    TokenType,
    #[error("an actor token was sent: the actor is the client itself")]
    ActorToken,
    #[error(transparent)]
    Device(#[from] DeviceWait),
    #[error("the client may not use this grant")]
    UnauthorizedClient,
    #[error("client {client} was not admitted: {why}")]
    NotAdmitted { client: String, why: Refusal },
    #[error("what client {client} presented is no grant: {why}")]
    InvalidGrant { client: String, why: InvalidGrant },
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    OwnToken(#[from] OwnTokenError),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Why what was presented leads to no token. For the log only: the client hears `invalid_grant`
/// and no more (RFC 6749 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidGrant {
    #[error("it is not one of ours")]
    Unknown,
    #[error("it is another tenant's")]
    OtherTenant,
    #[error("too many act for one another with it")]
    TooManyActors,
    #[error("it is another client's")]
    OtherClient,
    #[error("it has expired or was revoked")]
    NotLive,
    #[error("it was used before")]
    Reused,
    #[error("it is bound to another key")]
    OtherKey,
    #[error("it is another issuer's")]
    OtherIssuer,
    #[error("it was sent to another address")]
    OtherRedirectUri,
    #[error("code_verifier is missing or does not fit")]
    CodeVerifier,
    #[error("its user is not admitted any more: {0}")]
    NotAdmitted(Refusal),
}

impl TokenRequestError {
    /// RFC 6749 5.2, RFC 8707 2. `None` where the fault is ours.
    fn answer(&self) -> Option<OAuthError> {
        let bad = |code, description| Some(OAuthError::bad_request(code, description));
        match self {
            Self::Form(error) => Some(error.answer()),
            Self::NoGrantType => bad("invalid_request", "grant_type is missing"),
            Self::UnsupportedGrantType => bad(
                "unsupported_grant_type",
                "see grant_types_supported in the metadata for what there is",
            ),
            Self::Missing { .. } => bad("invalid_request", "a parameter of this grant is missing"),
            Self::Client(error) => error.answer(),
            Self::Dpop(error) => error.answer(),
            Self::Device(wait) => {
                let (code, description) = wait.answer();
                bad(code, description)
            }
            Self::TokenType => bad(
                "invalid_request",
                "only access tokens and API keys are exchanged, for access tokens",
            ),
            Self::ActorToken => {
                bad("invalid_request", "no actor_token is taken: the client itself is the actor")
            }
            Self::UnauthorizedClient => {
                bad("unauthorized_client", "this client is not registered for this grant")
            }
            Self::NotAdmitted { .. } => {
                bad("unauthorized_client", "no tokens are issued to this client at present")
            }
            Self::InvalidGrant { .. } => bad(
                "invalid_grant",
                "what was presented is unknown, used, expired, revoked, or another client's",
            ),
            Self::Issue(error) => {
                error.answer().map(|(code, description)| OAuthError::bad_request(code, description))
            }
            Self::OwnToken(_)
            | Self::IdToken(_)
            | Self::Control(_)
            | Self::Storage(_)
            | Self::Key(_)
            | Self::Random(_) => None,
        }
    }
}

impl IntoResponse for TokenRequestError {
    fn into_response(self) -> Response {
        let Some(answer) = self.answer() else {
            tracing::error!(error = &self as &dyn std::error::Error, "no token could be issued");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match &self {
            Self::Client(error) => error.log(),
            Self::NotAdmitted { client, why } => {
                tracing::warn!(client.id = client, %why, "a client was not admitted");
            }
            Self::InvalidGrant { client, why } => {
                tracing::warn!(client.id = client, %why, "a grant was refused");
            }
            _ => tracing::debug!(error = %self, "a token request was refused"),
        }
        answer.into_response()
    }
}
