//! Why there is another page than the one asked for. What is said helps whoever sits there, and
//! nobody who should not.

use axum::{
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};

use super::{
    actions::ActionError,
    factors::{
        passkey::PasskeyError, password::HashError, pool::Busy, recovery::RecoveryError,
        second::SecondFactorError, totp::TotpError,
    },
    page,
    session::SessionError,
};
use crate::{
    control::{ControlError, ControlPlane},
    keys::SealError,
    provider::At,
    random::RandomError,
    rate::TooFast,
    storage::StorageError,
};

/// Why a page is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("there is no such sign-in, it has ended, or it is another browser's")]
    NoSignIn,
    #[error("the tenant's provider vouches for them, and they are nobody here")]
    NotLetIn,
    #[error("the link stands for nothing any more")]
    NoLink,
    #[error("a form came from another site")]
    CrossSite,
    #[error("a form cannot be read")]
    Form,
    #[error("there is nothing of that name")]
    NotFound,
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Hash(HashError),
    #[error(transparent)]
    Totp(#[from] TotpError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    SecondFactor(#[from] SecondFactorError),
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    #[error(transparent)]
    Action(ActionError),
    #[error(transparent)]
    Control(Box<ControlError>),
}

impl From<HashError> for PageError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy(busy) => Self::Busy(busy),
            other => Self::Hash(other),
        }
    }
}

impl From<ControlError> for PageError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}

impl From<ActionError> for PageError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Unknown | ActionError::OtherAccount => Self::NoLink,
            ActionError::Hash(error) => error.into(),
            other => Self::Action(other),
        }
    }
}

/// A page, or why there is none.
pub(crate) struct PageResult(Response);

impl PageResult {
    pub(super) fn of(
        control: &ControlPlane,
        at: &At,
        answered: Result<Response, PageError>,
    ) -> Self {
        Self(answered.unwrap_or_else(|error| error.answer(control, at)))
    }
}

impl IntoResponse for PageResult {
    fn into_response(self) -> Response {
        self.0
    }
}

impl PageError {
    pub(super) fn answer(&self, control: &ControlPlane, at: &At) -> Response {
        let page = |status, heading, told| page::problem(control, at, status, heading, told);
        match self {
            Self::NoSignIn => page(
                StatusCode::NOT_FOUND,
                "This sign-in has ended",
                "It took too long, was finished, or was begun in another browser. Go back to \
                 where you came from, and sign in again.",
            ),
            Self::NotLetIn => page(
                StatusCode::FORBIDDEN,
                "You cannot come in yet",
                "Your organisation's sign-in knows you, but you have no access here. Ask your \
                 administrator: they can see why.",
            ),
            Self::NoLink => page(
                StatusCode::NOT_FOUND,
                "This link is good no longer",
                "It was used, has expired, or stands for nothing any more. Ask for another.",
            ),
            Self::CrossSite => {
                tracing::warn!("a form came from another site, and was refused");
                page(
                    StatusCode::FORBIDDEN,
                    "This form was not sent from here",
                    "Go back, load the page again, and fill it in there.",
                )
            }
            Self::Form => page(
                StatusCode::BAD_REQUEST,
                "This form cannot be read",
                "Go back, load the page again, and fill it in there.",
            ),
            Self::NotFound => page(
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Check the address, or go back to where you came from.",
            ),
            Self::Busy(_) => {
                let mut response = page(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many people at once",
                    "Wait a few seconds, and try again.",
                );
                let wait = HeaderValue::from(Busy::RETRY_AFTER.as_secs());
                response.headers_mut().insert(RETRY_AFTER, wait);
                response
            }
            Self::TooFast(fast) => {
                let mut response = page(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many tries at once",
                    "From where you are, or at your organisation, there are more than we take. \
                     Wait a few seconds, and try again.",
                );
                let wait = HeaderValue::from(fast.retry_after().as_secs());
                response.headers_mut().insert(RETRY_AFTER, wait);
                response
            }
            Self::Storage(_)
            | Self::Session(_)
            | Self::Random(_)
            | Self::Seal(_)
            | Self::Hash(_)
            | Self::Totp(_)
            | Self::Recovery(_)
            | Self::SecondFactor(_)
            | Self::Passkey(_)
            | Self::Action(_)
            | Self::Control(_) => {
                tracing::error!(error = self as &dyn std::error::Error, "a page failed");
                page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong here",
                    "It is not your fault. Wait a little, and try again.",
                )
            }
        }
    }
}
