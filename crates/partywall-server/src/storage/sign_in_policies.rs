//! The table of sign-in policies. A tenant without a row has the defaults.

use partywall::{Slug, TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, JoinType, QueryOrder, QuerySelect, entity::prelude::*,
    sea_query::OnConflict,
};

use super::{Only, StorageError, signed, tenants};
pub(crate) use crate::control::SignInSettings;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_policies")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    pub(crate) policy: String,
    pub(crate) branding: String,
    pub(crate) own_issuer: bool,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<SignInSettings, StorageError> {
    match Entity::find_by_id(tenant.as_str()).only(db).await? {
        Some(row) => SignInSettings::try_from(&row),
        None => Ok(SignInSettings::default()),
    }
}

/// The tenants that have an issuer of their own, and what they are called.
pub(crate) async fn own_issuers(
    db: &impl ConnectionTrait,
) -> Result<Vec<(TenantId, Slug)>, StorageError> {
    let of_policy =
        Entity::belongs_to(tenants::Entity).from(Column::TenantId).to(tenants::Column::Id).into();
    let rows: Vec<(String, Option<String>)> = Entity::find()
        .select_only()
        .column(Column::TenantId)
        .join(JoinType::InnerJoin, of_policy)
        .column(tenants::Column::Slug)
        .filter(Column::OwnIssuer.eq(true))
        .order_by_asc(Column::TenantId)
        .into_tuple()
        .all(db)
        .await?;
    // An erased tenant has no name.
    let named = rows.into_iter().filter_map(|(tenant, slug)| Some((tenant, slug?)));
    named
        .map(|(tenant, slug)| {
            let corrupt = |column| corrupt(&tenant, column);
            Ok((
                tenant.parse().map_err(|_| corrupt("tenant_id"))?,
                slug.parse().map_err(|_| corrupt("slug"))?,
            ))
        })
        .collect()
}

/// Replaces what the tenant has said.
pub(crate) async fn replace(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    settings: &SignInSettings,
    now: Timestamp,
) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(tenant.as_str(), column);
    let json = |column, text: serde_json::Result<String>| text.map_err(|_| corrupt(column));
    let row = ActiveModel {
        tenant_id: Set(tenant.as_str().to_owned()),
        policy: Set(json("policy", serde_json::to_string(&settings.policy))?),
        branding: Set(json("branding", serde_json::to_string(&settings.branding))?),
        own_issuer: Set(settings.own_issuer),
        changed_at: Set(signed(now.0)),
        version: Set(settings.version),
    };
    let instead = OnConflict::column(Column::TenantId)
        .update_columns([
            Column::Policy,
            Column::Branding,
            Column::OwnIssuer,
            Column::ChangedAt,
            Column::Version,
        ])
        .to_owned();
    Entity::insert(row).on_conflict(instead).exec_without_returning(db).await?;
    Ok(())
}

impl TryFrom<&Model> for SignInSettings {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.tenant_id, column);
        Ok(Self {
            policy: serde_json::from_str(&row.policy).map_err(|_| corrupt("policy"))?,
            branding: serde_json::from_str(&row.branding).map_err(|_| corrupt("branding"))?,
            own_issuer: row.own_issuer,
            version: row.version,
        })
    }
}

fn corrupt(tenant: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "sign_in_policies", row: tenant.to_owned(), column }
}
