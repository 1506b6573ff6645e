//! The table of grants: what a user let a client do, and the family of refresh tokens that stands
//! for it (RFC 9700 4.14.2).
//!
//! One row per family. No token is stored: a token names its grant and its *turn*, and is
//! authenticated by a MAC, so the successor of a turn is derived and is the same whoever asks
//! (I-10). Rotation is one statement that adds one to `turn`; of any number at once, on any number
//! of servers, exactly one does. It has reached the disk before its answer leaves.

use std::{collections::BTreeSet, time::Duration};

use partywall::{TenantId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, ExprTrait, QueryOrder, QuerySelect, entity::prelude::*,
};

use super::{Only, StorageError, signed, unsigned};
use crate::{
    control::{ApplicationId, ConnectionId, Scope, UserId},
    login::{Amr, Proof},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "grants")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) client_id: String,
    pub(crate) sid: Option<String>,
    pub(crate) scopes: String,
    pub(crate) resource: String,
    pub(crate) connection: Option<String>,
    pub(crate) amr: String,
    pub(crate) auth_time: i64,
    pub(crate) nonce: Option<String>,
    pub(crate) dpop_jkt: Option<String>,
    pub(crate) turn: i64,
    pub(crate) turned_at: i64,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) revoked_why: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a user let a client do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grant {
    /// 26 random characters. The ids of its access tokens begin with it, so that all of them can
    /// be refused at once.
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) client: ApplicationId,
    /// The tenant's session it began in.
    pub(crate) sid: Option<String>,
    /// All that was granted: a refresh may ask for less, and for more never again.
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) resource: String,
    /// What the user showed when it began.
    pub(crate) proof: Proof,
    /// For the ID tokens that follow (OIDC Core 12.2 leaves it out of them; kept for the first).
    pub(crate) nonce: Option<String>,
    /// The key its tokens are bound to (RFC 9449 5).
    pub(crate) dpop_jkt: Option<String>,
    /// Which turn's token is good.
    pub(crate) turn: u64,
    /// When that turn began.
    pub(crate) turned_at: Timestamp,
    pub(crate) created_at: Timestamp,
    /// Whatever is turned meanwhile.
    pub(crate) expires_at: Timestamp,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// What the token of some turn is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It is the one to turn.
    Present,
    /// It was turned a moment ago: by another tab, or by somebody whom the answer never reached.
    JustTurned,
    /// It was used long ago, or was never issued. Either somebody copied it, or somebody copied
    /// the one before: nobody can tell which of the two is asking.
    Spent,
}

/// How long a turned token still leads to its successor.
pub(crate) const RACE: Duration = Duration::from_secs(30);

impl Grant {
    /// Whether it is good at all.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// What the token of `turn` is worth at `now`.
    pub(crate) fn standing(&self, turn: u64, now: Timestamp) -> Standing {
        if turn == self.turn {
            Standing::Present
        } else if turn.checked_add(1) == Some(self.turn) && now < self.turned_at + RACE {
            Standing::JustTurned
        } else {
            Standing::Spent
        }
    }
}

pub(crate) async fn insert(db: &impl ConnectionTrait, grant: &Grant) -> Result<(), StorageError> {
    let corrupt = |column| corrupt(&grant.id, column);
    let row = ActiveModel {
        id: Set(grant.id.clone()),
        tenant_id: Set(grant.tenant.as_str().to_owned()),
        user_id: Set(grant.user.as_str().to_owned()),
        client_id: Set(grant.client.as_str().to_owned()),
        sid: Set(grant.sid.clone()),
        scopes: Set(serde_json::to_string(&grant.scopes).map_err(|_| corrupt("scopes"))?),
        resource: Set(grant.resource.clone()),
        connection: Set(grant.proof.connection.clone()),
        amr: Set(serde_json::to_string(&grant.proof.amr()).map_err(|_| corrupt("amr"))?),
        auth_time: Set(signed(grant.proof.auth_time.0)),
        nonce: Set(grant.nonce.clone()),
        dpop_jkt: Set(grant.dpop_jkt.clone()),
        turn: Set(signed(grant.turn)),
        turned_at: Set(signed(grant.turned_at.0)),
        created_at: Set(signed(grant.created_at.0)),
        expires_at: Set(signed(grant.expires_at.0)),
        revoked_at: Set(grant.revoked_at.map(|at| signed(at.0))),
        revoked_why: Set(None),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The tenant's grant of that id, revoked or not.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
) -> Result<Option<Grant>, StorageError> {
    let row = Entity::find_by_id(id).filter(Column::TenantId.eq(tenant.as_str())).only(db).await?;
    row.as_ref().map(Grant::try_from).transpose()
}

/// Up to `limit` live grants of a user by ascending id, from the one behind `after`.
pub(crate) async fn page(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    after: Option<&str>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Grant>, StorageError> {
    let mut query = Entity::find()
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::UserId.eq(user.as_str()))
        .filter(live(now));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(db).await?;
    rows.iter().map(Grant::try_from).collect()
}

/// The grants that began in a tenant's session, and have not been ended. Those that ran out at
/// `since` or later are among them: access tokens issued at their end may still be good.
pub(crate) async fn of_session(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    sid: &str,
    since: Timestamp,
) -> Result<Vec<Grant>, StorageError> {
    let rows = Entity::find()
        .filter(Column::Sid.eq(sid))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(live(since))
        .all(db)
        .await?;
    rows.iter().map(Grant::try_from).collect()
}

/// Begins the turn after `turn`, if that is the present one still and the grant is good.
///
/// `UPDATE grants SET turn = turn + 1, turned_at = ? WHERE id = ? AND tenant_id = ? AND
/// client_id = ? AND turn = ? AND revoked_at IS NULL AND expires_at > ?`: whoever comes second
/// changes nothing.
pub(crate) async fn turn(
    db: &impl ConnectionTrait,
    grant: &Grant,
    turn: u64,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let turned = Entity::update_many()
        .col_expr(Column::Turn, Expr::col(Column::Turn).add(1))
        .col_expr(Column::TurnedAt, Expr::value(signed(now.0)))
        .filter(of(&grant.tenant, &grant.id))
        .filter(Column::ClientId.eq(grant.client.as_str()))
        .filter(Column::Turn.eq(signed(turn)))
        .filter(live(now))
        .exec(db)
        .await?;
    Ok(turned.rows_affected == 1)
}

/// Ends a grant. `false` when it has ended already.
pub(crate) async fn revoke(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    id: &str,
    why: &str,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(signed(now.0)))
        .col_expr(Column::RevokedWhy, Expr::value(why))
        .filter(of(tenant, id))
        .filter(Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected == 1)
}

/// Ends every grant of a user, of one client or of all. Its access tokens are the caller's to
/// refuse (`Revocation::Subject`).
pub(crate) async fn revoke_all_of(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    user: &UserId,
    client: Option<&ApplicationId>,
    why: &str,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut update = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(signed(now.0)))
        .col_expr(Column::RevokedWhy, Expr::value(why))
        .filter(Column::TenantId.eq(tenant.as_str()))
        .filter(Column::UserId.eq(user.as_str()))
        .filter(Column::RevokedAt.is_null());
    if let Some(client) = client {
        update = update.filter(Column::ClientId.eq(client.as_str()));
    }
    Ok(update.exec(db).await?.rows_affected)
}

/// Who has a grant that began through a connection and was good at `since` or later.
pub(crate) async fn users_through(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    since: Timestamp,
) -> Result<BTreeSet<UserId>, StorageError> {
    let users: Vec<String> = Entity::find()
        .filter(through(tenant, connection))
        .filter(live(since))
        .select_only()
        .column(Column::UserId)
        .distinct()
        .into_tuple()
        .all(db)
        .await?;
    let parsed = users.iter().map(|user| user.parse());
    parsed.collect::<Result<_, _>>().map_err(|_| corrupt(connection.as_str(), "user_id"))
}

/// Ends every grant that began through a connection.
pub(crate) async fn revoke_all_through(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
    connection: &ConnectionId,
    why: &str,
    now: Timestamp,
) -> Result<(), StorageError> {
    Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(signed(now.0)))
        .col_expr(Column::RevokedWhy, Expr::value(why))
        .filter(through(tenant, connection))
        .filter(Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

fn through(tenant: &TenantId, connection: &ConnectionId) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::TenantId.eq(tenant.as_str()))
        .add(Column::Connection.eq(connection.as_str()))
}

fn of(tenant: &TenantId, id: &str) -> sea_orm::Condition {
    sea_orm::Condition::all().add(Column::Id.eq(id)).add(Column::TenantId.eq(tenant.as_str()))
}

fn live(now: Timestamp) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::RevokedAt.is_null())
        .add(Column::ExpiresAt.gt(signed(now.0)))
}

fn corrupt(id: &str, column: &'static str) -> StorageError {
    StorageError::Corrupt { table: "grants", row: id.to_owned(), column }
}

impl TryFrom<&Model> for Grant {
    type Error = StorageError;

    fn try_from(row: &Model) -> Result<Self, StorageError> {
        let corrupt = |column| corrupt(&row.id, column);
        let amr: BTreeSet<Amr> = serde_json::from_str(&row.amr).map_err(|_| corrupt("amr"))?;
        let mut proof = Proof::of(amr, Timestamp(unsigned(row.auth_time)));
        proof.connection.clone_from(&row.connection);
        Ok(Self {
            id: row.id.clone(),
            tenant: row.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            user: row.user_id.parse().map_err(|_| corrupt("user_id"))?,
            client: row.client_id.parse().map_err(|_| corrupt("client_id"))?,
            sid: row.sid.clone(),
            scopes: serde_json::from_str(&row.scopes).map_err(|_| corrupt("scopes"))?,
            resource: row.resource.clone(),
            proof,
            nonce: row.nonce.clone(),
            dpop_jkt: row.dpop_jkt.clone(),
            turn: unsigned(row.turn),
            turned_at: Timestamp(unsigned(row.turned_at)),
            created_at: Timestamp(unsigned(row.created_at)),
            expires_at: Timestamp(unsigned(row.expires_at)),
            revoked_at: row.revoked_at.map(|at| Timestamp(unsigned(at))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, NewApplication, NewTenant, NewUser,
        control::tests_support::{START, control},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    async fn a_grant(control: &crate::ControlPlane) -> Grant {
        let actor = Actor::System("test");
        let new =
            NewTenant::new("acme".parse().unwrap(), "free".parse().unwrap(), Default::default());
        let tenant = control.create_tenant(&actor, new).await.unwrap();
        let ada = NewUser {
            email: "ada@acme.test".parse().unwrap(),
            name: "Ada".to_owned(),
            roles: ["clerk".into()].into(),
            metadata: Default::default(),
        };
        let user = control.create_user(&actor, tenant.id(), ada).await.unwrap().id;
        let app: NewApplication = serde_json::from_value(serde_json::json!({
            "name": "web", "authentication": "none",
            "registration": { "redirect_uris": ["https://app.test/cb"] },
        }))
        .unwrap();
        let client = control.create_application(&actor, None, app).await.unwrap().client_id;
        Grant {
            id: "g".repeat(26),
            tenant: tenant.id().clone(),
            user,
            client,
            sid: Some("sid".to_owned()),
            scopes: ["openid".parse().unwrap(), "invoices:read".parse().unwrap()].into(),
            resource: "https://api.test".to_owned(),
            proof: Proof::of([Amr::Password, Amr::Totp], START),
            nonce: Some("n".to_owned()),
            dpop_jkt: None,
            turn: 0,
            turned_at: START,
            created_at: START,
            expires_at: START + 60 * MINUTE,
            revoked_at: None,
        }
    }

    #[tokio::test]
    async fn o06_of_fifty_turns_at_once_one_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let grant = a_grant(&control).await;
        let db = &control.inner.db;
        insert(db.reader(), &grant).await.unwrap();
        let read = find(db.reader(), &grant.tenant, &grant.id).await.unwrap().unwrap();
        assert_eq!(read.proof.amr(), grant.proof.amr(), "what was shown is read as it was");
        assert_eq!(Grant { proof: grant.proof.clone(), ..read }, grant);

        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (control, grant) = (control.clone(), grant.clone());
            all.spawn(async move {
                let write = control.inner.db.single().await;
                turn(write.db(), &grant, 0, START + MINUTE).await.unwrap()
            });
        }
        assert_eq!(all.join_all().await.into_iter().filter(|turned| *turned).count(), 1);
        let after = find(db.reader(), &grant.tenant, &grant.id).await.unwrap().unwrap();
        assert_eq!((after.turn, after.turned_at), (1, START + MINUTE));
    }

    #[tokio::test]
    async fn o06_a_turn_is_bound_to_tenant_client_and_life() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let grant = a_grant(&control).await;
        let db = control.inner.db.reader();
        insert(db, &grant).await.unwrap();
        let other_client = format!("app-{}", "b".repeat(26)).parse().unwrap();
        let others = [
            Grant { tenant: "bond".parse().unwrap(), ..grant.clone() },
            Grant { client: other_client, ..grant.clone() },
            Grant { id: "h".repeat(26), ..grant.clone() },
        ];
        for other in &others {
            assert!(!turn(db, other, 0, START).await.unwrap(), "{other:?}");
        }
        assert!(!turn(db, &grant, 1, START).await.unwrap(), "a turn to come");
        assert!(!turn(db, &grant, 0, grant.expires_at).await.unwrap(), "too late");
        assert!(turn(db, &grant, 0, START).await.unwrap(), "the control");
        let bond = "bond".parse().unwrap();
        assert!(find(db, &bond, &grant.id).await.unwrap().is_none());
        assert!(!revoke(db, &bond, &grant.id, "test", START).await.unwrap());
        assert!(revoke(db, &grant.tenant, &grant.id, "test", START).await.unwrap());
        assert!(!revoke(db, &grant.tenant, &grant.id, "test", START).await.unwrap(), "twice");
        assert!(!turn(db, &grant, 1, START).await.unwrap(), "revoked");
    }

    #[test]
    fn i10_a_turned_token_is_good_for_half_a_minute_and_the_one_before_never() {
        let grant = Grant {
            id: "g".repeat(26),
            tenant: "acme".parse().unwrap(),
            user: format!("u:{}", "a".repeat(26)).parse().unwrap(),
            client: format!("app-{}", "a".repeat(26)).parse().unwrap(),
            sid: None,
            scopes: BTreeSet::new(),
            resource: String::new(),
            proof: Proof::of([Amr::Password], START),
            nonce: None,
            dpop_jkt: None,
            turn: 5,
            turned_at: START,
            created_at: START,
            expires_at: START + MINUTE,
            revoked_at: None,
        };
        let second = |n| START + Duration::from_secs(n);
        assert_eq!(grant.standing(5, second(0)), Standing::Present);
        assert_eq!(grant.standing(5, second(59)), Standing::Present);
        assert_eq!(grant.standing(4, second(29)), Standing::JustTurned);
        assert_eq!(grant.standing(4, second(30)), Standing::Spent);
        assert_eq!(grant.standing(3, second(0)), Standing::Spent);
        assert_eq!(grant.standing(6, second(0)), Standing::Spent, "never issued");
    }
}
