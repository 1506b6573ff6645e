//! `POST /introspect` (RFC 7662): what a token is worth, for clients that may know.
//!
//! A client of a tenant is told about tokens of that tenant; one of the vendor's own, about tokens
//! issued to itself. About all others, and about what is no token, the answer is the same and takes
//! the same work (O-16).

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    at::At,
    client_auth::{self, Client, ClientAuthError},
    form::{Form, FormError},
    oauth_error::{NOT_STORED, OAuthError},
    own_token::{self, OwnTokenError},
};
use crate::{
    control::{ClientAuthentication, ControlPlane},
    storage::{StorageError, grants, tenants},
};

pub(super) const PATH: &str = "/introspect";

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, TokenQueryError> {
    let (client, token) = read(&control, &at, &uri, &headers, &body).await?;
    // RFC 7662 4: for protected resources. Anybody can name a public client.
    if is_public(&client) {
        return Err(TokenQueryError::PublicClient);
    }
    let found = TokenOf::read(&control, &at, &token).await?;
    let answer = match found.filter(|found| found.may_be_known_to(&client)) {
        Some(found) if found.is_active(&control).await? => found.facts,
        _ => json!({ "active": false }),
    };
    Ok((NOT_STORED, Json(answer)).into_response())
}

/// The client that asks, and the token it asks about.
pub(super) async fn read(
    control: &ControlPlane,
    at: &At,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Client, String), TokenQueryError> {
    let form = Form::of_request(uri, headers, body)?;
    let client = client_auth::authenticate(control, at, headers, &form).await?;
    let token = form.get("token").ok_or(TokenQueryError::NoToken)?;
    // `token_type_hint` is a hint (RFC 7662 2.1): a token says itself what it is.
    Ok((client, token.to_owned()))
}

pub(super) fn is_public(client: &Client) -> bool {
    match client {
        Client::Machine(_) => false,
        Client::Application(application) => {
            application.authentication == ClientAuthentication::None
        }
    }
}

/// A token of ours that somebody asks about.
pub(super) struct TokenOf {
    pub(super) tenant: partywall::TenantId,
    pub(super) client: String,
    /// The grant whose refresh token it is; none for an access token.
    pub(super) grant: Option<String>,
    /// An access token's id.
    pub(super) jti: Option<String>,
    tenant_epoch: Option<u32>,
    /// RFC 7662 2.2.
    facts: Value,
}

impl TokenOf {
    /// What `token` is; `None` when it is none of ours that is good still.
    pub(super) async fn read(
        control: &ControlPlane,
        at: &At,
        token: &str,
    ) -> Result<Option<Self>, TokenQueryError> {
        if let Some(named) = control.inner.refresh_key.read(token) {
            let db = control.inner.db.reader();
            let grant = grants::find(db, &named.tenant, &named.grant).await?;
            let good = grant.filter(|grant| {
                at.tenant().is_none_or(|own| *own == grant.tenant)
                    && grant.is_live(control.now())
                    && grant.standing(named.turn, control.now()) != grants::Standing::Spent
            });
            return Ok(good.map(|grant| Self::of_grant(at, grant)));
        }
        match own_token::verify(control, at, token).await {
            Ok(facts) => Ok(Some(Self::of_access_token(facts))),
            Err(error) if error.is_the_tokens() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn of_grant(at: &At, grant: grants::Grant) -> Self {
        let scopes: Vec<&str> = grant.scopes.iter().map(|scope| scope.as_str()).collect();
        let facts = json!({
            "active": true, "iss": at.issuer(), "sub": grant.user, "client_id": grant.client,
            "tid": grant.tenant, "scope": scopes.join(" "), "aud": grant.resource,
            "iat": grant.created_at, "exp": grant.expires_at, "token_type": "refresh_token",
        });
        Self {
            tenant: grant.tenant,
            client: grant.client.to_string(),
            grant: Some(grant.id),
            jti: None,
            tenant_epoch: None,
            facts,
        }
    }

    fn of_access_token(token: partywall::token::TokenFacts) -> Self {
        let scope = (!token.scope.is_empty()).then(|| token.scope.join(" "));
        let mut facts = json!({
            "active": true, "iss": token.issuer, "sub": token.subject, "tid": token.tenant,
            "client_id": token.client_id, "aud": token.audience.first(), "iat": token.issued_at,
            "exp": token.expires_at, "jti": token.jti, "roles": token.roles, "scope": scope,
            "token_type": if token.bound_to.is_some() { "DPoP" } else { "Bearer" },
            "act": token.actor.as_ref().map(|actor| json!({ "sub": actor })),
            "cnf": token.bound_to.as_ref().map(|jkt| json!({ "jkt": jkt })),
        });
        if let Some(members) = facts.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        Self {
            tenant: token.tenant,
            client: token.client_id.unwrap_or_default(),
            grant: None,
            jti: token.jti,
            tenant_epoch: token.tenant_epoch,
            facts,
        }
    }

    /// O-16: of the caller's tenant; for the vendor's own clients, issued to themselves.
    pub(super) fn may_be_known_to(&self, client: &Client) -> bool {
        match client.tenant() {
            Some(tenant) => *tenant == self.tenant,
            None => client.id() == self.client,
        }
    }

    /// Whether its tenant still serves it (I-06).
    async fn is_active(&self, control: &ControlPlane) -> Result<bool, StorageError> {
        let tenant = tenants::find(control.inner.db.reader(), &self.tenant).await?;
        Ok(tenant.is_some_and(|tenant| {
            tenant.record.status == partywall::TenantStatus::Active
                && self.tenant_epoch.is_none_or(|epoch| epoch >= tenant.record.epoch)
        }))
    }
}

/// Why a client is told nothing about a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenQueryError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    #[error("token is missing")]
    NoToken,
    #[error("a public client cannot ask about tokens")]
    PublicClient,
    #[error(transparent)]
    Token(#[from] OwnTokenError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Control(#[from] crate::ControlError),
}

impl TokenQueryError {
    /// RFC 7662 2.3, RFC 7009 2.2.1. `None` where the fault is ours.
    fn answer(&self) -> Option<OAuthError> {
        match self {
            Self::Form(error) => Some(error.answer()),
            Self::Client(error) => error.answer(),
            Self::NoToken => Some(OAuthError::bad_request("invalid_request", "token is missing")),
            Self::PublicClient => {
                Some(OAuthError::invalid_client("this endpoint is for confidential clients"))
            }
            Self::Token(_) | Self::Storage(_) | Self::Control(_) => None,
        }
    }
}

impl IntoResponse for TokenQueryError {
    fn into_response(self) -> Response {
        let Some(answer) = self.answer() else {
            tracing::error!(error = &self as &dyn std::error::Error, "a token was not looked into");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match &self {
            Self::Client(error) => error.log(),
            _ => tracing::debug!(error = %self, "a question about a token was refused"),
        }
        answer.into_response()
    }
}
