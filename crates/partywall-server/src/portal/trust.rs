//! `/setup/trust`: what would be trusted, beside what is, and nothing is before it is confirmed.

use askama::Template;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use partywall::Timestamp;
use partywall_saml::{Binding, Certificate, Change, ChangeKind, Endpoint, Trust, Trusted};

use super::{
    PortalError, PortalPage, moment, posted,
    progress::Proposal,
    session::{Presented, Session},
    to,
};
use crate::{
    control::{
        Connection, ConnectionPatch, ConnectionStatus, ControlError, ControlPlane,
        IdentityProvider, NewConnection, OidcProvider, SamlProvider,
    },
    federation::oidc,
    login::page::{Look, page},
    secret::Secret,
};

/// `GET /setup/trust`.
pub(super) async fn show(State(control): State<ControlPlane>, presented: Presented) -> PortalPage {
    let answered = async {
        let session = Session::for_sso(&control, &presented).await?;
        compared(&session, None).await
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup/trust`: trusts exactly what was shown.
pub(super) async fn confirm(
    State(control): State<ControlPlane>,
    presented: Presented,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        let form = posted(&control, &headers, &body)?;
        let session = Session::for_sso(&control, &presented).await?;
        let proposal = session.progress.proposal.clone().ok_or(PortalError::Conflict)?;
        if form.get("shown") != Some(proposal.digest().as_str()) {
            return Err(PortalError::Conflict);
        }
        let secret = form.get("client_secret").map(|typed| Secret::new(typed.to_owned()));
        let trusted = trust(&session, proposal, secret).await;
        match trusted {
            Ok(()) => {}
            Err(PortalError::Control(
                error @ (ControlError::Connection(_)
                | ControlError::RedefinesIdentities { .. }
                | ControlError::TooManyConnections),
            )) => {
                // The API's word is none of this page's.
                let why = match error {
                    ControlError::RedefinesIdentities { .. } => {
                        "People sign in through this connection already, and this would make them \
                         somebody else: it is another provider, or none of the certificates \
                         trusted so far. Make a new connection, or let an administrator do it."
                            .to_owned()
                    }
                    error => error.to_string(),
                };
                return compared(&session, Some(why)).await;
            }
            Err(error) => return Err(error),
        }
        session.keep(|progress| progress.proposal = None).await?;
        Ok(to(&control, ""))
    };
    PortalPage::of(&control, answered.await)
}

async fn trust(
    session: &Session<'_>,
    proposal: Proposal,
    client_secret: Option<Secret<String>>,
) -> Result<(), PortalError> {
    let (control, actor, tenant) = (session.control, session.actor(), session.tenant());
    let id = session.link.connection.clone();
    let Proposal { provider, name, version } = proposal;
    match (session.connection().await?, version) {
        (None, None) => {
            let rules = Default::default();
            let new = NewConnection { name, provider, rules, client_secret };
            control.create_connection_as(&actor, tenant, id, new).await?;
        }
        (Some(connection), Some(version)) => {
            if connection.status == ConnectionStatus::Active && !session.is_fresh() {
                return Err(PortalError::NotFresh);
            }
            let patch =
                ConnectionPatch { provider: Some(provider), client_secret, ..Default::default() };
            let expected = |connection: &Connection| connection.version == version;
            let updated = control.update_connection(&actor, tenant, &id, patch, expected).await;
            updated.map_err(|error| match error {
                ControlError::Conflict => PortalError::Conflict,
                error => error.into(),
            })?;
        }
        _ => return Err(PortalError::Conflict),
    }
    Ok(())
}

async fn compared(session: &Session<'_>, error: Option<String>) -> Result<Response, PortalError> {
    let Some(proposal) = &session.progress.proposal else {
        return Ok(to(session.control, ""));
    };
    let connection = session.connection().await?;
    let before = connection.as_ref().map(|connection| &connection.provider);
    let mut rows = rows(before, &proposal.provider, session.control.now());
    let mut remarks = Vec::new();
    if let IdentityProvider::Oidc(oidc) = &proposal.provider {
        // What it says of itself at this moment; it is read again at each sign-in, and must say
        // the same issuer.
        match session.control.inner.oidc.check(session.tenant(), oidc).await {
            Ok(said) => {
                rows.extend(said_by(&said));
                remarks = said.remarks;
            }
            Err(error) => remarks.push(format!("It cannot be used as it is: {error}")),
        }
    }
    let active = connection.as_ref().is_some_and(|c| c.status == ConnectionStatus::Active);
    let look = &session.look().await?;
    let needs_secret = matches!(proposal.provider, IdentityProvider::Oidc(_));
    let shown = Compared {
        look,
        back: session.page("/provider"),
        rows,
        remarks,
        digest: proposal.digest(),
        needs_secret,
        has_secret: before.is_some_and(|before| before.shares_secret_with(&proposal.provider)),
        not_fresh: active && !session.is_fresh(),
        error,
    };
    let status = if shown.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, look, &shown))
}

/// One thing that comes, stays or goes.
struct Row {
    kind: ChangeKind,
    what: &'static str,
    value: String,
    /// More about it, each on a line.
    more: Vec<String>,
}

impl Row {
    fn word(&self) -> &'static str {
        match self.kind {
            ChangeKind::Added => "New",
            ChangeKind::Kept => "Stays",
            ChangeKind::Removed => "Goes",
        }
    }
}

fn rows(before: Option<&IdentityProvider>, after: &IdentityProvider, now: Timestamp) -> Vec<Row> {
    match after {
        IdentityProvider::Saml(after) => {
            let before = match before {
                Some(IdentityProvider::Saml(before)) => trust_of(before),
                _ => Trust::default(),
            };
            before.diff(&trust_of(after)).into_iter().map(|change| of_saml(change, now)).collect()
        }
        IdentityProvider::Oidc(after) => {
            let before = match before {
                Some(IdentityProvider::Oidc(before)) => Some(before),
                _ => None,
            };
            of_oidc(before, after)
        }
    }
}

fn trust_of(saml: &SamlProvider) -> Trust {
    let endpoints = |redirect: &Option<String>, post: &Option<String>| {
        let at = |binding, location: &Option<String>| {
            let location = location.clone()?;
            Some(Endpoint { binding, location, response_location: None })
        };
        [at(Binding::Redirect, redirect), at(Binding::Post, post)].into_iter().flatten().collect()
    };
    Trust {
        entity_id: saml.entity_id.clone(),
        sso: endpoints(&saml.sso_redirect, &saml.sso_post),
        slo: endpoints(&saml.slo_redirect, &saml.slo_post),
        // Those that are registered were read before.
        certificates: saml
            .certificates
            .iter()
            .filter_map(|text| Certificate::from_text(text).ok())
            .collect(),
    }
}

fn of_saml(Change { kind, trusted }: Change, now: Timestamp) -> Row {
    let (what, value, more) = match trusted {
        Trusted::EntityId(id) => ("Entity ID", id, Vec::new()),
        Trusted::Certificate(certificate) => {
            let until = certificate.not_after().duration_since(std::time::SystemTime::UNIX_EPOCH);
            let until = Timestamp(until.unwrap_or_default().as_secs());
            let ends = if until < now {
                format!("Ran out {}", moment(until))
            } else {
                format!("Runs out {}", moment(until))
            };
            let more = vec![format!("Says it is of {}", certificate.subject()), ends];
            ("Certificate (SHA-256)", certificate.fingerprint_text(), more)
        }
        Trusted::SingleSignOn(Endpoint { binding, location, .. }) => {
            ("Sign-in address", location, vec![by(binding).to_owned()])
        }
        Trusted::SingleLogout(Endpoint { binding, location, .. }) => {
            ("Logout address", location, vec![by(binding).to_owned()])
        }
        // Whatever else will be trusted is shown by its name until it has a row of its own.
        other => ("Other", format!("{other:?}"), Vec::new()),
    };
    Row { kind, what, value, more }
}

fn by(binding: Binding) -> &'static str {
    match binding {
        Binding::Redirect => "HTTP-Redirect",
        Binding::Post => "HTTP-POST",
    }
}

fn of_oidc(before: Option<&OidcProvider>, after: &OidcProvider) -> Vec<Row> {
    let profile = |oidc: &OidcProvider| {
        serde_json::to_value(oidc.profile)
            .ok()
            .and_then(|word| word.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let of = |oidc: &OidcProvider| {
        [
            ("Issuer", oidc.issuer.clone()),
            ("Client ID", oidc.client_id.clone()),
            ("Profile", profile(oidc)),
        ]
    };
    let (old, new) = (before.map(of), of(after));
    let mut rows = Vec::new();
    for (at, (what, value)) in new.into_iter().enumerate() {
        let was = old.as_ref().and_then(|old| old.get(at)).map(|(_, value)| value.clone());
        let row = |kind, value| Row { kind, what, value, more: Vec::new() };
        match was {
            Some(was) if was == value => rows.push(row(ChangeKind::Kept, value)),
            was => {
                rows.push(row(ChangeKind::Added, value));
                rows.extend(was.map(|was| row(ChangeKind::Removed, was)));
            }
        }
    }
    rows
}

/// What an OpenID provider's documents say, which comes with its issuer.
fn said_by(said: &oidc::trusted::Trusted) -> Vec<Row> {
    let row = |what, value: &str, more| Row {
        kind: ChangeKind::Added,
        what,
        value: value.to_owned(),
        more,
    };
    let algorithms: Vec<String> = said.algorithms.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        row("Sign-in address", &said.authorization_endpoint, Vec::new()),
        row("Token address", &said.token_endpoint, Vec::new()),
        row("Keys from", &said.jwks_uri, vec![format!("By {}", algorithms.join(", "))]),
    ];
    rows.extend(said.userinfo_endpoint.iter().map(|at| row("UserInfo address", at, Vec::new())));
    rows.extend(said.keys.iter().map(|key| {
        let named = key.kid.iter().map(|kid| format!("Named {kid}")).collect();
        row("Key (thumbprint)", &key.thumbprint, named)
    }));
    rows
}

#[derive(Template)]
#[template(path = "portal/trust.html")]
struct Compared<'p> {
    look: &'p Look,
    back: String,
    rows: Vec<Row>,
    /// What somebody should know before they trust it.
    remarks: Vec<String>,
    digest: String,
    needs_secret: bool,
    has_secret: bool,
    not_fresh: bool,
    error: Option<String>,
}
