//! The page for administrators knows every rule.

#[test]
fn s09_every_rule_has_its_place_in_the_book() {
    let page = include_str!("../../../../docs/book/saml.md");
    let rules = include_str!("../../src/refused.rs");
    let codes: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
        .filter_map(|(_, code)| code.strip_suffix("\","))
        .filter(|code| {
            code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect();
    assert!(codes.contains(&"size") && codes.contains(&"attribute"), "{codes:?}");
    for code in codes {
        let rows = page.lines().filter(|line| line.starts_with('|'));
        assert!(rows.into_iter().any(|row| row.contains(&format!("`{code}`"))), "{code}");
    }
}
