//! The table of time-based codes' secrets, sealed.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*};

use super::{StorageError, signed, unsigned};
use crate::control::AccountId;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "totp_secrets")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) account_id: String,
    pub(crate) name: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) last_step: i64,
    pub(crate) confirmed_at: Option<i64>,
    pub(crate) created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An authenticator app, as we know it.
#[derive(Clone, Debug)]
pub(crate) struct TotpSecret {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) sealed: Vec<u8>,
    /// The latest time step whose code was used.
    pub(crate) last_step: u64,
    /// When its owner showed to have it; until then it is none.
    pub(crate) confirmed_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    secret: &TotpSecret,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: Set(secret.id.clone()),
        account_id: Set(secret.account.clone()),
        name: Set(secret.name.clone()),
        sealed: Set(secret.sealed.clone()),
        last_step: Set(signed(secret.last_step)),
        confirmed_at: Set(secret.confirmed_at.map(|at| signed(at.0))),
        created_at: Set(signed(secret.created_at.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// An account's authenticator apps, confirmed or not, the oldest first.
pub(crate) async fn of_account(
    db: &impl ConnectionTrait,
    account: &AccountId,
) -> Result<Vec<TotpSecret>, StorageError> {
    let rows = Entity::find()
        .filter(Column::AccountId.eq(account.as_str()))
        .order_by_asc(Column::CreatedAt)
        .limit(MAX)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(TotpSecret::from).collect())
}

/// Uses the code of `step` up, and with it every earlier one. Of any number at once one is the
/// first; `confirm` makes an app count from now on.
pub(crate) async fn use_step(
    db: &impl ConnectionTrait,
    secret: &TotpSecret,
    step: u64,
    confirm: Option<Timestamp>,
) -> Result<bool, StorageError> {
    let mut update = Entity::update_many()
        .col_expr(Column::LastStep, Expr::value(signed(step)))
        .filter(Column::Id.eq(secret.id.as_str()))
        .filter(Column::AccountId.eq(secret.account.as_str()))
        .filter(Column::LastStep.lt(signed(step)));
    if let Some(now) = confirm {
        update = update.col_expr(Column::ConfirmedAt, Expr::value(signed(now.0)));
    }
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Forgets an account's app; `false` when there is none of that id.
pub(crate) async fn remove(
    db: &impl ConnectionTrait,
    account: &AccountId,
    id: &str,
) -> Result<bool, StorageError> {
    let removed = Entity::delete_many()
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account.as_str()))
        .exec(db)
        .await?;
    Ok(removed.rows_affected == 1)
}

impl From<Model> for TotpSecret {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            account: row.account_id,
            name: row.name,
            sealed: row.sealed,
            last_step: unsigned(row.last_step),
            confirmed_at: row.confirmed_at.map(|at| Timestamp(unsigned(at))),
            created_at: Timestamp(unsigned(row.created_at)),
        }
    }
}

/// As many as anybody needs.
pub(crate) const MAX: u64 = 10;
