//! `/setup/test`: a sign-in that signs nobody in. It goes through the provider and through every
//! check, and ends here: with what the provider said, and who that would be; or with the rule that
//! refused it.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    PortalError, PortalPage, SETUP, moment, posted,
    session::{Presented, Session},
    to,
};
use crate::{
    control::{Connection, ConnectionStatus, ControlPlane},
    federation::{
        Complaint, Upstream,
        arrival::{Arrival, Said},
        away::{self, Departure, Errand, Leaving, Wish},
        join::{self, WouldBe},
    },
    login::{
        binding::Binding,
        page::{self, Look, page, with_cookies},
        session::Browser,
    },
    storage::{
        StorageError,
        security_events::{self, SecurityEvent},
        setup_links,
    },
};

/// What came of the last test.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Trial {
    at: Timestamp,
    said: Said,
    /// What the provider sent, as text, for whoever knows what it should be.
    sent: Option<String>,
}

/// `GET /setup/test`.
pub(super) async fn show(State(control): State<ControlPlane>, presented: Presented) -> PortalPage {
    let answered = async {
        let session = Session::for_sso(&control, &presented).await?;
        let connection = session.connection().await?.ok_or(PortalError::NotFound)?;
        let result = match &session.progress.trial {
            Some(trial) => Some(Shown::of(&control, &connection, trial).await?),
            None => None,
        };
        let look = &session.look().await?;
        let disabled = connection.status == ConnectionStatus::Disabled;
        let back = session.page("");
        let shown = Test { look, back, name: &connection.name, disabled, result };
        Ok(page(StatusCode::OK, look, &shown))
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup/test`: off to the provider.
pub(super) async fn begin(
    State(control): State<ControlPlane>,
    presented: Presented,
    browser: Browser,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        posted(&control, &headers, &body)?;
        let session = Session::for_sso(&control, &presented).await?;
        let connection = session.connection().await?.ok_or(PortalError::NotFound)?;
        if connection.status == ConnectionStatus::Disabled {
            return Err(PortalError::Conflict);
        }
        let (binding, cookie) = Binding::of_or_new(&browser, &control.inner.random)?;
        let leaving = Leaving {
            issuer: control.inner.config.issuer.as_str(),
            browser: binding,
            errand: Errand::Trial { trial: session.link.id.clone() },
        };
        let departure = away::set_out(&control, &connection, leaving, Wish::default()).await;
        let by = match departure {
            Ok(departure) => departure,
            Err(error) => {
                tracing::info!(
                    tenant.id = %connection.tenant, connection.id = %connection.id,
                    error = &error as &dyn std::error::Error, "a test sign-in cannot begin"
                );
                let complaint = error.complaint().ok_or(PortalError::Federation)?;
                let trial = Trial { at: control.now(), said: Said::Refused(complaint), sent: None };
                session.keep(|progress| progress.trial = Some(trial)).await?;
                return Ok(to(&control, "/test"));
            }
        };
        let look = session.look().await?;
        let look = &match &by {
            Departure::Redirect(_) => look,
            Departure::Post { action, .. } => look.leading_to(action),
        };
        let leave = Leave { look, back: session.page("/test"), name: &connection.name, by: &by };
        let mut response = page(StatusCode::OK, look, &leave);
        with_cookies(&mut response, cookie.as_slice());
        Ok(response)
    };
    PortalPage::of(&control, answered.await)
}

/// A test has come back, in the browser that left for it. Its result waits with the link.
pub(crate) async fn tried(
    control: &ControlPlane,
    tenant: &TenantId,
    link: &str,
    arrival: Arrival,
) -> Result<Response, StorageError> {
    let now = control.now();
    let kept = setup_links::find(control.inner.db.reader(), tenant, link, now).await?;
    // Taken back meanwhile, the page says so.
    if let Some(kept) = kept {
        let outcome = match &arrival.said {
            Said::Upstream(_) => "success",
            Said::Refused(complaint) => complaint.rule.as_str(),
        };
        let event = SecurityEvent {
            tenant: Some(tenant),
            event: "connection.tried",
            outcome,
            subject: None,
            client: None,
            detail: json!({ "connection": arrival.connection, "link": link }),
        };
        let mut progress = kept.progress;
        progress.trial =
            Some(Trial { at: now, said: arrival.said.clone(), sent: arrival.sent.clone() });
        let write = control.inner.db.write().await?;
        setup_links::set_progress(write.rows(), tenant, link, &progress).await?;
        security_events::record(write.rows(), &event, now).await?;
        write.commit().await?;
    }
    let issuer = control.inner.config.issuer.as_str();
    Ok(page::see_other(&format!("{issuer}{SETUP}/test"), &[]))
}

/// The result, in words.
struct Shown<'t> {
    at: String,
    refused: Option<&'t Complaint>,
    said: Vec<(&'static str, String)>,
    would: Option<Would>,
    sent: Option<&'t str>,
}

/// Who somebody would be.
struct Would {
    let_in: bool,
    told: String,
    roles: String,
}

impl<'t> Shown<'t> {
    async fn of(
        control: &ControlPlane,
        connection: &Connection,
        trial: &'t Trial,
    ) -> Result<Self, PortalError> {
        let (at, sent) = (moment(trial.at), trial.sent.as_deref());
        Ok(match &trial.said {
            Said::Refused(complaint) => {
                Self { at, refused: Some(complaint), said: Vec::new(), would: None, sent }
            }
            Said::Upstream(upstream) => {
                let would = join::would_be(control, connection, upstream).await?;
                let would = Some(Would::of(&would));
                Self { at, refused: None, said: in_words(upstream), would, sent }
            }
        })
    }
}

impl Would {
    fn of(would: &WouldBe) -> Self {
        let (let_in, told, roles) = match would {
            WouldBe::Known { email, roles } => {
                (true, format!("They are {email}, who is linked to this identity."), roles)
            }
            WouldBe::Linked { email, roles } => {
                (true, format!("They are taken for {email}, and linked."), roles)
            }
            WouldBe::Made { email, roles } => (true, format!("They join as {email}."), roles),
            WouldBe::Nobody { why, roles } => {
                (false, format!("They would not get in: {why}."), roles)
            }
        };
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        Self { let_in, told, roles: roles.join(", ") }
    }
}

/// The names of claims for people. What has no value was not sent.
fn in_words(upstream: &Upstream) -> Vec<(&'static str, String)> {
    let email = upstream.email.as_ref().map(|email| {
        let verified = if email.said_to_be_verified { "said to be verified" } else { "unverified" };
        format!("{} ({verified})", email.address)
    });
    let groups = (!upstream.groups.is_empty()).then(|| upstream.groups.join(", "));
    let claims = [
        ("Issuer", Some(upstream.issuer.clone())),
        ("Identity", Some(upstream.subject.replace('\u{1f}', " "))),
        ("Signs in as", Some(upstream.login.clone())),
        ("E-mail address", email),
        ("Name", upstream.name.clone()),
        ("Groups", groups),
        ("Several factors", Some(if upstream.multi_factor { "yes" } else { "no" }.to_owned())),
        ("Signed in at", upstream.auth_time.map(moment)),
    ];
    let sent = |value: Option<String>| value.unwrap_or_else(|| "was not sent".to_owned());
    claims.into_iter().map(|(name, value)| (name, sent(value))).collect()
}

#[derive(Template)]
#[template(path = "portal/test.html")]
struct Test<'p> {
    look: &'p Look,
    back: String,
    name: &'p str,
    disabled: bool,
    result: Option<Shown<'p>>,
}

#[derive(Template)]
#[template(path = "portal/leave.html")]
struct Leave<'p> {
    look: &'p Look,
    back: String,
    name: &'p str,
    by: &'p Departure,
}
