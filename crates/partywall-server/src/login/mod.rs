//! Signing people in: what they showed, and the one gate that decides whether it lets them in.

pub(crate) use admit::{Admitted, AdmittedPrincipal, Entry, Path, Refusal, admit, admit_machine};
pub(crate) use proof::{ACR_VALUES, Amr, Proof};

pub(crate) mod actions;
mod admit;
pub(crate) mod factors;
mod proof;
pub(crate) mod session;

use axum::response::Response;

use crate::{
    control::ControlPlane,
    provider::authorize::{self, AuthorizationRequest, Refused},
};

/// Why somebody has to be asked something.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq, serde::Serialize)]
pub(crate) enum Why {
    /// Nobody is known.
    SignIn,
    /// Whoever is known must show who they are once more, or better.
    SignInAgain,
    /// Whoever is known is not who was asked for, or is to choose who to be.
    SelectAccount,
    /// Whoever is known belongs to several tenants, or to none.
    ChooseTenant,
    /// The application gets nothing without consent.
    Consent,
}

/// Asks. Until there are pages to ask on, nobody who is not known already comes in.
pub(crate) async fn begin(
    _control: &ControlPlane,
    at: &crate::provider::At,
    _browser: &session::Browser,
    request: AuthorizationRequest,
    why: Why,
) -> Response {
    authorize::refuse(at, &request.reply, Refused::Silently(why))
}
