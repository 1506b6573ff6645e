//! `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    at::At,
    authorize::{self, ResponseMode},
    client_auth, device, dpop, introspect, jwks, logout, revoke, scope, token, user_claims,
    userinfo,
};
use crate::{control::ControlPlane, keys::KeyError, login};

/// Both addresses answer the same (OIDC Discovery 4, RFC 8414 3).
pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
) -> Result<Response, MetadataError> {
    let keys = &control.inner.config.keys;
    let max_age = format!("public, max-age={}", keys.jwks_max_age.as_secs());
    let now = at.keys(&control)?.algorithm().name();
    // While the algorithm changes there are two.
    let signing = BTreeSet::from([now, keys.algorithm.as_str()]);
    Ok(([(CACHE_CONTROL, max_age)], Json(metadata(&at, &signing))).into_response())
}

/// What this issuer does, and nothing else. One line each; whoever adds an endpoint adds its lines.
fn metadata(at: &At, signing: &BTreeSet<&str>) -> Map<String, Value> {
    let endpoint = |path| Value::from(format!("{}{path}", at.issuer()));
    let members = [
        ("issuer", at.issuer().into()),
        // RFC 8414 2, OIDC Discovery 3.
        ("authorization_endpoint", endpoint(authorize::PATH)),
        ("token_endpoint", endpoint(token::PATH)),
        ("userinfo_endpoint", endpoint(userinfo::PATH)),
        ("jwks_uri", endpoint(jwks::PATH)),
        ("scopes_supported", json!(scope::STANDARD)),
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(ResponseMode::NAMES)),
        ("grant_types_supported", json!(token::GRANT_TYPES)),
        ("token_endpoint_auth_methods_supported", json!(client_auth::METHODS)),
        ("token_endpoint_auth_signing_alg_values_supported", json!(client_auth::ALGORITHMS)),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(signing)),
        ("acr_values_supported", json!(login::ACR_VALUES)),
        ("claim_types_supported", json!(["normal"])),
        ("claims_supported", json!(user_claims::supported())),
        ("claims_parameter_supported", true.into()),
        // What is left out would count as true (OIDC Discovery 3).
        ("request_parameter_supported", false.into()),
        ("request_uri_parameter_supported", false.into()),
        // RFC 8628 4.
        ("device_authorization_endpoint", endpoint(device::PATH)),
        // RFC 7009, RFC 7662; who may ask is who may get tokens.
        ("introspection_endpoint", endpoint(introspect::PATH)),
        ("introspection_endpoint_auth_methods_supported", json!(client_auth::CONFIDENTIAL_METHODS)),
        (
            "introspection_endpoint_auth_signing_alg_values_supported",
            json!(client_auth::ALGORITHMS),
        ),
        ("revocation_endpoint", endpoint(revoke::PATH)),
        ("revocation_endpoint_auth_methods_supported", json!(client_auth::METHODS)),
        ("revocation_endpoint_auth_signing_alg_values_supported", json!(client_auth::ALGORITHMS)),
        // RFC 9207 3.
        ("authorization_response_iss_parameter_supported", true.into()),
        // RFC 9126 5.
        ("pushed_authorization_request_endpoint", endpoint(authorize::pushed::PATH)),
        // RP-Initiated Logout 2.1, Back-Channel Logout 2.1.
        ("end_session_endpoint", endpoint(logout::PATH)),
        ("backchannel_logout_supported", true.into()),
        ("backchannel_logout_session_supported", true.into()),
        // RFC 9449 5.1.
        ("dpop_signing_alg_values_supported", json!(dpop::ALGORITHMS)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Why there is no metadata.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    #[error(transparent)]
    NoKeys(#[from] KeyError),
}

impl IntoResponse for MetadataError {
    fn into_response(self) -> Response {
        match self {
            Self::NoKeys(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no metadata to serve");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
