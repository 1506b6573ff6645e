//! What a provider says about itself (OIDC Discovery 1.0): where it is asked, and how.

use partywall::token::Algorithm;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::outbound::{CallError, Reach};

/// The part of a discovery document that is used.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    pub(super) client_authentication: ClientAuthentication,
    /// RFC 9207 3: whether its answers always say whose they are.
    pub(super) says_iss: bool,
    /// Those of its algorithms that are known here.
    pub(super) algorithms: Vec<Algorithm>,
    /// Whether it says that it checks PKCE by S256.
    pub(super) says_pkce: bool,
}

/// How the client secret is shown (OIDC Core 9).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuthentication {
    ClientSecretBasic,
    ClientSecretPost,
}

/// Where an issuer's discovery document is (OIDC Discovery 4.1).
pub(super) fn address_of(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

impl Metadata {
    /// Reads the discovery document of `issuer`.
    pub(super) fn read(json: &[u8], issuer: &str, reach: Reach) -> Result<Self, MetadataFault> {
        let document: Document = serde_json::from_slice(json)?;
        // OIDC Discovery 4.3: byte for byte, or somebody else's document would do (I-27).
        if document.issuer != issuer {
            return Err(MetadataFault::OtherIssuer { found: shorten(&document.issuer) });
        }
        let endpoint = |name: &'static str, address: String| {
            if address.len() > MAX_ADDRESS {
                return Err(MetadataFault::Endpoint { name, source: CallError::TooLarge });
            }
            match reach.check(&address) {
                Ok(_) => Ok(address),
                Err(source) => Err(MetadataFault::Endpoint { name, source }),
            }
        };
        let authorization_endpoint =
            endpoint("authorization_endpoint", document.authorization_endpoint)?;
        let userinfo_endpoint = document.userinfo_endpoint;
        let listed = document.id_token_signing_alg_values_supported;
        let known =
            |name: &serde_json::Value| serde_json::from_value::<Algorithm>(name.clone()).ok();
        Ok(Self {
            authorization_endpoint: Url::parse(&authorization_endpoint)
                .map_err(CallError::from)
                .map_err(|source| MetadataFault::Endpoint {
                    name: "authorization_endpoint",
                    source,
                })?,
            token_endpoint: endpoint("token_endpoint", document.token_endpoint)?,
            jwks_uri: endpoint("jwks_uri", document.jwks_uri)?,
            userinfo_endpoint: userinfo_endpoint
                .map(|address| endpoint("userinfo_endpoint", address))
                .transpose()?,
            client_authentication: client_authentication(
                document.token_endpoint_auth_methods_supported,
            )?,
            says_iss: document.authorization_response_iss_parameter_supported,
            algorithms: listed.iter().filter_map(known).collect(),
            says_pkce: document
                .code_challenge_methods_supported
                .iter()
                .any(|method| method == "S256"),
        })
    }
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<serde_json::Value>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
}

/// OIDC Discovery 3: who says nothing means `client_secret_basic`.
fn client_authentication(
    offered: Option<Vec<String>>,
) -> Result<ClientAuthentication, MetadataFault> {
    let Some(offered) = offered else { return Ok(ClientAuthentication::ClientSecretBasic) };
    let offers = |name: &str| offered.iter().any(|offered| offered == name);
    if offers("client_secret_basic") {
        Ok(ClientAuthentication::ClientSecretBasic)
    } else if offers("client_secret_post") {
        Ok(ClientAuthentication::ClientSecretPost)
    } else {
        Err(MetadataFault::NoSecret)
    }
}

/// Why a discovery document cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataFault {
    #[error("it is not a discovery document: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is of the issuer {found:?}: register exactly that, if it is the right one")]
    OtherIssuer { found: String },
    #[error("its `{name}` cannot be used: {source}")]
    Endpoint {
        name: &'static str,
        #[source]
        source: CallError,
    },
    #[error(
        "its token endpoint takes no client secret, by client_secret_basic or client_secret_post"
    )]
    NoSecret,
}

/// A text a provider chose, fit for a log and a page.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 200;
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

const MAX_ADDRESS: usize = 2048;
