//! The table of tenants.

use partywall::{
    TenantId, TenantStatus, Timestamp,
    bundle::{Generation, TenantRecord},
};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, ExprTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::{Only, StorageError, machines, signed, unsigned};
use crate::control::{Tenant, TenantProfile};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    /// `None` once erased.
    pub(crate) slug: Option<String>,
    pub(crate) status: String,
    pub(crate) tier: String,
    pub(crate) region: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) epoch_at: i64,
    pub(crate) placements: String,
    pub(crate) administrators: String,
    pub(crate) billing_reference: Option<String>,
    pub(crate) metadata: String,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) changed_generation: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(has_many = "machines::Entity")]
    Machines,
}

impl Related<machines::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Machines.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}

/// What the column `status` says of a tenant whose id alone remains.
const ERASED: &str = "erased";

pub(crate) async fn insert(db: &impl ConnectionTrait, tenant: &Tenant) -> Result<(), StorageError> {
    Entity::insert(row_of(tenant)?).exec_without_returning(db).await?;
    Ok(())
}

/// The tenants with a placement of that model anywhere.
pub(crate) async fn placed_by(
    db: &impl ConnectionTrait,
    model: &str,
) -> Result<Vec<Tenant>, StorageError> {
    let placed = Column::Placements.contains(format!("\"{model}\""));
    let rows = Entity::find().filter(placed).filter(Column::Status.ne(ERASED)).all(db).await?;
    rows.into_iter().map(Tenant::try_from).collect()
}

/// Writes everything of a tenant that may change.
pub(crate) async fn update(db: &impl ConnectionTrait, tenant: &Tenant) -> Result<(), StorageError> {
    let row = ActiveModel { created_at: NotSet, ..row_of(tenant)? };
    Entity::update(row).exec(db).await?;
    Ok(())
}

/// Leaves the id, so that it is never given again, and nothing else.
pub(crate) async fn leave_tombstone(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    now: Timestamp,
    generation: Generation,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: Set(tenant.as_str().to_owned()),
        slug: Set(None),
        status: Set(ERASED.to_owned()),
        tier: Set(String::new()),
        region: Set(None),
        epoch: NotSet,
        epoch_at: NotSet,
        placements: Set("{}".to_owned()),
        administrators: Set("[]".to_owned()),
        billing_reference: Set(None),
        metadata: Set("{}".to_owned()),
        created_at: NotSet,
        changed_at: Set(signed(now.0)),
        changed_generation: Set(signed(generation.0)),
    };
    Entity::update(row).exec(db).await?;
    Ok(())
}

/// The tenant of that id, unless it was erased.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: &TenantId,
) -> Result<Option<Tenant>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).filter(Column::Status.ne(ERASED)).only(db).await?;
    row.map(Tenant::try_from).transpose()
}

pub(crate) async fn find_by_slug(
    db: &impl ConnectionTrait,
    slug: &partywall::Slug,
) -> Result<Option<Tenant>, StorageError> {
    let row = Entity::find().filter(Column::Slug.eq(slug.as_str())).only(db).await?;
    row.map(Tenant::try_from).transpose()
}

/// Up to `limit` tenants by ascending id, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    after: Option<&TenantId>,
    limit: u64,
) -> Result<Vec<Tenant>, StorageError> {
    let mut query = Entity::find().filter(Column::Status.ne(ERASED)).order_by_asc(Column::Id);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.as_str()));
    }
    query.limit(limit).all(db).await?.into_iter().map(Tenant::try_from).collect()
}

/// One line of the directory: a tenant as enforcement points know it, or the id of one erased.
pub(crate) enum DirectoryLine {
    Present(TenantRecord),
    Erased(TenantId),
}

/// The whole directory, in pages of up to `limit` lines by ascending id, from the one behind
/// `after`.
pub(crate) async fn directory_page(
    db: &impl ConnectionTrait,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<(String, DirectoryLine)>, StorageError> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after));
    }
    let rows = query.all(db).await?;
    rows.into_iter().map(|row| Ok((row.id.clone(), directory_line(&row)?))).collect()
}

/// The lines that changed after a generation, in the order they did, in pages of up to `limit`
/// from the one behind `after`: a generation and an id. Costs what changed, not what there is.
pub(crate) async fn changed_page(
    db: &impl ConnectionTrait,
    after: &(Generation, String),
    limit: u64,
) -> Result<Vec<((Generation, String), DirectoryLine)>, StorageError> {
    let (generation, id) = after;
    let later = Column::ChangedGeneration.gt(signed(generation.0));
    let same = Column::ChangedGeneration.eq(signed(generation.0)).and(Column::Id.gt(id.as_str()));
    let rows = Entity::find()
        // The first half alone lets both databases start in the middle of the index.
        .filter(Column::ChangedGeneration.gte(signed(generation.0)))
        .filter(later.or(same))
        .order_by_asc(Column::ChangedGeneration)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await?;
    let line = |row: Model| {
        let at = (Generation(unsigned(row.changed_generation)), row.id.clone());
        Ok((at, directory_line(&row)?))
    };
    rows.into_iter().map(line).collect()
}

fn directory_line(row: &Model) -> Result<DirectoryLine, StorageError> {
    if row.status == ERASED {
        return row.id.parse().map(DirectoryLine::Erased).map_err(|_| corrupt(&row.id, "id"));
    }
    Ok(DirectoryLine::Present(TenantRecord {
        id: row.id.parse().map_err(|_| corrupt(&row.id, "id"))?,
        slug: row
            .slug
            .as_deref()
            .and_then(|slug| slug.parse().ok())
            .ok_or_else(|| corrupt(&row.id, "slug"))?,
        status: status_of(row)?,
        tier: row.tier.parse().map_err(|_| corrupt(&row.id, "tier"))?,
        region: match &row.region {
            Some(region) => Some(region.parse().map_err(|_| corrupt(&row.id, "region"))?),
            None => None,
        },
        epoch: u32::try_from(row.epoch).map_err(|_| corrupt(&row.id, "epoch"))?,
        epoch_at: Timestamp(unsigned(row.epoch_at)),
        placements: serde_json::from_str(&row.placements)
            .map_err(|_| corrupt(&row.id, "placements"))?,
    }))
}

impl TryFrom<Model> for Tenant {
    type Error = StorageError;

    fn try_from(row: Model) -> Result<Self, StorageError> {
        let DirectoryLine::Present(record) = directory_line(&row)? else {
            return Err(corrupt(&row.id, "status"));
        };
        let json =
            |column, text: &str| serde_json::from_str(text).map_err(|_| corrupt(&row.id, column));
        Ok(Self {
            profile: TenantProfile {
                administrators: serde_json::from_str(&row.administrators)
                    .map_err(|_| corrupt(&row.id, "administrators"))?,
                billing_reference: row
                    .billing_reference
                    .clone()
                    .map(TryFrom::try_from)
                    .transpose()
                    .map_err(|_| corrupt(&row.id, "billing_reference"))?,
                metadata: json("metadata", &row.metadata)?,
            },
            record,
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
            generation: Generation(unsigned(row.changed_generation)),
        })
    }
}

fn row_of(tenant: &Tenant) -> Result<ActiveModel, StorageError> {
    let Tenant { record, profile, created_at, changed_at, generation } = tenant;
    let id = record.id.as_str();
    let json = |column, text: serde_json::Result<String>| text.map_err(|_| corrupt(id, column));
    Ok(ActiveModel {
        id: Set(id.to_owned()),
        slug: Set(Some(record.slug.as_str().to_owned())),
        status: Set(status_text(record.status).to_owned()),
        tier: Set(record.tier.as_str().to_owned()),
        region: Set(record.region.as_ref().map(|region| region.as_str().to_owned())),
        epoch: Set(record.epoch.into()),
        epoch_at: Set(signed(record.epoch_at.0)),
        placements: Set(json("placements", serde_json::to_string(&record.placements))?),
        administrators: Set(json(
            "administrators",
            serde_json::to_string(&profile.administrators),
        )?),
        billing_reference: Set(profile.billing_reference.clone().map(String::from)),
        metadata: Set(json("metadata", serde_json::to_string(&profile.metadata))?),
        created_at: Set(signed(created_at.0)),
        changed_at: Set(signed(changed_at.0)),
        changed_generation: Set(signed(generation.0)),
    })
}

pub(crate) fn status_text(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
        TenantStatus::PendingErase => "pending_erase",
    }
}

fn status_of(row: &Model) -> Result<TenantStatus, StorageError> {
    match row.status.as_str() {
        "active" => Ok(TenantStatus::Active),
        "suspended" => Ok(TenantStatus::Suspended),
        "pending_erase" => Ok(TenantStatus::PendingErase),
        _ => Err(corrupt(&row.id, "status")),
    }
}

fn corrupt(id: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "tenants", row: id.to_owned(), column }
}
