//! Whether two answers are the same, apart from what was sent and what changes by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Answer, Got};

/// An answer, and what was sent to get it: ids and markers an application may echo.
pub(super) struct Told<'a> {
    pub(super) answer: &'a Answer,
    pub(super) sent: &'a [String],
}

/// How `told` differs from what an id that never was gets, each asked for once or more: what differs
/// among those that should be the same (a request id, a time) counts for nothing. `None` when it
/// does not.
pub(super) fn difference(told: &[Told<'_>], absent: &[Told<'_>]) -> Option<Difference> {
    let (Some(these), Some(others)) = (all_parts(told), all_parts(absent)) else {
        return Some(Difference::Status("there was no answer".to_owned()));
    };
    let (this, other) = (these.first()?, others.first()?);
    if this.status != other.status {
        let said = format!("{} and not {}", this.status, other.status);
        return Some(Difference::Status(said));
    }
    let names: BTreeSet<&String> =
        these.iter().chain(&others).flat_map(|answer| answer.parts.keys()).collect();
    let settled = |answers: &[Parts], name: &String| {
        answers.windows(2).all(|pair| match pair {
            [one, next] => same(one.parts.get(name), next.parts.get(name)),
            _ => true,
        })
    };
    names
        .into_iter()
        .find(|name| {
            !same(this.parts.get(*name), other.parts.get(*name))
                && settled(&these, name)
                && settled(&others, name)
        })
        .map(|name| Difference::Part(format!("another {name}")))
}

struct Parts {
    status: u16,
    parts: BTreeMap<String, Part>,
}

/// `None` when one of them is no answer.
fn all_parts(told: &[Told<'_>]) -> Option<Vec<Parts>> {
    let of = |told: &Told<'_>| match told.answer {
        Answer::Got(got) => Some(Parts { status: got.status, parts: parts(got, told.sent) }),
        Answer::Failed(_) => None,
    };
    told.iter().map(of).collect()
}

/// What two answers differ in, in a few words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Difference {
    /// The status: it does not change by itself.
    Status(String),
    /// A header or a part of the body, which may be a clock of theirs that has just ticked.
    Part(String),
}

impl Difference {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Status(text) | Self::Part(text) => text,
        }
    }
}

/// A part of an answer: as it is, and with what was sent made neutral.
struct Part {
    plain: String,
    neutral: String,
}

/// Either will do: what was sent may be echoed, and a short number that was sent (`4`) may stand in
/// an answer (`404`) without being an echo.
fn same(one: Option<&Part>, other: Option<&Part>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.plain == other.plain || one.neutral == other.neutral,
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// `text` with `$sent` where `word` stands alone in it.
fn without(text: &str, word: &str) -> String {
    let alone = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    let mut left = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        let last = before.chars().next_back().or_else(|| left.chars().next_back());
        left.push_str(before);
        let stands_alone = alone(last) && alone(after.chars().next());
        left.push_str(if stands_alone { "$sent" } else { word });
        rest = after;
    }
    left + rest
}

/// An answer part by part: each header, and each value of a JSON body, or the body as a whole.
fn parts(got: &Got, sent: &[String]) -> BTreeMap<String, Part> {
    // Longest first: one sent text may be part of another.
    let mut sent: Vec<&String> = sent.iter().filter(|text| !text.is_empty()).collect();
    sent.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let neutral = |text: &str| {
        let neutral = sent.iter().fold(text.to_owned(), |text, sent| match sent.len() {
            0..8 => without(&text, sent),
            _ => text.replace(sent.as_str(), "$sent"),
        });
        Part { plain: text.to_owned(), neutral }
    };
    let mut parts = BTreeMap::new();
    for (name, value) in &got.headers {
        // Without a body (HEAD) its length is all that there is to learn.
        let length = name == "content-length" && got.body.is_empty();
        let changing = CHANGING.contains(&name.as_str()) || name.contains("ratelimit");
        if length || !changing {
            parts.insert(format!("header {name}"), neutral(value));
        }
    }
    match serde_json::from_str::<Value>(&got.body) {
        Ok(json) => flatten(&json, "body".to_owned(), &neutral, &mut parts),
        Err(_) => {
            parts.insert("body".to_owned(), neutral(&got.body));
        }
    }
    parts
}

/// Headers that differ between two answers to the same request, or follow from the body.
const CHANGING: [&str; 12] = [
    "date",
    "age",
    "content-length",
    "x-request-id",
    "x-correlation-id",
    "x-trace-id",
    "x-amzn-trace-id",
    "cf-ray",
    "traceparent",
    "server-timing",
    "x-response-time",
    "x-runtime",
];

fn flatten(
    value: &Value,
    at: String,
    neutral: &impl Fn(&str) -> Part,
    parts: &mut BTreeMap<String, Part>,
) {
    match value {
        Value::Object(fields) => {
            parts.insert(at.clone(), neutral("{}"));
            for (name, value) in fields {
                flatten(value, format!("{at}/{name}"), neutral, parts);
            }
        }
        Value::Array(items) => {
            parts.insert(at.clone(), neutral(&format!("{} items", items.len())));
            for (n, value) in items.iter().enumerate() {
                flatten(value, format!("{at}/{n}"), neutral, parts);
            }
        }
        Value::String(text) => {
            parts.insert(at, neutral(text));
        }
        other => {
            parts.insert(at, neutral(&other.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: (&str, &str), body: &str) -> Answer {
        let headers = vec![(header.0.to_owned(), header.1.to_owned())];
        Answer::Got(Got { status, headers, body: body.to_owned() })
    }

    fn differs(this: &Answer, one: &Answer, two: &Answer) -> Option<String> {
        let (foreign, absent) = (["id-7".to_owned()], [["id-8".to_owned()], ["id-9".to_owned()]]);
        let told = difference(
            &[Told { answer: this, sent: &foreign }],
            &[Told { answer: one, sent: &absent[0] }, Told { answer: two, sent: &absent[1] }],
        );
        told.map(|difference| difference.text().to_owned())
    }

    #[test]
    fn r06_a_short_number_is_no_echo_inside_another() {
        let body = r#"{"status": 404, "code": "E4041", "no": "note 4"}"#;
        let (this, absent) = (answer(404, ("x", "1"), body), body.replace("note 4", "note 2000"));
        let absent = answer(404, ("x", "1"), &absent);
        let (sent, other) = (["4".to_owned()], ["2000".to_owned()]);
        let absent =
            [Told { answer: &absent, sent: &other }, Told { answer: &absent, sent: &other }];
        assert_eq!(difference(&[Told { answer: &this, sent: &sent }], &absent), None);
        let telling = answer(404, ("x", "1"), &body.replace("note 4", "note 4 of globex"));
        assert!(difference(&[Told { answer: &telling, sent: &sent }], &absent).is_some());
    }

    #[test]
    fn r06_echoes_and_request_ids_are_no_difference() {
        let this = answer(404, ("x-call", "1"), r#"{"no": "id-7", "request": "aa"}"#);
        let one = answer(404, ("x-call", "2"), r#"{"no": "id-8", "request": "bb"}"#);
        let two = answer(404, ("x-call", "3"), r#"{"no": "id-9", "request": "cc"}"#);
        assert_eq!(differs(&this, &one, &two), None);
    }

    #[test]
    fn r06_status_body_and_headers_are_differences() {
        let one = answer(404, ("x", "1"), r#"{"no": "such"}"#);
        for other in [
            answer(403, ("x", "1"), r#"{"no": "such"}"#),
            answer(404, ("x", "2"), r#"{"no": "such"}"#),
            answer(404, ("x", "1"), r#"{"no": "access"}"#),
            answer(404, ("x", "1"), r#"{"no": "such", "more": 1}"#),
            answer(404, ("y", "1"), r#"{"no": "such"}"#),
        ] {
            assert!(differs(&other, &one, &one.clone()).is_some(), "{other:?}");
        }
    }
}
