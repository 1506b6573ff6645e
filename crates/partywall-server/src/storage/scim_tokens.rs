//! The table of SCIM tokens. Every question names tenant and connection, which are in the token's
//! text (I-29).

use partywall::{TenantId, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{ConnectionId, ScimToken, ScimTokenId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scim_tokens")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) connection_id: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    token: &ScimToken,
    secret_hash: &[u8],
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: Set(token.id.as_str().to_owned()),
        tenant_id: Set(token.tenant.as_str().to_owned()),
        connection_id: Set(token.connection.as_str().to_owned()),
        secret_hash: Set(secret_hash.to_vec()),
        created_at: Set(signed(token.created_at.0)),
        expires_at: Set(signed(token.expires_at.0)),
        used_at: Set(token.used_at.map(|at| signed(at.0))),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The connection's token of that id with the hash of its secret, if it is good at `now`.
pub(crate) async fn candidate(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    id: &ScimTokenId,
    now: Timestamp,
) -> Result<Option<(ScimToken, Vec<u8>)>, StorageError> {
    let row = Entity::find()
        .filter(of(tenant, connection))
        .filter(Column::Id.eq(id.as_str()))
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .only(db)
        .await?;
    row.map(|row| Ok((ScimToken::try_from(&row)?, row.secret_hash))).transpose()
}

/// The tokens of a connection, by ascending id: a few at most.
pub(crate) async fn list(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<Vec<ScimToken>, StorageError> {
    let rows =
        Entity::find().filter(of(tenant, connection)).order_by_asc(Column::Id).all(db).await?;
    rows.iter().map(ScimToken::try_from).collect()
}

/// Notes that a token was used.
pub(crate) async fn note_use(
    db: &impl ConnectionTrait,
    token: &ScimToken,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(of(&token.tenant, &token.connection))
        .filter(Column::Id.eq(token.id.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// Ends a token for good. `false` when the connection has none of that id.
pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    id: &ScimTokenId,
) -> Result<bool, StorageError> {
    let deleted = Entity::delete_many()
        .filter(of(tenant, connection))
        .filter(Column::Id.eq(id.as_str()))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected == 1)
}

/// Ends those that have run out.
pub(crate) async fn delete_run_out(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::delete_many()
        .filter(of(tenant, connection))
        .filter(Column::ExpiresAt.lte(signed(now.0)))
        .exec(db)
        .await?;
    Ok(())
}

/// Forgets every token of a connection.
pub(crate) async fn forget_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<(), StorageError> {
    Entity::delete_many().filter(of(tenant, connection)).exec(db).await?;
    Ok(())
}

fn of(tenant: &TenantId, connection: &ConnectionId) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::TenantId.eq(tenant.as_str()))
        .add(Column::ConnectionId.eq(connection.as_str()))
}

impl TryFrom<&Model> for ScimToken {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt =
            |column| StorageError::Corrupt { table: "scim_tokens", row: row.id.clone(), column };
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            connection: row.connection_id.parse().map_err(|_| corrupt("connection_id"))?,
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
            used_at: row.used_at.map(|at| Timestamp(unsigned(at))),
        })
    }
}
