//! `/setup/provider`: which provider, what to do there, and what it says of itself.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use base64ct::{Base64, Encoding};
use partywall_saml::{Binding, IdpMetadata, Import};

use super::{
    PortalError, PortalPage,
    guide::{GUIDES, Guide, Protocol},
    posted,
    progress::Proposal,
    session::{Presented, Session},
    to,
};
use crate::{
    control::{Connection, ControlPlane, IdentityProvider, OidcProvider, SamlProvider},
    federation::address::Addresses,
    login::page::{Look, page},
    outbound::{Line, Media},
    provider::Form,
};

/// `GET /setup/provider`.
pub(super) async fn choose(
    State(control): State<ControlPlane>,
    presented: Presented,
) -> PortalPage {
    let answered = async {
        let session = Session::for_sso(&control, &presented).await?;
        let connection = session.connection().await?;
        // One that is there keeps its protocol: its addresses are registered, and its keys made.
        let may_be = |guide: &&Guide| {
            connection
                .as_ref()
                .is_none_or(|connection| connection.provider.protocol() == guide.protocol.name())
        };
        let look = &session.look().await?;
        let guides = GUIDES.iter().filter(may_be).collect();
        let at = session.page("/provider");
        Ok(page(StatusCode::OK, look, &Choose { look, back: session.page(""), at, guides }))
    };
    PortalPage::of(&control, answered.await)
}

/// `GET /setup/provider/{guide}`.
pub(super) async fn show(
    State(control): State<ControlPlane>,
    presented: Presented,
    Path(guide): Path<String>,
) -> PortalPage {
    let answered = async {
        let session = Session::for_sso(&control, &presented).await?;
        steps(&session, &guide, None).await
    };
    PortalPage::of(&control, answered.await)
}

/// `POST /setup/provider/{guide}`: reads what the provider says of itself, and trusts none of it.
pub(super) async fn read(
    State(control): State<ControlPlane>,
    presented: Presented,
    Path(guide): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> PortalPage {
    let answered = async {
        let form = posted(&control, &headers, &body)?;
        let session = Session::for_sso(&control, &presented).await?;
        let chosen = Guide::of(&guide).ok_or(PortalError::NotFound)?;
        let connection = session.connection().await?;
        let read = match chosen.protocol {
            Protocol::Saml => read_saml(&session, connection.as_ref(), &form).await,
            Protocol::Oidc(profile) => read_oidc(connection.as_ref(), profile, &form),
        };
        let provider = match read {
            Ok(provider) => provider,
            Err(why) => return steps(&session, &guide, Some(why)).await,
        };
        let proposal = Proposal {
            provider,
            name: chosen.button().to_owned(),
            version: connection.map(|connection| connection.version),
        };
        session.keep(|progress| progress.proposal = Some(proposal)).await?;
        Ok(to(&control, "/trust"))
    };
    PortalPage::of(&control, answered.await)
}

async fn steps(
    session: &Session<'_>,
    guide: &str,
    error: Option<String>,
) -> Result<Response, PortalError> {
    let guide = Guide::of(guide).ok_or(PortalError::NotFound)?;
    let connection = session.connection().await?;
    let addresses = Addresses::at(session.control, session.tenant(), &session.link.connection);
    let values = if guide.is_saml() {
        let mut values = vec![
            ("Entity ID", addresses.metadata()),
            ("Assertion Consumer Service", addresses.acs()),
        ];
        if connection.is_some() {
            values.push(("Our metadata", addresses.metadata()));
            values.push(("Single logout", addresses.slo()));
        }
        values
    } else {
        vec![("Redirect URI", addresses.callback())]
    };
    let look = &session.look().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, look, &Steps { look, back: session.page("/provider"), guide, values, error }))
}

/// Metadata, pasted or fetched. What else the connection is set to stays.
async fn read_saml(
    session: &Session<'_>,
    connection: Option<&Connection>,
    form: &Form<'_>,
) -> Result<IdentityProvider, String> {
    let before = match connection.map(|connection| &connection.provider) {
        None => SamlProvider::default(),
        Some(IdentityProvider::Saml(saml)) => saml.clone(),
        Some(IdentityProvider::Oidc(_)) => {
            return Err("This connection speaks OpenID Connect.".to_owned());
        }
    };
    let fetched;
    let document = match (form.get("metadata"), form.get("url")) {
        (Some(pasted), None) => pasted.as_bytes(),
        (None, Some(url)) => {
            fetched = fetch(session, url.trim()).await?;
            &fetched
        }
        _ => return Err("Paste the metadata, or enter its address, one of the two.".to_owned()),
    };
    let entity_id = form.get("entity_id").map(str::trim);
    let allow_http = session.control.inner.config.call_private_addresses;
    let import = Import { entity_id, allow_http };
    let metadata = IdpMetadata::read(document, &import).map_err(|error| error.to_string())?;
    let at = |endpoints: &[partywall_saml::Endpoint], binding: Binding| {
        let found = endpoints.iter().find(|endpoint| endpoint.binding == binding);
        found.map(|endpoint| endpoint.location.clone())
    };
    Ok(IdentityProvider::Saml(SamlProvider {
        entity_id: metadata.entity_id.clone(),
        sso_redirect: at(&metadata.sso, Binding::Redirect),
        sso_post: at(&metadata.sso, Binding::Post),
        slo_redirect: at(&metadata.slo, Binding::Redirect),
        slo_post: at(&metadata.slo, Binding::Post),
        certificates: metadata
            .certificates
            .iter()
            .map(|certificate| Base64::encode_string(certificate.der()))
            .collect(),
        ..before
    }))
}

/// F-05: as everything that others say where to fetch.
async fn fetch(session: &Session<'_>, url: &str) -> Result<Vec<u8>, String> {
    let line = Line::of(session.tenant(), "setup");
    let fetched = session.control.inner.outbound.get(&line, url, Media::Xml).await;
    fetched.map_err(|error| {
        tracing::info!(tenant.id = %session.tenant(), %error, "metadata cannot be fetched");
        format!("The metadata cannot be fetched: {error}.")
    })
}

fn read_oidc(
    connection: Option<&Connection>,
    profile: crate::control::OidcProfile,
    form: &Form<'_>,
) -> Result<IdentityProvider, String> {
    let field = |name| form.get(name).map(|value: &str| value.trim().to_owned());
    let (Some(issuer), Some(client_id)) = (field("issuer"), field("client_id")) else {
        return Err("Enter the issuer and the client ID.".to_owned());
    };
    // What else the connection is set to stays.
    let provider = match connection.map(|connection| &connection.provider) {
        None => OidcProvider { profile, ..OidcProvider::new(issuer, client_id) },
        Some(IdentityProvider::Oidc(before)) => {
            OidcProvider { issuer, client_id, profile, ..before.clone() }
        }
        Some(IdentityProvider::Saml(_)) => return Err("This connection speaks SAML.".to_owned()),
    };
    Ok(IdentityProvider::Oidc(provider))
}

#[derive(Template)]
#[template(path = "portal/choose.html")]
struct Choose<'p> {
    look: &'p Look,
    back: String,
    at: String,
    guides: Vec<&'static Guide>,
}

#[derive(Template)]
#[template(path = "portal/steps.html")]
struct Steps<'p> {
    look: &'p Look,
    back: String,
    guide: &'static Guide,
    values: Vec<(&'static str, String)>,
    error: Option<String>,
}
