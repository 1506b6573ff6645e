//! Whatever is done to a signed response: it says who was signed, or nothing.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::support::{ACME, ASSERTION, around, verify};

static RESPONSE: LazyLock<String> = LazyLock::new(|| around(&ACME.sign(ASSERTION)));

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Pieces between angle brackets are moved, doubled, left out and changed.
    #[test]
    fn s01_no_mutation_is_somebody_else(
        from in any::<prop::sample::Index>(),
        length in 0..12_usize,
        to in any::<prop::sample::Index>(),
        keep in any::<bool>(),
        name in prop::sample::select(vec!["alice", "mallory", "al<!-- -->ice", "&#97;lice"]),
    ) {
        let mut pieces: Vec<String> = RESPONSE.split_inclusive('>').map(str::to_owned).collect();
        let start = from.index(pieces.len());
        let end = (start + length).min(pieces.len());
        let moved = pieces[start..end].to_vec();
        if !keep {
            pieces.drain(start..end);
        }
        let at = to.index(pieces.len() + 1);
        pieces.splice(at..at, moved.into_iter().map(|piece| piece.replace("alice", name)));
        if let Ok(assertion) = verify(&pieces.concat()) {
            prop_assert_eq!(&assertion.name_id().value, "alice");
            prop_assert_eq!(assertion.attributes().len(), 1);
        }
    }

    #[test]
    fn s06_no_bytes_make_it_panic(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut response = RESPONSE.clone().into_bytes();
        let at = at.index(response.len());
        let end = (at + bytes.len()).min(response.len());
        response.splice(at..end, bytes);
        let verdict = ACME.connection().verify(&response, &crate::support::expected());
        if let Ok(assertion) = verdict {
            prop_assert_eq!(&assertion.name_id().value, "alice");
        }
    }
}
