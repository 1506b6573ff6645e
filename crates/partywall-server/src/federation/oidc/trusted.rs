//! What registering a provider would trust: for whoever sets a connection up, before it is used.

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{TenantId, token::Algorithm};
use serde::Serialize;

use super::{Oidc, OidcError, metadata::ClientAuthentication, profile::Habits, provider::Fetcher};
use crate::{control::OidcProvider, outbound::Line};

/// What a provider says about itself, as fetched just now.
#[derive(Debug, Serialize)]
pub(crate) struct Trusted {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) jwks_uri: String,
    pub(crate) userinfo_endpoint: Option<String>,
    pub(crate) client_authentication: ClientAuthentication,
    /// By which algorithms its ID tokens would be believed.
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) keys: Vec<TrustedKey>,
    /// What is not wrong, and could be better.
    pub(crate) remarks: Vec<String>,
}

/// A key by which a provider's word would be believed.
#[derive(Debug, Serialize)]
pub(crate) struct TrustedKey {
    pub(crate) kid: Option<String>,
    /// RFC 7638, SHA-256, base64url.
    pub(crate) thumbprint: String,
}

impl Oidc {
    /// Fetches what a provider says about itself, and says what would be trusted.
    ///
    /// # Errors
    ///
    /// Why it could not be used.
    pub(crate) async fn check(
        &self,
        tenant: &TenantId,
        provider: &OidcProvider,
    ) -> Result<Trusted, OidcError> {
        let fetcher = Fetcher {
            outbound: std::sync::Arc::clone(&self.outbound),
            line: Line::of(tenant, "setup"),
            issuer: provider.issuer.as_str().into(),
        };
        let metadata = fetcher.metadata().await?;
        let keys = fetcher.keys(&metadata.jwks_uri).await?;
        let habits = Habits::of(provider.profile);
        let algorithms: Vec<Algorithm> = match &provider.algorithms {
            Some(configured) => configured.iter().copied().collect(),
            None => habits.algorithms.to_vec(),
        };
        let mut remarks = Vec::new();
        if !metadata.algorithms.is_empty()
            && !metadata.algorithms.iter().any(|offered| algorithms.contains(offered))
        {
            remarks.push("it signs ID tokens by none of the algorithms allowed here".to_owned());
        }
        if !metadata.says_iss {
            remarks.push(
                "its answers do not say whose they are (RFC 9207): never register this \
                 connection's redirect URI with another provider"
                    .to_owned(),
            );
        }
        if !metadata.says_pkce {
            remarks.push("it does not say that it checks PKCE, which is sent anyway".to_owned());
        }
        let skipped = keys.skipped().iter();
        remarks
            .extend(skipped.map(|key| format!("a key {:?} is not used: {}", key.kid, key.reason)));
        let thumbprints = keys.fingerprints();
        let keys = keys.kids().zip(&thumbprints).map(|(kid, thumbprint)| TrustedKey {
            kid: kid.map(str::to_owned),
            thumbprint: Base64UrlUnpadded::encode_string(thumbprint),
        });
        Ok(Trusted {
            issuer: provider.issuer.clone(),
            keys: keys.collect(),
            authorization_endpoint: metadata.authorization_endpoint.into(),
            token_endpoint: metadata.token_endpoint,
            jwks_uri: metadata.jwks_uri,
            userinfo_endpoint: metadata.userinfo_endpoint,
            client_authentication: metadata.client_authentication,
            algorithms,
            remarks,
        })
    }
}
