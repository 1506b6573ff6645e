//! Filters (RFC 7644 section 3.4.2.2): bounded before they are parsed, held against the schema once,
//! and then asked of as many resources as there are.
//!
//! The grammar is `scim_v2`'s, with two liberties that clients take: `not(` without a space, and
//! Entra's `emails[type eq "work"].value eq "x"`.

use std::{borrow::Cow, cmp::Ordering};

use scim_v2::{
    ScimDateTime,
    filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter as Parsed, ValFilter},
};
use serde_json::{Map, Value};

use super::{
    error::ScimError,
    schema::{Attribute, Kind, ResourceKind},
};

/// Nothing longer is parsed, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;
/// Brackets within brackets.
pub(crate) const MAX_DEPTH: usize = 16;
/// Comparisons in one filter.
pub(crate) const MAX_TERMS: usize = 64;

/// A filter that was held against the schema: asking a resource cannot fail.
#[derive(Debug)]
pub(crate) struct Filter(Node);

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// An attribute that the schema does not have is nowhere (RFC 7644 3.4.2.1).
    Nowhere,
    Present(Place),
    Compare(Place, CompareOp, Operand),
    /// Some value of a multi-valued attribute satisfies the filter in the brackets.
    Some(Place, Box<Node>),
}

/// Where in a resource an attribute stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The URN of the extension that has it; none for the core schema's.
    pub(crate) extension: Option<&'static str>,
    pub(crate) attribute: &'static Attribute,
    pub(crate) part: Option<&'static Attribute>,
}

impl Place {
    /// What stands there.
    fn read<'r>(&self, resource: &'r Map<String, Value>) -> Option<&'r Value> {
        let host = match self.extension {
            Some(urn) => resource.get(urn)?.as_object()?,
            None => resource,
        };
        host.get(self.attribute.name)
    }

    /// What is compared: the sub-attribute, if one is named.
    fn compared(&self) -> &'static Attribute {
        self.part.unwrap_or(self.attribute)
    }

    fn is(&self, name: &str) -> bool {
        self.extension.is_none() && self.part.is_none() && self.attribute.name == name
    }
}

/// The right-hand side, in the form values are compared in.
#[derive(Debug)]
enum Operand {
    Null,
    Boolean(bool),
    Text(String),
    Time(ScimDateTime),
}

impl Filter {
    /// Reads a filter on resources of `kind`.
    ///
    /// # Errors
    ///
    /// [`ScimError::InvalidFilter`] when it is too large, does not parse, or compares an attribute
    /// with what it cannot be compared with.
    pub(crate) fn read(kind: &'static ResourceKind, text: &str) -> Result<Self, ScimError> {
        let text = bounded(text)?;
        let refused = |_| invalid("the filter is not one of RFC 7644 section 3.4.2.2");
        let parsed: Parsed = text.parse().map_err(refused)?;
        let mut terms = 0;
        let node = node(kind, &parsed, &mut terms)?;
        Ok(Self(node))
    }

    /// Whether `resource` satisfies it.
    pub(crate) fn matches(&self, resource: &Map<String, Value>) -> bool {
        self.0.matches(resource)
    }

    /// What `attribute` must equal in every resource that satisfies the filter, if it says so at
    /// its top: what a store can look up instead of reading everything.
    pub(crate) fn must_equal(&self, attribute: &str) -> Option<&str> {
        let equal = |node| match node {
            &Node::Compare(place, CompareOp::Eq, Operand::Text(ref text))
                if place.is(attribute) =>
            {
                Some(text.as_str())
            }
            _ => None,
        };
        match &self.0 {
            Node::All(nodes) => nodes.iter().find_map(equal),
            node => equal(node),
        }
    }
}

/// Reads what stands in the brackets of a PATCH path after `attribute`.
pub(crate) fn of_values(
    attribute: &'static Attribute,
    filter: &ValFilter,
) -> Result<ValueFilter, ScimError> {
    let mut terms = 0;
    value_node(attribute, filter, &mut terms).map(ValueFilter)
}

/// A filter on the values of one multi-valued attribute.
#[derive(Debug)]
pub(crate) struct ValueFilter(Node);

impl ValueFilter {
    pub(crate) fn matches(&self, value: &Value) -> bool {
        value.as_object().is_some_and(|value| self.0.matches(value))
    }

    /// The parts of a value that satisfies the filter, if it says no more than what they equal.
    pub(crate) fn example(&self) -> Option<Map<String, Value>> {
        let nodes = match &self.0 {
            Node::All(nodes) => nodes.as_slice(),
            node => std::slice::from_ref(node),
        };
        let part = |node: &Node| match node {
            Node::Compare(place, CompareOp::Eq, operand) => {
                let value = match operand {
                    Operand::Boolean(value) => Value::Bool(*value),
                    Operand::Text(text) => Value::String(text.clone()),
                    Operand::Null | Operand::Time(_) => return None,
                };
                Some((place.attribute.name.to_owned(), value))
            }
            Node::All(_)
            | Node::Any(_)
            | Node::Not(_)
            | Node::Nowhere
            | Node::Present(_)
            | Node::Compare(..)
            | Node::Some(..) => None,
        };
        nodes.iter().map(part).collect()
    }
}

/// Where `path` leads in resources of `kind`; `None` when the schema has no such attribute.
pub(crate) fn resolve(kind: &'static ResourceKind, path: &AttrPath) -> Option<Place> {
    let (extension, attribute) = match &path.uri {
        None => (None, kind.attribute(&path.name)?),
        Some(urn) if kind.schema.is(urn) => (None, kind.attribute(&path.name)?),
        Some(urn) => {
            let schema = kind.extension(urn)?;
            (Some(schema.id), schema.attribute(&path.name)?)
        }
    };
    let part = match &path.sub_attr {
        None => None,
        Some(name) => Some(attribute.part(name)?),
    };
    Some(Place { extension, attribute, part })
}

/// The text, if it is not too long or deep to be parsed, with the liberties of clients undone.
pub(crate) fn bounded(text: &str) -> Result<Cow<'_, str>, ScimError> {
    if text.len() > MAX_LENGTH {
        return Err(invalid("the filter is longer than 4096 bytes"));
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut open: Vec<usize> = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if quoted {
            quoted = escaped || next != '"';
            escaped = !escaped && next == '\\';
            out.push(next);
            continue;
        }
        match next {
            '"' => quoted = true,
            '(' if ends_in_not(&out) => out.push(' '),
            ')' => _ = open.pop(),
            ']' => {
                let opened = open.pop();
                if let (Some(at), Some(behind)) = (opened, term_behind(rest.as_str())) {
                    out.insert(at + 1, '(');
                    out.push_str(") and ");
                    out.push_str(behind);
                    let after = rest.as_str().get(behind.len() + 1..).unwrap_or_default();
                    rest = after.chars();
                }
            }
            _ => {}
        }
        if matches!(next, '(' | '[') {
            open.push(out.len());
            if open.len() > MAX_DEPTH {
                return Err(invalid("the filter has brackets within brackets 16 deep"));
            }
        }
        out.push(next);
    }
    Ok(if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) })
}

/// What is compared behind a bracket, as Entra writes it: `value eq "x"` of `.value eq "x" or …`.
fn term_behind(text: &str) -> Option<&str> {
    let term = text.strip_prefix('.')?;
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let op = term.trim_start_matches(name).trim_start();
    let value = op.trim_start_matches(name);
    let word = op.strip_suffix(value)?;
    if word.is_empty() {
        return None;
    }
    let after = if word.eq_ignore_ascii_case("pr") { value } else { behind_value(value)? };
    term.strip_suffix(after)
}

/// What follows the value that `text` begins with.
fn behind_value(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(text.trim_start_matches(|c| !matches!(c, ' ' | ')' | ']')));
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    quoted.get(end? + 1..)
}

fn ends_in_not(text: &str) -> bool {
    let Some((before, not)) = text.len().checked_sub(3).and_then(|at| text.split_at_checked(at))
    else {
        return false;
    };
    let whole = before.chars().next_back().is_none_or(|c| matches!(c, ' ' | '(' | '['));
    whole && not.eq_ignore_ascii_case("not")
}

fn node(
    kind: &'static ResourceKind,
    parsed: &Parsed,
    terms: &mut usize,
) -> Result<Node, ScimError> {
    let mut each = |parsed: &[Parsed]| -> Result<Vec<Node>, ScimError> {
        parsed.iter().map(|parsed| node(kind, parsed, terms)).collect()
    };
    Ok(match parsed {
        Parsed::And(parsed) => Node::All(each(parsed)?),
        Parsed::Or(parsed) => Node::Any(each(parsed)?),
        Parsed::Not(parsed) => Node::Not(Box::new(node(kind, parsed, terms)?)),
        Parsed::Attr(AttrExp::Present(path)) => {
            count(terms)?;
            resolve(kind, path).map_or(Node::Nowhere, Node::Present)
        }
        Parsed::Attr(AttrExp::Comparison(path, op, value)) => {
            count(terms)?;
            match resolve(kind, path) {
                None => Node::Nowhere,
                Some(place) => compare(place, op, value)?,
            }
        }
        Parsed::ValuePath(path) => match resolve(kind, &path.attr) {
            None => Node::Nowhere,
            Some(place) if place.attribute.multi_valued && place.part.is_none() => {
                let inner = value_node(place.attribute, &path.filter, terms)?;
                Node::Some(place, Box::new(inner))
            }
            Some(_) => return Err(invalid("only a multi-valued attribute has values to select")),
        },
    })
}

fn value_node(
    attribute: &'static Attribute,
    parsed: &ValFilter,
    terms: &mut usize,
) -> Result<Node, ScimError> {
    let mut each = |parsed: &[ValFilter]| -> Result<Vec<Node>, ScimError> {
        parsed.iter().map(|parsed| value_node(attribute, parsed, terms)).collect()
    };
    let part = |path: &AttrPath| {
        let named = path.uri.is_none() && path.sub_attr.is_none();
        let part = named.then(|| attribute.part(&path.name)).flatten()?;
        Some(Place { extension: None, attribute: part, part: None })
    };
    Ok(match parsed {
        ValFilter::And(parsed) => Node::All(each(parsed)?),
        ValFilter::Or(parsed) => Node::Any(each(parsed)?),
        ValFilter::Not(parsed) => Node::Not(Box::new(value_node(attribute, parsed, terms)?)),
        ValFilter::Attr(AttrExp::Present(path)) => {
            count(terms)?;
            part(path).map_or(Node::Nowhere, Node::Present)
        }
        ValFilter::Attr(AttrExp::Comparison(path, op, value)) => {
            count(terms)?;
            match part(path) {
                None => Node::Nowhere,
                Some(place) => compare(place, op, value)?,
            }
        }
    })
}

fn count(terms: &mut usize) -> Result<(), ScimError> {
    *terms += 1;
    if *terms > MAX_TERMS {
        return Err(invalid("the filter compares more than 64 times"));
    }
    Ok(())
}

/// A comparison, if the attribute's type knows it (RFC 7644 3.4.2.2, table 3).
fn compare(mut place: Place, op: &CompareOp, value: &CompValue) -> Result<Node, ScimError> {
    // `emails co "example.com"` is about the values (RFC 7644 3.4.2.2).
    if place.part.is_none() && place.attribute.multi_valued {
        place.part = place.attribute.part("value");
    }
    let attribute = place.compared();
    let within = matches!(op, CompareOp::Co | CompareOp::Sw | CompareOp::Ew);
    let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
    let mistyped = || Err(invalid("the filter compares an attribute with another type's value"));
    let operand = match (attribute.kind, value) {
        (Kind::Boolean | Kind::Binary, _) if !equality => {
            return Err(invalid("booleans and binaries are compared with eq and ne only"));
        }
        (_, CompValue::Null) => Operand::Null,
        (Kind::Boolean, CompValue::True) => Operand::Boolean(true),
        (Kind::Boolean, CompValue::False) => Operand::Boolean(false),
        // Entra writes booleans as text.
        (Kind::Boolean, CompValue::Str(text)) => match boolean(text) {
            Some(value) => Operand::Boolean(value),
            None => return mistyped(),
        },
        (Kind::DateTime, CompValue::Str(text)) if !within => match text.parse() {
            Ok(time) => Operand::Time(time),
            Err(_) => return Err(invalid("a time is written as in 2011-05-13T04:42:34Z")),
        },
        (Kind::Text | Kind::Reference | Kind::Binary | Kind::DateTime, CompValue::Str(text)) => {
            Operand::Text(folded(attribute, text).into_owned())
        }
        // No sub-attribute is named and none is `value`: nothing that can be written equals it.
        (Kind::Complex, _) => Operand::Text(String::new()),
        (Kind::Boolean, _) | (Kind::Text | Kind::Reference | Kind::Binary | Kind::DateTime, _) => {
            return mistyped();
        }
    };
    Ok(Node::Compare(place, op.clone(), operand))
}

/// A boolean that somebody wrote as text.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

impl Node {
    fn matches(&self, resource: &Map<String, Value>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(resource)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(resource)),
            Self::Not(node) => !node.matches(resource),
            Self::Nowhere => false,
            Self::Present(place) => is_present(place, resource),
            Self::Compare(place, op, operand) => compares(place, op, operand, resource),
            Self::Some(place, inner) => {
                let values = place.read(resource).and_then(Value::as_array);
                values.is_some_and(|values| {
                    values.iter().filter_map(Value::as_object).any(|value| inner.matches(value))
                })
            }
        }
    }
}

fn is_present(place: &Place, resource: &Map<String, Value>) -> bool {
    let Some(found) = place.read(resource) else { return false };
    match (place.part, found) {
        (Some(part), Value::Array(values)) => {
            values.iter().any(|value| value.get(part.name).is_some_and(has_something))
        }
        (Some(part), value) => value.get(part.name).is_some_and(has_something),
        (None, value) => has_something(value),
    }
}

/// "A non-empty or non-null value, or a non-empty node for complex attributes".
fn has_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => values.iter().any(has_something),
        Value::Object(parts) => parts.values().any(has_something),
    }
}

fn compares(
    place: &Place,
    op: &CompareOp,
    operand: &Operand,
    resource: &Map<String, Value>,
) -> bool {
    let attribute = place.compared();
    let one = |value: Option<&Value>| holds(attribute, value, op, operand);
    match (place.part, place.read(resource)) {
        (_, None) => one(None),
        (part, Some(Value::Array(values))) => {
            let compared = |value| match part {
                Some(part) => one(Value::get(value, part.name)),
                None => one(Some(value)),
            };
            // Of several values one is enough; that they differ holds of all.
            if *op == CompareOp::Ne {
                values.iter().all(compared)
            } else {
                values.iter().any(compared)
            }
        }
        (Some(part), Some(value)) => one(value.get(part.name)),
        (None, value) => one(value),
    }
}

/// One comparison. What is absent equals null and nothing else.
fn holds(attribute: &Attribute, value: Option<&Value>, op: &CompareOp, operand: &Operand) -> bool {
    let value = value.filter(|value| !value.is_null());
    let (Some(value), false) = (value, matches!(operand, Operand::Null)) else {
        let both = value.is_none() && matches!(operand, Operand::Null);
        return match op {
            CompareOp::Eq => both,
            CompareOp::Ne => !both,
            _ => false,
        };
    };
    let text = || value.as_str().map(|text| folded(attribute, text));
    let order = match operand {
        Operand::Null => None,
        Operand::Boolean(with) => value.as_bool().map(|value| value.cmp(with)),
        Operand::Time(with) => value
            .as_str()
            .and_then(|value| value.parse::<ScimDateTime>().ok())
            .and_then(|value| value.xsd_partial_cmp(with)),
        Operand::Text(with) => {
            // Of a time nothing is a part: it is no text.
            let comparable = attribute.kind != Kind::DateTime;
            let value = text().filter(|_| comparable);
            match op {
                CompareOp::Co => return value.is_some_and(|value| value.contains(&**with)),
                CompareOp::Sw => return value.is_some_and(|value| value.starts_with(&**with)),
                CompareOp::Ew => return value.is_some_and(|value| value.ends_with(&**with)),
                _ => value.map(|value| (*value).cmp(with)),
            }
        }
    };
    match (op, order) {
        (CompareOp::Eq, order) => order == Some(Ordering::Equal),
        (CompareOp::Ne, order) => order != Some(Ordering::Equal),
        (CompareOp::Gt, Some(order)) => order.is_gt(),
        (CompareOp::Ge, Some(order)) => order.is_ge(),
        (CompareOp::Lt, Some(order)) => order.is_lt(),
        (CompareOp::Le, Some(order)) => order.is_le(),
        (_, None) | (CompareOp::Co | CompareOp::Sw | CompareOp::Ew, _) => false,
    }
}

/// Text as it is compared: without regard to case, unless the schema says otherwise.
fn folded<'t>(attribute: &Attribute, text: &'t str) -> Cow<'t, str> {
    if attribute.case_exact { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

fn invalid(detail: &str) -> ScimError {
    ScimError::InvalidFilter(detail.to_owned())
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
