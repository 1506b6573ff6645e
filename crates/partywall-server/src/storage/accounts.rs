//! The table of accounts.

use partywall::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*};

use super::{Only, StorageError, signed, unsigned};
use crate::control::{Account, AccountId, AccountStatus, Email};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) email_verified_at: Option<i64>,
    pub(crate) status: String,
    pub(crate) password_tries: i32,
    pub(crate) password_pause: i64,
    pub(crate) code_tries: i32,
    pub(crate) code_pause: i64,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    account: &Account,
) -> Result<(), StorageError> {
    let row = ActiveModel {
        id: Set(account.id.as_str().to_owned()),
        email: Set(account.email.as_str().to_owned()),
        email_verified_at: Set(account.email_verified_at.map(|at| signed(at.0))),
        status: Set(status_text(account.status).to_owned()),
        password_tries: Set(0),
        password_pause: Set(0),
        code_tries: Set(0),
        code_pause: Set(0),
        created_at: Set(signed(account.created_at.0)),
        changed_at: Set(signed(account.changed_at.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: &AccountId,
) -> Result<Option<Account>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).only(db).await?;
    row.as_ref().map(Account::try_from).transpose()
}

/// The account that signs in by this address.
pub(crate) async fn find_by_email(
    db: &impl ConnectionTrait,
    email: &Email,
) -> Result<Option<Account>, StorageError> {
    let row = Entity::find().filter(Column::Email.eq(email.as_str())).only(db).await?;
    row.as_ref().map(Account::try_from).transpose()
}

/// Notes that the account's owner receives mail at its address.
pub(crate) async fn verify_email(
    db: &impl ConnectionTrait,
    id: &AccountId,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::EmailVerifiedAt, Expr::value(signed(now.0)))
        .col_expr(Column::ChangedAt, Expr::value(signed(now.0)))
        .filter(Column::Id.eq(id.as_str()))
        .filter(Column::EmailVerifiedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// What somebody may guess at. Each is counted for itself: a right password does not make anybody
/// forget the codes that were tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guess {
    Password,
    /// A time-based code, or a recovery code in its place.
    Code,
}

impl Guess {
    fn columns(self) -> (Column, Column) {
        match self {
            Self::Password => (Column::PasswordTries, Column::PasswordPause),
            Self::Code => (Column::CodeTries, Column::CodePause),
        }
    }
}

/// The tries at an account since the last right one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tries {
    pub(crate) made: u32,
    /// When the next one is heard.
    pub(crate) pause_until: Timestamp,
}

pub(crate) async fn tries(
    db: &impl ConnectionTrait,
    id: &AccountId,
    guess: Guess,
) -> Result<Option<Tries>, StorageError> {
    let row = Entity::find_by_id(id.as_str()).only(db).await?;
    Ok(row.map(|row| {
        let (made, until) = match guess {
            Guess::Password => (row.password_tries, row.password_pause),
            Guess::Code => (row.code_tries, row.code_pause),
        };
        let made = u32::try_from(made).unwrap_or(u32::MAX);
        Tries { made, pause_until: Timestamp(unsigned(until)) }
    }))
}

/// Goes on from `before` to `after`; `false` when another try did, in between. Of any number at
/// once one does.
pub(crate) async fn count_try(
    db: &impl ConnectionTrait,
    id: &AccountId,
    guess: Guess,
    before: Tries,
    after: Tries,
) -> Result<bool, StorageError> {
    let (made, until) = guess.columns();
    let number = |made: u32| i32::try_from(made).unwrap_or(i32::MAX);
    let counted = Entity::update_many()
        .col_expr(made, Expr::value(number(after.made)))
        .col_expr(until, Expr::value(signed(after.pause_until.0)))
        .filter(Column::Id.eq(id.as_str()))
        .filter(made.eq(number(before.made)))
        .filter(until.eq(signed(before.pause_until.0)))
        .exec(db)
        .await?;
    Ok(counted.rows_affected == 1)
}

/// One was right: those before are forgotten.
pub(crate) async fn forget_tries(
    db: &impl ConnectionTrait,
    id: &AccountId,
    guess: Guess,
) -> Result<(), StorageError> {
    let (made, until) = guess.columns();
    Entity::update_many()
        .col_expr(made, Expr::value(0))
        .col_expr(until, Expr::value(0_i64))
        .filter(Column::Id.eq(id.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

impl TryFrom<&Model> for Account {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt =
            |column| StorageError::Corrupt { table: "accounts", row: row.id.clone(), column };
        Ok(Self {
            id: row.id.clone().try_into().map_err(|_| corrupt("id"))?,
            email: row.email.parse().map_err(|_| corrupt("email"))?,
            email_verified_at: row.email_verified_at.map(|at| Timestamp(unsigned(at))),
            status: match row.status.as_str() {
                "active" => AccountStatus::Active,
                "locked" => AccountStatus::Locked,
                _ => return Err(corrupt("status")),
            },
            created_at: Timestamp(unsigned(row.created_at)),
            changed_at: Timestamp(unsigned(row.changed_at)),
        })
    }
}

pub(crate) fn status_text(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Locked => "locked",
    }
}

/// What an account has to show.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Factors {
    pub(crate) password: bool,
    pub(crate) passkey: bool,
    /// A time-based code that was confirmed.
    pub(crate) second: bool,
}

/// What each of `accounts` has to show; those without anything are left out.
pub(crate) async fn factors(
    db: &impl ConnectionTrait,
    accounts: &[&str],
) -> Result<std::collections::HashMap<String, Factors>, StorageError> {
    use sea_orm::sea_query::{Alias, ExprTrait, Query};

    let mut all = std::collections::HashMap::<String, Factors>::new();
    for some in accounts.chunks(500) {
        for (table, confirmed, note) in [
            ("passwords", None, (|f: &mut Factors| f.password = true) as fn(&mut Factors)),
            ("passkeys", None, |f| f.passkey = true),
            ("totp_secrets", Some("confirmed_at"), |f| f.second = true),
        ] {
            let column = Alias::new("account_id");
            let mut query = Query::select();
            query
                .distinct()
                .column(column.clone())
                .from(Alias::new(table))
                .and_where(Expr::col(column).is_in(some.iter().copied()));
            if let Some(confirmed) = confirmed {
                query.and_where(Expr::col(Alias::new(confirmed)).is_not_null());
            }
            for row in db.query_all(&query).await? {
                note(all.entry(row.try_get_by_index(0)?).or_default());
            }
        }
    }
    Ok(all)
}
