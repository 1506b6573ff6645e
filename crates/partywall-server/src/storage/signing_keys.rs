//! The table of signing keys: public halves in clear, private halves sealed.

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, QueryOrder,
    entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::keys::{KeyPurpose, KeyState, StoredKey, TENANT_PREFIX};

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
    purpose: &KeyPurpose,
) -> Result<Vec<StoredKey>, StorageError> {
    let rows = Entity::find()
        .filter(Column::Purpose.eq(purpose.name().as_ref()))
        .filter(Column::State.ne(state_text(KeyState::Removed)))
        .order_by_asc(Column::PublishedAt)
        .order_by_asc(Column::Kid)
        .all(db)
        .await?;
    rows.into_iter().map(|row| key_of(row, purpose.clone())).collect()
}

/// What the key of that id signs, whatever its state.
pub(crate) async fn purpose_of(
    db: &impl ConnectionTrait,
    kid: &str,
) -> Result<Option<KeyPurpose>, StorageError> {
    let Some(row) = Entity::find_by_id(kid).only(db).await? else { return Ok(None) };
    let known = [KeyPurpose::Token, KeyPurpose::Bundle];
    let shared = known.into_iter().find(|purpose| purpose.name() == row.purpose);
    Ok(shared.or_else(|| KeyPurpose::tenant_of(&row.purpose).map(KeyPurpose::Tenant)))
}

/// The keys of every tenant's own issuer that are not removed, tenant by tenant.
pub(crate) async fn of_all_tenants(
    db: &impl ConnectionTrait,
) -> Result<Vec<(TenantId, Vec<StoredKey>)>, StorageError> {
    let rows = Entity::find()
        .filter(Column::Purpose.starts_with(TENANT_PREFIX))
        .filter(Column::State.ne(state_text(KeyState::Removed)))
        .order_by_asc(Column::Purpose)
        .order_by_asc(Column::PublishedAt)
        .order_by_asc(Column::Kid)
        .all(db)
        .await?;
    let mut tenants: Vec<(TenantId, Vec<StoredKey>)> = Vec::new();
    for row in rows {
        let corrupt = || StorageError::Corrupt {
            table: "signing_keys",
            row: row.kid.clone(),
            column: "purpose",
        };
        let tenant = KeyPurpose::tenant_of(&row.purpose).ok_or_else(corrupt)?;
        let key = key_of(row, KeyPurpose::Tenant(tenant.clone()))?;
        match tenants.last_mut() {
            Some((last, keys)) if *last == tenant => keys.push(key),
            _ => tenants.push((tenant, vec![key])),
        }
    }
    Ok(tenants)
}

/// Up to `limit` tenants whose own keys have a step before them: a key that has signed since
/// before `signing_since`, waits since before `waiting_since`, or rests since before
/// `resting_since`.
pub(crate) async fn tenants_due(
    db: &impl ConnectionTrait,
    signing_since: Timestamp,
    waiting_since: Timestamp,
    resting_since: Timestamp,
    limit: u64,
) -> Result<Vec<TenantId>, StorageError> {
    use sea_orm::{Condition, QuerySelect};

    let due = |state, column: Column, since: Timestamp| {
        Condition::all().add(Column::State.eq(state_text(state))).add(column.lte(signed(since.0)))
    };
    let any = Condition::any()
        .add(due(KeyState::Active, Column::ActivatedAt, signing_since))
        .add(due(KeyState::Published, Column::PublishedAt, waiting_since))
        .add(due(KeyState::Retired, Column::RetiredAt, resting_since));
    let names: Vec<String> = Entity::find()
        .select_only()
        .column(Column::Purpose)
        .distinct()
        .filter(Column::Purpose.starts_with(TENANT_PREFIX))
        .filter(any)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await?;
    Ok(names.iter().filter_map(|name| KeyPurpose::tenant_of(name)).collect())
}

/// Forgets a tenant's own keys.
pub(crate) async fn erase_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<(), StorageError> {
    let purpose = KeyPurpose::Tenant(tenant.clone());
    Entity::delete_many().filter(Column::Purpose.eq(purpose.name().as_ref())).exec(db).await?;
    Ok(())
}

fn row_of(key: &StoredKey) -> ActiveModel {
    let time = |time: Option<Timestamp>| time.map(|time| signed(time.0));
    ActiveModel {
        kid: Set(key.kid.clone()),
        purpose: Set(key.purpose.name().into_owned()),
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
