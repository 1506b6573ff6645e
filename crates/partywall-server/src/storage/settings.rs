//! Small facts the server keeps about its own database.

use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*, sea_query::OnConflict};

use super::{Only, StorageError};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settings")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What `name` was last set to.
pub(crate) async fn get(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<Vec<u8>>, StorageError> {
    Ok(Entity::find_by_id(name.to_owned()).only(db).await?.map(|row| row.value))
}

/// Sets `name` to `value`.
pub(crate) async fn set(
    db: &impl ConnectionTrait,
    name: &str,
    value: Vec<u8>,
) -> Result<(), StorageError> {
    let row = ActiveModel { name: Set(name.to_owned()), value: Set(value) };
    let replace = OnConflict::column(Column::Name).update_column(Column::Value).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}
