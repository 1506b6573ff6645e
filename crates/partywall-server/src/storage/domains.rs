//! The table of domains: claimed by tenants, any of them by many, and proved for one at most.

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, ExprTrait, QueryOrder, QuerySelect, entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::{
    control::{ConnectionId, Domain, DomainSeen},
    federation::domains::DomainName,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "domains")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) domain: String,
    pub(crate) token: String,
    pub(crate) connection_id: Option<String>,
    pub(crate) verified_at: Option<i64>,
    pub(crate) checked_at: Option<i64>,
    pub(crate) seen: Option<String>,
    pub(crate) due_at: Option<i64>,
    pub(crate) failing_since: Option<i64>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Writes down a claim. [`StorageError::Duplicate`], where the tenant claims it already.
pub(crate) async fn insert(db: &impl ConnectionTrait, domain: &Domain) -> Result<(), StorageError> {
    Entity::insert(row_of(domain)).exec_without_returning(db).await?;
    Ok(())
}

/// Writes everything that can change, if the claim still is the one that was read: of the same
/// token, and at `domain.version - 1`. [`StorageError::Duplicate`], where it would be proved for a
/// second tenant.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    domain: &Domain,
) -> Result<bool, StorageError> {
    let updated = Entity::update_many()
        .set(row_of(domain))
        .filter(Column::TenantId.eq(domain.tenant.as_str()))
        .filter(Column::Domain.eq(domain.name.as_str()))
        .filter(Column::Token.eq(domain.token.as_str()))
        .filter(Column::Version.eq(signed(domain.version.saturating_sub(1))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    name: &DomainName,
) -> Result<Option<Domain>, StorageError> {
    let key = (tenant.as_str().to_owned(), name.as_str().to_owned());
    let row = Entity::find_by_id(key).only(db).await?;
    row.as_ref().map(Domain::try_from).transpose()
}

/// For whom a domain is proved, and which of their connections people with an address there are
/// sent to. One look into one index, whether it is anybody's or nobody's (I-20).
pub(crate) async fn proved(
    db: &impl ConnectionTrait,
    name: &DomainName,
) -> Result<Option<(TenantId, Option<ConnectionId>)>, StorageError> {
    let row = Entity::find()
        .filter(Column::Domain.eq(name.as_str()))
        .filter(Column::VerifiedAt.is_not_null())
        .only(db)
        .await?;
    let domain = row.as_ref().map(Domain::try_from).transpose()?;
    Ok(domain.map(|domain| (domain.tenant, domain.connection)))
}

/// Whether a domain is proved for that tenant: then its connections may speak of addresses there
/// (F-03).
pub(crate) async fn is_proved_for(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    name: &DomainName,
) -> Result<bool, StorageError> {
    let key = (tenant.as_str().to_owned(), name.as_str().to_owned());
    let row = Entity::find_by_id(key).only(db).await?;
    Ok(row.is_some_and(|row| row.verified_at.is_some()))
}

/// Up to `limit` domains of a tenant by name, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    after: Option<&DomainName>,
    limit: u64,
) -> Result<Vec<Domain>, StorageError> {
    let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str()));
    if let Some(after) = after {
        query = query.filter(Column::Domain.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::Domain).limit(limit).all(db).await?;
    rows.iter().map(Domain::try_from).collect()
}

/// How many a tenant claims.
pub(crate) async fn count(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<u64, StorageError> {
    Ok(Entity::find().filter(Column::TenantId.eq(tenant.as_str())).count(db).await?)
}

pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    name: &DomainName,
) -> Result<(), StorageError> {
    let key = (tenant.as_str().to_owned(), name.as_str().to_owned());
    Entity::delete_by_id(key).exec(db).await?;
    Ok(())
}

/// Leads nobody to a connection any more.
pub(crate) async fn forget_connection(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::ConnectionId, Expr::value(None::<String>))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::ConnectionId.eq(connection.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// The proofs that are due to be looked at again, whoever they are of: the longest due first.
pub(crate) async fn due(
    db: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Domain>, StorageError> {
    let rows = Entity::find()
        .filter(Column::DueAt.lte(signed(now.0)))
        .order_by_asc(Column::DueAt)
        .limit(limit)
        .all(db)
        .await?;
    rows.iter().map(Domain::try_from).collect()
}

/// Takes a proof that is due for this server to look at, until `until`; not, if another was faster.
pub(crate) async fn take(
    db: &impl ConnectionTrait,
    domain: &Domain,
    until: Timestamp,
) -> Result<bool, StorageError> {
    let taken = Entity::update_many()
        .col_expr(Column::DueAt, Expr::value(signed(until.0)))
        .filter(Column::TenantId.eq(domain.tenant.as_str()))
        .filter(Column::Domain.eq(domain.name.as_str()))
        .filter(Column::Version.eq(signed(domain.version)))
        .filter(Column::DueAt.eq(domain.due_at.map(|at| signed(at.0))))
        .exec(db)
        .await?;
    Ok(taken.rows_affected == 1)
}

fn row_of(domain: &Domain) -> ActiveModel {
    let time = |at: Option<Timestamp>| at.map(|at| signed(at.0));
    ActiveModel {
        tenant_id: Set(domain.tenant.as_str().to_owned()),
        domain: Set(domain.name.as_str().to_owned()),
        token: Set(domain.token.clone()),
        connection_id: Set(domain.connection.as_ref().map(|id| id.as_str().to_owned())),
        verified_at: Set(time(domain.verified_at)),
        checked_at: Set(time(domain.checked_at)),
        seen: Set(domain.seen.map(|seen| seen.as_str().to_owned())),
        due_at: Set(time(domain.due_at)),
        failing_since: Set(time(domain.failing_since)),
        version: Set(signed(domain.version)),
        created_at: Set(signed(domain.created_at.0)),
    }
}

impl TryFrom<&Model> for Domain {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt {
            table: "domains",
            row: format!("{} {}", row.tenant_id, row.domain),
            column,
        };
        let time = |at: Option<i64>| at.map(|at| Timestamp(unsigned(at)));
        let connection = row.connection_id.as_deref().map(str::parse).transpose();
        let seen = row.seen.as_deref().map(|seen| {
            let all = DomainSeen::ALL.into_iter();
            all.into_iter().find(|one| one.as_str() == seen).ok_or_else(|| corrupt("seen"))
        });
        Ok(Self {
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            name: DomainName::stored(&row.domain).ok_or_else(|| corrupt("domain"))?,
            token: row.token.clone(),
            connection: connection.map_err(|_| corrupt("connection_id"))?,
            verified_at: time(row.verified_at),
            checked_at: time(row.checked_at),
            seen: seen.transpose()?,
            due_at: time(row.due_at),
            failing_since: time(row.failing_since),
            version: unsigned(row.version),
            created_at: Timestamp(unsigned(row.created_at)),
        })
    }
}
