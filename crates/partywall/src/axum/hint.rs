//! What a request says about its tenant besides its token: [`Hint`].
//!
//! Whoever reads the hint later (a handler, a proxy's upstream) may read it in its own way. So
//! everything that could be read as another tenant counts as one, and nothing is decoded.

use std::iter;

use ::axum::{
    extract::OriginalUri,
    http::{
        HeaderName, Request, Uri,
        header::HOST,
        uri::{Authority, InvalidUri},
    },
};

/// Where a request may say which tenant it means, by id or by slug.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Hint {
    /// The first label of the host, under this domain: `acme.app.example` under `app.example`.
    ///
    /// Upper case and one trailing dot are the same host (RFC 9110 4.2.3, RFC 1034 3.1). A target
    /// in absolute form and a `Host` header must name the same one.
    Subdomain(String),
    /// The path segment after this one: `/t/acme/invoices` after `t`. Read from the whole path,
    /// also inside [`Router::nest`](::axum::Router::nest), and wherever the segment occurs.
    PathAfter(String),
    /// A header.
    Header(HeaderName),
}

impl Hint {
    /// Whether `request` names, here, no tenant but the one that `is_own` knows.
    pub(super) fn agrees<B>(&self, request: &Request<B>, is_own: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Header(name) => {
                let mut values = request.headers().get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => true,
                    (Some(value), None) => value.to_str().is_ok_and(is_own),
                    (Some(_), Some(_)) => false,
                }
            }
            Self::PathAfter(marker) => uris(request).all(|uri| path(uri.path(), marker, &is_own)),
            Self::Subdomain(domain) => subdomain(request, domain, is_own),
        }
    }
}

/// The target as the client sent it, where axum's routers noted it, and as it is now. `nest` takes
/// the front off, and a layer in between may have rewritten it.
pub(super) fn uris<B>(request: &Request<B>) -> impl Iterator<Item = &Uri> {
    let original = request.extensions().get::<OriginalUri>().map(|OriginalUri(uri)| uri);
    original.into_iter().chain(iter::once(request.uri()))
}

fn path(path: &str, marker: &str, is_own: impl Fn(&str) -> bool) -> bool {
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // An upstream that resolves dots would leave this tenant's part of the tree.
        if reads_as(segment, ".") || reads_as(segment, "..") {
            return false;
        }
        if reads_as(segment, marker) && !segments.peek().is_some_and(|tenant| is_own(tenant)) {
            return false;
        }
    }
    true
}

/// Whether `segment` is `word`, to a reader who decodes percent signs as well.
fn reads_as(segment: &str, word: &str) -> bool {
    let mut rest = segment.as_bytes();
    let decoded = iter::from_fn(|| {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..)?),
            },
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    });
    decoded.eq(word.bytes())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| value.try_into().ok())
}

fn subdomain<B>(request: &Request<B>, domain: &str, is_own: impl Fn(&str) -> bool) -> bool {
    let targets = uris(request).filter_map(|uri| uri.authority().cloned().map(Ok));
    let headers = request.headers().get_all(HOST).iter();
    let headers = headers.map(|host| Authority::try_from(host.as_bytes()));
    let mut said = targets.chain(headers).map(host);
    let Some(first) = said.next() else { return true };
    let Some(first) = first.filter(|first| said.all(|next| next.as_ref() == Some(first))) else {
        return false;
    };
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    match first.strip_suffix(&domain) {
        None | Some("") => true,
        Some(labels) => match labels.strip_suffix('.') {
            Some(label) => is_own(label),
            // `notapp.example` does not stand under `app.example`.
            None => true,
        },
    }
}

/// The host in its one spelling, or `None` where it could be read in two ways.
fn host(authority: Result<Authority, InvalidUri>) -> Option<String> {
    let authority = authority.ok().filter(|authority| !authority.as_str().contains(['@', '%']))?;
    let host = authority.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    host.split('.').all(|label| !label.is_empty()).then(|| host.to_ascii_lowercase())
}
