//! The table of recovery codes, hashed.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, PaginatorTrait, entity::prelude::*};

use super::{StorageError, signed};
use crate::control::AccountId;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "recovery_codes")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) account_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) hash: Vec<u8>,
    pub(crate) used_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Replaces all of an account's codes.
pub(crate) async fn replace(
    db: &impl ConnectionTrait,
    account: &AccountId,
    hashes: impl IntoIterator<Item = Vec<u8>>,
) -> Result<(), StorageError> {
    Entity::delete_many().filter(Column::AccountId.eq(account.as_str())).exec(db).await?;
    let rows = hashes.into_iter().map(|hash| ActiveModel {
        account_id: Set(account.as_str().to_owned()),
        hash: Set(hash),
        used_at: Set(None),
    });
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

/// Uses a code up. Of any number at once one is the first.
pub(crate) async fn redeem(
    db: &impl ConnectionTrait,
    account: &AccountId,
    hash: &[u8],
    now: Timestamp,
) -> Result<bool, StorageError> {
    let used = Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(Column::AccountId.eq(account.as_str()))
        .filter(Column::Hash.eq(hash.to_vec()))
        .filter(Column::UsedAt.is_null())
        .exec(db)
        .await?;
    Ok(used.rows_affected == 1)
}

/// How many are left.
pub(crate) async fn left(
    db: &impl ConnectionTrait,
    account: &AccountId,
) -> Result<u64, StorageError> {
    let unused = Entity::find()
        .filter(Column::AccountId.eq(account.as_str()))
        .filter(Column::UsedAt.is_null());
    Ok(unused.count(db).await?)
}
