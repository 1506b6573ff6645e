//! `/setup/link/{link}`: looking at a link opens nothing, since programs look at links in mails.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde_json::json;

use super::{PortalError, PortalPage, SETUP, posted, session};
use crate::{
    control::{ControlPlane, Intent},
    login::page::{self, Look, page},
    provider::At,
    rate::Network,
    storage::security_events::{self, SecurityEvent},
};

/// `GET /setup/link/{link}`.
pub(super) async fn show(
    State(control): State<ControlPlane>,
    network: Network,
    Path(link): Path<String>,
) -> PortalPage {
    let answered = async {
        control.inner.strangers.draw(network, None)?;
        let link = session::find_link(&control, &link).await?;
        let look = &Look::inside(&control, &At::shared(&control), &link.tenant).await?;
        let for_sso = link.intent == Intent::Sso;
        Ok(page(StatusCode::OK, look, &Begin { look, for_sso }))
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup/link/{link}`.
pub(super) async fn open(
    State(control): State<ControlPlane>,
    network: Network,
    Path(link): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        control.inner.strangers.draw(network, None)?;
        posted(&control, &headers, &body)?;
        let (link, cookie) = session::open(&control, &link).await?;
        let cookie = cookie.ok_or(PortalError::NoLink)?;
        let event = SecurityEvent {
            tenant: Some(&link.tenant),
            event: "setup_link.opened",
            outcome: "success",
            subject: None,
            client: None,
            detail: json!({ "link": link.id, "network": network.to_string() }),
        };
        let single = control.inner.db.single().await;
        security_events::record(single.db(), &event, control.now()).await?;
        let to = format!("{}{SETUP}", control.inner.config.issuer.as_str());
        Ok(page::see_other(&to, &[cookie]))
    };
    PortalPage::of(&control, answered.await)
}

#[derive(Template)]
#[template(path = "portal/begin.html")]
struct Begin<'p> {
    look: &'p Look,
    for_sso: bool,
}
