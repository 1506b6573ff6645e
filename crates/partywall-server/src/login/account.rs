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
use partywall::{TenantId, Timestamp};

use super::{
    Admitted, Why,
    actions::{self, ActionError},
    binding::is_from_our_page,
    events::{Happened, note},
    factors::{
        passkey::{self, PasskeyError},
        password::WeakPassword,
        recovery, totp,
    },
    links::posted,
    page::{self, Last, Look, page},
    problem::{PageError, PageResult},
    session::{self, Browser},
    sign_in::{
        self, Goal,
        show::{in_words, name_of},
    },
};
use crate::{
    control::{Account, Actor, ApplicationId, ControlPlane, GrantEnd, User},
    provider::{At, Form},
    secret::Secret,
    storage::{
        accounts, consents, grants, passkeys, recovery_codes,
        sessions::{self, Session},
        totp_secrets,
    },
};

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
        let Some((user, _)) = admitted.user() else { return Err(PageError::NotFound) };
        let user = user.clone();
        let sid = session::enter(control, browser, &session, &admitted).await?;
        let account = match &user.account {
            Some(account) => accounts::find(control.inner.db.reader(), account).await?,
            None => None,
        };
        let fresh = is_fresh(control, &admitted).await?;
        let here = Self { control, at, browser, session, admitted, user, account, sid, fresh };
        Ok(Found::Here(Box::new(here)))
    }

    async fn page(&self, uri: &Uri) -> Result<Response, PageError> {
        let (control, db, now) = (self.control, self.control.inner.db.reader(), self.control.now());
        let tenant = self.admitted.tenant();
        let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
        let get = |name| query.as_ref().and_then(|query| query.get(name));
        let after = get("sessions_after");
        let mut live =
            sessions::live_of_user(db, tenant, &self.user.id, after, PAGE + 1, now).await?;
        let more = live.len() as u64 > PAGE;
        live.truncate(usize::try_from(PAGE).unwrap_or_default());
        let more_sessions = live.last().filter(|_| more).map(|last| last.sid.clone());
        let sessions: Vec<SessionRow> = live
            .into_iter()
            .map(|session| SessionRow {
                here: session.sid == self.sid,
                since: date(session.created_at),
                browser: browser_in_words(&session.user_agent),
                sid: session.sid,
            })
            .collect();
        let mut given = Vec::new();
        for consent in consents::of_user(db, tenant, &self.user.id).await? {
            let name = name_of(control, &consent.client).await?;
            let scopes: Vec<String> = consent.scopes.iter().map(in_words).collect();
            given.push(ConsentRow {
                application: name.unwrap_or_else(|| consent.client.to_string()),
                client: consent.client.to_string(),
                scopes: scopes.join(", "),
                since: date(consent.given_at),
            });
        }
        let (mut apps, mut keys, mut codes_left) = (Vec::new(), Vec::new(), 0);
        if let Some(account) = &self.account {
            let all = totp_secrets::of_account(db, &account.id).await?;
            apps = all.into_iter().filter(|app| app.confirmed_at.is_some()).collect();
            keys = passkeys::of_account(db, &account.id).await?;
            codes_left = recovery_codes::left(db, &account.id).await?;
        }
        let look = &Look::inside(control, self.at, tenant).await?;
        let shown = AccountPage {
            look,
            said: get("said").and_then(Said::of),
            name: &self.user.name,
            email: self.user.email.as_str(),
            has_account: self.account.is_some(),
            fresh: self.fresh,
            options: format!("{}/account/{tenant}/passkey", self.at.issuer()),
            apps: apps
                .iter()
                .map(|app| Row { id: &app.id, name: &app.name, since: date(app.created_at) })
                .collect(),
            keys: keys
                .iter()
                .map(|key| Row {
                    id: &key.credential_id,
                    name: &key.name,
                    since: date(key.created_at),
                })
                .collect(),
            codes_left,
            sessions,
            more_sessions,
            consents: given,
        };
        Ok(page(StatusCode::OK, look, &shown))
    }

    async fn change(&self, form: &Form<'_>) -> Result<Response, PageError> {
        let Some(what) = form.get("do").and_then(Do::of) else { return Err(PageError::Form) };
        if what.needs_fresh() && !self.fresh {
            let goal = Goal::Account {
                tenant: Some(self.admitted.tenant().clone()),
                since: Some(self.control.now()),
            };
            return sign_in::begin(self.control, self.at, self.browser, goal, Why::SignInAgain)
                .await;
        }
        let said = match what {
            Do::SignOut => return self.sign_out().await,
            Do::EndSession => self.end_session(form.get("sid").unwrap_or_default()).await?,
            Do::TakeBack => self.take_back(form.get("client").unwrap_or_default()).await?,
            factor => match &self.account {
                Some(account) => match self.change_factor(factor, account, form).await? {
                    Changed::Said(said) => said,
                    Changed::Shown(response) => return Ok(response),
                },
                None => return Err(PageError::NotFound),
            },
        };
        self.note(what.event(), if said.is_error() { said.word() } else { "success" }).await;
        let (issuer, tenant) = (self.at.issuer(), self.admitted.tenant());
        Ok(page::see_other(&format!("{issuer}/account/{tenant}?said={}", said.word()), &[]))
    }

    async fn sign_out(&self) -> Result<Response, PageError> {
        let cookies = session::leave(self.control, &self.session).await?;
        self.note("sign_out", "success").await;
        Ok(page::see_other(&format!("{}{SIGNED_OUT}", self.at.issuer()), &cookies))
    }

    async fn end_session(&self, sid: &str) -> Result<Said, PageError> {
        let (tenant, user) = (self.admitted.tenant(), &self.user.id);
        // Of their own: anybody else's is none.
        match self.control.revoke_session(&THE_USER, tenant, user, sid).await {
            Ok(()) => Ok(Said::SessionEnded),
            Err(crate::ControlError::UnknownSession) => Ok(Said::Gone),
            Err(error) => Err(PageError::Control(Box::new(error))),
        }
    }

    /// Consent taken back ends what was granted by it.
    async fn take_back(&self, client: &str) -> Result<Said, PageError> {
        let Ok(client) = client.parse::<ApplicationId>() else { return Ok(Said::Gone) };
        let (tenant, user) = (self.admitted.tenant(), &self.user.id);
        let write = self.control.inner.db.single().await;
        let removed = consents::remove(write.db(), tenant, user, &client).await?;
        drop(write);
        let (db, now) = (self.control.inner.db.reader(), self.control.now());
        let mut after: Option<String> = None;
        loop {
            let some = grants::page(db, tenant, user, after.as_deref(), 100, now).await?;
            let Some(last) = some.last() else { break };
            after = Some(last.id.clone());
            for grant in some.iter().filter(|grant| grant.client == client) {
                let why = GrantEnd::Withdrawn;
                let ended = self.control.end_grant(tenant, &grant.id, client.as_str(), why).await;
                ended.map_err(|error| PageError::Control(Box::new(error)))?;
            }
        }
        Ok(if removed { Said::TakenBack } else { Said::Gone })
    }

    async fn change_factor(
        &self,
        what: Do,
        account: &Account,
        form: &Form<'_>,
    ) -> Result<Changed, PageError> {
        let (control, id) = (self.control, form.get("id").unwrap_or_default());
        let write = || control.inner.db.single();
        let removed = |removed| Changed::Said(if removed { Said::Removed } else { Said::Gone });
        Ok(match what {
            Do::ChangePassword => {
                let typed = form.get("password").unwrap_or_default().to_owned();
                let (share, keep) = (self.admitted.tenant().as_str(), &self.session.id_hash);
                let changed =
                    actions::change_password(control, account, share, Secret::new(typed), keep);
                Changed::Said(match changed.await {
                    Ok(()) => Said::PasswordChanged,
                    Err(ActionError::Weak(weak)) => Said::Weak(weak),
                    Err(error) => return Err(error.into()),
                })
            }
            Do::AddApp => {
                let drawn =
                    totp::enrol(control, &account.id, &account.email, "Authenticator app").await;
                match drawn {
                    Ok(drawn) => Changed::Shown(self.show_app(&drawn).await?),
                    Err(totp::TotpError::TooMany) => Changed::Said(Said::TooMany),
                    Err(error) => return Err(error.into()),
                }
            }
            Do::ConfirmApp => {
                let code = form.get("code").unwrap_or_default();
                let right = totp::confirm(control, &account.id, id, code).await?;
                Changed::Said(if right { Said::Added } else { Said::WrongCode })
            }
            Do::RemoveApp => {
                removed(totp_secrets::remove(write().await.db(), &account.id, id).await?)
            }
            Do::NewCodes => {
                let codes = recovery::draw(control, &account.id).await?;
                self.note(what.event(), "success").await;
                let look = &Look::inside(control, self.at, self.admitted.tenant()).await?;
                let codes: Vec<&str> = codes.iter().map(|code| code.expose().as_str()).collect();
                Changed::Shown(page(StatusCode::OK, look, &Codes { look, codes: &codes }))
            }
            Do::AddPasskey => {
                let name = form.get("name").unwrap_or("Passkey");
                let answer = form.get("answer").unwrap_or_default();
                let bound = bound_to(&self.session);
                match passkey::finish_registration(control, account, &bound, name, answer).await {
                    Ok(()) => Changed::Said(Said::Added),
                    Err(PasskeyError::TooMany) => Changed::Said(Said::TooMany),
                    Err(error @ PasskeyError::Refused { .. }) => {
                        tracing::warn!(%error, account.id = %account.id, "no passkey was added");
                        Changed::Said(Said::PasskeyFailed)
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Do::RenamePasskey => {
                let name: String = form.get("name").unwrap_or("Passkey").chars().take(64).collect();
                let renamed = passkeys::rename(write().await.db(), &account.id, id, &name).await?;
                Changed::Said(if renamed { Said::Renamed } else { Said::Gone })
            }
            Do::RemovePasskey => {
                removed(passkeys::remove(write().await.db(), &account.id, id).await?)
            }
            Do::SignOut | Do::EndSession | Do::TakeBack => return Err(PageError::Form),
        })
    }

    /// The one page with the app's secret: it is not kept to be shown again.
    async fn show_app(&self, drawn: &totp::Enrolment) -> Result<Response, PageError> {
        let look = &Look::inside(self.control, self.at, self.admitted.tenant()).await?;
        let (secret, uri) = (drawn.secret.expose(), drawn.uri.expose());
        Ok(page(StatusCode::OK, look, &AddApp { look, id: &drawn.id, secret, uri }))
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
        Some(account) if lately => !sign_in::left_passkey_out(control, account, proof).await?,
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
const PAGE: u64 = 20;
static THE_USER: Actor = Actor::System("account page");

enum Changed {
    Said(Said),
    Shown(Response),
}

/// What can be done on the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Do {
    SignOut,
    EndSession,
    TakeBack,
    ChangePassword,
    AddApp,
    ConfirmApp,
    RemoveApp,
    NewCodes,
    AddPasskey,
    RenamePasskey,
    RemovePasskey,
}

impl Do {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "sign_out" => Self::SignOut,
            "end_session" => Self::EndSession,
            "take_back" => Self::TakeBack,
            "change_password" => Self::ChangePassword,
            "add_app" => Self::AddApp,
            "confirm_app" => Self::ConfirmApp,
            "remove_app" => Self::RemoveApp,
            "new_codes" => Self::NewCodes,
            "add_passkey" => Self::AddPasskey,
            "rename_passkey" => Self::RenamePasskey,
            "remove_passkey" => Self::RemovePasskey,
            _ => return None,
        })
    }

    fn needs_fresh(self) -> bool {
        match self {
            Self::SignOut | Self::EndSession | Self::TakeBack | Self::RenamePasskey => false,
            Self::ChangePassword
            | Self::AddApp
            | Self::ConfirmApp
            | Self::RemoveApp
            | Self::NewCodes
            | Self::AddPasskey
            | Self::RemovePasskey => true,
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::SignOut => "sign_out",
            Self::EndSession => "session.ended",
            Self::TakeBack => "consent.taken_back",
            Self::ChangePassword => "factor.password_changed",
            Self::AddApp | Self::ConfirmApp => "factor.totp_added",
            Self::RemoveApp => "factor.totp_removed",
            Self::NewCodes => "factor.recovery_codes_drawn",
            Self::AddPasskey => "factor.passkey_added",
            Self::RenamePasskey => "factor.passkey_renamed",
            Self::RemovePasskey => "factor.passkey_removed",
        }
    }
}

/// What the page says of the last change.
#[derive(Clone, Copy)]
enum Said {
    SessionEnded,
    TakenBack,
    PasswordChanged,
    Added,
    Removed,
    Renamed,
    Gone,
    WrongCode,
    TooMany,
    PasskeyFailed,
    Weak(WeakPassword),
}

impl Said {
    const ALL: [Self; 13] = [
        Self::SessionEnded,
        Self::TakenBack,
        Self::PasswordChanged,
        Self::Added,
        Self::Removed,
        Self::Renamed,
        Self::Gone,
        Self::WrongCode,
        Self::TooMany,
        Self::PasskeyFailed,
        Self::Weak(WeakPassword::Short),
        Self::Weak(WeakPassword::Long),
        Self::Weak(WeakPassword::Common),
    ];

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|said| said.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::TakenBack => "taken_back",
            Self::PasswordChanged => "password_changed",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Gone => "gone",
            Self::WrongCode => "wrong_code",
            Self::TooMany => "too_many",
            Self::PasskeyFailed => "passkey_failed",
            Self::Weak(weak) => super::links::word_for(weak),
        }
    }

    fn is_error(self) -> bool {
        match self {
            Self::SessionEnded
            | Self::TakenBack
            | Self::PasswordChanged
            | Self::Added
            | Self::Removed
            | Self::Renamed => false,
            Self::Gone | Self::WrongCode | Self::TooMany | Self::PasskeyFailed | Self::Weak(_) => {
                true
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::SessionEnded => "That session is signed out.".to_owned(),
            Self::TakenBack => "The application may do nothing for you any more.".to_owned(),
            Self::PasswordChanged => {
                "Your password is changed. Everywhere else you are signed out.".to_owned()
            }
            Self::Added => "It is added.".to_owned(),
            Self::Removed => "It is removed.".to_owned(),
            Self::Renamed => "It is renamed.".to_owned(),
            Self::Gone => "It was gone already.".to_owned(),
            Self::WrongCode => "That code was not right. Set the app up once more.".to_owned(),
            Self::TooMany => "You have as many as you may. Remove one first.".to_owned(),
            Self::PasskeyFailed => "That did not work. Try once more.".to_owned(),
            Self::Weak(weak) => weak.to_string(),
        }
    }
}

/// A date people everywhere read the same, in UTC.
fn date(at: Timestamp) -> String {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; after 1970.
    let days = at.0 / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// What people know their browser by; all it says of itself, where we do not know it.
fn browser_in_words(user_agent: &str) -> String {
    let has = |word: &str| user_agent.contains(word);
    let name = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark));
    let system = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark));
    match (name, system) {
        (Some((_, name)), Some((_, system))) => format!("{name} on {system}"),
        (Some((_, name)), None) => name.to_owned(),
        (None, _) if user_agent.is_empty() => "A browser".to_owned(),
        (None, _) => user_agent.chars().take(60).collect(),
    }
}

struct SessionRow {
    sid: String,
    browser: String,
    since: String,
    here: bool,
}

struct ConsentRow {
    client: String,
    application: String,
    scopes: String,
    since: String,
}

struct Row<'r> {
    id: &'r str,
    name: &'r str,
    since: String,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'p> {
    look: &'p Look,
    said: Option<Said>,
    name: &'p str,
    email: &'p str,
    has_account: bool,
    fresh: bool,
    /// Where the script asks what it needs to make a passkey.
    options: String,
    apps: Vec<Row<'p>>,
    keys: Vec<Row<'p>>,
    codes_left: u64,
    sessions: Vec<SessionRow>,
    more_sessions: Option<String>,
    consents: Vec<ConsentRow>,
}

#[derive(Template)]
#[template(path = "add_app.html")]
struct AddApp<'p> {
    look: &'p Look,
    id: &'p str,
    secret: &'p str,
    uri: &'p str,
}

#[derive(Template)]
#[template(path = "codes.html")]
struct Codes<'p> {
    look: &'p Look,
    codes: &'p [&'p str],
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut<'p> {
    look: &'p Look,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, day) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_800_000_000, "2027-01-15")]
        {
            assert_eq!(date(Timestamp(seconds)), day);
        }
    }
}
