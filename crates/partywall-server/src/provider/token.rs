//! `POST /token`: client credentials in, access token out (RFC 6749 4.4, RFC 9068, RFC 8707).

use std::collections::BTreeSet;

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
use partywall::{Role, TenantId};
use serde::Serialize;
use serde_json::json;

use super::{
    client_auth::{CredentialsFault, PresentedSecret, RejectedClient},
    form::{Form, FormError},
};
use crate::{
    config::Resource,
    control::{ControlPlane, Scope},
    keys::KeyError,
    random::{self, RandomError},
    storage::{StorageError, machines::AuthenticatedMachine},
};

pub(super) const PATH: &str = "/token";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
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
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(TokenRequestError::UnsupportedGrantType),
        None => return Err(TokenRequestError::NoGrantType),
    }
    let presented = PresentedSecret::of(headers.get(AUTHORIZATION), &form)?;
    let db = control.inner.db.reader();
    let client = presented.authenticate(db, control.now()).await?;
    let client = client.map_err(TokenRequestError::Client)?;
    let request = TokenRequest {
        scopes: granted_scopes(form.get("scope"), &client.machine.scopes)?,
        resource: resource(&control, form.get("resource"))?,
    };
    issue(&control, &client, &request)
}

/// What an authenticated client may have of what it asked for.
struct TokenRequest<'r> {
    scopes: BTreeSet<&'r Scope>,
    resource: &'r Resource,
}

fn issue(
    control: &ControlPlane,
    client: &AuthenticatedMachine,
    request: &TokenRequest<'_>,
) -> Result<TokenResponse, TokenRequestError> {
    let machine = &client.machine;
    if !client.tenant_is_active {
        return Err(TokenRequestError::TenantNotServed { tenant: machine.tenant.clone() });
    }
    let config = &control.inner.config;
    let (now, lifetime) = (control.now(), control.policy().token_lifetime());
    let scope = join(&request.scopes);
    let claims = AccessTokenClaims {
        iss: config.issuer.as_str(),
        sub: machine.client_id.as_str(),
        aud: request.resource.as_str(),
        client_id: machine.client_id.as_str(),
        iat: now.0,
        exp: (now + lifetime).0,
        jti: random::opaque_id(&control.inner.random)?,
        tid: &machine.tenant,
        roles: &machine.roles,
        scope: scope.as_deref(),
        tep: client.tenant_epoch,
    };
    let access_token = control.token_keys()?.sign_access_token(&claims)?;
    tracing::info!(
        tenant.id = %machine.tenant, client.id = %machine.client_id, token.id = claims.jti,
        "an access token was issued"
    );
    let expires_in = lifetime.as_secs();
    Ok(TokenResponse { access_token, token_type: "Bearer", expires_in, scope })
}

/// RFC 9068 2.2, and of ours: the tenant, its roles, and its epoch.
///
/// A machine was not signed in by anybody at any time but now: `auth_time`, `amr` and `cid` belong
/// to people's tokens.
#[derive(Serialize)]
struct AccessTokenClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    client_id: &'c str,
    iat: u64,
    exp: u64,
    jti: String,
    tid: &'c TenantId,
    roles: &'c BTreeSet<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'c str>,
    tep: u32,
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

/// Everything the client may have, or exactly what it asked for of that (RFC 6749 3.3).
fn granted_scopes<'m>(
    asked: Option<&str>,
    allowed: &'m BTreeSet<Scope>,
) -> Result<BTreeSet<&'m Scope>, TokenRequestError> {
    let Some(asked) = asked else { return Ok(allowed.iter().collect()) };
    let named = |name: &str| allowed.iter().find(|scope| scope.as_str() == name);
    asked.split(' ').map(|name| named(name).ok_or(TokenRequestError::Scope)).collect()
}

/// The audience: the resource asked for if it is one of ours, the default where none was
/// (RFC 8707 2). A token is for one resource; a second `resource` is a parameter twice.
fn resource<'c>(
    control: &'c ControlPlane,
    asked: Option<&str>,
) -> Result<&'c Resource, TokenRequestError> {
    let resources = &control.inner.config.resources;
    match asked {
        Some(uri) => resources.named(uri).ok_or(TokenRequestError::Target),
        None => Ok(resources.default_resource()),
    }
}

fn join(scopes: &BTreeSet<&Scope>) -> Option<String> {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    (!names.is_empty()).then(|| names.join(" "))
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
    #[error("the client is not who it says")]
    Client(RejectedClient),
    #[error("tenant {tenant} is not served")]
    TenantNotServed { tenant: TenantId },
    #[error("a scope was asked for that the client may not have")]
    Scope,
    #[error("a resource was asked for that there is none of")]
    Target,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Random(#[from] RandomError),
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
            Self::TenantNotServed { .. } => {
                bad("unauthorized_client", "no tokens are issued to this client at present")
            }
            Self::Scope => bad("invalid_scope", "the client may not have every scope it asked for"),
            Self::Target => bad("invalid_target", "there is no such resource"),
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
            Self::TenantNotServed { tenant } => {
                tracing::warn!(tenant.id = %tenant, "a token for a tenant that is not served was refused");
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
