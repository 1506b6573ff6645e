//! `/setup/domains`: claiming domains, and proving them.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    PortalError, PortalPage, moment, posted,
    session::{Presented, Session},
    to,
};
use crate::{
    control::{ConnectionId, ControlError, ControlPlane, Domain, DomainSeen, DomainStatus, Intent},
    federation::domains::DomainName,
    login::page::{Look, page},
    provider::Form,
};

/// `GET /setup/domains`.
pub(super) async fn show(State(control): State<ControlPlane>, presented: Presented) -> PortalPage {
    let answered = async {
        let session = Session::of(&control, &presented).await?;
        list(&session, None).await
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup/domains`.
pub(super) async fn act(
    State(control): State<ControlPlane>,
    presented: Presented,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        let form = posted(&control, &headers, &body)?;
        let session = Session::of(&control, &presented).await?;
        match done(&session, &form).await {
            Ok(()) => Ok(to(&control, "/domains")),
            Err(PortalError::Control(
                error @ (ControlError::Domain(_)
                | ControlError::DomainClaimed { .. }
                | ControlError::DomainTaken { .. }
                | ControlError::UnknownDomain { .. }
                | ControlError::TooManyDomains),
            )) => list(&session, Some(error.to_string())).await,
            Err(PortalError::Control(ControlError::Conflict)) => Err(PortalError::Conflict),
            Err(error) => Err(error),
        }
    };
    PortalPage::of(&control, answered.await)
}

async fn done(session: &Session<'_>, form: &Form<'_>) -> Result<(), PortalError> {
    let (control, actor, tenant) = (session.control, session.actor(), session.tenant());
    let name = form.get("domain").unwrap_or_default().trim();
    let name: DomainName = name.parse().map_err(ControlError::from)?;
    match form.get("do") {
        Some("claim") => {
            control.claim_domain(&actor, tenant, name, leads_to(session).await?).await?;
        }
        Some("check") => {
            control.check_domain(&actor, tenant, &name).await?;
        }
        Some("lead_here") => {
            let here = leads_to(session).await?.ok_or(PortalError::NotFound)?;
            // Where another connection has it, an administrator decides.
            let free = |domain: &Domain| domain.connection.is_none();
            control.route_domain(&actor, tenant, &name, Some(here), free).await?;
        }
        Some("remove") => {
            // What is proved, an administrator gives up.
            let only_claimed = |domain: &Domain| domain.status() == DomainStatus::Claimed;
            control.remove_domain(&actor, tenant, &name, only_claimed).await?;
        }
        _ => return Err(PortalError::Form),
    }
    Ok(())
}

/// The connection that people are sent to, once there is one.
async fn leads_to(session: &Session<'_>) -> Result<Option<ConnectionId>, PortalError> {
    match session.link.intent {
        Intent::Sso => Ok(session.connection().await?.map(|connection| connection.id)),
        Intent::Domain => Ok(None),
    }
}

async fn list(session: &Session<'_>, error: Option<String>) -> Result<Response, PortalError> {
    let domains = session.control.list_domains(session.tenant(), None, 200).await?;
    let here = leads_to(session).await?;
    let rows = domains.iter().map(|domain| Row::of(domain, here.as_ref())).collect();
    let look = &session.look().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let back = (session.link.intent == Intent::Sso).then(|| session.page(""));
    Ok(page(status, look, &Domains { look, back, rows, error }))
}

struct Row<'d> {
    name: &'d str,
    status: DomainStatus,
    record_name: String,
    record_value: String,
    /// What was there when DNS was asked last.
    told: Option<String>,
    leads: Leads,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Leads {
    Here,
    Elsewhere,
    /// And could lead here.
    Nowhere,
    /// There is nothing to lead to.
    No,
}

impl<'d> Row<'d> {
    fn of(domain: &'d Domain, here: Option<&ConnectionId>) -> Self {
        let told = domain.seen.zip(domain.checked_at).map(|(seen, at)| {
            let seen = match seen {
                DomainSeen::Value => "the record was there",
                DomainSeen::OtherValues => {
                    "there were records, but none with this whole value: look for a part that is \
                     missing, and for quotes too many"
                }
                DomainSeen::Nothing => {
                    "there was no record: some providers add the domain to the name by themselves, \
                     and new records can take an hour"
                }
                DomainSeen::Undecided => "DNS gave no answer: try again",
            };
            format!("{}: {seen}.", moment(at))
        });
        let leads = match (&domain.connection, here) {
            (Some(to), Some(here)) if to == here => Leads::Here,
            (Some(_), _) => Leads::Elsewhere,
            (None, Some(_)) => Leads::Nowhere,
            (None, None) => Leads::No,
        };
        Self {
            name: domain.name.as_str(),
            status: domain.status(),
            record_name: domain.record_name(),
            record_value: domain.record_value(),
            told,
            leads,
        }
    }

    fn is(&self, status: &str) -> bool {
        let word = match self.status {
            DomainStatus::Claimed => "claimed",
            DomainStatus::Proved => "proved",
            DomainStatus::Failing => "failing",
        };
        word == status
    }
}

#[derive(Template)]
#[template(path = "portal/domains.html")]
struct Domains<'p> {
    look: &'p Look,
    back: Option<String>,
    rows: Vec<Row<'p>>,
    error: Option<String>,
}
