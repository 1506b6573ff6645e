//! A response as people have it: a file, or what a browser sent.

use std::{fs::File, io::Read, path::Path};

use base64ct::{Base64, Encoding};

use crate::lines::Line;

/// The base64 of a message a little larger than one that is taken: the verifier refuses it.
pub(super) const LONGEST: usize = 512 * 1024;

/// Why there is nothing to verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("neither the name of a file that can be read nor base64")]
    Neither,
    #[error("a file that is neither XML nor base64")]
    File,
    #[error("longer than any response that is taken")]
    TooLong,
}

/// The XML a line stands for. What names a file is a file.
pub(super) fn of(line: &Line<'_>) -> Result<Vec<u8>, Unreadable> {
    match *line {
        Line::Text(text) => match from_file(Path::new(text)) {
            Some(bytes) => bytes,
            None => decode(text).ok_or(Unreadable::Neither),
        },
        Line::TooLong { .. } => Err(Unreadable::TooLong),
        Line::NotUtf8 => Err(Unreadable::Neither),
    }
}

/// `None` if there is no such file.
fn from_file(path: &Path) -> Option<Result<Vec<u8>, Unreadable>> {
    let file = File::open(path).ok().filter(|f| f.metadata().is_ok_and(|m| m.is_file()))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    if file.take(limit).read_to_end(&mut bytes).is_err() {
        return Some(Err(Unreadable::File));
    }
    if bytes.len() > LONGEST {
        return Some(Err(Unreadable::TooLong));
    }
    let begins = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes).trim_ascii_start();
    if begins.starts_with(b"<") {
        return Some(Ok(bytes));
    }
    let decoded = std::str::from_utf8(&bytes).ok().and_then(decode);
    Some(decoded.ok_or(Unreadable::File))
}

/// What the HTTP-POST binding carries (saml-bindings 3.5.4), with line breaks or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    Base64::decode_vec(&text).ok().filter(|bytes| !bytes.is_empty())
}
