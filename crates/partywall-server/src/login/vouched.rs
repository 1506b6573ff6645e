//! `GET /arrived/{name}`: the browser of somebody whom a tenant's own provider vouches for shows
//! that it is the one that left, and goes on with what it left for.

use std::time::Duration;

use axum::{extract::State, response::Response};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Amr, Proof,
    account::link,
    events::{Happened, note_with},
    page::Last,
    problem::{PageError, PageResult},
    session::Browser,
    sign_in::{self, Goal, UnderWay},
};
use crate::{
    control::{Connection, ConnectionRules, ControlPlane, UpstreamMultiFactor, UserId},
    federation::{
        Upstream, UpstreamSession,
        arrival::{Arrival, Said},
        away::Errand,
        join::{self, Joined},
    },
    portal,
    provider::At,
    storage::connections,
};

pub(crate) const ARRIVED: &str = "/arrived";
pub(super) const PATH: &str = "/arrived/{name}";

/// Somebody whom a tenant's provider vouches for, until they are in.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Vouched {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) proof: Proof,
    pub(super) terms: Terms,
}

/// What the provider attached to its session.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Terms {
    /// When it wants the session to end.
    pub(crate) ends_at: Option<Timestamp>,
    /// By what name it ends it.
    pub(crate) session: Option<UpstreamSession>,
}

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    browser: Browser,
    Last(name): Last,
) -> PageResult {
    PageResult::of(&control, &at, arrive(&control, &at, &browser, &name).await)
}

async fn arrive(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    name: &str,
) -> Result<Response, PageError> {
    let (tenant, arrival) = Arrival::take(control, name).await?.ok_or(PageError::NoSignIn)?;
    if arrival.browser.as_ref().is_some_and(|binding| !binding.is(browser)) {
        return Err(PageError::NoSignIn);
    }
    if at.tenant().is_some_and(|own| *own != tenant) {
        return Err(PageError::NoSignIn);
    }
    let connection = connections::find(control.inner.db.reader(), &tenant, &arrival.connection);
    let connection = connection.await?.ok_or(PageError::NoSignIn)?;
    if let Some(Errand::Trial { trial }) = arrival.errand.clone() {
        return Ok(portal::tried(control, &tenant, &trial, arrival).await?);
    }
    let Said::Upstream(upstream) = &arrival.said else { return Err(PageError::NoSignIn) };
    match &arrival.errand {
        Some(Errand::SignIn { sign_in }) => {
            let under_way = UnderWay { control, at, browser, id: sign_in, cookies: Vec::new() };
            sign_in_as(under_way, &connection, upstream, arrival.left_at).await
        }
        Some(Errand::Link { sign_in }) => {
            let under_way = UnderWay { control, at, browser, id: sign_in, cookies: Vec::new() };
            link::link(under_way, &connection, upstream).await
        }
        None => unasked(control, at, browser, &connection, upstream).await,
        Some(Errand::Trial { .. }) => Err(PageError::NoSignIn),
    }
}

async fn sign_in_as(
    under_way: UnderWay<'_>,
    connection: &Connection,
    upstream: &Upstream,
    left_at: Option<Timestamp>,
) -> Result<Response, PageError> {
    let sign_in = under_way.load().await?;
    match vouched(under_way.control, connection, upstream, left_at).await? {
        Some(vouched) => under_way.establish_vouched(sign_in, vouched).await,
        None => Err(PageError::NotLetIn),
    }
}

/// S-11: somebody whom their provider sent without having been asked ends at their own page.
async fn unasked(
    control: &ControlPlane,
    at: &At,
    browser: &Browser,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Response, PageError> {
    let Some(vouched) = vouched(control, connection, upstream, None).await? else {
        return Err(PageError::NotLetIn);
    };
    let goal = Goal::Account { tenant: Some(vouched.tenant.clone()), since: None };
    let (under_way, sign_in) = sign_in::begin_quietly(control, at, browser, goal).await?;
    UnderWay { control, at, browser, id: under_way.id.expose(), cookies: under_way.cookies }
        .establish_vouched(sign_in, vouched)
        .await
}

/// The user, if they are one; their tenant's administrator hears why not.
async fn vouched(
    control: &ControlPlane,
    connection: &Connection,
    upstream: &Upstream,
    left_at: Option<Timestamp>,
) -> Result<Option<Vouched>, PageError> {
    let (outcome, subject, vouched) = match join::join(control, connection, upstream).await? {
        Joined::User(user) => {
            let vouched = Vouched {
                tenant: connection.tenant.clone(),
                user: user.id.clone(),
                proof: proof(connection, upstream, left_at, control.now()),
                terms: Terms { ends_at: upstream.ends_at, session: upstream.session.clone() },
            };
            ("success", Some(user.id.to_string()), Some(vouched))
        }
        Joined::Nobody(why) => (why.code(), None, None),
    };
    let happened = Happened {
        event: "sign_in.federated",
        outcome,
        tenant: Some(&connection.tenant),
        subject: subject.as_deref(),
        client: None,
    };
    let detail = json!({
        "connection": connection.id, "issuer": upstream.issuer, "login": upstream.login,
        "email": upstream.email.as_ref().map(|email| &email.address), "groups": upstream.groups,
    });
    note_with(control, happened, detail).await;
    Ok(vouched)
}

/// What was shown, as far as the tenant lets its provider say so.
fn proof(
    connection: &Connection,
    upstream: &Upstream,
    left_at: Option<Timestamp>,
    now: Timestamp,
) -> Proof {
    let ConnectionRules { multi_factor, .. } = &connection.rules;
    let multi_factor = match multi_factor {
        UpstreamMultiFactor::AsSaid => upstream.multi_factor,
        UpstreamMultiFactor::Always => true,
        UpstreamMultiFactor::Never => false,
    };
    let said = upstream.auth_time.unwrap_or(now).min(now);
    // A clock that is a little slow: nobody shows anything before they have left.
    let auth_time = match left_at {
        Some(left_at) if said < left_at && said + CLOCKS_DIFFER >= left_at => left_at,
        _ => said,
    };
    let shown = [Some(Amr::Federated), multi_factor.then_some(Amr::MultiFactor)];
    let mut proof = Proof::of(shown.into_iter().flatten(), auth_time);
    proof.connection = Some(connection.id.to_string());
    proof
}

const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
