//! `/Users` (RFC 7644 section 3). A SCIM user is a user of the tenant, without an account: its
//! connection describes it, and reaches no other.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use partywall::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    caller::ScimCaller,
    ending::{self, Receipt},
    error::ScimError,
    patch, resource,
    respond::{Body, Representation, done, if_match, with_receipt},
    schema::USER,
    search::Asked,
};
use crate::{
    control::{ControlPlane, Email, User, UserId, UserStatus},
    storage::{
        AuditEvent, StorageError, erasure, scim_groups,
        scim_groups::ScimGroup,
        scim_users::{self, ScimUser},
        users,
    },
};

/// `POST /Users`.
pub(super) async fn post(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let made = create(&control, &caller, &body).await?;
    Ok(asked.answer(&USER, StatusCode::CREATED, made))
}

/// `GET /Users/{id}`.
pub(super) async fn get(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, ScimError> {
    let found = read(&control, &caller, &id).await?;
    Ok(found.unless_known(&headers).unwrap_or_else(|| asked.answer(&USER, StatusCode::OK, found)))
}

/// `PUT /Users/{id}`.
pub(super) async fn put(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let changed = replace(&control, &caller, &id, if_match(&headers), &body).await?;
    Ok(asked.answer(&USER, StatusCode::OK, changed))
}

/// `PATCH /Users/{id}`.
pub(super) async fn patch(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let changed = modify(&control, &caller, &id, if_match(&headers), &body).await?;
    Ok(asked.answer(&USER, StatusCode::OK, changed))
}

/// `DELETE /Users/{id}`.
pub(super) async fn delete(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ScimError> {
    let receipt = erase(&control, &caller, &id, if_match(&headers)).await?;
    Ok(with_receipt(done(), Some(&receipt)))
}

/// Makes a user of the tenant. One with the same `userName` or address is neither taken over nor
/// linked: whoever is there stays who they are (C-05, C-06).
pub(super) async fn create(
    control: &ControlPlane,
    caller: &ScimCaller,
    body: &Map<String, Value>,
) -> Result<Representation, ScimError> {
    let mut attributes = resource::read(&USER, body)?;
    let active = active_in(&attributes).unwrap_or(true);
    attributes.insert(ACTIVE.to_owned(), active.into());
    check_names(&attributes)?;
    let now = control.now();
    let id = UserId::draw(&control.inner.random).map_err(crate::control::ControlError::from)?;
    let change = control.inner.db.change(now).await?;
    let connection = caller.still(change.rows()).await?;
    let described = ScimUser {
        user: User {
            tenant: connection.tenant.clone(),
            account: None,
            email: email_of(&attributes).unwrap_or_else(|| Email::nowhere(&id)),
            name: name_of(&attributes),
            status: status(active),
            roles: connection.rules.roles_of(&Default::default(), &[]),
            metadata: Default::default(),
            break_glass: false,
            created_at: now,
            changed_at: now,
            version: 1,
            id,
        },
        connection: connection.id,
        attributes,
        created_at: now,
        changed_at: now,
        version: 1,
    };
    let (tenant, user) = (caller.tenant(), &described.user);
    let same =
        scim_users::find_by_name(change.rows(), tenant, caller.connection(), described.user_name());
    if same.await?.is_some() {
        return Err(ScimError::Uniqueness("userName"));
    }
    taken(users::insert(change.rows(), user).await)?;
    scim_users::insert(change.rows(), &described).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(tenant),
        action: "user.create",
        detail: json!({ "user": user.id, "roles": user.roles, "status": user.status }),
    };
    control.commit(change, event).await?;
    Ok(represent(caller, &described, &[]))
}

/// The user of that id, if the connection describes it.
pub(super) async fn read(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
) -> Result<Representation, ScimError> {
    let db = control.inner.db.reader();
    let found = scim_users::find(db, caller.tenant(), caller.connection(), &user_id(id)?).await?;
    let found = found.ok_or(ScimError::NotFound)?;
    let mut shown = represent_all(db, caller, std::slice::from_ref(&found)).await?;
    shown.pop().ok_or(ScimError::NotFound)
}

/// Replaces everything that is said of a user. What is left out is said no more, but whether it is
/// active, which stays as it was: nobody is let in by an omission.
pub(super) async fn replace(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    body: &Map<String, Value>,
) -> Result<Representation, ScimError> {
    let read = resource::read(&USER, body)?;
    change(control, caller, id, if_match, |resource| {
        let active = active_in(resource);
        *resource = read;
        if let (Some(active), None) = (active, active_in(resource)) {
            resource.insert(ACTIVE.to_owned(), active.into());
        }
        Ok(())
    })
    .await
}

/// Changes some of what is said of a user.
pub(super) async fn modify(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    body: &Map<String, Value>,
) -> Result<Representation, ScimError> {
    let operations = patch::read(&USER, body)?;
    change(control, caller, id, if_match, |resource| patch::apply(&USER, resource, operations))
        .await
}

async fn change(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    write: impl FnOnce(&mut Map<String, Value>) -> Result<(), ScimError> + Send,
) -> Result<Representation, ScimError> {
    let (id, now, tenant) = (user_id(id)?, control.now(), caller.tenant());
    let change = control.inner.db.change(now).await?;
    caller.still(change.rows()).await?;
    let before = scim_users::find(change.rows(), tenant, caller.connection(), &id).await?;
    let before = before.ok_or(ScimError::NotFound)?;
    let groups = groups_of(change.rows(), caller, &id).await?;
    let shown = represent(caller, &before, &groups);
    shown.expect(if_match)?;

    let mut after = before.clone();
    let was_active = before.user.status != UserStatus::Suspended;
    if let Some(active) = after.attributes.get_mut(ACTIVE) {
        // An administrator may have decided otherwise since.
        *active = was_active.into();
    }
    write(&mut after.attributes)?;
    let active = active_in(&after.attributes).unwrap_or(was_active);
    check_names(&after.attributes)?;
    let mut said = after.attributes.clone();
    if let (Some(now), Some(then)) = (said.get_mut(ACTIVE), before.attributes.get(ACTIVE)) {
        *now = then.clone();
    }
    if said == before.attributes && active == was_active {
        return Ok(shown);
    }
    let renamed =
        scim_users::name_key(after.user_name()) != scim_users::name_key(before.user_name());
    if renamed {
        let (name, connection) = (after.user_name(), caller.connection());
        let same = scim_users::find_by_name(change.rows(), tenant, connection, name).await?;
        if same.is_some() {
            return Err(ScimError::Uniqueness("userName"));
        }
    }
    after.user.name = name_of(&after.attributes);
    if after.user.account.is_none() {
        // Whoever signs in with an account does so by the account's own address (C-06).
        after.user.email = email_of(&after.attributes).unwrap_or_else(|| Email::nowhere(&id));
    }
    if active != was_active {
        after.user.status = status(active);
    }
    if after.user != before.user {
        after.user.changed_at = now;
        after.user.version += 1;
        expect_updated(taken(users::update(change.rows(), &after.user).await)?)?;
    }
    after.changed_at = now;
    after.version += 1;
    expect_updated(scim_users::update(change.rows(), &after).await?)?;
    let receipt = if was_active && !active {
        Some(ending::end_everything(control, change.rows(), &after.user, now).await?)
    } else {
        None
    };
    let took_away =
        ending::is_administrator(&before.user) && !ending::is_administrator(&after.user);
    let change = ending::keep_an_administrator(control, caller, change, took_away).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(tenant),
        action: "user.update",
        detail: json!({
            "user": id, "status": after.user.status, "status_before": before.user.status,
            "user_name_changed": renamed, "email_changed": before.user.email != after.user.email,
            "ended": receipt.as_ref().map(Receipt::described),
        }),
    };
    control.commit(change, event).await?;
    Ok(Representation { receipt, ..represent(caller, &after, &groups) })
}

/// Ends what a user has, and forgets it.
pub(super) async fn erase(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
) -> Result<Receipt, ScimError> {
    let (id, now, tenant) = (user_id(id)?, control.now(), caller.tenant());
    let change = control.inner.db.change(now).await?;
    caller.still(change.rows()).await?;
    let found = scim_users::find(change.rows(), tenant, caller.connection(), &id).await?;
    let found = found.ok_or(ScimError::NotFound)?;
    let groups = groups_of(change.rows(), caller, &id).await?;
    represent(caller, &found, &groups).expect(if_match)?;
    let receipt = ending::end_everything(control, change.rows(), &found.user, now).await?;
    erasure::user(change.rows(), &found.user).await?;
    let took_away = ending::is_administrator(&found.user);
    let change = ending::keep_an_administrator(control, caller, change, took_away).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(tenant),
        action: "user.delete",
        detail: json!({ "user": id, "ended": receipt.described() }),
    };
    control.commit(change, event).await?;
    Ok(receipt)
}

/// Users as they are answered with.
pub(super) async fn represent_all(
    db: &impl sea_orm::ConnectionTrait,
    caller: &ScimCaller,
    all: &[ScimUser],
) -> Result<Vec<Representation>, StorageError> {
    let ids: Vec<&str> = all.iter().map(|one| one.user.id.as_str()).collect();
    let mut groups = scim_groups::of_users(db, caller.tenant(), caller.connection(), &ids).await?;
    let one = |one: &ScimUser| {
        let groups = groups.remove(one.user.id.as_str()).unwrap_or_default();
        represent(caller, one, &groups)
    };
    Ok(all.iter().map(one).collect())
}

async fn groups_of(
    db: &impl sea_orm::ConnectionTrait,
    caller: &ScimCaller,
    id: &UserId,
) -> Result<Vec<ScimGroup>, StorageError> {
    let ids = [id.as_str()];
    let groups = scim_groups::of_users(db, caller.tenant(), caller.connection(), &ids).await?;
    Ok(groups.into_values().flatten().collect())
}

fn represent(caller: &ScimCaller, described: &ScimUser, groups: &[ScimGroup]) -> Representation {
    let mut resource = described.attributes.clone();
    let extensions = USER.extensions.iter().filter(|schema| resource.contains_key(schema.id));
    let schemas: Vec<_> =
        std::iter::once(USER.schema.id).chain(extensions.map(|schema| schema.id)).collect();
    let id = scim_id(&described.user.id);
    resource.insert("schemas".to_owned(), schemas.into());
    resource.insert("id".to_owned(), id.into());
    if let Some(active) = resource.get_mut(ACTIVE) {
        *active = (described.user.status != UserStatus::Suspended).into();
    }
    if !groups.is_empty() {
        let group = |group: &ScimGroup| {
            json!({
                "value": group.id, "display": group.display_name, "type": "direct",
                "$ref": format!("{}/Groups/{}", caller.base(), group.id),
            })
        };
        resource.insert("groups".to_owned(), groups.iter().map(group).collect());
    }
    let changed = described.changed_at.max(described.user.changed_at);
    let location = location(caller, &described.user.id);
    resource.insert("meta".to_owned(), meta("User", described.created_at, changed, &location));
    Representation::of(resource)
}

/// RFC 7643 3.1, without the version.
pub(super) fn meta(kind: &str, created: Timestamp, changed: Timestamp, location: &str) -> Value {
    json!({
        "resourceType": kind, "created": created.to_rfc3339(),
        "lastModified": changed.to_rfc3339(), "location": location,
    })
}

/// Where a user is.
pub(super) fn location(caller: &ScimCaller, id: &UserId) -> String {
    format!("{}/Users/{}", caller.base(), scim_id(id))
}

/// What a user is called here: what stands behind the `u:` of its `sub`, which would read as a
/// scheme in a relative address.
pub(super) fn scim_id(id: &UserId) -> &str {
    id.as_str().strip_prefix("u:").unwrap_or(id.as_str())
}

/// The way back. What reads as no id names nobody.
pub(super) fn user_id(id: &str) -> Result<UserId, ScimError> {
    format!("u:{id}").parse().map_err(|_| ScimError::NotFound)
}

/// What is said of whether a user is active. Whether it is, its status says.
fn active_in(resource: &Map<String, Value>) -> Option<bool> {
    resource.get(ACTIVE).and_then(Value::as_bool)
}

fn status(active: bool) -> UserStatus {
    if active { UserStatus::Active } else { UserStatus::Suspended }
}

/// RFC 7643 4.1.1. A client may take it back from what is said of a user: it is then not shown, and
/// changes nothing.
const ACTIVE: &str = "active";

/// What is looked up by has a length that both databases can index.
pub(super) fn check_names(resource: &Map<String, Value>) -> Result<(), ScimError> {
    for (name, longest) in [("userName", 256), ("displayName", 256), ("externalId", 256)] {
        let text = resource.get(name).and_then(Value::as_str).unwrap_or_default();
        if text.chars().count() > longest || text.chars().any(char::is_control) {
            let detail = format!("{name}: up to {longest} characters, none of control");
            return Err(ScimError::InvalidValue(detail));
        }
    }
    Ok(())
}

/// Where a user is written to: the primary address, that of work, the first; or its `userName`,
/// where that is one.
fn email_of(resource: &Map<String, Value>) -> Option<Email> {
    let emails = resource.get("emails").and_then(Value::as_array);
    let mut emails: Vec<&Value> = emails.into_iter().flatten().collect();
    let is_work = |email: &Value| {
        email
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
    };
    emails.sort_by_key(|email| (email.get("primary") != Some(&Value::Bool(true)), !is_work(email)));
    let addresses = emails.iter().filter_map(|email| email.get("value")?.as_str());
    let user_name = resource.get("userName").and_then(Value::as_str);
    addresses.chain(user_name).find_map(|address| address.parse().ok())
}

/// What people call a user.
fn name_of(resource: &Map<String, Value>) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let part = |part: &str| text(resource.get("name").and_then(|name| name.get(part)));
    let both = format!("{} {}", part("givenName"), part("familyName"));
    let candidates = [
        text(resource.get("displayName")),
        part("formatted"),
        both,
        text(resource.get("userName")),
    ];
    let readable = |name: String| {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let name: String = name.trim().chars().take(128).collect();
        let name = name.trim_end();
        (!name.is_empty()).then(|| name.to_owned())
    };
    candidates.into_iter().find_map(readable).unwrap_or_else(|| "User".to_owned())
}

/// The one unique thing of a user beside its id is its address.
fn taken<T>(written: Result<T, StorageError>) -> Result<T, ScimError> {
    match written {
        Err(StorageError::Duplicate) => Err(ScimError::Uniqueness("e-mail address")),
        written => Ok(written?),
    }
}

pub(super) fn expect_updated(updated: bool) -> Result<(), ScimError> {
    if updated { Ok(()) } else { Err(ScimError::Precondition) }
}
