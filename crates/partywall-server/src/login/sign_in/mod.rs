//! A sign-in under way: what it is for, how far it has come, and what comes next.
//!
//! ```text
//! begin ─► Identify ─► Password ─► (SecondFactor | Enrol) ─► Known ─► decide ─► complete
//!                                                              │        └─ tenant? consent? no?
//! ```
//!
//! It lies in the drawer of sign-ins under 256 random bits, which its address shows, and belongs
//! to the browser that began it (O-21). Until `Known` nothing is shown that tells one person, or
//! one tenant, from another or from nobody.

use std::time::Duration;

use axum::{http::HeaderValue, response::Response};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Admitted, Entry, Path, Proof, Refusal, Why, admit,
    binding::Binding,
    events::{Happened, note, note_with},
    home_realm::{self, Realm},
    page,
    problem::PageError,
    session::{self, Browser},
    vouched::Vouched,
};
use crate::{
    control::{AccountId, Connection, ControlPlane, Email, SignInMethod, UserId},
    federation::away::{self, Departure, Errand, Leaving, Wish},
    provider::{
        At,
        authorize::{self, AuthorizationRequest, Prompt, Refused},
        device,
    },
    secret::Secret,
    storage::{
        StorageError, accounts, applications, consents, passkeys, passwords, recovery_codes,
        sessions::{self, Session},
        single_use::{self, Drawer, Kind, Redeemed},
        totp_secrets,
        users::{self, Who},
    },
};

pub(super) mod show;
pub(super) mod submit;

pub(super) const PATH: &str = "/sign-in/{id}";
/// What a browser needs to show a passkey.
pub(super) const PASSKEY: &str = "/sign-in/{id}/passkey";

/// A sign-in under way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct SignIn {
    /// The issuer it was begun at, and goes on at.
    issuer: String,
    pub(super) goal: Goal,
    browser: Binding,
    pub(super) step: Step,
    /// What the next page says of the last step.
    notice: Option<Notice>,
    /// The tenant somebody chose, once known.
    chosen: Option<TenantId>,
    /// Whether factors were shown in this sign-in, or only before.
    shown_here: bool,
    /// Whether consent was given in this sign-in.
    agreed: bool,
    /// For whom a tenant's own provider has vouched in this sign-in.
    #[serde(default)]
    vouched: Option<Vouched>,
    /// Whether that was not enough, so that a provider is to ask them once more.
    #[serde(default)]
    again: bool,
}

/// What somebody signs in for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Goal {
    /// An application, which gets a code.
    Application(Box<AuthorizationRequest>),
    /// Their own account's page, in one tenant's eyes.
    Account { tenant: Option<TenantId>, since: Option<Timestamp> },
    /// To accept an invitation as the account it is for. The link lets people in: it is sealed.
    Invitation { account: AccountId, sealed: Vec<u8> },
    /// A device that waits.
    Device { user_code: String, tenant: Option<TenantId> },
    /// To be linked to what a tenant's own provider says they are, as the user they are in this
    /// session (F-02).
    Link { tenant: TenantId, user: UserId, session: Vec<u8> },
}

/// How far it has come.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Step {
    /// Who is it?
    Identify,
    /// Somebody says they are this one.
    Password { email: Email },
    /// They have shown a first factor.
    SecondFactor { account: AccountId, shown: Proof },
    /// They have shown a first factor, are to show two, and have one.
    Enrol { account: AccountId, shown: Proof, app: Option<WaitingApp> },
    /// They are on their way to their tenant's own provider.
    Away { to: String, by: Departure },
    /// They have shown what they have. What is left depends on what they want.
    Known,
}

/// An authenticator app that is being set up: see [`crate::login::factors::totp`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct WaitingApp {
    pub(super) id: String,
    /// Its secret and address, sealed; shown until it is confirmed.
    pub(super) sealed: Vec<u8>,
}

/// What is said of the step before.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Notice {
    NotAnAddress,
    WrongPassword,
    WrongCode,
    NotAMember,
    PasskeyFailed,
    UsePasskey,
    PasswordChanged,
    ProviderUnreachable,
}

impl Notice {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotAnAddress => "Enter an e-mail address, like name@example.com.",
            Self::WrongPassword => {
                "That did not work. Check the address and the password, or wait a little and try \
                 again."
            }
            Self::WrongCode => "That code is not right, or was used before. Wait for the next one.",
            Self::PasskeyFailed => "That passkey did not work. Try once more, or another way.",
            Self::UsePasskey => "More than your password is needed here. Use your passkey.",
            Self::ProviderUnreachable => {
                "Your organisation's sign-in cannot be reached just now. Try again in a minute; if \
                 that does not help, tell your administrator."
            }
            Self::PasswordChanged => "Your password was changed meanwhile. Sign in again.",
            Self::NotAMember => "You do not belong to that organisation.",
        }
    }
}

impl Goal {
    /// The tenant it is about, where that is settled beforehand.
    pub(super) fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Application(request) => request.tenant.as_ref(),
            Self::Account { tenant, .. } | Self::Device { tenant, .. } => tenant.as_ref(),
            Self::Link { tenant, .. } => Some(tenant),
            Self::Invitation { .. } => None,
        }
    }

    /// Whether what was shown before this sign-in, if anything was, is good for it.
    fn takes_earlier(&self, proof: &Proof) -> bool {
        match self {
            Self::Application(request) => {
                !request.wants_new_sign_in()
                    && !request.prompt.contains(&Prompt::SelectAccount)
                    && request.is_fresh(proof)
            }
            Self::Account { since, .. } => since.is_none_or(|since| proof.auth_time >= since),
            Self::Invitation { .. } | Self::Device { .. } | Self::Link { .. } => true,
        }
    }

    /// Whether what a tenant's own provider vouched for in this sign-in is recent enough for it.
    fn takes_vouched(&self, proof: &Proof) -> bool {
        match self {
            Self::Application(request) => request.is_fresh(proof),
            Self::Account { since, .. } => since.is_none_or(|since| proof.auth_time >= since),
            Self::Invitation { .. } | Self::Device { .. } | Self::Link { .. } => true,
        }
    }

    /// Whether whoever is known is to show who they are once more.
    fn wants_new_sign_in(&self) -> bool {
        match self {
            Self::Application(request) => request.wants_new_sign_in() || request.max_age.is_some(),
            Self::Account { since, .. } => since.is_some(),
            Self::Invitation { .. } | Self::Device { .. } | Self::Link { .. } => false,
        }
    }

    fn client(&self) -> Option<&str> {
        match self {
            Self::Application(request) => Some(request.client.as_str()),
            Self::Account { .. }
            | Self::Invitation { .. }
            | Self::Device { .. }
            | Self::Link { .. } => None,
        }
    }

    /// Where an application waits for the answer.
    pub(super) fn leads_to(&self) -> Option<&str> {
        match self {
            Self::Application(request) => Some(&request.reply.redirect_uri),
            Self::Account { .. }
            | Self::Invitation { .. }
            | Self::Device { .. }
            | Self::Link { .. } => None,
        }
    }
}

/// What comes next for somebody who has shown something.
pub(super) enum Next {
    /// Nothing is known of the browser.
    Identify,
    /// What was shown is too old, or not what is wanted: once more.
    Again(AccountId),
    /// A second factor.
    SecondFactor(AccountId, Proof),
    ChooseTenant(AccountId),
    Consent(Box<Admitted>),
    Refused(Shut),
    /// Signed in as the account an invitation is for: back to it, with this link.
    Accept(Secret<String>),
    Done(Box<Admitted>),
}

/// Why somebody who has shown who they are does not come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shut {
    /// They belong nowhere.
    NoTenant,
    /// They are not who was asked for.
    OtherUser,
    /// The gate says so.
    Gate(Refusal),
    /// What they have cannot be as strong as is asked for.
    TooWeak,
}

impl Shut {
    /// Nobody learns whether there is a tenant that they are no member of (I-16).
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::NoTenant => "Your account does not belong to any organisation yet.",
            Self::OtherUser => "The application asked for somebody else to sign in.",
            Self::TooWeak => {
                "The application asks for a stronger way of signing in than your account has."
            }
            Self::Gate(Refusal::NotAMember | Refusal::TenantNotServed) => {
                "Your account does not belong to the organisation you asked for."
            }
            Self::Gate(Refusal::NotAcceptedYet) => {
                "You were invited, and have not accepted yet. Open the link in the invitation."
            }
            Self::Gate(Refusal::UserNotActive | Refusal::AccountLocked) => {
                "Your access is suspended. Ask your organisation's administrator."
            }
            Self::Gate(
                Refusal::SsoOnly | Refusal::MethodNotAllowed | Refusal::ConnectionUnknown,
            ) => "Your organisation asks for another way of signing in.",
            Self::Gate(Refusal::MfaRequired | Refusal::SignInTooOld) => "Sign in again, please.",
        }
    }
}

/// Finds out what comes next. One place says yes, and it asks the gate (I-12, I-14).
pub(super) async fn decide(
    control: &ControlPlane,
    sign_in: &SignIn,
    session: Option<&Session>,
) -> Result<Next, StorageError> {
    let db = control.inner.db.reader();
    let Some(session) = session else { return Ok(Next::Identify) };
    if let Some(vouched) = &sign_in.vouched {
        return decide_vouched(control, sign_in, vouched).await;
    }
    let Some((account, proof)) = session.account.clone() else {
        return decide_known(control, sign_in, session).await;
    };
    if !sign_in.shown_here && !sign_in.goal.takes_earlier(&proof) {
        return Ok(Next::Again(account));
    }
    if let Goal::Invitation { account: invited, sealed } = &sign_in.goal {
        // The tenant's gate is no matter yet: nobody is its member before they accept.
        let link = open_link(control, sealed).filter(|_| account == *invited);
        return Ok(link.map_or(Next::Refused(Shut::OtherUser), Next::Accept));
    }
    let tenant = match sign_in.goal.tenant().or(sign_in.chosen.as_ref()) {
        Some(tenant) => tenant.clone(),
        None => match users::joined(db, &account, None, 2).await?.as_slice() {
            // Somebody who was asked in only: the gate tells them what is missing.
            [] => match users::memberships(db, &account, None, 1).await?.as_slice() {
                [invited, ..] => invited.tenant.clone(),
                [] => return Ok(Next::Refused(Shut::NoTenant)),
            },
            [only] => only.tenant.clone(),
            // I-18: never picked for them.
            _ => return Ok(Next::ChooseTenant(account)),
        },
    };
    let admitted = if sign_in.shown_here {
        // Whoever showed something just now comes in as themselves, whoever was here before.
        let who = Who::Account(&account);
        let entry = Entry { tenant: &tenant, who, path: Path::Session, proof: &proof };
        admit(db, entry, control.now()).await?
    } else {
        session::admit_session(control, session, &tenant).await?
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(Refusal::MfaRequired) => return Ok(step_up(control, account, proof)),
        Err(Refusal::SignInTooOld | Refusal::MethodNotAllowed) if !sign_in.shown_here => {
            return Ok(Next::Again(account));
        }
        Err(refusal) => return Ok(Next::Refused(Shut::Gate(refusal))),
    };
    let Some((_, shown)) = admitted.user() else { return Ok(Next::Identify) };
    // A tenant's own provider may have vouched for somebody here, longer ago than the account's
    // factors were shown elsewhere.
    if !sign_in.shown_here && !sign_in.goal.takes_earlier(shown) {
        return Ok(Next::Identify);
    }
    if let Goal::Account { since: Some(_), .. } = &sign_in.goal
        && left_passkey_out(control, &account, shown).await?
    {
        return Ok(step_up(control, account, shown.clone()));
    }
    let can_step_up = !shown.is_multi_factor();
    Ok(match for_the_goal(control, sign_in, admitted).await? {
        Next::Refused(Shut::TooWeak) if can_step_up => step_up(control, account, proof),
        next => next,
    })
}

/// What is left for somebody the gate lets in: what the application asks for.
async fn for_the_goal(
    control: &ControlPlane,
    sign_in: &SignIn,
    admitted: Admitted,
) -> Result<Next, StorageError> {
    let Some((user, shown)) = admitted.user() else { return Ok(Next::Identify) };
    if let Goal::Application(request) = &sign_in.goal {
        if request.subject.as_ref().is_some_and(|subject| *subject != user.id) {
            return Ok(Next::Refused(Shut::OtherUser));
        }
        if !request.is_met_by(shown) {
            return Ok(Next::Refused(Shut::TooWeak));
        }
        if !sign_in.agreed && needs_consent(control, request, &admitted).await? {
            return Ok(Next::Consent(Box::new(admitted)));
        }
    }
    Ok(Next::Done(Box::new(admitted)))
}

/// For somebody whom a tenant's own provider has just vouched for: in that tenant or nowhere
/// (I-03). The gate is asked each time, as for everybody.
async fn decide_vouched(
    control: &ControlPlane,
    sign_in: &SignIn,
    vouched: &Vouched,
) -> Result<Next, StorageError> {
    let Vouched { tenant, user, proof, .. } = vouched;
    if sign_in.goal.tenant().is_some_and(|wanted| wanted != tenant) {
        return Ok(Next::Refused(Shut::Gate(Refusal::NotAMember)));
    }
    if matches!(sign_in.goal, Goal::Invitation { .. }) {
        return Ok(Next::Refused(Shut::OtherUser));
    }
    let entry = Entry { tenant, who: Who::User(user), path: Path::Session, proof };
    match admit(control.inner.db.reader(), entry, control.now()).await? {
        // A provider may leave out what it was asked for, and say who somebody was an hour ago.
        Ok(_) if !sign_in.goal.takes_vouched(proof) => {
            Ok(Next::Refused(Shut::Gate(Refusal::SignInTooOld)))
        }
        Ok(admitted) => for_the_goal(control, sign_in, admitted).await,
        Err(refusal) => Ok(Next::Refused(Shut::Gate(refusal))),
    }
}

/// For a browser in which tenants' own providers vouched for somebody before, and nobody signed in
/// with factors kept here.
async fn decide_known(
    control: &ControlPlane,
    sign_in: &SignIn,
    session: &Session,
) -> Result<Next, StorageError> {
    let tenant = match sign_in.goal.tenant().or(sign_in.chosen.as_ref()) {
        Some(tenant) => tenant.clone(),
        None => {
            let db = control.inner.db.reader();
            match sessions::live_of_browser(db, &session.id_hash).await?.as_slice() {
                [only] => only.tenant.clone(),
                _ => return Ok(Next::Identify),
            }
        }
    };
    let Ok(admitted) = session::admit_session(control, session, &tenant).await? else {
        return Ok(Next::Identify);
    };
    let fits = admitted.user().is_some_and(|(_, proof)| sign_in.goal.takes_earlier(proof));
    if fits { for_the_goal(control, sign_in, admitted).await } else { Ok(Next::Identify) }
}

/// A second factor tops up a first one that was shown in the same sitting, no older one.
fn step_up(control: &ControlPlane, account: AccountId, proof: Proof) -> Next {
    if proof.auth_time + LASTS > control.now() {
        Next::SecondFactor(account, proof)
    } else {
        Next::Again(account)
    }
}

/// Whether the user has to be asked before the application gets anything (O-20).
pub(crate) async fn needs_consent(
    control: &ControlPlane,
    request: &AuthorizationRequest,
    admitted: &Admitted,
) -> Result<bool, StorageError> {
    // OIDC Core 3.1.2.1: whatever was said before.
    if request.prompt.contains(&Prompt::Consent) {
        return Ok(true);
    }
    let db = control.inner.db.reader();
    let application = applications::find(db, &request.client).await?;
    // One that is gone meanwhile gets nothing for it later.
    if application.is_some_and(|application| !application.registration.asks_consent) {
        return Ok(false);
    }
    let Some((user, _)) = admitted.user() else { return Ok(true) };
    let given = consents::find(db, admitted.tenant(), &user.id, &request.client).await?;
    Ok(!given.is_some_and(|given| request.scopes.is_subset(&given.scopes)))
}

/// Begins a sign-in, and sends the browser to its first page, or straight on where nothing has to
/// be asked.
pub(super) async fn begin(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    goal: Goal,
    why: Why,
) -> Result<Response, PageError> {
    let hint = match &goal {
        Goal::Application(request) => request.login_hint.clone(),
        Goal::Account { .. }
        | Goal::Invitation { .. }
        | Goal::Device { .. }
        | Goal::Link { .. } => None,
    };
    // Known beforehand: the first page is left out (I-20).
    let (step, connection) = match (why, hint) {
        (Why::SignInAgain | Why::ChooseTenant | Why::Consent, _) => (Step::Known, None),
        (Why::SignIn | Why::SelectAccount, hint) => {
            match home_realm::realm(control, goal.tenant(), hint.as_ref()).await? {
                Realm::Elsewhere(connection) => (Step::Identify, Some((connection, hint))),
                Realm::Here => {
                    let step = hint.map_or(Step::Identify, |email| Step::Password { email });
                    (step, None)
                }
            }
        }
    };
    let (begun, sign_in) = put(control, at, browser, goal, step).await?;
    let Begun { id, cookies } = begun;
    let under_way = UnderWay { control, at, browser, id: id.expose(), cookies };
    if let Some((connection, hint)) = connection {
        return under_way.send_away(sign_in, &connection, hint.as_ref()).await;
    }
    let session = browser.session(control).await?;
    match &sign_in.step {
        Step::Known => under_way.go_on(sign_in, session.as_ref()).await,
        _ => Ok(under_way.see_own_page()),
    }
}

/// Begins one of which nothing is shown yet.
pub(super) async fn begin_quietly(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    goal: Goal,
) -> Result<(Begun, SignIn), PageError> {
    put(control, at, browser, goal, Step::Known).await
}

/// A sign-in that was put into its drawer just now.
pub(super) struct Begun {
    pub(super) id: Secret<String>,
    pub(super) cookies: Vec<HeaderValue>,
}

async fn put(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    goal: Goal,
    step: Step,
) -> Result<(Begun, SignIn), PageError> {
    control.inner.strangers.draw(browser.network(), goal.tenant())?;
    let (binding, cookie) = Binding::of_or_new(browser, &control.inner.random)?;
    let sign_in = SignIn {
        issuer: at.issuer().to_owned(),
        goal,
        browser: binding,
        step,
        notice: None,
        chosen: None,
        shown_here: false,
        agreed: false,
        vouched: None,
        again: false,
    };
    let id = single_use::draw(&control.inner.random)?;
    let write = control.inner.db.single().await;
    single_use::put(write.db(), drawer(), id.expose(), &sign_in, control.now(), LASTS).await?;
    drop(write);
    Ok((Begun { id, cookies: cookie.into_iter().collect() }, sign_in))
}

/// A sign-in, and the request that moves it.
pub(super) struct UnderWay<'u> {
    pub(super) control: &'u ControlPlane,
    pub(super) at: &'u At,
    pub(super) browser: &'u Browser,
    pub(super) id: &'u str,
    /// To be set with the answer.
    pub(super) cookies: Vec<HeaderValue>,
}

impl UnderWay<'_> {
    /// Reads the sign-in, if it is this browser's and was begun here. Anything else is not there.
    pub(super) async fn load(&self) -> Result<SignIn, PageError> {
        let db = self.control.inner.db.reader();
        let now = self.control.now();
        let found = single_use::peek::<SignIn>(db, drawer(), self.id, now).await?;
        let sign_in = found.filter(|sign_in| sign_in.issuer == self.at.issuer());
        let sign_in = sign_in.ok_or(PageError::NoSignIn)?;
        if sign_in.browser.is(self.browser) { Ok(sign_in) } else { Err(PageError::NoSignIn) }
    }

    /// Keeps it, and sends the browser to its page.
    pub(super) async fn keep(self, sign_in: &SignIn) -> Result<Response, PageError> {
        let now = self.control.now();
        let write = self.control.inner.db.single().await;
        let kept = single_use::amend(write.db(), drawer(), self.id, sign_in, now).await?;
        if kept { Ok(self.see_own_page()) } else { Err(PageError::NoSignIn) }
    }

    fn see_own_page(&self) -> Response {
        let location = format!("{}/sign-in/{}", self.at.issuer(), self.id);
        page::see_other(&location, &self.cookies)
    }

    /// Keeps it with something to say.
    pub(super) async fn say(
        self,
        mut sign_in: SignIn,
        notice: Notice,
    ) -> Result<Response, PageError> {
        sign_in.notice = Some(notice);
        self.keep(&sign_in).await
    }

    /// Somebody has shown all they have to: their session begins under a new name.
    pub(super) async fn establish(
        mut self,
        mut sign_in: SignIn,
        account: &AccountId,
        proof: &Proof,
    ) -> Result<Response, PageError> {
        let begun = session::begin(self.control, self.browser, account, proof).await?;
        self.cookies.extend(begun.set_cookie);
        sign_in.step = Step::Known;
        sign_in.notice = None;
        sign_in.shown_here = true;
        self.go_on(sign_in, Some(&begun.session)).await
    }

    /// As [`establish`](Self::establish), of somebody for whom their tenant's own provider vouches.
    pub(super) async fn establish_vouched(
        mut self,
        mut sign_in: SignIn,
        vouched: Vouched,
    ) -> Result<Response, PageError> {
        let begun = session::begin_vouched(self.control, self.browser).await?;
        self.cookies.extend(begun.set_cookie);
        sign_in.step = Step::Known;
        sign_in.notice = None;
        sign_in.shown_here = true;
        sign_in.vouched = Some(vouched);
        self.go_on(sign_in, Some(&begun.session)).await
    }

    /// Sends somebody to their tenant's own provider.
    pub(super) async fn send_away(
        self,
        mut sign_in: SignIn,
        connection: &Connection,
        login_hint: Option<&Email>,
    ) -> Result<Response, PageError> {
        // It costs a signature, or a question to the provider.
        let tenant = Some(&connection.tenant);
        self.control.inner.strangers.draw(self.browser.network(), tenant)?;
        let id = self.id.to_owned();
        let errand = match &sign_in.goal {
            Goal::Link { .. } => Errand::Link { sign_in: id },
            Goal::Application(_)
            | Goal::Account { .. }
            | Goal::Invitation { .. }
            | Goal::Device { .. } => Errand::SignIn { sign_in: id },
        };
        let (issuer, browser) = (self.at.issuer(), sign_in.browser.clone());
        let leaving = Leaving { issuer, browser, errand };
        let again = sign_in.again || sign_in.goal.wants_new_sign_in();
        let wish = Wish { login_hint, again };
        match away::set_out(self.control, connection, leaving, wish).await {
            Ok(by) => {
                sign_in.step = Step::Away { to: connection.name.clone(), by };
                sign_in.vouched = None;
                self.keep(&sign_in).await
            }
            Err(error) => {
                let tenant = Some(&connection.tenant);
                let outcome = error.complaint().map(|complaint| complaint.rule);
                let happened = Happened {
                    event: "sign_in.away",
                    outcome: outcome.as_deref().unwrap_or("failed_here"),
                    tenant,
                    subject: None,
                    client: None,
                };
                let detail = json!({ "connection": connection.id, "error": error.to_string() });
                note_with(self.control, happened, detail).await;
                sign_in.step = Step::Identify;
                self.say(sign_in, Notice::ProviderUnreachable).await
            }
        }
    }

    /// Goes on to whatever is left: a page, or the end.
    pub(super) async fn go_on(
        self,
        mut sign_in: SignIn,
        session: Option<&Session>,
    ) -> Result<Response, PageError> {
        let next = decide(self.control, &sign_in, session).await?;
        let db = self.control.inner.db.reader();
        sign_in.step = match (next, session) {
            (Next::Done(admitted), Some(session)) => {
                return self.complete(sign_in, session, &admitted).await;
            }
            (Next::Accept(link), _) => {
                self.use_up().await?;
                let location = format!("{}/invitation/{}", self.at.issuer(), link.expose());
                return Ok(page::see_other(&location, &self.cookies));
            }
            (Next::Identify | Next::Done(_), _) => Step::Identify,
            (Next::Again(account), _) => match accounts::find(db, &account).await? {
                Some(account) => Step::Password { email: account.email },
                None => Step::Identify,
            },
            (Next::SecondFactor(account, shown), _) => {
                let (step, notice) = second_step(self.control, account, shown).await?;
                sign_in.notice = notice;
                step
            }
            (Next::Refused(shut), _) => {
                let outcome = format!("{shut:?}");
                self.note(&sign_in, "sign_in.enter", &outcome, None).await;
                Step::Known
            }
            (Next::ChooseTenant(_) | Next::Consent(_), _) => Step::Known,
        };
        self.keep(&sign_in).await
    }

    /// The end: the sign-in is used up, the tenant's session begun or kept, and the browser sent
    /// to where it wanted to go.
    async fn complete(
        self,
        sign_in: SignIn,
        session: &Session,
        admitted: &Admitted,
    ) -> Result<Response, PageError> {
        let terms = sign_in.vouched.as_ref().map(|vouched| &vouched.terms);
        let sid = session::enter_on(self.control, self.browser, session, admitted, terms).await?;
        self.use_up().await?;
        self.note(&sign_in, "sign_in.enter", "success", Some(admitted)).await;
        let own = |path: String| page::see_other(&format!("{}{path}", self.at.issuer()), &[]);
        let mut response = match &sign_in.goal {
            Goal::Application(request) => {
                authorize::complete(self.control, self.at, request, admitted, &sid).await
            }
            // Decided before anybody is admitted.
            Goal::Invitation { .. } => own("/account".to_owned()),
            Goal::Account { .. } | Goal::Link { .. } => {
                own(format!("/account/{}", admitted.tenant()))
            }
            Goal::Device { user_code, .. } => own(format!(
                "{}/{}?user_code={user_code}",
                device::VERIFICATION_PATH,
                admitted.tenant()
            )),
        };
        page::with_cookies(&mut response, &self.cookies);
        Ok(response)
    }

    /// Ends it without anybody coming in.
    pub(super) async fn cancel(self, sign_in: SignIn) -> Result<Response, PageError> {
        self.use_up().await?;
        self.note(&sign_in, "sign_in.enter", "cancelled", None).await;
        Ok(match &sign_in.goal {
            Goal::Application(request) => {
                authorize::refuse(self.at, &request.reply, Refused::AccessDenied)
            }
            Goal::Account { .. }
            | Goal::Invitation { .. }
            | Goal::Device { .. }
            | Goal::Link { .. } => page::see_other(&format!("{}/account", self.at.issuer()), &[]),
        })
    }

    pub(super) async fn use_up(&self) -> Result<(), PageError> {
        let write = self.control.inner.db.single().await;
        let now = self.control.now();
        match single_use::redeem::<SignIn>(write.db(), drawer(), self.id, now).await? {
            Redeemed::First(_) => Ok(()),
            // The other tab was quicker.
            Redeemed::Again(_) | Redeemed::Unknown => Err(PageError::NoSignIn),
        }
    }

    pub(super) async fn note(
        &self,
        sign_in: &SignIn,
        event: &'static str,
        outcome: &str,
        admitted: Option<&Admitted>,
    ) {
        let happened = Happened {
            event,
            outcome,
            tenant: admitted.map(Admitted::tenant).or(sign_in.goal.tenant()),
            subject: admitted.map(Admitted::subject),
            client: sign_in.goal.client(),
        };
        note(self.control, happened).await;
    }
}

/// An invitation's link, as it is kept while somebody signs in for it.
pub(super) fn seal_link(control: &ControlPlane, link: &str) -> Result<Vec<u8>, PageError> {
    Ok(control.inner.config.sealing_key.seal(LINK, link.as_bytes())?)
}

fn open_link(control: &ControlPlane, sealed: &[u8]) -> Option<Secret<String>> {
    let opened = control.inner.config.sealing_key.open(LINK, sealed).ok()?;
    String::from_utf8(opened.expose().to_vec()).ok().map(Secret::new)
}

const LINK: &[u8] = b"partywall invitation under way v1";

/// Where more is shown than was. Whoever has nothing more sets it up; but not beside a passkey
/// that was not shown, or a password alone would be as good as one (I-15).
pub(super) async fn second_step(
    control: &ControlPlane,
    account: AccountId,
    shown: Proof,
) -> Result<(Step, Option<Notice>), StorageError> {
    let db = control.inner.db.reader();
    if has_app(control, &account).await? {
        return Ok((Step::SecondFactor { account, shown }, None));
    }
    if shown.is_more_than_a_password() || passkeys::of_account(db, &account).await?.is_empty() {
        return Ok((Step::Enrol { account, shown, app: None }, None));
    }
    // The passkey may be lost: recovery codes are for that day.
    if recovery_codes::left(db, &account).await? > 0 {
        return Ok((Step::SecondFactor { account, shown }, Some(Notice::UsePasskey)));
    }
    let step = match accounts::find(db, &account).await? {
        Some(account) => Step::Password { email: account.email },
        None => Step::Identify,
    };
    Ok((step, Some(Notice::UsePasskey)))
}

/// Whether a password alone was shown of an account that had a passkey by then. Enough for a tenant
/// that asks for no more; not to change what the account signs in with, to other tenants, too.
pub(super) async fn left_passkey_out(
    control: &ControlPlane,
    account: &AccountId,
    shown: &Proof,
) -> Result<bool, StorageError> {
    if shown.is_more_than_a_password() {
        return Ok(false);
    }
    let passkeys = passkeys::of_account(control.inner.db.reader(), account).await?;
    Ok(passkeys.iter().any(|passkey| passkey.created_at < shown.auth_time))
}

/// Whether a password that was shown is the account's no longer.
pub(super) async fn is_outdated(
    control: &ControlPlane,
    account: &AccountId,
    shown: &Proof,
) -> Result<bool, StorageError> {
    let changed = passwords::changed_at(control.inner.db.reader(), account).await?;
    let by_password = shown.methods().any(|method| method == SignInMethod::Password);
    Ok(by_password && changed.is_none_or(|changed| changed > shown.auth_time))
}

/// Whether the account has an authenticator app that counts.
pub(super) async fn has_app(
    control: &ControlPlane,
    account: &AccountId,
) -> Result<bool, StorageError> {
    let apps = totp_secrets::of_account(control.inner.db.reader(), account).await?;
    Ok(apps.iter().any(|app| app.confirmed_at.is_some()))
}

/// Before any tenant: which one it will be is decided at the end.
fn drawer() -> Drawer<'static> {
    Drawer::before_any_tenant(Kind::SignIn)
}

/// How long a sign-in may take.
const LASTS: Duration = Duration::from_secs(30 * 60);
