//! Signing people in: what they showed, and the one gate that decides whether it lets them in.

pub(crate) use account::{SIGNED_OUT, date};
pub(crate) use admit::{Admitted, AdmittedPrincipal, Entry, Path, Refusal, admit, admit_machine};
pub(crate) use proof::{ACR_VALUES, Amr, Proof};
pub(crate) use sign_in::needs_consent;
pub(crate) use vouched::{ARRIVED, Terms};

mod account;
pub(crate) mod actions;
mod admit;
mod assets;
pub(crate) mod binding;
mod device;
mod events;
pub(crate) mod factors;
mod home_realm;
mod links;
pub(crate) mod page;
mod problem;
mod proof;
pub(crate) mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod vouched;

use axum::{
    Router,
    response::Response,
    routing::{get, post},
};

use crate::{
    control::ControlPlane,
    provider::{At, authorize::AuthorizationRequest, device::VERIFICATION_PATH},
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

/// The pages, under the path of the issuer all tenants share, and of those some have for themselves.
pub(crate) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = control.inner.config.issuer.path();
    pages(base).merge(pages(&format!("{base}/t/{{tenant}}")))
}

fn pages(base: &str) -> Router<ControlPlane> {
    let at = |path: &str| format!("{base}{path}");
    Router::new()
        .route(&at(assets::PATH), get(assets::handler))
        .route(&at(sign_in::PATH), get(sign_in::show::handler).post(sign_in::submit::handler))
        .route(&at(sign_in::PASSKEY), post(sign_in::submit::passkey_options))
        .route(&at(vouched::PATH), get(vouched::handler))
        .route(&at(account::PATH), get(account::choose))
        .route(&at(account::IN_TENANT), get(account::show).post(account::change))
        .route(&at(account::PASSKEY), post(account::passkey_options))
        .route(&at(account::SIGNED_OUT), get(account::signed_out))
        .route(&at(VERIFICATION_PATH), get(device::ask).post(device::typed))
        .route(&at(device::IN_TENANT), get(device::confirm).post(device::decide))
        .route(&at(links::FORGOT), get(links::forgot).post(links::ask_for_reset))
        .route(&at(links::RESET), get(links::reset).post(links::set_password))
        .route(&at(links::RESET_DONE), get(links::reset_done))
        .route(&at(links::INVITATION), get(links::invitation).post(links::accept))
}
