//! The generation: one row, advanced by every change, in the change's own transaction.

use partywall::{Timestamp, bundle::Generation};
use sea_orm::{ConnectionTrait, ExprTrait, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "directory")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: i32,
    pub(crate) generation: i64,
    pub(crate) changed_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The generation in force, and when it was reached.
pub(crate) async fn current(
    db: &impl ConnectionTrait,
) -> Result<(Generation, Timestamp), StorageError> {
    let row = Entity::find_by_id(1).only(db).await?.ok_or_else(missing)?;
    Ok((Generation(unsigned(row.generation)), Timestamp(unsigned(row.changed_at))))
}

/// Takes the next generation. The row stays locked until the transaction ends.
pub(super) async fn advance(
    db: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<Generation, StorageError> {
    Entity::update_many()
        .col_expr(Column::Generation, Expr::col(Column::Generation).add(1))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .exec(db)
        .await?;
    current(db).await.map(|(generation, _)| generation)
}

fn missing() -> StorageError {
    StorageError::Corrupt { table: "directory", row: "1".to_owned(), column: "id" }
}
