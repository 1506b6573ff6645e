//! The table of users. Every question names the tenant: a user's id alone finds nobody.

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, FromQueryResult, JoinType, QueryOrder,
    QuerySelect, entity::prelude::*, sea_query::Expr,
};

use super::{
    Only, StorageError, accounts,
    sign_in_policies::{self, SignInSettings},
    signed, tenants, unsigned,
};
use crate::control::{AccountId, AccountStatus, Email, TENANT_ADMIN, User, UserId, UserStatus};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) account_id: Option<String>,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) roles: String,
    pub(crate) metadata: String,
    pub(crate) break_glass: bool,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    pub(crate) version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(db: &impl ConnectionTrait, user: &User) -> Result<(), StorageError> {
    Entity::insert(row_of(user)?).exec_without_returning(db).await?;
    Ok(())
}

/// Writes everything about a user that can change, if nobody else did since `user.version - 1`.
pub(crate) async fn update(db: &impl ConnectionTrait, user: &User) -> Result<bool, StorageError> {
    let row = row_of(user)?;
    let updated = Entity::update_many()
        .set(row)
        .filter(within(&user.tenant))
        .filter(Column::Id.eq(user.id.as_str()))
        .filter(Column::Version.eq(signed(user.version.saturating_sub(1))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &UserId,
) -> Result<Option<User>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).filter(within(tenant)).only(db).await?;
    row.as_ref().map(User::try_from).transpose()
}

/// Who this account is in that tenant.
pub(crate) async fn of_account(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    account: &AccountId,
) -> Result<Option<User>, StorageError> {
    let row = Entity::find()
        .filter(within(tenant))
        .filter(Column::AccountId.eq(account.as_str()))
        .only(db)
        .await?;
    row.as_ref().map(User::try_from).transpose()
}

/// The user of a tenant with that address.
pub(crate) async fn of_email(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    email: &Email,
) -> Result<Option<User>, StorageError> {
    let row = Entity::find()
        .filter(within(tenant))
        .filter(Column::Email.eq(email.as_str()))
        .only(db)
        .await?;
    row.as_ref().map(User::try_from).transpose()
}

/// Up to `limit` users that are this account, by ascending tenant, from the one behind `after`.
pub(crate) async fn memberships(
    db: &impl ConnectionTrait,
    account: &AccountId,
    after: Option<&TenantId>,
    limit: u64,
) -> Result<Vec<User>, StorageError> {
    page_of_account(db, account, None, after, limit).await
}

/// As [`memberships`], of those that were accepted. Whoever was only invited has said nothing yet:
/// no tenant shows up before somebody by inviting them.
pub(crate) async fn joined(
    db: &impl ConnectionTrait,
    account: &AccountId,
    after: Option<&TenantId>,
    limit: u64,
) -> Result<Vec<User>, StorageError> {
    let accepted = Column::Status.ne(UserStatus::Invited.as_str());
    page_of_account(db, account, Some(accepted), after, limit).await
}

async fn page_of_account(
    db: &impl ConnectionTrait,
    account: &AccountId,
    which: Option<Expr>,
    after: Option<&TenantId>,
    limit: u64,
) -> Result<Vec<User>, StorageError> {
    let of_account = Column::AccountId.eq(account.as_str());
    let mut query = Entity::find().filter(Condition::all().add(of_account).add_option(which));
    if let Some(after) = after {
        query = query.filter(Column::TenantId.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::TenantId).limit(limit).all(db).await?;
    rows.iter().map(User::try_from).collect()
}

/// Every account that is a user of a tenant.
pub(crate) async fn accounts_of_tenant(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<Vec<String>, StorageError> {
    let with_account =
        Entity::find().filter(within(tenant)).filter(Column::AccountId.is_not_null());
    Ok(with_account.select_only().column(Column::AccountId).into_tuple().all(db).await?)
}

/// Those of `accounts` that are no user of any tenant.
pub(crate) async fn accounts_without_user(
    db: &impl ConnectionTrait,
    accounts: &[String],
) -> Result<Vec<String>, StorageError> {
    let users: Vec<String> = Entity::find()
        .filter(Column::AccountId.is_in(accounts.iter().map(String::as_str)))
        .select_only()
        .column(Column::AccountId)
        .into_tuple()
        .all(db)
        .await?;
    Ok(accounts.iter().filter(|account| !users.contains(account)).cloned().collect())
}

/// Whether anybody administers a tenant: an active user with the role for it.
pub(crate) async fn any_administrator(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<bool, StorageError> {
    let rows = Entity::find()
        .filter(within(tenant))
        .filter(Column::Status.eq(UserStatus::Active.as_str()))
        .filter(Column::Roles.contains(format!("\"{TENANT_ADMIN}\"")))
        .limit(1)
        .all(db)
        .await?;
    Ok(!rows.is_empty())
}

/// Up to `limit` users of a tenant by ascending id, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    after: Option<&UserId>,
    limit: u64,
) -> Result<Vec<User>, StorageError> {
    let mut query = Entity::find().filter(within(tenant));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.as_str()));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(db).await?;
    rows.iter().map(User::try_from).collect()
}

/// By what a user is looked for when it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'w> {
    /// By its id.
    User(&'w UserId),
    /// As the account it signed in with.
    Account(&'w AccountId),
}

/// A user before its tenant's door, and all that decides whether it opens, as one query answers.
pub(crate) struct AtTheDoor {
    pub(crate) user: User,
    /// Whether the account behind it, if there is one, may sign in.
    pub(crate) account_is_active: bool,
    pub(crate) tenant_is_active: bool,
    pub(crate) tenant_epoch: u32,
    pub(crate) settings: SignInSettings,
}

#[derive(FromQueryResult)]
struct DoorRow {
    #[sea_orm(nested)]
    user: Model,
    account_status: Option<String>,
    tenant_status: String,
    tenant_epoch: i64,
    policy: Option<String>,
    branding: Option<String>,
    own_issuer: Option<bool>,
}

/// The member of `tenant` that is `who`.
pub(crate) async fn at_the_door(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    who: Who<'_>,
) -> Result<Option<AtTheDoor>, StorageError> {
    let is_who = match who {
        Who::User(id) => Column::Id.eq(id.as_str()),
        Who::Account(id) => Column::AccountId.eq(id.as_str()),
    };
    let of_tenant =
        Entity::belongs_to(tenants::Entity).from(Column::TenantId).to(tenants::Column::Id).into();
    let with_policy = Entity::belongs_to(sign_in_policies::Entity)
        .from(Column::TenantId)
        .to(sign_in_policies::Column::TenantId)
        .into();
    let with_account = Entity::belongs_to(accounts::Entity)
        .from(Column::AccountId)
        .to(accounts::Column::Id)
        .into();
    let row = Entity::find()
        .filter(within(tenant))
        .filter(is_who)
        .join(JoinType::InnerJoin, of_tenant)
        .join(JoinType::LeftJoin, with_policy)
        .join(JoinType::LeftJoin, with_account)
        .column_as(accounts::Column::Status, "account_status")
        .column_as(tenants::Column::Status, "tenant_status")
        .column_as(tenants::Column::Epoch, "tenant_epoch")
        .column_as(sign_in_policies::Column::Policy, "policy")
        .column_as(sign_in_policies::Column::Branding, "branding")
        .column_as(sign_in_policies::Column::OwnIssuer, "own_issuer")
        .into_model::<DoorRow>()
        .only(db)
        .await?;
    row.map(AtTheDoor::try_from).transpose()
}

impl TryFrom<DoorRow> for AtTheDoor {
    type Error = StorageError;

    fn try_from(row: DoorRow) -> Result<Self, StorageError> {
        let tenant = &row.user.tenant_id;
        let corrupt = |table, column| StorageError::Corrupt { table, row: tenant.clone(), column };
        let settings = match (row.policy, row.branding, row.own_issuer) {
            (Some(policy), Some(branding), Some(own_issuer)) => SignInSettings {
                policy: serde_json::from_str(&policy)
                    .map_err(|_| corrupt("sign_in_policies", "policy"))?,
                branding: serde_json::from_str(&branding)
                    .map_err(|_| corrupt("sign_in_policies", "branding"))?,
                own_issuer,
                version: 0,
            },
            _ => SignInSettings::default(),
        };
        let active = accounts::status_text(AccountStatus::Active);
        Ok(Self {
            account_is_active: row.account_status.is_none_or(|status| status == active),
            // Whatever else stands there, it is not served.
            tenant_is_active: row.tenant_status
                == tenants::status_text(partywall::TenantStatus::Active),
            tenant_epoch: u32::try_from(row.tenant_epoch)
                .map_err(|_| corrupt("tenants", "epoch"))?,
            user: User::try_from(&row.user)?,
            settings,
        })
    }
}

fn within(tenant: &TenantId) -> sea_orm::sea_query::Expr {
    Column::TenantId.eq(tenant.as_str())
}

fn row_of(user: &User) -> Result<ActiveModel, StorageError> {
    let corrupt =
        |column| StorageError::Corrupt { table: "users", row: user.id.to_string(), column };
    Ok(ActiveModel {
        id: Set(user.id.as_str().to_owned()),
        tenant_id: Set(user.tenant.as_str().to_owned()),
        account_id: Set(user.account.as_ref().map(|account| account.as_str().to_owned())),
        email: Set(user.email.as_str().to_owned()),
        name: Set(user.name.clone()),
        status: Set(user.status.as_str().to_owned()),
        roles: Set(serde_json::to_string(&user.roles).map_err(|_| corrupt("roles"))?),
        metadata: Set(serde_json::to_string(&user.metadata).map_err(|_| corrupt("metadata"))?),
        break_glass: Set(user.break_glass),
        created_at: Set(signed(user.created_at.0)),
        changed_at: Set(signed(user.changed_at.0)),
        version: Set(signed(user.version)),
    })
}

impl TryFrom<&Model> for User {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt =
            |column| StorageError::Corrupt { table: "users", row: row.id.clone(), column };
        let account = row.account_id.clone().map(AccountId::try_from).transpose();
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            account: account.map_err(|_| corrupt("account_id"))?,
            email: row.email.parse().map_err(|_| corrupt("email"))?,
            name: row.name.clone(),
            status: status_of(&row.status).ok_or_else(|| corrupt("status"))?,
            roles: serde_json::from_str(&row.roles).map_err(|_| corrupt("roles"))?,
            metadata: serde_json::from_str(&row.metadata).map_err(|_| corrupt("metadata"))?,
            break_glass: row.break_glass,
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
            version: unsigned(row.version),
        })
    }
}

fn status_of(text: &str) -> Option<UserStatus> {
    [UserStatus::Invited, UserStatus::Active, UserStatus::Suspended]
        .into_iter()
        .find(|status| status.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, NewTenant, NewUser, SignInPolicy,
        control::tests_support::{START, control},
    };

    #[tokio::test]
    async fn i12_the_door_is_read_within_one_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let actor = Actor::System("test");
        let mut tenants = Vec::new();
        for slug in ["acme", "bond"] {
            let new =
                NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
            tenants.push(control.create_tenant(&actor, new).await.unwrap());
        }
        let (acme, bond) = (tenants[0].id(), tenants[1].id());
        let ada = NewUser {
            email: "ada@acme.test".parse().unwrap(),
            name: "Ada".to_owned(),
            roles: ["clerk".into()].into(),
            metadata: Default::default(),
        };
        let ada = control.create_user(&actor, acme, ada).await.unwrap();
        let account = ada.account.clone().unwrap();
        let db = control.inner.db.reader();

        let door = at_the_door(db, acme, Who::User(&ada.id)).await.unwrap().unwrap();
        assert_eq!(door.user, ada);
        assert!(door.tenant_is_active && door.account_is_active && !door.settings.own_issuer);
        assert_eq!(door.settings.policy, SignInPolicy::default());
        let same = at_the_door(db, acme, Who::Account(&account)).await.unwrap().unwrap();
        assert_eq!(same.user.id, ada.id);
        for who in [Who::User(&ada.id), Who::Account(&account)] {
            assert!(at_the_door(db, bond, who).await.unwrap().is_none(), "{who:?} in bond");
        }

        let policy = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
        let settings = SignInSettings { policy: policy.clone(), ..SignInSettings::default() };
        sign_in_policies::replace(db, acme, &settings, START).await.unwrap();
        let door = at_the_door(db, acme, Who::User(&ada.id)).await.unwrap().unwrap();
        assert_eq!(door.settings.policy, policy);
    }
}
