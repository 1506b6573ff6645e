//! The table of applications.

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, ExprTrait, QueryOrder, QuerySelect, entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{
    Application, ApplicationId, ApplicationStatus, ClientAuthentication, SecretHash,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "applications")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) client_id: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) authentication: String,
    pub(crate) secret_hash: Option<Vec<u8>>,
    pub(crate) previous_hash: Option<Vec<u8>>,
    pub(crate) previous_until: i64,
    pub(crate) jwks: Option<String>,
    pub(crate) registration: String,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    application: &Application,
    secret: Option<&SecretHash>,
) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(application.client_id.as_str(), column);
    let row = ActiveModel {
        client_id: Set(application.client_id.as_str().to_owned()),
        tenant_id: Set(application.tenant.as_ref().map(|tenant| tenant.as_str().to_owned())),
        name: Set(application.name.clone()),
        status: Set(status_text(application.status).to_owned()),
        authentication: Set(authentication_text(application.authentication).to_owned()),
        secret_hash: Set(secret.map(|secret| secret.as_bytes().to_vec())),
        previous_hash: Set(None),
        previous_until: Set(0),
        jwks: Set(application.jwks.as_ref().map(ToString::to_string)),
        registration: Set(serde_json::to_string(&application.registration)
            .map_err(|_| corrupt("registration"))?),
        created_at: Set(signed(application.created_at.0)),
        changed_at: Set(signed(application.changed_at.0)),
        version: Set(signed(application.version)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The application of that id, whatever its status.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: &ApplicationId,
) -> Result<Option<Application>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).only(db).await?;
    row.as_ref().map(Application::try_from).transpose()
}

/// The application of that id that belongs to `tenant`, or to the vendor where none is named.
pub(crate) async fn find_in(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    id: &ApplicationId,
) -> Result<Option<Application>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).filter(of(tenant)).only(db).await?;
    row.as_ref().map(Application::try_from).transpose()
}

/// Up to `limit` applications of a tenant, or of the vendor, by ascending id, from the one behind
/// `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    after: Option<&ApplicationId>,
    limit: u64,
) -> Result<Vec<Application>, StorageError> {
    let mut query = Entity::find().filter(of(tenant));
    if let Some(after) = after {
        query = query.filter(Column::ClientId.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::ClientId).limit(limit).all(db).await?;
    rows.iter().map(Application::try_from).collect()
}

/// Writes what can change of an application beside its secrets.
pub(crate) async fn update(
    db: &impl ConnectionTrait,
    application: &Application,
) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(application.client_id.as_str(), column);
    let registration =
        serde_json::to_string(&application.registration).map_err(|_| corrupt("registration"))?;
    let jwks = application.jwks.as_ref().map(ToString::to_string);
    Entity::update_many()
        .col_expr(Column::Name, Expr::value(application.name.clone()))
        .col_expr(Column::Jwks, Expr::value(jwks))
        .col_expr(Column::Registration, Expr::value(registration))
        .col_expr(Column::ChangedAt, Expr::value(signed(application.changed_at.0)))
        .col_expr(Column::Version, Expr::value(signed(application.version)))
        .filter(Column::ClientId.eq(application.client_id.as_str()))
        .filter(of(application.tenant.as_ref()))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes an application unable to do anything, for good: its secrets are gone.
pub(crate) async fn revoke(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    id: &ApplicationId,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(status_text(ApplicationStatus::Revoked)))
        .col_expr(Column::SecretHash, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::PreviousHash, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::PreviousUntil, Expr::value(0_i64))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::ClientId.eq(id.as_str()))
        .filter(of(tenant))
        .exec(db)
        .await?;
    Ok(())
}

fn of(tenant: Option<&TenantId>) -> sea_orm::sea_query::Expr {
    match tenant {
        Some(tenant) => Column::TenantId.eq(tenant.as_str()),
        None => Column::TenantId.is_null(),
    }
}

/// What the token endpoint needs. Nothing but the secrets is read before the caller has shown to
/// know one.
pub(crate) struct Candidate(Model);

/// The application of that id, if it is served at all.
pub(crate) async fn candidate(
    db: &impl ConnectionTrait,
    client_id: &str,
) -> Result<Option<Candidate>, StorageError> {
    let found = Entity::find_by_id(client_id)
        .filter(Column::Status.eq(status_text(ApplicationStatus::Active)))
        .only(db)
        .await?;
    Ok(found.map(Candidate))
}

impl Candidate {
    /// The secrets that are good at `now`: none, one, or two while they are being rotated.
    pub(crate) fn secrets(&self, now: Timestamp) -> [Option<&[u8]>; 2] {
        let in_time = now < Timestamp(unsigned(self.0.previous_until));
        [self.0.secret_hash.as_deref(), self.0.previous_hash.as_deref().filter(|_| in_time)]
    }

    /// Reads the rest. What it says is believed only of a client that showed who it is.
    pub(crate) fn application(&self) -> Result<Application, StorageError> {
        Application::try_from(&self.0)
    }
}

/// Puts `secret` in the first slot; what was there stays good in the second until `previous_until`.
pub(crate) async fn rotate_secret(
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    id: &ApplicationId,
    secret: &SecretHash,
    previous_until: Timestamp,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::PreviousHash, Expr::col(Column::SecretHash))
        .col_expr(Column::PreviousUntil, Expr::value(signed(previous_until.0)))
        .col_expr(Column::SecretHash, Expr::value(secret.as_bytes().to_vec()))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::ClientId.eq(id.as_str()))
        .filter(of(tenant))
        .exec(db)
        .await?;
    Ok(())
}

impl TryFrom<&Model> for Application {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.client_id, column);
        let tenant = row.tenant_id.as_deref().map(str::parse).transpose();
        let jwks = row.jwks.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            client_id: row.client_id.parse().map_err(|_| corrupt("client_id"))?,
            tenant: tenant.map_err(|_| corrupt("tenant_id"))?,
            name: row.name.clone(),
            status: match row.status.as_str() {
                "active" => ApplicationStatus::Active,
                "revoked" => ApplicationStatus::Revoked,
                _ => return Err(corrupt("status")),
            },
            authentication: match row.authentication.as_str() {
                "none" => ClientAuthentication::None,
                "client_secret" => ClientAuthentication::ClientSecret,
                "private_key_jwt" => ClientAuthentication::PrivateKeyJwt,
                _ => return Err(corrupt("authentication")),
            },
            jwks: jwks.map_err(|_| corrupt("jwks"))?,
            registration: serde_json::from_str(&row.registration)
                .map_err(|_| corrupt("registration"))?,
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
            version: unsigned(row.version),
        })
    }
}

fn status_text(status: ApplicationStatus) -> &'static str {
    match status {
        ApplicationStatus::Active => "active",
        ApplicationStatus::Revoked => "revoked",
    }
}

fn authentication_text(authentication: ClientAuthentication) -> &'static str {
    match authentication {
        ClientAuthentication::None => "none",
        ClientAuthentication::ClientSecret => "client_secret",
        ClientAuthentication::PrivateKeyJwt => "private_key_jwt",
    }
}

fn corrupt(client: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "applications", row: client.to_owned(), column }
}
