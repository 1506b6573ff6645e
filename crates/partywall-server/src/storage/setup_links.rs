//! The table of setup links: each redeemed once, for one browser.

use partywall::{TenantId, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};
use crate::{
    control::{Intent, SetupLink},
    portal::Progress,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setup_links")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) intent: String,
    pub(crate) connection_id: String,
    pub(crate) progress: String,
    pub(crate) redeemed_at: Option<i64>,
    pub(crate) session_hash: Option<Vec<u8>>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A link as it is kept, with the hashes of what its holders must know.
pub(crate) struct Kept {
    pub(crate) link: SetupLink,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) session_hash: Option<Vec<u8>>,
    pub(crate) progress: Progress,
}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    link: &SetupLink,
    secret_hash: Vec<u8>,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        tenant_id: Set(link.tenant.as_str().to_owned()),
        id: Set(link.id.clone()),
        secret_hash: Set(secret_hash),
        intent: Set(link.intent.as_str().to_owned()),
        connection_id: Set(link.connection.as_str().to_owned()),
        progress: Set("{}".to_owned()),
        redeemed_at: Set(None),
        session_hash: Set(None),
        created_at: Set(signed(link.created_at.0)),
        expires_at: Set(signed(link.expires_at.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The link of that id, redeemed or not, unless it has run out.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
    now: Timestamp,
) -> Result<Option<Kept>, StorageError> {
    let row = Entity::find()
        .filter(at(tenant, id))
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .only(db)
        .await?;
    row.map(Kept::try_from).transpose()
}

/// Redeems a link for a session that lasts until `until`. Of any number of tries one is the first.
pub(crate) async fn redeem(
    db: &impl ConnectionTrait,
    (tenant, id): (&TenantId, &str),
    secret_hash: &[u8],
    session_hash: Vec<u8>,
    (now, until): (Timestamp, Timestamp),
) -> Result<bool, StorageError> {
    let redeemed = Entity::update_many()
        .col_expr(Column::RedeemedAt, Expr::value(signed(now.0)))
        .col_expr(Column::SessionHash, Expr::value(session_hash))
        .col_expr(Column::ExpiresAt, Expr::value(signed(until.0)))
        .filter(at(tenant, id))
        .filter(Column::SecretHash.eq(secret_hash))
        .filter(Column::RedeemedAt.is_null())
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .exec(db)
        .await?;
    Ok(redeemed.rows_affected == 1)
}

/// Keeps what the session has got to.
pub(crate) async fn set_progress(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
    progress: &Progress,
) -> Result<(), StorageError> {
    let progress = serde_json::to_string(progress).map_err(|_| corrupt(id, "progress"))?;
    Entity::update_many()
        .col_expr(Column::Progress, Expr::value(progress))
        .filter(at(tenant, id))
        .exec(db)
        .await?;
    Ok(())
}

/// Ends a link, and the session it was redeemed for. `false`, where there is none.
pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
) -> Result<bool, StorageError> {
    Ok(Entity::delete_many().filter(at(tenant, id)).exec(db).await?.rows_affected == 1)
}

fn at(tenant: &TenantId, id: &str) -> sea_orm::Condition {
    sea_orm::Condition::all().add(Column::TenantId.eq(tenant.as_str())).add(Column::Id.eq(id))
}

impl TryFrom<Model> for Kept {
    type Error = StorageError;

    fn try_from(row: Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.id, column);
        let link = SetupLink {
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            id: row.id.clone(),
            intent: Intent::ALL
                .into_iter()
                .find(|intent| intent.as_str() == row.intent)
                .ok_or_else(|| corrupt("intent"))?,
            connection: row.connection_id.parse().map_err(|_| corrupt("connection_id"))?,
            redeemed_at: row.redeemed_at.map(|at| Timestamp(unsigned(at))),
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
        };
        Ok(Self {
            link,
            progress: serde_json::from_str(&row.progress).map_err(|_| corrupt("progress"))?,
            secret_hash: row.secret_hash,
            session_hash: row.session_hash,
        })
    }
}

fn corrupt(id: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "setup_links", row: id.to_owned(), column }
}
