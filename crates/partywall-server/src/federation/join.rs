//! Who somebody from a tenant's provider is in the tenant: the user they are linked to, one that
//! is made for them, or nobody. Nothing the provider says finds a user but the identity itself,
//! unless the tenant's rules say so (F-01, I-02).

use std::{collections::BTreeSet, time::Duration};

use partywall::{Role, Timestamp};
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{UnverifiedEmail, Upstream, domains::DomainName};
use crate::{
    control::{
        Connection, ControlError, ControlPlane, Email, Metadata, REQUESTS_UNDER_WAY, THE_SERVER,
        User, UserId, UserStatus,
    },
    storage::{
        AuditEvent, accounts, connections, domains, external_identities, scim_groups, scim_users,
        users,
    },
};

/// Who somebody is.
#[derive(Debug)]
pub(crate) enum Joined {
    User(Box<User>),
    Nobody(Unknown),
}

/// Why somebody whom the provider vouches for is nobody here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("nobody is linked to this identity, and the connection makes no users")]
    NotLinked,
    #[error("the provider sends no e-mail address, which a new user needs")]
    NoEmail,
    #[error("the address is of a domain that the tenant has not proved to be its own")]
    DomainNotProved,
    #[error("a user with this address is there already: let them sign in, and link the two")]
    EmailTaken,
    #[error("the tenant has a user with this address who was suspended")]
    Suspended,
    #[error("the connection was changed meanwhile, or lets nobody in")]
    Shut,
}

impl Unknown {
    /// The word in records.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::NotLinked => "not_linked",
            Self::NoEmail => "no_email",
            Self::DomainNotProved => "domain_not_proved",
            Self::EmailTaken => "email_taken",
            Self::Suspended => "suspended",
            Self::Shut => "connection_shut",
        }
    }
}

/// Finds or makes the user, and gives them the roles that their groups give now.
pub(crate) async fn join(
    control: &ControlPlane,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Joined, ControlError> {
    let identity = upstream.identity(connection);
    let db = control.inner.db.reader();
    let tenant = &connection.tenant;
    if let Some(id) = external_identities::user_of(db, &identity).await?
        && let Some(user) = users::find(db, tenant, &id).await?
        && connection.rules.roles_of(&user.roles, &groups_of(db, connection, &id, upstream).await?)
            == user.roles
    {
        let write = control.inner.db.single().await;
        external_identities::touch(write.db(), &identity, control.now()).await?;
        return Ok(Joined::User(Box::new(user)));
    }
    // Something has to be written. All of it is decided anew, within the change.
    let now = control.now();
    let change = control.inner.db.change(now).await?;
    let rows = change.rows();
    let current = connections::find(rows, tenant, &connection.id).await?;
    let Some(connection) = current.filter(Connection::admits) else {
        return Ok(Joined::Nobody(Unknown::Shut));
    };
    let (user, how) = match external_identities::user_of(rows, &identity).await? {
        Some(id) => match users::find(rows, tenant, &id).await? {
            Some(user) => (user, How::Known),
            None => return Ok(Joined::Nobody(Unknown::NotLinked)),
        },
        None => match found(rows, &connection, upstream).await? {
            Found::User(user, how) => (*user, how),
            Found::Room(email) => {
                let user = new_user(control, &connection, upstream, email, now)?;
                users::insert(rows, &user).await?;
                (user, How::Made)
            }
            Found::Nobody(why) => return Ok(Joined::Nobody(why)),
        },
    };
    if how != How::Known && !external_identities::link(rows, &identity, &user.id, now).await? {
        return Ok(Joined::Nobody(Unknown::Shut));
    }
    let groups = groups_of(rows, &connection, &user.id, upstream).await?;
    let before = user.roles.clone();
    let user = with_roles(control, rows, &connection, user, &groups, now).await?;
    external_identities::touch(rows, &identity, now).await?;
    let event = AuditEvent {
        actor: &THE_SERVER,
        tenant: Some(tenant),
        action: how.action(),
        detail: json!({
            "user": user.id, "connection": connection.id, "issuer": upstream.issuer,
            "login": upstream.login, "groups": upstream.groups, "roles": user.roles,
        }),
    };
    control.commit(change, event).await?;
    if !before.is_subset(&user.roles) {
        // Tokens of the coming seconds are refused with those from before. Whoever is signing in
        // just now is to get one that is good.
        tokio::time::sleep(Duration::from_secs(REQUESTS_UNDER_WAY + 1)).await;
    }
    Ok(Joined::User(Box::new(user)))
}

/// Who somebody would be, if they signed in now.
#[derive(Debug)]
pub(crate) enum WouldBe {
    /// The user they are linked to.
    Known { email: Email, roles: BTreeSet<Role> },
    /// A user they would be linked to.
    Linked { email: Email, roles: BTreeSet<Role> },
    /// A new user.
    Made { email: Email, roles: BTreeSet<Role> },
    /// Nobody; and what roles their groups would give.
    Nobody { why: Unknown, roles: BTreeSet<Role> },
}

/// As [`join`], and changes nothing.
pub(crate) async fn would_be(
    control: &ControlPlane,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<WouldBe, ControlError> {
    let view = control.inner.db.snapshot().await?;
    let roles = |before: &BTreeSet<Role>| connection.rules.roles_of(before, &upstream.groups);
    if let Some(id) = external_identities::user_of(&view, &upstream.identity(connection)).await?
        && let Some(user) = users::find(&view, &connection.tenant, &id).await?
    {
        if user.status == UserStatus::Suspended {
            return Ok(WouldBe::Nobody { why: Unknown::Suspended, roles: roles(&user.roles) });
        }
        return Ok(WouldBe::Known { roles: roles(&user.roles), email: user.email });
    }
    Ok(match found(&view, connection, upstream).await? {
        Found::User(user, _) => WouldBe::Linked { roles: roles(&user.roles), email: user.email },
        Found::Room(email) => WouldBe::Made { email, roles: roles(&BTreeSet::new()) },
        Found::Nobody(why) => WouldBe::Nobody { why, roles: roles(&BTreeSet::new()) },
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum How {
    Known,
    LinkedByEmail,
    Announced,
    Made,
}

impl How {
    fn action(self) -> &'static str {
        match self {
            Self::Known => "user.roles_by_groups",
            Self::LinkedByEmail => "identity.link_by_email",
            Self::Announced => "identity.link_announced",
            Self::Made => "user.join",
        }
    }
}

enum Found {
    User(Box<User>, How),
    /// Nobody has that address: there is room for a new user.
    Room(Email),
    Nobody(Unknown),
}

/// Whom an identity that is linked to nobody may be taken for.
async fn found(
    db: &impl ConnectionTrait,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Found, ControlError> {
    let (tenant, rules) = (&connection.tenant, &connection.rules);
    // The same provider announced them: its word twice, and of this connection both times.
    if let Some(user) = announced(db, connection, upstream).await? {
        return Ok(match user.status {
            UserStatus::Suspended => Found::Nobody(Unknown::Suspended),
            UserStatus::Active | UserStatus::Invited => Found::User(Box::new(user), How::Announced),
        });
    }
    if !rules.just_in_time && !rules.link_by_email {
        return Ok(Found::Nobody(Unknown::NotLinked));
    }
    let Some(UnverifiedEmail { address, said_to_be_verified }) = &upstream.email else {
        return Ok(Found::Nobody(Unknown::NoEmail));
    };
    // F-03: a provider says something about addresses of its tenant's own domains, or nothing.
    let is_own = match DomainName::of(address) {
        Some(domain) => domains::is_proved_for(db, tenant, &domain).await?,
        None => false,
    };
    if !is_own {
        return Ok(Found::Nobody(Unknown::DomainNotProved));
    }
    let Some(user) = users::of_email(db, tenant, address).await? else {
        let room = if rules.just_in_time {
            Found::Room(address.clone())
        } else {
            Found::Nobody(Unknown::NotLinked)
        };
        return Ok(room);
    };
    if user.status == UserStatus::Suspended {
        return Ok(Found::Nobody(Unknown::Suspended));
    }
    // I-02: verified there, verified here, and of the same person's account.
    let verified_here = match &user.account {
        Some(account) => accounts::find(db, account).await?.is_some_and(|account| {
            account.email == user.email && account.email_verified_at.is_some()
        }),
        None => false,
    };
    if rules.link_by_email
        && *said_to_be_verified
        && verified_here
        && user.status == UserStatus::Active
    {
        return Ok(Found::User(Box::new(user), How::LinkedByEmail));
    }
    Ok(Found::Nobody(Unknown::EmailTaken))
}

/// The one user whom this connection's SCIM client has announced by a name that the provider now
/// uses; two such users are none.
async fn announced(
    db: &impl ConnectionTrait,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Option<User>, ControlError> {
    let (tenant, id) = (&connection.tenant, &connection.id);
    let mut found: Option<User> = None;
    for name in &upstream.provisioned_as {
        for announced in [
            scim_users::find_by_external_id(db, tenant, id, name).await?,
            scim_users::find_by_name(db, tenant, id, name).await?,
        ] {
            match (&found, announced) {
                (_, None) => {}
                (None, Some(announced)) => found = Some(announced.user),
                (Some(one), Some(other)) if one.id == other.user.id => {}
                (Some(_), Some(_)) => return Ok(None),
            }
        }
    }
    // Somebody who is linked already is announced no second time.
    match found {
        Some(user) => {
            let linked = connections::vouching_for(db, tenant, id.as_str(), &user.id).await?;
            Ok(linked.is_none().then_some(user))
        }
        None => Ok(None),
    }
}

fn new_user(
    control: &ControlPlane,
    connection: &Connection,
    upstream: &Upstream,
    email: Email,
    now: Timestamp,
) -> Result<User, ControlError> {
    let name = upstream.name.as_deref().unwrap_or_default().trim();
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    Ok(User {
        id: UserId::draw(&control.inner.random)?,
        tenant: connection.tenant.clone(),
        account: None,
        name: if name.is_empty() { email.as_str().to_owned() } else { name },
        email,
        status: UserStatus::Active,
        roles: Default::default(),
        metadata: Metadata::default(),
        break_glass: false,
        created_at: now,
        changed_at: now,
        version: 1,
    })
}

/// The groups the provider says somebody is in: in its response, and by SCIM. What it said by one it
/// does not take back by leaving it out of the other.
async fn groups_of(
    db: &impl ConnectionTrait,
    connection: &Connection,
    user: &UserId,
    upstream: &Upstream,
) -> Result<Vec<String>, ControlError> {
    let mut groups = upstream.groups.clone();
    if !connection.rules.group_roles.is_empty() {
        let (tenant, id) = (&connection.tenant, &connection.id);
        groups.extend(scim_groups::names_of(db, tenant, id, user).await?);
    }
    Ok(groups)
}

/// Gives the roles that the groups give; one that loses a role loses its access tokens.
async fn with_roles(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    connection: &Connection,
    mut user: User,
    groups: &[String],
    now: Timestamp,
) -> Result<User, ControlError> {
    let roles = connection.rules.roles_of(&user.roles, groups);
    if roles == user.roles {
        return Ok(user);
    }
    if !user.roles.is_subset(&roles) {
        control.refuse_tokens_of(db, &user.tenant, user.id.as_str(), now).await?;
    }
    user.roles = roles;
    user.changed_at = now;
    user.version += 1;
    if users::update(db, &user).await? { Ok(user) } else { Err(ControlError::Conflict) }
}
