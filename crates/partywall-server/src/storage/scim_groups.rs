//! The tables of groups, and of who is in them. Every question names tenant and connection (I-29).

use std::collections::{BTreeMap, BTreeSet};

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, JoinType, QueryOrder, QuerySelect,
    entity::prelude::*, sea_query::OnConflict,
};

use super::{StorageError, scim_users::name_key, signed, unsigned};
use crate::control::{ConnectionId, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scim_groups")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) connection_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) display_name: String,
    pub(crate) name_key: String,
    pub(crate) external_id: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

mod members {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "scim_members")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) connection_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) group_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) user_id: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A group as its connection describes it. Its members are asked for.
#[derive(Clone, Debug)]
pub(crate) struct ScimGroup {
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    pub(crate) id: String,
    pub(crate) display_name: String,
    pub(crate) external_id: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) changed_at: Timestamp,
    pub(crate) version: u64,
}

impl ScimGroup {
    /// What rules may call it: its name, or what the provider calls it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.display_name.as_str()).chain(self.external_id.as_deref())
    }
}

/// Which groups are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'w> {
    All,
    Id(&'w str),
    /// By `displayName`, without regard to case.
    DisplayName(&'w str),
    ExternalId(&'w str),
    /// Those behind it, by id.
    Behind(&'w str),
}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
) -> Result<(), StorageError> {
    Entity::insert(row_of(group)).exec_without_returning(db).await?;
    Ok(())
}

/// Writes everything that can change but the members, if nobody else did since
/// `group.version - 1`.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
) -> Result<bool, StorageError> {
    let updated = Entity::update_many()
        .set(row_of(group))
        .filter(of(&group.tenant, &group.connection))
        .filter(Column::Id.eq(group.id.as_str()))
        .filter(Column::Version.eq(signed(group.version.saturating_sub(1))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    id: &str,
) -> Result<Option<ScimGroup>, StorageError> {
    Ok(some(db, tenant, connection, Which::Id(id), 0, 1).await?.pop())
}

pub(crate) async fn count(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<u64, StorageError> {
    Ok(Entity::find().filter(of(tenant, connection)).count(db).await?)
}

/// Up to `limit` of the groups asked for, by ascending id, without the first `offset`.
pub(crate) async fn some(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    which: Which<'_>,
    offset: u64,
    limit: u64,
) -> Result<Vec<ScimGroup>, StorageError> {
    let mut query = Entity::find().filter(of(tenant, connection));
    query = match which {
        Which::All => query,
        Which::Id(id) => query.filter(Column::Id.eq(id)),
        Which::DisplayName(name) => query.filter(Column::NameKey.eq(name_key(name))),
        Which::ExternalId(id) => query.filter(Column::ExternalId.eq(id)),
        Which::Behind(id) => query.filter(Column::Id.gt(id)),
    };
    let rows = query.order_by_asc(Column::Id).offset(offset).limit(limit).all(db).await?;
    rows.iter().map(ScimGroup::try_from).collect()
}

/// Deletes a group. Its members stay users.
pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
) -> Result<(), StorageError> {
    let of_group = members_of(&group.tenant, &group.connection);
    let of_group = of_group.add(members::Column::GroupId.eq(group.id.as_str()));
    members::Entity::delete_many().filter(of_group).exec(db).await?;
    let one = Entity::delete_many().filter(of(&group.tenant, &group.connection));
    one.filter(Column::Id.eq(group.id.as_str())).exec(db).await?;
    Ok(())
}

/// Forgets every group of a connection.
pub(crate) async fn forget_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<(), StorageError> {
    members::Entity::delete_many().filter(members_of(tenant, connection)).exec(db).await?;
    Entity::delete_many().filter(of(tenant, connection)).exec(db).await?;
    Ok(())
}

/// Who is in each of `groups`, by group.
pub(crate) async fn members(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    groups: &[String],
) -> Result<BTreeMap<String, Vec<UserId>>, StorageError> {
    let mut all = BTreeMap::<String, Vec<UserId>>::new();
    for some in groups.chunks(MANY) {
        let rows = members::Entity::find()
            .filter(members_of(tenant, connection))
            .filter(members::Column::GroupId.is_in(some.iter().map(String::as_str)))
            .order_by_asc(members::Column::UserId)
            .all(db)
            .await?;
        for row in rows {
            let id = row.user_id.parse().map_err(|_| corrupt(&row.group_id, "user_id"))?;
            all.entry(row.group_id).or_default().push(id);
        }
    }
    Ok(all)
}

/// The ids of who is in a group.
pub(crate) async fn member_ids(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
) -> Result<BTreeSet<String>, StorageError> {
    let ids: Vec<String> = members::Entity::find()
        .filter(members_of(&group.tenant, &group.connection))
        .filter(members::Column::GroupId.eq(group.id.as_str()))
        .select_only()
        .column(members::Column::UserId)
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids.into_iter().collect())
}

/// The groups of each of `users`, by user.
pub(crate) async fn of_users(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    users: &[&str],
) -> Result<BTreeMap<String, Vec<ScimGroup>>, StorageError> {
    let mut all = BTreeMap::<String, Vec<ScimGroup>>::new();
    for some in users.chunks(MANY) {
        let group = members::Entity::belongs_to(Entity)
            .from((
                members::Column::TenantId,
                members::Column::ConnectionId,
                members::Column::GroupId,
            ))
            .to((Column::TenantId, Column::ConnectionId, Column::Id))
            .into();
        let rows = members::Entity::find()
            .filter(members_of(tenant, connection))
            .filter(members::Column::UserId.is_in(some.iter().copied()))
            .join(JoinType::InnerJoin, group)
            .select_also(Entity)
            .order_by_asc(members::Column::GroupId)
            .all(db)
            .await?;
        for (row, group) in rows {
            let group = group.ok_or_else(|| corrupt(&row.group_id, "id"))?;
            all.entry(row.user_id).or_default().push(ScimGroup::try_from(&group)?);
        }
    }
    Ok(all)
}

/// What the rules of a connection may call the groups that `user` is in.
pub(crate) async fn names_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    user: &UserId,
) -> Result<Vec<String>, StorageError> {
    let groups = of_users(db, tenant, connection, &[user.as_str()]).await?;
    let groups = groups.into_values().flatten();
    Ok(groups.flat_map(|group| group.names().map(str::to_owned).collect::<Vec<_>>()).collect())
}

/// Puts users of the connection into a group; who is in it stays.
pub(crate) async fn add_members(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
    users: &[&str],
) -> Result<(), StorageError> {
    for some in users.chunks(MANY) {
        let rows = some.iter().map(|user| members::ActiveModel {
            tenant_id: Set(group.tenant.as_str().to_owned()),
            connection_id: Set(group.connection.as_str().to_owned()),
            group_id: Set(group.id.clone()),
            user_id: Set((*user).to_owned()),
        });
        let there = OnConflict::columns([
            members::Column::TenantId,
            members::Column::ConnectionId,
            members::Column::GroupId,
            members::Column::UserId,
        ])
        .do_nothing()
        .to_owned();
        members::Entity::insert_many(rows).on_conflict(there).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Takes users out of a group.
pub(crate) async fn remove_members(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
    users: &[&str],
) -> Result<(), StorageError> {
    for some in users.chunks(MANY) {
        members::Entity::delete_many()
            .filter(members_of(&group.tenant, &group.connection))
            .filter(members::Column::GroupId.eq(group.id.as_str()))
            .filter(members::Column::UserId.is_in(some.iter().copied()))
            .exec(db)
            .await?;
    }
    Ok(())
}

/// Both databases bound how many values one statement may carry.
const MANY: usize = 500;

fn of(tenant: &TenantId, connection: &ConnectionId) -> Condition {
    Condition::all()
        .add(Column::TenantId.eq(tenant.as_str()))
        .add(Column::ConnectionId.eq(connection.as_str()))
}

fn members_of(tenant: &TenantId, connection: &ConnectionId) -> Condition {
    Condition::all()
        .add(members::Column::TenantId.eq(tenant.as_str()))
        .add(members::Column::ConnectionId.eq(connection.as_str()))
}

fn row_of(group: &ScimGroup) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(group.tenant.as_str().to_owned()),
        connection_id: Set(group.connection.as_str().to_owned()),
        id: Set(group.id.clone()),
        display_name: Set(group.display_name.clone()),
        name_key: Set(name_key(&group.display_name)),
        external_id: Set(group.external_id.clone()),
        created_at: Set(signed(group.created_at.0)),
        changed_at: Set(signed(group.changed_at.0)),
        version: Set(signed(group.version)),
    }
}

fn corrupt(group: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "scim_groups", row: group.to_owned(), column }
}

impl TryFrom<&Model> for ScimGroup {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.id, column);
        Ok(Self {
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            connection: row.connection_id.parse().map_err(|_| corrupt("connection_id"))?,
            id: row.id.clone(),
            display_name: row.display_name.clone(),
            external_id: row.external_id.clone(),
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
            version: unsigned(row.version),
        })
    }
}
