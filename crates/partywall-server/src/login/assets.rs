//! What pages refer to: one style sheet, one script for passkeys, and one that sends a form. A name
//! has its file's hash, so that it can be kept for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use super::page::Last;
use crate::provider::At;

pub(super) const PATH: &str = "/assets/{name}";

/// Where the style sheet is.
pub(super) fn style_address(at: &At) -> String {
    format!("{}/assets/{}", at.issuer(), *STYLE_NAME)
}

/// Where the script is.
pub(super) fn script_address(at: &At) -> String {
    format!("{}/assets/{}", at.issuer(), *SCRIPT_NAME)
}

/// Where the script is that sends a page's form.
pub(super) fn send_address(at: &At) -> String {
    format!("{}/assets/{}", at.issuer(), *SEND_NAME)
}

/// `GET /assets/{name}`.
pub(super) async fn handler(Last(name): Last) -> Response {
    let (kind, content) = match name {
        name if name == *STYLE_NAME => ("text/css; charset=utf-8", STYLE),
        name if name == *SCRIPT_NAME => ("text/javascript; charset=utf-8", SCRIPT),
        name if name == *SEND_NAME => ("text/javascript; charset=utf-8", SEND),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    (headers, content).into_response()
}

const STYLE: &str = include_str!("../../templates/sign_in.css");
const SCRIPT: &str = include_str!("../../templates/passkey.js");
const SEND: &str = include_str!("../../templates/send.js");
static SEND_NAME: LazyLock<String> = LazyLock::new(|| named("send", SEND, "js"));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| named("passkey", SCRIPT, "js"));
static STYLE_NAME: LazyLock<String> = LazyLock::new(|| named("style", STYLE, "css"));

fn named(stem: &str, content: &str, extension: &str) -> String {
    let hash = digest::digest(&digest::SHA256, content.as_bytes());
    let hash: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hash}.{extension}")
}
