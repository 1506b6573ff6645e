//! Who changed what, when, for which tenant. Appended in the transaction of the change itself.

use partywall::{TenantId, Timestamp, bundle::Generation};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::control::Actor;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) actor_kind: String,
    pub(crate) actor: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) action: String,
    pub(crate) detail: String,
    pub(crate) generation: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What is said of one change.
pub(crate) struct AuditEvent<'e> {
    pub(crate) actor: &'e Actor,
    pub(crate) tenant: Option<&'e TenantId>,
    /// What was done, as `resource.verb`.
    pub(crate) action: &'static str,
    /// What it was done to. Never a secret, never a token.
    pub(crate) detail: serde_json::Value,
}

pub(super) async fn append(
    db: &impl ConnectionTrait,
    event: AuditEvent<'_>,
    now: Timestamp,
    generation: Generation,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: NotSet,
        at: Set(signed(now.0)),
        actor_kind: Set(event.actor.kind().to_owned()),
        actor: Set(event.actor.name().to_owned()),
        tenant_id: Set(event.tenant.map(|tenant| tenant.as_str().to_owned())),
        action: Set(event.action.to_owned()),
        detail: Set(event.detail.to_string()),
        generation: Set(signed(generation.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// When a generation was reached; `None` when there is no such generation.
pub(crate) async fn time_of(
    db: &impl ConnectionTrait,
    generation: Generation,
) -> Result<Option<Timestamp>, StorageError> {
    // Each generation has exactly one event.
    let of_it = Entity::find().filter(Column::Generation.eq(signed(generation.0)));
    Ok(of_it.only(db).await?.map(|row| Timestamp(unsigned(row.at))))
}

/// The latest events of one tenant, newest first.
pub(crate) async fn latest_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    limit: u64,
) -> Result<Vec<Model>, StorageError> {
    Ok(Entity::find()
        .filter(Column::TenantId.eq(tenant.as_str()))
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db)
        .await?)
}

/// Up to `limit` events of one tenant, or of none, newest first, from the one before `before`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<Model>, StorageError> {
    let mut query = Entity::find().order_by_desc(Column::Id).limit(limit);
    query = match tenant {
        Some(tenant) => query.filter(Column::TenantId.eq(tenant.as_str())),
        None => query.filter(Column::TenantId.is_null()),
    };
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    Ok(query.all(db).await?)
}
