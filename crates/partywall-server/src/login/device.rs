//! `/device`: where the code that a device shows is typed, and the device let in or turned away
//! (RFC 8628 3.3). Whoever comes by a link with the code in it is asked all the same: the device
//! may be somebody else's (RFC 8628 5.4).

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use partywall::TenantId;

use super::{
    Admitted, Why,
    links::posted,
    page::{self, Last, Look, page},
    problem::{PageError, PageResult},
    session::{self, Browser},
    sign_in::{self, Goal, show::in_words},
};
use crate::{
    control::ControlPlane,
    provider::{
        At, Form,
        device::{self, VERIFICATION_PATH, Waiting},
    },
    storage::sessions::Session,
};

pub(super) const IN_TENANT: &str = "/device/{member_of}";

/// `GET /device`.
pub(super) async fn ask(State(control): State<ControlPlane>, at: At, uri: Uri) -> PageResult {
    let look = &Look::plain(&control, &at);
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
    let get = |name| query.as_ref().and_then(|query| query.get(name));
    let code = get("user_code").map(plain).unwrap_or_default();
    let said = get("said").and_then(Said::of).map(Said::text);
    let asked = TypeCode { look, code: &code, said };
    PageResult::of(&control, &at, Ok(page(StatusCode::OK, look, &asked)))
}

/// `POST /device`: somebody typed a code, and signs in if they are not.
pub(super) async fn typed(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let answered = async {
        let form = posted(&at, &uri, &headers, &body)?;
        let user_code = plain(form.get("user_code").unwrap_or_default());
        let goal = Goal::Device { user_code, tenant: at.tenant().cloned() };
        sign_in::begin(&control, &at, &browser, goal, Why::ChooseTenant).await
    };
    PageResult::of(&control, &at, answered.await)
}

/// `GET /device/{tenant}`.
pub(super) async fn confirm(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(tenant): Last,
    uri: Uri,
) -> PageResult {
    let answered = async {
        let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
        let code = query.as_ref().and_then(|query| query.get("user_code")).unwrap_or_default();
        let Some(here) = Here::find(&control, &at, &browser, &tenant, code).await? else {
            return Ok(no_more(&at, Said::Unknown));
        };
        let look = &Look::inside(&control, &at, here.admitted.tenant()).await?;
        let scopes: Vec<String> = here.waiting.scopes.iter().map(in_words).collect();
        let user = here.admitted.user().map(|(user, _)| user.email.to_string());
        let confirm = Confirm {
            look,
            code: &plain(code),
            application: &here.waiting.name,
            user: &user.unwrap_or_default(),
            scopes: &scopes,
        };
        Ok(page(StatusCode::OK, look, &confirm))
    };
    PageResult::of(&control, &at, answered.await)
}

/// `POST /device/{tenant}`: the decision.
pub(super) async fn decide(
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
        let code = form.get("user_code").unwrap_or_default();
        let Some(here) = Here::find(&control, &at, &browser, &tenant, code).await? else {
            return Ok(no_more(&at, Said::Unknown));
        };
        let Here { session, admitted, waiting } = here;
        let (done, said) = if form.get("answer") == Some("allow") {
            let sid = session::enter(&control, &browser, &session, &admitted).await?;
            let done = device::approve(&control, &at, &waiting, &admitted, Some(&sid)).await?;
            (done, Said::Allowed)
        } else {
            (device::deny(&control, &waiting).await?, Said::Denied)
        };
        let happened = super::events::Happened {
            event: "device.decide",
            outcome: match (done, said) {
                (true, Said::Allowed) => "success",
                (true, _) => "denied",
                (false, _) => "not_possible",
            },
            tenant: Some(admitted.tenant()),
            subject: Some(admitted.subject()),
            client: Some(waiting.client.as_str()),
        };
        super::events::note(&control, happened).await;
        Ok(no_more(&at, if done { said } else { Said::Unknown }))
    };
    PageResult::of(&control, &at, answered.await)
}

/// Somebody the gate lets in to the tenant, and the device they typed the code of.
struct Here {
    session: Session,
    admitted: Admitted,
    waiting: Waiting,
}

impl Here {
    async fn find(
        control: &ControlPlane,
        at: &At,
        browser: &Browser,
        tenant: &str,
        code: &str,
    ) -> Result<Option<Self>, PageError> {
        let tenant: Option<TenantId> = tenant.parse().ok();
        let tenant = tenant.filter(|tenant| at.tenant().is_none_or(|own| own == tenant));
        let (Some(tenant), Some(session)) = (tenant, browser.session(control).await?) else {
            return Ok(None);
        };
        let Ok(admitted) = session::admit_session(control, &session, &tenant).await? else {
            return Ok(None);
        };
        let who = admitted.subject().to_owned();
        let waiting = device::look_up(control, at, &who, code).await?;
        let waiting =
            waiting.filter(|waiting| waiting.tenant.as_ref().is_none_or(|own| *own == tenant));
        Ok(waiting.map(|waiting| Self { session, admitted, waiting }))
    }
}

fn no_more(at: &At, said: Said) -> Response {
    page::see_other(&format!("{}{VERIFICATION_PATH}?said={}", at.issuer(), said.word()), &[])
}

/// A typed code as far as it could be one, for an address or a page.
fn plain(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(16).collect()
}

/// What came of it.
#[derive(Clone, Copy)]
enum Said {
    Allowed,
    Denied,
    Unknown,
}

impl Said {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Allowed, Self::Denied, Self::Unknown].into_iter().find(|said| said.word() == word)
    }

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Allowed => ("done", "Your device is signed in. You can close this page."),
            Self::Denied => ("done", "The device was turned away. You can close this page."),
            Self::Unknown => (
                "error",
                "That is no code of a device that waits. Check it, or let the device show a new \
                 one.",
            ),
        }
    }
}

#[derive(Template)]
#[template(path = "device.html")]
struct TypeCode<'p> {
    look: &'p Look,
    code: &'p str,
    said: Option<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "device_confirm.html")]
struct Confirm<'p> {
    look: &'p Look,
    code: &'p str,
    application: &'p str,
    user: &'p str,
    scopes: &'p [String],
}
