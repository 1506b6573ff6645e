//! Errors as RFC 9457 problem details. The body is written where the request's id is known
//! (`http::answer_with_request_id`).

use std::borrow::Cow;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    control::{ControlError, InvalidApiKey, InvalidScimToken},
    keys::KeyError,
    rate::TooFast,
    storage::StorageError,
};

/// What went wrong, as its reader is told it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// What kind of problem it is: the end of its `type`.
    code: &'static str,
    detail: Cow<'static, str>,
}

impl Problem {
    /// RFC 9457 3.1.
    pub(crate) fn answer(&self, request_id: &str) -> Response {
        let body = json!({
            "type": format!("urn:partywall:problem:{}", self.code),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no credentials, or none that are good now")]
    Unauthenticated,
    #[error("the token was not given the scope of this API")]
    Scope,
    #[error("the caller showed who they are too long ago for this")]
    StepUp,
    #[error("not there, or not for this caller")]
    NotFound,
    #[error("the address does not take this method")]
    Method,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("{0}")]
    Malformed(String),
    #[error("the body must be application/json")]
    MediaType,
    #[error("the body is larger than 16 KiB")]
    TooLarge,
    #[error("If-Match is missing")]
    NoPrecondition,
    #[error("the idempotency key was used for another request")]
    OtherRequest,
    #[error("a request with this idempotency key is under way, or its outcome is unknown")]
    UnderWay,
    #[error("no mail is set up")]
    NoMail,
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::Control(error.into())
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        Self::Control(error.into())
    }
}

impl ApiError {
    fn problem(&self) -> Problem {
        let problem = |status, code, detail: &'static str| Problem {
            status,
            code,
            detail: Cow::Borrowed(detail),
        };
        match self {
            Self::Unauthenticated => problem(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "send an access token for this API, or an operator key, as a bearer token",
            ),
            Self::Scope => problem(
                StatusCode::FORBIDDEN,
                "insufficient-scope",
                "the token does not have the scope `admin`",
            ),
            Self::StepUp => problem(
                StatusCode::UNAUTHORIZED,
                "insufficient-user-authentication",
                "this takes a sign-in of the last five minutes: ask for one with max_age=300",
            ),
            Self::NotFound => problem(StatusCode::NOT_FOUND, "not-found", "there is no such thing"),
            Self::Method => problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this address does not take that method",
            ),
            Self::Forbidden(why) => problem(StatusCode::FORBIDDEN, "forbidden", why),
            Self::Malformed(why) => Problem {
                status: StatusCode::BAD_REQUEST,
                code: "malformed",
                detail: Cow::Owned(why.clone()),
            },
            Self::MediaType => problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "send the body as application/json",
            ),
            Self::TooLarge => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body may have 16384 bytes")
            }
            Self::NoPrecondition => problem(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "send If-Match with the ETag of what you have read, or * to change whatever is there",
            ),
            Self::OtherRequest => problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this Idempotency-Key was sent with another request before: use a new one",
            ),
            Self::UnderWay => problem(
                StatusCode::CONFLICT,
                "idempotency-key-in-use",
                "a request with this Idempotency-Key is under way or was interrupted: look whether its work was done before you use a new key",
            ),
            Self::NoMail => problem(
                StatusCode::CONFLICT,
                "no-mail",
                "this server sends no mail: let an operator invite on its command line",
            ),
            Self::TooFast(fast) => Problem {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "too-many-requests",
                detail: Cow::Owned(fast.to_string()),
            },
            Self::Control(error) => of_control(error),
        }
    }
}

/// No catch-all: whoever adds an error says here what its reader is told.
fn of_control(error: &ControlError) -> Problem {
    use ControlError as E;

    let told = |status, code| Problem { status, code, detail: Cow::Owned(error.to_string()) };
    match error {
        E::UnknownTenant { .. }
        | E::UnknownMachine { .. }
        | E::UnknownUser { .. }
        | E::UnknownApplication { .. }
        | E::UnknownConnection { .. }
        | E::UnknownDomain { .. }
        | E::UnknownSetupLink
        | E::UnknownSession
        | E::UnknownOperatorKey { .. }
        | E::UnknownSigningKey { .. }
        | E::ScimToken(InvalidScimToken::Id | InvalidScimToken::Unknown)
        | E::ApiKey(InvalidApiKey::Id | InvalidApiKey::Unknown) => ApiError::NotFound.problem(),
        // Whether somebody else's thing is there is not for the body to find out either.
        E::ApiKey(InvalidApiKey::Holder) => ApiError::NotFound.problem(),
        E::Conflict => Problem {
            status: StatusCode::PRECONDITION_FAILED,
            code: "changed-meanwhile",
            detail: Cow::Borrowed("it is not what If-Match says: read it again"),
        },
        E::EmailTaken { .. } | E::SlugTaken { .. } | E::DomainTaken { .. } => {
            told(StatusCode::CONFLICT, "taken")
        }
        E::NoSecret { .. }
        | E::UserStatus { .. }
        | E::NotInvited { .. }
        | E::SiloNeedsIssuer { .. }
        | E::ApplicationRevoked { .. }
        | E::MachineRevoked { .. }
        | E::TooManyConnections
        | E::ScimToken(InvalidScimToken::TooMany)
        | E::RedefinesIdentities { .. }
        | E::DomainClaimed { .. }
        | E::TooManyDomains
        | E::NotPendingErase { .. }
        | E::EpochsUsedUp { .. } => told(StatusCode::CONFLICT, "conflict"),
        E::SlugLikeId { .. }
        | E::OperatorKey
        | E::Profile(_)
        | E::User(_)
        | E::ApiKey(
            InvalidApiKey::Name
            | InvalidApiKey::Roles
            | InvalidApiKey::Scopes
            | InvalidApiKey::Lifetime,
        )
        | E::ScimToken(InvalidScimToken::Lifetime)
        | E::Application(_)
        | E::Connection(_)
        | E::Domain(_)
        | E::SetupLinkLife
        | E::SignInPolicy(_)
        | E::Machine(_) => told(StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        E::Storage(_) | E::Key(_) | E::Random(_) | E::Compile(_) | E::Mail(_) | E::Seal(_) => {
            Problem {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "server-error",
                detail: Cow::Borrowed(
                    "something failed here; the log has more under the request's id",
                ),
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if problem.status.is_server_error() {
            tracing::error!(error = &self as &dyn std::error::Error, "an administrator's request");
        } else {
            tracing::debug!(error = %self, "an administrator's request was refused");
        }
        let mut response = problem.status.into_response();
        // RFC 6750 3.1.
        let challenge = match self {
            Self::Unauthenticated => Some("Bearer realm=\"admin\""),
            Self::Scope => {
                Some("Bearer realm=\"admin\", error=\"insufficient_scope\", scope=\"admin\"")
            }
            // RFC 9470 3.
            Self::StepUp => Some(
                "Bearer realm=\"admin\", error=\"insufficient_user_authentication\", max_age=300",
            ),
            _ => None,
        };
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::TooFast(fast) = self {
            let wait = HeaderValue::from(fast.retry_after().as_secs());
            response.headers_mut().insert(RETRY_AFTER, wait);
        }
        response.extensions_mut().insert(problem);
        response
    }
}
