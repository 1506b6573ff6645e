//! The table of signing keys: public halves in clear, private halves sealed.

use partywall::Timestamp;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, QueryOrder,
    entity::prelude::*,
};

use super::{StorageError, signed, unsigned};
use crate::keys::{KeyPurpose, KeyState, StoredKey};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) kid: String,
    pub(crate) purpose: String,
    pub(crate) algorithm: String,
    pub(crate) state: String,
    pub(crate) public_jwk: String,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) published_at: i64,
    pub(crate) activated_at: Option<i64>,
    pub(crate) retired_at: Option<i64>,
    pub(crate) removed_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(db: &impl ConnectionTrait, key: &StoredKey) -> Result<(), StorageError> {
    Entity::insert(row_of(key)).exec_without_returning(db).await?;
    Ok(())
}

/// Writes a key's state and what goes with it.
pub(crate) async fn update(db: &impl ConnectionTrait, key: &StoredKey) -> Result<(), StorageError> {
    let row = ActiveModel {
        purpose: NotSet,
        algorithm: NotSet,
        public_jwk: NotSet,
        published_at: NotSet,
        ..row_of(key)
    };
    Entity::update(row).exec(db).await?;
    Ok(())
}

/// All keys of a purpose that are not removed, oldest first.
pub(crate) async fn all(
    db: &impl ConnectionTrait,
    purpose: KeyPurpose,
) -> Result<Vec<StoredKey>, StorageError> {
    let rows = Entity::find()
        .filter(Column::Purpose.eq(purpose.as_str()))
        .filter(Column::State.ne(state_text(KeyState::Removed)))
        .order_by_asc(Column::PublishedAt)
        .order_by_asc(Column::Kid)
        .all(db)
        .await?;
    rows.into_iter().map(|row| key_of(row, purpose)).collect()
}

fn row_of(key: &StoredKey) -> ActiveModel {
    let time = |time: Option<Timestamp>| time.map(|time| signed(time.0));
    ActiveModel {
        kid: Set(key.kid.clone()),
        purpose: Set(key.purpose.as_str().to_owned()),
        algorithm: Set(key.algorithm.as_str().to_owned()),
        state: Set(state_text(key.state).to_owned()),
        public_jwk: Set(key.public_jwk.to_string()),
        sealed: Set(key.sealed.clone()),
        published_at: Set(signed(key.published_at.0)),
        activated_at: Set(time(key.activated_at)),
        retired_at: Set(time(key.retired_at)),
        removed_at: Set(time(key.removed_at)),
    }
}

fn key_of(row: Model, purpose: KeyPurpose) -> Result<StoredKey, StorageError> {
    let corrupt =
        |column| StorageError::Corrupt { table: "signing_keys", row: row.kid.clone(), column };
    let time = |time: Option<i64>| time.map(|time| Timestamp(unsigned(time)));
    let state = [KeyState::Published, KeyState::Active, KeyState::Retired, KeyState::Removed]
        .into_iter()
        .find(|state| state_text(*state) == row.state);
    Ok(StoredKey {
        purpose,
        algorithm: row.algorithm.parse().map_err(|_| corrupt("algorithm"))?,
        state: state.ok_or_else(|| corrupt("state"))?,
        public_jwk: serde_json::from_str(&row.public_jwk).map_err(|_| corrupt("public_jwk"))?,
        published_at: Timestamp(unsigned(row.published_at)),
        activated_at: time(row.activated_at),
        retired_at: time(row.retired_at),
        removed_at: time(row.removed_at),
        sealed: row.sealed,
        kid: row.kid,
    })
}

pub(crate) fn state_text(state: KeyState) -> &'static str {
    match state {
        KeyState::Published => "published",
        KeyState::Active => "active",
        KeyState::Retired => "retired",
        KeyState::Removed => "removed",
    }
}
