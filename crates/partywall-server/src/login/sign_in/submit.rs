//! `POST /sign-in/{id}`: somebody has filled in a page. Each form names the step it is of, so that
//! one from an earlier page (the back button, another tab) is not taken for the present one.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
    response::Response,
};

use super::{
    Next, Notice, SignIn, Step, UnderWay, WaitingApp, decide, has_app, is_outdated, second_step,
};
use crate::{
    control::{AccountId, Connection, ControlPlane, Email},
    login::{
        Amr, Proof, account,
        binding::is_from_our_page,
        factors::{
            passkey::{self, PasskeyError},
            password::{self, Attempt, Outcome},
            second, totp,
        },
        home_realm::{Realm, realm},
        links::posted,
        page::Last,
        problem::{PageError, PageResult},
        session::Browser,
    },
    provider::{At, Form},
    secret::Secret,
    storage::{accounts, connections, consents, users},
};

pub(crate) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(id): Last,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> PageResult {
    let answered = submit(&control, &at, &browser, &id, &uri, &headers, &body).await;
    PageResult::of(&control, &at, answered)
}

async fn submit(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    id: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, PageError> {
    let form = posted(at, uri, headers, body)?;
    let under_way = UnderWay { control, at, browser, id, cookies: Vec::new() };
    let mut sign_in = under_way.load().await?;
    sign_in.notice = None;
    if let Step::SecondFactor { account, shown } | Step::Enrol { account, shown, .. } =
        &sign_in.step
        && is_outdated(control, account, shown).await?
    {
        sign_in.step = Step::Identify;
        return under_way.say(sign_in, Notice::PasswordChanged).await;
    }
    let posted = form.get("step").unwrap_or_default();
    match (posted, sign_in.step.clone()) {
        ("restart", _) => {
            sign_in.step = Step::Identify;
            sign_in.chosen = None;
            sign_in.shown_here = false;
            sign_in.agreed = false;
            // What their provider remembered of them was refused.
            sign_in.again |= sign_in.vouched.take().is_some();
            under_way.keep(&sign_in).await
        }
        ("cancel", _) => under_way.cancel(sign_in).await,
        // What is tried costs the server work, and the guesser nothing.
        ("password" | "passkey" | "second_factor" | "enrol", _)
            if let Err(fast) =
                control.inner.strangers.draw(browser.network(), sign_in.goal.tenant()) =>
        {
            Err(fast.into())
        }
        ("connection", Step::Identify | Step::Password { .. }) => {
            choose_connection(under_way, sign_in, &form).await
        }
        ("identify", Step::Identify) => identify(under_way, sign_in, &form).await,
        ("password", Step::Password { email }) => {
            check_password(under_way, sign_in, email, &form).await
        }
        ("passkey", Step::Identify | Step::Password { .. }) => {
            check_passkey(under_way, sign_in, &form).await
        }
        ("second_factor", Step::SecondFactor { account, shown }) => {
            check_code(under_way, sign_in, account, shown, &form).await
        }
        ("enrol", Step::Enrol { account, shown, app }) => {
            enrol(under_way, sign_in, (account, shown, app), &form).await
        }
        ("choose_tenant", Step::Known) => choose_tenant(under_way, sign_in, &form).await,
        ("consent", Step::Known) => consent(under_way, sign_in, &form).await,
        // Of another page than the present one: that is shown instead.
        _ => under_way.keep(&sign_in).await,
    }
}

async fn identify(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let Some(email) = form.get("email").and_then(|email| email.parse::<Email>().ok()) else {
        return under_way.say(sign_in, Notice::NotAnAddress).await;
    };
    match realm(under_way.control, sign_in.goal.tenant(), Some(&email)).await? {
        Realm::Here => {
            sign_in.step = Step::Password { email };
            under_way.keep(&sign_in).await
        }
        Realm::Elsewhere(connection) => {
            under_way.send_away(sign_in, &connection, Some(&email)).await
        }
    }
}

/// One of the providers on the page. Another tenant's is not there (I-16).
async fn choose_connection(
    under_way: UnderWay<'_>,
    sign_in: SignIn,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let chosen = form.get("connection").and_then(|id| id.parse().ok());
    let connection = match (sign_in.goal.tenant(), chosen) {
        (Some(tenant), Some(id)) => {
            connections::find(under_way.control.inner.db.reader(), tenant, &id).await?
        }
        _ => None,
    };
    match connection.filter(Connection::admits) {
        Some(connection) => under_way.send_away(sign_in, &connection, None).await,
        None => under_way.keep(&sign_in).await,
    }
}

/// An address nobody has, an account without a password, one that is locked and a wrong password:
/// the same page, the same work.
async fn check_password(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    email: Email,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let control = under_way.control;
    let db = control.inner.db.reader();
    let session = under_way.browser.session(control).await?;
    let knows = match session.and_then(|session| session.account) {
        Some((account, _)) => accounts::find(db, &account).await?,
        None => None,
    };
    let typed = Secret::new(form.get("password").unwrap_or_default().to_owned());
    let share = sign_in.goal.tenant().map_or("", |tenant| tenant.as_str());
    let attempt = Attempt { share, email: Some(&email), knows: knows.as_ref() };
    match password::check(control, attempt, typed).await? {
        Outcome::Right(account, proof) => {
            under_way.note(&sign_in, "sign_in.password", "success", None).await;
            if has_app(control, &account.id).await? {
                sign_in.step = Step::SecondFactor { account: account.id, shown: proof };
                return under_way.keep(&sign_in).await;
            }
            under_way.establish(sign_in, &account.id, &proof).await
        }
        Outcome::Wrong => {
            under_way.note(&sign_in, "sign_in.password", "wrong", None).await;
            under_way.say(sign_in, Notice::WrongPassword).await
        }
    }
}

/// `POST /sign-in/{id}/passkey`: what a browser needs to show one, of whomever.
pub(crate) async fn passkey_options(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(id): Last,
    headers: HeaderMap,
) -> PageResult {
    let answered = async {
        if !is_from_our_page(&at, &headers) {
            return Err(PageError::CrossSite);
        }
        let (control, at, browser) = (&control, &at, &browser);
        UnderWay { control, at, browser, id: &id, cookies: Vec::new() }.load().await?;
        Ok(account::options(passkey::begin_sign_in(control, &id).await?))
    };
    PageResult::of(&control, &at, answered.await)
}

/// A passkey says whose it is. One whose authenticator did not verify its user is one factor.
async fn check_passkey(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let control = under_way.control;
    let answer = form.get("answer").unwrap_or_default();
    let (account, proof) = match passkey::finish_sign_in(control, under_way.id, answer).await {
        Ok(shown) => shown,
        Err(error @ (PasskeyError::Refused { .. } | PasskeyError::TooMany)) => {
            tracing::warn!(%error, "a passkey let nobody in");
            under_way.note(&sign_in, "sign_in.passkey", "refused", None).await;
            return under_way.say(sign_in, Notice::PasskeyFailed).await;
        }
        Err(error) => return Err(error.into()),
    };
    under_way.note(&sign_in, "sign_in.passkey", "success", None).await;
    if !proof.is_multi_factor() && has_app(control, &account.id).await? {
        sign_in.step = Step::SecondFactor { account: account.id, shown: proof };
        return under_way.keep(&sign_in).await;
    }
    under_way.establish(sign_in, &account.id, &proof).await
}

/// A code of an authenticator app, or a recovery code in its place. After a few wrong ones the next
/// has to wait.
async fn check_code(
    under_way: UnderWay<'_>,
    sign_in: SignIn,
    account: AccountId,
    shown: Proof,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let control = under_way.control;
    let typed = form.get("code").unwrap_or_default();
    match second::check(control, &account, typed).await? {
        Some(factor) => {
            under_way.note(&sign_in, "sign_in.second_factor", "success", None).await;
            let proof = shown.and(factor, control.now());
            under_way.establish(sign_in, &account, &proof).await
        }
        None => {
            under_way.note(&sign_in, "sign_in.second_factor", "wrong", None).await;
            under_way.say(sign_in, Notice::WrongCode).await
        }
    }
}

/// Sets up an authenticator app for somebody who has none and must show two factors. The first
/// submission draws the secret, the second confirms it; only then does it count.
async fn enrol(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    (account, shown, app): (AccountId, Proof, Option<WaitingApp>),
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let control = under_way.control;
    // Meanwhile, elsewhere: whoever has one shows that one, and sets up no other.
    let (step, notice) = second_step(control, account.clone(), shown.clone()).await?;
    if !matches!(step, Step::Enrol { .. }) {
        (sign_in.step, sign_in.notice) = (step, notice);
        return under_way.keep(&sign_in).await;
    }
    let (Some(app), Some(code)) = (app, form.get("code")) else {
        let known = accounts::find(control.inner.db.reader(), &account).await?;
        let known = known.ok_or(PageError::NoSignIn)?;
        let drawn = totp::enrol(control, &account, &known.email, "Authenticator app").await?;
        let sealed = seal(control, &drawn)?;
        let app = Some(WaitingApp { id: drawn.id, sealed });
        sign_in.step = Step::Enrol { account, shown, app };
        return under_way.keep(&sign_in).await;
    };
    if !totp::confirm(control, &account, &app.id, code).await? {
        return under_way.say(sign_in, Notice::WrongCode).await;
    }
    under_way.note(&sign_in, "factor.totp_added", "success", None).await;
    let proof = shown.and(Amr::Totp, control.now());
    under_way.establish(sign_in, &account, &proof).await
}

fn seal(control: &ControlPlane, drawn: &totp::Enrolment) -> Result<Vec<u8>, PageError> {
    let both =
        zeroize::Zeroizing::new(format!("{}\n{}", drawn.secret.expose(), drawn.uri.expose()));
    Ok(control.inner.config.sealing_key.seal(&sealed_for(&drawn.id), both.as_bytes())?)
}

pub(super) fn sealed_for(app: &str) -> Vec<u8> {
    format!("partywall enrolment v1\0{app}").into_bytes()
}

/// The choice is of what the account has; anything else is not there (I-16).
async fn choose_tenant(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    let control = under_way.control;
    let session = under_way.browser.session(control).await?;
    let account = session.as_ref().and_then(|session| session.account.as_ref());
    let tenant = form.get("tenant").and_then(|tenant| tenant.parse().ok());
    let (Some((account, _)), Some(tenant)) = (account, tenant) else {
        return under_way.say(sign_in, Notice::NotAMember).await;
    };
    if users::of_account(control.inner.db.reader(), &tenant, account).await?.is_none() {
        return under_way.say(sign_in, Notice::NotAMember).await;
    }
    sign_in.chosen = Some(tenant);
    sign_in.agreed = false;
    under_way.go_on(sign_in, session.as_ref()).await
}

async fn consent(
    under_way: UnderWay<'_>,
    mut sign_in: SignIn,
    form: &Form<'_>,
) -> Result<Response, PageError> {
    if form.get("answer") != Some("allow") {
        return under_way.cancel(sign_in).await;
    }
    let control = under_way.control;
    let session = under_way.browser.session(control).await?;
    if let (Next::Consent(admitted), super::Goal::Application(request)) =
        (decide(control, &sign_in, session.as_ref()).await?, &sign_in.goal)
        && let Some((user, _)) = admitted.user()
    {
        let db = control.inner.db.reader();
        let before = consents::find(db, admitted.tenant(), &user.id, &request.client).await?;
        let mut scopes = before.map(|before| before.scopes).unwrap_or_default();
        scopes.extend(request.scopes.iter().cloned());
        let given =
            consents::Consent { client: request.client.clone(), scopes, given_at: control.now() };
        let write = control.inner.db.single().await;
        consents::put(write.db(), admitted.tenant(), &user.id, &given).await?;
        drop(write);
        under_way.note(&sign_in, "consent.given", "success", Some(&admitted)).await;
        sign_in.agreed = true;
    }
    under_way.go_on(sign_in, session.as_ref()).await
}
