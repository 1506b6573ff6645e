//! What pages refer to: one style sheet. Its name has its hash, so that it can be kept for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::{
    extract::Path,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::provider::At;

pub(super) const PATH: &str = "/assets/{name}";

/// Where the style sheet is.
pub(super) fn style_address(at: &At) -> String {
    format!("{}/assets/{}", at.issuer(), *STYLE_NAME)
}

/// `GET /assets/{name}`.
pub(super) async fn handler(Path(name): Path<String>) -> Response {
    if name != *STYLE_NAME {
        return StatusCode::NOT_FOUND.into_response();
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    (headers, STYLE).into_response()
}

const STYLE: &str = include_str!("../../templates/sign_in.css");
static STYLE_NAME: LazyLock<String> = LazyLock::new(|| named("style", STYLE, "css"));

fn named(stem: &str, content: &str, extension: &str) -> String {
    let hash = digest::digest(&digest::SHA256, content.as_bytes());
    let hash: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hash}.{extension}")
}
