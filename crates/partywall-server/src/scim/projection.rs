//! `attributes` and `excludedAttributes` (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use super::{
    error::ScimError,
    path::Target,
    schema::{ResourceKind, Returned},
};

/// Which attributes of a resource are answered with.
#[derive(Clone, Debug, Default)]
pub(super) struct Projection {
    only: Vec<String>,
    without: Vec<String>,
}

impl Projection {
    /// Of what was asked for, by names.
    ///
    /// # Errors
    ///
    /// [`ScimError::InvalidValue`] where both are asked for, or too many.
    pub(super) fn of(only: Vec<String>, without: Vec<String>) -> Result<Self, ScimError> {
        let refused = |detail: &str| Err(ScimError::InvalidValue(detail.to_owned()));
        if !only.is_empty() && !without.is_empty() {
            return refused("attributes and excludedAttributes exclude each other");
        }
        if only.len().max(without.len()) > MAX_NAMES {
            return refused("attributes and excludedAttributes name up to 100 attributes");
        }
        Ok(Self { only, without })
    }

    /// Whether anything of an attribute is answered.
    pub(super) fn wants(&self, attribute: &str) -> bool {
        let is = |name: &String| name.eq_ignore_ascii_case(attribute);
        let is_part = |name: &String| {
            let head = name.get(..attribute.len()).unwrap_or_default();
            head.eq_ignore_ascii_case(attribute) || name.contains(':')
        };
        !self.without.iter().any(is) && (self.only.is_empty() || self.only.iter().any(is_part))
    }

    /// What is answered of `resource`.
    pub(super) fn apply(
        &self,
        kind: &'static ResourceKind,
        mut resource: Map<String, Value>,
    ) -> Map<String, Value> {
        for target in self.without.iter().filter_map(|name| Target::named(kind, name)) {
            leave_out(&mut resource, &target);
        }
        if self.only.is_empty() {
            return resource;
        }
        let mut kept = Map::new();
        for name in ["schemas", "id"] {
            if let Some(value) = resource.get(name) {
                kept.insert(name.to_owned(), value.clone());
            }
        }
        for target in self.only.iter().filter_map(|name| Target::named(kind, name)) {
            keep(&resource, &mut kept, &target);
        }
        kept
    }
}

/// Names of either list.
const MAX_NAMES: usize = 100;

fn leave_out(resource: &mut Map<String, Value>, target: &Target) {
    match target {
        Target::Extension(schema) => _ = resource.remove(schema.id),
        Target::Attribute(place) if place.attribute.returned == Returned::Default => {
            let host = match place.extension {
                Some(urn) => resource.get_mut(urn).and_then(Value::as_object_mut),
                None => Some(resource),
            };
            match (host, place.part) {
                (Some(host), None) => _ = host.remove(place.attribute.name),
                (Some(host), Some(part)) => {
                    let without = |value: &mut Value| {
                        if let Some(parts) = value.as_object_mut() {
                            parts.remove(part.name);
                        }
                    };
                    match host.get_mut(place.attribute.name) {
                        Some(Value::Array(values)) => values.iter_mut().for_each(without),
                        Some(value) => without(value),
                        None => {}
                    }
                }
                (None, _) => {}
            }
        }
        Target::Attribute(_) | Target::Values(..) | Target::Whole => {}
    }
}

fn keep(resource: &Map<String, Value>, kept: &mut Map<String, Value>, target: &Target) {
    match target {
        Target::Extension(schema) => {
            if let Some(extension) = resource.get(schema.id) {
                kept.insert(schema.id.to_owned(), extension.clone());
            }
        }
        Target::Attribute(place) => {
            let (from, into) = match place.extension {
                None => (Some(resource), Some(kept)),
                Some(urn) => {
                    let from = resource.get(urn).and_then(Value::as_object);
                    if from.is_none() {
                        return;
                    }
                    let into = kept.entry(urn).or_insert_with(|| Value::Object(Map::new()));
                    (from, into.as_object_mut())
                }
            };
            let name = place.attribute.name;
            let (Some(value), Some(into)) = (from.and_then(|from| from.get(name)), into) else {
                return;
            };
            let Some(part) = place.part else {
                into.insert(name.to_owned(), value.clone());
                return;
            };
            // Several parts of one attribute may be asked for, one after the other.
            let there = into.remove(name);
            let with = |value: &Value, there: Option<&Value>| {
                let mut parts = there.and_then(Value::as_object).cloned().unwrap_or_default();
                if let Some(value) = value.get(part.name) {
                    parts.insert(part.name.to_owned(), value.clone());
                }
                Value::Object(parts)
            };
            let kept = match value {
                Value::Array(values) => {
                    let there = |at: usize| there.as_ref().and_then(|there| there.get(at));
                    let kept = values.iter().enumerate().map(|(at, value)| with(value, there(at)));
                    Value::Array(kept.collect())
                }
                value => with(value, there.as_ref()),
            };
            into.insert(name.to_owned(), kept);
        }
        Target::Values(..) | Target::Whole => {}
    }
}
