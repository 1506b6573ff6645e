//! The application's interface, one route at a time.

use std::{fmt, str::FromStr};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A route of the application, and how to call it.
///
/// Written `METHOD /path [BODY] [id=/pointer] [public]`. In path parameters stands `{name}`; in
/// query and body stand `$marker` (a text of ours), `$id` (an id of the only collection there is)
/// and `$id:/invoices` (an id of that one).
///
/// ```
/// use partywall_prove::system::Route;
///
/// let create: Route = r#"POST /invoices {"customer": "$marker", "cents": 1} id=/data/id"#.parse()?;
/// assert_eq!(create.to_string(), "POST /invoices");
/// let _: Route = "GET /healthz public".parse()?;
/// let _: Route = "GET /search?q=$marker".parse()?;
/// assert!("FETCH invoices".parse::<Route>().is_err());
/// # Ok::<(), partywall_prove::system::InvalidRoute>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    /// Decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<Value>,
    /// Where the answer to a creation has the new id.
    pub(super) id: Option<String>,
    /// Meant for everyone, without a token.
    pub(super) public: bool,
}

impl Route {
    /// Whether it only reads (RFC 9110 9.2.1).
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// Its path parameters: the name of each, and the collection its values are of.
    pub(super) fn params(&self) -> Vec<(String, String)> {
        let mut before = String::new();
        let mut params = Vec::new();
        for segment in self.path.split('/').skip(1) {
            match param(segment) {
                Some(name) => {
                    params.push((name.to_owned(), before.clone()));
                    before.push_str("/{}");
                }
                None => {
                    before.push('/');
                    before.push_str(segment);
                }
            }
        }
        params
    }

    /// The path with its parameters' names left out: two routes of one place have one.
    pub(super) fn shape(&self) -> String {
        let segments = self.path.split('/').map(|s| if param(s).is_some() { "{}" } else { s });
        segments.collect::<Vec<_>>().join("/")
    }

    /// The texts of query and body, where ids and markers may stand.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.query.iter().map(|(_, value)| value.as_str()).collect();
        if let Some(body) = &self.body {
            collect(body, &mut texts);
        }
        texts
    }
}

/// `{name}`.
fn param(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl FromStr for Route {
    type Err = InvalidRoute;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let invalid = |why| InvalidRoute { written: written.to_owned(), why };
        let (method, rest) = written.trim().split_once(' ').ok_or_else(|| invalid(Fault::Path))?;
        let method = match method {
            "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE" => {
                method.parse().map_err(|_| invalid(Fault::Method))?
            }
            _ => return Err(invalid(Fault::Method)),
        };
        let rest = rest.trim_start();
        let (target, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if !target.starts_with('/') || target.contains('#') {
            return Err(invalid(Fault::Path));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (body, words) = body(rest.trim_start()).ok_or_else(|| invalid(Fault::Body))?;
        let path = path.to_owned();
        let mut route = Self { method, path, query, body, id: None, public: false };
        for word in words.split_whitespace() {
            match (word, word.strip_prefix("id=")) {
                ("public", _) => route.public = true,
                (_, Some(pointer)) if pointer.starts_with('/') => {
                    route.id = Some(pointer.to_owned());
                }
                _ => return Err(invalid(Fault::Word)),
            }
        }
        Ok(route)
    }
}

/// The JSON a text begins with, if it does, and what follows.
fn body(text: &str) -> Option<(Option<Value>, &str)> {
    if !text.starts_with(['{', '[']) {
        return Some((None, text));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    Some((Some(value), text.get(values.byte_offset()..)?))
}

/// Not `METHOD /path [BODY] [id=/pointer] [public]`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{written:?} is no route: {why}")]
pub struct InvalidRoute {
    /// What was written.
    pub written: String,
    #[source]
    why: Fault,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Fault {
    #[error("begin with GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE")]
    Method,
    #[error("after the method comes a path, like /invoices/{{id}}")]
    Path,
    #[error("the body must be JSON")]
    Body,
    #[error("after path and body may stand `public` and `id=/pointer/to/the/new/id`")]
    Word,
}

impl TryFrom<String> for Route {
    type Error = InvalidRoute;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        written.parse()
    }
}

impl From<Route> for String {
    fn from(route: Route) -> Self {
        let mut text = route.to_string();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&route.query)
            .finish();
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query);
        }
        if let Some(body) = &route.body {
            text.push_str(&format!(" {body}"));
        }
        if let Some(pointer) = &route.id {
            text.push_str(&format!(" id={pointer}"));
        }
        if route.public {
            text.push_str(" public");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r06_a_route_is_read_and_written_back() {
        for written in [
            "GET /invoices",
            "GET /invoices/{id}/lines/{line}",
            "GET /search?q=%24marker",
            r#"POST /invoices {"customer":"$marker"} id=/data/id"#,
            "GET /healthz public",
        ] {
            let route: Route = written.parse().unwrap();
            assert_eq!(String::from(route.clone()), written);
        }
        for wrong in ["", "GET", "GET invoices", "get /x", "TRACE /x", "POST /x {", "GET /x y"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn r06_a_parameter_knows_its_collection() {
        let route: Route = "GET /a/{x}/b/{y}".parse().unwrap();
        let params = [("x".to_owned(), "/a".to_owned()), ("y".to_owned(), "/a/{}/b".to_owned())];
        assert_eq!(route.params(), params);
        assert_eq!(route.shape(), "/a/{}/b/{}");
    }
}
