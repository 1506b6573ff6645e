//! `GET /sign-in/{id}`: the page a sign-in has come to.

use askama::Template;
use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use partywall::TenantId;

use super::{Goal, Next, Notice, SignIn, Step, UnderWay, WaitingApp, decide, submit::sealed_for};
use crate::{
    control::{AccountId, ApplicationId, Connection, ControlPlane, Scope},
    login::{
        Admitted,
        page::{Last, Look, on_to, page},
        problem::{PageError, PageResult},
        session::Browser,
    },
    provider::{At, Form, scope},
    secret::Secret,
    storage::{StorageError, applications, connections, sign_in_policies, tenants, users},
};

pub(crate) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(id): Last,
    uri: Uri,
) -> PageResult {
    PageResult::of(&control, &at, show(&control, &at, &browser, &id, &uri).await)
}

async fn show(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    id: &str,
    uri: &Uri,
) -> Result<Response, PageError> {
    let under_way = UnderWay { control, at, browser, id, cookies: Vec::new() };
    let sign_in = under_way.load().await?;
    let look = Look::in_front_of(control, at, sign_in.goal.tenant()).await?;
    let look = &led(look, &sign_in);
    let error = sign_in.notice.map(Notice::text);
    let options = format!("{}/sign-in/{id}/passkey", at.issuer());
    Ok(match &sign_in.step {
        Step::Identify => {
            let application = application_name(control, &sign_in.goal).await?;
            let connections = &connections_of(control, &sign_in.goal).await?;
            let identify = Identify { look, error, application, email: "", options, connections };
            page(StatusCode::OK, look, &identify)
        }
        Step::Away { to, by } => on_to(control, at, to, by, true),
        Step::Password { email } => {
            page(StatusCode::OK, look, &Password { look, error, email: email.as_str(), options })
        }
        Step::SecondFactor { .. } => page(StatusCode::OK, look, &SecondFactor { look, error }),
        Step::Enrol { app: None, .. } => page(StatusCode::OK, look, &Enrol { look }),
        Step::Enrol { app: Some(app), .. } => {
            let opened = open(control, app)?;
            let (secret, uri) = opened.expose().split_once('\n').unwrap_or_default();
            page(StatusCode::OK, look, &ConfirmApp { look, error, secret, uri })
        }
        Step::Known => return known(under_way, sign_in, uri).await,
    })
}

/// What is shown to somebody who has shown who they are.
async fn known(under_way: UnderWay<'_>, sign_in: SignIn, uri: &Uri) -> Result<Response, PageError> {
    let (control, at) = (under_way.control, under_way.at);
    let session = under_way.browser.session(control).await?;
    match decide(control, &sign_in, session.as_ref()).await? {
        Next::ChooseTenant(account) => {
            let look = &led(Look::plain(control, at), &sign_in);
            let query = Form::parse(uri.query().unwrap_or_default().as_bytes());
            let after = query.ok().and_then(|query| query.get("after")?.parse().ok());
            let (choices, more) = choices(control, &account, after.as_ref()).await?;
            let error = sign_in.notice.map(Notice::text);
            let chooser = ChooseTenant { look, error, choices: &choices, more: more.as_deref() };
            Ok(page(StatusCode::OK, look, &chooser))
        }
        Next::Consent(admitted) => consent(control, at, &sign_in, &admitted).await,
        Next::Refused(shut) => {
            let look = &led(Look::plain(control, at), &sign_in);
            let can_cancel = matches!(sign_in.goal, Goal::Application(_));
            Ok(page(StatusCode::OK, look, &Refused { look, told: shut.told(), can_cancel }))
        }
        Next::Identify
        | Next::Again(_)
        | Next::SecondFactor(..)
        | Next::Accept(_)
        | Next::Done(_) => under_way.go_on(sign_in, session.as_ref()).await,
    }
}

async fn consent(
    control: &ControlPlane,
    at: &At,
    sign_in: &SignIn,
    admitted: &Admitted,
) -> Result<Response, PageError> {
    let Goal::Application(request) = &sign_in.goal else { return Err(PageError::NotFound) };
    let look = &led(Look::inside(control, at, admitted.tenant()).await?, sign_in);
    let application = name_of(control, &request.client).await?.unwrap_or_default();
    let user = admitted.user().map(|(user, _)| user.email.to_string()).unwrap_or_default();
    let scopes: Vec<String> = request.scopes.iter().map(in_words).collect();
    let lasts = if scope::has(&request.scopes, scope::OFFLINE_ACCESS) {
        let days = control.inner.config.refresh_lifetime.as_secs() / (24 * 3600);
        format!("It will be able to for up to {days} days, also while you are away.")
    } else {
        let minutes = control.inner.config.token_lifetime.as_secs().div_ceil(60);
        format!("It will be able to for {minutes} minutes, and again whenever you sign in to it.")
    };
    let consent = Consent { look, application: &application, user: &user, scopes: &scopes, lasts };
    Ok(page(StatusCode::OK, look, &consent))
}

/// The providers that somebody who wants to come in to this tenant may sign in with.
async fn connections_of(
    control: &ControlPlane,
    goal: &Goal,
) -> Result<Vec<Connection>, StorageError> {
    match goal.tenant() {
        Some(tenant) => connections::active(control.inner.db.reader(), tenant, SHOWN).await,
        None => Ok(Vec::new()),
    }
}

/// As many buttons as a page bears.
const SHOWN: u64 = 10;

/// What a scope lets an application do.
pub(in crate::login) fn in_words(scope: &Scope) -> String {
    match scope.as_str() {
        scope::OPENID => "Know who you are".to_owned(),
        scope::PROFILE => "See your name".to_owned(),
        scope::EMAIL => "See your e-mail address".to_owned(),
        scope::OFFLINE_ACCESS => "Stay signed in while you are away".to_owned(),
        other => format!("Use {other}"),
    }
}

/// A tenant to choose.
struct Choice {
    id: String,
    name: String,
}

/// One page of an account's tenants; a person in thousands of them costs no more (I-40).
async fn choices(
    control: &ControlPlane,
    account: &AccountId,
    after: Option<&TenantId>,
) -> Result<(Vec<Choice>, Option<String>), StorageError> {
    let db = control.inner.db.reader();
    let mut members = users::joined(db, account, after, PAGE_OF_TENANTS + 1).await?;
    let more = members.len() as u64 > PAGE_OF_TENANTS;
    members.truncate(usize::try_from(PAGE_OF_TENANTS).unwrap_or_default());
    let mut choices = Vec::with_capacity(members.len());
    for user in &members {
        let Some(tenant) = tenants::find(db, &user.tenant).await? else { continue };
        let branding = sign_in_policies::of(db, &user.tenant).await?.branding;
        choices.push(Choice {
            id: user.tenant.to_string(),
            name: branding.display_name.unwrap_or_else(|| tenant.record.slug.to_string()),
        });
    }
    let last = members.last().filter(|_| more).map(|user| user.tenant.to_string());
    Ok((choices, last))
}

const PAGE_OF_TENANTS: u64 = 20;

fn led(look: Look, sign_in: &SignIn) -> Look {
    match sign_in.goal.leads_to() {
        Some(uri) => look.leading_to(uri),
        None => look,
    }
}

async fn application_name(
    control: &ControlPlane,
    goal: &Goal,
) -> Result<Option<String>, StorageError> {
    match goal {
        Goal::Application(request) => name_of(control, &request.client).await,
        Goal::Account { .. }
        | Goal::Invitation { .. }
        | Goal::Device { .. }
        | Goal::Link { .. } => Ok(None),
    }
}

/// What an application is called.
pub(in crate::login) async fn name_of(
    control: &ControlPlane,
    client: &ApplicationId,
) -> Result<Option<String>, StorageError> {
    let found = applications::find(control.inner.db.reader(), client).await?;
    Ok(found.map(|application| application.name))
}

fn open(control: &ControlPlane, app: &WaitingApp) -> Result<Secret<String>, PageError> {
    let opened = control.inner.config.sealing_key.open(&sealed_for(&app.id), &app.sealed)?;
    Ok(Secret::new(String::from_utf8_lossy(opened.expose()).into_owned()))
}

#[derive(Template)]
#[template(path = "identify.html")]
struct Identify<'p> {
    look: &'p Look,
    error: Option<&'p str>,
    application: Option<String>,
    email: &'p str,
    options: String,
    connections: &'p [Connection],
}

#[derive(Template)]
#[template(path = "password.html")]
struct Password<'p> {
    look: &'p Look,
    error: Option<&'p str>,
    email: &'p str,
    options: String,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactor<'p> {
    look: &'p Look,
    error: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct Enrol<'p> {
    look: &'p Look,
}

#[derive(Template)]
#[template(path = "confirm_app.html")]
struct ConfirmApp<'p> {
    look: &'p Look,
    error: Option<&'p str>,
    secret: &'p str,
    uri: &'p str,
}

#[derive(Template)]
#[template(path = "choose_tenant.html")]
struct ChooseTenant<'p> {
    look: &'p Look,
    error: Option<&'p str>,
    choices: &'p [Choice],
    more: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'p> {
    look: &'p Look,
    application: &'p str,
    user: &'p str,
    scopes: &'p [String],
    lasts: String,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'p> {
    look: &'p Look,
    told: &'p str,
    can_cancel: bool,
}
