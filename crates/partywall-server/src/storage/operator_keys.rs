//! The table of operator keys: hashes, whose they are, and until when.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{OperatorKey, SecretHash};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operator_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) revoked_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    key: &OperatorKey,
    secret: &SecretHash,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: Set(key.id.clone()),
        name: Set(key.name.clone()),
        secret_hash: Set(secret.as_bytes().to_vec()),
        created_at: Set(signed(key.created_at.0)),
        expires_at: Set(signed(key.expires_at.0)),
        revoked_at: Set(key.revoked_at.map(|at| signed(at.0))),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The key of that id with its hash, whether or not it opens anything.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<(OperatorKey, Vec<u8>)>, StorageError> {
    let row = Entity::find_by_id(id).only(db).await?;
    Ok(row.map(|row| (OperatorKey::from(&row), row.secret_hash)))
}

/// Every key, in the order they were made.
pub(crate) async fn all(db: &impl ConnectionTrait) -> Result<Vec<OperatorKey>, StorageError> {
    let in_order = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    Ok(in_order.all(db).await?.iter().map(OperatorKey::from).collect())
}

/// Whether there was a key of that id to revoke.
pub(crate) async fn revoke(
    db: &impl ConnectionTrait,
    id: &str,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(signed(now.0)))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected == 1)
}

impl From<&Model> for OperatorKey {
    fn from(row: &Model) -> Self {
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
            revoked_at: row.revoked_at.map(|at| Timestamp(unsigned(at))),
        }
    }
}
