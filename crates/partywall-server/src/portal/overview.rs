//! `/setup`: how far it is.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};

use super::{
    PortalError, PortalPage, moment, posted,
    session::{Presented, Session},
    to,
};
use crate::{
    control::{
        Connection, ConnectionPatch, ConnectionStatus, ControlPlane, Domain, DomainStatus, Intent,
    },
    login::page::{self, Look, page},
    provider::At,
    storage::setup_links,
};

/// `GET /setup`.
pub(super) async fn show(
    State(control): State<ControlPlane>,
    presented: Presented,
    uri: Uri,
) -> PortalPage {
    let answered = async {
        if uri.query() == Some("left") {
            let at = At::shared(&control);
            let told = "You can close this window.";
            return Ok(page::problem(&control, &at, StatusCode::OK, "You have left", told));
        }
        let session = Session::of(&control, &presented).await?;
        if session.link.intent == Intent::Domain {
            return Ok(to(&control, "/domains"));
        }
        let connection = session.connection().await?;
        let domains = control.list_domains(session.tenant(), None, 200).await?;
        let leads_here = |domain: &&Domain| {
            domain.connection.as_ref() == Some(&session.link.connection)
                && domain.status() != DomainStatus::Claimed
        };
        let domains: Vec<String> =
            domains.iter().filter(leads_here).map(|domain| domain.name.to_string()).collect();
        let look = &session.look().await?;
        let shown = Overview {
            look,
            provider: session.page("/provider"),
            proposal: session.progress.proposal.is_some().then(|| session.page("/trust")),
            domains_at: session.page("/domains"),
            test: session.page("/test"),
            activity: session.page("/activity"),
            connection: connection.as_ref(),
            domains,
            until: moment(session.link.expires_at),
        };
        Ok(page(StatusCode::OK, look, &shown))
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup`: activates the connection, or leaves.
pub(super) async fn act(
    State(control): State<ControlPlane>,
    presented: Presented,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        let form = posted(&control, &headers, &body)?;
        let session = Session::of(&control, &presented).await?;
        match form.get("do") {
            Some("activate") if session.link.intent == Intent::Sso => {
                let connection = session.connection().await?.ok_or(PortalError::NotFound)?;
                // What an administrator has disabled is theirs to take up again (F-04).
                if connection.status != ConnectionStatus::Draft {
                    return Err(PortalError::Conflict);
                }
                let patch = ConnectionPatch {
                    status: Some(ConnectionStatus::Active),
                    ..ConnectionPatch::default()
                };
                let (actor, id) = (session.actor(), &connection.id);
                let expected = |now: &Connection| now.version == connection.version;
                control
                    .update_connection(&actor, session.tenant(), id, patch, expected)
                    .await
                    .map_err(|error| match error {
                        crate::ControlError::Conflict => PortalError::Conflict,
                        error => error.into(),
                    })?;
                Ok(to(&control, ""))
            }
            Some("leave") => {
                let single = control.inner.db.single().await;
                setup_links::delete(single.db(), session.tenant(), &session.link.id).await?;
                Ok(to(&control, "?left"))
            }
            _ => Err(PortalError::Form),
        }
    };
    PortalPage::of(&control, answered.await)
}

#[derive(Template)]
#[template(path = "portal/overview.html")]
struct Overview<'p> {
    look: &'p Look,
    provider: String,
    proposal: Option<String>,
    domains_at: String,
    test: String,
    activity: String,
    connection: Option<&'p Connection>,
    domains: Vec<String>,
    until: String,
}

impl Overview<'_> {
    fn is(&self, status: &str) -> bool {
        self.connection.is_some_and(|connection| connection.status.as_str() == status)
    }
}
