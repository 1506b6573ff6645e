//! What refresh tokens are authenticated with.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::TenantId;
use zeroize::Zeroizing;

use super::{KeyError, SealingKey};
use crate::{
    random::{self, RandomError},
    secret::Secret,
};

/// The key of the MAC in refresh tokens. Whoever has the database has it sealed only: no token can
/// be made from what is stored.
pub(crate) struct RefreshKey(hmac::Key);

impl RefreshKey {
    /// Draws a key, and what is to be stored of it.
    pub(crate) fn draw(
        random: &dyn aws_lc_rs::rand::SecureRandom,
        sealing: &SealingKey,
    ) -> Result<Vec<u8>, KeyError> {
        let key = random::fill::<32>(random).map(Zeroizing::new);
        let key = key.map_err(|RandomError| KeyError::Seal(RandomError.into()))?;
        Ok(sealing.seal(ASSOCIATED, &*key)?)
    }

    /// The key that is stored.
    pub(crate) fn open(sealed: &[u8], sealing: &SealingKey) -> Result<Self, KeyError> {
        let key = sealing.open(ASSOCIATED, sealed)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    /// The token of a grant's turn: always the same text.
    pub(crate) fn token(&self, tenant: &TenantId, grant: &str, turn: u64) -> Secret<String> {
        let mac = self.mac(tenant, grant, turn);
        let mac = Base64UrlUnpadded::encode_string(mac.as_ref());
        Secret::new(format!("{PREFIX}{grant}.{turn}.{tenant}.{mac}"))
    }

    /// What a token of ours names; `None` for any other text. Nothing is looked up for those.
    pub(crate) fn read(&self, token: &str) -> Option<NamedTurn> {
        let mut parts = token.strip_prefix(PREFIX)?.split('.');
        let (grant, turn, tenant, mac) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !random::is_opaque_id(grant) {
            return None;
        }
        let named = NamedTurn {
            grant: grant.to_owned(),
            turn: turn.parse().ok()?,
            tenant: tenant.parse().ok()?,
        };
        let mut presented = [0; 32];
        let presented = Base64UrlUnpadded::decode(mac, &mut presented).ok()?;
        let message = message(&named.tenant, grant, named.turn);
        hmac::verify(&self.0, &message, presented).ok()?;
        // One spelling only: `+7` and `07` are other texts.
        (turn == named.turn.to_string()).then_some(named)
    }

    fn mac(&self, tenant: &TenantId, grant: &str, turn: u64) -> hmac::Tag {
        hmac::sign(&self.0, &message(tenant, grant, turn))
    }
}

/// A grant's turn, as a token names it. That it was issued is sure; that it is still good is not.
pub(crate) struct NamedTurn {
    pub(crate) tenant: TenantId,
    pub(crate) grant: String,
    pub(crate) turn: u64,
}

/// What secret scanners can know refresh tokens by.
pub(crate) const PREFIX: &str = "pwr_";
/// What the sealed key is bound to.
const ASSOCIATED: &[u8] = b"partywall refresh key v1";

/// Each part with its length (B-25).
fn message(tenant: &TenantId, grant: &str, turn: u64) -> Vec<u8> {
    let mut message = b"partywall refresh token v1".to_vec();
    for part in [tenant.as_str(), grant] {
        message.extend_from_slice(&(part.len() as u64).to_le_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    message.extend_from_slice(&turn.to_le_bytes());
    message
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    fn key(sealing: u8) -> RefreshKey {
        let sealing = SealingKey::from_bytes(&Secret::new([sealing; 32])).unwrap();
        let sealed = RefreshKey::draw(&SystemRandom::new(), &sealing).unwrap();
        RefreshKey::open(&sealed, &sealing).unwrap()
    }

    #[test]
    fn o06_a_refresh_token_is_one_text_of_its_turn() {
        let (key, other) = (key(1), key(1));
        let acme: TenantId = "acme".parse().unwrap();
        let grant = "a".repeat(26);
        let token = key.token(&acme, &grant, 7);
        let token = token.expose();
        assert_eq!(token, key.token(&acme, &grant, 7).expose());
        let named = key.read(token).unwrap();
        assert_eq!((named.tenant, named.grant, named.turn), (acme.clone(), grant.clone(), 7));
        assert!(other.read(token).is_none(), "another installation's");

        let spelled = |from: &str, to: &str| token.replacen(from, to, 1);
        for (altered, what) in [
            (spelled(".7.", ".8."), "another turn"),
            (spelled(".7.", ".07."), "a turn spelled otherwise"),
            (spelled(".7.", ".+7."), "a turn spelled otherwise"),
            (spelled(".acme.", ".bond."), "another tenant"),
            (spelled("aaa", "aab"), "another grant"),
            (spelled("pwr_", "pwk_"), "another kind"),
            (format!("{token}."), "a part too many"),
            (format!("{token}A"), "a longer mac"),
            (token[..token.len() - 1].to_owned(), "a shorter mac"),
            (String::new(), "nothing"),
        ] {
            assert!(key.read(&altered).is_none(), "{what}: {altered}");
        }
    }
}
