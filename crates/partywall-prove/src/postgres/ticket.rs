//! Tickets of our own wall, made from its description and from nothing else: if this module and the
//! wall disagree, every control fails.
//!
//! ```text
//! hex(mac[32] | not_before int8 | not_after int8 | length int1 | tenant | claims)
//! mac = HMAC-SHA256(key, everything after the mac | backend pid int4)
//! ```
//!
//! Big-endian; times in microseconds since 2000-01-01 UTC.

use aws_lc_rs::digest::{self, SHA256};

/// Makes tickets with a key, or with its two padded blocks as the database keeps them.
#[derive(Clone)]
pub struct TicketMaker {
    inner: Vec<u8>,
    outer: Vec<u8>,
}

impl std::fmt::Debug for TicketMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketMaker").finish_non_exhaustive()
    }
}

impl TicketMaker {
    /// From a key of at most 64 bytes (RFC 2104: padded with zeroes to the block of SHA-256).
    pub fn from_key(key: &[u8]) -> Option<Self> {
        if !(32..=64).contains(&key.len()) {
            return None;
        }
        let padded = |with: u8| {
            let zeroes = std::iter::repeat_n(0, 64 - key.len());
            key.iter().copied().chain(zeroes).map(|byte| byte ^ with).collect()
        };
        Some(Self { inner: padded(0x36), outer: padded(0x5c) })
    }

    /// From the two blocks.
    pub fn from_pads(inner: Vec<u8>, outer: Vec<u8>) -> Option<Self> {
        (inner.len() == 64 && outer.len() == 64).then_some(Self { inner, outer })
    }

    /// A ticket for `tenant` on backend `pid`, for the transaction that began at `moment`.
    pub fn ticket(&self, tenant: &str, pid: i32, moment: i64) -> String {
        let mut body = Vec::with_capacity(32 + tenant.len());
        body.extend_from_slice(&moment.to_be_bytes());
        body.extend_from_slice(&moment.to_be_bytes());
        body.push(u8::try_from(tenant.len()).unwrap_or(u8::MAX));
        body.extend_from_slice(tenant.as_bytes());
        let bound: Vec<u8> = [body.as_slice(), &pid.to_be_bytes()].concat();
        let inner = digest::digest(&SHA256, &[self.inner.as_slice(), &bound].concat());
        let mac = digest::digest(&SHA256, &[self.outer.as_slice(), inner.as_ref()].concat());
        hex(&[mac.as_ref(), &body].concat())
    }
}

/// `own` with another tenant in it, under the mac it has: what an attacker can make of its ticket.
pub(crate) fn readdressed(own: &str, tenant: &str) -> Option<String> {
    let mac_and_window = own.get(..2 * (32 + 16))?;
    Some(format!("{mac_and_window}{:02x}{}", tenant.len() & 0xff, hex(tenant.as_bytes())))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a `bytea` as the server prints it: `\x0a1b`.
pub(crate) fn bytea(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    let byte = |n: usize| u8::from_str_radix(digits.get(n..n + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}
