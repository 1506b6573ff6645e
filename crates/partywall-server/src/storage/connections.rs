//! The table of connections. Every question names the tenant: a connection's id alone, or what its
//! provider calls itself, finds none (I-18).

use partywall::TenantId;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, JoinType, QueryOrder, QuerySelect, entity::prelude::*,
};

use super::{Only, StorageError, external_identities, signed, unsigned};
use crate::control::{Connection, ConnectionId, ConnectionStatus, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "connections")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) status: String,
    pub(crate) provider: String,
    pub(crate) rules: String,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    connection: &Connection,
) -> Result<(), StorageError> {
    Entity::insert(row_of(connection)?).exec_without_returning(db).await?;
    Ok(())
}

/// Writes everything that can change, if nobody else did since `connection.version - 1`.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    connection: &Connection,
) -> Result<bool, StorageError> {
    let updated = Entity::update_many()
        .set(row_of(connection)?)
        .filter(within(&connection.tenant))
        .filter(Column::Id.eq(connection.id.as_str()))
        .filter(Column::Version.eq(signed(connection.version.saturating_sub(1))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Deletes a connection. Whatever refers to it must be gone before.
pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ConnectionId,
) -> Result<(), StorageError> {
    Entity::delete_by_id(id.as_str()).filter(within(tenant)).exec(db).await?;
    Ok(())
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ConnectionId,
) -> Result<Option<Connection>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).filter(within(tenant)).only(db).await?;
    row.as_ref().map(Connection::try_from).transpose()
}

/// Up to `limit` connections of a tenant by ascending id, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    after: Option<&ConnectionId>,
    limit: u64,
) -> Result<Vec<Connection>, StorageError> {
    let mut query = Entity::find().filter(within(tenant));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(db).await?;
    rows.iter().map(Connection::try_from).collect()
}

/// The connections through which people may sign in to a tenant: at most `limit`, oldest first.
pub(crate) async fn active(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    limit: u64,
) -> Result<Vec<Connection>, StorageError> {
    let rows = Entity::find()
        .filter(within(tenant))
        .filter(Column::Status.eq(ConnectionStatus::Active.as_str()))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await?;
    let all: Result<Vec<_>, _> = rows.iter().map(Connection::try_from).collect();
    Ok(all?.into_iter().filter(Connection::admits).collect())
}

/// Up to `limit` active connections of all tenants, by ascending id, from the one behind `after`: for
/// a chore.
pub(crate) async fn all_active(
    db: &impl ConnectionTrait,
    after: Option<&ConnectionId>,
    limit: u64,
) -> Result<Vec<Connection>, StorageError> {
    let mut query = Entity::find().filter(Column::Status.eq(ConnectionStatus::Active.as_str()));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(db).await?;
    rows.iter().map(Connection::try_from).collect()
}

/// How many connections a tenant has, whatever their status.
pub(crate) async fn count(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<u64, StorageError> {
    Ok(Entity::find().filter(within(tenant)).count(db).await?)
}

/// The connection of that id, if it vouches for `user` now: the link is there. Whether it admits is
/// the caller's to ask.
pub(crate) async fn vouching_for(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
    user: &UserId,
) -> Result<Option<Connection>, StorageError> {
    let rows = linked_to(tenant, user).filter(Column::Id.eq(id)).limit(1).all(db).await?;
    rows.first().map(Connection::try_from).transpose()
}

/// Every connection that vouches for `user`.
pub(crate) async fn of_user(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Vec<Connection>, StorageError> {
    let rows = linked_to(tenant, user).all(db).await?;
    rows.iter().map(Connection::try_from).collect()
}

fn linked_to(tenant: &TenantId, user: &UserId) -> Select<Entity> {
    let links = Entity::belongs_to(external_identities::Entity)
        .from((Column::TenantId, Column::Id))
        .to((external_identities::Column::TenantId, external_identities::Column::ConnectionId))
        .into();
    Entity::find()
        .filter(within(tenant))
        .join(JoinType::InnerJoin, links)
        .filter(external_identities::Column::UserId.eq(user.as_str()))
        .distinct()
}

fn within(tenant: &TenantId) -> sea_orm::sea_query::Expr {
    Column::TenantId.eq(tenant.as_str())
}

fn row_of(connection: &Connection) -> Result<ActiveModel, StorageError> {
    let corrupt = |column| corrupt(connection.id.as_str(), column);
    let provider = serde_json::to_string(&connection.provider).map_err(|_| corrupt("provider"))?;
    Ok(ActiveModel {
        id: Set(connection.id.as_str().to_owned()),
        tenant_id: Set(connection.tenant.as_str().to_owned()),
        name: Set(connection.name.clone()),
        protocol: Set(connection.provider.protocol().to_owned()),
        status: Set(connection.status.as_str().to_owned()),
        provider: Set(provider),
        rules: Set(serde_json::to_string(&connection.rules).map_err(|_| corrupt("rules"))?),
        sealed: Set(connection.sealed.clone()),
        created_at: Set(signed(connection.created_at.0)),
        changed_at: Set(signed(connection.changed_at.0)),
        version: Set(signed(connection.version)),
    })
}

impl TryFrom<&Model> for Connection {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.id, column);
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            name: row.name.clone(),
            status: ConnectionStatus::ALL
                .into_iter()
                .find(|status| status.as_str() == row.status)
                .ok_or_else(|| corrupt("status"))?,
            provider: serde_json::from_str(&row.provider).map_err(|_| corrupt("provider"))?,
            rules: serde_json::from_str(&row.rules).map_err(|_| corrupt("rules"))?,
            sealed: row.sealed.clone(),
            created_at: partywall::Timestamp(unsigned(row.created_at)),
            changed_at: partywall::Timestamp(unsigned(row.changed_at)),
            version: unsigned(row.version),
        })
    }
}

fn corrupt(id: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "connections", row: id.to_owned(), column }
}
