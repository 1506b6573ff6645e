//! The table of machines: OAuth clients, each of exactly one tenant.

use partywall::{TenantId, TenantStatus, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*};

use super::{Only, StorageError, sign_in_policies, signed, tenants, unsigned};
use crate::control::{ClientId, Machine, MachineStatus, SecretHash};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "machines")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) client_id: String,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) roles: String,
    pub(crate) scopes: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) previous_hash: Option<Vec<u8>>,
    pub(crate) previous_until: i64,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(
        belongs_to = "tenants::Entity",
        from = "Column::TenantId",
        to = "tenants::Column::Id"
    )]
    Tenant,
    #[sea_orm(
        belongs_to = "sign_in_policies::Entity",
        from = "Column::TenantId",
        to = "sign_in_policies::Column::TenantId"
    )]
    SignInPolicy,
}

impl Related<sign_in_policies::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::SignInPolicy.def()
    }
}

impl Related<tenants::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Tenant.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    machine: &Machine,
    secret: &SecretHash,
) -> Result<(), StorageError> {
    let json = |column, value: serde_json::Result<String>| {
        value.map_err(|_| corrupt(machine.client_id.as_str(), column))
    };
    let row = ActiveModel {
        client_id: Set(machine.client_id.as_str().to_owned()),
        tenant_id: Set(machine.tenant.as_str().to_owned()),
        name: Set(machine.name.clone()),
        status: Set(status_text(machine.status).to_owned()),
        roles: Set(json("roles", serde_json::to_string(&machine.roles))?),
        scopes: Set(json("scopes", serde_json::to_string(&machine.scopes))?),
        secret_hash: Set(secret.as_bytes().to_vec()),
        previous_hash: Set(None),
        previous_until: Set(0),
        created_at: Set(signed(machine.created_at.0)),
        changed_at: Set(signed(machine.changed_at.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The machine of that id, whatever its status.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    client: &ClientId,
) -> Result<Option<Machine>, StorageError> {
    let row = Entity::find_by_id(client.as_str()).only(db).await?;
    row.map(|row| Machine::try_from(&row)).transpose()
}

/// The tenant's machine of that id, whatever its status.
pub(crate) async fn find_in(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<Option<Machine>, StorageError> {
    let of_tenant = Column::TenantId.eq(tenant.as_str());
    let row = Entity::find_by_id(client.as_str()).filter(of_tenant).only(db).await?;
    row.map(|row| Machine::try_from(&row)).transpose()
}

/// Writes what can change of a machine beside its secrets.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    machine: &Machine,
) -> Result<(), StorageError> {
    let json = |column, value: serde_json::Result<String>| {
        value.map_err(|_| corrupt(machine.client_id.as_str(), column))
    };
    Entity::update_many()
        .col_expr(Column::Name, Expr::value(machine.name.clone()))
        .col_expr(Column::Roles, Expr::value(json("roles", serde_json::to_string(&machine.roles))?))
        .col_expr(
            Column::Scopes,
            Expr::value(json("scopes", serde_json::to_string(&machine.scopes))?),
        )
        .col_expr(Column::ChangedAt, Expr::value(signed(machine.changed_at.0)))
        .filter(Column::ClientId.eq(machine.client_id.as_str()))
        .filter(Column::TenantId.eq(machine.tenant.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// Up to `limit` machines of a tenant by ascending client id, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: u64,
) -> Result<Vec<Machine>, StorageError> {
    let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str()));
    if let Some(after) = after {
        query = query.filter(Column::ClientId.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::ClientId).limit(limit).all(db).await?;
    rows.iter().map(Machine::try_from).collect()
}

/// A tenant's active machine of that name; names need not be unique, the oldest wins.
pub(crate) async fn find_active_by_name(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    name: &str,
) -> Result<Option<Machine>, StorageError> {
    let row = Entity::find()
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::Name.eq(name))
        .filter(Column::Status.eq(status_text(MachineStatus::Active)))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::ClientId)
        .limit(1)
        .all(db)
        .await?;
    row.first().map(Machine::try_from).transpose()
}

/// Puts `secret` in the first slot; what was there stays good in the second until `previous_until`.
pub(crate) async fn rotate_secret(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    client: &ClientId,
    secret: &SecretHash,
    previous_until: Timestamp,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::PreviousHash, Expr::col(Column::SecretHash))
        .col_expr(Column::PreviousUntil, Expr::value(signed(previous_until.0)))
        .col_expr(Column::SecretHash, Expr::value(secret.as_bytes().to_vec()))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .filter(Column::ClientId.eq(client.as_str()))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes a machine unable to authenticate, for good: its secrets are gone.
pub(crate) async fn revoke(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    client: &ClientId,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(status_text(MachineStatus::Revoked)))
        .col_expr(Column::SecretHash, Expr::value(Vec::<u8>::new()))
        .col_expr(Column::PreviousHash, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::PreviousUntil, Expr::value(0_i64))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .filter(Column::ClientId.eq(client.as_str()))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// What the token endpoint needs, as one query answers it. Nothing but the secrets is read before
/// the caller has shown to know one.
pub(crate) struct Candidate {
    machine: Model,
    tenant: tenants::Model,
    policy: Option<sign_in_policies::Model>,
}

/// The machine of that id, with its tenant, if it can authenticate at all.
pub(crate) async fn candidate(
    db: &impl ConnectionTrait,
    client_id: &str,
) -> Result<Option<Candidate>, StorageError> {
    let found = Entity::find_by_id(client_id)
        .filter(Column::Status.eq(status_text(MachineStatus::Active)))
        .find_also_related(tenants::Entity)
        .find_also_related(sign_in_policies::Entity)
        .only(db)
        .await?;
    Ok(found
        .and_then(|(machine, tenant, policy)| Some(Candidate { machine, tenant: tenant?, policy })))
}

impl Candidate {
    /// The secrets that are good at `now`: one, or two while they are being rotated.
    pub(crate) fn secrets(&self, now: Timestamp) -> [Option<&[u8]>; 2] {
        let previous = self.machine.previous_hash.as_deref();
        let in_time = now < Timestamp(unsigned(self.machine.previous_until));
        [Some(&self.machine.secret_hash), previous.filter(|_| in_time)]
    }

    /// Reads the rest, for a caller that has authenticated.
    pub(crate) fn authenticated(self) -> Result<AuthenticatedMachine, StorageError> {
        let machine = Machine::try_from(&self.machine)?;
        let corrupt = |column| StorageError::Corrupt {
            table: "tenants",
            row: self.tenant.id.clone(),
            column,
        };
        Ok(AuthenticatedMachine {
            machine,
            // Whatever else stands there, it is not served.
            tenant_is_active: self.tenant.status == tenants::status_text(TenantStatus::Active),
            tenant_epoch: u32::try_from(self.tenant.epoch).map_err(|_| corrupt("epoch"))?,
            own_issuer: self.policy.is_some_and(|policy| policy.own_issuer),
        })
    }
}

/// A machine whose caller knew its secret, and what its tenant is right now.
pub(crate) struct AuthenticatedMachine {
    pub(crate) machine: Machine,
    pub(crate) tenant_is_active: bool,
    pub(crate) tenant_epoch: u32,
    /// Whether tokens for its tenant come from an issuer of its own.
    pub(crate) own_issuer: bool,
}

impl TryFrom<&Model> for Machine {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.client_id, column);
        Ok(Self {
            client_id: row.client_id.parse().map_err(|_| corrupt("client_id"))?,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            name: row.name.clone(),
            status: match row.status.as_str() {
                "active" => MachineStatus::Active,
                "revoked" => MachineStatus::Revoked,
                _ => return Err(corrupt("status")),
            },
            roles: serde_json::from_str(&row.roles).map_err(|_| corrupt("roles"))?,
            scopes: serde_json::from_str(&row.scopes).map_err(|_| corrupt("scopes"))?,
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
        })
    }
}

fn status_text(status: MachineStatus) -> &'static str {
    match status {
        MachineStatus::Active => "active",
        MachineStatus::Revoked => "revoked",
    }
}

fn corrupt(client: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "machines", row: client.to_owned(), column }
}
