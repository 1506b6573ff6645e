//! `GET` and `POST /end-session`: an application asks that somebody be signed out (OIDC RP-Initiated
//! Logout 1.0).
//!
//! Nobody is signed out by a link that somebody else made: without an ID token of the very user
//! who is signed in here, they are asked first. And nobody is sent anywhere but to an address that
//! the application has registered, compared as text.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::Response,
};
use url::form_urlencoded;

use super::{
    at::At,
    form::{Form, FormError},
    id_token::{self, Hint, HintError},
};
use crate::{
    control::{ApplicationId, ApplicationStatus, ControlPlane},
    login::{
        binding::is_from_our_page,
        page::{self, Look},
        session::{self, Browser},
    },
    storage::{
        StorageError, applications,
        sessions::{self, Session, TenantSession},
    },
};

pub(crate) use back_channel::Telling;

mod back_channel;
mod caller;

pub(super) const PATH: &str = "/end-session";

pub(super) async fn get(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let ended = match Form::parse(query.as_bytes()) {
        Ok(form) => end(&control, &at, &browser, &form, Came::ByLink).await,
        Err(error) => Err(error.into()),
    };
    ended.unwrap_or_else(|error| error.answer(&control, &at))
}

/// RP-Initiated Logout 2: the same by a form. Our own page sends one, too.
pub(super) async fn post(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let ended = match Form::of_request(&uri, &headers, &body) {
        Ok(form) => {
            let agreed = form.get(AGREED).is_some() && is_from_our_page(&at, &headers);
            let came = if agreed { Came::Agreed } else { Came::ByForm };
            end(&control, &at, &browser, &form, came).await
        }
        Err(error) => Err(error.into()),
    };
    ended.unwrap_or_else(|error| error.answer(&control, &at))
}

/// How a request came here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Came {
    /// The browser followed a link, with all its cookies.
    ByLink,
    /// Another site's form, with which browsers send none of ours (`SameSite=Lax`): who is signed
    /// in, nobody can tell.
    ByForm,
    /// From our own page: whoever sits there wants it.
    Agreed,
}

async fn end(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    form: &Form<'_>,
    came: Came,
) -> Result<Response, LogoutRequestError> {
    let asked = Asked::read(control, at, form).await?;
    let session = browser.session(control).await?;
    let Some(session) = session else {
        // Signed out already, unless it came without the cookie.
        return if came == Came::ByForm {
            Ok(ask(control, at, form, &asked))
        } else {
            Ok(asked.leave(at, &[]))
        };
    };
    // RP-Initiated Logout 2: without a hint, or with somebody else's, the person is asked.
    let live = live(control, &session).await?;
    if came == Came::Agreed {
        // The provider of whom the application meant, or of the only tenant there is.
        let meant = live.iter().find(|live| asked.is_about(live));
        let only = (live.len() == 1).then(|| live.first()).flatten();
        let cookies = session::leave(control, &session).await?;
        return Ok(asked.leave_by_way_of(control, at, meant.or(only), &cookies).await);
    }
    let Some(ended) = live.iter().find(|live| asked.is_about(live)) else {
        return Ok(ask(control, at, form, &asked));
    };
    if asked.mistake.is_some() {
        return Ok(ask(control, at, form, &asked));
    }
    // Other tenants' sessions are not this application's to end. With the last one goes the
    // browser's own.
    let cookies = if live.len() > 1 {
        control.sign_out(ended).await?;
        Vec::new()
    } else {
        session::leave(control, &session).await?
    };
    Ok(asked.leave_by_way_of(control, at, Some(ended), &cookies).await)
}

async fn live(
    control: &ControlPlane,
    session: &Session,
) -> Result<Vec<TenantSession>, StorageError> {
    let mut live = sessions::live_of_browser(control.inner.db.reader(), &session.id_hash).await?;
    let now = control.now();
    live.retain(|session| session.expires_at > now);
    Ok(live)
}

/// What an application asks for, as far as it is believed.
struct Asked {
    hint: Option<Hint>,
    /// Where the browser goes afterwards, complete.
    back: Option<String>,
    /// What is wrong with the request.
    mistake: Option<&'static str>,
}

impl Asked {
    async fn read(
        control: &ControlPlane,
        at: &At,
        form: &Form<'_>,
    ) -> Result<Self, LogoutRequestError> {
        let mut asked = Self { hint: None, back: None, mistake: None };
        let named = form.get("client_id");
        let client = match form.get("id_token_hint") {
            Some(hint) => match id_token::verify_hint(control, at, hint, named) {
                Ok(hint) => asked.hint.insert(hint).client.clone(),
                Err(error) => {
                    let Some((_, mistake)) = error.answer() else { return Err(error.into()) };
                    asked.mistake = Some(mistake);
                    return Ok(asked);
                }
            },
            None => named.unwrap_or_default().to_owned(),
        };
        let Some(back) = form.get("post_logout_redirect_uri") else { return Ok(asked) };
        if is_registered(control, &client, back).await? {
            asked.back = Some(with_state(back, form.get("state")));
        } else {
            asked.mistake =
                Some("post_logout_redirect_uri is not one that the application has registered");
        }
        Ok(asked)
    }

    /// Whether the hint is about whoever has this session: of the same tenant, the same user.
    fn is_about(&self, session: &TenantSession) -> bool {
        let about = |hint: &Hint| hint.tenant == session.tenant && hint.user == session.user;
        self.hint.as_ref().is_some_and(about)
    }

    /// Sends the browser to where it came from, or to a page that says it is done.
    fn leave(&self, at: &At, set_cookies: &[HeaderValue]) -> Response {
        page::see_other(&self.leads_back(at), set_cookies)
    }

    /// The same, by way of the tenant's own provider, where the session came from there.
    async fn leave_by_way_of(
        &self,
        control: &ControlPlane,
        at: &At,
        ended: Option<&TenantSession>,
        set_cookies: &[HeaderValue],
    ) -> Response {
        page::signed_out(control, at, ended, &self.leads_back(at), set_cookies).await
    }

    fn leads_back(&self, at: &At) -> String {
        let done = || format!("{}{}", at.issuer(), crate::login::SIGNED_OUT);
        self.back.clone().unwrap_or_else(done)
    }
}

/// RP-Initiated Logout 3: exactly as registered, of an application that is in use.
async fn is_registered(
    control: &ControlPlane,
    client: &str,
    uri: &str,
) -> Result<bool, StorageError> {
    let Ok(client) = client.parse::<ApplicationId>() else { return Ok(false) };
    let application = applications::find(control.inner.db.reader(), &client).await?;
    Ok(application.is_some_and(|application| {
        let registered = &application.registration.post_logout_redirect_uris;
        application.status == ApplicationStatus::Active
            && registered.iter().any(|registered| registered == uri)
    }))
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let separator = if uri.contains('?') { '&' } else { '?' };
    let state: String = form_urlencoded::byte_serialize(state.as_bytes()).collect();
    format!("{uri}{separator}state={state}")
}

/// Asks whoever sits there.
fn ask(control: &ControlPlane, at: &At, form: &Form<'_>, asked: &Asked) -> Response {
    let mut look = Look::plain(control, at);
    if let Some(back) = &asked.back {
        look = look.leading_to(back);
    }
    let sent = SENT.into_iter().filter_map(|name| Some((name, form.get(name)?))).collect();
    let action = format!("{}{PATH}", at.issuer());
    let asking = Ask { look: &look, action: &action, sent, mistake: asked.mistake };
    page::page(StatusCode::OK, &look, &asking)
}

/// What our page sends once more.
const SENT: [&str; 4] = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"];
const AGREED: &str = "agreed";

#[derive(Template)]
#[template(path = "sign_out.html")]
struct Ask<'a> {
    look: &'a Look,
    action: &'a str,
    sent: Vec<(&'static str, &'a str)>,
    mistake: Option<&'static str>,
}

/// Why nobody was signed out.
#[derive(Debug, thiserror::Error)]
enum LogoutRequestError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Hint(#[from] HintError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LogoutRequestError {
    fn answer(&self, control: &ControlPlane, at: &At) -> Response {
        match self {
            Self::Form(_) => page::problem(
                control,
                at,
                StatusCode::BAD_REQUEST,
                "This request cannot be read",
                "The application that sent you here made a mistake. You are still signed in.",
            ),
            Self::Hint(_) | Self::Storage(_) => {
                tracing::error!(error = self as &dyn std::error::Error, "a logout failed");
                page::problem(
                    control,
                    at,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong here",
                    "You may still be signed in. Wait a little, and try again.",
                )
            }
        }
    }
}
