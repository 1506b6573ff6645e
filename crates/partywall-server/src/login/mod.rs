//! Signing people in: what they showed, and the one gate that decides whether it lets them in.

pub(crate) use admit::{Admitted, AdmittedPrincipal, Entry, Path, Refusal, admit, admit_machine};
pub(crate) use proof::{ACR_VALUES, Amr, Proof};
pub(crate) use sign_in::needs_consent;

pub(crate) mod actions;
mod admit;
mod assets;
mod binding;
mod events;
pub(crate) mod factors;
mod home_realm;
mod page;
mod problem;
mod proof;
pub(crate) mod session;
mod sign_in;
#[cfg(test)]
mod tests;

use axum::{Router, response::Response, routing::get};

use crate::{
    control::ControlPlane,
    provider::{At, authorize::AuthorizationRequest},
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

/// Begins a sign-in for an application's request.
pub(crate) async fn begin(
    control: &ControlPlane,
    at: &At,
    browser: &session::Browser,
    request: AuthorizationRequest,
    why: Why,
) -> Response {
    let goal = sign_in::Goal::Application(Box::new(request));
    let begun = sign_in::begin(control, at, browser, goal, why).await;
    begun.unwrap_or_else(|error| error.answer(control, at))
}

/// The pages, under the issuer's path.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = control.inner.config.issuer.path();
    Router::new().route(&format!("{base}{}", assets::PATH), get(assets::handler)).route(
        &format!("{base}{}", sign_in::PATH),
        get(sign_in::show::handler).post(sign_in::submit::handler),
    )
}
