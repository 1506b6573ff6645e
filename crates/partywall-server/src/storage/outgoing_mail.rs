//! The table of mail that waits to be sent.

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, ExprTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::{StorageError, signed, unsigned};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outgoing_mail")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: Option<String>,
    pub(crate) kind: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) tries: i32,
    pub(crate) due_at: i64,
    pub(crate) give_up_at: i64,
    pub(crate) created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A letter that is due.
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) tries: u32,
    due_at: i64,
    pub(crate) give_up_at: Timestamp,
}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    kind: &str,
    sealed: Vec<u8>,
    now: Timestamp,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: NotSet,
        tenant_id: Set(tenant.map(ToString::to_string)),
        kind: Set(kind.to_owned()),
        sealed: Set(sealed),
        tries: Set(0),
        due_at: Set(signed(now.0)),
        give_up_at: Set(signed((now + GIVE_UP_AFTER).0)),
        created_at: Set(signed(now.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Up to `limit` letters that are due, the longest due first.
pub(crate) async fn due(
    db: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Due>, StorageError> {
    let rows = Entity::find()
        .filter(Column::DueAt.lte(signed(now.0)))
        .order_by_asc(Column::DueAt)
        .limit(limit)
        .all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Due {
            id: row.id,
            kind: row.kind,
            sealed: row.sealed,
            tries: u32::try_from(row.tries).unwrap_or(0),
            due_at: row.due_at,
            give_up_at: Timestamp(unsigned(row.give_up_at)),
        })
        .collect())
}

/// Takes a letter for this server until `until`, when it is due again. Of several servers one
/// gets it.
pub(crate) async fn claim(
    db: &impl ConnectionTrait,
    due: &Due,
    until: Timestamp,
) -> Result<bool, StorageError> {
    let claimed = Entity::update_many()
        .col_expr(Column::DueAt, Expr::value(signed(until.0)))
        .col_expr(Column::Tries, Expr::col(Column::Tries).add(1))
        .filter(Column::Id.eq(due.id))
        .filter(Column::DueAt.eq(due.due_at))
        .exec(db)
        .await?;
    Ok(claimed.rows_affected == 1)
}

/// Forgets a letter that was sent, or that nobody will ever take.
pub(crate) async fn remove(db: &impl ConnectionTrait, id: i64) -> Result<(), StorageError> {
    Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

/// A link in it would have expired by then.
const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 3600);
