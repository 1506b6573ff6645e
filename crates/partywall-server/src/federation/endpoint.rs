//! `/federation/{tenant}/{connection}/…`: where tenants' providers send browsers back to, and where
//! they read who we are. Whatever is refused here looks the same to whoever sent it; the tenant's
//! administrator is told the rule, the element and the value.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64ct::{Base64, Encoding};
use partywall_saml::Received;
use serde_json::json;

use super::{
    FederationError, Upstream,
    arrival::{Arrival, Said},
    away::{self, Away, Begun, Errand},
    oidc, saml,
    slo::{self, Came},
};
use crate::{
    control::{Connection, ConnectionStatus, ControlPlane, IdentityProvider},
    http::RequestId,
    login::{ARRIVED, page},
    provider::{At, Form},
    rate::Network,
    secret::Secret,
    storage::{
        StorageError, connections,
        security_events::{self, SecurityEvent},
    },
};

pub(super) fn routes(control: &ControlPlane) -> Router<ControlPlane> {
    let base = control.inner.config.issuer.path();
    let at = |what: &str| format!("{base}/federation/{{tenant}}/{{connection}}/{what}");
    Router::new()
        .route(&at("acs"), post(acs))
        .route(&at("callback"), get(callback))
        .route(&at("metadata"), get(metadata))
        .route(&at("slo"), get(slo_redirected).post(slo_posted))
}

/// The tenant and the connection an address names, as text.
type Named = Path<(String, String)>;

/// SAML: the assertion consumer service (saml-bindings 3.5).
async fn acs(
    State(control): State<ControlPlane>,
    named: Named,
    network: Network,
    request_id: axum::Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let back = Back { control: &control, network, request_id: &request_id };
    let Some(connection) = back.connection(&named).await else { return back.nothing_here() };
    let IdentityProvider::Saml(provider) = &connection.provider else {
        return back.nothing_here();
    };
    let answered = async {
        control
            .inner
            .strangers
            .draw(network, Some(&connection.tenant))
            .map_err(|e| (None, e.into()))?;
        let form = Form::of_request(&uri, &headers, &body).map_err(|e| (None, e.into()))?;
        let away = match form.get("RelayState") {
            Some(state) => away::come_back(&control, &connection, state).await,
            None => Ok(None),
        };
        let away = away.map_err(|error| (None, error))?;
        let request = match &away {
            Some(Away { begun: Begun::Saml { request }, .. }) => Some(request.as_str()),
            // S-11: nobody left, so nobody comes back, unless the tenant wants it so.
            None if provider.idp_initiated => None,
            _ => return Err((away, FederationError::NotAway)),
        };
        if !may_pass(&connection, away.as_ref()) {
            return Err((away, shut()));
        }
        let response = match form.get("SAMLResponse").map(decoded) {
            Some(Some(response)) => response,
            _ => return Err((away, FederationError::Malformed("SAMLResponse is not base64"))),
        };
        match saml::finish(&control, &connection, provider, &response, request).await {
            Ok(upstream) => Ok((away, upstream)),
            Err(error) => Err((away, error)),
        }
    };
    let sent = || {
        let form = Form::of_request(&uri, &headers, &body).ok()?;
        let sent = form.get("SAMLResponse").and_then(decoded)?;
        Some(String::from_utf8_lossy(&sent).chars().take(SHOWN).collect())
    };
    back.answer(&connection, answered.await, sent).await
}

/// OIDC: the redirect URI (OIDC Core 3.1.2.5).
async fn callback(
    State(control): State<ControlPlane>,
    named: Named,
    network: Network,
    request_id: axum::Extension<RequestId>,
    uri: Uri,
) -> Response {
    let back = Back { control: &control, network, request_id: &request_id };
    let Some(connection) = back.connection(&named).await else { return back.nothing_here() };
    let IdentityProvider::Oidc(provider) = &connection.provider else {
        return back.nothing_here();
    };
    let answered = async {
        let drawn = control.inner.strangers.draw(network, Some(&connection.tenant));
        drawn.map_err(|error| (None, error.into()))?;
        let answer = Form::parse(uri.query().unwrap_or_default().as_bytes());
        let answer = answer.map_err(|error| (None, error.into()))?;
        let away = match answer.get("state") {
            Some(state) => away::come_back(&control, &connection, state).await,
            None => Ok(None),
        };
        let Some(away) = away.map_err(|error| (None, error))? else {
            return Err((None, FederationError::NotAway));
        };
        let Begun::Oidc(pending) = &away.begun else {
            return Err((Some(away), FederationError::NotAway));
        };
        if !may_pass(&connection, Some(&away)) {
            return Err((Some(away), shut()));
        }
        match oidc::finish(&control, &connection, provider, pending, &answer).await {
            Ok(upstream) => Ok((Some(away), upstream)),
            Err(error) => Err((Some(away), error.into())),
        }
    };
    back.answer(&connection, answered.await, || None).await
}

/// SAML: single logout by HTTP-Redirect, whose signature is of the query's very octets.
async fn slo_redirected(
    State(control): State<ControlPlane>,
    named: Named,
    network: Network,
    request_id: axum::Extension<RequestId>,
    uri: Uri,
) -> Response {
    let back = Back { control: &control, network, request_id: &request_id };
    let query = uri.query().unwrap_or_default();
    let answered = async {
        let form = Form::parse(query.as_bytes())?;
        let is_answer = form.get("SAMLResponse").is_some();
        let came = Came { message: Received::Redirect(query), relay_state: form.get("RelayState") };
        back.slo(&named, &came, is_answer).await
    };
    back.slo_answer(&named, answered.await).await
}

/// SAML: single logout by HTTP-POST.
async fn slo_posted(
    State(control): State<ControlPlane>,
    named: Named,
    network: Network,
    request_id: axum::Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let back = Back { control: &control, network, request_id: &request_id };
    let answered = async {
        let form = Form::of_request(&uri, &headers, &body)?;
        let answer = form.get("SAMLResponse");
        let message = answer.or(form.get("SAMLRequest")).and_then(decoded);
        let message = message.ok_or(FederationError::Malformed("there is no logout message"))?;
        let came = Came { message: Received::Post(&message), relay_state: form.get("RelayState") };
        back.slo(&named, &came, answer.is_some()).await
    };
    back.slo_answer(&named, answered.await).await
}

/// SAML: our metadata for one connection. It is no secret: it says what the tenant's provider has
/// to know, and the address cannot be guessed.
async fn metadata(State(control): State<ControlPlane>, named: Named, network: Network) -> Response {
    // Each of our certificates costs a signature.
    if control.inner.strangers.draw(network, None).is_err() {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let Some(connection) = find(&control, &named).await.ok().flatten() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match (&connection.provider, saml::metadata(&control, &connection)) {
        (IdentityProvider::Saml(_), Ok(xml)) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/samlmetadata+xml")),
                (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            ];
            (headers, xml).into_response()
        }
        (IdentityProvider::Oidc(_), _) => StatusCode::NOT_FOUND.into_response(),
        (_, Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, connection.id = %connection.id, "no metadata can be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A draft can be tried, one that only links can be linked by; only one that admits signs in (F-04).
fn may_pass(connection: &Connection, away: Option<&Away>) -> bool {
    match away.map(|away| &away.errand) {
        Some(Errand::Trial { .. }) => connection.status != ConnectionStatus::Disabled,
        Some(Errand::Link { .. }) => connection.status == ConnectionStatus::Active,
        Some(Errand::SignIn { .. }) | None => connection.admits(),
    }
}

fn shut() -> FederationError {
    FederationError::Settings("it lets nobody in".to_owned())
}

/// base64 as forms carry it: some break lines (saml-bindings 3.5.4).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Base64::decode_vec(&text).ok()
}

async fn find(control: &ControlPlane, named: &Named) -> Result<Option<Connection>, StorageError> {
    let Path((tenant, connection)) = named;
    let (Ok(tenant), Ok(connection)) = (tenant.parse(), connection.parse()) else {
        return Ok(None);
    };
    connections::find(control.inner.db.reader(), &tenant, &connection).await
}

/// A browser that a provider sent back.
struct Back<'b> {
    control: &'b ControlPlane,
    network: Network,
    request_id: &'b RequestId,
}

impl Back<'_> {
    async fn connection(&self, named: &Named) -> Option<Connection> {
        match find(self.control, named).await {
            Ok(found) => found,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a connection cannot be read");
                None
            }
        }
    }

    /// Sends the browser on to show that it is the one that left; or says that it did not work.
    async fn answer(
        &self,
        connection: &Connection,
        answered: Result<(Option<Away>, Upstream), (Option<Away>, FederationError)>,
        sent: impl FnOnce() -> Option<String>,
    ) -> Response {
        let (away, said) = match answered {
            Ok((away, upstream)) => (away, Said::Upstream(Box::new(upstream))),
            Err((away, error)) => {
                self.note(connection, &error).await;
                let trial = away.filter(|away| matches!(away.errand, Errand::Trial { .. }));
                match (trial, error.complaint()) {
                    (Some(away), Some(complaint)) => (Some(away), Said::Refused(complaint)),
                    _ => return self.did_not_work(&error),
                }
            }
        };
        // Only to whoever tries a connection is it shown.
        let is_trial = |away: &Away| matches!(away.errand, Errand::Trial { .. });
        let sent = if away.as_ref().is_some_and(is_trial) { sent() } else { None };
        match self.send_on(connection, away, said, sent).await {
            Ok(response) => response,
            Err(error) => self.did_not_work(&error),
        }
    }

    async fn send_on(
        &self,
        connection: &Connection,
        away: Option<Away>,
        said: Said,
        sent: Option<String>,
    ) -> Result<Response, FederationError> {
        let issuer = match &away {
            Some(away) => away.issuer.clone(),
            None => {
                let at = At::speaking_for(self.control, &connection.tenant).await;
                at.map(|at| at.issuer().to_owned())
                    .map_err(|error| FederationError::Settings(error.to_string()))?
            }
        };
        let arrival = Arrival {
            connection: connection.id.clone(),
            left_at: away.as_ref().map(|away| away.left_at),
            browser: away.as_ref().map(|away| away.browser.clone()),
            errand: away.map(|away| away.errand),
            said,
            sent,
        };
        let name: Secret<String> = arrival.keep(self.control, &connection.tenant).await?;
        Ok(page::see_other(&format!("{issuer}{ARRIVED}/{}", name.expose()), &[]))
    }

    /// L-01, for the tenant's administrator: with what was wrong, which a stranger may have chosen.
    async fn note(&self, connection: &Connection, error: &FederationError) {
        if matches!(error, FederationError::TooFast(_)) {
            // A storm is counted, and writes nothing into its victim's records.
            return;
        }
        let complaint = error.complaint();
        let rule = complaint.as_ref().map_or("failed_here", |complaint| complaint.rule.as_str());
        tracing::warn!(
            event = "federation.refused", outcome = rule, tenant.id = %connection.tenant,
            connection.id = %connection.id, client.network = %self.network,
            error = error as &dyn std::error::Error, "a provider's word is not believed"
        );
        let detail = json!({ "connection": connection.id, "complaint": complaint });
        let event = SecurityEvent {
            tenant: Some(&connection.tenant),
            event: "federation.refused",
            outcome: rule,
            subject: None,
            client: None,
            detail,
        };
        let write = self.control.inner.db.single().await;
        let (db, id, now) = (write.db(), Some(self.request_id.as_str()), self.control.now());
        if let Err(error) = security_events::record_of_request(db, &event, id, now).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "an event was not kept");
        }
    }

    /// The calm page: nothing of why, and a number to ask one's administrator with.
    fn did_not_work(&self, error: &FederationError) -> Response {
        let at = At::shared(self.control);
        let status = match error {
            FederationError::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            error if error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        };
        let told = format!(
            "Your organisation's sign-in brought you back, but it could not be completed. Go back \
             to where you came from and try again. If that does not help, give your administrator \
             this number: {}",
            self.request_id.as_str()
        );
        page::problem(self.control, &at, status, "That sign-in did not work", &told)
    }

    /// Takes a logout message of the connection's provider; nothing, where there is no such.
    async fn slo(
        &self,
        named: &Named,
        came: &Came<'_>,
        is_answer: bool,
    ) -> Result<Option<Response>, FederationError> {
        let Some(connection) = self.connection(named).await else { return Ok(None) };
        let IdentityProvider::Saml(provider) = &connection.provider else { return Ok(None) };
        self.control.inner.strangers.draw(self.network, Some(&connection.tenant))?;
        let taken = if is_answer {
            slo::answered(self.control, &connection, provider, came).await?
        } else {
            slo::asked(self.control, &connection, provider, came).await?
        };
        Ok(Some(taken))
    }

    async fn slo_answer(
        &self,
        named: &Named,
        answered: Result<Option<Response>, FederationError>,
    ) -> Response {
        match answered {
            Ok(Some(response)) => response,
            Ok(None) => self.nothing_here(),
            Err(error) => {
                if let Some(connection) = self.connection(named).await {
                    self.note(&connection, &error).await;
                }
                self.did_not_work(&error)
            }
        }
    }

    /// Of a connection that there is not, of another protocol, or of another tenant.
    fn nothing_here(&self) -> Response {
        let at = At::shared(self.control);
        let told = "There is nothing at this address.";
        page::problem(self.control, &at, StatusCode::NOT_FOUND, "Not found", told)
    }
}

/// So many characters of what a provider sent are shown to whoever tries it.
const SHOWN: usize = 32 * 1024;
