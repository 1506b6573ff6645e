//! The table of users as their connections describe them. Every question names tenant and
//! connection: what another connection described is not there (I-29).

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, JoinType, QueryOrder, QuerySelect, SelectTwo,
    entity::prelude::*,
};
use serde_json::{Map, Value};

use super::{StorageError, signed, unsigned, users};
use crate::control::{ConnectionId, User, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scim_users")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    pub(crate) connection_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) user_id: String,
    pub(crate) name_key: String,
    pub(crate) external_id: Option<String>,
    pub(crate) attributes: String,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A user as its connection describes it.
#[derive(Clone, Debug)]
pub(crate) struct ScimUser {
    /// Who it is here, and whether it may come in.
    pub(crate) user: User,
    pub(crate) connection: ConnectionId,
    /// What is said of it, `userName` and `externalId` included, `active` not.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) created_at: Timestamp,
    pub(crate) changed_at: Timestamp,
    pub(crate) version: u64,
}

impl ScimUser {
    pub(crate) fn user_name(&self) -> &str {
        self.text("userName").unwrap_or_default()
    }

    pub(crate) fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).and_then(Value::as_str)
    }
}

/// Which users are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'w> {
    All,
    Id(&'w UserId),
    /// By `userName`, without regard to case: one at most.
    UserName(&'w str),
    ExternalId(&'w str),
    /// Those behind it, by id.
    Behind(&'w UserId),
}

/// Makes it a user that the connection describes. The user itself is there already.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    described: &ScimUser,
) -> Result<(), StorageError> {
    Entity::insert(row_of(described)).exec_without_returning(db).await?;
    Ok(())
}

/// Writes what is said of a user, if nobody else did since `described.version - 1`.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    described: &ScimUser,
) -> Result<bool, StorageError> {
    let updated = Entity::update_many()
        .set(row_of(described))
        .filter(of(&described.user.tenant, &described.connection))
        .filter(Column::UserId.eq(described.user.id.as_str()))
        .filter(Column::Version.eq(signed(described.version.saturating_sub(1))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// The user of that id, if the connection describes it.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    user: &UserId,
) -> Result<Option<ScimUser>, StorageError> {
    Ok(some(db, tenant, connection, Which::Id(user), 0, 1).await?.pop())
}

/// The user that the connection calls so, without regard to case.
pub(crate) async fn find_by_name(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    user_name: &str,
) -> Result<Option<ScimUser>, StorageError> {
    Ok(some(db, tenant, connection, Which::UserName(user_name), 0, 1).await?.pop())
}

/// The user that has this `externalId`. `None`, too, where the connection gave it to several: it
/// names nobody then.
pub(crate) async fn find_by_external_id(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    external_id: &str,
) -> Result<Option<ScimUser>, StorageError> {
    let mut found = some(db, tenant, connection, Which::ExternalId(external_id), 0, 2).await?;
    Ok(found.pop().filter(|_| found.is_empty()))
}

/// How many users a connection describes.
pub(crate) async fn count(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<u64, StorageError> {
    Ok(Entity::find().filter(of(tenant, connection)).count(db).await?)
}

/// Up to `limit` of the users asked for, by ascending id, without the first `offset`.
pub(crate) async fn some(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    which: Which<'_>,
    offset: u64,
    limit: u64,
) -> Result<Vec<ScimUser>, StorageError> {
    let mut query = Entity::find().filter(of(tenant, connection));
    query = match which {
        Which::All => query,
        Which::Id(id) => query.filter(Column::UserId.eq(id.as_str())),
        Which::UserName(name) => query.filter(Column::NameKey.eq(name_key(name))),
        Which::ExternalId(id) => query.filter(Column::ExternalId.eq(id)),
        Which::Behind(id) => query.filter(Column::UserId.gt(id.as_str())),
    };
    let query = query.order_by_asc(Column::UserId).offset(offset).limit(limit);
    let rows = with_user(query).all(db).await?;
    rows.iter().map(ScimUser::try_from).collect()
}

/// How many of `ids` the connection describes.
pub(crate) async fn count_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    ids: &[&str],
) -> Result<u64, StorageError> {
    let query = Entity::find().filter(of(tenant, connection));
    Ok(query.filter(Column::UserId.is_in(ids.iter().copied())).count(db).await?)
}

/// Forgets what a connection said of its users. They stay.
pub(crate) async fn forget_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<(), StorageError> {
    Entity::delete_many().filter(of(tenant, connection)).exec(db).await?;
    Ok(())
}

/// A `userName` as it is compared.
pub(crate) fn name_key(user_name: &str) -> String {
    user_name.to_lowercase()
}

fn with_user(query: Select<Entity>) -> SelectTwo<Entity, users::Entity> {
    let user = Entity::belongs_to(users::Entity)
        .from((Column::TenantId, Column::UserId))
        .to((users::Column::TenantId, users::Column::Id))
        .into();
    query.join(JoinType::InnerJoin, user).select_also(users::Entity)
}

fn of(tenant: &TenantId, connection: &ConnectionId) -> Condition {
    Condition::all()
        .add(Column::TenantId.eq(tenant.as_str()))
        .add(Column::ConnectionId.eq(connection.as_str()))
}

fn row_of(described: &ScimUser) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(described.user.tenant.as_str().to_owned()),
        connection_id: Set(described.connection.as_str().to_owned()),
        user_id: Set(described.user.id.as_str().to_owned()),
        name_key: Set(name_key(described.user_name())),
        external_id: Set(described.text("externalId").map(str::to_owned)),
        attributes: Set(Value::Object(described.attributes.clone()).to_string()),
        created_at: Set(signed(described.created_at.0)),
        changed_at: Set(signed(described.changed_at.0)),
        version: Set(signed(described.version)),
    }
}

impl TryFrom<&(Model, Option<users::Model>)> for ScimUser {
    type Error = StorageError;

    fn try_from((row, user): &(Model, Option<users::Model>)) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt {
            table: "scim_users",
            row: row.user_id.clone(),
            column,
        };
        let user = user.as_ref().ok_or_else(|| corrupt("user_id"))?;
        Ok(Self {
            user: User::try_from(user)?,
            connection: row.connection_id.parse().map_err(|_| corrupt("connection_id"))?,
            attributes: serde_json::from_str(&row.attributes).map_err(|_| corrupt("attributes"))?,
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
            version: unsigned(row.version),
        })
    }
}
