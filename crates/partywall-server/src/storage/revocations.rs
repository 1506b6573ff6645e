//! Tokens and subjects refused before their time. A row goes once everything it could refuse has
//! expired by itself.

use partywall::{Timestamp, bundle::Revocations};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, ExprTrait,
    entity::prelude::*,
    sea_query::OnConflict,
};

use super::{Only, StorageError, signed, unsigned};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocations")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) kind: String,
    /// The issuer of a token, the tenant of a subject.
    pub(crate) realm: String,
    /// The token's `jti`, or the subject.
    pub(crate) name: String,
    /// When the token expires by itself; for a subject, until when its tokens are refused.
    pub(crate) time: i64,
    pub(crate) keep_until: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const TOKEN: &str = "token";
const SUBJECT: &str = "subject";

/// Remembers a revocation, and forgets those that have no more effect at `now`.
pub(crate) async fn add(
    db: &impl ConnectionTrait,
    revocation: Revocation<'_>,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::delete_many().filter(Column::KeepUntil.lte(signed(now.0))).exec(db).await?;
    let (kind, realm, name, time, keep_until) = match revocation {
        Revocation::Token { issuer, jti, expires, keep_until } => {
            (TOKEN, issuer, jti, expires, keep_until)
        }
        Revocation::Subject { tenant, subject, until, keep_until } => {
            (SUBJECT, tenant, subject, until, keep_until)
        }
    };
    let row = ActiveModel {
        id: NotSet,
        kind: Set(kind.to_owned()),
        realm: Set(realm.to_owned()),
        name: Set(name.to_owned()),
        time: Set(signed(time.0)),
        keep_until: Set(signed(keep_until.0)),
    };
    let later = OnConflict::columns([Column::Kind, Column::Realm, Column::Name])
        .update_columns([Column::Time, Column::KeepUntil])
        .to_owned();
    Entity::insert(row).on_conflict(later).exec_without_returning(db).await?;
    Ok(())
}

/// What is to be refused from now on.
pub(crate) enum Revocation<'r> {
    /// One token, until it has expired everywhere.
    Token { issuer: &'r str, jti: &'r str, expires: Timestamp, keep_until: Timestamp },
    /// All tokens of a subject issued up to a time.
    Subject { tenant: &'r str, subject: &'r str, until: Timestamp, keep_until: Timestamp },
}

/// Whether `jti`, of a token or of a whole grant, is refused already.
pub(crate) async fn names(
    db: &impl ConnectionTrait,
    issuer: &str,
    jti: &str,
) -> Result<bool, StorageError> {
    let named = Entity::find()
        .filter(Column::Kind.eq(TOKEN))
        .filter(Column::Realm.eq(issuer))
        .filter(Column::Name.eq(jti));
    Ok(named.only(db).await?.is_some())
}

/// Whether a token of ours is refused: by its own id, with the grant it was issued under (what
/// stands before the dot of its id), or with its subject or whoever acts for it.
pub(crate) async fn refuses(
    db: &impl ConnectionTrait,
    token: &PresentedToken<'_>,
) -> Result<bool, StorageError> {
    let family = token.jti.split_once('.').map_or(token.jti, |(grant, _)| grant);
    let by_id = Column::Kind
        .eq(TOKEN)
        .and(Column::Realm.eq(token.issuer))
        .and(Column::Name.is_in([token.jti, family]));
    let by_subject = Column::Kind
        .eq(SUBJECT)
        .and(Column::Realm.eq(token.tenant))
        .and(Column::Name.is_in(std::iter::once(token.subject).chain(token.actor)))
        .and(Column::Time.gte(signed(token.issued_at.0)));
    Ok(!Entity::find().filter(by_id.or(by_subject)).all(db).await?.is_empty())
}

/// What a revocation can name of a token.
pub(crate) struct PresentedToken<'t> {
    pub(crate) issuer: &'t str,
    pub(crate) jti: &'t str,
    pub(crate) tenant: &'t str,
    pub(crate) subject: &'t str,
    pub(crate) actor: Option<&'t str>,
    pub(crate) issued_at: Timestamp,
}

/// Every revocation that still has an effect at `now`.
pub(crate) async fn all(
    db: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<Revocations, StorageError> {
    let mut revocations = Revocations::default();
    for row in Entity::find().filter(Column::KeepUntil.gt(signed(now.0))).all(db).await? {
        let corrupt = |column| StorageError::Corrupt {
            table: "revocations",
            row: row.id.to_string(),
            column,
        };
        let time = Timestamp(unsigned(row.time));
        match row.kind.as_str() {
            TOKEN => revocations.revoke_token(&row.realm, &row.name, time),
            SUBJECT => revocations.revoke_subject(
                &row.realm.parse().map_err(|_| corrupt("realm"))?,
                &row.name.parse().map_err(|_| corrupt("name"))?,
                time,
            ),
            _ => return Err(corrupt("kind")),
        }
    }
    Ok(revocations)
}
