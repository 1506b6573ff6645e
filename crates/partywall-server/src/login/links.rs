//! Where mails' links lead: to accept an invitation, to set a new password; and where one is asked
//! for. What a link stands for is [`actions`](super::actions)'.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};

use super::{
    Why,
    actions::{self, Accepting, ActionError},
    binding::is_from_our_page,
    factors::password::WeakPassword,
    page::{self, Last, Look, page},
    problem::{PageError, PageResult},
    session::{self, Browser},
    sign_in::{self, Goal},
};
use crate::{
    control::{AccountId, ControlPlane, Email},
    provider::{At, Form},
    rate::Network,
    secret::Secret,
};

pub(super) const FORGOT: &str = "/forgot";
pub(super) const RESET: &str = "/reset/{link}";
pub(super) const RESET_DONE: &str = "/reset/done";
pub(super) const INVITATION: &str = "/invitation/{link}";

/// `GET /forgot`.
pub(super) async fn forgot(State(control): State<ControlPlane>, at: At, uri: Uri) -> PageResult {
    let look = &Look::plain(&control, &at);
    let sent = uri.query() == Some("sent");
    PageResult::of(&control, &at, Ok(page(StatusCode::OK, look, &Forgot { look, sent })))
}

/// `POST /forgot`. Whether there is anybody of that address shows in nothing: the mail is written
/// after the answer.
pub(super) async fn ask_for_reset(
    State(control): State<ControlPlane>,
    at: At,
    network: Network,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let form = posted(&at, &uri, &headers, &body);
    let answered = form.and_then(|form| {
        control.inner.strangers.draw(network, at.tenant())?;
        if let Some(email) = form.get("email").and_then(|email| email.parse::<Email>().ok()) {
            let (control, tenant) = (control.clone(), at.tenant().cloned());
            tokio::spawn(async move {
                if let Err(error) = actions::request_reset(&control, tenant.as_ref(), &email).await
                {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a link to a new password could not be written");
                }
            });
        }
        Ok(page::see_other(&format!("{}{FORGOT}?sent", at.issuer()), &[]))
    });
    PageResult::of(&control, &at, answered)
}

/// `GET /reset/{link}`.
pub(super) async fn reset(
    State(control): State<ControlPlane>,
    at: At,
    Last(link): Last,
    uri: Uri,
) -> PageResult {
    let answered = async {
        let tenant = actions::read_reset(&control, &link).await?.ok_or(PageError::NoLink)?;
        let look = &Look::in_front_of(&control, &at, tenant.as_ref()).await?;
        let error = weakness(&uri).map(|weak| weak.to_string());
        Ok(page(StatusCode::OK, look, &NewPassword { look, error }))
    };
    PageResult::of(&control, &at, answered.await)
}

/// `POST /reset/{link}`.
pub(super) async fn set_password(
    State(control): State<ControlPlane>,
    at: At,
    Last(link): Last,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let answered = async {
        let form = posted(&at, &uri, &headers, &body)?;
        let issuer = at.issuer();
        Ok(match actions::reset(&control, &link, typed(&form)).await {
            Ok(_) => page::see_other(&format!("{issuer}{RESET_DONE}"), &[]),
            Err(ActionError::Weak(weak)) => back(issuer, "reset", &link, weak),
            Err(error) => return Err(error.into()),
        })
    };
    PageResult::of(&control, &at, answered.await)
}

/// `GET /reset/done`.
pub(super) async fn reset_done(State(control): State<ControlPlane>, at: At) -> PageResult {
    let response = page::problem(
        &control,
        &at,
        StatusCode::OK,
        "Your password is set",
        "Go back to where you came from, and sign in with it.",
    );
    PageResult::of(&control, &at, Ok(response))
}

/// `GET /invitation/{link}`.
pub(super) async fn invitation(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(link): Last,
    uri: Uri,
) -> PageResult {
    let answered = async {
        let invited = actions::read_invitation(&control, &link).await?.ok_or(PageError::NoLink)?;
        let look = &Look::inside(&control, &at, &invited.tenant).await?;
        let how = if !invited.must_sign_in {
            How::SetPassword
        } else if signed_in_as(&control, &browser).await?.as_ref() == Some(&invited.account) {
            How::Confirm
        } else {
            How::SignIn
        };
        let error = weakness(&uri).map(|weak| weak.to_string());
        let email = invited.email.as_str();
        Ok(page(StatusCode::OK, look, &Invitation { look, error, email, how }))
    };
    PageResult::of(&control, &at, answered.await)
}

/// `POST /invitation/{link}`: accepts with a first password, or as who is signed in; or has the
/// account's owner sign in first, since a link in a mail alone enters no account (I-02).
pub(super) async fn accept(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(link): Last,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let answered = async {
        let form = posted(&at, &uri, &headers, &body)?;
        let invited = actions::read_invitation(&control, &link).await?.ok_or(PageError::NoLink)?;
        let present = signed_in_as(&control, &browser).await?;
        let how = match &present {
            _ if !invited.must_sign_in => Accepting::WithPassword(typed(&form)),
            Some(account) if *account == invited.account => Accepting::SignedInAs(account),
            _ => {
                let goal = Goal::Invitation {
                    account: invited.account,
                    sealed: sign_in::seal_link(&control, &link)?,
                };
                return sign_in::begin(&control, &at, &browser, goal, Why::SelectAccount).await;
            }
        };
        let issuer = at.issuer();
        let (account, proof) = match actions::accept(&control, &link, how).await {
            Ok(accepted) => accepted,
            Err(ActionError::Weak(weak)) => return Ok(back(issuer, "invitation", &link, weak)),
            Err(error) => return Err(error.into()),
        };
        let cookie = match proof {
            Some(proof) => {
                session::begin(&control, &browser, &account.id, &proof).await?.set_cookie
            }
            None => None,
        };
        let cookies: Vec<_> = cookie.into_iter().collect();
        Ok(page::see_other(&format!("{issuer}/account/{}", invited.tenant), &cookies))
    };
    PageResult::of(&control, &at, answered.await)
}

/// The form a page of ours posted.
pub(super) fn posted<'b>(
    at: &At,
    uri: &Uri,
    headers: &HeaderMap,
    body: &'b [u8],
) -> Result<Form<'b>, PageError> {
    if !is_from_our_page(at, headers) {
        return Err(PageError::CrossSite);
    }
    // Pages are told apart in the address; what somebody typed is in the body.
    let plain: Uri = uri.path().parse().unwrap_or_default();
    Form::of_request(&plain, headers, body).map_err(|_| PageError::Form)
}

fn typed(form: &Form<'_>) -> Secret<String> {
    Secret::new(form.get("password").unwrap_or_default().to_owned())
}

async fn signed_in_as(
    control: &ControlPlane,
    browser: &Browser,
) -> Result<Option<AccountId>, PageError> {
    let session = browser.session(control).await?;
    Ok(session.and_then(|session| session.account).map(|(account, _)| account))
}

/// Back to the form, with what is wrong with the password.
fn back(issuer: &str, page: &str, link: &str, weak: WeakPassword) -> Response {
    page::see_other(&format!("{issuer}/{page}/{link}?{}", word_for(weak)), &[])
}

pub(super) fn word_for(weak: WeakPassword) -> &'static str {
    match weak {
        WeakPassword::Short => "short",
        WeakPassword::Long => "long",
        WeakPassword::Common => "common",
    }
}

fn weakness(uri: &Uri) -> Option<WeakPassword> {
    let word = uri.query()?;
    [WeakPassword::Short, WeakPassword::Long, WeakPassword::Common]
        .into_iter()
        .find(|weak| word_for(*weak) == word)
}

#[derive(Template)]
#[template(path = "forgot.html")]
struct Forgot<'p> {
    look: &'p Look,
    sent: bool,
}

#[derive(Template)]
#[template(path = "new_password.html")]
struct NewPassword<'p> {
    look: &'p Look,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct Invitation<'p> {
    look: &'p Look,
    error: Option<String>,
    email: &'p str,
    how: How,
}

/// What is asked of whoever accepts.
enum How {
    SetPassword,
    SignIn,
    Confirm,
}
