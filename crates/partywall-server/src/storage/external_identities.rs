//! The table of external identities: whom a connection vouches for, byte for byte (I-01). Neither
//! database folds case or trims in comparing its texts.

use partywall::{TenantId, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*, sea_query::OnConflict};

use super::{Only, StorageError, signed};
use crate::{
    control::{ConnectionId, UserId},
    federation::ExternalIdentity,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "external_identities")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) connection_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject: String,
    pub(crate) user_id: String,
    pub(crate) created_at: i64,
    pub(crate) used_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Links an identity to a user of the same tenant. `false` when it is linked already, to whomever.
pub(crate) async fn link(
    db: &impl ConnectionTrait,
    identity: &ExternalIdentity,
    user: &UserId,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let row = ActiveModel {
        tenant_id: Set(identity.tenant.as_str().to_owned()),
        connection_id: Set(identity.connection.as_str().to_owned()),
        issuer: Set(identity.issuer.clone()),
        subject: Set(identity.subject.clone()),
        user_id: Set(user.as_str().to_owned()),
        created_at: Set(signed(now.0)),
        used_at: Set(None),
    };
    let there = OnConflict::columns([
        Column::TenantId,
        Column::ConnectionId,
        Column::Issuer,
        Column::Subject,
    ])
    .do_nothing()
    .to_owned();
    Ok(Entity::insert(row).on_conflict(there).exec_without_returning(db).await? == 1)
}

/// Whose identity it is.
pub(crate) async fn user_of(
    db: &impl ConnectionTrait,
    identity: &ExternalIdentity,
) -> Result<Option<UserId>, StorageError> {
    let row = Entity::find().filter(is(identity)).only(db).await?;
    let corrupt = |row: &Model| StorageError::Corrupt {
        table: "external_identities",
        row: format!("{} of {}", row.connection_id, row.tenant_id),
        column: "user_id",
    };
    row.map(|row| row.user_id.parse().map_err(|_| corrupt(&row))).transpose()
}

/// Notes that somebody came with an identity.
pub(crate) async fn touch(
    db: &impl ConnectionTrait,
    identity: &ExternalIdentity,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(is(identity))
        .exec(db)
        .await?;
    Ok(())
}

/// How many identities a connection vouches for.
pub(crate) async fn count_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<u64, StorageError> {
    Ok(Entity::find().filter(of(tenant, connection)).count(db).await?)
}

/// Takes every identity of a user at a connection from it; whether there was any.
pub(crate) async fn unlink(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    user: &UserId,
) -> Result<bool, StorageError> {
    let unlinked = Entity::delete_many()
        .filter(of(tenant, connection))
        .filter(Column::UserId.eq(user.as_str()))
        .exec(db)
        .await?;
    Ok(unlinked.rows_affected > 0)
}

/// Forgets whom a connection vouched for.
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

fn is(identity: &ExternalIdentity) -> sea_orm::Condition {
    of(&identity.tenant, &identity.connection)
        .add(Column::Issuer.eq(identity.issuer.as_str()))
        .add(Column::Subject.eq(identity.subject.as_str()))
}
