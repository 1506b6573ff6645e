//! The table of passwords: one PHC string for each account that has one.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*, sea_query::OnConflict};

use super::{Only, StorageError, signed, unsigned};
use crate::control::AccountId;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passwords")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) account_id: String,
    pub(crate) hash: String,
    pub(crate) changed_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn of(
    db: &impl ConnectionTrait,
    account: &AccountId,
) -> Result<Option<String>, StorageError> {
    Ok(Entity::find_by_id(account.as_str()).only(db).await?.map(|row| row.hash))
}

/// When an account's password was last changed; nothing, where it has none.
pub(crate) async fn changed_at(
    db: &impl ConnectionTrait,
    account: &AccountId,
) -> Result<Option<Timestamp>, StorageError> {
    let row = Entity::find_by_id(account.as_str()).only(db).await?;
    Ok(row.map(|row| Timestamp(unsigned(row.changed_at))))
}

/// Replaces the password of an account, or gives it its first.
pub(crate) async fn set(
    db: &impl ConnectionTrait,
    account: &AccountId,
    hash: &str,
    now: Timestamp,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        account_id: Set(account.as_str().to_owned()),
        hash: Set(hash.to_owned()),
        changed_at: Set(signed(now.0)),
    };
    let instead = OnConflict::column(Column::AccountId)
        .update_columns([Column::Hash, Column::ChangedAt])
        .to_owned();
    Entity::insert(row).on_conflict(instead).exec_without_returning(db).await?;
    Ok(())
}

/// Replaces the hash of the same password by a better one, unless it was changed meanwhile.
pub(crate) async fn upgrade(
    db: &impl ConnectionTrait,
    account: &AccountId,
    from: &str,
    to: &str,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::Hash, Expr::value(to))
        .filter(Column::AccountId.eq(account.as_str()))
        .filter(Column::Hash.eq(from))
        .exec(db)
        .await?;
    Ok(())
}
