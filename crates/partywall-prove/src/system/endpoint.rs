//! Tokens by client credentials (RFC 6749 4.4): the way a machine of the tenant gets its own.

use std::{collections::BTreeMap, time::Duration};

use partywall::TenantId;
use serde::Deserialize;

use super::{Decoy, Issuer, IssuerError, Token};

/// A token endpoint, and a client of each tenant.
///
/// It has no decoys: nobody but the issuer can sign a token that is wrong in one way only.
pub struct TokenEndpoint {
    url: String,
    clients: BTreeMap<TenantId, Credentials>,
    http: reqwest::Client,
}

struct Credentials {
    /// Where its tenant has an issuer of its own.
    url: Option<String>,
    client_id: String,
    client_secret: String,
}

impl TokenEndpoint {
    /// The endpoint at `url`, with no clients yet.
    ///
    /// # Errors
    ///
    /// When this machine's TLS cannot be set up.
    pub fn new(url: impl Into<String>) -> Result<Self, IssuerError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(IssuerError::new)?;
        Ok(Self { url: url.into(), clients: BTreeMap::new(), http })
    }

    /// Adds a client of `tenant`.
    #[must_use]
    pub fn client(
        mut self,
        tenant: TenantId,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        let (client_id, client_secret) = (client_id.into(), client_secret.into());
        self.clients.insert(tenant, Credentials { url: None, client_id, client_secret });
        self
    }

    /// Asks at `url` for tokens of `tenant`, whose client was added: it has an issuer of its own.
    #[must_use]
    pub fn at(mut self, tenant: &TenantId, url: impl Into<String>) -> Self {
        if let Some(client) = self.clients.get_mut(tenant) {
            client.url = Some(url.into());
        }
        self
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

impl Issuer for TokenEndpoint {
    async fn token(&self, tenant: &TenantId) -> Result<Token, IssuerError> {
        let client = self.clients.get(tenant).ok_or_else(|| {
            IssuerError::new(format!("no client of tenant {tenant} is configured: add one"))
        })?;
        // RFC 6749 2.3.1: form-encoded first, for ids and secrets may hold a colon.
        let encoded = |text: &str| -> String {
            url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
        };
        let answer = self
            .http
            .post(client.url.as_ref().unwrap_or(&self.url))
            .basic_auth(encoded(&client.client_id), Some(encoded(&client.client_secret)))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send()
            .await
            .map_err(|error| IssuerError::new(error.without_url()))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| IssuerError::new(error.without_url()))?;
        match serde_json::from_slice::<Granted>(&body) {
            Ok(granted) if status.is_success() => Ok(Token::new(granted.access_token)),
            _ => Err(IssuerError::new(format!(
                "the token endpoint answers {status} and no token for tenant {tenant}: check its \
                 client's id and secret"
            ))),
        }
    }

    async fn decoy(&self, _: &TenantId, _: Decoy) -> Result<Option<Token>, IssuerError> {
        Ok(None)
    }
}
