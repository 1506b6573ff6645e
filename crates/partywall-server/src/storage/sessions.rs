//! The tables of sessions: one row per browser, and one per tenant a browser has shown something
//! to (I-14). A browser's row lets nobody in anywhere; a tenant's row does, as long as the gate
//! agrees.

use partywall::{TenantId, Timestamp};
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*};

use super::{Only, StorageError, outgoing_logouts, signed, unsigned};
use crate::{
    control::{AccountId, ConnectionId, UserId},
    federation::UpstreamSession,
    login::{Amr, Proof},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id_hash: Vec<u8>,
    pub(crate) account_id: Option<String>,
    pub(crate) amr: String,
    pub(crate) auth_time: i64,
    pub(crate) created_at: i64,
    pub(crate) seen_at: i64,
    pub(crate) expires_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a browser has shown to one tenant.
pub(crate) mod proofs {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "session_proofs")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) sid: String,
        pub(crate) session_hash: Vec<u8>,
        pub(crate) tenant_id: String,
        pub(crate) user_id: String,
        pub(crate) connection: Option<String>,
        pub(crate) amr: String,
        pub(crate) auth_time: i64,
        pub(crate) created_at: i64,
        pub(crate) expires_at: i64,
        pub(crate) ended_at: Option<i64>,
        pub(crate) user_agent: String,
        pub(crate) upstream_session: Option<String>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One browser.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// SHA-256 of what the browser's cookie holds.
    pub(crate) id_hash: Vec<u8>,
    /// Who signed in with factors kept here, and what they showed; nobody, where only tenants' own
    /// identity providers vouched for somebody.
    pub(crate) account: Option<(AccountId, Proof)>,
    pub(crate) created_at: Timestamp,
    /// When it was last used, to the minute.
    pub(crate) seen_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A session in one tenant's eyes.
#[derive(Clone, Debug)]
pub(crate) struct TenantSession {
    /// Its name in tokens (OIDC Back-Channel Logout 2.1).
    pub(crate) sid: String,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) proof: Proof,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// What the browser called itself, for its owner to recognise.
    pub(crate) user_agent: String,
}

pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    session: &Session,
) -> Result<(), StorageError> {
    let (account, proof) = session
        .account
        .as_ref()
        .map_or((None, None), |(account, proof)| (Some(account.as_str().to_owned()), Some(proof)));
    let row = ActiveModel {
        id_hash: Set(session.id_hash.clone()),
        account_id: Set(account),
        amr: Set(amr_text(proof)?),
        auth_time: Set(signed(proof.map_or(0, |proof| proof.auth_time.0))),
        created_at: Set(signed(session.created_at.0)),
        seen_at: Set(signed(session.seen_at.0)),
        expires_at: Set(signed(session.expires_at.0)),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The session of that hash, if it has not run out.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id_hash: &[u8],
    now: Timestamp,
) -> Result<Option<Session>, StorageError> {
    let row = Entity::find_by_id(id_hash.to_vec())
        .filter(Column::ExpiresAt.gt(signed(now.0)))
        .only(db)
        .await?;
    row.as_ref().map(Session::try_from).transpose()
}

/// Notes that a session is in use.
pub(crate) async fn touch(
    db: &impl ConnectionTrait,
    id_hash: &[u8],
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::SeenAt, Expr::value(signed(now.0)))
        .filter(Column::IdHash.eq(id_hash.to_vec()))
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes a browser's row. What it has shown to tenants must have been ended or moved before.
pub(crate) async fn delete(db: &impl ConnectionTrait, id_hash: &[u8]) -> Result<(), StorageError> {
    Entity::delete_by_id(id_hash.to_vec()).exec(db).await?;
    Ok(())
}

/// Deletes every browser's row of an account but `keep`, and says which they were.
pub(crate) async fn delete_all_of_account(
    db: &impl ConnectionTrait,
    account: &AccountId,
    keep: Option<&[u8]>,
) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut rows = Entity::find().filter(Column::AccountId.eq(account.as_str())).all(db).await?;
    rows.retain(|row| keep.is_none_or(|keep| row.id_hash != keep));
    for row in &rows {
        delete(db, &row.id_hash).await?;
    }
    Ok(rows.into_iter().map(|row| row.id_hash).collect())
}

/// What the browser has shown to `tenant`, if that is neither ended nor run out.
pub(crate) async fn find_proof(
    db: &impl ConnectionTrait,
    session_hash: &[u8],
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Option<TenantSession>, StorageError> {
    let row = proofs::Entity::find()
        .filter(proofs::Column::SessionHash.eq(session_hash.to_vec()))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .filter(proofs::Column::ExpiresAt.gt(signed(now.0)))
        .only(db)
        .await?;
    row.as_ref().map(TenantSession::try_from).transpose()
}

/// The tenant's session of that name, ended or not.
pub(crate) async fn find_sid(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
) -> Result<Option<TenantSession>, StorageError> {
    let row = proofs::Entity::find_by_id(sid)
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .only(db)
        .await?;
    row.as_ref().map(TenantSession::try_from).transpose()
}

/// As [`find_sid`], and it does not end before the caller's transaction does: whoever ends it waits
/// (`FOR SHARE`; SQLite has one writer anyway), and finds what was begun in it.
pub(crate) async fn hold(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
) -> Result<Option<TenantSession>, StorageError> {
    let row = proofs::Entity::find_by_id(sid)
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .lock_shared()
        .only(db)
        .await?;
    row.as_ref().map(TenantSession::try_from).transpose()
}

pub(crate) async fn insert_proof(
    db: &impl ConnectionTrait,
    session_hash: &[u8],
    tenant_session: &TenantSession,
) -> Result<(), StorageError> {
    let proof = &tenant_session.proof;
    let row = proofs::ActiveModel {
        sid: Set(tenant_session.sid.clone()),
        session_hash: Set(session_hash.to_vec()),
        tenant_id: Set(tenant_session.tenant.as_str().to_owned()),
        user_id: Set(tenant_session.user.as_str().to_owned()),
        connection: Set(proof.connection.clone()),
        amr: Set(amr_text(Some(proof))?),
        auth_time: Set(signed(proof.auth_time.0)),
        created_at: Set(signed(tenant_session.created_at.0)),
        expires_at: Set(signed(tenant_session.expires_at.0)),
        ended_at: Set(None),
        user_agent: Set(tenant_session.user_agent.clone()),
        upstream_session: Set(None),
    };
    proofs::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Notes what the tenant's own provider calls its session.
pub(crate) async fn note_upstream(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
    upstream: &UpstreamSession,
) -> Result<(), StorageError> {
    let upstream = serde_json::to_string(upstream).map_err(|_| StorageError::Corrupt {
        table: "session_proofs",
        row: sid.to_owned(),
        column: "upstream_session",
    })?;
    proofs::Entity::update_many()
        .col_expr(proofs::Column::UpstreamSession, Expr::value(upstream))
        .filter(proofs::Column::Sid.eq(sid))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// What the tenant's own provider calls its session, if it has said so.
pub(crate) async fn upstream_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
) -> Result<Option<UpstreamSession>, StorageError> {
    let row = proofs::Entity::find_by_id(sid)
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .only(db)
        .await?;
    row.as_ref().map(upstream).transpose().map(Option::flatten)
}

/// The live sessions that began through a connection, with what its provider calls them; those that
/// it gave no name are not among them.
pub(crate) async fn live_through(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    now: Timestamp,
) -> Result<Vec<(TenantSession, UpstreamSession)>, StorageError> {
    let rows = proofs::Entity::find()
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::Connection.eq(connection.as_str()))
        .filter(proofs::Column::UpstreamSession.is_not_null())
        .filter(proofs::Column::EndedAt.is_null())
        .filter(proofs::Column::ExpiresAt.gt(signed(now.0)))
        .all(db)
        .await?;
    let mut live = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(upstream) = upstream(row)? {
            live.push((TenantSession::try_from(row)?, upstream));
        }
    }
    Ok(live)
}

fn upstream(row: &proofs::Model) -> Result<Option<UpstreamSession>, StorageError> {
    let read = row.upstream_session.as_deref().map(serde_json::from_str).transpose();
    read.map_err(|_| StorageError::Corrupt {
        table: "session_proofs",
        row: row.sid.clone(),
        column: "upstream_session",
    })
}

/// Replaces what a tenant's session rests on, after its user showed something anew.
pub(crate) async fn renew_proof(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
    proof: &Proof,
    expires_at: Timestamp,
) -> Result<(), StorageError> {
    proofs::Entity::update_many()
        .col_expr(proofs::Column::Amr, Expr::value(amr_text(Some(proof))?))
        .col_expr(proofs::Column::AuthTime, Expr::value(signed(proof.auth_time.0)))
        .col_expr(proofs::Column::Connection, Expr::value(proof.connection.clone()))
        .col_expr(proofs::Column::ExpiresAt, Expr::value(signed(expires_at.0)))
        .filter(proofs::Column::Sid.eq(sid))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

/// Lets the live proofs of one browser's row belong to another: the same browser under a new name.
/// Those that ended stay behind: they say nothing about who has just signed in anew.
pub(crate) async fn move_proofs(
    db: &impl ConnectionTrait,
    from: &[u8],
    to: &[u8],
) -> Result<(), StorageError> {
    proofs::Entity::update_many()
        .col_expr(proofs::Column::SessionHash, Expr::value(to.to_vec()))
        .filter(proofs::Column::SessionHash.eq(from.to_vec()))
        .filter(proofs::Column::EndedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Ends one tenant's session, and writes down who is to be told; `false` when it was ended before,
/// or is none of the tenant's. In a transaction of the caller's.
pub(crate) async fn end_proof(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended = proofs::Entity::update_many()
        .col_expr(proofs::Column::EndedAt, Expr::value(signed(now.0)))
        .filter(proofs::Column::Sid.eq(sid))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .exec(db)
        .await?;
    let ended = ended.rows_affected == 1;
    if ended {
        outgoing_logouts::queue(db, tenant, &[sid.to_owned()], now).await?;
    }
    Ok(ended)
}

/// Whether a session that the browser had at `tenant` was ended at `since` or later: what was shown
/// before then lets it in no more.
pub(crate) async fn ended_since(
    db: &impl ConnectionTrait,
    session_hash: &[u8],
    tenant: &TenantId,
    since: Timestamp,
) -> Result<bool, StorageError> {
    let ended = proofs::Entity::find()
        .filter(proofs::Column::SessionHash.eq(session_hash.to_vec()))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::EndedAt.gte(signed(since.0)))
        .all(db)
        .await?;
    Ok(!ended.is_empty())
}

/// Ends what one browser showed to `tenant` and what has run out since: at most one proof is live.
pub(crate) async fn end_run_out(
    db: &impl ConnectionTrait,
    session_hash: &[u8],
    tenant: &TenantId,
    now: Timestamp,
) -> Result<(), StorageError> {
    proofs::Entity::update_many()
        .col_expr(proofs::Column::EndedAt, Expr::value(signed(now.0)))
        .filter(proofs::Column::SessionHash.eq(session_hash.to_vec()))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .filter(proofs::Column::ExpiresAt.lte(signed(now.0)))
        .exec(db)
        .await?;
    Ok(())
}

/// Ends every session that began through a connection, and says whose they were.
pub(crate) async fn end_all_through(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    now: Timestamp,
) -> Result<Vec<UserId>, StorageError> {
    let ended = proofs::Entity::update_many()
        .col_expr(proofs::Column::EndedAt, Expr::value(signed(now.0)))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::Connection.eq(connection.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .exec_with_returning(db)
        .await?;
    // However many there are: their names are not listed in one statement.
    outgoing_logouts::queue_ended_at(db, tenant, now).await?;
    let ended: Result<Vec<_>, _> = ended.iter().map(TenantSession::try_from).collect();
    Ok(ended?.into_iter().map(|session| session.user).collect())
}

/// The sessions of one browser that no tenant has ended.
pub(crate) async fn live_of_browser(
    db: &impl ConnectionTrait,
    session_hash: &[u8],
) -> Result<Vec<TenantSession>, StorageError> {
    let rows = proofs::Entity::find()
        .filter(proofs::Column::SessionHash.eq(session_hash.to_vec()))
        .filter(proofs::Column::EndedAt.is_null())
        .all(db)
        .await?;
    rows.iter().map(TenantSession::try_from).collect()
}

/// Up to `limit` sessions of a user that are neither ended nor run out, by ascending `sid`, from
/// the one behind `after`.
pub(crate) async fn live_of_user(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    after: Option<&str>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<TenantSession>, StorageError> {
    let mut query = proofs::Entity::find()
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::UserId.eq(user.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .filter(proofs::Column::ExpiresAt.gt(signed(now.0)));
    if let Some(after) = after {
        query = query.filter(proofs::Column::Sid.gt(after));
    }
    let rows = query.order_by_asc(proofs::Column::Sid).limit(limit).all(db).await?;
    rows.iter().map(TenantSession::try_from).collect()
}

/// Ends every session a user has in a tenant, writes down who is to be told, and says which they
/// were. In a transaction of the caller's.
pub(crate) async fn end_all_of_user(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<String>, StorageError> {
    let of_user = sea_orm::Condition::all()
        .add(proofs::Column::TenantId.eq(tenant.as_str()))
        .add(proofs::Column::UserId.eq(user.as_str()))
        .add(proofs::Column::EndedAt.is_null());
    let sids = proofs::Entity::find()
        .select_only()
        .column(proofs::Column::Sid)
        .filter(of_user.clone())
        .into_tuple()
        .all(db)
        .await?;
    proofs::Entity::update_many()
        .col_expr(proofs::Column::EndedAt, Expr::value(signed(now.0)))
        .filter(of_user)
        .exec(db)
        .await?;
    outgoing_logouts::queue(db, tenant, &sids, now).await?;
    Ok(sids)
}

/// Ends every session of a tenant, and writes down who is to be told. In a transaction of the
/// caller's. Two statements, however many sessions there are.
pub(crate) async fn end_all_of_tenant(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let ended = proofs::Entity::update_many()
        .col_expr(proofs::Column::EndedAt, Expr::value(signed(now.0)))
        .filter(proofs::Column::TenantId.eq(tenant.as_str()))
        .filter(proofs::Column::EndedAt.is_null())
        .exec(db)
        .await?;
    outgoing_logouts::queue_ended_at(db, tenant, now).await?;
    Ok(ended.rows_affected)
}

impl TryFrom<&Model> for Session {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt {
            table: "sessions",
            row: "of a browser".to_owned(),
            column,
        };
        let account = match &row.account_id {
            None => None,
            Some(account) => {
                let account = account.clone().try_into().map_err(|_| corrupt("account_id"))?;
                let shown: Vec<Amr> = serde_json::from_str(&row.amr).map_err(|_| corrupt("amr"))?;
                Some((account, Proof::of(shown, Timestamp(unsigned(row.auth_time)))))
            }
        };
        Ok(Self {
            id_hash: row.id_hash.clone(),
            account,
            created_at: Timestamp(unsigned(row.created_at)),
            seen_at: Timestamp(unsigned(row.seen_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
        })
    }
}

impl TryFrom<&proofs::Model> for TenantSession {
    type Error = StorageError;

    fn try_from(row: &proofs::Model) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt {
            table: "session_proofs",
            row: row.sid.clone(),
            column,
        };
        let shown: Vec<Amr> = serde_json::from_str(&row.amr).map_err(|_| corrupt("amr"))?;
        let mut proof = Proof::of(shown, Timestamp(unsigned(row.auth_time)));
        proof.connection = row.connection.clone();
        Ok(Self {
            sid: row.sid.clone(),
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            user: row.user_id.parse().map_err(|_| corrupt("user_id"))?,
            proof,
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
            ended_at: row.ended_at.map(|at| Timestamp(unsigned(at))),
            user_agent: row.user_agent.clone(),
        })
    }
}

fn amr_text(proof: Option<&Proof>) -> Result<String, StorageError> {
    let amr = proof.map(Proof::amr).unwrap_or_default();
    serde_json::to_string(&amr).map_err(|_| StorageError::Corrupt {
        table: "sessions",
        row: "to be written".to_owned(),
        column: "amr",
    })
}
