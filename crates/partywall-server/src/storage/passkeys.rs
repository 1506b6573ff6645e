//! The table of passkeys.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};
use crate::{control::AccountId, login::factors::passkey::PasskeyKey};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passkeys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) credential_id: String,
    pub(crate) account_id: String,
    pub(crate) name: String,
    pub(crate) public_jwk: String,
    pub(crate) sign_count: i64,
    pub(crate) backed_up: bool,
    pub(crate) transports: String,
    pub(crate) created_at: i64,
    pub(crate) used_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A passkey, as we know it.
#[derive(Clone, Debug)]
pub(crate) struct Passkey {
    /// What the authenticator calls it, base64url.
    pub(crate) credential_id: String,
    pub(crate) account: AccountId,
    /// What its owner calls it.
    pub(crate) name: String,
    pub(crate) key: PasskeyKey,
    pub(crate) sign_count: u32,
    /// Whether it exists on more than one device.
    pub(crate) backed_up: bool,
    /// How the browser may reach it again, for `allowCredentials`.
    pub(crate) transports: Vec<String>,
    pub(crate) created_at: Timestamp,
}

/// # Errors
///
/// [`StorageError::Duplicate`] when any account has a passkey of that id.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    passkey: &Passkey,
) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(&passkey.credential_id, column);
    let row = ActiveModel {
        credential_id: Set(passkey.credential_id.clone()),
        account_id: Set(passkey.account.as_str().to_owned()),
        name: Set(passkey.name.clone()),
        public_jwk: Set(serde_json::to_string(&passkey.key).map_err(|_| corrupt("public_jwk"))?),
        sign_count: Set(i64::from(passkey.sign_count)),
        backed_up: Set(passkey.backed_up),
        transports: Set(
            serde_json::to_string(&passkey.transports).map_err(|_| corrupt("transports"))?
        ),
        created_at: Set(signed(passkey.created_at.0)),
        used_at: Set(None),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    credential_id: &str,
) -> Result<Option<Passkey>, StorageError> {
    let row = Entity::find_by_id(credential_id).only(db).await?;
    row.as_ref().map(Passkey::try_from).transpose()
}

/// An account's passkeys, the oldest first.
pub(crate) async fn of_account(
    db: &impl ConnectionTrait,
    account: &AccountId,
) -> Result<Vec<Passkey>, StorageError> {
    let rows = Entity::find()
        .filter(Column::AccountId.eq(account.as_str()))
        .order_by_asc(Column::CreatedAt)
        .limit(MAX)
        .all(db)
        .await?;
    rows.iter().map(Passkey::try_from).collect()
}

/// Notes a use, if nobody used a later count meanwhile.
pub(crate) async fn note_use(
    db: &impl ConnectionTrait,
    passkey: &Passkey,
    sign_count: u32,
    backed_up: bool,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let noted = Entity::update_many()
        .col_expr(Column::SignCount, Expr::value(i64::from(sign_count)))
        .col_expr(Column::BackedUp, Expr::value(backed_up))
        .col_expr(Column::UsedAt, Expr::value(signed(now.0)))
        .filter(Column::CredentialId.eq(passkey.credential_id.as_str()))
        .filter(Column::SignCount.eq(i64::from(passkey.sign_count)))
        .exec(db)
        .await?;
    Ok(noted.rows_affected == 1)
}

/// Gives an account's passkey another name; `false` when it has none of that id.
pub(crate) async fn rename(
    db: &impl ConnectionTrait,
    account: &AccountId,
    credential_id: &str,
    name: &str,
) -> Result<bool, StorageError> {
    let renamed = Entity::update_many()
        .col_expr(Column::Name, Expr::value(name))
        .filter(Column::CredentialId.eq(credential_id))
        .filter(Column::AccountId.eq(account.as_str()))
        .exec(db)
        .await?;
    Ok(renamed.rows_affected == 1)
}

/// Forgets an account's passkey; `false` when it has none of that id.
pub(crate) async fn remove(
    db: &impl ConnectionTrait,
    account: &AccountId,
    credential_id: &str,
) -> Result<bool, StorageError> {
    let removed = Entity::delete_many()
        .filter(Column::CredentialId.eq(credential_id))
        .filter(Column::AccountId.eq(account.as_str()))
        .exec(db)
        .await?;
    Ok(removed.rows_affected == 1)
}

impl TryFrom<&Model> for Passkey {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.credential_id, column);
        Ok(Self {
            credential_id: row.credential_id.clone(),
            account: row.account_id.clone().try_into().map_err(|_| corrupt("account_id"))?,
            name: row.name.clone(),
            key: serde_json::from_str(&row.public_jwk).map_err(|_| corrupt("public_jwk"))?,
            sign_count: u32::try_from(row.sign_count).map_err(|_| corrupt("sign_count"))?,
            backed_up: row.backed_up,
            transports: serde_json::from_str(&row.transports).map_err(|_| corrupt("transports"))?,
            created_at: Timestamp(unsigned(row.created_at)),
        })
    }
}

fn corrupt(credential: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "passkeys", row: credential.to_owned(), column }
}

/// As many as anybody needs.
pub(crate) const MAX: u64 = 20;
