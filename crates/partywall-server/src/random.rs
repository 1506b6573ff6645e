//! Names and secrets drawn at random.

use aws_lc_rs::rand::SecureRandom;

/// The operating system's or the library's generator failed; nothing can be made safely.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random number generator failed: nothing was created")]
pub struct RandomError;

/// 26 characters of lower-case base32 (RFC 4648 alphabet): 130 random bits, opaque, never reused.
pub(crate) fn opaque_id(random: &dyn SecureRandom) -> Result<String, RandomError> {
    let bytes: [u8; OPAQUE_LEN] = fill(random)?;
    // Five bits of each byte: uniform, because 32 divides 256.
    Ok(bytes
        .iter()
        .filter_map(|byte| BASE32.get(usize::from(byte % 32)))
        .copied()
        .map(char::from)
        .collect())
}

/// `N` random bytes.
pub(crate) fn fill<const N: usize>(random: &dyn SecureRandom) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// Whether `text` could have been made by [`opaque_id`].
pub(crate) fn is_opaque_id(text: &str) -> bool {
    text.len() == OPAQUE_LEN && text.bytes().all(|byte| BASE32.contains(&byte))
}

const OPAQUE_LEN: usize = 26;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    #[test]
    fn m03_ids_are_opaque_distinct_and_use_the_whole_alphabet() {
        let random = SystemRandom::new();
        let ids: std::collections::BTreeSet<String> =
            (0..1_000).map(|_| opaque_id(&random).unwrap()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| is_opaque_id(id)));
        let seen: std::collections::BTreeSet<u8> = ids.iter().flat_map(|id| id.bytes()).collect();
        assert_eq!(seen.len(), 32);
        assert!(!is_opaque_id("acme"));
    }
}
