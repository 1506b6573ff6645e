//! Tokens signed with the real key that nobody may accept: to show that nobody does.
//!
//! Whoever attacks their own system needs tokens that are wrong in exactly one way, and nobody but
//! the issuer can sign them. There is no way through here to a good one: no role, no scope, a
//! subject that is nobody, and always a defect.

use std::time::Duration;

use partywall::{TenantId, TenantStatus, bundle::Generation};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Actor, ControlError, ControlPlane};
use crate::provider::At;
use crate::{random, storage::tenants};

/// What is wrong with a decoy.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Decoy {
    /// It expired ten minutes ago.
    Expired,
    /// It becomes valid when it has expired.
    NotYetValid,
    /// It is for `https://decoy.invalid/`, which nobody is (RFC 2606 2).
    OtherAudience,
    /// It says that `https://decoy.invalid/` issued it.
    OtherIssuer,
    /// Its `typ` is an ID token's.
    OtherType,
    /// It was revoked before it was signed.
    Revoked,
    /// It is of the tenant's epoch before this one.
    StaleEpoch,
    /// Its tenant is not active.
    NotActive,
    /// Its tenant never was.
    UnknownTenant,
    /// It names its tenant and another.
    TwoTenants,
    /// It names none.
    NoTenant,
    /// It names a tenant that never was, and then its own.
    RepeatedClaim,
}

impl Decoy {
    /// Every defect.
    pub const ALL: [Self; 12] = [
        Self::Expired,
        Self::NotYetValid,
        Self::OtherAudience,
        Self::OtherIssuer,
        Self::OtherType,
        Self::Revoked,
        Self::StaleEpoch,
        Self::NotActive,
        Self::UnknownTenant,
        Self::TwoTenants,
        Self::NoTenant,
        Self::RepeatedClaim,
    ];
}

/// A token that must be refused.
pub struct SignedDecoy {
    /// The token.
    pub token: String,
    /// The generation as of which an enforcement point must refuse it.
    pub since: Generation,
}

impl ControlPlane {
    /// Signs a token of `tenant` with that defect, or `None` where it would have none: the tenant
    /// is active, or in its first epoch.
    ///
    /// It lives two minutes at most, has neither role nor scope, and is of a machine that does not
    /// exist. `actor` is for the audit trail of what is revoked.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], and when database or key fail.
    pub async fn sign_decoy(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        decoy: Decoy,
    ) -> Result<Option<SignedDecoy>, ControlError> {
        let found = tenants::find(self.inner.db.reader(), tenant).await?;
        let found = found.ok_or_else(|| ControlError::UnknownTenant { tenant: tenant.clone() })?;
        let at = At::speaking_for(self, tenant).await?;
        let mut claims = self.flawless(&at, tenant, found.record.epoch)?;
        let mut typ = "at+jwt";
        let now = self.now();
        match decoy {
            Decoy::Expired => {
                claims.exp = (now - Self::EXPIRED_SINCE).0;
                claims.iat = (now - Self::EXPIRED_SINCE - Self::DECOYS_LIVE).0;
            }
            Decoy::NotYetValid => claims.nbf = Some(claims.exp + 24 * 60 * 60),
            Decoy::OtherAudience => claims.aud = NOBODY.to_owned(),
            Decoy::OtherIssuer => claims.iss = NOBODY.to_owned(),
            Decoy::OtherType => typ = "JWT",
            Decoy::Revoked => self.revoke_token(actor, tenant, &claims.jti).await?,
            Decoy::StaleEpoch => match found.record.epoch.checked_sub(1) {
                Some(before) => claims.tep = before,
                None => return Ok(None),
            },
            Decoy::NotActive if found.record.status == TenantStatus::Active => return Ok(None),
            Decoy::NotActive => {}
            Decoy::UnknownTenant => claims.tid = Tid::One(self.nobodys_tenant()?),
            Decoy::TwoTenants => {
                claims.tid = Tid::Two([tenant.to_string(), self.nobodys_tenant()?])
            }
            Decoy::NoTenant => claims.tid = Tid::None,
            Decoy::RepeatedClaim => {
                claims.tid = Tid::Twice([self.nobodys_tenant()?, tenant.to_string()]);
            }
        }
        let token = at.keys(self)?.sign_decoy(typ, &claims)?;
        tracing::info!(tenant.id = %tenant, ?decoy, "a decoy was signed");
        Ok(Some(SignedDecoy { token, since: self.generation() }))
    }

    /// How long a decoy would be good, were there nothing wrong with it: long enough to be shown
    /// until its revocation must have arrived, at a clock that is a little ahead.
    const DECOYS_LIVE: Duration = Duration::from_secs(2 * 60);

    /// Longer than any clock may be off.
    const EXPIRED_SINCE: Duration = Duration::from_secs(10 * 60);

    /// The claims with nothing wrong. Private: what leaves this module has a defect.
    fn flawless(&self, at: &At, tenant: &TenantId, epoch: u32) -> Result<Claims, ControlError> {
        let now = self.now();
        let life = self.policy().token_lifetime().min(Self::DECOYS_LIVE);
        let nobody = format!("m:decoy-{}", random::opaque_id(&self.inner.random)?);
        Ok(Claims {
            iss: at.issuer().to_owned(),
            sub: nobody.clone(),
            aud: self.inner.config.resources.default_resource().as_str().to_owned(),
            client_id: nobody,
            iat: now.0,
            exp: (now + life).0,
            nbf: None,
            jti: random::opaque_id(&self.inner.random)?,
            tid: Tid::One(tenant.to_string()),
            tep: epoch,
        })
    }

    fn nobodys_tenant(&self) -> Result<String, ControlError> {
        Ok(format!("decoy-{}", random::opaque_id(&self.inner.random)?))
    }
}

const NOBODY: &str = "https://decoy.invalid/";

struct Claims {
    iss: String,
    sub: String,
    aud: String,
    client_id: String,
    iat: u64,
    exp: u64,
    nbf: Option<u64>,
    jti: String,
    tid: Tid,
    tep: u32,
}

enum Tid {
    None,
    One(String),
    Two([String; 2]),
    /// Under one name each: what RFC 7519 4 forbids.
    Twice([String; 2]),
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", &self.iss)?;
        map.serialize_entry("sub", &self.sub)?;
        map.serialize_entry("aud", &self.aud)?;
        map.serialize_entry("client_id", &self.client_id)?;
        map.serialize_entry("iat", &self.iat)?;
        map.serialize_entry("exp", &self.exp)?;
        if let Some(nbf) = self.nbf {
            map.serialize_entry("nbf", &nbf)?;
        }
        map.serialize_entry("jti", &self.jti)?;
        match &self.tid {
            Tid::None => {}
            Tid::One(tenant) => map.serialize_entry("tid", tenant)?,
            Tid::Two(tenants) => map.serialize_entry("tid", tenants)?,
            Tid::Twice([one, other]) => {
                map.serialize_entry("tid", one)?;
                map.serialize_entry("tid", other)?;
            }
        }
        let nothing: [&str; 0] = [];
        map.serialize_entry("roles", &nothing)?;
        map.serialize_entry("tep", &self.tep)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use partywall::{AccessToken, Clock, FixedClock, Partywall, Timestamp};

    use super::*;
    use crate::{NewTenant, Resources, SealingKey, Secret, ServerConfig};

    const TESTER: Actor = Actor::System("test");
    const API: &str = "https://api.test";

    struct Plane {
        control: ControlPlane,
        clock: Arc<FixedClock>,
        tenant: TenantId,
        gone: TenantId,
        _dir: tempfile::TempDir,
    }

    impl Plane {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = ServerConfig::new(
                crate::control::tests_support::database(dir.path()).await,
                SealingKey::from_bytes(&Secret::new([7; 32])).unwrap(),
                "https://id.test/idp".parse().unwrap(),
                Resources::new(API.parse().unwrap(), []),
            );
            let clock = Arc::new(FixedClock::at(Timestamp(1_800_000_000)));
            let control =
                ControlPlane::open(config, Arc::<FixedClock>::clone(&clock)).await.unwrap();
            let tenant = |slug: &'static str| {
                let new = NewTenant::new(
                    slug.parse().unwrap(),
                    "free".parse().unwrap(),
                    Default::default(),
                );
                control.create_tenant(&TESTER, new)
            };
            let (acme, gone) = (tenant("acme").await.unwrap(), tenant("gone").await.unwrap());
            control.bump_epoch(&TESTER, acme.id()).await.unwrap();
            control.set_status(&TESTER, gone.id(), TenantStatus::Suspended).await.unwrap();
            clock.set(clock.now() + Duration::from_secs(60));
            let (tenant, gone) = (acme.id().clone(), gone.id().clone());
            Self { control, clock, tenant, gone, _dir: dir }
        }

        async fn decoy(&self, decoy: Decoy) -> String {
            let tenant = if decoy == Decoy::NotActive { &self.gone } else { &self.tenant };
            self.control.sign_decoy(&TESTER, tenant, decoy).await.unwrap().unwrap().token
        }

        async fn wall(&self) -> Partywall {
            let clock = Arc::<FixedClock>::clone(&self.clock);
            let trusted = Partywall::builder().trust(self.control.bundle_key().clone());
            let wall = trusted.audience(API).clock(clock).build().unwrap();
            wall.accept(self.control.bundle().await.unwrap().bytes).unwrap();
            wall
        }
    }

    fn refusal(wall: &Partywall, token: &str) -> Option<&'static str> {
        wall.verify(AccessToken::new(token)).err().map(|refusal| refusal.code())
    }

    #[tokio::test]
    async fn m24_every_decoy_is_refused_for_its_defect_and_the_same_without_it_is_not() {
        let plane = Plane::new().await;
        for (decoy, expected) in [
            (Decoy::Expired, "token_expired"),
            (Decoy::NotYetValid, "token_not_yet_valid"),
            (Decoy::OtherAudience, "audience_mismatch"),
            (Decoy::OtherIssuer, "issuer_untrusted"),
            (Decoy::OtherType, "type_not_accepted"),
            (Decoy::Revoked, "revoked"),
            (Decoy::StaleEpoch, "epoch_passed"),
            (Decoy::NotActive, "tenant_not_active"),
            (Decoy::UnknownTenant, "tenant_unknown"),
            (Decoy::TwoTenants, "tenant_list_without_prefix"),
            (Decoy::NoTenant, "tenant_missing"),
            (Decoy::RepeatedClaim, "json_duplicate_name"),
        ] {
            let token = plane.decoy(decoy).await;
            assert_eq!(refusal(&plane.wall().await, &token), Some(expected), "{decoy:?}");
        }
        // The control: nothing but the defect was wrong with them.
        let epoch = plane.control.tenant(&plane.tenant).await.unwrap().unwrap().record.epoch;
        let flawless =
            plane.control.flawless(&At::shared(&plane.control), &plane.tenant, epoch).unwrap();
        let token = plane.control.token_keys().unwrap().sign_decoy("at+jwt", &flawless).unwrap();
        assert_eq!(refusal(&plane.wall().await, &token), None);
    }

    #[tokio::test]
    async fn m24_no_decoy_becomes_good_with_time() {
        let plane = Plane::new().await;
        let mut decoys = Vec::new();
        for decoy in Decoy::ALL {
            decoys.push((decoy, plane.decoy(decoy).await));
        }
        let minute = Duration::from_secs(60);
        for _ in 0..30 {
            plane.clock.set(plane.clock.now() + minute);
            let wall = plane.wall().await;
            for (decoy, token) in &decoys {
                assert!(refusal(&wall, token).is_some(), "{decoy:?} was let in");
            }
        }
        plane.clock.set(plane.clock.now() + 24 * 60 * minute);
        let wall = plane.wall().await;
        assert!(decoys.iter().all(|(_, token)| refusal(&wall, token).is_some()));
    }

    #[tokio::test]
    async fn m24_where_there_would_be_no_defect_there_is_no_decoy() {
        let plane = Plane::new().await;
        let control = &plane.control;
        let active = control.sign_decoy(&TESTER, &plane.tenant, Decoy::NotActive).await.unwrap();
        assert!(active.is_none());
        let first = control.sign_decoy(&TESTER, &plane.gone, Decoy::StaleEpoch).await.unwrap();
        assert!(first.is_none());
        let unknown = "never-was".parse().unwrap();
        let refused = control.sign_decoy(&TESTER, &unknown, Decoy::Expired).await.err().unwrap();
        assert!(matches!(refused, ControlError::UnknownTenant { .. }));
    }
}
