//! Values that are good for one use: authorization codes, pushed requests, device codes, action
//! tokens, state, the ids of proofs. One table; the key is kind, tenant and hash together, so that
//! a value of one kind or tenant is nothing under another (O-22, CVE-2026-4282).
//!
//! Redeeming is one statement. Of any number of redemptions at once, on any number of servers,
//! exactly one is the first.

use std::time::Duration;

use aws_lc_rs::{digest, rand::SecureRandom};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{TenantId, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*, sea_query::OnConflict};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Only, StorageError, signed, unsigned};
use crate::{
    random::{self, RandomError},
    secret::Secret,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "single_use")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) hash: Vec<u8>,
    pub(crate) payload: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a value is good for. It is part of its key, of its hash, and readable in it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Kind {
    /// RFC 6749 4.1.2.
    Code,
    /// RFC 9126: a `request_uri`.
    PushedRequest,
    /// RFC 8628: what the device polls with.
    DeviceCode,
    /// RFC 8628: what the person types.
    UserCode,
    /// A sign-in under way, bound to a browser.
    SignIn,
    /// A WebAuthn challenge.
    PasskeyChallenge,
    /// A mail's link that sets a new password.
    ResetPassword,
    /// That a mail with such a link was sent a moment ago.
    ResetAsked,
    /// A mail's link that makes somebody a member.
    Invitation,
    /// A client's assertion, by its `jti` (RFC 7523 3).
    ClientAssertion,
    /// A DPoP proof, by its `jti` (RFC 9449 11.1).
    DpopProof,
    /// An administrator's request, by its idempotency key.
    Idempotency,
    /// Somebody who is away at their tenant's own provider, by `state` or `RelayState`.
    Away,
    /// Somebody who came back from there, until their browser has shown that it is theirs.
    Arrival,
    /// A SAML assertion, by its connection and its id (S-10).
    Assertion,
    /// That a tenant was warned today.
    Warning,
    /// Somebody who is being signed out at their tenant's own provider, too.
    Logout,
}

impl Kind {
    /// Every kind, for tests that try each as each other.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 17] = [
        Self::Code,
        Self::PushedRequest,
        Self::DeviceCode,
        Self::UserCode,
        Self::SignIn,
        Self::PasskeyChallenge,
        Self::ResetPassword,
        Self::ResetAsked,
        Self::Invitation,
        Self::ClientAssertion,
        Self::DpopProof,
        Self::Idempotency,
        Self::Away,
        Self::Arrival,
        Self::Assertion,
        Self::Warning,
        Self::Logout,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::PushedRequest => "pushed_request",
            Self::DeviceCode => "device_code",
            Self::UserCode => "user_code",
            Self::SignIn => "sign_in",
            Self::PasskeyChallenge => "passkey_challenge",
            Self::ResetPassword => "reset_password",
            Self::ResetAsked => "reset_asked",
            Self::Invitation => "invitation",
            Self::ClientAssertion => "client_assertion",
            Self::DpopProof => "dpop_proof",
            Self::Idempotency => "idempotency",
            Self::Away => "away",
            Self::Arrival => "arrival",
            Self::Assertion => "assertion",
            Self::Warning => "warning",
            Self::Logout => "logout",
        }
    }
}

/// The drawer a value lies in. A value that belongs to a tenant lies in that tenant's; `NO_TENANT`
/// is for what is made before any tenant is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawer<'t> {
    kind: Kind,
    tenant: &'t str,
}

/// The tenant of values that are nobody's yet.
const NO_TENANT: &str = "";

impl<'t> Drawer<'t> {
    pub(crate) fn of(kind: Kind, tenant: &'t TenantId) -> Self {
        Self { kind, tenant: tenant.as_str() }
    }

    pub(crate) fn before_any_tenant(kind: Kind) -> Self {
        Self { kind, tenant: NO_TENANT }
    }

    /// The hash covers the whole key, each part with its length, so that a stored hash is no use
    /// in another drawer (B-25).
    fn hash(self, value: &str) -> Vec<u8> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"partywall single use v1");
        for part in [self.kind.as_str(), self.tenant, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finish().as_ref().to_vec()
    }
}

/// 256 random bits as text.
pub(crate) fn draw(random: &dyn SecureRandom) -> Result<Secret<String>, RandomError> {
    let bytes = Zeroizing::new(random::fill::<32>(random)?);
    Ok(Secret::new(Base64UrlUnpadded::encode_string(&*bytes)))
}

/// Puts `value` into its drawer. `false` when it lies there already, used or not: for values that
/// others choose (`jti`), that is the replay.
pub(crate) async fn put(
    db: &impl ConnectionTrait,
    drawer: Drawer<'_>,
    value: &str,
    payload: &impl Serialize,
    now: Timestamp,
    lasts: Duration,
) -> Result<bool, StorageError> {
    let payload = serde_json::to_string(payload).map_err(|_| corrupt(drawer, "payload"))?;
    let row = ActiveModel {
        kind: Set(drawer.kind.as_str().to_owned()),
        tenant_id: Set(drawer.tenant.to_owned()),
        hash: Set(drawer.hash(value)),
        payload: Set(payload),
        created_at: Set(signed(now.0)),
        expires_at: Set(signed((now + lasts).0)),
        used_at: Set(None),
    };
    // Not an error to be caught: an error would end the caller's transaction on PostgreSQL.
    let there =
        OnConflict::columns([Column::Kind, Column::TenantId, Column::Hash]).do_nothing().to_owned();
    Ok(Entity::insert(row).on_conflict(there).exec_without_returning(db).await? == 1)
}

/// Takes a value out of its drawer, as if it had never been put there.
pub(crate) async fn forget(
    db: &impl ConnectionTrait,
    drawer: Drawer<'_>,
    value: &str,
) -> Result<(), StorageError> {
    Entity::delete_many().filter(at(drawer, value)).exec(db).await?;
    Ok(())
}

/// What came of a redemption.
#[derive(Debug)]
pub(crate) enum Redeemed<T> {
    /// The first and only one in time.
    First(T),
    /// It was used before: whoever has it may have stolen it.
    Again(T),
    /// There is none, or it has expired.
    Unknown,
}

impl<T> Redeemed<T> {
    /// The payload of the first redemption; nothing otherwise.
    pub(crate) fn first(self) -> Option<T> {
        match self {
            Self::First(payload) => Some(payload),
            Self::Again(_) | Self::Unknown => None,
        }
    }
}

/// Uses `value` up.
pub(crate) async fn redeem<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    drawer: Drawer<'_>,
    value: &str,
    now: Timestamp,
) -> Result<Redeemed<T>, StorageError> {
    let read =
        |row: &Model| serde_json::from_str(&row.payload).map_err(|_| corrupt(drawer, "payload"));
    // One statement decides, and brings what was won. `UPDATE single_use SET used_at = ? WHERE
    // kind = ? AND tenant_id = ? AND hash = ? AND used_at IS NULL AND expires_at > ? RETURNING …`
    let won = Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(at(drawer, value))
        .filter(Column::UsedAt.is_null())
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .exec_with_returning(db)
        .await?;
    if let Some(row) = won.first() {
        return Ok(Redeemed::First(read(row)?));
    }
    // Only for who came too late: a replay is told from nothing.
    let found = Entity::find().filter(at(drawer, value)).only(db).await?;
    match found.filter(|row| row.used_at.is_some()) {
        Some(row) => Ok(Redeemed::Again(read(&row)?)),
        None => Ok(Redeemed::Unknown),
    }
}

/// Reads `value` without using it up, if it is there, unused and in time.
pub(crate) async fn peek<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    drawer: Drawer<'_>,
    value: &str,
    now: Timestamp,
) -> Result<Option<T>, StorageError> {
    let found = Entity::find().filter(at(drawer, value)).only(db).await?;
    found
        .filter(|row| row.used_at.is_none() && unsigned(row.expires_at) > now.0)
        .map(|row| serde_json::from_str(&row.payload).map_err(|_| corrupt(drawer, "payload")))
        .transpose()
}

/// Replaces the payload of `value`, if it is still unused and in time.
pub(crate) async fn amend(
    db: &impl ConnectionTrait,
    drawer: Drawer<'_>,
    value: &str,
    payload: &impl Serialize,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let payload = serde_json::to_string(payload).map_err(|_| corrupt(drawer, "payload"))?;
    let amended = Entity::update_many()
        .col_expr(Column::Payload, Expr::value(payload))
        .filter(at(drawer, value))
        .filter(Column::UsedAt.is_null())
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .exec(db)
        .await?;
    Ok(amended.rows_affected == 1)
}

fn at(drawer: Drawer<'_>, value: &str) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::Kind.eq(drawer.kind.as_str()))
        .add(Column::TenantId.eq(drawer.tenant))
        .add(Column::Hash.eq(drawer.hash(value)))
}

fn corrupt(drawer: Drawer<'_>, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "single_use", row: drawer.kind.as_str().to_owned(), column }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::tests_support, storage::Database};

    const NOW: Timestamp = Timestamp(1_000);
    const MINUTE: Duration = Duration::from_secs(60);

    async fn database(dir: &tempfile::TempDir) -> Database {
        Database::open(&tests_support::database(dir.path()).await).await.unwrap()
    }

    #[tokio::test]
    async fn o22_b09_a_value_is_nothing_in_another_drawer() {
        let dir = tempfile::tempdir().unwrap();
        let db = database(&dir).await;
        let (acme, bond): (TenantId, TenantId) = ("acme".parse().unwrap(), "bond".parse().unwrap());
        for kind in Kind::ALL {
            let own = Drawer::of(kind, &acme);
            put(db.reader(), own, "value", &kind.as_str(), NOW, MINUTE).await.unwrap();
            let elsewhere = Kind::ALL
                .into_iter()
                .filter(|other| *other != kind)
                .map(|other| Drawer::of(other, &acme))
                .chain([Drawer::of(kind, &bond), Drawer::before_any_tenant(kind)]);
            for drawer in elsewhere {
                let redeemed = redeem::<String>(db.reader(), drawer, "value", NOW).await.unwrap();
                assert!(redeemed.first().is_none_or(|payload| payload != kind.as_str()));
            }
        }
        // The control: each in its own drawer is good, once.
        for kind in Kind::ALL {
            put(db.reader(), Drawer::of(kind, &bond), "mine", &kind.as_str(), NOW, MINUTE)
                .await
                .unwrap();
            let own = Drawer::of(kind, &bond);
            let first: Redeemed<String> = redeem(db.reader(), own, "mine", NOW).await.unwrap();
            assert_eq!(first.first().as_deref(), Some(kind.as_str()));
            let again: Redeemed<String> = redeem(db.reader(), own, "mine", NOW).await.unwrap();
            assert!(matches!(again, Redeemed::Again(payload) if payload == kind.as_str()));
        }
    }

    #[tokio::test]
    async fn o03_a_value_is_good_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let db = database(&dir).await;
        let drawer = Drawer::before_any_tenant(Kind::Code);
        put(db.reader(), drawer, "value", &1, NOW, MINUTE).await.unwrap();
        assert!(!put(db.reader(), drawer, "value", &2, NOW, MINUTE).await.unwrap(), "put twice");
        let late = NOW + MINUTE;
        assert!(matches!(
            redeem::<u8>(db.reader(), drawer, "value", late).await.unwrap(),
            Redeemed::Unknown
        ));
        assert_eq!(peek::<u8>(db.reader(), drawer, "value", late).await.unwrap(), None);
        assert!(amend(db.reader(), drawer, "value", &3, NOW).await.unwrap());
        assert_eq!(peek::<u8>(db.reader(), drawer, "value", NOW).await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn o03_of_a_hundred_redemptions_at_once_one_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let db = std::sync::Arc::new(database(&dir).await);
        let drawer = Drawer::before_any_tenant(Kind::Code);
        put(db.reader(), drawer, "value", &1, NOW, MINUTE).await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let db = std::sync::Arc::clone(&db);
            all.spawn(async move {
                let write = db.single().await;
                redeem::<u8>(write.db(), drawer, "value", NOW).await.unwrap().first().is_some()
            });
        }
        let won = all.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
    }
}
