//! What a connection keeps to itself: the client secret its provider gave out, or our own private
//! keys for it. Sealed for this tenant and this connection, so that no row opens in another's place.

use base64ct::{Base64, Encoding};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    control::{Connection, ConnectionId, ControlError, IdentityProvider, InvalidConnection},
    keys::{SealError, SealingKey},
    secret::Secret,
};

/// What is sealed in a connection's row.
#[derive(Deserialize, Serialize)]
pub(crate) struct Secrets {
    client_secret: Option<Zeroizing<String>>,
    /// Our keys for SAML, newest first: the first signs, all decrypt.
    keys: Vec<OwnKey>,
}

/// A private key of ours for one SAML connection.
#[derive(Deserialize, Serialize)]
struct OwnKey {
    /// PKCS #8, in base64.
    pkcs8: Zeroizing<String>,
    /// Seconds since 1970: what its certificate is valid from.
    made_at: u64,
}

impl Secrets {
    /// Of a new connection. The one for SAML gets a key of its own: it stands for this connection
    /// and no other.
    pub(crate) fn for_new(
        provider: &IdentityProvider,
        client_secret: Option<Secret<String>>,
        now: Timestamp,
    ) -> Result<Self, ControlError> {
        match (provider, client_secret) {
            (IdentityProvider::Saml(_), _) => {
                Ok(Self { client_secret: None, keys: vec![OwnKey::draw(now)?] })
            }
            (IdentityProvider::Oidc(_), Some(secret)) => Ok(Self {
                client_secret: Some(Zeroizing::new(secret.expose().clone())),
                keys: Vec::new(),
            }),
            (IdentityProvider::Oidc(_), None) => Err(InvalidConnection::NoSecret.into()),
        }
    }

    pub(crate) fn with_client_secret(mut self, secret: Secret<String>) -> Self {
        self.client_secret = Some(Zeroizing::new(secret.expose().clone()));
        self
    }

    /// The secret we show to the provider.
    pub(crate) fn client_secret(&self) -> Option<&str> {
        self.client_secret.as_ref().map(|secret| secret.as_str())
    }

    pub(crate) fn seal(
        &self,
        with: &SealingKey,
        tenant: &TenantId,
        id: &ConnectionId,
    ) -> Result<Vec<u8>, SealError> {
        // Its members are text: it cannot fail.
        let clear = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        with.seal(&place(tenant, id), &clear)
    }

    pub(crate) fn open(with: &SealingKey, of: &Connection) -> Result<Self, SealError> {
        let sealed = of.sealed.as_deref().ok_or(SealError::DoesNotOpen)?;
        let clear = with.open(&place(&of.tenant, &of.id), sealed)?;
        serde_json::from_slice(clear.expose()).map_err(|_| SealError::DoesNotOpen)
    }
}

impl OwnKey {
    fn draw(now: Timestamp) -> Result<Self, ControlError> {
        use aws_lc_rs::{
            encoding::AsDer,
            rsa::{KeyPair, KeySize},
        };
        let failed = |_| ControlError::Random(crate::random::RandomError);
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        let der = pair.as_der().map_err(failed)?;
        Ok(Self { pkcs8: Zeroizing::new(Base64::encode_string(der.as_ref())), made_at: now.0 })
    }
}

fn place(tenant: &TenantId, id: &ConnectionId) -> Vec<u8> {
    format!("partywall connection v1\0{tenant}\0{id}").into_bytes()
}
