//! The tables of back-channel logout: which applications want to hear of a session's end, and whom
//! to tell (OIDC Back-Channel Logout 1.0). What is to be told is written down by the statement
//! after the one that ends the session, in its transaction: there is no end that nobody hears of.

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, ExprTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Alias, OnConflict, Query},
};

use super::{StorageError, sessions::proofs, signed};
use crate::control::{ApplicationId, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outgoing_logouts")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    pub(crate) sid: String,
    pub(crate) tries: i32,
    pub(crate) due_at: i64,
    pub(crate) give_up_at: i64,
    pub(crate) created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Who wants to hear of the end of which session.
pub(crate) mod listeners {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "session_clients")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) sid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) client_id: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A logout that is due to be told.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) tenant: TenantId,
    pub(crate) client: ApplicationId,
    pub(crate) user: UserId,
    pub(crate) sid: String,
    pub(crate) tries: u32,
    due_at: i64,
}

/// Notes that an application got tokens in a session and wants to hear of its end. Doing so again
/// changes nothing.
pub(crate) async fn note(
    db: &impl ConnectionTrait,
    sid: &str,
    client: &ApplicationId,
) -> Result<(), StorageError> {
    let row = listeners::ActiveModel {
        sid: Set(sid.to_owned()),
        client_id: Set(client.as_str().to_owned()),
    };
    let key = [listeners::Column::Sid, listeners::Column::ClientId];
    listeners::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Writes down whom to tell that sessions have ended.
///
/// `INSERT INTO outgoing_logouts (…) SELECT p.tenant_id, c.client_id, p.user_id, p.sid, 0, ?, ?, ?
/// FROM session_clients c JOIN session_proofs p ON p.sid = c.sid WHERE p.sid IN (?) AND
/// p.tenant_id = ?`
pub(super) async fn queue(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sids: &[String],
    now: Timestamp,
) -> Result<(), StorageError> {
    if sids.is_empty() {
        return Ok(());
    }
    queue_where(db, tenant, proof_column(proofs::Column::Sid).is_in(sids), now).await
}

/// As [`queue`], for every session of a tenant that ended at `now`. One that did so a moment before
/// is told of twice.
pub(super) async fn queue_ended_at(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<(), StorageError> {
    let ended = proof_column(proofs::Column::EndedAt).eq(signed(now.0));
    queue_where(db, tenant, ended, now).await
}

fn proof_column(column: proofs::Column) -> Expr {
    Expr::col((Alias::new("session_proofs"), column))
}

async fn queue_where(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    which: Expr,
    now: Timestamp,
) -> Result<(), StorageError> {
    let (client, of) = (Alias::new("session_clients"), proof_column);
    let told = Query::select()
        .expr(of(proofs::Column::TenantId))
        .expr(Expr::col((client.clone(), listeners::Column::ClientId)))
        .expr(of(proofs::Column::UserId))
        .expr(of(proofs::Column::Sid))
        .expr(Expr::value(0_i32))
        .expr(Expr::value(signed(now.0)))
        .expr(Expr::value(signed((now + GIVE_UP_AFTER).0)))
        .expr(Expr::value(signed(now.0)))
        .from(listeners::Entity)
        .inner_join(
            proofs::Entity,
            of(proofs::Column::Sid).equals((client, listeners::Column::Sid)),
        )
        .and_where(which)
        .and_where(of(proofs::Column::TenantId).eq(tenant.as_str()))
        .to_owned();
    let mut insert = Query::insert();
    insert.into_table(Entity).columns([
        Column::TenantId,
        Column::ClientId,
        Column::UserId,
        Column::Sid,
        Column::Tries,
        Column::DueAt,
        Column::GiveUpAt,
        Column::CreatedAt,
    ]);
    insert
        .select_from(told)
        .map_err(|error| DbErr::Query(RuntimeErr::Internal(error.to_string())))?;
    db.execute(&insert).await?;
    Ok(())
}

/// Up to `limit` applications for which something is due, the longest due first.
pub(crate) async fn clients_due(
    db: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<ApplicationId>, StorageError> {
    let clients: Vec<String> = Entity::find()
        .select_only()
        .column(Column::ClientId)
        .filter(Column::DueAt.lte(signed(now.0)))
        .group_by(Column::ClientId)
        .order_by_asc(Column::DueAt.min())
        .limit(limit)
        .into_tuple()
        .all(db)
        .await?;
    let read = |client: String| {
        let corrupt = StorageError::Corrupt {
            table: "outgoing_logouts",
            row: client.clone(),
            column: "client_id",
        };
        client.parse().map_err(|_| corrupt)
    };
    clients.into_iter().map(read).collect()
}

/// Up to `limit` logouts that are due for one application, the longest due first.
pub(crate) async fn due(
    db: &impl ConnectionTrait,
    client: &ApplicationId,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Due>, StorageError> {
    let rows = Entity::find()
        .filter(Column::ClientId.eq(client.as_str()))
        .filter(Column::DueAt.lte(signed(now.0)))
        .order_by_asc(Column::DueAt)
        .limit(limit)
        .all(db)
        .await?;
    rows.into_iter().map(Due::try_from).collect()
}

/// Takes a logout for this server until `until`, when it is due again. Of several servers one gets
/// it.
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

/// Puts off everything due that an application is to be told, after it did not take one: others'
/// logouts do not wait behind an application that is down.
pub(crate) async fn put_off(
    db: &impl ConnectionTrait,
    client: &ApplicationId,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::value(signed(until.0)))
        .filter(Column::ClientId.eq(client.as_str()))
        .filter(Column::DueAt.lte(signed(now.0)))
        .exec(db)
        .await?;
    Ok(())
}

/// Forgets what an application was told in vain for long enough, after it did not take one again,
/// and says how much that was.
pub(crate) async fn give_up(
    db: &impl ConnectionTrait,
    client: &ApplicationId,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let given_up = Entity::delete_many()
        .filter(Column::ClientId.eq(client.as_str()))
        .filter(Column::GiveUpAt.lte(signed(now.0)))
        .exec(db)
        .await?;
    Ok(given_up.rows_affected)
}

/// Forgets a logout that was told.
pub(crate) async fn remove(db: &impl ConnectionTrait, id: i64) -> Result<(), StorageError> {
    Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

impl TryFrom<Model> for Due {
    type Error = StorageError;

    fn try_from(row: Model) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt {
            table: "outgoing_logouts",
            row: row.id.to_string(),
            column,
        };
        Ok(Self {
            id: row.id,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            client: row.client_id.parse().map_err(|_| corrupt("client_id"))?,
            user: row.user_id.parse().map_err(|_| corrupt("user_id"))?,
            sid: row.sid,
            tries: u32::try_from(row.tries).unwrap_or(0),
            due_at: row.due_at,
        })
    }
}

/// Whoever was down for that long has lost the session in other ways.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
