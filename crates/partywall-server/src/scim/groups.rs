//! `/Groups` (RFC 7644 section 3). The rules of the connection say which groups give which roles;
//! whoever comes into one or leaves it gains or loses them in the same change.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use sea_orm::ConnectionTrait;
use serde_json::{Map, Value, json};

use super::{
    caller::ScimCaller,
    ending,
    error::ScimError,
    patch::{self, Op},
    path::Target,
    resource,
    respond::{Body, Representation, done, if_match},
    schema::GROUP,
    search::Asked,
    users::{check_names, expect_updated, location, meta, scim_id, user_id},
};
use crate::{
    control::{Connection, ControlError, ControlPlane, User, UserId},
    random,
    storage::{
        AuditEvent, StorageError,
        scim_groups::{self, ScimGroup},
        scim_users, users,
    },
};

/// `POST /Groups`.
pub(super) async fn post(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let made = create(&control, &caller, &body).await?;
    Ok(asked.answer(&GROUP, StatusCode::CREATED, made))
}

/// `GET /Groups/{id}`.
pub(super) async fn get(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, ScimError> {
    let found = read(&control, &caller, &id, asked.wants("members")).await?;
    Ok(found.unless_known(&headers).unwrap_or_else(|| asked.answer(&GROUP, StatusCode::OK, found)))
}

/// `PUT /Groups/{id}`.
pub(super) async fn put(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    replace(&control, &caller, &id, if_match(&headers), &body).await?;
    let changed = read(&control, &caller, &id, asked.wants("members")).await?;
    Ok(asked.answer(&GROUP, StatusCode::OK, changed))
}

/// `PATCH /Groups/{id}`. Answered without a body, unless attributes are asked for: a group may have
/// very many members (RFC 7644 3.5.2).
pub(super) async fn patch(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    asked: Asked,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let group = modify(&control, &caller, &id, if_match(&headers), &body).await?;
    if asked.is_selective() {
        let changed = read(&control, &caller, &id, asked.wants("members")).await?;
        return Ok(asked.answer(&GROUP, StatusCode::OK, changed));
    }
    let version = [(axum::http::header::ETAG, version(&group))];
    Ok((StatusCode::NO_CONTENT, version).into_response())
}

/// `DELETE /Groups/{id}`.
pub(super) async fn delete(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ScimError> {
    erase(&control, &caller, &id, if_match(&headers)).await?;
    Ok(done())
}

pub(super) async fn create(
    control: &ControlPlane,
    caller: &ScimCaller,
    body: &Map<String, Value>,
) -> Result<Representation, ScimError> {
    let mut said = resource::read(&GROUP, body)?;
    let members = member_ids(said.remove("members").as_ref())?;
    check_names(&said)?;
    let now = control.now();
    let id = random::opaque_id(&control.inner.random).map_err(ControlError::from)?;
    let change = control.inner.db.change(now).await?;
    let connection = caller.still(change.rows()).await?;
    let group = ScimGroup {
        tenant: caller.tenant().clone(),
        connection: caller.connection().clone(),
        id,
        display_name: text(&said, "displayName").unwrap_or_default(),
        external_id: text(&said, "externalId"),
        created_at: now,
        changed_at: now,
        version: 1,
    };
    scim_groups::insert(change.rows(), &group).await?;
    let moved = Moved { added: members, removed: BTreeSet::new() };
    move_members(change.rows(), &group, &moved).await?;
    let outcome = settle_roles(control, change.rows(), &connection, &moved.all()).await?;
    let took_away = outcome.took_an_administrator;
    let change = ending::keep_an_administrator(control, caller, change, took_away).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(caller.tenant()),
        action: "group.create",
        detail: json!({
            "group": group.id, "display_name": group.display_name, "added": moved.added.len(),
            "roles_changed": outcome.changed,
        }),
    };
    control.commit(change, event).await?;
    read(control, caller, &group.id, true).await
}

/// The group of that id, if the connection described it.
pub(super) async fn read(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    with_members: bool,
) -> Result<Representation, ScimError> {
    let db = control.inner.db.reader();
    let group = found(db, caller, id).await?;
    let mut shown = represent_all(db, caller, &[group], with_members).await?;
    shown.pop().ok_or(ScimError::NotFound)
}

pub(super) async fn replace(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    body: &Map<String, Value>,
) -> Result<ScimGroup, ScimError> {
    let mut said = resource::read(&GROUP, body)?;
    let members = MemberOp::Set(member_ids(said.remove("members").as_ref())?);
    change(control, caller, id, if_match, vec![members], |resource| {
        *resource = said;
        Ok(())
    })
    .await
}

pub(super) async fn modify(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    body: &Map<String, Value>,
) -> Result<ScimGroup, ScimError> {
    let (mut of_members, mut others) = (Vec::new(), Vec::new());
    for operation in patch::read(&GROUP, body)? {
        match &operation.target {
            Target::Attribute(place) | Target::Values(place, ..)
                if place.attribute.name == "members" =>
            {
                of_members.push(MemberOp::of(&operation)?);
            }
            _ => others.push(operation),
        }
    }
    change(control, caller, id, if_match, of_members, |resource| {
        patch::apply(&GROUP, resource, others)
    })
    .await
}

pub(super) async fn erase(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
) -> Result<(), ScimError> {
    let change = control.inner.db.change(control.now()).await?;
    let connection = caller.still(change.rows()).await?;
    let group = found(change.rows(), caller, id).await?;
    expect(&group, if_match)?;
    let members = if governs(&connection, &group) {
        scim_groups::member_ids(change.rows(), &group).await?
    } else {
        BTreeSet::new()
    };
    scim_groups::delete(change.rows(), &group).await?;
    let outcome = settle_roles(control, change.rows(), &connection, &members).await?;
    let took_away = outcome.took_an_administrator;
    let change = ending::keep_an_administrator(control, caller, change, took_away).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(caller.tenant()),
        action: "group.delete",
        detail: json!({
            "group": group.id, "display_name": group.display_name,
            "roles_changed": outcome.changed,
        }),
    };
    control.commit(change, event).await?;
    Ok(())
}

async fn change(
    control: &ControlPlane,
    caller: &ScimCaller,
    id: &str,
    if_match: Option<&str>,
    of_members: Vec<MemberOp>,
    write: impl FnOnce(&mut Map<String, Value>) -> Result<(), ScimError> + Send,
) -> Result<ScimGroup, ScimError> {
    let now = control.now();
    let change = control.inner.db.change(now).await?;
    let db = change.rows();
    let connection = caller.still(db).await?;
    let before = found(db, caller, id).await?;
    expect(&before, if_match)?;
    let mut said = Map::from_iter([("displayName".to_owned(), before.display_name.clone().into())]);
    if let Some(external_id) = &before.external_id {
        said.insert("externalId".to_owned(), external_id.clone().into());
    }
    write(&mut said)?;
    check_names(&said)?;
    let mut group = before.clone();
    group.display_name = text(&said, "displayName").unwrap_or_default();
    group.external_id = text(&said, "externalId");
    let moved = Moved::by(db, &before, of_members).await?;
    let renamed = !before.names().eq(group.names());
    if !renamed && moved.is_nothing() {
        return Ok(before);
    }
    group.changed_at = now;
    group.version += 1;
    expect_updated(scim_groups::update(db, &group).await?)?;
    move_members(db, &group, &moved).await?;
    let mut affected = BTreeSet::new();
    if governs(&connection, &before) || governs(&connection, &group) {
        affected = moved.all();
        if renamed {
            affected.extend(scim_groups::member_ids(db, &group).await?);
        }
    }
    let outcome = settle_roles(control, db, &connection, &affected).await?;
    let took_away = outcome.took_an_administrator;
    let change = ending::keep_an_administrator(control, caller, change, took_away).await?;
    let event = AuditEvent {
        actor: &caller.actor(),
        tenant: Some(caller.tenant()),
        action: "group.update",
        detail: json!({
            "group": group.id, "display_name": group.display_name,
            "display_name_before": before.display_name, "added": moved.added.len(),
            "removed": moved.removed.len(), "roles_changed": outcome.changed,
        }),
    };
    control.commit(change, event).await?;
    Ok(group)
}

/// What an operation does to who is in a group.
enum MemberOp {
    Add(BTreeSet<String>),
    Remove(BTreeSet<String>),
    Set(BTreeSet<String>),
}

impl MemberOp {
    /// Both spellings of a removal are known: a filter in the path, and Entra's list of who goes.
    fn of(operation: &patch::Operation) -> Result<Self, ScimError> {
        let value = operation.value.as_ref();
        match (&operation.target, operation.op) {
            (Target::Values(_, filter, None), Op::Remove) => {
                let example = filter.example().filter(|example| example.len() == 1);
                let id = example.and_then(|example| example.get("value")?.as_str().map(member_id));
                let by_value = || {
                    let detail = "members are selected by their value: members[value eq \"…\"]";
                    ScimError::InvalidPath(detail.to_owned())
                };
                Ok(Self::Remove(BTreeSet::from([id.ok_or_else(by_value)??])))
            }
            (Target::Attribute(place), op) if place.part.is_none() => {
                let read = value.map(|value| resource::value_of(place.attribute, value));
                let listed = read.transpose()?.flatten();
                match (op, listed) {
                    (Op::Add, listed) => Ok(Self::Add(member_ids(listed.as_ref())?)),
                    (Op::Replace, listed) => Ok(Self::Set(member_ids(listed.as_ref())?)),
                    (Op::Remove, None) => Ok(Self::Set(BTreeSet::new())),
                    (Op::Remove, listed) => Ok(Self::Remove(member_ids(listed.as_ref())?)),
                }
            }
            _ => {
                Err(ScimError::Mutability("a member comes and goes, and never changes".to_owned()))
            }
        }
    }
}

/// Who comes and who goes.
#[derive(Default)]
struct Moved {
    added: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Moved {
    /// What the operations come to. Who is in the group is read only where it matters.
    async fn by(
        db: &impl ConnectionTrait,
        group: &ScimGroup,
        operations: Vec<MemberOp>,
    ) -> Result<Self, StorageError> {
        let mut moved = Self::default();
        let sets = operations.iter().any(|op| matches!(op, MemberOp::Set(_)));
        let mut there =
            if sets { scim_groups::member_ids(db, group).await? } else { BTreeSet::new() };
        for operation in operations {
            let (come, go) = match operation {
                MemberOp::Add(ids) => (ids, BTreeSet::new()),
                MemberOp::Remove(ids) => (BTreeSet::new(), ids),
                MemberOp::Set(ids) => {
                    let go = there.difference(&ids).cloned().collect();
                    (ids, go)
                }
            };
            for id in go {
                there.remove(&id);
                moved.added.remove(&id);
                moved.removed.insert(id);
            }
            for id in come {
                there.insert(id.clone());
                moved.removed.remove(&id);
                moved.added.insert(id);
            }
        }
        Ok(moved)
    }

    fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn all(&self) -> BTreeSet<String> {
        self.added.union(&self.removed).cloned().collect()
    }
}

/// Whoever comes must be the connection's: another's is not there (I-29).
async fn move_members(
    db: &impl ConnectionTrait,
    group: &ScimGroup,
    moved: &Moved,
) -> Result<(), ScimError> {
    let removed: Vec<&str> = moved.removed.iter().map(String::as_str).collect();
    scim_groups::remove_members(db, group, &removed).await?;
    let added: Vec<&str> = moved.added.iter().map(String::as_str).collect();
    let (tenant, connection) = (&group.tenant, &group.connection);
    for some in added.chunks(500) {
        let known = scim_users::count_of(db, tenant, connection, some).await?;
        if known != some.len() as u64 {
            return Err(ScimError::InvalidValue("members: there is no such user".to_owned()));
        }
    }
    Ok(scim_groups::add_members(db, group, &added).await?)
}

/// Whether the connection's rules give roles to who is in it.
fn governs(connection: &Connection, group: &ScimGroup) -> bool {
    group.names().any(|name| connection.rules.group_roles.contains_key(name))
}

/// What became of roles.
#[derive(Default)]
struct Outcome {
    changed: usize,
    took_an_administrator: bool,
}

/// Gives each of `affected` the roles its groups give now. Who loses one loses their access tokens
/// with it (P-02).
async fn settle_roles(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    connection: &Connection,
    affected: &BTreeSet<String>,
) -> Result<Outcome, ScimError> {
    let mut outcome = Outcome::default();
    if connection.rules.group_roles.is_empty() {
        return Ok(outcome);
    }
    let (tenant, now) = (&connection.tenant, control.now());
    for id in affected {
        let id: UserId = id.parse().map_err(|_| ScimError::NotFound)?;
        let Some(before) = users::find(db, tenant, &id).await? else { continue };
        let groups = scim_groups::names_of(db, tenant, &connection.id, &id).await?;
        let roles = connection.rules.roles_of(&before.roles, &groups);
        if roles == before.roles {
            continue;
        }
        let after = User { roles, changed_at: now, version: before.version + 1, ..before.clone() };
        expect_updated(users::update(db, &after).await?)?;
        if !before.roles.is_subset(&after.roles) {
            control.refuse_tokens_of(db, tenant, id.as_str(), now).await?;
        }
        outcome.changed += 1;
        outcome.took_an_administrator |=
            ending::is_administrator(&before) && !ending::is_administrator(&after);
    }
    Ok(outcome)
}

async fn found(
    db: &impl ConnectionTrait,
    caller: &ScimCaller,
    id: &str,
) -> Result<ScimGroup, ScimError> {
    let found = scim_groups::find(db, caller.tenant(), caller.connection(), id).await?;
    found.ok_or(ScimError::NotFound)
}

/// Groups as they are answered with.
pub(super) async fn represent_all(
    db: &impl ConnectionTrait,
    caller: &ScimCaller,
    all: &[ScimGroup],
    with_members: bool,
) -> Result<Vec<Representation>, StorageError> {
    let ids: Vec<String> = all.iter().map(|group| group.id.clone()).collect();
    let ids = if with_members { ids } else { Vec::new() };
    let (tenant, connection) = (caller.tenant(), caller.connection());
    let mut members = scim_groups::members(db, tenant, connection, &ids).await?;
    let one = |group: &ScimGroup| {
        represent(caller, group, &members.remove(&group.id).unwrap_or_default())
    };
    Ok(all.iter().map(one).collect())
}

fn represent(caller: &ScimCaller, group: &ScimGroup, members: &[UserId]) -> Representation {
    let at = format!("{}/Groups/{}", caller.base(), group.id);
    let mut resource = Map::new();
    let mut say = |name: &str, value: Value| resource.insert(name.to_owned(), value);
    say("schemas", json!([GROUP.schema.id]));
    say("id", group.id.clone().into());
    if let Some(external_id) = &group.external_id {
        say("externalId", external_id.clone().into());
    }
    say("displayName", group.display_name.clone().into());
    if !members.is_empty() {
        let member = |user: &UserId| json!({ "value": scim_id(user), "type": "User", "$ref": location(caller, user) });
        say("members", members.iter().map(member).collect());
    }
    say("meta", meta("Group", group.created_at, group.changed_at, &at));
    Representation::with_version(resource, version(group))
}

/// A group is known by how often it changed: its members are not read for it.
fn version(group: &ScimGroup) -> String {
    format!("W/\"{}\"", group.version)
}

fn expect(group: &ScimGroup, if_match: Option<&str>) -> Result<(), ScimError> {
    Representation::with_version(Map::new(), version(group)).expect(if_match)
}

/// The users that a list of members names.
fn member_ids(members: Option<&Value>) -> Result<BTreeSet<String>, ScimError> {
    let members = members.and_then(Value::as_array);
    members
        .into_iter()
        .flatten()
        .map(|member| {
            let kind = member.get("type").and_then(Value::as_str).unwrap_or("User");
            if !kind.eq_ignore_ascii_case("User") {
                return Err(ScimError::InvalidValue("members: only users are members".to_owned()));
            }
            member_id(member.get("value").and_then(Value::as_str).unwrap_or_default())
        })
        .collect()
}

fn member_id(value: &str) -> Result<String, ScimError> {
    let unknown = |_| ScimError::InvalidValue("members: there is no such user".to_owned());
    user_id(value).map(String::from).map_err(unknown)
}

fn text(said: &Map<String, Value>, name: &str) -> Option<String> {
    said.get(name).and_then(Value::as_str).map(str::to_owned)
}
