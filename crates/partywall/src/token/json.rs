//! JSON as a stranger's token may bring it: one object, every name once (RFC 7515 4, RFC 7519 4),
//! UTF-8 without a byte order mark, bounded in depth and in number of values.
//!
//! What is read borrows from the decoded bytes; only strings with escapes are copied.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// How deep objects and arrays may nest.
const MAX_DEPTH: u8 = 16;
/// How many values a document may have, all levels together. A value costs 32 bytes.
const MAX_VALUES: u32 = 4096;

/// A value.
#[derive(Debug)]
pub(super) enum Json<'a> {
    Null,
    Bool,
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

impl<'a> Json<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// A number, as written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Negative,
    Float(f64),
}

/// An object; every name occurs once.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// Reads a document that is one object.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        let reading = Reading::default();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = reading.value(MAX_DEPTH).deserialize(&mut json);
        let value = value.and_then(|value| json.end().map(|()| value));
        match value {
            Ok(Json::Object(object)) => Ok(object),
            Ok(_) => Err(JsonFault::NotAnObject),
            Err(_) => Err(reading.fault.take().unwrap_or(JsonFault::Syntax)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// A name that occurs more than once, compared after unescaping.
    fn duplicate(&self) -> Option<&str> {
        const FEW: usize = 24;
        let mut names = self.0.iter().enumerate().map(|(at, (name, _))| (at, name.as_ref()));
        if self.0.len() <= FEW {
            let mut repeated =
                names.filter(|(at, name)| self.names().take(*at).any(|n| n == *name));
            return repeated.next().map(|(_, name)| name);
        }
        let mut seen = HashSet::with_capacity(self.0.len());
        names.find(|(_, name)| !seen.insert(*name)).map(|(_, name)| name)
    }
}

/// Why a document was not read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// It is not JSON in UTF-8 without a byte order mark, or goes on after its end.
    #[error("it is not JSON")]
    Syntax,
    /// It is JSON, and not an object.
    #[error("it is not an object")]
    NotAnObject,
    /// A name occurs twice in one object, perhaps spelled with escapes.
    #[error("the name {name:?} occurs twice")]
    DuplicateName {
        /// The name, shortened.
        name: String,
    },
    /// It nests deeper than 16 levels.
    #[error("it nests too deep")]
    TooDeep,
    /// It has more than 4,096 values.
    #[error("it has too many values")]
    TooManyValues,
}

impl JsonFault {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Syntax => "json_invalid",
            Self::NotAnObject => "json_not_an_object",
            Self::DuplicateName { .. } => "json_duplicate_name",
            Self::TooDeep => "json_too_deep",
            Self::TooManyValues => "json_too_many_values",
        }
    }
}

/// What one parse keeps track of. serde's errors are text, so the fault travels beside them.
#[derive(Default)]
struct Reading {
    values: Cell<u32>,
    fault: RefCell<Option<JsonFault>>,
}

impl Reading {
    fn value(&self, depth_left: u8) -> ValueSeed<'_> {
        ValueSeed { reading: self, depth_left }
    }

    fn fail<E: de::Error>(&self, fault: JsonFault) -> E {
        self.fault.replace(Some(fault));
        E::custom("refused")
    }
}

struct ValueSeed<'r> {
    reading: &'r Reading,
    depth_left: u8,
}

impl ValueSeed<'_> {
    /// The seed of the values inside this one.
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        let too_deep = || self.reading.fail(JsonFault::TooDeep);
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { reading: self.reading, depth_left })
    }

    fn again(&self) -> Self {
        Self { reading: self.reading, depth_left: self.depth_left }
    }
}

impl<'a> DeserializeSeed<'a> for ValueSeed<'_> {
    type Value = Json<'a>;

    fn deserialize<D: de::Deserializer<'a>>(self, json: D) -> Result<Json<'a>, D::Error> {
        let values = self.reading.values.get() + 1;
        if values > MAX_VALUES {
            return Err(self.reading.fail(JsonFault::TooManyValues));
        }
        self.reading.values.set(values);
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for ValueSeed<'_> {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'a>, E> {
        Ok(Json::Number(Number::Whole(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'a>, E> {
        Ok(Json::Number(u64::try_from(number).map_or(Number::Negative, Number::Whole)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'a>, E> {
        Ok(Json::Number(Number::Float(number)))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Json<'a>, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner.again())? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<Json<'a>, A::Error> {
        let inner = self.inner()?;
        // Only the outermost is known to be of some size: a thousand empty ones must cost nothing.
        let expected = if self.depth_left == MAX_DEPTH { 16 } else { 0 };
        let mut object = Object(Vec::with_capacity(expected));
        while let Some(name) = members.next_key_seed(NameSeed)? {
            object.0.push((name, members.next_value_seed(inner.again())?));
        }
        match object.duplicate() {
            Some(name) => {
                let name = super::error::excerpt(name);
                Err(self.reading.fail(JsonFault::DuplicateName { name }))
            }
            None => Ok(Json::Object(object)),
        }
    }
}

struct NameSeed;

impl<'a> DeserializeSeed<'a> for NameSeed {
    type Value = Cow<'a, str>;

    fn deserialize<D: de::Deserializer<'a>>(self, json: D) -> Result<Cow<'a, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for NameSeed {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &[u8]) -> JsonFault {
        Object::parse(json).expect_err("was read")
    }

    #[test]
    fn j13_duplicate_names_are_refused_before_and_after_unescaping() {
        for twice in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"x":[{"a":1,"b":2,"a":null}]}"#,
        ] {
            assert!(matches!(fault(twice.as_bytes()), JsonFault::DuplicateName { .. }), "{twice}");
            // The control: serde_json itself reads them, and the last one wins.
            assert!(serde_json::from_str::<serde_json::Value>(twice).is_ok());
        }
        let many: String = (0..100).map(|n| format!(r#""n{n}":{n},"#)).collect();
        assert!(Object::parse(format!(r#"{{{many}"z":0}}"#).as_bytes()).is_ok());
        let twice = fault(format!(r#"{{{many}"n\u0035":0}}"#).as_bytes());
        assert_eq!(twice, JsonFault::DuplicateName { name: "n5".into() });
        // The same name in two objects is no duplicate.
        assert!(Object::parse(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn j14_only_utf8_json_without_bom_and_without_a_tail() {
        for (json, why) in [
            (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (b"{\"a\":\"\xed\xa0\x80\"}", "a surrogate in UTF-8"),
            (br#"{"a":"\ud800"}"#, "half a surrogate pair"),
            (b"{\0}", "a NUL"),
            (b"{} {}", "two documents"),
            (b"{}x", "a tail"),
            (b"", "nothing"),
            (b"{\"a\":1,}", "a trailing comma"),
            (b"{a:1}", "a bare name"),
            (b"{\"a\":01}", "an octal"),
            (b"{\"a\":1e999}", "beyond a double"),
            (b"{\"a\":NaN}", "not a number"),
            (b"{\"a\":\"\n\"}", "a raw control character"),
            (b"{/**/}", "a comment"),
            (&b"{\0\"\0a\0\"\0:\x001\0}\0"[..], "UTF-16"),
        ] {
            assert_eq!(fault(json), JsonFault::Syntax, "{why}");
        }
        for other in [&b"[]"[..], b"null", b"1", b"\"a\"", b"true"] {
            assert_eq!(fault(other), JsonFault::NotAnObject);
        }
        assert!(Object::parse(b" {\"a\" : \"\\ud83d\\ude00\"}\n").is_ok());
    }

    #[test]
    fn j14_depth_and_number_of_values_are_bounded() {
        let nested =
            |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(Object::parse(nested(15).as_bytes()).is_ok());
        assert_eq!(fault(nested(16).as_bytes()), JsonFault::TooDeep);
        assert_eq!(fault("{\"a\":".repeat(5000).as_bytes()), JsonFault::TooDeep);
        let list = |len: usize| format!(r#"{{"a":[{}0]}}"#, "0,".repeat(len - 1));
        assert!(Object::parse(list(4094).as_bytes()).is_ok());
        assert_eq!(fault(list(4095).as_bytes()), JsonFault::TooManyValues);
    }

    /// Cargo unifies features over a build. With serde_json's `arbitrary_precision` numbers would
    /// arrive as objects, and every `exp` would be refused.
    #[test]
    fn j11_numbers_arrive_as_numbers() {
        let object = Object::parse(br#"{"whole":1,"below":-1,"float":1.5}"#).unwrap();
        assert!(matches!(object.get("whole"), Some(Json::Number(Number::Whole(1)))));
        assert!(matches!(object.get("below"), Some(Json::Number(Number::Negative))));
        assert!(matches!(object.get("float"), Some(Json::Number(Number::Float(1.5)))));
    }
}
