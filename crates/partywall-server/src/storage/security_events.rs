//! The table of what happened at the door: sign-ins, refusals, families of tokens killed (L-01).

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::{StorageError, signed};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "security_events")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) tenant_id: Option<String>,
    pub(crate) event: String,
    pub(crate) outcome: String,
    pub(crate) subject: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) detail: String,
    pub(crate) request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Something that happened at the door. Never a token, a code or a secret (L-02).
pub(crate) struct SecurityEvent<'e> {
    pub(crate) tenant: Option<&'e TenantId>,
    /// `thing.what_happened`.
    pub(crate) event: &'static str,
    /// `success`, or a word for why not.
    pub(crate) outcome: &'e str,
    /// The user or machine it is about.
    pub(crate) subject: Option<&'e str>,
    pub(crate) client: Option<&'e str>,
    pub(crate) detail: serde_json::Value,
}

pub(crate) async fn record(
    db: &impl ConnectionTrait,
    event: &SecurityEvent<'_>,
    now: Timestamp,
) -> Result<(), StorageError> {
    record_of_request(db, event, None, now).await
}

/// As [`record`], with the id of the request it happened in.
pub(crate) async fn record_of_request(
    db: &impl ConnectionTrait,
    event: &SecurityEvent<'_>,
    request_id: Option<&str>,
    now: Timestamp,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: NotSet,
        at: Set(signed(now.0)),
        tenant_id: Set(event.tenant.map(|tenant| tenant.as_str().to_owned())),
        event: Set(event.event.to_owned()),
        outcome: Set(event.outcome.to_owned()),
        subject: Set(event.subject.map(str::to_owned)),
        client_id: Set(event.client.map(str::to_owned)),
        detail: Set(event.detail.to_string()),
        request_id: Set(request_id.map(str::to_owned)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Up to `limit` events of one tenant, newest first, from the one before `before`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<Model>, StorageError> {
    let mut query = Entity::find()
        .filter(Column::TenantId.eq(tenant.as_str()))
        .order_by_desc(Column::Id)
        .limit(limit);
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    Ok(query.all(db).await?)
}
