//! What may not be written in a tracked file.

/// `text` found in a file that `applies` names breaks the house, because of `why`.
struct Rule {
    texts: &'static [&'static str],
    applies: fn(file: &str) -> bool,
    why: &'static str,
}

/// Each text is written in two halves, so that this file keeps its own rules.
const RULES: &[Rule] = &[
    Rule {
        texts: &[concat!("#[", "allow("), concat!("#![", "allow(")],
        applies: |file| file.ends_with(".rs"),
        why: "write `#[expect(lint, reason = \"…\")]`, which says why and fails when it is no longer needed",
    },
    Rule {
        texts: &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")],
        applies: |_| true,
        why: "a path of one machine means nothing on the next",
    },
    Rule {
        texts: &[
            concat!("registry.", "npmjs.org"),
            concat!("deb.", "debian.org"),
            concat!("files.", "pythonhosted.org"),
            concat!("index.", "crates.io"),
            concat!("static.", "crates.io"),
        ],
        applies: |_| true,
        why: "packages are named, and where they come from is set up by whoever builds",
    },
    Rule {
        texts: &[concat!("agent ", "session"), concat!("language ", "model")],
        applies: |_| true,
        why: "the files speak about Partywall, not about how they came to be",
    },
];

/// Every broken rule in one file, with the line it is on.
pub(super) fn broken_in(file: &str, content: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.applies)(file)) {
        for (number, line) in (1..).zip(content.lines()) {
            if let Some(text) = rule.texts.iter().find(|text| line.contains(**text)) {
                broken.push(format!("{file}:{number} says `{text}`: {}", rule.why));
            }
        }
    }
    broken
}

mod tests {
    use super::*;

    #[test]
    fn every_forbidden_text_is_found_on_its_line() {
        for text in RULES.iter().flat_map(|rule| rule.texts) {
            let content = format!("a first line\n    {text}clippy::all)]\n");
            let broken = broken_in("src/lib.rs", &content);
            assert_eq!(broken.len(), 1, "{text}: {broken:?}");
            assert!(broken.iter().all(|said| said.starts_with("src/lib.rs:2 says")), "{broken:?}");
        }
    }

    #[test]
    fn ordinary_text_breaks_no_rule() {
        let content = "#[expect(lint, reason = \"why\")]\nlet path = \"/var/lib/postgresql\";\n";
        assert!(broken_in("src/lib.rs", content).is_empty());
        // A page may speak of the attribute that code may not use.
        let quoted = concat!("never `#[", "allow(…)]`");
        assert!(broken_in("CONTRIBUTING.md", quoted).is_empty());
        assert_eq!(broken_in("src/lib.rs", quoted).len(), 1);
    }
}
