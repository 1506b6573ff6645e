//! `/account`: a person's own page, in one tenant's eyes. What they have shown to that tenant is
//! what they may do here; factors are changed only by who signed in in the last five minutes
//! (P-03). The account behind it belongs to the person and shows in every tenant they are in.

use std::time::Duration;

use askama::Template;
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use partywall::TenantId;

use super::{
    Admitted, Why,
    binding::is_from_our_page,
    events::{Happened, note},
    factors::passkey,
    links::posted,
    page::{Last, Look, page},
    problem::{PageError, PageResult},
    session::{self, Browser},
    sign_in::{self, Goal},
};
use crate::{
    control::{Account, ControlPlane, User},
    provider::At,
    storage::{accounts, sessions::Session},
};

pub(crate) use show::date;

mod change;
pub(super) mod link;
mod show;
mod words;

pub(super) const PATH: &str = "/account";
pub(super) const IN_TENANT: &str = "/account/{member_of}";
pub(super) const PASSKEY: &str = "/account/{member_of}/passkey";

/// `GET /account`: to one's only tenant, or to the choice.
pub(super) async fn choose(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
) -> PageResult {
    let goal = Goal::Account { tenant: at.tenant().cloned(), since: None };
    let begun = sign_in::begin(&control, &at, &browser, goal, Why::ChooseTenant).await;
    PageResult::of(&control, &at, begun)
}

/// `GET /account/{tenant}`.
pub(super) async fn show(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(tenant): Last,
    uri: Uri,
) -> PageResult {
    let answered = async {
        match Here::find(&control, &at, &browser, &tenant).await? {
            Found::Here(here) => here.page(&uri).await,
            Found::Response(response) => Ok(response),
        }
    };
    PageResult::of(&control, &at, answered.await)
}

/// `POST /account/{tenant}`.
pub(super) async fn change(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(tenant): Last,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let answered = async {
        let form = posted(&at, &uri, &headers, &body)?;
        match Here::find(&control, &at, &browser, &tenant).await? {
            Found::Here(here) => here.change(&form).await,
            Found::Response(response) => Ok(response),
        }
    };
    PageResult::of(&control, &at, answered.await)
}

/// `POST /account/{tenant}/passkey`: what the browser needs to make one.
pub(super) async fn passkey_options(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(tenant): Last,
    headers: HeaderMap,
) -> PageResult {
    let answered = async {
        if !is_from_our_page(&at, &headers) {
            return Err(PageError::CrossSite);
        }
        let Found::Here(here) = Here::find(&control, &at, &browser, &tenant).await? else {
            return Err(PageError::NotFound);
        };
        let account = here.account.as_ref().filter(|_| here.fresh);
        let account = account.ok_or(PageError::NotFound)?;
        let bound = bound_to(&here.session);
        Ok(options(passkey::begin_registration(&control, account, &bound).await?))
    };
    PageResult::of(&control, &at, answered.await)
}

/// Options for a script of ours, which nobody keeps.
pub(super) fn options(options: serde_json::Value) -> Response {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(options)).into_response()
}

fn bound_to(session: &Session) -> String {
    session.id_hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Somebody who is in, at one tenant.
struct Here<'h> {
    control: &'h ControlPlane,
    at: &'h At,
    browser: &'h Browser,
    session: Session,
    admitted: Admitted,
    user: User,
    /// What they sign in with, if that is kept here.
    account: Option<Account>,
    sid: String,
    /// Whether they may change what they sign in with.
    fresh: bool,
}

enum Found<'h> {
    Here(Box<Here<'h>>),
    /// To a sign-in.
    Response(Response),
}

impl<'h> Here<'h> {
    async fn find(
        control: &'h ControlPlane,
        at: &'h At,
        browser: &'h Browser,
        tenant: &str,
    ) -> Result<Found<'h>, PageError> {
        let tenant: TenantId = tenant.parse().map_err(|_| PageError::NotFound)?;
        if at.tenant().is_some_and(|own| *own != tenant) {
            return Err(PageError::NotFound);
        }
        let session = browser.session(control).await?;
        let admitted = match &session {
            Some(session) => session::admit_session(control, session, &tenant).await?.ok(),
            None => None,
        };
        let (Some(session), Some(admitted)) = (session, admitted) else {
            let goal = Goal::Account { tenant: Some(tenant), since: None };
            let begun = sign_in::begin(control, at, browser, goal, Why::SignInAgain).await?;
            return Ok(Found::Response(begun));
        };
        let Some((user, proof)) = admitted.user() else { return Err(PageError::NotFound) };
        let user = user.clone();
        // A tenant's own provider vouches for a member of that tenant, and never for the person's
        // account, which opens other tenants.
        let account = match (&user.account, &proof.connection) {
            (Some(account), None) => accounts::find(control.inner.db.reader(), account).await?,
            (Some(_), Some(_)) | (None, _) => None,
        };
        let sid = session::enter(control, browser, &session, &admitted).await?;
        let fresh = is_fresh(control, &admitted).await?;
        let here = Self { control, at, browser, session, admitted, user, account, sid, fresh };
        Ok(Found::Here(Box::new(here)))
    }

    async fn note(&self, event: &'static str, outcome: &str) {
        let happened = Happened {
            event,
            outcome,
            tenant: Some(self.admitted.tenant()),
            subject: Some(self.user.id.as_str()),
            client: None,
        };
        note(self.control, happened).await;
    }
}

/// Whether factors were shown in the last five minutes, and the passkey, where there is one: what
/// is changed here opens other tenants, too, which may ask for more than this one.
async fn is_fresh(control: &ControlPlane, admitted: &Admitted) -> Result<bool, PageError> {
    let Some((user, proof)) = admitted.user() else { return Ok(false) };
    let lately = proof.auth_time + FRESH > control.now();
    Ok(match &user.account {
        Some(account) if lately && proof.connection.is_none() => {
            !sign_in::left_passkey_out(control, account, proof).await?
        }
        Some(_) | None => lately,
    })
}

/// `GET /signed-out`.
pub(super) async fn signed_out(State(control): State<ControlPlane>, at: At) -> PageResult {
    let look = &Look::plain(&control, &at);
    PageResult::of(&control, &at, Ok(page(StatusCode::OK, look, &SignedOut { look })))
}

pub(crate) const SIGNED_OUT: &str = "/signed-out";
/// How long ago factors may have been shown for others to be changed (P-03).
const FRESH: Duration = Duration::from_secs(5 * 60);

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut<'p> {
    look: &'p Look,
}
