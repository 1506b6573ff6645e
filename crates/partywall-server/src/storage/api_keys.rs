//! The table of API keys. Every question names the tenant, which is in the key's text.

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, ExprTrait, QueryOrder, QuerySelect, entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{ApiKey, ApiKeyHash, ApiKeyHolder, ApiKeyId, ApiKeyStatus};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) roles: Option<String>,
    pub(crate) scopes: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    key: &ApiKey,
    hash: &ApiKeyHash,
) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(key.id.as_str(), column);
    let roles = key.roles.as_ref().map(serde_json::to_string).transpose();
    let row = ActiveModel {
        id: Set(key.id.as_str().to_owned()),
        tenant_id: Set(key.tenant.as_str().to_owned()),
        subject: Set(key.holder.as_str().to_owned()),
        name: Set(key.name.clone()),
        status: Set(key.status.as_str().to_owned()),
        secret_hash: Set(hash.as_bytes().to_vec()),
        roles: Set(roles.map_err(|_| corrupt("roles"))?),
        scopes: Set(serde_json::to_string(&key.scopes).map_err(|_| corrupt("scopes"))?),
        created_at: Set(signed(key.created_at.0)),
        expires_at: Set(signed(key.expires_at.0)),
        used_at: Set(key.used_at.map(|at| signed(at.0))),
        version: Set(signed(key.version)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The tenant's key of that id, whatever its status.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ApiKeyId,
) -> Result<Option<ApiKey>, StorageError> {
    let row = Entity::find().filter(at(tenant, id)).only(db).await?;
    row.as_ref().map(ApiKey::try_from).transpose()
}

/// What the token endpoint needs. Nothing but the hash is read before the caller has shown to know
/// the secret.
pub(crate) struct Candidate(Model);

/// The tenant's key of that id, if it is good at all.
pub(crate) async fn candidate(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ApiKeyId,
    now: Timestamp,
) -> Result<Option<Candidate>, StorageError> {
    let row = Entity::find()
        .filter(at(tenant, id))
        .filter(Column::Status.eq(ApiKeyStatus::Active.as_str()))
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .only(db)
        .await?;
    Ok(row.map(Candidate))
}

impl Candidate {
    pub(crate) fn hash(&self) -> &[u8] {
        &self.0.secret_hash
    }

    /// Reads the rest, for a caller that knows the secret.
    pub(crate) fn authenticated(&self) -> Result<ApiKey, StorageError> {
        ApiKey::try_from(&self.0)
    }
}

/// Up to `limit` keys of a tenant, or of one of its principals, by ascending id, from the one
/// behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    holder: Option<&ApiKeyHolder>,
    after: Option<&ApiKeyId>,
    limit: u64,
) -> Result<Vec<ApiKey>, StorageError> {
    let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str()));
    if let Some(holder) = holder {
        query = query.filter(Column::Subject.eq(holder.as_str()));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(db).await?;
    rows.iter().map(ApiKey::try_from).collect()
}

/// Ends a key for good: its secret is gone. `false` when it has ended already, or is another
/// tenant's.
pub(crate) async fn revoke(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ApiKeyId,
) -> Result<bool, StorageError> {
    let revoked = Entity::update_many()
        .col_expr(Column::Status, Expr::value(ApiKeyStatus::Revoked.as_str()))
        .col_expr(Column::SecretHash, Expr::value(Vec::<u8>::new()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(at(tenant, id))
        .filter(Column::Status.eq(ApiKeyStatus::Active.as_str()))
        .exec(db)
        .await?;
    Ok(revoked.rows_affected == 1)
}

/// Ends every key of one holder for good, and says how many those were.
pub(crate) async fn revoke_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    holder: &ApiKeyHolder,
) -> Result<u64, StorageError> {
    let revoked = Entity::update_many()
        .col_expr(Column::Status, Expr::value(ApiKeyStatus::Revoked.as_str()))
        .col_expr(Column::SecretHash, Expr::value(Vec::<u8>::new()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::Subject.eq(holder.as_str()))
        .filter(Column::Status.eq(ApiKeyStatus::Active.as_str()))
        .exec(db)
        .await?;
    Ok(revoked.rows_affected)
}

/// Notes that a key was used.
pub(crate) async fn note_use(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &ApiKeyId,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(at(tenant, id))
        .exec(db)
        .await?;
    Ok(())
}

fn at(tenant: &TenantId, id: &ApiKeyId) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::Id.eq(id.as_str()))
        .add(Column::TenantId.eq(tenant.as_str()))
}

fn corrupt(id: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "api_keys", row: id.to_owned(), column }
}

impl TryFrom<&Model> for ApiKey {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.id, column);
        let roles = row.roles.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            holder: row.subject.parse().map_err(|_| corrupt("subject"))?,
            name: row.name.clone(),
            status: match row.status.as_str() {
                "active" => ApiKeyStatus::Active,
                "revoked" => ApiKeyStatus::Revoked,
                _ => return Err(corrupt("status")),
            },
            roles: roles.map_err(|_| corrupt("roles"))?,
            scopes: serde_json::from_str(&row.scopes).map_err(|_| corrupt("scopes"))?,
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
            used_at: row.used_at.map(|at| Timestamp(unsigned(at))),
            version: unsigned(row.version),
        })
    }
}
