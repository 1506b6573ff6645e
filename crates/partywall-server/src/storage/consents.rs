//! The table of consents: what a user has agreed to let a client have (O-20).

use std::collections::BTreeSet;

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*,
    sea_query::OnConflict,
};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{ApplicationId, Scope, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consents")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) user_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) client_id: String,
    pub(crate) scopes: String,
    pub(crate) given_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a user has agreed to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Consent {
    pub(crate) client: ApplicationId,
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) given_at: Timestamp,
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    client: &ApplicationId,
) -> Result<Option<Consent>, StorageError> {
    let key = (tenant.to_string(), user.to_string(), client.to_string());
    let row = Entity::find_by_id(key).only(db).await?;
    row.as_ref().map(Consent::try_from).transpose()
}

/// A user's consents; there is one per client, and few.
pub(crate) async fn of_user(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Vec<Consent>, StorageError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::UserId.eq(user.as_str()))
        .order_by_asc(Column::ClientId)
        .limit(1_000)
        .all(db)
        .await?;
    rows.iter().map(Consent::try_from).collect()
}

pub(crate) async fn put(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    consent: &Consent,
) -> Result<(), StorageError> {
    let scopes = serde_json::to_string(&consent.scopes).map_err(|_| corrupt("scopes"))?;
    let row = ActiveModel {
        tenant_id: Set(tenant.to_string()),
        user_id: Set(user.to_string()),
        client_id: Set(consent.client.to_string()),
        scopes: Set(scopes),
        given_at: Set(signed(consent.given_at.0)),
    };
    let instead = OnConflict::columns([Column::TenantId, Column::UserId, Column::ClientId])
        .update_columns([Column::Scopes, Column::GivenAt])
        .to_owned();
    Entity::insert(row).on_conflict(instead).exec_without_returning(db).await?;
    Ok(())
}

/// Takes a consent back; `false` when there was none.
pub(crate) async fn remove(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    client: &ApplicationId,
) -> Result<bool, StorageError> {
    let key = (tenant.to_string(), user.to_string(), client.to_string());
    Ok(Entity::delete_by_id(key).exec(db).await?.rows_affected == 1)
}

impl TryFrom<&Model> for Consent {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        Ok(Self {
            client: row.client_id.parse().map_err(|_| corrupt("client_id"))?,
            scopes: serde_json::from_str(&row.scopes).map_err(|_| corrupt("scopes"))?,
            given_at: Timestamp(unsigned(row.given_at)),
        })
    }
}

fn corrupt(column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "consents", row: "of a user".to_owned(), column }
}
