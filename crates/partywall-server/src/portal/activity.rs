//! `/setup/activity`: the last sign-ins through the connection that were refused, and why. What a
//! provider sent is data that a stranger may have chosen; it is escaped.

use askama::Template;
use axum::{extract::State, http::StatusCode};
use serde_json::Value;

use super::{
    PortalPage, moment,
    session::{Presented, Session},
};
use crate::{
    control::{ControlPlane, SecurityRecord},
    login::page::{Look, page},
};

/// `GET /setup/activity`.
pub(super) async fn show(State(control): State<ControlPlane>, presented: Presented) -> PortalPage {
    let answered = async {
        let session = Session::for_sso(&control, &presented).await?;
        let events = control.list_security_events(session.tenant(), None, LOOKED_AT).await?;
        let connection = session.link.connection.as_str();
        let of_it = events.iter().filter_map(|event| Refusal::of(event, connection));
        let refusals: Vec<Refusal> = of_it.take(SHOWN).collect();
        let look = &session.look().await?;
        Ok(page(StatusCode::OK, look, &Activity { look, back: session.page(""), refusals }))
    };
    PortalPage::of(&control, answered.await)
}

struct Refusal {
    at: String,
    rule: String,
    told: Option<String>,
    element: Option<String>,
    value: Option<String>,
    /// The number the person saw.
    request: Option<String>,
}

impl Refusal {
    fn of(event: &SecurityRecord, connection: &str) -> Option<Self> {
        let refused = event.event == "federation.refused"
            || (event.event == "sign_in.federated" && event.outcome != "success");
        let detail: Value = serde_json::from_str(&event.detail).ok()?;
        let of = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        if !refused || of(&detail, "connection").as_deref() != Some(connection) {
            return None;
        }
        let text = |name: &str| detail.get("complaint").and_then(|complaint| of(complaint, name));
        Some(Self {
            at: moment(event.at),
            rule: event.outcome.clone(),
            told: text("told"),
            element: text("element"),
            value: text("value").or_else(|| of(&detail, "login")),
            request: event.request_id.clone(),
        })
    }
}

/// So many events of the tenant are looked through.
const LOOKED_AT: u32 = 1_000;
const SHOWN: usize = 20;

#[derive(Template)]
#[template(path = "portal/activity.html")]
struct Activity<'p> {
    look: &'p Look,
    back: String,
    refusals: Vec<Refusal>,
}
