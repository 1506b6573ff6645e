//! Lists and searches (RFC 7644 sections 3.4.2 and 3.4.3): page by page, in one order, bounded.

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    caller::ScimCaller,
    error::ScimError,
    filter::Filter,
    groups, patch,
    projection::Projection,
    respond::{Body, Representation, list, shown},
    schema::{GROUP, ResourceKind, USER},
    users,
};
use crate::{
    control::ControlPlane,
    storage::{scim_groups, scim_users},
};

/// Resources of one answer.
pub(super) const MAX_COUNT: u64 = 200;
/// As many where nobody says.
pub(super) const DEFAULT_COUNT: u64 = 100;
/// Resources read at once while a filter is asked.
const BATCH: u64 = 500;

/// `GET /Users`.
pub(super) async fn list_users(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    asked: Asked,
) -> Result<Response, ScimError> {
    find(&control, &caller, &[&USER], &asked).await
}

/// `GET /Groups`.
pub(super) async fn list_groups(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    asked: Asked,
) -> Result<Response, ScimError> {
    find(&control, &caller, &[&GROUP], &asked).await
}

/// `POST /Users/.search`.
pub(super) async fn search_users(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Body(body): Body,
) -> Result<Response, ScimError> {
    find(&control, &caller, &[&USER], &Asked::of_body(&body)?).await
}

/// `POST /Groups/.search`.
pub(super) async fn search_groups(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Body(body): Body,
) -> Result<Response, ScimError> {
    find(&control, &caller, &[&GROUP], &Asked::of_body(&body)?).await
}

/// `POST /.search`: both at once.
pub(super) async fn search_all(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Body(body): Body,
) -> Result<Response, ScimError> {
    find(&control, &caller, &[&USER, &GROUP], &Asked::of_body(&body)?).await
}

/// What is asked for, in a query or in the body of a search. Sorting is not offered.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    filter: Option<String>,
    start: Option<i64>,
    count: Option<i64>,
    projection: Projection,
    selective: bool,
}

impl Asked {
    fn of_body(body: &Map<String, Value>) -> Result<Self, ScimError> {
        let mistyped = |name: &str| ScimError::InvalidValue(format!("{name}: of another type"));
        let given = |name: &str| patch::member(body, name).filter(|value| !value.is_null());
        let number = |name: &str| {
            given(name).map(|value| value.as_i64().ok_or_else(|| mistyped(name))).transpose()
        };
        let names = |name: &str| match given(name) {
            None => Ok(Vec::new()),
            Some(Value::String(names)) => Ok(split(names)),
            Some(Value::Array(names)) => {
                let name_of = |value: &Value| value.as_str().map(str::to_owned);
                names.iter().map(name_of).collect::<Option<_>>().ok_or_else(|| mistyped(name))
            }
            Some(_) => Err(mistyped(name)),
        };
        let filter = given("filter")
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| mistyped("filter")));
        Self::of(
            filter.transpose()?,
            (number("startIndex")?, number("count")?),
            (names("attributes")?, names("excludedAttributes")?),
        )
    }

    fn of(
        filter: Option<String>,
        (start, count): (Option<i64>, Option<i64>),
        (only, without): (Vec<String>, Vec<String>),
    ) -> Result<Self, ScimError> {
        let selective = !only.is_empty() || !without.is_empty();
        let projection = Projection::of(only, without)?;
        Ok(Self { filter, start, count, projection, selective })
    }

    /// Whether some attributes are asked for, or asked to be left out.
    pub(super) fn is_selective(&self) -> bool {
        self.selective
    }

    /// Whether the answer says anything of an attribute.
    pub(super) fn wants(&self, attribute: &str) -> bool {
        self.projection.wants(attribute)
    }

    /// The answer with one resource.
    pub(super) fn answer(
        &self,
        kind: &'static ResourceKind,
        status: StatusCode,
        whole: Representation,
    ) -> Response {
        whole.answer(status, self.projection.apply(kind, whole.resource.clone()))
    }

    /// RFC 7644 3.4.2.4: from one on, and nothing for what is below zero.
    fn window(&self) -> Window {
        let start = u64::try_from(self.start.unwrap_or(1)).unwrap_or(1).max(1);
        let count = self.count.map_or(DEFAULT_COUNT, |count| u64::try_from(count).unwrap_or(0));
        Window { skip: start - 1, take: count.min(MAX_COUNT), total: 0, kept: Vec::new() }
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = ScimError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ScimError> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let given = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query);
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        let number = |name: &str| {
            let mistyped = |_| ScimError::InvalidValue(format!("{name}: expected a whole number"));
            given(name).map(|text| text.parse().map_err(mistyped)).transpose()
        };
        let names = |name: &str| given(name).map(|names| split(&names)).unwrap_or_default();
        Self::of(
            given("filter"),
            (number("startIndex")?, number("count")?),
            (names("attributes"), names("excludedAttributes")),
        )
    }
}

fn split(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The part of a list that is answered with.
struct Window {
    skip: u64,
    take: u64,
    total: u64,
    kept: Vec<Value>,
}

impl Window {
    fn room(&self) -> u64 {
        self.take.saturating_sub(self.kept.len() as u64)
    }

    /// Counts one more, and keeps it if it is in the window.
    fn offer(&mut self, resource: impl FnOnce() -> Map<String, Value>) {
        if self.total >= self.skip && self.room() > 0 {
            self.kept.push(Value::Object(resource()));
        }
        self.total += 1;
    }
}

async fn find(
    control: &ControlPlane,
    caller: &ScimCaller,
    kinds: &[&'static ResourceKind],
    asked: &Asked,
) -> Result<Response, ScimError> {
    let mut window = asked.window();
    for kind in kinds {
        let filter =
            asked.filter.as_deref().map(|filter| Filter::read(kind, filter)).transpose()?;
        if kind.name == USER.name {
            find_users(control, caller, asked, filter.as_ref(), &mut window).await?;
        } else {
            find_groups(control, caller, asked, filter.as_ref(), &mut window).await?;
        }
    }
    let Window { skip, total, kept, .. } = window;
    Ok(shown(list(total, skip + 1, kept)))
}

async fn find_users(
    control: &ControlPlane,
    caller: &ScimCaller,
    asked: &Asked,
    filter: Option<&Filter>,
    window: &mut Window,
) -> Result<(), ScimError> {
    use scim_users::Which;

    let db = control.inner.db.reader();
    let (tenant, connection) = (caller.tenant(), caller.connection());
    let Some(filter) = filter else {
        let before = window.total;
        let all = scim_users::count(db, tenant, connection).await?;
        window.total += all;
        let (offset, room) = (window.skip.saturating_sub(before), window.room());
        if room > 0 && offset < all {
            let some = scim_users::some(db, tenant, connection, Which::All, offset, room).await?;
            for one in users::represent_all(db, caller, &some).await? {
                window.kept.push(Value::Object(asked.projection.apply(&USER, one.resource)));
            }
        }
        return Ok(());
    };
    // What an index answers is not looked for in everything.
    let id = filter.must_equal("id").map(users::user_id);
    let which = match (&id, filter.must_equal("userName"), filter.must_equal("externalId")) {
        (Some(Err(_)), ..) => return Ok(()),
        (Some(Ok(id)), ..) => Some(Which::Id(id)),
        (None, Some(name), _) => Some(Which::UserName(name)),
        (None, None, Some(id)) => Some(Which::ExternalId(id)),
        (None, None, None) => None,
    };
    let mut last = None;
    loop {
        let batch = match (which, &last) {
            (Some(which), _) => which,
            (None, None) => Which::All,
            (None, Some(last)) => Which::Behind(last),
        };
        let some = scim_users::some(db, tenant, connection, batch, 0, BATCH).await?;
        let all_read = (some.len() as u64) < BATCH || which.is_some();
        last = some.last().map(|one| one.user.id.clone());
        for one in users::represent_all(db, caller, &some).await? {
            if filter.matches(&one.resource) {
                window.offer(|| asked.projection.apply(&USER, one.resource));
            }
        }
        if all_read {
            return Ok(());
        }
    }
}

async fn find_groups(
    control: &ControlPlane,
    caller: &ScimCaller,
    asked: &Asked,
    filter: Option<&Filter>,
    window: &mut Window,
) -> Result<(), ScimError> {
    use scim_groups::Which;

    let db = control.inner.db.reader();
    let (tenant, connection) = (caller.tenant(), caller.connection());
    let about_members = asked.filter.as_deref().is_some_and(mentions_members);
    let with_members = asked.wants("members") || about_members;
    let Some(filter) = filter else {
        let before = window.total;
        let all = scim_groups::count(db, tenant, connection).await?;
        window.total += all;
        let (offset, room) = (window.skip.saturating_sub(before), window.room());
        if room > 0 && offset < all {
            let some = scim_groups::some(db, tenant, connection, Which::All, offset, room).await?;
            for one in groups::represent_all(db, caller, &some, with_members).await? {
                window.kept.push(Value::Object(asked.projection.apply(&GROUP, one.resource)));
            }
        }
        return Ok(());
    };
    let which = match (
        filter.must_equal("id"),
        filter.must_equal("displayName"),
        filter.must_equal("externalId"),
    ) {
        (Some(id), ..) => Some(Which::Id(id)),
        (None, Some(name), _) => Some(Which::DisplayName(name)),
        (None, None, Some(id)) => Some(Which::ExternalId(id)),
        (None, None, None) => None,
    };
    let mut last: Option<String> = None;
    loop {
        let batch = match (which, &last) {
            (Some(Which::Id(id)), _) => Which::Id(id),
            // Groups may be called the same: these, too, are read batch by batch.
            (Some(which), None) => which,
            (None, None) => Which::All,
            (_, Some(last)) => Which::Behind(last),
        };
        let some = scim_groups::some(db, tenant, connection, batch, 0, BATCH).await?;
        let all_read = (some.len() as u64) < BATCH;
        last = some.last().map(|group| group.id.clone());
        for one in groups::represent_all(db, caller, &some, with_members).await? {
            if filter.matches(&one.resource) {
                window.offer(|| asked.projection.apply(&GROUP, one.resource));
            }
        }
        if all_read {
            return Ok(());
        }
    }
}

/// Whether a filter could be about who is in a group.
fn mentions_members(filter: &str) -> bool {
    filter.to_ascii_lowercase().contains("members")
}
