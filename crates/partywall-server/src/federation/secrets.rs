//! What a connection keeps to itself: the client secret its provider gave out, or our own private
//! keys for it. Sealed for this tenant and this connection, so that no row opens in another's place.

use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};
use partywall::{TenantId, Timestamp};
use partywall_saml::{Certificate, DecryptionKey, Signer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::FederationError;
use crate::{
    control::{Connection, ConnectionId, ControlError, IdentityProvider, InvalidConnection},
    keys::{SealError, SealingKey},
    secret::Secret,
};

/// What is sealed in a connection's row.
#[derive(Deserialize, Serialize)]
pub(crate) struct Secrets {
    client_secret: Option<Zeroizing<String>>,
    /// Our keys for SAML: the first signs, all are published and decrypted with.
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

    /// With one more key, which is published and decrypted with, and does not sign yet: so that the
    /// provider knows it before it has to.
    pub(crate) fn with_next_key(mut self, now: Timestamp) -> Result<Self, ControlError> {
        if self.keys.len() != 1 {
            return Err(InvalidConnection::Key.into());
        }
        self.keys.push(OwnKey::draw(now)?);
        Ok(self)
    }

    /// Signing with the other key; what signed so far still decrypts.
    pub(crate) fn using_next_key(mut self) -> Result<Self, InvalidConnection> {
        if self.keys.len() != 2 {
            return Err(InvalidConnection::Key);
        }
        self.keys.reverse();
        Ok(self)
    }

    /// Without the key that does not sign.
    pub(crate) fn without_other_key(mut self) -> Result<Self, InvalidConnection> {
        if self.keys.len() != 2 {
            return Err(InvalidConnection::Key);
        }
        self.keys.truncate(1);
        Ok(self)
    }

    /// The secret we show to the provider.
    pub(crate) fn client_secret(&self) -> Option<&str> {
        self.client_secret.as_ref().map(|secret| secret.as_str())
    }

    /// What our requests are signed with.
    pub(crate) fn signer(&self) -> Result<Signer, FederationError> {
        self.keys.first().ok_or(FederationError::NoKey)?.signer()
    }

    /// What assertions may be encrypted to.
    pub(crate) fn decryption_keys(&self) -> Result<Vec<DecryptionKey>, FederationError> {
        let key = |key: &OwnKey| {
            DecryptionKey::from_pkcs8(&key.der()?).map_err(|_| FederationError::NoKey)
        };
        self.keys.iter().map(key).collect()
    }

    /// The certificates of our keys, which say nothing but what the key is.
    pub(crate) fn certificates(&self, name: &str) -> Result<Vec<Certificate>, FederationError> {
        self.keys.iter().map(|key| key.certificate(name)).collect()
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

    fn der(&self) -> Result<Zeroizing<Vec<u8>>, FederationError> {
        let der = Base64::decode_vec(&self.pkcs8).map_err(|_| FederationError::NoKey)?;
        Ok(Zeroizing::new(der))
    }

    fn signer(&self) -> Result<Signer, FederationError> {
        Signer::from_pkcs8(&self.der()?).map_err(FederationError::Signer)
    }

    /// The same each time: an RSA signature has no randomness in it.
    fn certificate(&self, name: &str) -> Result<Certificate, FederationError> {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(self.made_at);
        // A common name has at most 64 characters (RFC 5280, ub-common-name).
        let name: String =
            name.chars().rev().take(64).collect::<Vec<_>>().into_iter().rev().collect();
        let signer = self.signer()?;
        signer.certificate(&name, from, from + CERTIFICATE_LASTS).map_err(FederationError::Signer)
    }
}

/// Providers pin the key; some refuse a certificate that has run out.
const CERTIFICATE_LASTS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn place(tenant: &TenantId, id: &ConnectionId) -> Vec<u8> {
    format!("partywall connection v1\0{tenant}\0{id}").into_bytes()
}
