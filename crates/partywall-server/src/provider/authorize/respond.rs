//! How the answer to an authorization request gets back to who asked: by redirect or by a form that
//! the browser posts (OAuth 2.0 Form Post Response Mode). Both name the issuer, so that nobody
//! takes it for another's answer (RFC 9207, RFC 9700 4.4).

use askama::Template;
use aws_lc_rs::digest;
use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY},
    },
    response::{IntoResponse, Response},
};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::provider::at::At;

/// Where an answer goes: an address the client registered, and the client's own `state`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReplyTo {
    pub(crate) redirect_uri: String,
    pub(crate) mode: ResponseMode,
    pub(crate) state: Option<String>,
}

/// How an answer gets there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResponseMode {
    /// In the address.
    #[default]
    Query,
    /// In the body of a form the browser posts.
    FormPost,
}

impl ResponseMode {
    pub(in crate::provider) const NAMES: [&str; 2] = ["query", "form_post"];

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "query" => Some(Self::Query),
            "form_post" => Some(Self::FormPost),
            _ => None,
        }
    }
}

impl ReplyTo {
    /// RFC 6749 4.1.2.
    pub(super) fn with_code(&self, at: &At, code: &str) -> Response {
        self.answer(at, &[("code", code)])
    }

    /// RFC 6749 4.1.2.1, OIDC Core 3.1.2.6.
    pub(super) fn with_error(&self, at: &At, error: &str, description: &str) -> Response {
        self.answer(at, &[("error", error), ("error_description", description)])
    }

    fn answer(&self, at: &At, answer: &[(&str, &str)]) -> Response {
        let mut parameters = answer.to_vec();
        parameters.extend(self.state.as_deref().map(|state| ("state", state)));
        // RFC 9207 2: in errors, too.
        parameters.push(("iss", at.issuer()));
        match self.mode {
            ResponseMode::Query => self.redirect(&parameters),
            ResponseMode::FormPost => self.form(&parameters),
        }
    }

    /// By `303`, never `307`: a form with a password may be what led here (RFC 9700 4.12).
    fn redirect(&self, parameters: &[(&str, &str)]) -> Response {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        // RFC 6749 3.1.2: what the address has of a query stays.
        let between = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{between}{}", self.redirect_uri, query.finish());
        match HeaderValue::from_str(&location) {
            Ok(location) => {
                (StatusCode::SEE_OTHER, [(LOCATION, location)], NOT_KEPT).into_response()
            }
            // What was registered is visible ASCII.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn form(&self, parameters: &[(&str, &str)]) -> Response {
        let page = FormPost { redirect_uri: &self.redirect_uri, parameters, script: SUBMIT };
        let hash = digest::digest(&digest::SHA256, SUBMIT.as_bytes());
        // Browsers hold whatever the application redirects to against `form-action`, too.
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; form-action https: http:; \
             frame-ancestors 'none'; base-uri 'none'",
            Base64::encode_string(hash.as_ref())
        );
        html(StatusCode::OK, &policy, &page)
    }
}

/// OAuth 2.0 Form Post Response Mode 2. Without scripts there is a button.
#[derive(Template)]
#[template(path = "form_post.html")]
struct FormPost<'p> {
    redirect_uri: &'p str,
    parameters: &'p [(&'p str, &'p str)],
    script: &'p str,
}

/// The one script of the page, allowed by its hash.
const SUBMIT: &str = "document.forms[0].submit()";

/// What is shown where nobody knows whom to answer (RFC 6749 4.1.2.1).
#[derive(Template)]
#[template(path = "authorize_error.html")]
struct ErrorPage<'p> {
    error: &'p str,
    description: &'p str,
}

/// Tells whoever sits at the browser, and sends them nowhere (RFC 9700 4.11.2).
pub(super) fn error_page(error: &str, description: &str) -> Response {
    const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
                          form-action 'none'";
    html(StatusCode::BAD_REQUEST, POLICY, &ErrorPage { error, description })
}

fn html(status: StatusCode, policy: &str, page: &impl Template) -> Response {
    let (Ok(body), Ok(policy)) = (page.render(), HeaderValue::from_str(policy)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (status, NOT_KEPT, headers, body).into_response()
}

/// Codes are nobody's on the way, and not in a referrer (RFC 9700 4.2.4).
const NOT_KEPT: [(HeaderName, HeaderValue); 2] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];
