//! Whatever is done to a signed response: it says who was signed, or nothing.

use std::env;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{ACME, ASSERTION, RESPONSE, around, expected, unsigned, verify};
use crate::wrapping::attacks;

/// Responses in which Alice is the one who is signed, and perhaps Mallory stands somewhere else.
static RESPONSES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let whole = RESPONSE.replace("{assertion}", &unsigned(ASSERTION));
    let both = RESPONSE.replace("{assertion}", &ACME.sign(ASSERTION));
    let mut responses = vec![around(&ACME.sign(ASSERTION)), ACME.sign(&whole), ACME.sign(&both)];
    let about = ["xsw", "wrap-", "two-signedinfo", "attr-pollution", "ns-confusion"];
    let wrapped =
        attacks().into_iter().filter(|a| about.iter().any(|kind| a.name.starts_with(kind)));
    responses.extend(wrapped.map(|attack| attack.response));
    responses
});

/// How many mutations; the nightly run sets more.
fn cases() -> u32 {
    env::var("PARTYWALL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// One thing done to the pieces between angle brackets.
#[derive(Debug, Clone)]
enum Change {
    /// Some of them, somewhere else; also where they were, if `keep`.
    Move { from: Index, length: usize, to: Index, keep: bool },
    /// A word in one of them is another.
    Say { at: Index, what: &'static str, instead: &'static str },
    /// An element around some of them.
    Wrap { from: Index, length: usize, element: &'static str },
    /// Some of them from another response.
    Borrow { other: Index, from: Index, length: usize, to: Index },
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 0..12_usize, index(), any::<bool>())
            .prop_map(|(from, length, to, keep)| Change::Move { from, length, to, keep }),
        (
            index(),
            prop::sample::select(vec![
                ("alice", "mallory"),
                ("alice", "al<!-- -->ice"),
                ("alice", "&#97;lice"),
                ("alice", "alice&#0;"),
                ("\"_a\"", "\"_f\""),
                ("\"_f\"", "\"_a\""),
                ("\"_a\"", "\"_r\""),
                ("\"#_a\"", "\"#_f\""),
                ("\"#_a\"", "\"\""),
                ("ID=", "Id="),
                ("ID=", "xml:id="),
                ("saml:", "samlp:"),
                ("ds:", "saml:"),
                (":assertion\"", ":protocol\""),
                ("xml-exc-c14n#", "xml-exc-c14n#WithComments"),
                ("rsa-sha256", "hmac-sha256"),
                ("<", "<?x?><"),
                (">", "><!-- -->"),
            ]),
        )
            .prop_map(|(at, (what, instead))| Change::Say { at, what, instead }),
        (
            index(),
            0..20_usize,
            prop::sample::select(vec![
                "samlp:Extensions",
                "samlp:StatusDetail",
                "x",
                "samlp:Response"
            ]),
        )
            .prop_map(|(from, length, element)| Change::Wrap { from, length, element }),
        (index(), index(), 0..30_usize, index())
            .prop_map(|(other, from, length, to)| Change::Borrow { other, from, length, to }),
    ]
}

fn pieces(response: &str) -> Vec<String> {
    response.split_inclusive('>').map(str::to_owned).collect()
}

fn some(pieces: &[String], from: Index, length: usize) -> (usize, usize) {
    let start = from.index(pieces.len().max(1));
    (start, (start + length).min(pieces.len()))
}

fn apply(change: &Change, pieces: &mut Vec<String>) {
    match change {
        Change::Move { from, length, to, keep } => {
            let (start, end) = some(pieces, *from, *length);
            let moved = pieces.get(start..end).unwrap_or_default().to_vec();
            if !keep {
                pieces.drain(start.min(end)..end);
            }
            let at = to.index(pieces.len() + 1);
            pieces.splice(at..at, moved);
        }
        Change::Say { at, what, instead } => {
            // The next one that says it.
            let start = at.index(pieces.len().max(1));
            if let Some(piece) = pieces.iter_mut().skip(start).find(|piece| piece.contains(what)) {
                *piece = piece.replace(what, instead);
            }
        }
        Change::Wrap { from, length, element } => {
            let (start, end) = some(pieces, *from, *length);
            pieces.insert(end, format!("</{element}>"));
            pieces.insert(start.min(end), format!("<{element}>"));
        }
        Change::Borrow { other, from, length, to } => {
            let other = self::pieces(other.get::<String>(&RESPONSES));
            let (start, end) = some(&other, *from, *length);
            let at = to.index(pieces.len() + 1);
            pieces.splice(at..at, other.get(start..end).unwrap_or_default().to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn s01_r05_no_mutation_is_somebody_else(
        response in any::<Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut pieces = pieces(response.get::<String>(&RESPONSES));
        for change in &changes {
            apply(change, &mut pieces);
        }
        if let Ok(assertion) = verify(&pieces.concat()) {
            prop_assert_eq!(&assertion.name_id().value, "alice");
            prop_assert_eq!(assertion.id(), "_a");
            prop_assert_eq!(assertion.attributes().len(), 1);
        }
    }

    #[test]
    fn s06_no_bytes_make_it_panic(at in any::<Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut response = RESPONSES[0].clone().into_bytes();
        let at = at.index(response.len());
        let end = (at + bytes.len()).min(response.len());
        response.splice(at..end, bytes);
        if let Ok(assertion) = ACME.connection().verify(&response, &expected()) {
            prop_assert_eq!(&assertion.name_id().value, "alice");
        }
    }
}
