//! `application/x-www-form-urlencoded` (WHATWG URL 5.1), read strictly: UTF-8, valid escapes, no
//! parameter twice.

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::{HeaderMap, HeaderValue, Uri, header::CONTENT_TYPE};

use super::oauth_error::OAuthError;

/// A request's parameters, each there once (RFC 6749 3.2).
pub(crate) struct Form<'b>(BTreeMap<Cow<'b, str>, Cow<'b, str>>);

impl<'b> Form<'b> {
    /// Reads a client's request: parameters, and secrets above all, are in the body and never in
    /// the address (RFC 6749 2.3.1, 3.2).
    pub(crate) fn of_request(
        uri: &Uri,
        headers: &HeaderMap,
        body: &'b [u8],
    ) -> Result<Self, FormError> {
        if uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(FormError::Query);
        }
        if !headers.get(CONTENT_TYPE).is_some_and(is_form) {
            return Err(FormError::NotAForm);
        }
        Self::parse(body)
    }

    /// Reads a request's body.
    pub(crate) fn parse(body: &'b [u8]) -> Result<Self, FormError> {
        let body = std::str::from_utf8(body).map_err(|_| FormError::Encoding)?;
        let mut parameters = BTreeMap::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode_component(name).ok_or(FormError::Encoding)?;
            let value = decode_component(value).ok_or(FormError::Encoding)?;
            if parameters.insert(name, value).is_some() {
                return Err(FormError::Duplicate);
            }
            if parameters.len() > MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value. One sent without a value counts as not sent (RFC 6749 3.2).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref).filter(|value| !value.is_empty())
    }
}

/// Why a body is no form we read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("parameters are not accepted in the query string")]
    Query,
    #[error("the body must be application/x-www-form-urlencoded")]
    NotAForm,
    #[error("the body is not form-encoded UTF-8")]
    Encoding,
    #[error("a parameter is there twice")]
    Duplicate,
    #[error("there are more than {MAX_PARAMETERS} parameters")]
    TooMany,
}

/// No request of any of our standards has as many.
const MAX_PARAMETERS: usize = 64;

impl FormError {
    pub(super) fn answer(self) -> OAuthError {
        OAuthError::bad_request(
            "invalid_request",
            match self {
                Self::Query => "parameters belong in the body, not in the query string",
                Self::NotAForm => "the body must be application/x-www-form-urlencoded",
                Self::Encoding => "the body is not form-encoded UTF-8",
                Self::Duplicate => "a parameter is there twice",
                Self::TooMany => "there are more than 64 parameters",
            },
        )
    }
}

fn is_form(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().ok().and_then(|value| value.split(';').next());
    essence
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// One name or value: `+` is a space, `%` begins two hexadecimal digits, and the whole is UTF-8.
pub(crate) fn decode_component(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                let digits = std::str::from_utf8(digits).ok()?;
                // `from_str_radix` would take "+1".
                let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_decoded_strictly() {
        let decoded = |text| decode_component(text).map(Cow::into_owned);
        assert_eq!(decoded("a+b%20c%2Bd").as_deref(), Some("a b c+d"));
        assert_eq!(decoded("%C3%A4").as_deref(), Some("ä"));
        for refused in ["%", "%4", "%+1", "%zz", "%ff"] {
            assert_eq!(decoded(refused), None, "{refused} decodes");
        }
    }

    #[test]
    fn o15_a_parameter_twice_is_refused_however_it_is_spelled() {
        assert_eq!(
            Form::parse(b"a=1&b=2").ok().and_then(|f| f.get("b").map(str::to_owned)),
            Some("2".to_owned())
        );
        assert_eq!(Form::parse(b"scope=a&%73cope=b").err(), Some(FormError::Duplicate));
        assert_eq!(Form::parse(b"a&a=").err(), Some(FormError::Duplicate));
        let many = |count: usize| (0..count).map(|n| format!("p{n}=x&")).collect::<String>();
        assert!(Form::parse(many(MAX_PARAMETERS).as_bytes()).is_ok());
        let more = many(MAX_PARAMETERS + 1);
        assert_eq!(Form::parse(more.as_bytes()).err(), Some(FormError::TooMany));
        assert_eq!(Form::parse(b"a=\xff").err(), Some(FormError::Encoding));
    }
}
