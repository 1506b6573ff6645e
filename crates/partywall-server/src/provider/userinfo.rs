//! `GET` and `POST /userinfo`: what an application may know of whoever signed in (OIDC Core 5.3).

use std::collections::BTreeSet;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use partywall::{AccessToken, token::TokenFacts};
use serde::Serialize;

use super::{
    at::At,
    dpop::{self, DPOP, DpopError},
    form::{Form, FormError},
    oauth_error::NOT_STORED,
    own_token::{self, OwnTokenError},
    scope,
    user_claims::{self, Claim, UserClaims},
};
use crate::{
    control::{ControlPlane, Scope, User, UserId},
    login::{Amr, Entry, Path, Proof, Refusal, admit},
    storage::{StorageError, users::Who},
};

pub(super) const PATH: &str = "/userinfo";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, UserInfoError> {
    let (scheme, token) = presented(&method, &uri, &headers, &body)?;
    let facts = own_token::verify(&control, &at, &token).await?;
    check_possession(&control, &at, &method, &headers, (scheme, &token), &facts).await?;
    if !facts.scope.iter().any(|name| name == scope::OPENID) {
        return Err(UserInfoError::InsufficientScope);
    }
    let user = admitted(&control, &facts).await?;
    // Ours only knows scopes we granted.
    let scopes: BTreeSet<Scope> =
        facts.scope.iter().filter_map(|scope| scope.parse().ok()).collect();
    let db = control.inner.db.reader();
    let claims = user_claims::about(db, &user, &Claim::of(&scopes)).await?;
    let answer = UserInfo { sub: user.id.as_str(), claims };
    Ok((NOT_STORED, Json(answer)).into_response())
}

/// OIDC Core 5.3.2.
#[derive(Serialize)]
struct UserInfo<'u> {
    sub: &'u str,
    #[serde(flatten)]
    claims: UserClaims<'u>,
}

/// How a token was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Bearer,
    Dpop,
}

/// The one token of a request: in the header, or in the body of a form (RFC 6750 2.1, 2.2). One in
/// the address was refused before (O-23).
fn presented(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Scheme, String), UserInfoError> {
    let in_body = if *method == Method::POST && !body.is_empty() {
        let form = Form::of_request(uri, headers, body)?;
        form.get("access_token").map(str::to_owned)
    } else {
        None
    };
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (header, another) = (sent.next(), sent.next());
    // RFC 6750 2: one way only.
    match (header, another, in_body) {
        (Some(header), None, None) => in_header(header),
        (None, None, Some(token)) => Ok((Scheme::Bearer, token)),
        (None, None, None) => Err(UserInfoError::NoToken),
        _ => Err(UserInfoError::SentTwice),
    }
}

fn in_header(header: &HeaderValue) -> Result<(Scheme, String), UserInfoError> {
    let value = header.to_str().map_err(|_| UserInfoError::NoToken)?;
    let (scheme, token) = value.split_once(' ').ok_or(UserInfoError::NoToken)?;
    let token = token.trim_start_matches(' ').to_owned();
    // The same reading as an enforcement point's.
    let scheme = if scheme.eq_ignore_ascii_case("bearer") {
        AccessToken::from_header(header.as_bytes()).map(|_| Scheme::Bearer)
    } else if scheme.eq_ignore_ascii_case("dpop") {
        AccessToken::from_dpop_header(header.as_bytes()).map(|_| Scheme::Dpop)
    } else {
        return Err(UserInfoError::NoToken);
    };
    Ok((scheme.map_err(OwnTokenError::from)?, token))
}

/// RFC 9449 7.1, 7.2: a bound token with a proof by its key, and no other with one.
async fn check_possession(
    control: &ControlPlane,
    at: &At,
    method: &Method,
    headers: &HeaderMap,
    (scheme, token): (Scheme, &str),
    facts: &TokenFacts,
) -> Result<(), UserInfoError> {
    let bound = match (scheme, facts.bound_to.as_deref()) {
        (Scheme::Bearer, None) if !headers.contains_key(DPOP) => return Ok(()),
        (Scheme::Dpop, Some(bound)) => bound,
        (Scheme::Bearer | Scheme::Dpop, _) => return Err(UserInfoError::NotPossessed),
    };
    let address = format!("{}{PATH}", at.issuer());
    let method = if *method == Method::POST { "POST" } else { "GET" };
    let here = dpop::At { method, uri: &address };
    match dpop::proven_key(control, headers, here, Some(token)).await? {
        Some(proven) if proven == bound => Ok(()),
        _ => Err(UserInfoError::NotPossessed),
    }
}

/// The user the token is about, if the gate would still let them in.
async fn admitted(control: &ControlPlane, facts: &TokenFacts) -> Result<User, UserInfoError> {
    let user: UserId = facts.subject.as_str().parse().map_err(|_| UserInfoError::NotAPerson)?;
    let shown = facts.amr.iter().filter_map(|amr| Amr::named(amr));
    let mut proof = Proof::of(shown, facts.auth_time.unwrap_or(facts.issued_at));
    proof.connection.clone_from(&facts.connection);
    let (tenant, who) = (&facts.tenant, Who::User(&user));
    // A token has a life of its own, as a refresh token has.
    let entry = Entry { tenant, who, path: Path::Refresh, proof: &proof };
    let admitted = admit(control.inner.db.reader(), entry, control.now()).await?;
    let admitted = admitted.map_err(UserInfoError::NotAdmitted)?;
    if facts.tenant_epoch.is_none_or(|epoch| epoch < admitted.tenant_epoch()) {
        return Err(OwnTokenError::Revoked.into());
    }
    admitted.user().map(|(user, _)| user.clone()).ok_or(UserInfoError::NotAPerson)
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserInfoError {
    #[error("the request has no access token")]
    NoToken,
    #[error("the request has an access token in two places")]
    SentTwice,
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Token(#[from] OwnTokenError),
    #[error("the token's sender did not show its key, or showed one for a token without")]
    NotPossessed,
    #[error(transparent)]
    Dpop(#[from] DpopError),
    #[error("the token does not have the scope openid")]
    InsufficientScope,
    #[error("the token is no person's")]
    NotAPerson,
    #[error("the token's user is not admitted: {0}")]
    NotAdmitted(Refusal),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl UserInfoError {
    /// RFC 6750 3.1, RFC 9449 7.1. `None` where the fault is ours.
    fn answer(&self) -> Option<(StatusCode, Option<&'static str>)> {
        match self {
            // RFC 6750 3.1: whoever sends nothing is told no more than how to send something.
            Self::NoToken => Some((StatusCode::UNAUTHORIZED, None)),
            Self::SentTwice | Self::Form(_) => {
                Some((StatusCode::BAD_REQUEST, Some("invalid_request")))
            }
            Self::Token(error) if error.is_the_tokens() => {
                Some((StatusCode::UNAUTHORIZED, Some("invalid_token")))
            }
            Self::NotPossessed | Self::NotAPerson | Self::NotAdmitted(_) => {
                Some((StatusCode::UNAUTHORIZED, Some("invalid_token")))
            }
            Self::Dpop(error) if error.answer().is_some() => {
                Some((StatusCode::UNAUTHORIZED, Some("invalid_dpop_proof")))
            }
            Self::InsufficientScope => Some((StatusCode::FORBIDDEN, Some("insufficient_scope"))),
            Self::Token(_) | Self::Dpop(_) | Self::Storage(_) => None,
        }
    }
}

impl IntoResponse for UserInfoError {
    fn into_response(self) -> Response {
        let Some((status, code)) = self.answer() else {
            let error = &self as &dyn std::error::Error;
            tracing::error!(error, "nothing can be told about a user");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        tracing::debug!(error = %self, "nothing was told about a user");
        let body = Json(serde_json::json!({ "error": code.unwrap_or("invalid_token") }));
        let mut response = (status, NOT_STORED, body).into_response();
        let challenge = |scheme: &str, more: &str| {
            let code = code.map(|code| format!(", error=\"{code}\"")).unwrap_or_default();
            HeaderValue::from_str(&format!("{scheme} realm=\"userinfo\"{code}{more}")).ok()
        };
        // RFC 9449 7.1: both schemes are taken.
        let algorithms = format!(", algs=\"{}\"", dpop::ALGORITHMS.join(" "));
        for value in [challenge("Bearer", ""), challenge("DPoP", &algorithms)].into_iter().flatten()
        {
            response.headers_mut().append(axum::http::header::WWW_AUTHENTICATE, value);
        }
        response
    }
}
