//! `/setup`: the portal where somebody at a tenant sets its sign-in up, by a link and without being
//! its user. It sees one tenant and does one thing: what the link is for (I-33, I-34).
//!
//! ```text
//! link ─► one browser ─► the provider's steps ─► what it says of itself ─► what would be trusted ─► trust
//!                        domains ─► DNS          a test sign-in that signs nobody in ─► activate
//! ```
//!
//! Pages are ours, like those of signing in: rendered here, without scripts, with forms that are
//! taken from our own pages only. What a provider sent is shown escaped, to the tenant's people only.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};

use partywall::Timestamp;

use crate::{
    control::{ControlError, ControlPlane},
    keys::RingError,
    login::{binding::is_from_our_page, date, page},
    provider::{At, Form},
    random::RandomError,
    rate::TooFast,
    storage::StorageError,
};
pub(crate) use progress::Progress;
pub(crate) use trial::tried;

mod activity;
mod domains;
mod guide;
mod link;
mod overview;
mod progress;
mod provider;
mod session;
mod trial;
mod trust;

/// The pages, under the path of the issuer all tenants share.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = control.inner.config.issuer.path();
    let at = |path: &str| format!("{base}{SETUP}{path}");
    Router::new()
        .route(&at("/link/{link}"), get(link::show).post(link::open))
        .route(&at(""), get(overview::show).post(overview::act))
        .route(&at("/provider"), get(provider::choose))
        .route(&at("/provider/{guide}"), get(provider::show).post(provider::read))
        .route(&at("/trust"), get(trust::show).post(trust::confirm))
        .route(&at("/domains"), get(domains::show).post(domains::act))
        .route(&at("/test"), get(trial::show).post(trial::begin))
        .route(&at("/activity"), get(activity::show))
}

const SETUP: &str = "/setup";
/// What an identity provider's metadata may have, escaped in a form.
pub(crate) const MAX_BODY: usize = 768 * 1024;

/// Why a page is not shown.
#[derive(Debug, thiserror::Error)]
enum PortalError {
    #[error("the link stands for nothing any more")]
    NoLink,
    #[error("there is no session of the portal, or it has ended")]
    NoSession,
    #[error("the link is not for that")]
    OtherIntent,
    #[error("the link was opened too long ago for this")]
    NotFresh,
    #[error("there is nothing of that name")]
    NotFound,
    #[error("a form came from another site")]
    CrossSite,
    #[error("a form cannot be read")]
    Form,
    #[error("something was changed meanwhile")]
    Conflict,
    #[error("a test sign-in cannot begin")]
    Federation,
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl PortalError {
    fn answer(&self, control: &ControlPlane) -> Response {
        let at = At::shared(control);
        let page = |status, heading, told| page::problem(control, &at, status, heading, told);
        match self {
            Self::NoLink => page(
                StatusCode::NOT_FOUND,
                "This link is good no longer",
                "It was opened before, has expired, or was taken back. Ask whoever sent it for \
                 another.",
            ),
            Self::NoSession => page(
                StatusCode::NOT_FOUND,
                "This setup has ended",
                "It lasts for eight hours in the browser where the link was opened. Ask whoever \
                 sent the link for another.",
            ),
            Self::OtherIntent | Self::NotFound => page(
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Check the address, or go back to where you came from.",
            ),
            Self::NotFresh => page(
                StatusCode::FORBIDDEN,
                "This needs a new link",
                "People sign in through this connection. To change whom it trusts, ask for a new \
                 link, and make the change within 15 minutes after you have opened it.",
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
            Self::Conflict => page(
                StatusCode::CONFLICT,
                "It was changed meanwhile",
                "Somebody else has changed it, or another tab of yours has. Go back, load the page \
                 again, and look at it as it is now.",
            ),
            Self::TooFast(_) => page(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries at once",
                "Wait a few seconds, and try again.",
            ),
            Self::Federation
            | Self::Storage(_)
            | Self::Ring(_)
            | Self::Random(_)
            | Self::Control(_) => {
                tracing::error!(error = self as &dyn std::error::Error, "a portal page failed");
                page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong here",
                    "It is not your fault. Wait a little, and try again.",
                )
            }
        }
    }
}

/// A page, or why there is none.
struct PortalPage(Response);

impl PortalPage {
    fn of(control: &ControlPlane, answered: Result<Response, PortalError>) -> Self {
        Self(answered.unwrap_or_else(|error| error.answer(control)))
    }
}

impl IntoResponse for PortalPage {
    fn into_response(self) -> Response {
        self.0
    }
}

/// The form a page of ours posted.
fn posted<'b>(
    control: &ControlPlane,
    headers: &HeaderMap,
    body: &'b Bytes,
) -> Result<Form<'b>, PortalError> {
    if !is_from_our_page(&At::shared(control), headers) {
        return Err(PortalError::CrossSite);
    }
    Form::of_request(&Uri::default(), headers, body).map_err(|_| PortalError::Form)
}

/// To a page of the portal.
fn to(control: &ControlPlane, path: &str) -> Response {
    page::see_other(&format!("{}{SETUP}{path}", control.inner.config.issuer.as_str()), &[])
}

/// A time as people read it: `2027-01-15 08:00 UTC`.
fn moment(at: Timestamp) -> String {
    let minutes = at.0 / 60;
    format!("{} {:02}:{:02} UTC", date(at), minutes / 60 % 24, minutes % 60)
}
